//! Keeping bytes that came by other ways than a fill.

use std::sync::Arc;

use bytes::Bytes;

use super::Cache;
use super::links::Mark;
use super::running::Sharing;
use super::tier::Tier as _;
use crate::digest::Digest;

impl Cache {
    /// Keeps bytes whose digest the caller has checked, in every tier that takes them.
    ///
    /// When this returns the bytes can be had with [`Cache::get`]; the disk may still be busy with them, which [`Cache::idle`]
    /// waits for. Cancel-safe: what has begun goes on.
    pub async fn keep(self: &Arc<Self>, digest: Digest, bytes: Bytes, sharing: Sharing) {
        self.note_sharing(sharing, &digest);
        self.memory.put(&digest, bytes.clone()).await;
        let in_memory = self.memory.contains(&digest);
        let busy = self.running.busy();
        let cache = Arc::clone(self);
        let writing = tokio::spawn(async move {
            cache.disk.put(&digest, bytes.clone()).await;
            if sharing != Sharing::Nobody
                && let Some(redis) = &cache.redis
            {
                redis.put(&digest, bytes).await;
            }
            drop(busy);
        });
        if !in_memory {
            // Fails only when the runtime ends.
            let _ = writing.await;
        }
    }

    /// Records for whom bytes are that have come with `sharing`.
    pub(super) fn note_sharing(&self, sharing: Sharing, digest: &Digest) {
        match sharing {
            Sharing::Nobody => self.links.mark(Mark::Private, digest),
            Sharing::Sharers => self.links.mark(Mark::Shared, digest),
            // Where nothing says otherwise they are for charts.
            Sharing::Charts if self.links.is_marked(Mark::Private, digest) => {
                self.links.mark(Mark::Chart, digest);
            }
            Sharing::Charts | Sharing::Everybody => {}
        }
    }
}
