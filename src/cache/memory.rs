//! The memory tier: small objects, and longer ones that are asked for often. The only home of the `moka` crate.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::tier::{Held, SMALL, Tier, TierStats};
use crate::digest::Digest;
use crate::metrics::Metrics;

/// Objects in memory, bounded by bytes. moka admits by frequency: a flood of objects that are asked for once does not push
/// out those that are asked for all the time.
#[derive(Debug)]
pub(crate) struct Memory {
    objects: moka::future::Cache<Digest, Bytes>,
    /// Objects in files that somebody wanted lately.
    wanted: moka::future::Cache<Digest, ()>,
    /// They are brought in one at a time: many clients of one do not read it into memory many times.
    bringing: Semaphore,
    capacity: u64,
    metrics: Arc<Metrics>,
}

impl Memory {
    /// A tier of at most `capacity` bytes; 0 keeps nothing.
    pub(crate) fn new(capacity: u64, metrics: Arc<Metrics>) -> Self {
        let objects = moka::future::Cache::builder()
            .max_capacity(capacity)
            .weigher(|_: &Digest, bytes: &Bytes| {
                u32::try_from(bytes.len() + OVERHEAD).unwrap_or(u32::MAX)
            })
            .build();
        let wanted = moka::future::Cache::builder()
            .max_capacity(WANTED)
            .time_to_live(LATELY)
            .build();
        Self {
            objects,
            wanted,
            bringing: Semaphore::new(1),
            capacity,
            metrics,
        }
    }

    /// Whether the object is here; not a use.
    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.objects.contains_key(digest)
    }

    /// The object, without a boxed future and uncounted.
    pub(crate) async fn peek(&self, digest: &Digest) -> Option<Bytes> {
        self.objects.get(digest).await
    }

    /// An object that lies in `file` and that somebody wants to read. Who wants it for the second time within a minute brings
    /// it into memory: to read the file again costs half as much again as to send what is there. `None`: read the file.
    /// Uncounted.
    pub(crate) async fn long(
        &self,
        digest: &Digest,
        file: &Arc<File>,
        length: u64,
    ) -> Option<Bytes> {
        if length > LONG || length > self.capacity / SHARE {
            return None;
        }
        if let Some(bytes) = self.peek(digest).await {
            return Some(bytes);
        }
        if self.wanted.entry(*digest).or_insert(()).await.is_fresh() {
            return None;
        }
        let _turn = self.bringing.try_acquire().ok()?;
        // If those in memory are wanted more, it is not brought again for the very next request.
        self.wanted.invalidate(digest).await;
        let file = Arc::clone(file);
        let read = move || {
            let mut bytes = vec![0; length as usize];
            file.read_exact_at(&mut bytes, 0)?;
            Ok::<_, io::Error>(Bytes::from(bytes))
        };
        // Whoever reads the file meets the error again, and tells it.
        let bytes = tokio::task::spawn_blocking(read).await.ok()?.ok()?;
        self.keep(digest, bytes.clone()).await;
        Some(bytes)
    }

    async fn keep(&self, digest: &Digest, bytes: Bytes) {
        self.objects.insert(*digest, bytes).await;
        // moka evicts when it finds time; a cap is a cap.
        self.objects.run_pending_tasks().await;
        self.metrics
            .cache_bytes("memory", self.objects.weighted_size());
    }
}

#[async_trait]
impl Tier for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn get(&self, digest: &Digest) -> Option<Held> {
        let bytes = self.peek(digest).await;
        let result = if bytes.is_some() { "hit" } else { "miss" };
        self.metrics.cache_request("memory", result);
        bytes.map(Held::Bytes)
    }

    async fn put(&self, digest: &Digest, bytes: Bytes) {
        let length = bytes.len() as u64;
        if length > SMALL || length + OVERHEAD as u64 > self.capacity {
            return;
        }
        // A slice of a larger buffer would keep all of it alive, uncounted.
        let bytes = if bytes.is_unique() {
            bytes
        } else {
            Bytes::copy_from_slice(&bytes)
        };
        self.keep(digest, bytes).await;
    }

    async fn remove(&self, digest: &Digest) {
        self.objects.invalidate(digest).await;
    }

    fn stats(&self) -> TierStats {
        TierStats {
            objects: self.objects.entry_count(),
            bytes: self.objects.weighted_size(),
            capacity: self.capacity,
        }
    }
}

/// What an entry costs besides its bytes: digest, counters and list nodes.
const OVERHEAD: usize = 160;

/// The longest object that is brought into memory, and the part of the tier that a single one may take.
const LONG: u64 = 16 << 20;
const SHARE: u64 = 8;

/// For how long, and for how many objects in files, it is known that somebody wanted them.
const LATELY: Duration = Duration::from_mins(1);
const WANTED: u64 = 10_000;
