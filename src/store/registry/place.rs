//! Where the registry lies: a folder or a bucket, behind the same few verbs.
//!
//! Every verb is one step that is done, durable and visible to everybody when it returns; what must happen in which order is
//! decided above. Keys come from `layout`. Nothing that is written is seen before it is complete.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;

use super::folder::{Folder, too_large};
use crate::error::Result;
use crate::object::{Bucket, Content, Existing, Object, Stamp};
use crate::store::files::{blocking, cannot_store};

/// Where the registry lies. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Folder(Arc<Folder>),
    Bucket(Bucket),
}

impl Place {
    /// Whether others may change it while nobody here looks, and asking costs a round trip.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self, Self::Bucket(..))
    }

    /// What lies directly in the folder `key`, in any order; what does not exist is empty.
    pub(super) async fn list(&self, key: &str) -> Result<Vec<Object>> {
        match self {
            Self::Folder(folder) => {
                let (folder, key) = (Arc::clone(folder), key.to_owned());
                blocking(move || folder.list(&key)).await
            }
            Self::Bucket(bucket) => bucket.list(key).try_concat().await,
        }
    }

    /// Whether nothing lies directly in the folder `key`.
    pub(super) async fn is_empty(&self, key: &str) -> Result<bool> {
        match self {
            Self::Folder(_) => Ok(self.list(key).await?.is_empty()),
            Self::Bucket(bucket) => Ok(bucket.list(key).try_next().await?.is_none()),
        }
    }

    /// What is known of an object without reading it.
    pub(super) async fn stat(&self, key: &str) -> Result<Option<Stamp>> {
        match self {
            Self::Folder(folder) => {
                let (folder, key) = (Arc::clone(folder), key.to_owned());
                blocking(move || folder.stat(&key)).await
            }
            Self::Bucket(bucket) => bucket.stat(key).await,
        }
    }

    /// The whole of an object of at most `most` bytes. Errors: `TooLarge`.
    pub(super) async fn read(&self, key: &str, most: u64) -> Result<Option<(Bytes, Stamp)>> {
        match self {
            Self::Folder(folder) => {
                let (folder, key) = (Arc::clone(folder), key.to_owned());
                let read = blocking(move || folder.read(&key, most)).await?;
                Ok(read.map(|(bytes, stamp)| (bytes.into(), stamp)))
            }
            Self::Bucket(bucket) => {
                let Some(mut opened) = bucket.read(key, None).await? else {
                    return Ok(None);
                };
                if opened.stamp.size > most {
                    return Err(too_large(key, most));
                }
                let mut bytes = Vec::new();
                while let Some(chunk) = opened.body.next().await {
                    bytes.extend_from_slice(&chunk?);
                }
                Ok(Some((bytes.into(), opened.stamp)))
            }
        }
    }

    /// Writes a small object. Errors: `Conflict` where there is one already and it may not be replaced.
    pub(super) async fn write(&self, key: &str, bytes: Bytes, existing: Existing) -> Result<Stamp> {
        match self {
            Self::Folder(folder) => {
                let (folder, key) = (Arc::clone(folder), key.to_owned());
                blocking(move || folder.write(&key, &bytes, existing)).await
            }
            Self::Bucket(bucket) => bucket.write(key, Content::Bytes(bytes), existing).await,
        }
    }

    /// Stores the first `length` bytes of a file that is complete, and on the same file system as a folder, where the
    /// file itself gets the new name, and must not be longer. Errors: as [`Place::write`].
    pub(super) async fn publish(
        &self,
        path: &Path,
        length: u64,
        key: &str,
        existing: Existing,
    ) -> Result<Stamp> {
        let path = path.to_owned();
        match self {
            Self::Folder(folder) => {
                let (folder, key) = (Arc::clone(folder), key.to_owned());
                blocking(move || {
                    let file = File::options().write(true).open(&path);
                    folder.publish(&file.map_err(cannot_store)?, &path, &key, existing)
                })
                .await
            }
            Self::Bucket(bucket) => {
                let file = blocking(move || File::open(&path).map_err(cannot_store)).await?;
                bucket
                    .write(key, Content::File(file, length), existing)
                    .await
            }
        }
    }

    /// Sets the time of a file in a folder to so long ago; whether there is one. In a bucket nothing can be touched: `None`.
    pub(super) async fn touch(&self, key: &str, age: Duration) -> Result<Option<bool>> {
        match self {
            Self::Folder(folder) => {
                let (folder, key) = (Arc::clone(folder), key.to_owned());
                blocking(move || folder.touch(&key, age).map(Some)).await
            }
            Self::Bucket(..) => Ok(None),
        }
    }

    /// Removes an object. One that does not exist is removed already.
    pub(super) async fn remove(&self, key: &str) -> Result<()> {
        match self {
            Self::Folder(folder) => {
                let (folder, key) = (Arc::clone(folder), key.to_owned());
                blocking(move || folder.remove(&key).map(drop)).await
            }
            Self::Bucket(bucket) => bucket.remove(key).await,
        }
    }
}
