//! What both stores do with files.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use jiff::Timestamp;

use crate::error::{Error, ErrorKind, Result};
use crate::object::Stamp;

/// What tells a file's content from another's without reading it; its tag is the inode.
pub(super) fn stamp_of(metadata: &fs::Metadata) -> Stamp {
    Stamp {
        size: metadata.len(),
        modified: i32::try_from(metadata.mtime_nsec())
            .ok()
            .and_then(|nanos| Timestamp::new(metadata.mtime(), nanos).ok())
            .unwrap_or(Timestamp::UNIX_EPOCH),
        tag: metadata.ino(),
    }
}

/// Whether there is nothing of a name, be it because something on the way to it is no folder.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes an upload that did not succeed an answer that says what to do.
pub(super) fn cannot_store(error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::StorageFull
        || error.kind() == std::io::ErrorKind::QuotaExceeded
    {
        return Error::new(
            ErrorKind::QuotaExceeded,
            "the disk of the hosted store is full",
        )
        .with_source(error);
    }
    if error.kind() == std::io::ErrorKind::NotADirectory {
        return Error::invalid(
            "no repository can have this name: the store holds a file where its folder would be; push to another one",
        )
        .with_source(error);
    }
    Error::internal("the hosted store cannot be written", error)
}

/// Runs `work` on the blocking pool. It runs to its end even if the caller goes away.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(Error::internal(
                "work on the hosted store was aborted",
                error,
            ))
        })
}
