//! The folder on disk, and every system call on it.
//!
//! ```text
//! <root>/<tenant>/<name>-<version>.tgz        a package, under whatever name others gave it
//! <root>/<tenant>/<name>-<version>.tgz.prov   its provenance file
//! <root>/<tenant>/index-cache.yaml            ChartMuseum's; ignored
//! <root>/<tenant>/.chartgate/tmp/<random>     uploads that are not published yet, locked while they are written
//! ```
//!
//! Folders inside are other tenants' and are not looked at. The unpublished files lie in the tenant's own folder, because a
//! tenant may be a volume of its own and only files of one volume can be published by linking. Symbolic links are never
//! followed: they could lead out of the folder.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::names::{FileName, TenantPath};
use crate::object::Stamp;

/// One tenant's folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    scratch: PathBuf,
    /// The file system that it was on when it was opened.
    device: u64,
}

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

/// A name in the folder.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) name: Arc<str>,
    pub(super) inode: u64,
}

impl Folder {
    /// Opens `<root>/<tenant>`, making it if needed, and removes what uploads of a dead process left behind.
    pub(super) fn open(root: &Path, tenant: &TenantPath) -> Result<Self> {
        let path = match tenant.as_str() {
            "" => root.to_owned(),
            tenant => root.join(tenant),
        };
        let scratch = path.join(".chartgate").join("tmp");
        let cannot = |error| {
            Error::internal(
                format!("the hosted folder of tenant `{tenant}` cannot be opened"),
                error,
            )
        };
        fs::create_dir_all(&scratch).map_err(cannot)?;
        // The folders just made must survive a crash, like the files in them.
        let mut folder = path.as_path();
        while folder.starts_with(root) {
            sync_folder(folder).map_err(cannot)?;
            match folder.parent() {
                Some(parent) => folder = parent,
                None => break,
            }
        }
        let device = fs::metadata(&path).map_err(cannot)?.dev();
        let folder = Self {
            path,
            scratch,
            device,
        };
        folder.sweep();
        Ok(folder)
    }

    /// The packages in the folder, unread. An error if the folder is gone or its volume is not mounted any more, because an
    /// empty list would remove every chart from the index.
    pub(super) fn list(&self) -> Result<Vec<Listed>> {
        let cannot = |error| Error::internal("the hosted folder cannot be listed", error);
        if fs::metadata(&self.path).map_err(cannot)?.dev() != self.device {
            return Err(Error::internal(
                "the hosted folder is on another file system than at the start; keeping the last index",
                io::Error::from(io::ErrorKind::StaleNetworkFileHandle),
            ));
        }
        let mut listed = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            // Such names could never be asked for.
            let is_package = name.ends_with(".tgz") && FileName::parse(name).is_ok();
            if is_package && !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                listed.push(Listed {
                    name: name.into(),
                    inode: entry.ino(),
                });
            }
        }
        Ok(listed)
    }

    /// When names in the folder last changed.
    pub(super) fn modified(&self) -> io::Result<Timestamp> {
        Ok(stamp_of(&fs::metadata(&self.path)?).modified)
    }

    /// The stamp of a file; `None` if there is none of that name.
    pub(super) fn stamp(&self, name: &str) -> io::Result<Option<Stamp>> {
        match fs::symlink_metadata(self.path.join(name)) {
            Ok(metadata) => Ok(Some(stamp_of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a regular file for reading; `None` if there is none of that name. Never follows a link, never waits on a pipe.
    pub(super) fn read(&self, name: &str) -> io::Result<Option<(File, Stamp)>> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(self.path.join(name));
        let file = match file {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(not_a_file()),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(not_a_file());
        }
        Ok(Some((file, stamp_of(&metadata))))
    }

    /// A new, empty, locked file that nobody sees.
    pub(super) fn scratch_file(&self) -> io::Result<(PathBuf, File)> {
        fs::create_dir_all(&self.scratch)?;
        for _ in 0..16 {
            let mut random = [0_u8; 12];
            getrandom::fill(&mut random).map_err(io::Error::other)?;
            let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
            let path = self.scratch.join(name);
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)?;
            // File systems without locks lose nothing but the early sweep.
            let _ = file.try_lock();
            // Another process may have swept it away between the two calls.
            if file.metadata()?.nlink() > 0 {
                return Ok((path, file));
            }
        }
        Err(io::Error::other("every new file was removed at once"))
    }

    /// Gives a scratch file a name that must be free; `AlreadyExists` otherwise, also for all but one of several at a time.
    pub(super) fn publish_new(&self, scratch: &Path, name: &str) -> io::Result<()> {
        let target = self.path.join(name);
        match fs::hard_link(scratch, &target) {
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS | libc::EMLINK)
                ) =>
            {
                // No links on this file system. Within this process writers go one at a time; that has to do.
                if fs::symlink_metadata(&target).is_ok() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                fs::rename(scratch, &target)
            }
            other => other,
        }
    }

    /// Gives a scratch file a name, whatever had it before.
    pub(super) fn publish_over(&self, scratch: &Path, name: &str) -> io::Result<()> {
        fs::rename(scratch, self.path.join(name))
    }

    /// Removes a file; whether there was one.
    pub(super) fn remove(&self, name: &str) -> io::Result<bool> {
        match fs::remove_file(self.path.join(name)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes names durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        sync_folder(&self.path)
    }

    /// Removes scratch files that no living process holds.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.scratch) else {
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

/// Makes the names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Whether an error says that a name is taken by something that is not a regular file.
pub(super) fn is_not_a_file(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

fn not_a_file() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "it is a link or a special file, not a regular file",
    )
}
