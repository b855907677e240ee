//! What the cache holds, what names mean and which repository may show what, on disk: a journal of the bookkeeping that is kept in memory.
//!
//! The only home of the `redb` crate. One thread owns the database; others send it changes, which it writes in batches, so
//! that no request waits for it. Everything here can be rebuilt from the files: a ledger that is missing or damaged is
//! replaced by a new one, and one that another process still holds (the old one, during an upgrade) is taken over later.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::digest::Digest;

/// The sending side: cheap, never blocks.
#[derive(Debug)]
pub(crate) struct Ledger {
    changes: Mutex<Option<mpsc::Sender<Change>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// One change, or a word to the thread.
pub(crate) enum Change {
    /// Objects that came, were used (`Some`) or went (`None`).
    Blobs(Vec<(Digest, Option<BlobRow>)>),
    /// A name that means something (`Some`) or nothing any more (`None`).
    Name(Box<str>, Option<NameRow>),
    /// Links that were made or changed (`Some`) or went (`None`).
    Links(Vec<(LinkId, Option<LinkRow>)>),
    /// Called with what the ledger holds once another process has released it.
    WhenReleased(Box<dyn FnOnce(Contents) + Send>),
}

/// An object on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlobRow {
    /// Bytes.
    pub(crate) length: u64,
    /// The last use, see `lru.rs`.
    pub(crate) stamp: u64,
}

/// What a name means; times in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameRow {
    /// The digest of the bytes; `None`: the name does not exist at the upstream.
    pub(crate) digest: Option<Digest>,
    /// When the upstream said so.
    pub(crate) at: i64,
    /// Until when that counts.
    pub(crate) until: i64,
}

/// What a link is found by.
pub(crate) type LinkId = [u8; 16];

/// A link, see `links.rs`; the time in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkRow {
    /// What the bytes are kept under, where that is known.
    pub(crate) digest: Option<Digest>,
    /// Which repository it belongs to.
    pub(crate) home: u64,
    /// Bytes.
    pub(crate) size: u64,
    /// The last use, about.
    pub(crate) at: i64,
    /// What it is, and why it is believed.
    pub(crate) kind: u8,
}

/// Everything a ledger holds.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Objects.
    pub(crate) blobs: Vec<(Digest, BlobRow)>,
    /// Names.
    pub(crate) names: Vec<(Box<str>, NameRow)>,
    /// Links.
    pub(crate) links: Vec<(LinkId, LinkRow)>,
    /// Another process holds the ledger: nothing is known yet.
    pub(crate) busy: bool,
}

impl Ledger {
    /// Opens or creates the ledger at `path` and reads it. Blocking: for the blocking pool.
    ///
    /// Where that is impossible (a full disk, say) the cache works without one, and forgets names and recency at its end.
    pub(crate) fn open(path: &Path) -> (Self, Contents) {
        if let Some(opened) = Self::start(path) {
            return opened;
        }
        tracing::warn!(file = %path.display(), "the cache's ledger is damaged; it is rebuilt from the files");
        if let Err(error) = std::fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(file = %path.display(), %error, "cannot remove the damaged ledger");
        }
        Self::start(path).unwrap_or_else(|| {
            tracing::warn!(file = %path.display(), "the cache works without a ledger; is the disk full?");
            let ledger = Self {
                changes: Mutex::new(None),
                thread: Mutex::new(None),
            };
            (ledger, Contents::default())
        })
    }

    /// Sends a change. After [`Ledger::close`] it is dropped.
    pub(crate) fn send(&self, change: Change) {
        if let Some(changes) = &*self.changes.lock().unwrap_or_else(PoisonError::into_inner) {
            // The thread ends early only by a panic inside redb; the cache then works without a ledger.
            let _ = changes.send(change);
        }
    }

    /// Writes what is pending and releases the file. Blocking.
    pub(crate) fn close(&self) {
        drop(
            self.changes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::warn!("the cache's ledger failed; it is rebuilt at the next start");
        }
    }

    /// `None`: the file is damaged (which redb tells by an error or by a panic) or cannot be created.
    fn start(path: &Path) -> Option<(Self, Contents)> {
        let (changes, receiver) = mpsc::channel();
        let (loaded, wait) = mpsc::channel();
        let path = path.to_owned();
        let thread = std::thread::Builder::new()
            .name("cache-ledger".to_owned())
            .spawn(move || run(&path, &loaded, &receiver))
            .ok()?;
        match wait.recv() {
            Ok(contents) => {
                let ledger = Self {
                    changes: Mutex::new(Some(changes)),
                    thread: Mutex::new(Some(thread)),
                };
                Some((ledger, contents))
            }
            Err(_) => {
                let _ = thread.join();
                None
            }
        }
    }
}

/// The life of the thread. Returns early (dropping `loaded`) where the file cannot be used.
fn run(path: &Path, loaded: &mpsc::Sender<Contents>, changes: &mpsc::Receiver<Change>) {
    let mut batch = Batch::default();
    let _guard = RemoveIfPanicking(path.to_owned());
    let database = match open(path) {
        Ok(database) => {
            match load(&database) {
                Ok(contents) => drop(loaded.send(contents)),
                Err(error) => return tracing::warn!(%error, "the cache's ledger cannot be read"),
            }
            database
        }
        Err(DatabaseError::DatabaseAlreadyOpen) => {
            let contents = Contents {
                busy: true,
                ..Contents::default()
            };
            let _ = loaded.send(contents);
            match wait_for_release(path, changes, &mut batch) {
                Some(database) => database,
                None => return,
            }
        }
        Err(error) => return tracing::warn!(%error, "the cache's ledger cannot be opened"),
    };
    let mut more = true;
    while more {
        more = batch.collect(changes, BATCH_FOR);
        if let Err(error) = batch.write(&database) {
            tracing::warn!(%error, "the cache's ledger is damaged; it is rebuilt at the next start");
            drop(std::fs::remove_file(path));
            return;
        }
    }
}

/// redb finds some damage by a panic. The file is of no use then, and without it the next start rebuilds it.
struct RemoveIfPanicking(PathBuf);

impl Drop for RemoveIfPanicking {
    fn drop(&mut self) {
        if std::thread::panicking() {
            drop(std::fs::remove_file(&self.0));
        }
    }
}

/// Collects changes until the other process has released the file. `None`: the cache was closed before that.
fn wait_for_release(
    path: &Path,
    changes: &mpsc::Receiver<Change>,
    batch: &mut Batch,
) -> Option<Database> {
    let mut callback = None;
    let mut retry = Instant::now() + BUSY_RETRY;
    let mut closed = false;
    loop {
        match changes.recv_timeout(retry.saturating_duration_since(Instant::now())) {
            Ok(Change::WhenReleased(call)) => callback = Some(call),
            Ok(change) => batch.apply(change),
            Err(RecvTimeoutError::Disconnected) => closed = true,
            Err(RecvTimeoutError::Timeout) => {}
        }
        // Not before there is somebody to tell.
        if closed || (callback.is_some() && retry <= Instant::now()) {
            if let Ok(database) = open(path) {
                let mut contents = load(&database).unwrap_or_default();
                contents
                    .names
                    .retain(|(name, _)| !batch.names.contains_key(name));
                contents
                    .links
                    .retain(|(link, _)| !batch.links.contains_key(link));
                if let Some(callback) = callback {
                    callback(contents);
                }
                return Some(database);
            }
            retry = Instant::now() + BUSY_RETRY;
        }
        if closed {
            return None;
        }
    }
}

fn open(path: &Path) -> Result<Database, DatabaseError> {
    Database::builder().set_cache_size(CACHE_BYTES).create(path)
}

fn load(database: &Database) -> Result<Contents, redb::Error> {
    let mut contents = Contents::default();
    let read = database.begin_read()?;
    let blobs = match read.open_table(BLOBS) {
        Ok(blobs) => blobs,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(contents),
        Err(error) => return Err(error.into()),
    };
    for row in blobs.iter()? {
        let (key, value) = row?;
        let (length, stamp) = value.value();
        contents
            .blobs
            .push((Digest::from_bytes(*key.value()), BlobRow { length, stamp }));
    }
    for row in read.open_table(NAMES)?.iter()? {
        let (key, value) = row?;
        let (digest, at, until) = value.value();
        let digest = digest.map(|bytes| Digest::from_bytes(*bytes));
        contents
            .names
            .push((key.value().into(), NameRow { digest, at, until }));
    }
    let links = match read.open_table(LINKS) {
        Ok(links) => links,
        // A ledger of a time without links.
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(contents),
        Err(error) => return Err(error.into()),
    };
    for row in links.iter()? {
        let (key, value) = row?;
        let (digest, home, size, at, kind) = value.value();
        let row = LinkRow {
            digest: digest.map(|bytes| Digest::from_bytes(*bytes)),
            home,
            size,
            at,
            kind,
        };
        contents.links.push((*key.value(), row));
    }
    Ok(contents)
}

/// Changes that are not written yet; a later one replaces an earlier one.
#[derive(Default)]
struct Batch {
    blobs: HashMap<Digest, Option<BlobRow>>,
    names: HashMap<Box<str>, Option<NameRow>>,
    links: HashMap<LinkId, Option<LinkRow>>,
}

impl Batch {
    /// Waits for a change, then for more until `period` is over. `false`: there will be no more.
    fn collect(&mut self, changes: &mpsc::Receiver<Change>, period: Duration) -> bool {
        match changes.recv() {
            Ok(change) => self.apply(change),
            Err(_) => return false,
        }
        let deadline = Instant::now() + period;
        loop {
            match changes.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(change) => self.apply(change),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Blobs(rows) => self.blobs.extend(rows),
            Change::Name(name, row) => drop(self.names.insert(name, row)),
            Change::Links(rows) => self.links.extend(rows),
            Change::WhenReleased(_) => {}
        }
    }

    /// Writes all changes in one durable transaction. Where that fails they stay for the next one. Errors: the file is
    /// damaged.
    fn write(&mut self, database: &Database) -> Result<(), redb::Error> {
        if self.blobs.is_empty() && self.names.is_empty() && self.links.is_empty() {
            return Ok(());
        }
        match self.commit(database) {
            Ok(()) => {
                self.blobs.clear();
                self.names.clear();
                self.links.clear();
            }
            Err(error @ redb::Error::Corrupted(_)) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "the cache's ledger cannot be written; trying again with the next change");
            }
        }
        Ok(())
    }

    fn commit(&self, database: &Database) -> Result<(), redb::Error> {
        let mut write = database.begin_write()?;
        // Repair after a kill then costs nothing, which is worth more than the few pages it adds to a batch.
        write.set_quick_repair(true);
        {
            let mut blobs = write.open_table(BLOBS)?;
            for (digest, row) in &self.blobs {
                match row {
                    Some(row) => drop(blobs.insert(digest.as_bytes(), (row.length, row.stamp))?),
                    None => drop(blobs.remove(digest.as_bytes())?),
                }
            }
            let mut names = write.open_table(NAMES)?;
            for (name, row) in &self.names {
                match row {
                    Some(row) => {
                        let digest = row.digest.as_ref().map(Digest::as_bytes);
                        drop(names.insert(&**name, (digest, row.at, row.until))?);
                    }
                    None => drop(names.remove(&**name)?),
                }
            }
            let mut links = write.open_table(LINKS)?;
            for (link, row) in &self.links {
                match row {
                    Some(row) => {
                        let digest = row.digest.as_ref().map(Digest::as_bytes);
                        let value = (digest, row.home, row.size, row.at, row.kind);
                        drop(links.insert(link, value)?);
                    }
                    None => drop(links.remove(link)?),
                }
            }
        }
        write.commit()?;
        Ok(())
    }
}

/// digest -> (length, stamp of the last use)
const BLOBS: TableDefinition<'_, &[u8; 32], (u64, u64)> = TableDefinition::new("blobs");

/// name -> (digest, or nothing where it does not exist; when that was said; until when it counts)
const NAMES: TableDefinition<'_, &str, (Option<&[u8; 32]>, i64, i64)> =
    TableDefinition::new("names");

/// link -> (digest of the bytes, repository, length, last use, what and why)
const LINKS: TableDefinition<'_, &LinkId, LinkValue<'_>> = TableDefinition::new("links");

type LinkValue<'a> = (Option<&'a [u8; 32]>, u64, u64, i64, u8);

/// How long changes are collected before they are written.
const BATCH_FOR: Duration = Duration::from_millis(500);

/// How often a ledger that another process holds is tried again.
const BUSY_RETRY: Duration = Duration::from_millis(500);

/// redb's page cache; the ledger is read once and then only written.
const CACHE_BYTES: usize = 4 << 20;
