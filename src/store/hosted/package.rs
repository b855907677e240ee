//! One package in the folder: read, hashed and validated.

use std::io::{self, Read};
use std::sync::Arc;

use super::folder::{Folder, is_not_a_file};
use super::shelf::Shelf;
use super::{blocking, stream};
use crate::chart::archive::{self, Limits, Strictness};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, ErrorKind, Result};
use crate::index::Entry;
use crate::object::Stamp;

/// What is known of a file, and of which state of it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) stamp: Stamp,
    pub(super) content: Content,
}

/// What a file turned out to be.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// A chart.
    Package(Arc<Entry>),
    /// Nothing that can be listed, and why. Not read again until it changes.
    Broken(Arc<str>),
}

/// Reads a package that others stored. `None` if there is no such file; an error only if the machine failed, which says
/// nothing about the file.
pub(super) fn read(folder: &Folder, name: &str) -> Result<Option<Record>> {
    let cannot = |error| Error::internal(format!("hosted file `{name}` cannot be read"), error);
    let (file, stamp) = match folder.read(name) {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(None),
        Err(error) if is_not_a_file(&error) => {
            let stamp = folder.stamp(name).map_err(cannot)?;
            return Ok(stamp.map(|stamp| Record {
                stamp,
                content: Content::Broken(error.to_string().into()),
            }));
        }
        Err(error) => return Err(cannot(error)),
    };
    let content = match parse(file, stamp) {
        Ok(entry) => Content::Package(Arc::new(entry)),
        Err(error) if error.kind() == ErrorKind::Internal => return Err(error),
        Err(error) => Content::Broken(error.message().into()),
    };
    Ok(Some(Record { stamp, content }))
}

/// The same for an object.
pub(super) async fn read_object(shelf: &Shelf, name: &str) -> Result<Option<Record>> {
    let Some(opened) = shelf.open(name).await? else {
        return Ok(None);
    };
    let stamp = opened.stamp;
    let (reader, pump) = stream::connect(opened.body);
    let parsed = blocking(move || match parse(reader, stamp) {
        Err(error) if error.kind() == ErrorKind::Internal => Err(error),
        parsed => Ok(parsed),
    });
    let (parsed, ()) = tokio::join!(parsed, pump.run());
    let content = match parsed {
        Ok(Ok(entry)) => Content::Package(Arc::new(entry)),
        Ok(Err(error)) => Content::Broken(error.message().into()),
        // Nothing but the transfer can fail that way.
        Err(error) => {
            let label = shelf.bucket.label();
            return Err(
                Error::unavailable(format!("{label} broke off while it sent `{name}`"))
                    .with_source(error),
            );
        }
    };
    Ok(Some(Record { stamp, content }))
}

fn parse(reader: impl Read, stamp: Stamp) -> Result<Entry> {
    let mut hashing = Hashing {
        reader,
        hasher: Hasher::default(),
    };
    let chart = archive::read(&mut hashing, &Limits::stored(), Strictness::Stored)?;
    let digest = hashing
        .finish()
        .map_err(|error| Error::internal("a hosted package cannot be read to its end", error))?;
    Entry::from_metadata(&chart.metadata, digest, stamp.modified)
}

/// Hashes what is read through it.
struct Hashing<R> {
    reader: R,
    hasher: Hasher,
}

impl<R: Read> Hashing<R> {
    /// Reads the rest, which the archive reader had no need for.
    fn finish(mut self) -> io::Result<Digest> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.hasher.finish())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
