//! Files that nobody sees yet: uploads on their way in.
//!
//! Each is locked as long as it is written, so that a second process can tell which ones a dead one left behind.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A folder of such files. It need not exist before the first one does.
#[derive(Clone, Debug)]
pub(super) struct Scratches(PathBuf);

/// One of them, locked as long as this lives, removed at the end unless it was renamed.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    pub(super) file: File,
}

impl Scratches {
    /// The folder at `path`, rid of files that no living process holds. Blocking.
    pub(super) fn open(path: PathBuf) -> Self {
        let this = Self(path);
        this.sweep();
        this
    }

    /// A new, empty, locked file. Blocking.
    pub(super) fn file(&self) -> io::Result<Scratch> {
        for _ in 0..16 {
            fs::create_dir_all(&self.0)?;
            let mut random = [0_u8; 12];
            getrandom::fill(&mut random).map_err(io::Error::other)?;
            let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
            let path = self.0.join(name);
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)?;
            // File systems without locks lose nothing but the early sweep.
            let _ = file.try_lock();
            // Another process may have swept it away between the two calls.
            if file.metadata()?.nlink() > 0 {
                return Ok(Scratch { path, file });
            }
        }
        Err(io::Error::other("every new file was removed at once"))
    }

    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.0) else {
            return;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let Ok(file) = File::open(&path) else {
                continue;
            };
            let is_free = match file.try_lock() {
                Ok(()) => true,
                Err(fs::TryLockError::WouldBlock) => false,
                // No locks here: nobody uploads for a day.
                Err(fs::TryLockError::Error(_)) => file
                    .metadata()
                    .and_then(|metadata| metadata.modified())
                    .is_ok_and(|time| time.elapsed().is_ok_and(|age| age.as_secs() > 86_400)),
            };
            if is_free && let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "an unfinished upload cannot be removed");
            }
        }
    }
}

impl Scratch {
    /// A second, independent reader of the file from its start.
    pub(super) fn reader(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After a rename there is nothing of this name; anything else is swept at the next start.
        let _ = fs::remove_file(&self.path);
    }
}
