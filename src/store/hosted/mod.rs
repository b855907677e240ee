//! One tenant's hosted charts: a folder of packages in ChartMuseum's layout, and the index of what is in it.
//!
//! The folder is the truth; the index is derived from it and held in memory. Readers take a pointer to the current index and
//! never wait. Writers go one at a time: validated, synced file -> published under its name -> folder synced -> index updated,
//! and only then is the upload answered. Whatever others place, replace or remove in the folder is noticed by [`Hosted::watch`],
//! and by [`Hosted::open_file`] at the latest when it is asked for. See [`folder`] for what lies where on disk.

mod catalog;
mod deliver;
mod folder;
mod package;
mod places;
mod publish;
mod rescan;
mod sight;
mod spool;
mod state;
mod watch;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio::sync::watch as channel;

use self::catalog::{Catalog, Change};
use self::folder::Folder;
use self::state::Keeper;
use crate::clock::Clock;
use crate::config;
use crate::error::{Error, Result};
use crate::index::{Entry, SourceIndex};
use crate::names::TenantPath;
use crate::net::Clients;

pub use self::deliver::{StoredContent, StoredFile, StoredObject};
pub use self::places::Places;
pub use self::publish::{Limits, OverwritePermission, Upload};
pub use self::rescan::Depth;
pub use self::sight::Freshness;
pub use self::spool::{Spool, Spooled};

/// One tenant's hosted charts.
#[derive(Debug)]
pub struct Hosted {
    tenant: TenantPath,
    folder: Folder,
    clock: Clock,
    index: ArcSwap<SourceIndex>,
    /// What the folder held when it was last looked at. Locked for look-ups and edits in memory only.
    catalog: RwLock<Catalog>,
    /// Held by whoever changes the folder and the index together.
    writer: Arc<tokio::sync::Mutex<()>>,
    /// Bounds how many archives are read at a time, and so the memory that this takes.
    readers: Arc<Semaphore>,
    generation: channel::Sender<u64>,
    keeper: Keeper,
    sightings: Mutex<rescan::Sightings>,
}

/// A file that is in the folder and not in the index.
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
    /// Opens the tenant's folder below `root`, making it if it is missing, and returns when everything in it is indexed.
    ///
    /// What was known of a file when the state in `state_dir` was saved is taken over unless this process's predecessor
    /// changed the file since; the names in the folder are always listed, so no upload is missed and no removed file is shown.
    /// Everything else is read in parallel; `progress` is told `(done, total)` from several threads. [`Hosted::watch`] starts
    /// with a look at every file and finds those that others replaced meanwhile.
    ///
    /// Cancelling leaves nothing behind. A damaged state is ignored with a warning.
    pub async fn open(
        store: &config::Store,
        tenant: &TenantPath,
        parts: Parts<'_>,
        progress: impl Fn(usize, usize) + Send + Sync + 'static,
    ) -> Result<Arc<Self>> {
        let tenant = tenant.clone();
        let (state_dir, clock) = (parts.state_dir, parts.clock);
        let root = match &store.place {
            config::Place::Folder(root) => root.clone(),
            config::Place::Objects(objects) => {
                let bucket = parts.places.bucket(objects, parts.clients, &clock)?;
                return Err(Error::invalid(format!(
                    "{} cannot be a store yet",
                    bucket.label()
                )));
            }
        };
        blocking(move || {
            let folder = Folder::open(&root, &tenant)?;
            let keeper = Keeper::open(&state_dir, &root, &tenant)?;
            let (catalog, index) = state::load(&folder, &keeper, &progress)?;
            let this = Arc::new(Self {
                tenant,
                folder,
                clock,
                index: ArcSwap::from_pointee(index),
                catalog: RwLock::new(catalog),
                writer: Arc::default(),
                readers: Arc::new(Semaphore::new(parallelism())),
                generation: channel::Sender::new(0),
                keeper,
                sightings: Mutex::default(),
            });
            this.note_unsettled();
            Ok(this)
        })
        .await
    }

    /// The tenant whose charts these are.
    pub fn tenant(&self) -> &TenantPath {
        &self.tenant
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
        Freshness::Fresh {
            age: std::time::Duration::ZERO,
        }
    }

    /// Why the last look at the store failed, while that lasts.
    pub fn failure(&self) -> Option<String> {
        None
    }

    /// Waits until the index is known or the first look at the store has failed. Cancel-safe.
    pub async fn settled(&self) {}

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
        self.catalog().problems(MAX_PROBLEMS)
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
    fn apply(&self, records: Vec<(Arc<str>, Option<package::Record>)>) {
        let mut changes = Vec::new();
        let mut catalog = self.catalog_mut();
        for (name, record) in records {
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

    fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        // A panic while it was locked cannot leave it half changed in a way that matters: the folder is looked at again.
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn catalog_mut(&self) -> RwLockWriteGuard<'_, Catalog> {
        self.catalog.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs `work` on the blocking pool. It runs to its end even if the caller goes away.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(Error::internal(
                "work on the hosted store was aborted",
                error,
            ))
        })
}

fn parallelism() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| cores.get().min(8))
}

/// Above this many changes at once the index is built anew instead of edited.
const MANY: usize = 2000;
const MAX_PROBLEMS: usize = 1000;

#[cfg(test)]
mod tests;
