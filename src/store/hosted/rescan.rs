//! Noticing what others do in the folder: cheap looks often, a thorough one now and then, reading only what changed.
//!
//! A change of names shows in the folder's own time, and a file that was replaced by renaming in its inode, which a listing
//! gives for free. A file rewritten in place shows only in its own time and size, so files that are not settled (just changed,
//! or broken and perhaps still being copied) are looked at every time, and all files every few minutes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::package::{self, Content, Record};
use super::{Hosted, blocking};
use crate::error::{Error, Result};
use crate::object::Stamp;

/// How closely the folder is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Names and inodes; and files that are not settled.
    Names,
    /// The size and time of every file, too.
    Files,
}

/// What earlier looks left to remember.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    /// The folder's time before its names were last listed; `None` if something may have happened in the same tick.
    pub(super) folder: Option<Timestamp>,
    pub(super) unsettled: HashSet<Arc<str>>,
    /// How many packages were read, for tests and logs.
    pub(super) reads: usize,
}

impl Hosted {
    /// Compares the folder with what is known of it and brings the index up to date.
    ///
    /// Reads only files that are new or changed. When it returns, the index shows what the folder held when it was called.
    pub async fn rescan(self: &Arc<Self>, depth: Depth) -> Result<()> {
        let this = Arc::clone(self);
        let changed = blocking(move || this.compare(depth)).await?;
        for names in changed.chunks(BATCH) {
            self.refresh(names.to_vec()).await?;
        }
        Ok(())
    }

    /// Reads those of the files that changed and publishes what they are now. Reads without holding anything that others need.
    pub(super) async fn refresh(self: &Arc<Self>, names: Vec<Arc<str>>) -> Result<()> {
        let permit = Arc::clone(&self.readers).acquire_owned().await;
        let this = Arc::clone(self);
        let found = blocking(move || {
            let _permit = permit;
            this.read_changed(names)
        })
        .await?;
        if found.is_empty() {
            return Ok(());
        }
        let guard = Arc::clone(&self.writer).lock_owned().await;
        let this = Arc::clone(self);
        blocking(move || {
            let _guard = guard;
            // Between reading and now a writer may have been here; what it left counts, and is looked at next time.
            let current = found
                .into_iter()
                .filter(|(name, record)| {
                    let now = this.folder.stamp(name).ok().flatten();
                    match (now, record) {
                        (None, None) => true,
                        (Some(now), Some(record)) => record.stamp.agrees(&now),
                        _ => false,
                    }
                })
                .collect();
            this.apply(current);
            Ok(())
        })
        .await
    }

    /// Whether the catalog holds the file in the state that `stamp` describes.
    pub(super) fn knows(&self, name: &str, stamp: Option<Stamp>) -> bool {
        match (self.catalog().get(name), stamp) {
            (None, None) => true,
            (Some(record), Some(stamp)) => record.stamp.agrees(&stamp),
            _ => false,
        }
    }

    fn read_changed(&self, names: Vec<Arc<str>>) -> Result<Vec<(Arc<str>, Option<Record>)>> {
        let mut found = Vec::new();
        let mut failure = None;
        for name in names {
            let stamp = match self.folder.stamp(&name) {
                Ok(stamp) => stamp,
                Err(error) => {
                    failure = Some(Error::internal(
                        format!("hosted file `{name}` cannot be looked at"),
                        error,
                    ));
                    continue;
                }
            };
            self.note_settled(&name, stamp);
            if self.knows(&name, stamp) {
                continue;
            }
            match package::read(&self.folder, &name) {
                Ok(record) => {
                    self.sightings().reads += usize::from(record.is_some());
                    if let Some(Record {
                        content: Content::Broken(reason),
                        ..
                    }) = &record
                    {
                        tracing::warn!(tenant.name = %self.tenant, file = %name, %reason, "a file in the hosted folder is not a chart");
                        self.sightings().note_unsettled(&name);
                    }
                    found.push((name, record));
                }
                // The machine failed; the file may be what it was. It stays as it is known.
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if found.is_empty() => Err(error),
            Some(error) => {
                tracing::warn!(tenant.name = %self.tenant, error = %error.chain(), "some hosted files cannot be read");
                Ok(found)
            }
            None => Ok(found),
        }
    }

    /// Keeps an eye on files that changed a moment ago: whoever writes them may not be done.
    fn note_settled(&self, name: &Arc<str>, stamp: Option<Stamp>) {
        let is_broken = self
            .catalog()
            .get(name)
            .is_some_and(|record| matches!(record.content, Content::Broken(_)));
        if stamp.is_some_and(|stamp| is_broken || self.is_fresh(stamp)) {
            self.sightings().note_unsettled(name);
        } else {
            self.sightings().unsettled.remove(name);
        }
    }

    /// The same for everything that was there at the start.
    pub(super) fn note_unsettled(&self) {
        let catalog = self.catalog();
        let mut sightings = self.sightings();
        for (name, record) in catalog.files() {
            if matches!(record.content, Content::Broken(_)) || self.is_fresh(record.stamp) {
                sightings.note_unsettled(name);
            }
        }
    }

    fn is_fresh(&self, stamp: Stamp) -> bool {
        self.clock.now().duration_since(stamp.modified).abs() < SETTLED_AFTER
    }

    /// The names of files that are not what the catalog says.
    fn compare(&self, depth: Depth) -> Result<Vec<Arc<str>>> {
        let before = self.folder.modified().ok();
        let listed = self.folder.list()?;
        // A name added in the same tick of the folder's clock, after the listing, would not change its time again.
        let settled =
            before.filter(|&time| self.clock.now().duration_since(time).abs() > FOLDER_TICK);
        let mut changed: Vec<Arc<str>> = {
            let mut sightings = self.sightings();
            sightings.folder = settled;
            sightings.unsettled.iter().cloned().collect()
        };
        let mut present: HashSet<Arc<str>> = HashSet::with_capacity(listed.len());
        let mut learned = Vec::new();
        for batch in listed.chunks(BATCH) {
            let stamps = match depth {
                Depth::Names => Vec::new(),
                Depth::Files => self.stamps(batch),
            };
            let catalog = self.catalog();
            for (at, file) in batch.iter().enumerate() {
                present.insert(Arc::clone(&file.name));
                let Some(record) = catalog.get(&file.name) else {
                    changed.push(Arc::clone(&file.name));
                    continue;
                };
                let agrees = match stamps.get(at) {
                    Some(stamp) => stamp.is_some_and(|stamp| record.stamp.agrees(&stamp)),
                    None => record.stamp.tag == 0 || record.stamp.tag == file.inode,
                };
                if !agrees {
                    changed.push(Arc::clone(&file.name));
                } else if record.stamp.tag == 0 && !stamps.is_empty() {
                    learned.push((Arc::clone(&file.name), file.inode));
                }
            }
        }
        // In the catalog and not in the listing: gone, or published after it; `refresh` finds out which.
        changed.extend(
            self.catalog()
                .files()
                .map(|(name, _)| name)
                .filter(|name| !present.contains(*name))
                .cloned(),
        );
        if !learned.is_empty() {
            let mut catalog = self.catalog_mut();
            for (name, inode) in learned {
                catalog.learn_inode(&name, inode);
            }
        }
        Ok(changed)
    }

    /// The stamps of a batch of files; one that cannot be had counts as changed.
    fn stamps(&self, batch: &[super::folder::Listed]) -> Vec<Option<Stamp>> {
        batch
            .iter()
            .map(|file| self.folder.stamp(&file.name).ok().flatten())
            .collect()
    }

    pub(super) fn sightings(&self) -> std::sync::MutexGuard<'_, Sightings> {
        self.sightings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sightings {
    fn note_unsettled(&mut self, name: &Arc<str>) {
        if self.unsettled.len() < MAX_UNSETTLED {
            self.unsettled.insert(Arc::clone(name));
        }
    }
}

/// Reads packages in parallel with `threads` threads. Whatever the machine could not read is left out and logged.
pub(super) fn read_all(
    folder: &super::folder::Folder,
    names: &[Arc<str>],
    threads: usize,
    progress: &(impl Fn(usize) + Sync),
) -> Vec<(Arc<str>, Record)> {
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let work = || {
        let mut read = Vec::new();
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            match package::read(folder, name) {
                Ok(Some(record)) => read.push((Arc::clone(name), record)),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(file = %name, error = %error.chain(), "a hosted file cannot be read");
                }
            }
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
        read
    };
    if threads <= 1 || names.len() < 16 {
        return work();
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_default())
            .collect()
    })
}

/// How many files are read between two updates of the index.
const BATCH: usize = 1024;
/// A file that was not written to for this long is complete.
const SETTLED_AFTER: SignedDuration = SignedDuration::from_secs(10);
/// The coarsest clock of a file system in use.
const FOLDER_TICK: SignedDuration = SignedDuration::from_secs(2);
const MAX_UNSETTLED: usize = 10_000;
