//! Noticing what others do in the folder: cheap looks often, a thorough one now and then, reading only what changed.
//!
//! A change of names shows in the folder's own time, and a file that was replaced by renaming in its inode, which a listing
//! gives for free. A file rewritten in place shows only in its own time and size, so files that are not settled (just changed,
//! or broken and perhaps still being copied) are looked at every time, and all files every few minutes.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use futures_util::stream::{self, StreamExt as _};
use jiff::{SignedDuration, Timestamp};

use super::edits::Reading;
use super::folder::{Folder, Listed};
use super::package::{self, Content, Record};
use super::place::Place;
use super::{Hosted, Problem, blocking};
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

/// What came of reading files.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// How many were read, or found to be gone.
    pub(super) found: usize,
    /// The last failure.
    pub(super) failure: Option<Error>,
}

/// What earlier looks left to remember.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    /// The folder's time before its names were last listed; `None` if something may have happened in the same tick.
    pub(super) folder: Option<Timestamp>,
    pub(super) unsettled: HashSet<Arc<str>>,
    /// Packages that are there and cannot be read, and why.
    pub(super) unread: BTreeMap<Arc<str>, Arc<str>>,
    /// How many packages were read, for tests and logs.
    pub(super) reads: usize,
}

impl Hosted {
    /// Compares the place with what is known of it and brings the index up to date.
    ///
    /// Reads only files that are new or changed. When it returns, the index shows what the place held when it was called. A
    /// bucket is always looked at as closely as it can be.
    pub async fn rescan(self: &Arc<Self>, depth: Depth) -> Result<()> {
        let looked = match &self.place {
            Place::Folder(folder) => self.rescan_folder(folder, depth).await,
            Place::Bucket(shelf) => self.list(shelf).await,
        };
        match &looked {
            Ok(()) => self.note_complete(),
            Err(error) => self.sight.failed(error),
        }
        looked
    }

    async fn rescan_folder(self: &Arc<Self>, folder: &Arc<Folder>, depth: Depth) -> Result<()> {
        let reading = self.edits.begin();
        let (this, folder) = (Arc::clone(self), Arc::clone(folder));
        let changed = blocking(move || {
            let news = this.compare(&folder, depth)?;
            let (changed, failure) = this.changed(&folder, news);
            if let Some(error) = failure {
                tracing::warn!(tenant.name = %this.tenant, error = %error.chain(), "some hosted files cannot be looked at");
            }
            Ok(changed)
        })
        .await?;
        // One that cannot be read is reported by its name; the others are up to date.
        self.take_in(changed, &reading).await?;
        Ok(())
    }

    /// Reads those of the files that changed and publishes what they are now. Reads without holding anything that others need.
    pub(super) async fn refresh(self: &Arc<Self>, names: Vec<Arc<str>>) -> Result<()> {
        let reading = self.edits.begin();
        let (changed, failure) = match &self.place {
            Place::Folder(folder) => {
                let (this, folder) = (Arc::clone(self), Arc::clone(folder));
                blocking(move || Ok(this.changed(&folder, names))).await?
            }
            Place::Bucket(shelf) => {
                let mut changed = Vec::new();
                for name in names {
                    let stamp = shelf.stamp(&name).await?;
                    if !self.knows(&name, stamp) {
                        changed.push(name);
                    }
                }
                (changed, None)
            }
        };
        let taken = self.take_in(changed, &reading).await?;
        match taken.failure.or(failure) {
            Some(error) if taken.found == 0 => Err(error),
            _ => Ok(()),
        }
    }

    /// Reads files, several at a time, and publishes what they are. One that the machine or the bucket could not read stays as
    /// it is known.
    pub(super) async fn take_in(
        self: &Arc<Self>,
        names: Vec<Arc<str>>,
        reading: &Reading,
    ) -> Result<Taken> {
        let mut taken = Taken::default();
        for batch in names.chunks(BATCH) {
            let reads = batch.iter().cloned().map(|name| {
                let this = Arc::clone(self);
                async move {
                    let _permit = this.readers.acquire().await;
                    let read = this.place.read(&name).await;
                    (name, read)
                }
            });
            let reads: Vec<_> = stream::iter(reads)
                .buffer_unordered(self.parallel)
                .collect()
                .await;
            let mut found = Vec::with_capacity(reads.len());
            for (name, read) in reads {
                match read {
                    Ok(record) => {
                        self.note_read(&name, record.as_ref());
                        found.push((name, record));
                    }
                    Err(error) => {
                        tracing::warn!(tenant.name = %self.tenant, file = %name, error = %error.chain(), "a hosted file cannot be read");
                        self.sightings().note_unread(&name, &error);
                        taken.failure = Some(error);
                    }
                }
            }
            taken.found += found.len();
            self.take_over(found, reading).await?;
        }
        Ok(taken)
    }

    /// Publishes what files were found to be, but for those that a writer has changed since.
    async fn take_over(
        self: &Arc<Self>,
        found: Vec<(Arc<str>, Option<Record>)>,
        reading: &Reading,
    ) -> Result<()> {
        if found.is_empty() {
            return Ok(());
        }
        let guard = Arc::clone(&self.writer).lock_owned().await;
        match &self.place {
            Place::Folder(folder) => {
                let (this, folder) = (Arc::clone(self), Arc::clone(folder));
                blocking(move || {
                    let _guard = guard;
                    // What was left meanwhile counts, whoever left it, and is looked at next time.
                    let is_current = |(name, record): &(Arc<str>, Option<Record>)| {
                        let now = folder.stamp(name).ok().flatten();
                        match (now, record) {
                            (None, None) => true,
                            (Some(now), Some(record)) => record.stamp.agrees(&now),
                            _ => false,
                        }
                    };
                    this.apply(found.into_iter().filter(is_current).collect());
                    Ok(())
                })
                .await
            }
            Place::Bucket(_) => {
                let is_current = |(name, _): &(Arc<str>, _)| !reading.is_edited(name);
                let current: Vec<_> = found.into_iter().filter(is_current).collect();
                let this = Arc::clone(self);
                blocking(move || {
                    let _guard = guard;
                    this.apply(current);
                    Ok(())
                })
                .await
            }
        }
    }

    /// Whether the catalog holds the file in the state that `stamp` describes.
    pub(super) fn knows(&self, name: &str, stamp: Option<Stamp>) -> bool {
        match (self.catalog().get(name), stamp) {
            (None, None) => true,
            (Some(record), Some(stamp)) => self.agrees(record, &stamp),
            _ => false,
        }
    }

    /// Those of the files that are not as they are known, and the last failure to look at one.
    fn changed(&self, folder: &Folder, names: Vec<Arc<str>>) -> (Vec<Arc<str>>, Option<Error>) {
        let mut failure = None;
        let is_changed = |name: &Arc<str>| match folder.stamp(name) {
            Ok(stamp) => {
                self.note_settled(name, stamp);
                !self.knows(name, stamp)
            }
            Err(error) => {
                let text = format!("hosted file `{name}` cannot be looked at");
                failure = Some(Error::internal(text, error));
                false
            }
        };
        let changed = names.into_iter().filter(is_changed).collect();
        (changed, failure)
    }

    fn note_read(&self, name: &Arc<str>, record: Option<&Record>) {
        let mut sightings = self.sightings();
        sightings.unread.remove(name);
        sightings.reads += usize::from(record.is_some());
        if let Some(Record {
            content: Content::Broken(reason),
            ..
        }) = record
        {
            tracing::warn!(tenant.name = %self.tenant, file = %name, %reason, "a hosted file is not a chart");
            if !self.place.is_remote() {
                sightings.note_unsettled(name);
            }
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
    fn compare(&self, folder: &Folder, depth: Depth) -> Result<Vec<Arc<str>>> {
        let before = folder.modified().ok();
        let listed = folder.list()?;
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
                Depth::Files => stamps(folder, batch),
            };
            let catalog = self.catalog();
            for (at, file) in batch.iter().enumerate() {
                present.insert(Arc::clone(&file.name));
                let Some(record) = catalog.get(&file.name) else {
                    changed.push(Arc::clone(&file.name));
                    continue;
                };
                let agrees = match stamps.get(at) {
                    Some(stamp) => stamp.is_some_and(|stamp| self.agrees(record, &stamp)),
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

    pub(super) fn sightings(&self) -> std::sync::MutexGuard<'_, Sightings> {
        self.sightings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sightings {
    fn note_unread(&mut self, name: &Arc<str>, error: &Error) {
        if self.unread.len() < MAX_UNSETTLED {
            self.unread.insert(Arc::clone(name), error.message().into());
        }
    }

    /// Packages that are there and cannot be read.
    pub(super) fn unread(&self) -> impl Iterator<Item = Problem> {
        self.unread.iter().map(|(file, reason)| Problem {
            file: Arc::clone(file),
            reason: Arc::clone(reason),
        })
    }

    fn note_unsettled(&mut self, name: &Arc<str>) {
        if self.unsettled.len() < MAX_UNSETTLED {
            self.unsettled.insert(Arc::clone(name));
        }
    }
}

/// The stamps of a batch of files; one that cannot be had counts as changed.
fn stamps(folder: &Folder, batch: &[Listed]) -> Vec<Option<Stamp>> {
    batch
        .iter()
        .map(|file| folder.stamp(&file.name).ok().flatten())
        .collect()
}

/// Reads packages in parallel with `threads` threads. Whatever the machine could not read is left out and logged.
pub(super) fn read_all(
    folder: &Folder,
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
