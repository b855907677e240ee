//! A file that is read again when it changes: at most once a second, never by more than one request at a time.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// How often the file is looked at, in milliseconds.
const CHECK_EVERY: i64 = 1_000;
/// How long a look at the file may hold a request up; a file system that hangs must not stop everybody.
const CHECK_PATIENCE: Duration = Duration::from_millis(500);
/// Nobody has a file of users or a key this large; more would be memory that somebody else chose.
const MAX_FILE: u64 = 16 << 20;

/// What is read from a file.
pub(super) trait Content: Sized + Send + Sync + 'static {
    /// What the file is, for messages: `users file`.
    const WHAT: &'static str;

    /// Reads it. Errors: there is nothing in it that can be used.
    fn read(bytes: &[u8], path: &Path) -> std::io::Result<Self>;

    /// What it holds now, for the log: `3 users`.
    fn summary(&self) -> String;
}

/// A file and its last reading.
pub(super) struct Watched<T> {
    file: Arc<File<T>>,
    clock: Clock,
}

struct File<T> {
    path: PathBuf,
    current: ArcSwap<Reading<T>>,
    /// When it was last looked at, in milliseconds of the wall clock.
    checked: AtomicI64,
    /// The last look that failed, so that one fault is one warning.
    fault: Mutex<Option<String>>,
}

/// One state of the file.
struct Reading<T> {
    stamp: Stamp,
    content: Arc<T>,
}

/// What tells one state of the file from another, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: (i64, i64),
    /// Changes even where a tool puts the old modification time back.
    changed: (i64, i64),
    inode: u64,
}

impl<T: Content> Watched<T> {
    /// Reads the file for the first time. Errors: it cannot be used. Blocking.
    pub(super) fn open(path: &Path, clock: Clock) -> Result<Self> {
        let reading = Reading::read(path).map_err(|error| {
            Error::new(
                ErrorKind::Invalid,
                format!("cannot read the {} `{}`", T::WHAT, path.display()),
            )
            .with_source(error)
        })?;
        Ok(Self {
            file: Arc::new(File {
                path: path.to_path_buf(),
                current: ArcSwap::from_pointee(reading),
                checked: AtomicI64::new(clock.now().as_millisecond()),
                fault: Mutex::default(),
            }),
            clock,
        })
    }

    /// What the file holds, read again where it has changed. The request that finds a look due waits for it, so that the first
    /// request after a change already meets the new state; the others go on meanwhile. Cancel-safe.
    pub(super) async fn current(&self) -> Arc<T> {
        self.look().await;
        self.known()
    }

    /// What the last look found.
    pub(super) fn known(&self) -> Arc<T> {
        self.file.current.load().content.clone()
    }

    async fn look(&self) {
        let now = self.clock.now().as_millisecond();
        let checked = self.file.checked.load(Ordering::Relaxed);
        // The distance, because a wall clock that is set back must not stop the looking.
        if now.abs_diff(checked) < CHECK_EVERY.unsigned_abs()
            || self
                .file
                .checked
                .compare_exchange(checked, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        let file = Arc::clone(&self.file);
        let look = tokio::task::spawn_blocking(move || file.look());
        if tokio::time::timeout(CHECK_PATIENCE, look).await.is_err() {
            tracing::warn!(
                file.path = %self.file.path.display(),
                "{} `{}` did not answer in time; going on with what is known",
                T::WHAT,
                self.file.path.display()
            );
        }
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("path", &self.file.path)
            .finish_non_exhaustive()
    }
}

impl<T: Content> File<T> {
    fn look(&self) {
        let current = self.current.load();
        let outcome = match Stamp::of(&self.path) {
            Ok(stamp) if stamp == current.stamp => Ok(None),
            Ok(_) => Reading::<T>::read(&self.path).map(Some),
            Err(error) => Err(error),
        };
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(reading) => {
                *fault = None;
                let Some(reading) = reading else { return };
                tracing::info!(
                    file.path = %self.path.display(),
                    "{} `{}` changed; it holds {} now",
                    T::WHAT,
                    self.path.display(),
                    reading.content.summary()
                );
                self.current.store(Arc::new(reading));
            }
            Err(error) => {
                let error = error.to_string();
                if fault.as_deref() != Some(&error) {
                    tracing::warn!(
                        file.path = %self.path.display(),
                        "{} `{}` cannot be read any more, going on with what is known: {error}",
                        T::WHAT,
                        self.path.display()
                    );
                    *fault = Some(error);
                }
            }
        }
    }
}

impl<T: Content> Reading<T> {
    fn read(path: &Path) -> std::io::Result<Self> {
        // The stamp is taken first: a change in between is found by the next look.
        let stamp = Stamp::of(path)?;
        if stamp.length > MAX_FILE {
            return Err(std::io::Error::other(format!(
                "the file has {} bytes; at most {MAX_FILE} are read",
                stamp.length
            )));
        }
        let content = T::read(&std::fs::read(path)?, path)?;
        Ok(Self {
            stamp,
            content: Arc::new(content),
        })
    }
}

impl Stamp {
    fn of(path: &Path) -> std::io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(std::io::Error::other("not a file"));
        }
        Ok(Self {
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        })
    }
}
