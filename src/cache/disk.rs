//! The disk tier: whole objects in files named by their digest, under a hard cap, least recently used out first.
//!
//! The bookkeeping is in memory (`lru.rs`) and journalled (`ledger.rs`); no lock is held over I/O. Arriving files count
//! towards the cap. A file that is evicted while somebody reads it is only unlinked: the reader keeps it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::folder::Folder;
use super::ledger::{BlobRow, Change, Ledger};
use super::lru::{Entry, Lru, Trust};
use super::temporary::{Temporary, Volume};
use super::tier::{Held, SMALL, Tier, TierStats};
use super::verify;
use crate::clock::Clock;
use crate::digest::Digest;
use crate::metrics::Metrics;

/// Objects in files.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(super) folder: Arc<Folder>,
    pub(super) volume: Arc<dyn Volume>,
    capacity: u64,
    state: Mutex<State>,
    /// Long files whose digest must be checked are read one at a time: many readers of one do not hash it many times.
    checks: Semaphore,
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct State {
    lru: Lru,
    /// Bytes of files in `tmp/`.
    arriving: u64,
    /// Used since the ledger was told last.
    touched: Vec<Digest>,
    told: u64,
}

impl Disk {
    /// The tier over `folder`: what the ledger recorded and what is there without a record. Blocking.
    pub(crate) fn new(
        folder: Arc<Folder>,
        volume: Arc<dyn Volume>,
        capacity: u64,
        recorded: Vec<(Digest, BlobRow)>,
        ledger: Arc<Ledger>,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        let mut state = State::default();
        let mut recorded = recorded
            .into_iter()
            .collect::<std::collections::HashMap<_, _>>();
        let mut present = Vec::with_capacity(recorded.len());
        let mut changes = Vec::new();
        folder.each_blob(|digest, file| {
            let entry = match recorded.remove(&digest) {
                Some(row) => entry(row, Trust::Recorded),
                None => match file.metadata() {
                    Ok(metadata) if metadata.is_file() => found(&metadata),
                    _ => return,
                },
            };
            if entry.trust == Trust::Found {
                changes.push((digest, Some(row(&entry))));
            }
            present.push((digest, entry));
        });
        changes.extend(recorded.into_keys().map(|digest| (digest, None)));
        state.lru.restore(present);
        if !changes.is_empty() {
            ledger.send(Change::Blobs(changes));
        }
        let disk = Self {
            folder,
            volume,
            capacity,
            state: Mutex::new(state),
            checks: Semaphore::new(1),
            ledger,
            metrics,
            clock,
        };
        // The cap may be lower than at the last start.
        let _ = disk.reserve(0);
        disk
    }

    /// Takes over what a ledger recorded that another process held until now.
    pub(crate) fn merge(&self, recorded: Vec<(Digest, BlobRow)>) {
        let rows = {
            let mut state = self.lock();
            for (digest, row) in recorded {
                if let Some(entry) = state.lru.entry_mut(&digest)
                    && entry.trust == Trust::Found
                    && entry.length == row.length
                {
                    entry.trust = Trust::Recorded;
                }
            }
            let all = state.lru.iter();
            all.map(|(digest, entry)| (*digest, Some(row(entry))))
                .collect()
        };
        self.ledger.send(Change::Blobs(rows));
    }

    /// Whether the object is here; not a use.
    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.lock().lru.contains(digest)
    }

    /// The largest object that fits.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Counts as a use: for a copy of the object that was served from memory.
    pub(crate) fn touch(&self, digest: &Digest) -> bool {
        self.used(digest).is_some()
    }

    /// Tells the ledger which objects were used. Not blocking: the ledger writes on its own thread.
    pub(crate) fn tell_uses(&self) {
        let rows = take_touched(&mut self.lock());
        self.ledger.send(Change::Blobs(rows));
    }

    /// Makes room for `bytes` that are about to be written and counts them. Blocking: evicted files are unlinked first.
    ///
    /// Errors: `QuotaExceeded` where arriving files alone would be over the cap; nothing is evicted then.
    pub(super) fn reserve(&self, bytes: u64) -> io::Result<()> {
        let victims = {
            let mut state = self.lock();
            if state.arriving + bytes > self.capacity {
                return Err(io::Error::new(
                    io::ErrorKind::QuotaExceeded,
                    "the object does not fit into the disk cache",
                ));
            }
            state.arriving += bytes;
            let mut victims = Vec::new();
            while state.lru.bytes() + state.arriving > self.capacity
                && let Some((digest, _)) = state.lru.pop_oldest()
            {
                victims.push(digest);
            }
            self.report(&state);
            victims
        };
        self.unlink(victims);
        Ok(())
    }

    /// Gives a reservation back.
    pub(super) fn release(&self, bytes: u64) {
        let mut state = self.lock();
        state.arriving -= bytes;
        self.report(&state);
    }

    /// Evicts at least `bytes`, because the disk is fuller than the cap assumes. `false`: nothing is left. Blocking.
    pub(super) fn shed(&self, bytes: u64) -> bool {
        let mut victims = Vec::new();
        let mut freed = 0;
        {
            let mut state = self.lock();
            while freed < bytes
                && let Some((digest, entry)) = state.lru.pop_oldest()
            {
                freed += entry.length;
                victims.push(digest);
            }
            self.report(&state);
        }
        self.unlink(victims);
        freed > 0
    }

    /// Turns a reservation into an object whose file is in place and whose bytes this process has hashed.
    pub(super) fn settle(&self, digest: Digest, length: u64) {
        let stamp = {
            let mut state = self.lock();
            state.arriving -= length;
            let stamp = state.lru.insert(digest, length, self.now(), Trust::Checked);
            self.report(&state);
            stamp
        };
        let row = BlobRow { length, stamp };
        self.ledger.send(Change::Blobs(vec![(digest, Some(row))]));
    }

    /// An uncounted [`Tier::get`].
    pub(crate) async fn open_object(&self, digest: &Digest) -> Option<Held> {
        let mut entry = self.used(digest)?;
        let mut _turn = None;
        if entry.trust == Trust::Found && entry.length > SMALL {
            _turn = self.checks.acquire().await.ok();
            entry = self.used(digest)?;
        }
        let path = self.folder.blob(digest);
        let wanted = *digest;
        let read = tokio::task::spawn_blocking(move || verify::open(&path, &wanted, &entry)).await;
        match read {
            Ok(Ok((held, checked))) => {
                if checked && let Some(entry) = self.lock().lru.entry_mut(digest) {
                    entry.trust = Trust::Checked;
                }
                Some(held)
            }
            Ok(Err(error)) => {
                self.give_up(*digest, &error).await;
                None
            }
            Err(_) => None,
        }
    }

    /// Forgets an object that cannot be used. A file that could not be opened for want of descriptors stays.
    async fn give_up(&self, digest: Digest, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::NotFound => {}
            io::ErrorKind::InvalidData => {
                tracing::warn!(%digest, %error, "a cached object is damaged; it is removed and fetched again");
            }
            _ => {
                tracing::warn!(%digest, %error, "a cached object cannot be read");
                return;
            }
        }
        self.remove(&digest).await;
    }

    fn used(&self, digest: &Digest) -> Option<Entry> {
        let now = self.now();
        let mut state = self.lock();
        let entry = state.lru.touch(digest, now)?;
        if !entry.touched {
            state.touched.push(*digest);
        }
        if now.saturating_sub(state.told) > TELL_USES_AFTER {
            state.told = now;
            let rows = take_touched(&mut state);
            drop(state);
            self.ledger.send(Change::Blobs(rows));
        }
        Some(entry)
    }

    fn unlink(&self, victims: Vec<Digest>) {
        if victims.is_empty() {
            return;
        }
        for digest in &victims {
            if let Err(error) = std::fs::remove_file(self.folder.blob(digest))
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%digest, %error, "cannot remove an evicted object");
            }
        }
        let gone = victims.into_iter().map(|digest| (digest, None)).collect();
        self.ledger.send(Change::Blobs(gone));
    }

    fn report(&self, state: &State) {
        self.metrics
            .cache_bytes("disk", state.lru.bytes() + state.arriving);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.now().as_microsecond()).unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Tier for Arc<Disk> {
    fn name(&self) -> &'static str {
        "disk"
    }

    async fn get(&self, digest: &Digest) -> Option<Held> {
        let held = self.open_object(digest).await;
        let result = if held.is_some() { "hit" } else { "miss" };
        self.metrics.cache_request("disk", result);
        held
    }

    async fn put(&self, digest: &Digest, bytes: Bytes) {
        if self.capacity < bytes.len() as u64 || self.contains(digest) {
            return;
        }
        let (disk, digest) = (Self::clone(self), *digest);
        let written = tokio::task::spawn_blocking(move || {
            let mut temporary = Temporary::create(disk)?;
            if let Err(error) = temporary.append(&bytes) {
                temporary.discard();
                return Err(error);
            }
            temporary.commit(digest)
        });
        if let Ok(Err(error)) = written.await {
            tracing::warn!(%digest, %error, "an object could not be kept on disk");
        }
    }

    async fn remove(&self, digest: &Digest) {
        Disk::remove(self, digest).await;
    }

    fn stats(&self) -> TierStats {
        let state = self.lock();
        TierStats {
            objects: state.lru.len() as u64,
            bytes: state.lru.bytes() + state.arriving,
            capacity: self.capacity,
        }
    }
}

impl Disk {
    async fn remove(&self, digest: &Digest) {
        {
            let mut state = self.lock();
            state.lru.remove(digest);
            self.report(&state);
        }
        let path = self.folder.blob(digest);
        let _ = tokio::task::spawn_blocking(move || std::fs::remove_file(path)).await;
        self.ledger.send(Change::Blobs(vec![(*digest, None)]));
    }
}

fn take_touched(state: &mut State) -> Vec<(Digest, Option<BlobRow>)> {
    let touched = std::mem::take(&mut state.touched);
    let rows = touched.into_iter().filter_map(|digest| {
        let entry = state.lru.entry_mut(&digest)?;
        entry.touched = false;
        Some((digest, Some(row(entry))))
    });
    rows.collect()
}

fn row(entry: &Entry) -> BlobRow {
    BlobRow {
        length: entry.length,
        stamp: entry.stamp,
    }
}

fn entry(row: BlobRow, trust: Trust) -> Entry {
    Entry {
        length: row.length,
        stamp: row.stamp,
        trust,
        touched: false,
    }
}

/// A file without a record counts as used when it was written.
fn found(metadata: &std::fs::Metadata) -> Entry {
    let written = metadata.modified().ok();
    let age = written.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    Entry {
        length: metadata.len(),
        stamp: age.map_or(0, |age| u64::try_from(age.as_micros()).unwrap_or(0)),
        trust: Trust::Found,
        touched: false,
    }
}

/// How long uses are collected before the ledger is told, in microseconds.
const TELL_USES_AFTER: u64 = 1_000_000;
