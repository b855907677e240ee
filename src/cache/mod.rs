//! Copies of upstream content: tiers (memory, disk, redis), coalesced fills, and which name is which digest.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use crate::clock::Clock;
use crate::config::{self, OnDigestMismatch};
use crate::digest::Digest;
use crate::error::Result;
use crate::http::Body;
use crate::metrics::Metrics;
use crate::upstream::Download;

/// All tiers of one process.
#[derive(Debug)]
pub struct Cache {}

impl Cache {
    /// Opens the cache in `dir` (`<data_dir>/cache`), creating it where needed. Must run inside the runtime.
    pub async fn open(
        _config: &config::Cache,
        _dir: PathBuf,
        _metrics: Arc<Metrics>,
        _clock: Clock,
    ) -> Result<Arc<Self>> {
        todo!()
    }

    /// The object with this digest: from memory, disk or redis, in this order, promoted on the way.
    pub async fn get(&self, _digest: &Digest) -> Option<Object> {
        todo!()
    }

    /// The object that `request` names: a copy from any tier, else one upstream transfer for all who ask at the same time.
    ///
    /// Looks into every tier itself; calling [`Cache::get`] first costs a second look-up and gains nothing.
    /// A name that is known to be absent answers `NotFound` without asking; [`Cache::forget`] makes it ask again.
    /// Dropping the future stops nothing: the transfer goes on for those who come later.
    pub async fn fill(
        self: &Arc<Self>,
        _request: FillRequest,
        _source: Arc<dyn FillSource>,
    ) -> Result<Object> {
        todo!()
    }

    /// What is known about a name; an absence that is older than its `negative_ttl` is not known any more.
    pub fn name(&self, _name: &str) -> Option<NameRecord> {
        todo!()
    }

    /// Forgets what is known about a name, so that the next fill asks the upstream.
    pub fn forget(&self, _name: &str) {
        todo!()
    }

    /// Whether the object is on this machine. In memory, no I/O.
    pub fn holds(&self, _digest: &Digest) -> bool {
        todo!()
    }

    /// What the tiers hold.
    pub fn stats(&self) -> Stats {
        todo!()
    }

    /// Keeps a named document until it is replaced; never evicted. Atomic and durable when this returns.
    pub async fn put_document(&self, _name: &str, _bytes: Bytes) -> Result<()> {
        todo!()
    }

    /// The last document kept under `name`; `None` too where it cannot be read (which is logged).
    pub async fn get_document(&self, _name: &str) -> Option<Bytes> {
        todo!()
    }

    /// Writes what is pending (recency, names) and releases the ledger. For the end of the process.
    pub async fn close(&self) {
        todo!()
    }
}

/// What to fetch and what to make of it.
#[derive(Clone, Debug)]
pub struct FillRequest {
    /// What it is, e.g. `chart/<upstream>/<url>`: for coalescing, the ledger and messages.
    pub name: String,
    /// The digest that the bytes must have, where it is known.
    pub expect: Option<Digest>,
    /// Other digests that are as good.
    pub also_accept: Vec<Digest>,
    /// What happens to bytes with any other digest.
    pub on_mismatch: OnDigestMismatch,
    /// Longer objects are refused with `TooLarge`.
    pub max_length: u64,
    /// How long `NotFound` is remembered.
    pub negative_ttl: Duration,
}

/// Where a fill gets its bytes.
#[async_trait]
pub trait FillSource: Send + Sync {
    /// Starts the transfer at `offset`; above 0 only after a cut, and then only if the object is still the same one.
    ///
    /// `NotFound` is taken as a fact and remembered; every other error carries no information.
    async fn open(&self, offset: u64) -> Result<Download>;

    /// Told once when the bytes did not have the digest that was promised; for metrics and reports.
    fn mismatched(&self, _actual: &Digest) {}
}

/// One immutable object that can be read, also while it is still arriving.
#[derive(Debug)]
pub struct Object {}

impl Object {
    /// The bytes of `range` (clamped to the length); `0..u64::MAX` is everything.
    pub async fn body(&self, _range: Range<u64>) -> Result<Body> {
        todo!()
    }

    /// The whole length; `None` only while an object of unknown length arrives.
    pub fn length(&self) -> Option<u64> {
        todo!()
    }

    /// The digest that the bytes have, or are held to before they arrive complete; `None` while it is unknown.
    pub fn digest(&self) -> Option<Digest> {
        todo!()
    }

    /// Whether it was here already.
    pub fn status(&self) -> Status {
        todo!()
    }

    /// Whether the bytes have (or arrive complete only with) a digest that the request accepted.
    pub fn is_verified(&self) -> bool {
        todo!()
    }
}

/// Whether an object was here already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was.
    Hit,
    /// It was fetched for this request, or is arriving.
    Miss,
}

/// What is known about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameRecord {
    /// What the upstream said.
    pub state: NameState,
    /// When.
    pub at: Timestamp,
}

/// What an upstream said about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameState {
    /// It gave bytes with this digest. They may have been evicted since: [`Cache::holds`] tells.
    Held(Digest),
    /// It does not exist (404 or 410).
    Absent,
}

/// What the tiers hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Objects in memory.
    pub memory: TierStats,
    /// Objects on disk, with the files that are still arriving.
    pub disk: TierStats,
    /// Names in the ledger.
    pub names: u64,
    /// Fills under way.
    pub fills: u64,
}

/// What one tier holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierStats {
    /// Objects held.
    pub objects: u64,
    /// Bytes held.
    pub bytes: u64,
    /// Bytes allowed.
    pub capacity: u64,
}
