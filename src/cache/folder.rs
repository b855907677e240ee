//! The cache's folder: where everything lies, and what a start finds there.
//!
//! ```text
//! cache/
//!   CACHEDIR.TAG              backup tools skip the folder
//!   ledger.redb               lengths, recency, names (ledger.rs); rebuilt where missing
//!   blobs/<aa>/<64 hex>       complete objects, named by their digest
//!   tmp/<random>/lock         held by the process that writes here; free: its process is gone
//!   tmp/<random>/<n>          objects that are arriving
//!   index/<name>              documents (documents.rs), never evicted
//! ```
//!
//! An object becomes visible by a rename on one file system, so a crash leaves whole objects or files in `tmp/`. Two
//! processes may use one folder for the length of an upgrade: each has its own folder in `tmp/`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::digest::Digest;
use crate::error::{Error, Result};

/// The paths of one cache, and this process's own folder for arriving objects.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    arriving: PathBuf,
    next: AtomicU64,
    _lock: File,
}

impl Folder {
    /// Creates what is missing and removes what dead processes left in `tmp/`. Blocking.
    pub(crate) fn open(root: PathBuf) -> Result<Self> {
        let wrong = |error: io::Error| {
            Error::internal(
                format!(
                    "cannot use the cache folder `{}`: {error}; chartgate must be able to write there",
                    root.display()
                ),
                error,
            )
        };
        for part in ["blobs", "tmp", "index"] {
            fs::create_dir_all(root.join(part)).map_err(wrong)?;
        }
        let tag = root.join("CACHEDIR.TAG");
        if !tag.exists() {
            fs::write(tag, CACHEDIR_TAG).map_err(wrong)?;
        }
        remove_leftovers(&root.join("tmp")).map_err(wrong)?;
        let (arriving, lock) = own_folder(&root.join("tmp")).map_err(wrong)?;
        Ok(Self {
            arriving,
            next: AtomicU64::new(0),
            _lock: lock,
            root,
        })
    }

    /// The ledger's file.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.root.join("ledger.redb")
    }

    /// The file of the object with this digest.
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_hex();
        self.root.join("blobs").join(&hex[..2]).join(hex)
    }

    /// The folder of documents.
    pub(crate) fn documents(&self) -> PathBuf {
        self.root.join("index")
    }

    /// A new empty file that nobody sees yet. Blocking.
    pub(crate) fn create_temporary(&self) -> io::Result<(File, PathBuf)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.arriving.join(number.to_string());
        let create = || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)
        };
        let file = create().or_else(|error| match error.kind() {
            // Somebody cleared the folder under a running process.
            io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.arriving)?;
                create()
            }
            _ => Err(error),
        })?;
        Ok((file, path))
    }

    /// Makes a complete file visible under `to`. Blocking.
    pub(crate) fn publish(&self, temporary: &Path, to: &Path) -> io::Result<()> {
        fs::rename(temporary, to).or_else(|error| match (error.kind(), to.parent()) {
            (io::ErrorKind::NotFound, Some(parent)) => {
                fs::create_dir_all(parent)?;
                fs::rename(temporary, to)
            }
            _ => Err(error),
        })
    }

    /// Calls `found` for every complete object. Files with other names are left alone. Blocking.
    pub(crate) fn each_blob(&self, mut found: impl FnMut(Digest, &fs::DirEntry)) {
        for shard in entries(&self.root.join("blobs")) {
            for file in entries(&shard.path()) {
                let name = file.file_name();
                let digest = name.to_str().and_then(|hex| {
                    let digest: Digest = hex.parse().ok()?;
                    let canonical = digest.to_hex();
                    (canonical == hex && shard.file_name() == canonical[..2]).then_some(digest)
                });
                match digest {
                    Some(digest) => found(digest, &file),
                    None => {
                        tracing::debug!(file = %file.path().display(), "not an object of the cache; left alone");
                    }
                }
            }
        }
    }
}

/// The process's arriving objects go with it; after a kill the next start removes them.
impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.arriving);
    }
}

/// What can be listed of a folder; an unreadable one counts as empty.
fn entries(folder: &Path) -> impl Iterator<Item = fs::DirEntry> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}

fn remove_leftovers(tmp: &Path) -> io::Result<()> {
    for folder in fs::read_dir(tmp)?.flatten() {
        let path = folder.path();
        // `try_lock` fails while the process that wrote there lives.
        let alive = File::open(path.join("lock")).is_ok_and(|lock| lock.try_lock().is_err());
        if alive || !folder.file_type()?.is_dir() {
            continue;
        }
        if let Err(error) = fs::remove_dir_all(&path) {
            tracing::warn!(folder = %path.display(), %error, "cannot remove leftovers of an earlier process");
        }
    }
    Ok(())
}

/// A folder of our own. Between its creation and the lock another starting process may take it for a leftover; creating a
/// file in it then creates it anew.
fn own_folder(tmp: &Path) -> io::Result<(PathBuf, File)> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let path = tmp.join(format!("{:016x}", u64::from_ne_bytes(random)));
    fs::create_dir(&path)?;
    let lock = File::create(path.join("lock"))?;
    lock.try_lock().map_err(io::Error::from)?;
    Ok((path, lock))
}

const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # chartgate keeps copies here that it can fetch again; backup tools may skip this folder.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_of_dead_processes_go_and_those_of_living_ones_stay() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let living = Folder::open(dir.path().to_owned()).expect("folder");
        let (_, kept) = living.create_temporary().expect("file");
        let dead = dir.path().join("tmp/0123456789abcdef");
        fs::create_dir(&dead).expect("folder");
        fs::write(dead.join("lock"), "").expect("file");
        fs::write(dead.join("7"), "half").expect("file");

        let other = Folder::open(dir.path().to_owned()).expect("folder");
        assert!(kept.exists());
        assert!(!dead.exists());
        drop(living);
        assert!(!kept.exists());
        assert!(other.create_temporary().is_ok());
    }

    #[test]
    fn only_files_named_by_a_digest_in_their_own_folder_are_objects() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = Folder::open(dir.path().to_owned()).expect("folder");
        let digest = Digest::of(b"x");
        let path = folder.blob(&digest);
        fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        fs::write(&path, "x").expect("file");
        fs::write(path.with_file_name("README"), "x").expect("file");
        fs::create_dir_all(dir.path().join("blobs/zz")).expect("folder");
        fs::write(dir.path().join("blobs/zz").join(digest.to_hex()), "x").expect("file");

        let mut found = Vec::new();
        folder.each_blob(|digest, _| found.push(digest));
        assert_eq!(found, [digest]);
    }
}
