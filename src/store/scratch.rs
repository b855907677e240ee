//! Files that nobody sees yet: uploads on their way in.
//!
//! Each is locked as long as it is written, so that a second process can tell which ones a dead one left behind.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A folder of such files. It need not exist before the first one does.
#[derive(Clone, Debug)]
pub(super) struct Scratches {
    path: PathBuf,
    presence: Presence,
}

/// Whether the folder may be seen when there is nothing in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// It is our own.
    Lasting,
    /// It lies among the files of others and goes with the last file, together with the folder around it.
    Passing,
}

/// One of them, locked as long as this lives, removed at the end unless it was renamed.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    pub(super) file: File,
    folder: Scratches,
}

impl Scratches {
    /// The folder at `path`, rid of files that no living process holds. Blocking.
    pub(super) fn open(path: PathBuf) -> Self {
        let this = Self {
            path,
            presence: Presence::Lasting,
        };
        this.sweep();
        this
    }

    /// The folder `.chartgate/tmp` among the files of `place`, which is there only while it is needed.
    pub(super) fn among(place: &Path) -> Self {
        Self {
            path: place.join(".chartgate").join("tmp"),
            presence: Presence::Passing,
        }
    }

    /// A new, empty, locked file. Blocking.
    pub(super) fn file(&self) -> io::Result<Scratch> {
        for _ in 0..ATTEMPTS {
            let mut random = [0_u8; 12];
            getrandom::fill(&mut random).map_err(io::Error::other)?;
            let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
            let path = self.path.join(name);
            let created = fs::create_dir_all(&self.path).and_then(|()| {
                OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .open(&path)
            });
            let file = match created {
                // The end of another upload took the folder away between two of the calls.
                Err(error) if is_gone(&error) => continue,
                created => created?,
            };
            // File systems without locks lose nothing but the early sweep.
            let _ = file.try_lock();
            // Another process may have swept it away between the two calls.
            if file.metadata()?.nlink() > 0 {
                let folder = self.clone();
                return Ok(Scratch { path, file, folder });
            }
        }
        Err(io::Error::other("every new file was removed at once"))
    }

    /// Removes files that no living process holds. Blocking.
    pub(super) fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.path) else {
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
        self.leave();
    }

    /// Removes the folder where it should not be seen. It stays as long as there is something in it.
    fn leave(&self) {
        if self.presence == Presence::Passing && fs::remove_dir(&self.path).is_ok() {
            let _ = self.path.parent().map(fs::remove_dir);
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
        self.folder.leave();
    }
}

/// What is said of a folder that somebody removes while it is made.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists
    )
}

/// More often than this nobody else is just in between.
const ATTEMPTS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_among_others_files_comes_and_goes_under_many_uploads() {
        let place = tempfile::tempdir().expect("a folder");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let scratch = Scratches::among(place.path()).file().expect("a file");
                        assert!(scratch.path().exists());
                    }
                });
            }
        });
        let left = fs::read_dir(place.path()).expect("a folder").count();
        assert_eq!(left, 0);
    }
}
