//! One tenant's hosted charts: packages in ChartMuseum's layout, in a folder or in a bucket, and the index of what is there.
//!
//! The place is the truth; the index is derived from it and held in memory. Readers take a pointer to the current index and
//! never wait. Writers go one at a time: validated upload -> published under its name, durable -> index updated, and only then
//! is the upload answered. Whatever others place, replace or remove is noticed by [`Hosted::watch`], and by
//! [`Hosted::open_file`] at the latest when it is asked for. See [`folder`] and [`shelf`] for what lies where.

mod catalog;
mod deliver;
mod edits;
mod evict;
mod folder;
mod interest;
mod listing;
mod package;
mod place;
mod places;
mod publish;
mod remove;
mod rescan;
mod shelf;
mod sight;
mod spool;
mod state;
mod stream;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::SignedDuration;
use tokio::sync::Semaphore;
use tokio::sync::watch as channel;

use self::catalog::{Catalog, Change};
use self::edits::Edits;
use self::folder::Folder;
use self::interest::Interest;
use self::package::Record;
use self::place::Place;
use self::shelf::Shelf;
use self::sight::Sight;
use self::state::{Keeper, Tags};
use crate::clock::Clock;
use crate::config;
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Entry, SourceIndex};
use crate::names::TenantPath;
use crate::net::Clients;
use crate::object::{Bucket, Stamp};
use crate::store::files::blocking;
use crate::store::scratch::Scratches;

pub use self::deliver::{StoredContent, StoredFile, StoredObject};
pub use self::evict::Limits;
pub use self::places::Places;
pub(super) use self::places::identity;
pub use self::publish::{NameCheck, OverwritePermission, Upload};
pub use self::rescan::Depth;
pub use self::sight::Freshness;
pub use self::spool::{Spool, Spooled};

/// One tenant's hosted charts.
#[derive(Debug)]
pub struct Hosted {
    tenant: TenantPath,
    place: Place,
    clock: Clock,
    index: ArcSwap<SourceIndex>,
    /// What the place held when it was last looked at. Locked for look-ups and edits in memory only.
    catalog: RwLock<Catalog>,
    /// Held by whoever changes the place and the index together.
    writer: Arc<tokio::sync::Mutex<()>>,
    /// Bounds how many archives are read at a time, and so the memory that this takes.
    readers: Arc<Semaphore>,
    parallel: usize,
    edits: Edits,
    generation: channel::Sender<u64>,
    keeper: Keeper,
    sightings: Mutex<rescan::Sightings>,
    sight: Sight,
    interest: Interest,
    /// One listing of a bucket at a time.
    listing: tokio::sync::Mutex<()>,
    refresh: Duration,
    tolerance: SignedDuration,
}

/// A file that is there and not in the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file's name.
    pub file: Arc<str>,
    /// Why it is not listed.
    pub reason: Arc<str>,
}

/// What a store is made of besides its configuration.
#[derive(Debug)]
pub struct Parts<'a> {
    /// Where what is known of the files is kept between two runs (`<data_dir>/cache/hosted`). Disposable. Uploads to buckets
    /// are spooled in a folder beside it.
    pub state_dir: PathBuf,
    /// Connections to object stores.
    pub clients: &'a Clients,
    /// The time.
    pub clock: Clock,
    /// Buckets that are open already.
    pub places: &'a Places,
}

impl Hosted {
    /// Opens the tenant's part of `store`. Makes nothing there and nothing on disk: what does not exist is empty.
    ///
    /// A folder is completely indexed when this returns. What was known of a file when the state was saved is taken over unless
    /// this process's predecessor changed the file since; the names in the folder are always listed, so no upload is missed and
    /// no removed file is shown. Everything else is read in parallel; `progress` is told `(done, total)` from several threads.
    ///
    /// A bucket is not asked for anything: what an earlier run knew is shown at once, and [`Hosted::watch`] brings it up to
    /// date; without such a state nothing is shown before the first complete listing ([`Hosted::settled`]).
    ///
    /// Cancelling leaves nothing behind. A damaged state is ignored with a warning.
    pub async fn open(
        store: &config::Store,
        tenant: &TenantPath,
        parts: Parts<'_>,
        progress: impl Fn(usize, usize) + Send + Sync + 'static,
    ) -> Result<Arc<Self>> {
        let parallel = match store.readers {
            0 => parallelism(),
            readers => readers,
        };
        let (state_dir, clock) = (parts.state_dir, parts.clock);
        let opened = match &store.place {
            config::Place::Folder(root) => {
                let (root, tenant) = (root.clone(), tenant.clone());
                let open = move || open_folder(&root, &tenant, &state_dir, parallel, &progress);
                blocking(open).await?
            }
            config::Place::Objects(objects) => {
                let bucket = parts.places.bucket(objects, parts.clients, &clock)?;
                let (place, tenant) = (identity(objects), tenant.clone());
                blocking(move || Ok(open_bucket(bucket, &place, &tenant, &state_dir))).await?
            }
        };
        let this = Arc::new(Self {
            tenant: tenant.clone(),
            place: opened.place,
            clock,
            index: ArcSwap::from_pointee(opened.index),
            catalog: RwLock::new(opened.catalog),
            writer: Arc::default(),
            readers: Arc::new(Semaphore::new(parallel)),
            parallel,
            edits: Edits::default(),
            generation: channel::Sender::new(0),
            keeper: opened.keeper,
            sightings: Mutex::default(),
            sight: opened.sight,
            interest: Interest::new(),
            listing: tokio::sync::Mutex::default(),
            refresh: store.refresh,
            tolerance: SignedDuration::try_from(store.timestamp_tolerance)
                .unwrap_or(SignedDuration::MAX),
        });
        if !this.place.is_remote() {
            this.note_unsettled();
        }
        Ok(this)
    }

    /// The tenant whose charts these are.
    pub fn tenant(&self) -> &TenantPath {
        &self.tenant
    }

    /// Takes note that somebody asks for what is here, to be told at every request: the less a folder is asked for, the less
    /// often [`Hosted::watch`] looks at it. Where it did not for long, it does now, beside the request.
    pub fn note_use(&self) {
        self.interest.note();
    }

    /// The index as it is now.
    pub fn index(&self) -> Arc<SourceIndex> {
        self.index.load_full()
    }

    /// How many versions are hosted.
    pub fn versions(&self) -> usize {
        self.index.load().versions()
    }

    /// Whether no package is known to be here. In a bucket that was not listed yet none is; see [`Hosted::freshness`].
    pub fn is_empty(&self) -> bool {
        self.catalog().files().len() == 0
    }

    /// How current the index is.
    pub fn freshness(&self) -> Freshness {
        self.sight.freshness(!self.place.is_remote(), &self.clock)
    }

    /// Why the last look at the store failed, while that lasts.
    pub fn failure(&self) -> Option<String> {
        self.sight.failure()
    }

    /// Waits until the index is known or the first look at the store has failed; [`Hosted::watch`] looks. Cancel-safe.
    pub async fn settled(&self) {
        self.sight.settled().await;
    }

    /// A number that grows with every change of the index, for waiting on changes.
    pub fn subscribe(&self) -> channel::Receiver<u64> {
        self.generation.subscribe()
    }

    /// The name under which the archive of `entry` is stored; `None` if it is not hosted (any more).
    pub fn stored_name(&self, entry: &Entry) -> Option<Arc<str>> {
        self.catalog()
            .winner(&entry.file_name())
            .map(|(stored, _)| Arc::clone(stored))
    }

    /// Files that are not listed and why, by name; the first thousand.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.catalog().problems(MAX_PROBLEMS);
        problems.extend(self.sightings().unread());
        problems.truncate(MAX_PROBLEMS);
        problems
    }

    /// Saves what is known of the files, so that the next start need not read them. Does nothing if nothing changed.
    pub async fn flush(self: &Arc<Self>) -> Result<()> {
        // In this order: a second save waits without keeping uploads waiting.
        let saving = Arc::clone(&self.keeper.saving).lock_owned().await;
        let writer = Arc::clone(&self.writer).lock_owned().await;
        let this = Arc::clone(self);
        blocking(move || {
            let _saving = saving;
            this.keeper.save(writer, &this)
        })
        .await
    }

    /// Takes over changed records, and publishes the index that follows from them. The caller holds `writer`.
    fn apply(&self, records: Vec<(Arc<str>, Option<Record>)>) {
        let mut changes = Vec::new();
        let mut catalog = self.catalog_mut();
        for (name, record) in records {
            self.edits.note(&name);
            changes.extend(catalog.set(name, record));
        }
        self.keeper.changed();
        if changes.is_empty() {
            return;
        }
        let winners = (changes.len() > MANY).then(|| catalog.winners());
        drop(catalog);
        let index = if let Some(winners) = winners {
            SourceIndex::from_entries(winners)
        } else {
            let current = SourceIndex::clone(&self.index.load());
            changes
                .into_iter()
                .fold(current, |index, change| match change {
                    Change::Show(entry) => index.with_entry(entry),
                    Change::Hide(entry) => index.without(&entry.name, entry.version.as_str()),
                })
        };
        self.index.store(Arc::new(index));
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Takes note of a look that saw everything.
    fn note_complete(&self) {
        if self.sight.complete() {
            // Even if it is empty: what others may show beside it depends on what is known to be here.
            self.generation.send_modify(|generation| *generation += 1);
        }
    }

    /// Whether `stamp` is that of the file that is known as `record`.
    fn agrees(&self, record: &Record, stamp: &Stamp) -> bool {
        let known = &record.stamp;
        let later = stamp.modified.duration_since(known.modified);
        known.agrees(&Stamp {
            modified: match later.is_positive() && later <= self.tolerance {
                true => known.modified,
                false => stamp.modified,
            },
            ..*stamp
        })
    }

    fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        // A panic while it was locked cannot leave it half changed in a way that matters: the folder is looked at again.
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn catalog_mut(&self) -> RwLockWriteGuard<'_, Catalog> {
        self.catalog.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What opening a place gave.
struct OpenedPlace {
    place: Place,
    keeper: Keeper,
    catalog: Catalog,
    index: SourceIndex,
    sight: Sight,
}

fn open_folder(
    root: &Path,
    tenant: &TenantPath,
    state_dir: &Path,
    readers: usize,
    progress: &(impl Fn(usize, usize) + Sync),
) -> Result<OpenedPlace> {
    let folder = Folder::open(root, tenant);
    let keeper = Keeper::new(state_dir, &root.to_string_lossy(), tenant, Tags::Inodes);
    let (catalog, index) = state::load(&folder, &keeper, readers, progress)?;
    let sight = Sight::new(None);
    sight.complete();
    Ok(OpenedPlace {
        place: Place::Folder(Arc::new(folder)),
        keeper,
        catalog,
        index,
        sight,
    })
}

fn open_bucket(bucket: Bucket, place: &str, tenant: &TenantPath, state_dir: &Path) -> OpenedPlace {
    let keeper = Keeper::new(state_dir, place, tenant, Tags::Contents);
    let recalled = state::recall(&keeper);
    let sight = Sight::new(recalled.as_ref().and_then(|_| keeper.saved_at()));
    let (catalog, index) = recalled.unwrap_or_default();
    let scratches = Scratches::open(state_dir.with_file_name("uploads"));
    OpenedPlace {
        place: Place::Bucket(Arc::new(Shelf::new(bucket, tenant, scratches))),
        keeper,
        catalog,
        index,
        sight,
    }
}

fn already_exists() -> Error {
    Error::new(ErrorKind::Conflict, "file already exists")
}

/// How many packages are read at a time where nobody said so. More than there are cores: reading waits for the disk or the
/// network, and 10,000 files that no memory holds are indexed in 1.3 s by eight threads on two cores, in 2.1 s by two.
fn parallelism() -> usize {
    std::thread::available_parallelism().map_or(8, |cores| cores.get().clamp(8, 16))
}

/// Above this many changes at once the index is built anew instead of edited.
const MANY: usize = 2000;
const MAX_PROBLEMS: usize = 1000;

#[cfg(test)]
mod tests;
