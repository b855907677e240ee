//! The memory tier: small objects that are asked for often. The only home of the `moka` crate.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::tier::{Held, SMALL, Tier, TierStats};
use crate::digest::Digest;
use crate::metrics::Metrics;

/// Small objects in memory, bounded by bytes. moka admits by frequency: a flood of objects that are asked for once does
/// not push out those that are asked for all the time.
#[derive(Debug)]
pub(crate) struct Memory {
    objects: moka::future::Cache<Digest, Bytes>,
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
        Self {
            objects,
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
        self.objects.insert(*digest, bytes).await;
        // moka evicts when it finds time; a cap is a cap.
        self.objects.run_pending_tasks().await;
        self.metrics
            .cache_bytes("memory", self.objects.weighted_size());
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
