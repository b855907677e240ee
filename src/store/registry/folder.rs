//! A folder as a place for objects, and every system call on it.
//!
//! Keys are paths below the root, made by `layout` and nobody else. What is written is complete and synced before it gets its
//! name, and the name is synced before the writer is answered. Symbolic links are never followed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use super::layout;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::object::{Existing, Object, Stamp};
use crate::store::files::{cannot_store, is_absent, stamp_of, sync_folder};
use crate::store::scratch::Scratches;

/// A folder. It need not exist before something is put there.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// The file system that it is on, once it was seen.
    device: OnceLock<u64>,
    scratches: Scratches,
    clock: Clock,
    /// How many more steps succeed before everything fails, as after a crash.
    #[cfg(test)]
    pub(super) left: std::sync::atomic::AtomicUsize,
}

impl Folder {
    /// The folder at `root`. Makes nothing; removes what writers of a dead process left behind.
    pub(super) fn open(root: &Path, clock: Clock) -> Self {
        Self {
            root: root.to_owned(),
            device: OnceLock::new(),
            scratches: Scratches::open(root.join(layout::ROOT).join("tmp")),
            clock,
            #[cfg(test)]
            left: usize::MAX.into(),
        }
    }

    /// The regular files directly in the folder `key`.
    pub(super) fn list(&self, key: &str) -> Result<Vec<Object>> {
        let cannot = |error| Error::internal(format!("`{key}` cannot be listed"), error);
        let entries = match fs::read_dir(self.path(key)) {
            Err(error) if is_absent(&error) => return self.none().map(|()| Vec::new()),
            entries => entries.map_err(cannot)?,
        };
        let mut objects = Vec::new();
        for entry in entries {
            let entry = entry.map_err(cannot)?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            match entry.metadata() {
                Ok(metadata) if metadata.is_file() => objects.push(Object {
                    name: name.into(),
                    stamp: stamp_of(&metadata),
                }),
                Ok(_) => {}
                // Removed in between.
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(cannot(error)),
            }
        }
        self.see();
        Ok(objects)
    }

    /// What is known of a file without reading it.
    pub(super) fn stat(&self, key: &str) -> Result<Option<Stamp>> {
        match fs::symlink_metadata(self.path(key)) {
            Ok(metadata) => Ok(metadata.is_file().then(|| stamp_of(&metadata))),
            Err(error) if is_absent(&error) => self.none().map(|()| None),
            Err(error) => Err(cannot_read(key, error)),
        }
    }

    /// Opens a file. It stays whole even if it is replaced or removed meanwhile.
    pub(super) fn open_file(&self, key: &str) -> Result<Option<(File, Stamp)>> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(self.path(key));
        let file = match file {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return self.none().map(|()| None),
            Err(error) => return Err(cannot_read(key, error)),
        };
        let metadata = file.metadata().map_err(|error| cannot_read(key, error))?;
        Ok(metadata.is_file().then(|| (file, stamp_of(&metadata))))
    }

    /// The whole of a small file. Errors: `TooLarge`.
    pub(super) fn read(&self, key: &str, most: u64) -> Result<Option<(Vec<u8>, Stamp)>> {
        let Some((file, stamp)) = self.open_file(key)? else {
            return Ok(None);
        };
        let mut bytes = Vec::with_capacity(usize::try_from(stamp.size.min(most)).unwrap_or(0));
        let read = file.take(most.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| cannot_read(key, error))?;
        match bytes.len() as u64 > most {
            true => Err(too_large(key, most)),
            false => Ok(Some((bytes, stamp))),
        }
    }

    /// Writes a file. Errors: `Conflict` where there is one already and it may not be replaced.
    pub(super) fn write(&self, key: &str, bytes: &[u8], existing: Existing) -> Result<Stamp> {
        self.step().map_err(cannot_store)?;
        let scratch = self.scratches.file().map_err(cannot_store)?;
        (&scratch.file).write_all(bytes).map_err(cannot_store)?;
        self.publish(&scratch.file, scratch.path(), key, existing)
    }

    /// Gives a complete file on the same file system its place here; under its old name it may be gone then. Errors: as
    /// [`Folder::write`].
    pub(super) fn publish(
        &self,
        file: &File,
        path: &Path,
        key: &str,
        existing: Existing,
    ) -> Result<Stamp> {
        let now = jiff::Timestamp::from_millisecond(self.clock.now().as_millisecond())
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        file.set_modified(now.into())
            .and_then(|()| file.sync_all())
            .map_err(cannot_store)?;
        let stamp = stamp_of(&file.metadata().map_err(cannot_store)?);
        self.step().map_err(cannot_store)?;
        let target = self.path(key);
        let place = || match existing {
            Existing::Replace => fs::rename(path, &target),
            Existing::Refuse => place_new(path, &target),
        };
        let placed = match place() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_parent(&target).and_then(|()| place())
            }
            placed => placed,
        };
        match placed {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let message = format!("`{key}` exists already");
                return Err(Error::new(ErrorKind::Conflict, message).with_source(error));
            }
            placed => placed.map_err(cannot_store)?,
        }
        self.step()
            .and_then(|()| sync_parent(&target))
            .map_err(cannot_store)?;
        Ok(stamp)
    }

    /// Sets the time of a file to so long ago; whether there is one.
    pub(super) fn touch(&self, key: &str, age: Duration) -> Result<bool> {
        let file = match OpenOptions::new().write(true).open(self.path(key)) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return self.none().map(|()| false),
            Err(error) => return Err(cannot_store(error)),
        };
        let now = SystemTime::from(self.clock.now());
        let time = now.checked_sub(age).unwrap_or(now);
        file.set_modified(time)
            .and_then(|()| file.sync_all())
            .map_err(cannot_store)?;
        Ok(true)
    }

    /// Removes a file; whether there was one.
    pub(super) fn remove(&self, key: &str) -> Result<bool> {
        let target = self.path(key);
        self.step().map_err(cannot_store)?;
        match fs::remove_file(&target) {
            Ok(()) => self
                .step()
                .and_then(|()| sync_parent(&target))
                .map(|()| true)
                .map_err(cannot_store),
            Err(error) if is_absent(&error) => self.none().map(|()| false),
            Err(error) => Err(cannot_store(error)),
        }
    }

    /// One step of a change is about to be done.
    #[cfg(not(test))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps)]
    fn step(&self) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn step(&self) -> io::Result<()> {
        use std::sync::atomic::Ordering::SeqCst;
        let spent = self
            .left
            .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
        spent
            .map(drop)
            .map_err(|_| io::Error::other("the process is gone"))
    }

    /// Makes the folder around a file. It and those above it must survive a crash, like what will be in them.
    fn make_parent(&self, target: &Path) -> io::Result<()> {
        let Some(parent) = target.parent() else {
            return Ok(());
        };
        fs::create_dir_all(parent)?;
        for folder in parent.ancestors() {
            sync_folder(folder)?;
            if folder == self.root {
                break;
            }
        }
        self.see();
        Ok(())
    }

    /// "There is nothing of this name" is believed only while the place is the one that it was: an empty mount point must not
    /// make everything look deleted.
    fn none(&self) -> Result<()> {
        let Some(known) = self.device.get() else {
            self.see();
            return Ok(());
        };
        match fs::metadata(self.path(layout::ROOT)) {
            Ok(metadata) if metadata.dev() == *known => Ok(()),
            Ok(_) => Err(Error::internal(
                "the hosted folder is on another file system than before",
                io::Error::from(io::ErrorKind::StaleNetworkFileHandle),
            )),
            Err(error) => Err(Error::internal("the hosted folder is gone", error)),
        }
    }

    fn see(&self) {
        if self.device.get().is_none()
            && let Ok(metadata) = fs::metadata(self.path(layout::ROOT))
        {
            self.device.get_or_init(|| metadata.dev());
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }
}

/// Gives a file a name that must be free.
fn place_new(path: &Path, target: &Path) -> io::Result<()> {
    match fs::hard_link(path, target) {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS | libc::EMLINK)
            ) =>
        {
            // No links on this file system. Within this process writers of one repository go one at a time; that has to do.
            if fs::symlink_metadata(target).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(path, target)
        }
        placed => placed,
    }
}

fn sync_parent(target: &Path) -> io::Result<()> {
    target.parent().map_or(Ok(()), sync_folder)
}

fn cannot_read(key: &str, error: io::Error) -> Error {
    Error::internal(format!("`{key}` cannot be read"), error)
}

/// What should be small is not.
pub(super) fn too_large(key: &str, most: u64) -> Error {
    let message = format!("`{key}` has more than {most} bytes");
    Error::new(ErrorKind::TooLarge, message)
}
