//! A file that is arriving: invisible until its digest is known to be right, and gone if that never happens.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::Disk;
use crate::digest::Digest;

/// A file in `tmp/` whose bytes count towards the cap. Dropping it removes it; readers that have it open are not disturbed.
#[derive(Debug)]
pub(crate) struct Temporary {
    disk: Arc<Disk>,
    file: Arc<File>,
    path: Option<PathBuf>,
    length: u64,
    reserved: u64,
}

impl Temporary {
    /// Creates an empty file. Blocking.
    pub(crate) fn create(disk: Arc<Disk>) -> io::Result<Self> {
        let (file, path) = disk.folder.create_temporary()?;
        Ok(Self {
            disk,
            file: Arc::new(file),
            path: Some(path),
            length: 0,
            reserved: 0,
        })
    }

    /// The file, for readers.
    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Bytes written.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Writes at the end. Blocking. A full disk costs older objects first; an error means that the disk has no room at all,
    /// and leaves everything up to [`Temporary::length`] readable.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let wanted = bytes.len() as u64;
        self.disk.reserve(wanted)?;
        self.reserved += wanted;
        while let Err(error) = self.disk.volume.write(&self.file, bytes, self.length) {
            let full = error.kind() == io::ErrorKind::StorageFull;
            if !(full && self.disk.shed(wanted.max(SHED))) {
                return Err(error);
            }
            tracing::warn!("the disk is full; the oldest cached objects make room");
        }
        self.length += wanted;
        Ok(())
    }

    /// Makes the file durable and visible as the object with this digest, which the caller has checked. Blocking.
    pub(crate) fn commit(mut self, digest: Digest) -> io::Result<()> {
        let kept = self.keep(digest);
        self.discard();
        kept
    }

    fn keep(&mut self, digest: Digest) -> io::Result<()> {
        self.disk.volume.sync(&self.file)?;
        if let Some(path) = &self.path {
            let folder = &self.disk.folder;
            folder.publish(path, &folder.blob(&digest))?;
            self.path = None;
            self.disk.settle(digest, std::mem::take(&mut self.reserved));
        }
        Ok(())
    }

    /// Removes the file now, unless it became an object. Blocking.
    pub(crate) fn discard(mut self) {
        if let Some(path) = self.path.take() {
            remove(&self.disk, &path, std::mem::take(&mut self.reserved));
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let Some(path) = self.path.take() else {
            return self.disk.release(self.reserved);
        };
        let (disk, reserved) = (Arc::clone(&self.disk), self.reserved);
        let remove = move || remove(&disk, &path, reserved);
        // Unlinking a large file takes time, and an aborted task drops this on an async thread.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// The room is free when the file is gone.
fn remove(disk: &Disk, path: &Path, reserved: u64) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(file = %path.display(), %error, "cannot remove an unfinished object");
    }
    disk.release(reserved);
}

/// The file operations that a full disk refuses; a trait so that tests can fill it.
pub(crate) trait Volume: Send + Sync + fmt::Debug {
    /// Writes all of `bytes` at `offset`.
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written durable.
    fn sync(&self, file: &File) -> io::Result<()>;
}

/// The real one.
#[derive(Debug)]
pub(crate) struct FileSystem;

impl Volume for FileSystem {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

/// How much makes room at once when the disk is full.
const SHED: u64 = 64 << 20;
