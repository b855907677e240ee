//! The folder on disk, and every system call on it.
//!
//! ```text
//! <root>/<tenant>/<name>-<version>.tgz        a package, under whatever name others gave it
//! <root>/<tenant>/<name>-<version>.tgz.prov   its provenance file
//! <root>/<tenant>/index-cache.yaml            ChartMuseum's; removed by the first change of ours
//! <root>/<tenant>/.chartgate/tmp/<random>     uploads that are not published yet, locked while they are written
//! ```
//!
//! Folders inside are other tenants' and are not looked at. The unpublished files lie in the tenant's own folder, because a
//! tenant may be a volume of its own and only files of one volume can be published by linking; before there is such a folder
//! they lie in the nearest one above it, so that an upload that is refused makes none. Symbolic links are never followed: they
//! could lead out of the folder. The folder itself, and those above it, may be some.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;

use super::place::STATEFILE;
use crate::error::{Error, Result};
use crate::names::{FileName, TenantPath};
use crate::object::Stamp;
use crate::store::files::{is_absent, stamp_of, sync_folder};
use crate::store::scratch::{Scratch, Scratches};

/// One tenant's folder. It need not exist before something is put there.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    path: PathBuf,
    /// The file system that it is on, once it was seen.
    device: OnceLock<u64>,
}

/// A name in the folder.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) name: Arc<str>,
    pub(super) inode: u64,
}

impl Folder {
    /// The folder `<root>/<tenant>`. Makes nothing; removes what uploads of a dead process left behind.
    pub(super) fn open(root: &Path, tenant: &TenantPath) -> Self {
        let path = match tenant.as_str() {
            "" => root.to_owned(),
            tenant => root.join(tenant),
        };
        let this = Self {
            root: root.to_owned(),
            path,
            device: OnceLock::new(),
        };
        if let Ok(place) = this.nearest() {
            Scratches::among(place).sweep();
        }
        this
    }

    /// A new, empty, locked file that nobody sees, on the same volume. Does not make the folder.
    ///
    /// Errors: `NotADirectory` where a file lies in its place.
    pub(super) fn scratch_file(&self) -> io::Result<Scratch> {
        Scratches::among(self.nearest()?).file()
    }

    /// The folder, or the nearest one above it that exists; the root if none does.
    fn nearest(&self) -> io::Result<&Path> {
        for place in self.path.ancestors() {
            match fs::metadata(place) {
                Ok(metadata) if metadata.is_dir() => return Ok(place),
                Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(error),
            }
            if place == self.root {
                break;
            }
        }
        Ok(&self.root)
    }

    /// Makes the folder. It and those above it must survive a crash, like the files that will be in them.
    fn make(&self) -> io::Result<()> {
        fs::create_dir_all(&self.path)?;
        for folder in self.path.ancestors() {
            sync_folder(folder)?;
            if folder == self.root {
                break;
            }
        }
        self.see(&fs::metadata(&self.path)?);
        Ok(())
    }

    /// Takes note of where the folder is when it is there for the first time; whether it still is there.
    fn see(&self, metadata: &fs::Metadata) -> bool {
        *self.device.get_or_init(|| metadata.dev()) == metadata.dev()
    }

    /// Whether the folder is not there and never was: then there is nothing in it, and nothing is wrong.
    fn is_unborn(&self, error: &io::Error) -> bool {
        is_absent(error) && self.device.get().is_none()
    }

    /// Gives a file its place, in a folder that is made if it is missing.
    fn in_place(&self, place: impl Fn() -> io::Result<()>) -> io::Result<()> {
        match place() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make()?;
                place()
            }
            placed => placed,
        }
    }

    /// The packages in the folder, unread. An error if the folder is gone or its volume is not mounted any more, because an
    /// empty list would remove every chart from the index.
    pub(super) fn list(&self) -> Result<Vec<Listed>> {
        let cannot = |error| Error::internal("the hosted folder cannot be listed", error);
        let metadata = match fs::metadata(&self.path) {
            Err(error) if self.is_unborn(&error) => return Ok(Vec::new()),
            // A file among the packages of the repository above, say: nobody could put anything into it.
            Ok(metadata) if !metadata.is_dir() && self.device.get().is_none() => {
                return Ok(Vec::new());
            }
            found => found.map_err(cannot)?,
        };
        if !self.see(&metadata) {
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

    /// How many files are in the folder, whatever they are.
    pub(super) fn count(&self) -> io::Result<usize> {
        let mut count = 0;
        let entries = match fs::read_dir(&self.path) {
            Err(error) if self.is_unborn(&error) => return Ok(0),
            found => found?,
        };
        for entry in entries {
            let entry = entry?;
            count += usize::from(!entry.file_type()?.is_dir() && entry.file_name() != STATEFILE);
        }
        Ok(count)
    }

    /// When names in the folder last changed; before all time if it was never there.
    pub(super) fn modified(&self) -> io::Result<Timestamp> {
        match fs::metadata(&self.path) {
            Ok(metadata) => Ok(stamp_of(&metadata).modified),
            Err(error) if self.is_unborn(&error) => Ok(Timestamp::MIN),
            Err(error) => Err(error),
        }
    }

    /// The stamp of a file; `None` if there is none of that name.
    pub(super) fn stamp(&self, name: &str) -> io::Result<Option<Stamp>> {
        match fs::symlink_metadata(self.path.join(name)) {
            Ok(metadata) => Ok(Some(stamp_of(&metadata))),
            Err(error) if is_absent(&error) => Ok(None),
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
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(not_a_file()),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(not_a_file());
        }
        Ok(Some((file, stamp_of(&metadata))))
    }

    /// Gives a scratch file a name that must be free; `AlreadyExists` otherwise, also for all but one of several at a time.
    pub(super) fn publish_new(&self, scratch: &Path, name: &str) -> io::Result<()> {
        let target = self.path.join(name);
        self.in_place(|| match fs::hard_link(scratch, &target) {
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
        })
    }

    /// Gives a scratch file a name, whatever had it before.
    pub(super) fn publish_over(&self, scratch: &Path, name: &str) -> io::Result<()> {
        let target = self.path.join(name);
        self.in_place(|| fs::rename(scratch, &target))
    }

    /// Removes a file; whether there was one.
    pub(super) fn remove(&self, name: &str) -> io::Result<bool> {
        match fs::remove_file(self.path.join(name)) {
            Ok(()) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes names durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        sync_folder(&self.path)
    }
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
