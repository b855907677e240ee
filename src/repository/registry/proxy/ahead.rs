//! Refresh-ahead: tags that are in use are asked for again before they expire, so that nobody who pulls waits for that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;

use super::ProxyRegistry;
use super::place::Place;
use crate::clock::Clock;
use crate::oci::Tag;
use crate::upstream::registry::Lane;

/// Which tags were asked for, and when last. In memory only, and bounded.
#[derive(Debug)]
pub(super) struct Ahead {
    tags: Mutex<HashMap<String, Asked>>,
    clock: Clock,
}

#[derive(Clone, Debug)]
struct Asked {
    place: Place,
    tag: Tag,
    at: Timestamp,
}

impl Ahead {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            tags: Mutex::default(),
            clock,
        }
    }

    /// Somebody asked for a tag that is held.
    pub(super) fn asked(&self, key: &str, place: &Place, tag: &Tag) {
        let at = self.clock.now();
        let mut tags = self.lock();
        if let Some(asked) = tags.get_mut(key) {
            asked.at = at;
        } else if tags.len() < LIMIT {
            let asked = Asked {
                place: place.clone(),
                tag: tag.clone(),
                at,
            };
            tags.insert(key.to_owned(), asked);
        }
    }

    /// The tags that were asked for within `period`; others are forgotten.
    fn recent(&self, period: Duration) -> Vec<(String, Asked)> {
        let mut tags = self.lock();
        tags.retain(|_, asked| self.clock.since(asked.at) <= period);
        let all = tags.iter();
        all.map(|(key, asked)| (key.clone(), asked.clone()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Asked>> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProxyRegistry {
    /// Starts revalidating tags that are in use before they expire. Ends when the proxy is dropped. Inside the runtime.
    pub fn start(self: &Arc<Self>) {
        let Some(ttl) = self.period() else {
            return;
        };
        let pause = (ttl / 10).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        let weak = Arc::downgrade(self);
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                let Some(proxy) = weak.upgrade() else { return };
                proxy.refresh_ahead().await;
            }
        });
        let mut slot = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = slot.replace(task.abort_handle()) {
            before.abort();
        }
    }

    /// Asks again for the tags that were asked for within the last `tag_ttl` and have used up most of theirs. Nothing is asked
    /// while what is left is kept for clients or the upstream is left alone. Returns how many were asked for.
    pub async fn refresh_ahead(&self) -> usize {
        let Some(ttl) = self.period() else {
            return 0;
        };
        let recent = self.ahead.recent(ttl);
        let due = recent.into_iter().filter(|(key, _)| {
            let at = self.confirmed_at(key);
            at.is_some_and(|at| self.clock.since(at) >= ttl * 4 / 5)
        });
        self.ask_again(due.collect()).await
    }

    /// Asks again for all tags that were asked for within the last `tag_ttl`, due or not: somebody wants to see a change now.
    /// Returns how many were asked for: none while the upstream is left alone, and none where tags are believed for ever.
    pub async fn refresh_now(&self) -> usize {
        match self.period() {
            Some(ttl) => self.ask_again(self.ahead.recent(ttl)).await,
            None => 0,
        }
    }

    async fn ask_again(&self, due: Vec<(String, Asked)>) -> usize {
        let asked = stream::iter(due).map(async |(_, asked)| {
            let budget = self.upstream.budget();
            let held_back = self.upstream.paused(Lane::Heads).is_some() || budget.spare().is_err();
            if !held_back {
                // What comes of it is recorded, and served when somebody asks.
                let _ = self.revalidate(&asked.place, &asked.tag).await;
            }
            usize::from(!held_back)
        });
        asked
            .buffer_unordered(AT_ONCE.min(self.upstream.budget().background_places()))
            .fold(0, async |sum, one| sum + one)
            .await
    }

    /// `tag_ttl`, where there is something to do before it ends.
    fn period(&self) -> Option<Duration> {
        let ttl = self.oci.tag_ttl.filter(|ttl| !ttl.is_zero());
        ttl.filter(|_| !self.offline)
    }
}

/// Tags in use at the same time, for each upstream; a few megabytes.
const LIMIT: usize = 20_000;

/// Requests at a time, for each upstream.
const AT_ONCE: usize = 4;

const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
