//! Where the packages of one tenant lie: a folder or a part of a bucket, behind the same few verbs.
//!
//! Every verb is one step that is done or not done when it returns; what must happen in which order is decided above.

use std::io;
use std::sync::Arc;

use super::already_exists;
use super::folder::{Folder, is_not_a_file};
use super::package::{self, Record};
use super::publish::OverwritePermission;
use super::shelf::Shelf;
use super::spool::Spooled;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::object::Stamp;
use crate::store::files::{blocking, cannot_store, stamp_of};
use crate::store::scratch::Scratch;

/// ChartMuseum's copy of its index. It trusts one without looking, so none may lie beside what we wrote.
pub(super) const STATEFILE: &str = "index-cache.yaml";

/// Where packages lie.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Folder(Arc<Folder>),
    Bucket(Arc<Shelf>),
}

/// A spooled file that is ready to get its name.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) spooled: Spooled,
    pub(super) name: Arc<str>,
}

impl Place {
    /// A file for an upload. Blocking.
    pub(super) fn scratch_file(&self) -> io::Result<Scratch> {
        match self {
            Self::Folder(folder) => folder.scratch_file(),
            Self::Bucket(shelf) => shelf.scratches.file(),
        }
    }

    /// Whether what is known of its files may be behind for long.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self, Self::Bucket(_))
    }

    /// Makes the bytes of an upload durable and gives them their time, which is the version's `created` also after a restart.
    /// Blocking. A bucket does both itself.
    pub(super) fn prepare(&self, spooled: Spooled, name: &str, clock: &Clock) -> Result<Ready> {
        if let Self::Folder(_) = self {
            let now = jiff::Timestamp::from_millisecond(clock.now().as_millisecond())
                .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            let file = &spooled.scratch.file;
            file.set_modified(now.into())
                .and_then(|()| file.sync_all())
                .map_err(cannot_store)?;
        }
        Ok(Ready {
            spooled,
            name: name.into(),
        })
    }

    /// The stamp of a file; `None` if there is none of that name.
    pub(super) async fn stamp(&self, name: &str) -> Result<Option<Stamp>> {
        match self {
            Self::Folder(folder) => {
                let (folder, name) = (Arc::clone(folder), name.to_owned());
                blocking(move || {
                    folder.stamp(&name).map_err(|error| {
                        Error::internal(format!("hosted file `{name}` cannot be looked at"), error)
                    })
                })
                .await
            }
            Self::Bucket(shelf) => shelf.stamp(name).await,
        }
    }

    /// Reads a package that others stored. `None` if there is no such file; an error only if the machine or the bucket failed,
    /// which says nothing about the file.
    pub(super) async fn read(&self, name: &str) -> Result<Option<Record>> {
        match self {
            Self::Folder(folder) => {
                let (folder, name) = (Arc::clone(folder), name.to_owned());
                blocking(move || package::read(&folder, &name)).await
            }
            Self::Bucket(shelf) => package::read_object(shelf, name).await,
        }
    }

    /// The first bytes of a small file; nothing if there is none of that name, or no file.
    pub(super) async fn text(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Folder(folder) => {
                let (folder, name) = (Arc::clone(folder), name.to_owned());
                blocking(move || {
                    let mut text = Vec::new();
                    match folder.read(&name) {
                        Ok(Some((file, _))) => {
                            io::Read::read_to_end(&mut io::Read::take(file, most), &mut text)
                                .map_err(cannot_store)?;
                            Ok(Some(text))
                        }
                        Ok(None) => Ok(None),
                        Err(error) if is_not_a_file(&error) => Ok(None),
                        Err(error) => Err(cannot_store(error)),
                    }
                })
                .await
            }
            Self::Bucket(shelf) => Ok(shelf.text(name, most).await?.map(|(text, _)| text.into())),
        }
    }

    /// Gives a file its name, and says the stamp that it has there.
    ///
    /// Errors: `Conflict` where the name is taken and may not be replaced, also for all but one of several at a time.
    pub(super) async fn put(
        &self,
        ready: &Arc<Ready>,
        overwrite: OverwritePermission,
    ) -> Result<Stamp> {
        match self {
            Self::Folder(folder) => {
                let (folder, ready) = (Arc::clone(folder), Arc::clone(ready));
                blocking(move || {
                    // Read back: the file system may keep less of the time than it was given.
                    let file = &ready.spooled.scratch.file;
                    let stamp = stamp_of(&file.metadata().map_err(cannot_store)?);
                    let scratch = ready.spooled.scratch.path();
                    let placed = match overwrite {
                        OverwritePermission::Denied => folder.publish_new(scratch, &ready.name),
                        OverwritePermission::Granted => folder.publish_over(scratch, &ready.name),
                    };
                    placed.map_err(|error| match error.kind() {
                        io::ErrorKind::AlreadyExists => already_exists(),
                        _ => cannot_store(error),
                    })?;
                    Ok(stamp)
                })
                .await
            }
            Self::Bucket(shelf) => shelf.put(ready, overwrite).await,
        }
    }

    /// Puts a small file back that was there a moment ago, unless somebody else has put one there meanwhile.
    pub(super) async fn restore(&self, name: &str, text: Vec<u8>) -> Result<()> {
        match self {
            Self::Folder(folder) => {
                let (folder, name) = (Arc::clone(folder), name.to_owned());
                blocking(move || {
                    let scratch = folder.scratch_file().map_err(cannot_store)?;
                    io::Write::write_all(&mut &scratch.file, &text)
                        .and_then(|()| scratch.file.sync_all())
                        .and_then(|()| folder.publish_new(scratch.path(), &name))
                        .and_then(|()| folder.sync())
                        .map_err(cannot_store)
                })
                .await
            }
            Self::Bucket(shelf) => shelf.restore(name, text).await,
        }
    }

    /// Removes a file, or does nothing if there is none.
    pub(super) async fn remove(&self, name: &str) -> Result<()> {
        match self {
            Self::Folder(folder) => {
                let (folder, name) = (Arc::clone(folder), name.to_owned());
                blocking(move || folder.remove(&name).map(drop).map_err(cannot_store)).await
            }
            Self::Bucket(shelf) => shelf.remove(name).await,
        }
    }

    /// Makes the names given and removed so far survive a crash.
    pub(super) async fn sync(&self) -> Result<()> {
        match self {
            Self::Folder(folder) => {
                let folder = Arc::clone(folder);
                blocking(move || folder.sync().map_err(cannot_store)).await
            }
            // Answered is durable.
            Self::Bucket(_) => Ok(()),
        }
    }

    /// Removes ChartMuseum's copy of its index, if there is one or may be one.
    pub(super) async fn drop_statefile(&self) -> Result<()> {
        match self {
            Self::Folder(folder) => {
                let folder = Arc::clone(folder);
                blocking(move || match folder.remove(STATEFILE) {
                    Ok(true) => folder.sync().map_err(cannot_store),
                    Ok(false) => Ok(()),
                    Err(error) => Err(cannot_store(error)),
                })
                .await
            }
            Self::Bucket(shelf) => shelf.drop_statefile().await,
        }
    }

    /// How many files there are, besides those that the catalog knows in a bucket.
    pub(super) async fn count(&self, known_packages: usize) -> Result<usize> {
        match self {
            Self::Folder(folder) => {
                let folder = Arc::clone(folder);
                blocking(move || {
                    folder.count().map_err(|error| {
                        Error::internal("the files of the hosted folder cannot be counted", error)
                    })
                })
                .await
            }
            Self::Bucket(shelf) => Ok(known_packages + shelf.other_files()),
        }
    }
}
