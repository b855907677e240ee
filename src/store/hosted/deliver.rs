//! Reading: the file behind a name that a client asks for.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::folder::is_not_a_file;
use super::package::Content;
use super::{Hosted, blocking};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::http::ByteStream;
use crate::names::FileName;
use crate::object::{Bucket, Stamp};

/// An open archive or provenance file. It stays whole even if it is replaced or removed meanwhile.
#[derive(Debug)]
pub struct StoredFile {
    /// Its bytes.
    pub content: StoredContent,
    /// Its length in bytes.
    pub len: u64,
    /// The archive's digest, which is that of these very bytes; `None` for provenance files.
    pub digest: Option<Digest>,
    /// When it was stored.
    pub modified: Timestamp,
}

/// Where a stored file's bytes are.
#[derive(Debug)]
pub enum StoredContent {
    /// In this open file, which is positioned at its start.
    File(File),
    /// In this object of a bucket.
    Object(StoredObject),
    /// Here.
    Bytes(Bytes),
}

/// An archive in a bucket, to be read when it is not in the cache.
#[derive(Clone, Debug)]
pub struct StoredObject {
    bucket: Bucket,
    key: Arc<str>,
    stamp: Stamp,
}

impl StoredObject {
    /// What it is called in the bucket, for logs and for the cache's ledger. Names the content, too: another archive under the
    /// same key has another name.
    pub fn name(&self) -> String {
        format!("hosted/{}/{}", self.bucket.label(), self.key)
    }

    /// The bytes from `offset` on.
    ///
    /// Errors: [`crate::error::ErrorKind::NotFound`] where the object is gone and
    /// [`crate::error::ErrorKind::DigestMismatch`] where it is another one now; `Hosted::look_again` finds out what it is.
    pub async fn open(&self, offset: u64) -> Result<ByteStream> {
        let opened = self
            .bucket
            .read(&self.key, Some(offset..self.stamp.size))
            .await?;
        let opened = opened.ok_or_else(|| {
            Error::not_found(format!(
                "`{}` is not in {} any more",
                self.key,
                self.bucket.label()
            ))
        })?;
        Ok(opened.body)
    }
}

/// What a look at the folder and at the catalog gave together.
enum Look {
    Found(StoredFile),
    /// The catalog knows another state of these files than the folder has.
    Outdated(Vec<Arc<str>>),
    Missing(Option<Arc<str>>),
}

impl Hosted {
    /// Opens an archive or a provenance file by its canonical or its stored name.
    ///
    /// An archive whose file is not the one that the index knows is read again first, and the index is brought up to date; so
    /// a name that misses the index is looked for in the folder before it is [`crate::error::ErrorKind::NotFound`].
    pub async fn open_file(self: &Arc<Self>, file: &FileName) -> Result<StoredFile> {
        for _ in 0..MAX_LOOKS {
            let this = Arc::clone(self);
            let wanted = file.clone();
            match blocking(move || this.look_up(&wanted)).await? {
                Look::Found(found) => return Ok(found),
                Look::Outdated(names) => self.refresh(names).await?,
                Look::Missing(reason) => {
                    let tenant = &self.tenant;
                    return Err(Error::not_found(match reason {
                        Some(reason) => format!("`{file}` in `{tenant}` is not a chart: {reason}"),
                        None => format!("`{file}` does not exist in `{tenant}`"),
                    }));
                }
            }
        }
        Err(Error::unavailable(format!(
            "`{file}` is being written at this moment; try again"
        )))
    }

    fn look_up(&self, wanted: &FileName) -> Result<Look> {
        let stored = self
            .catalog()
            .winner(wanted.archive())
            .map_or_else(|| wanted.archive().into(), |(stored, _)| Arc::clone(stored));
        if wanted.is_provenance() {
            return self.provenance(wanted, &stored);
        }
        let opened = match self.folder.read(&stored) {
            Ok(opened) => opened,
            Err(error) if is_not_a_file(&error) => None,
            Err(error) => return Err(cannot_open(wanted, error)),
        };
        // Looked at after the file was opened: a writer may have been faster in between, and then the next look finds it.
        let catalog = self.catalog();
        let known = catalog.get(&stored);
        match (opened, known) {
            (None, None) => Ok(Look::Missing(None)),
            (Some((file, stamp)), Some(record)) if record.stamp.agrees(&stamp) => {
                Ok(match &record.content {
                    Content::Package(entry) => Look::Found(found(file, stamp, entry.digest)),
                    Content::Broken(reason) => Look::Missing(Some(Arc::clone(reason))),
                })
            }
            (None, Some(record)) if matches!(record.content, Content::Broken(_)) => {
                Ok(Look::Missing(None))
            }
            _ => Ok(Look::Outdated(vec![stored])),
        }
    }

    fn provenance(&self, wanted: &FileName, stored: &str) -> Result<Look> {
        for name in [&format!("{stored}.prov"), wanted.as_str()] {
            match self.folder.read(name) {
                Ok(Some((file, stamp))) => return Ok(Look::Found(found(file, stamp, None))),
                Ok(None) => {}
                Err(error) if is_not_a_file(&error) => {}
                Err(error) => return Err(cannot_open(wanted, error)),
            }
        }
        Ok(Look::Missing(None))
    }
}

fn found(file: File, stamp: Stamp, digest: Option<Digest>) -> StoredFile {
    StoredFile {
        content: StoredContent::File(file),
        len: stamp.size,
        digest,
        modified: stamp.modified,
    }
}

fn cannot_open(file: &FileName, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::InvalidFilename {
        return Error::not_found(format!("`{file}` does not exist"));
    }
    Error::internal(format!("hosted file `{file}` cannot be opened"), error)
}

/// A file that changes between two looks again and again is being written in place by somebody.
const MAX_LOOKS: usize = 4;
