//! The bytes, each content once for all tenants, under its SHA-256.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::place::Place;
use super::{RegistryStore, layout};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::http::ByteStream;
use crate::object::{Bucket, Existing, Stamp};
use crate::store::files::blocking;

/// A blob, or a manifest read as one.
#[derive(Debug)]
pub struct StoredBlob {
    /// The SHA-256 of its bytes, whatever digest it was asked for with.
    pub content: Digest,
    /// Bytes.
    pub size: u64,
    /// Where they are.
    pub body: BlobContent,
}

/// Where a blob's bytes are.
#[derive(Debug)]
pub enum BlobContent {
    /// In this open file. It stays whole even if it is removed meanwhile.
    File(File),
    /// In this object of a bucket.
    Object(BlobObject),
}

/// A blob in a bucket, to be read where it is not in the cache.
#[derive(Clone, Debug)]
pub struct BlobObject {
    bucket: Bucket,
    content: Digest,
    size: u64,
}

impl BlobObject {
    /// What it is called, for logs and the cache's ledger.
    pub fn name(&self) -> String {
        format!("hosted/{}/{}", self.bucket.label(), self.content)
    }

    /// The SHA-256 of its bytes.
    pub fn content(&self) -> Digest {
        self.content
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The error where the bucket does not have it although a repository shows it: damage, not absence.
    pub fn lost(&self) -> Error {
        super::links::lost(&self.content.into())
    }

    /// The bytes from `offset` on. Errors: `NotFound` where they are gone.
    pub async fn open(&self, offset: u64) -> Result<ByteStream> {
        let key = layout::blob(&self.content);
        let range = (offset > 0).then_some(offset..self.size);
        match self.bucket.read(&key, range).await? {
            Some(opened) => Ok(opened.body),
            None => {
                let label = self.bucket.label();
                Err(Error::not_found(format!("`{key}` is not in {label}")))
            }
        }
    }
}

impl RegistryStore {
    /// Opens the bytes of a blob that some repository shows; `None` where they are gone.
    pub(super) async fn open_blob(
        &self,
        content: &Digest,
        size: u64,
    ) -> Result<Option<BlobContent>> {
        match &self.place {
            Place::Folder(folder) => {
                let (folder, key) = (Arc::clone(folder), layout::blob(content));
                match blocking(move || folder.open_file(&key)).await? {
                    Some((file, stamp)) if stamp.size == size => Ok(Some(BlobContent::File(file))),
                    Some(_) => Err(damaged(content)),
                    None => Ok(None),
                }
            }
            // No request before the bytes are wanted.
            Place::Bucket(bucket) => Ok(Some(BlobContent::Object(BlobObject {
                bucket: bucket.clone(),
                content: *content,
                size,
            }))),
        }
    }

    /// The bytes of a manifest, checked against `content`; `None` where they are gone.
    pub(super) async fn read_blob(&self, content: &Digest, size: u64) -> Result<Option<Bytes>> {
        if let Some(bytes) = self.recent.get(content) {
            return Ok(Some(bytes));
        }
        let Some((bytes, _)) = self.place.read(&layout::blob(content), size).await? else {
            return Ok(None);
        };
        if Digest::of(&bytes) != *content {
            return Err(damaged(content));
        }
        self.recent.put(*content, bytes.clone());
        Ok(Some(bytes))
    }

    /// Stores the bytes of a manifest, which have this digest.
    pub(super) async fn put_bytes(&self, content: &Digest, bytes: Bytes) -> Result<Presence> {
        let mut presence = self.renew(content, bytes.len() as u64).await?;
        if presence == Presence::Absent {
            let key = layout::blob(content);
            let written = self.place.write(&key, bytes.clone(), Existing::Refuse);
            presence = of_new(written.await)?;
        }
        self.recent.put(*content, bytes);
        Ok(presence)
    }

    /// Stores an upload: the first `length` bytes of the file at `path`, whose SHA-256 is `content`. See [`Place::publish`].
    /// Durable when this returns; nobody can see it before it is linked ([`super::HostedRegistry::link_blob`]).
    pub(super) async fn publish_blob(
        &self,
        content: &Digest,
        path: &Path,
        length: u64,
    ) -> Result<()> {
        if self.renew(content, length).await? == Presence::Absent {
            let key = layout::blob(content);
            let published = self.place.publish(path, length, &key, Existing::Refuse);
            of_new(published.await)?;
        }
        Ok(())
    }

    /// Whether the bytes are there. If they have been for long, notes that they are used again, so that sweeping spares them.
    pub(super) async fn renew(&self, content: &Digest, size: u64) -> Result<Presence> {
        let key = layout::blob(content);
        let Some(stamp) = self.place.stat(&key).await? else {
            return Ok(Presence::Absent);
        };
        if stamp.size != size {
            return Err(damaged(content));
        }
        if self.clock.since(stamp.modified) < YOUNG {
            return Ok(Presence::Young);
        }
        // Whoever removes old bytes says so first, and may have looked at their age before it was new. So until that is known the
        // bytes are too young for sweeping and too old for others to rely on without the same question.
        let touched = match self.place.touch(&key, YOUNG).await? {
            Some(touched) => touched,
            None => {
                let mark = layout::blob_used(content);
                let marked = self.place.write(&mark, Bytes::new(), Existing::Replace);
                marked.await.map(|_| true)?
            }
        };
        let is_there = touched && {
            self.spared(content).await?;
            match self.place.touch(&key, Duration::ZERO).await? {
                Some(touched) => touched,
                None => self.place.stat(&key).await?.is_some(),
            }
        };
        Ok(match is_there {
            true => Presence::Old,
            false => Presence::Absent,
        })
    }
}

/// Whether some bytes are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Absent,
    /// For such a short time that they cannot be swept.
    Young,
    /// For so long that they may be swept at this very moment, by another process. Whoever links them looks again afterwards.
    Old,
}

/// Somebody else having stored the same bytes meanwhile is as good.
fn of_new(written: Result<Stamp>) -> Result<Presence> {
    match written {
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(Presence::Young),
        written => written.map(|_| Presence::Young),
    }
}

fn damaged(content: &Digest) -> Error {
    Error::internal(
        format!(
            "the stored bytes of `{content}` are damaged; restore them, or delete and push again"
        ),
        "size or digest differ",
    )
}

/// Younger bytes than these are never swept, by far.
const YOUNG: Duration = Duration::from_mins(30);
