//! Copies of upstream content: what was fetched once is not fetched again while it fits.
//!
//! [`Cache`] asks its tiers (`memory.rs`, `disk.rs`, `redis.rs`) in this order and fills them by one upstream transfer for
//! all who ask at the same time (`fill.rs`). Everything is named by its digest; names (`names.rs`) are small records that
//! point at digests, links (`links.rs`) say which repository may show one. All of it may be lost at any time without losing data. Knows nothing about tenants or charts.

mod breaker;
mod disk;
mod documents;
mod fill;
mod folder;
mod follow;
mod keep;
mod ledger;
mod links;
mod lookup;
mod lru;
mod memory;
mod names;
mod object;
mod pull;
mod redis;
mod running;
mod temporary;
mod tier;
mod verify;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub(crate) use self::breaker::Breaker;
use self::disk::Disk;
pub use self::fill::{FillRequest, FillSource};
use self::fill::{Leader, Patience, Promise};
use self::folder::Folder;
use self::follow::Follower;
use self::ledger::{Change, Ledger};
use self::links::Mark;
pub use self::links::{Link, LinkKey, LinkKind, Links, Proof};
use self::memory::Memory;
use self::names::Names;
pub use self::names::{NameRecord, NameState};
pub use self::object::{Object, Status};
use self::redis::Redis;
pub use self::redis::{Failure as RedisFailure, RedisConnection, Script};
pub use self::running::Sharing;
use self::running::{Place, Running};
use self::temporary::{FileSystem, Volume};
pub use self::tier::{Held, SMALL, Tier, TierStats};
use crate::clock::Clock;
use crate::config;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::upstream::Notebook;

/// Asks the redis server that `config` names whether it answers (`chartgate check --connect`).
pub async fn probe_redis(config: &config::Redis) -> Result<()> {
    Redis::new(config, Arc::new(Metrics::new()))?.probe().await
}

/// All tiers of one process, with what is being fetched into them.
#[derive(Debug)]
pub struct Cache {
    memory: Arc<Memory>,
    disk: Arc<Disk>,
    redis: Option<Arc<Redis>>,
    names: Arc<Names>,
    links: Arc<Links>,
    running: Arc<Running>,
    ledger: Arc<Ledger>,
    folder: Arc<Folder>,
    metrics: Arc<Metrics>,
    clock: Clock,
    patience: Patience,
}

impl Cache {
    /// Opens the cache in `dir` (`<data_dir>/cache`), creating it where needed. Must run inside the runtime.
    ///
    /// What a crash left behind is put right: half files go, a damaged ledger is rebuilt, the cap holds.
    /// Errors: the folder cannot be used, or the redis URL is malformed. A redis server that is away is no error.
    pub async fn open(
        config: &config::Cache,
        dir: PathBuf,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Arc<Self>> {
        Self::open_on(Arc::new(FileSystem), config, dir, metrics, clock).await
    }

    async fn open_on(
        volume: Arc<dyn Volume>,
        config: &config::Cache,
        dir: PathBuf,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Arc<Self>> {
        let redis = config.redis.as_ref();
        let redis = redis
            .map(|redis| Redis::new(redis, Arc::clone(&metrics)).map(Arc::new))
            .transpose()?;
        let memory = Arc::new(Memory::new(config.memory, Arc::clone(&metrics)));
        let capacity = config.disk;
        let open = move || {
            let folder = Arc::new(Folder::open(dir)?);
            let (ledger, contents) = Ledger::open(&folder.ledger());
            let ledger = Arc::new(ledger);
            let disk = Arc::new(Disk::new(
                Arc::clone(&folder),
                volume,
                capacity,
                contents.blobs,
                Arc::clone(&ledger),
                Arc::clone(&metrics),
                clock.clone(),
            ));
            let names = Arc::new(Names::new(
                contents.names,
                Arc::clone(&ledger),
                clock.clone(),
            ));
            let links = Arc::new(Links::new(
                contents.links,
                Arc::clone(&ledger),
                clock.clone(),
            ));
            if contents.busy {
                tracing::info!(
                    "another process holds the cache's ledger; it is taken over when that one ends"
                );
                let (disk, names) = (Arc::downgrade(&disk), Arc::downgrade(&names));
                let links = Arc::downgrade(&links);
                ledger.send(Change::WhenReleased(Box::new(move |contents| {
                    if let (Some(disk), Some(names)) = (disk.upgrade(), names.upgrade()) {
                        disk.merge(contents.blobs);
                        names.merge(contents.names);
                    }
                    if let Some(links) = links.upgrade() {
                        links.merge(contents.links);
                    }
                })));
            }
            Ok(Arc::new(Self {
                memory,
                disk,
                redis,
                names,
                links,
                running: Arc::new(Running::default()),
                ledger,
                folder,
                metrics,
                clock,
                patience: Patience::default(),
            }))
        };
        tokio::task::spawn_blocking(open)
            .await
            .map_err(|error| Error::internal("opening the cache failed", error))?
    }

    /// The object with this digest: from memory, disk or redis, in this order, promoted on the way.
    pub async fn get(&self, digest: &Digest) -> Option<Object> {
        let held = match self.get_local(digest).await {
            Some(held) => held,
            None => self.get_remote(digest).await?,
        };
        Some(self.hit(*digest, held, true))
    }

    /// As [`Cache::get`], for somebody who knows no more than the digest: only what came with [`Sharing::Sharers`].
    pub async fn get_shared(&self, digest: &Digest) -> Option<Object> {
        match self.links.is_marked(Mark::Shared, digest) {
            true => self.get(digest).await,
            false => None,
        }
    }

    /// The same for charts: nothing that came only with [`Sharing::Nobody`].
    pub async fn get_chart(&self, digest: &Digest) -> Option<Object> {
        match self.is_for_charts(digest) {
            true => self.get(digest).await,
            false => None,
        }
    }

    /// Bytes with this digest that lie in a file elsewhere (a hosted store's): from memory where they are wanted often, else
    /// from the file. The caller has checked that whoever asks may have them, and vouches for the digest.
    pub fn lend(&self, digest: Digest, file: Arc<File>, length: u64) -> Object {
        self.hit(digest, Held::File(file, length), true)
    }

    /// The object that `request` names: a copy from any tier, else one upstream transfer for all who ask at the same time.
    ///
    /// Looks into every tier itself; calling [`Cache::get`] first costs a second look-up and gains nothing. Where no digest
    /// is expected, the name's record counts: [`Cache::forget`] makes the next fill ask again. Errors: what the source said
    /// (`NotFound`, remembered or new), `DigestMismatch`, `TooLarge`. Dropping the future stops nothing: the transfer goes
    /// on for those who come later.
    pub async fn fill(
        self: &Arc<Self>,
        request: FillRequest,
        source: Arc<dyn FillSource>,
    ) -> Result<Object> {
        if let Some(object) = self.known(&request).await? {
            return Ok(object);
        }
        let what: Arc<str> = request.name.as_str().into();
        let promise = Arc::new(Promise { request, source });
        let mut sharing = promise.request.sharing;
        loop {
            let (state, reader, other) = match self.running.enter(&promise.request, sharing) {
                Place::Lead(lead, state, reader) => {
                    let leader = Leader {
                        lead,
                        cache: Arc::clone(self),
                        promise: Arc::clone(&promise),
                    };
                    tokio::spawn(leader.run());
                    (state, reader, false)
                }
                Place::Follow(state, reader) => (state, reader, false),
                Place::FollowOther(state, reader) => (state, reader, true),
            };
            let mut follower = Follower::new(state, reader, Arc::clone(&what));
            match follower.wait(0).await {
                Ok(state) => return lookup::object(&promise, state, follower),
                // Another upstream's failure says nothing about this one.
                Err(_) if other => sharing = Sharing::Nobody,
                Err(error) => return Err(error),
            }
        }
    }

    /// What is known about a name; an absence that is older than its `negative_ttl` is not known any more.
    pub fn name(&self, name: &str) -> Option<NameRecord> {
        self.names.get(name)
    }

    /// Forgets what is known about a name, so that the next fill asks the upstream.
    pub fn forget(&self, name: &str) {
        self.names.forget(name);
    }

    /// Records that a name is the object with this digest, as the upstream said just now.
    pub fn record(&self, name: &str, digest: Digest) {
        self.names.held(name, digest);
    }

    /// Records that a name does not exist, as the upstream said just now; believed for `ttl`.
    pub fn record_absence(&self, name: &str, ttl: Duration) {
        self.names.absent(name, ttl);
    }

    /// What follows `prefix` in the names that mean an object, in no order. Looks at every name: not for the request path.
    pub fn names_below(&self, prefix: &str) -> Vec<String> {
        self.names.below(prefix)
    }

    /// Which repositories of upstreams may show which digests.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// Whether the object is on this machine. In memory, no I/O, not a use.
    pub fn holds(&self, digest: &Digest) -> bool {
        self.disk.contains(digest) || self.memory.contains(digest)
    }

    /// What the tiers of this machine hold.
    pub fn stats(&self) -> Stats {
        Stats {
            memory: self.memory.stats(),
            disk: self.disk.stats(),
            names: self.names.len() as u64,
            fills: self.running.count() as u64,
        }
    }

    /// The tiers, in the order in which they are asked.
    pub fn tiers(&self) -> Vec<Arc<dyn Tier>> {
        let mut tiers: Vec<Arc<dyn Tier>> =
            vec![self.memory.clone(), Arc::new(Arc::clone(&self.disk))];
        if let Some(redis) = &self.redis {
            tiers.push(redis.clone());
        }
        tiers
    }

    /// Keeps a named document until it is replaced; never evicted. Atomic, and durable when this returns.
    pub async fn put_document(&self, name: &str, bytes: Bytes) -> Result<()> {
        let (folder, owned) = (Arc::clone(&self.folder), name.to_owned());
        let put = move || documents::put(&folder, &owned, &bytes);
        tokio::task::spawn_blocking(put)
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
            .map_err(|error| Error::internal(format!("`{name}` could not be kept on disk"), error))
    }

    /// The last document kept under `name`; `None` too where it is damaged or cannot be read, which is logged.
    pub async fn get_document(&self, name: &str) -> Option<Bytes> {
        let (folder, owned) = (Arc::clone(&self.folder), name.to_owned());
        let read = tokio::task::spawn_blocking(move || documents::get(&folder, &owned)).await;
        match read.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(document) => document,
            Err(error) => {
                tracing::warn!(document = name, %error, "a kept document cannot be used");
                None
            }
        }
    }

    /// Waits until no fill is under way; for tests and for a drain that has the time.
    pub async fn idle(&self) {
        self.running.idle().await;
    }

    /// The connection to the redis server that replicas share, for others who keep something there; `None`: there is none.
    pub fn redis(&self) -> Option<&Arc<RedisConnection>> {
        self.redis.as_ref().map(|redis| redis.connection())
    }

    /// Writes what is pending (recency, names) and releases the ledger. For the end of the process; whatever is learnt
    /// afterwards is not recorded.
    pub async fn close(&self) {
        self.disk.tell_uses();
        let ledger = Arc::clone(&self.ledger);
        let _ = tokio::task::spawn_blocking(move || ledger.close()).await;
    }
}

/// Upstreams keep their notes among the documents.
#[async_trait]
impl Notebook for Cache {
    async fn read(&self, name: &str) -> Option<Bytes> {
        self.get_document(name).await
    }

    async fn write(&self, name: &str, note: Bytes) -> Result<()> {
        self.put_document(name, note).await
    }
}

/// What the tiers of this machine hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Objects in memory.
    pub memory: TierStats,
    /// Objects on disk; the bytes include files that are still arriving.
    pub disk: TierStats,
    /// Names that mean something.
    pub names: u64,
    /// Fills under way.
    pub fills: u64,
}
