//! Uploads on their way in: written to a file that nobody sees, hashed meanwhile, never whole in memory.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;

use super::Hosted;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, ErrorKind, Result};
use crate::store::files::{blocking, cannot_store};
use crate::store::scratch::Scratch;

/// A file that is being uploaded. Dropping it removes it.
#[derive(Debug)]
pub struct Spool {
    scratch: Scratch,
    file: tokio::fs::File,
    hasher: Hasher,
    length: u64,
    limit: u64,
}

/// A file that was uploaded completely and is not published yet. Dropping it removes it.
#[derive(Debug)]
pub struct Spooled {
    pub(super) scratch: Scratch,
    digest: Digest,
    length: u64,
}

impl Hosted {
    /// Starts an upload of at most `limit` bytes.
    pub async fn spool(self: &Arc<Self>, limit: u64) -> Result<Spool> {
        let this = Arc::clone(self);
        blocking(move || {
            let scratch = this.place.scratch_file().map_err(cannot_store)?;
            let file = scratch.file.try_clone().map_err(cannot_store)?;
            Ok(Spool {
                scratch,
                file: tokio::fs::File::from_std(file),
                hasher: Hasher::default(),
                length: 0,
                limit,
            })
        })
        .await
    }
}

impl Spool {
    /// Adds bytes. More than the limit is [`ErrorKind::TooLarge`].
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.length = self.length.saturating_add(bytes.len() as u64);
        if self.length > self.limit {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("the upload is larger than {} bytes", self.limit),
            ));
        }
        self.hasher.update(&bytes);
        self.file.write_all(&bytes).await.map_err(cannot_store)
    }

    /// Ends the upload. It is not durable before it is published.
    pub async fn finish(mut self) -> Result<Spooled> {
        self.file.flush().await.map_err(cannot_store)?;
        Ok(Spooled {
            scratch: self.scratch,
            digest: self.hasher.finish(),
            length: self.length,
        })
    }
}

impl Spooled {
    /// The SHA-256 of its bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// A second, independent reader of its bytes from their start. Blocking.
    pub(super) fn reader(&self) -> Result<File> {
        self.scratch.reader().map_err(cannot_store)
    }

    /// How many bytes it has.
    pub fn length(&self) -> u64 {
        self.length
    }
}
