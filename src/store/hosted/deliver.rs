//! Reading: the file behind a name that a client asks for.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::folder::{Folder, is_not_a_file};
use super::package::Content;
use super::place::Place;
use super::publish::MAX_PROVENANCE;
use super::shelf::Shelf;
use super::{Hosted, blocking};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::http::ByteStream;
use crate::names::FileName;
use crate::object::Stamp;

/// An archive or a provenance file.
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
    /// In this open file, which is positioned at its start. It stays whole even if it is replaced or removed meanwhile.
    File(File),
    /// In this object of a bucket, an archive.
    Object(StoredObject),
    /// Here.
    Bytes(Bytes),
}

/// An archive in a bucket, to be read where it is not in the cache.
#[derive(Clone, Debug)]
pub struct StoredObject {
    shelf: Arc<Shelf>,
    key: Arc<str>,
    stamp: Stamp,
}

impl StoredObject {
    /// What it is called, for logs and the cache's ledger.
    pub fn name(&self) -> String {
        format!("hosted/{}/{}", self.shelf.bucket.label(), self.key)
    }

    /// The bytes from `offset` on, of the very object that is known.
    ///
    /// Errors: [`ErrorKind::NotFound`] where it is gone, [`ErrorKind::DigestMismatch`] where it is another one now;
    /// [`Hosted::look_again`] finds out what is there.
    pub async fn open(&self, offset: u64) -> Result<ByteStream> {
        let range = (offset > 0).then_some(offset..self.stamp.size);
        let bucket = &self.shelf.bucket;
        let label = bucket.label();
        let opened = bucket.read(&self.key, range).await?.ok_or_else(|| {
            Error::not_found(format!("`{}` is not in {label} any more", self.key))
        })?;
        if !self.is_same(&opened.stamp) {
            return Err(Error::new(
                ErrorKind::DigestMismatch,
                format!(
                    "`{}` in {label} was replaced; its index is brought up to date",
                    self.key
                ),
            ));
        }
        Ok(opened.body)
    }

    /// Whether the bytes are those that are known: by the tag where there is one, else by the time.
    fn is_same(&self, stamp: &Stamp) -> bool {
        let has_tags = self.stamp.tag != 0 && stamp.tag != 0;
        let is_same = match has_tags {
            true => self.stamp.tag == stamp.tag,
            false => self.stamp.modified == stamp.modified,
        };
        is_same && self.stamp.size == stamp.size
    }
}

/// What a look at the folder and at the catalog gave together.
enum Look {
    Found(Box<StoredFile>),
    /// The catalog knows another state of these files than the folder has.
    Outdated(Vec<Arc<str>>),
    Missing(Option<Arc<str>>),
}

impl Hosted {
    /// Opens an archive or a provenance file by its canonical or its stored name.
    ///
    /// An archive whose file is not the one that the index knows is read again first, and the index is brought up to date; so
    /// a name that misses the index is looked for in the place before it is [`ErrorKind::NotFound`]. An archive in a bucket
    /// that the index knows costs no request here.
    pub async fn open_file(self: &Arc<Self>, file: &FileName) -> Result<StoredFile> {
        for _ in 0..MAX_LOOKS {
            let look = match &self.place {
                Place::Folder(folder) => {
                    let (this, folder) = (Arc::clone(self), Arc::clone(folder));
                    let wanted = file.clone();
                    blocking(move || this.look_up(&folder, &wanted)).await?
                }
                Place::Bucket(shelf) => self.look_into(shelf, file).await?,
            };
            match look {
                Look::Found(found) => return Ok(*found),
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

    /// Reads the archive behind a name again, if it changed, and brings the index up to date.
    pub async fn look_again(self: &Arc<Self>, file: &FileName) -> Result<()> {
        let stored = self.stored_as(file);
        self.refresh(vec![stored]).await
    }

    /// The stored name behind a canonical one.
    fn stored_as(&self, file: &FileName) -> Arc<str> {
        self.catalog()
            .winner(file.archive())
            .map_or_else(|| file.archive().into(), |(stored, _)| Arc::clone(stored))
    }

    async fn look_into(self: &Arc<Self>, shelf: &Arc<Shelf>, wanted: &FileName) -> Result<Look> {
        let stored = self.stored_as(wanted);
        if wanted.is_provenance() {
            return provenance_in(shelf, &stored, wanted).await;
        }
        if let Some(known) = self.known(shelf, &stored) {
            return Ok(known);
        }
        if shelf.is_missing(&stored) {
            return Ok(Look::Missing(None));
        }
        self.refresh(vec![Arc::clone(&stored)]).await?;
        let known = self.known(shelf, &stored);
        Ok(known.unwrap_or_else(|| {
            shelf.note_missing(&stored);
            Look::Missing(None)
        }))
    }

    fn known(&self, shelf: &Arc<Shelf>, stored: &Arc<str>) -> Option<Look> {
        let catalog = self.catalog();
        let record = catalog.get(stored)?;
        Some(match &record.content {
            Content::Package(entry) => {
                let object = StoredObject {
                    shelf: Arc::clone(shelf),
                    key: shelf.key(stored).into(),
                    stamp: record.stamp,
                };
                let content = StoredContent::Object(object);
                Look::Found(Box::new(found(content, record.stamp, entry.digest)))
            }
            Content::Broken(reason) => Look::Missing(Some(Arc::clone(reason))),
        })
    }

    fn look_up(&self, folder: &Folder, wanted: &FileName) -> Result<Look> {
        let stored = self.stored_as(wanted);
        if wanted.is_provenance() {
            return provenance(folder, wanted, &stored);
        }
        let opened = match folder.read(&stored) {
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
                    Content::Package(entry) => Look::Found(Box::new(found(
                        StoredContent::File(file),
                        stamp,
                        entry.digest,
                    ))),
                    Content::Broken(reason) => Look::Missing(Some(Arc::clone(reason))),
                })
            }
            (None, Some(record)) if matches!(record.content, Content::Broken(_)) => {
                Ok(Look::Missing(None))
            }
            _ => Ok(Look::Outdated(vec![stored])),
        }
    }
}

fn provenance(folder: &Folder, wanted: &FileName, stored: &str) -> Result<Look> {
    for name in [&format!("{stored}.prov"), wanted.as_str()] {
        match folder.read(name) {
            Ok(Some((file, stamp))) => {
                return Ok(Look::Found(Box::new(found(
                    StoredContent::File(file),
                    stamp,
                    None,
                ))));
            }
            Ok(None) => {}
            Err(error) if is_not_a_file(&error) => {}
            Err(error) => return Err(cannot_open(wanted, error)),
        }
    }
    Ok(Look::Missing(None))
}

async fn provenance_in(shelf: &Shelf, stored: &str, wanted: &FileName) -> Result<Look> {
    let beside = format!("{stored}.prov");
    let other = Some(wanted.as_str()).filter(|name| *name != beside);
    for name in [Some(beside.as_str()), other].into_iter().flatten() {
        if shelf.is_missing(name) {
            continue;
        }
        let Some((text, stamp)) = shelf.text(name, MAX_PROVENANCE).await? else {
            shelf.note_missing(name);
            continue;
        };
        if stamp.size > MAX_PROVENANCE {
            let reason = format!("it has more than {MAX_PROVENANCE} bytes");
            return Ok(Look::Missing(Some(reason.into())));
        }
        return Ok(Look::Found(Box::new(found(
            StoredContent::Bytes(text),
            stamp,
            None,
        ))));
    }
    Ok(Look::Missing(None))
}

fn found(content: StoredContent, stamp: Stamp, digest: Option<Digest>) -> StoredFile {
    StoredFile {
        content,
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
