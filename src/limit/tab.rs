//! What this replica has let through and not told the others yet.
//!
//! Invariant: what is noted or under way of one client is never more than its slack, except bytes, which pass first and are
//! noted then.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One map would be asked by every thread at once.
const SHARDS: usize = 16;
/// How long what redis said about a debt is believed.
pub(super) const BELIEVED: u64 = 1_000_000_000;

/// By client.
pub(super) struct Tab {
    shards: [Mutex<HashMap<u64, Entry>>; SHARDS],
}

#[derive(Debug, Default)]
struct Entry {
    noted: u64,
    /// Sent, and not known to have arrived.
    under_way: u64,
    /// When redis last said how much is used up.
    heard: Option<u64>,
}

impl Tab {
    pub(super) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Notes `amount` of `client` if it has not more than `slack` then. `None`: it would; `Some(true)`: there was nothing noted, so
    /// that somebody has to be told that there is.
    pub(super) fn note(&self, client: u64, amount: u64, slack: u64) -> Option<bool> {
        let mut shard = self.shard(client);
        let untold = shard
            .get(&client)
            .map_or(0, |entry| entry.noted.saturating_add(entry.under_way));
        if untold.saturating_add(amount) > slack {
            return None;
        }
        let entry = shard.entry(client).or_default();
        let is_first = entry.noted == 0;
        entry.noted = entry.noted.saturating_add(amount);
        Some(is_first)
    }

    /// Takes a note back.
    pub(super) fn strike(&self, client: u64, amount: u64) {
        if let Some(entry) = self.shard(client).get_mut(&client) {
            entry.noted = entry.noted.saturating_sub(amount);
        }
    }

    /// What is to be told about `client`, which is under way from now on, until it is settled.
    pub(super) fn take(&self, client: u64) -> u64 {
        let mut shard = self.shard(client);
        let entry = shard.entry(client).or_default();
        let amount = std::mem::take(&mut entry.noted);
        entry.under_way = entry.under_way.saturating_add(amount);
        amount
    }

    /// Ends what [`Tab::take`] began: redis was told at the time `heard`, or (`None`) it will not be.
    pub(super) fn settle(&self, client: u64, amount: u64, heard: Option<u64>) {
        if let Some(entry) = self.shard(client).get_mut(&client) {
            entry.under_way = entry.under_way.saturating_sub(amount);
            entry.heard = heard.or(entry.heard);
        }
    }

    /// Whether redis said a moment ago how much is used up.
    pub(super) fn is_fresh(&self, client: u64, now: u64) -> bool {
        let heard = self
            .shard(client)
            .get(&client)
            .and_then(|entry| entry.heard);
        heard.is_some_and(|heard| now.saturating_sub(heard) <= BELIEVED)
    }

    /// Forgets clients of whom nothing is to be told.
    pub(super) fn sweep(&self, now: u64) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, entry| {
                let is_fresh = entry
                    .heard
                    .is_some_and(|heard| now.saturating_sub(heard) <= BELIEVED);
                entry.noted > 0 || entry.under_way > 0 || is_fresh
            });
            shard.shrink_to_fit();
        }
    }

    fn shard(&self, client: u64) -> MutexGuard<'_, HashMap<u64, Entry>> {
        let shard = usize::try_from(client % SHARDS as u64).unwrap_or_default();
        self.shards[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
