//! Where tokens are kept: a folder of this machine, or a bucket that replicas share. One small object for each token.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use jiff::Timestamp;

use super::folder::{Folder, Names};
use crate::clock::Clock;
use crate::config::{self, Config, ObjectStore};
use crate::error::{Error, Result};
use crate::net::Clients;
use crate::object::{Bucket, Content, Existing, Object, Stamp};

/// Below what stands in a bucket before every key; no repository can have this name.
const IN_BUCKET: &str = ".chartgate/tokens";
/// In the data folder.
const IN_DATA: &str = "tokens";

/// Where it is, to be told from another.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Where {
    Folder(PathBuf),
    Bucket(Box<ObjectStore>),
}

impl Where {
    /// Where `config` says that tokens are.
    pub(super) fn of(config: &Config, tokens: &config::ApiTokens) -> Self {
        match (&tokens.folder, &config.store.place) {
            (Some(folder), _) => Self::Folder(folder.clone()),
            (None, config::Place::Folder(_)) => Self::Folder(config.data_dir.join(IN_DATA)),
            (None, config::Place::Objects(objects)) => Self::Bucket(objects.clone()),
        }
    }

    /// Opens it. Connects to nothing, makes nothing. Errors: a folder that is there and cannot be read; as [`Bucket::open`].
    /// Blocking.
    pub(super) fn open(&self, clients: &Clients, clock: &Clock) -> Result<Place> {
        match self {
            Self::Folder(path) => {
                let folder = Folder::new(path.clone());
                folder
                    .list(None)
                    .map_err(|cause| cannot(&folder, "read", cause))?;
                Ok(Place::Folder(Arc::new(folder)))
            }
            Self::Bucket(objects) => Bucket::open(objects, clients, clock).map(Place::Bucket),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Place {
    Folder(Arc<Folder>),
    Bucket(Bucket),
}

impl Place {
    pub(super) fn is_remote(&self) -> bool {
        matches!(self, Self::Bucket(_))
    }

    /// As messages call it.
    pub(super) fn label(&self) -> String {
        match self {
            Self::Folder(folder) => format!("`{}`", folder.path().display()),
            Self::Bucket(bucket) => format!("`{IN_BUCKET}` in {}", bucket.label()),
        }
    }

    /// See [`Folder::list`]. A bucket has always changed.
    pub(super) async fn list(
        &self,
        before: Option<Names>,
    ) -> Result<Option<(Vec<Object>, Option<Names>)>> {
        match self {
            Self::Folder(folder) => {
                on_disk(folder, "read", move |folder| folder.list(before)).await
            }
            Self::Bucket(bucket) => {
                let objects = bucket.list(IN_BUCKET).try_concat().await?;
                Ok(Some((objects, None)))
            }
        }
    }

    /// An object, whole where it has at most `most` bytes; `None` where there is none.
    pub(super) async fn read(&self, name: &str, most: u64) -> Result<Option<Bytes>> {
        match self {
            Self::Folder(folder) => {
                let name = name.to_owned();
                let read = on_disk(folder, "read", move |folder| folder.read(&name, most)).await?;
                Ok(read.map(Bytes::from))
            }
            Self::Bucket(bucket) => {
                let Some(mut opened) = bucket.read(&key(name), None).await? else {
                    return Ok(None);
                };
                let mut bytes = Vec::new();
                while let Some(chunk) = opened.body.next().await {
                    bytes.extend_from_slice(&chunk?);
                    if bytes.len() as u64 > most {
                        break;
                    }
                }
                Ok(Some(bytes.into()))
            }
        }
    }

    /// Writes an object, durably. `at`: when, where the place asks.
    pub(super) async fn write(
        &self,
        name: &str,
        bytes: Vec<u8>,
        existing: Existing,
        at: Timestamp,
    ) -> Result<Stamp> {
        match self {
            Self::Folder(folder) => {
                let name = name.to_owned();
                on_disk(folder, "written", move |folder| {
                    folder.write(&name, &bytes, at)
                })
                .await
            }
            Self::Bucket(bucket) => {
                let content = Content::Bytes(bytes.into());
                bucket.write(&key(name), content, existing).await
            }
        }
    }

    /// Removes an object, durably. One that does not exist is removed already.
    pub(super) async fn remove(&self, name: &str) -> Result<()> {
        match self {
            Self::Folder(folder) => {
                let name = name.to_owned();
                on_disk(folder, "written", move |folder| folder.remove(&name)).await
            }
            Self::Bucket(bucket) => bucket.remove(&key(name)).await,
        }
    }

    /// Removes what dead writers have left behind.
    pub(super) async fn tidy(&self) -> Result<()> {
        match self {
            Self::Folder(folder) => on_disk(folder, "written", Folder::tidy).await,
            // Nothing is there before it is complete.
            Self::Bucket(_) => Ok(()),
        }
    }
}

fn key(name: &str) -> String {
    format!("{IN_BUCKET}/{name}")
}

/// Off the threads that serve.
async fn on_disk<T: Send + 'static>(
    folder: &Arc<Folder>,
    what: &'static str,
    work: impl FnOnce(&Folder) -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    let folder = Arc::clone(folder);
    let work = move || work(&folder).map_err(|cause| cannot(&folder, what, cause));
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|cause| Error::internal("work on the tokens was aborted", cause))?
}

fn cannot(folder: &Folder, what: &str, cause: std::io::Error) -> Error {
    let path = folder.path().display();
    Error::internal(
        format!("`{path}`, where tokens are kept, cannot be {what}: {cause}"),
        cause,
    )
}
