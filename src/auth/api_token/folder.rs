//! A folder that tokens are kept in: every system call on it. Blocking.
//!
//! Files are written under another name, synced and renamed, so that nobody ever reads half of one. Each token is a file of its own,
//! so that two writers never stand in each other's way.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::auth::private;
use crate::object::{Object, Stamp};

/// How a file is called while it is written.
const UNFINISHED: &str = ".new-";
/// After which time nobody writes a file any more that has such a name.
const ABANDONED: Duration = Duration::from_hours(1);
/// A folder that was changed less long ago than this may change again without a new time: clocks of file systems are coarse.
const COARSE: Duration = Duration::from_secs(3);

/// The folder. It need not exist before something is put there.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

/// What tells one state of a folder's names from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Names {
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The files in it, and what tells this state from the next, where there is something that does. `None`: nothing has changed since
    /// the folder was as `before` says.
    pub(super) fn list(
        &self,
        before: Option<Names>,
    ) -> io::Result<Option<(Vec<Object>, Option<Names>)>> {
        let now = match fs::metadata(&self.path) {
            Ok(metadata) => Names::of(&metadata),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Some((Vec::new(), None)));
            }
            Err(error) => return Err(error),
        };
        if before == Some(now) {
            return Ok(None);
        }
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Removed in between.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if metadata.is_file()
                && let Ok(name) = entry.file_name().into_string()
                && !name.starts_with('.')
            {
                files.push(Object {
                    name: name.into(),
                    stamp: stamp(&metadata),
                });
            }
        }
        let told = now.is_settled().then_some(now);
        Ok(Some((files, told)))
    }

    /// The first `most` bytes of a file and one more, where it has more; `None` where there is no such file.
    pub(super) fn read(&self, name: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.path.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Puts a file there that only this user may read; when it returns, it will be there after a power cut.
    pub(super) fn write(&self, name: &str, bytes: &[u8], at: Timestamp) -> io::Result<Stamp> {
        if !self.path.try_exists()? {
            self.make()?;
        }
        let unfinished = private::unfinished(&self.path, UNFINISHED)?;
        let written = self.write_to(&unfinished, name, bytes, at);
        if written.is_err() {
            // Nothing may be there.
            let _ = fs::remove_file(&unfinished);
        }
        let stamp = written?;
        self.sync()?;
        Ok(stamp)
    }

    fn write_to(
        &self,
        unfinished: &Path,
        name: &str,
        bytes: &[u8],
        at: Timestamp,
    ) -> io::Result<Stamp> {
        let mut file = private::create(unfinished)?;
        file.write_all(bytes)?;
        self.give_away(&file);
        file.set_modified(at.into())?;
        file.sync_all()?;
        fs::rename(unfinished, self.path.join(name))?;
        Ok(stamp(&file.metadata()?))
    }

    /// Removes a file, if it is there, for good.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path.join(name)) {
            Ok(()) => self.sync(),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes what dead processes have left behind.
    pub(super) fn tidy(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
                && let Ok(metadata) = entry.metadata()
                && let Ok(modified) = metadata.modified()
                && modified.elapsed().is_ok_and(|age| age > ABANDONED)
            {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Makes it, for this user alone.
    fn make(&self) -> io::Result<()> {
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent)?;
        }
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
            made => made?,
        }
        let Some(parent) = self
            .path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        else {
            return Ok(());
        };
        let (around, own) = (fs::metadata(parent)?, fs::metadata(&self.path)?);
        if own.uid() != around.uid() {
            // As for files.
            let _ = chown(&self.path, Some(around.uid()), Some(around.gid()));
        }
        File::open(parent)?.sync_all()
    }

    /// Gives what an administrator writes to whom the folder belongs: the gateway, which runs as somebody else, has to read it.
    /// Nobody else may give files away, nor needs to.
    fn give_away(&self, file: &File) {
        if let (Ok(folder), Ok(own)) = (fs::metadata(&self.path), file.metadata())
            && own.uid() != folder.uid()
        {
            let _ = fchown(file, Some(folder.uid()), Some(folder.gid()));
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Names {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether the next change will be seen by another time.
    fn is_settled(self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        let newest = self.modified.0.max(self.changed.0);
        let coarse = i64::try_from(COARSE.as_secs()).unwrap_or_default();
        now.saturating_sub(newest) > coarse
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    let nanos = i32::try_from(metadata.mtime_nsec()).unwrap_or_default();
    Stamp {
        size: metadata.len(),
        modified: Timestamp::new(metadata.mtime(), nanos).unwrap_or(Timestamp::UNIX_EPOCH),
        tag: metadata.ino(),
    }
}
