//! Files that only their owner may read, made beside their place and moved there when they are whole.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A name in `folder` that nobody else has thought of.
pub(super) fn unfinished(folder: &Path, prefix: &str) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let number = u64::from_ne_bytes(random);
    Ok(folder.join(format!("{prefix}{number:016x}")))
}

/// A new file for this user alone. Errors: there is one of this name.
pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}
