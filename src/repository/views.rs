//! Parts of a published index, each for all who may see exactly that much of it.
//!
//! A part is made at the first request for it, off the async threads, once for all who ask; afterwards it costs one look-up. It
//! goes with the index that it was cut from. A part that is the same as before keeps its date and its compressed forms: nobody
//! learns from it that something changed which he may not see.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::OnceCell;

use super::group::Published;
use crate::auth::Sight;
use crate::clock::Clock;
use crate::error::{Error, Result};

/// How many parts of one index are held. Each costs little beside the index, whose texts it shares.
const MAX_PARTS: usize = 256;
/// How many bytes all parts of one index may take, in about.
const MAX_BYTES: u64 = 64 << 20;
/// What a chart costs in each part: its place in the map and in the list of texts.
const CHART_BYTES: u64 = 128;

/// The parts of one published index.
#[derive(Debug, Default)]
pub(super) struct Views {
    held: Mutex<Held>,
    /// Those of the index before, for what they have in common with those of this one.
    before: HashMap<Sight, Arc<Remembered>>,
}

/// What is kept of a part when its index is replaced.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) etag: Box<str>,
    pub(super) modified: Timestamp,
    pub(super) gzip: Option<Bytes>,
    pub(super) zstd: Option<Bytes>,
}

#[derive(Debug, Default)]
struct Held {
    parts: HashMap<Sight, Part>,
    /// Counts requests; the least recently used part goes first.
    uses: u64,
}

#[derive(Debug)]
struct Part {
    cell: Arc<OnceCell<Arc<Published>>>,
    used: u64,
}

impl Views {
    /// None yet, after those of an index that this one replaces.
    #[expect(
        clippy::mutable_key_type,
        reason = "patterns are compared and hashed by their texts"
    )]
    pub(super) fn after(previous: &Self) -> Self {
        let held = previous.lock();
        let made = held.parts.iter().filter_map(|(sight, part)| {
            let made = part.cell.get()?;
            Some((sight, Arc::new(made.remembered())))
        });
        // What nobody has asked for meanwhile is still the last that was shown.
        let older = previous.before.iter();
        let older = older.filter(|(sight, _)| !held.parts.contains_key(*sight));
        let older = older.map(|(sight, part)| (sight, part.clone()));
        let mut bytes = 0;
        let before = made
            .chain(older)
            .take(MAX_PARTS)
            .take_while(|(_, part)| {
                bytes += part.weight();
                bytes <= MAX_BYTES
            })
            .map(|(sight, part)| (sight.clone(), part))
            .collect();
        drop(held);
        Self {
            held: Mutex::default(),
            before,
        }
    }

    /// What of `whole`, whose parts these are, `sight` shows. Cancel-safe. Errors: our own fault.
    pub(super) async fn part(
        &self,
        whole: &Arc<Published>,
        sight: &Sight,
        clock: &Clock,
    ) -> Result<Arc<Published>> {
        let cell = self.cell(sight);
        if let Some(part) = cell.get() {
            return Ok(part.clone());
        }
        let made = cell.get_or_try_init(|| async {
            let (whole, sight) = (whole.clone(), sight.clone());
            let (before, now) = (self.before.get(&sight).cloned(), clock.now());
            let cut = move || Arc::new(whole.part(&sight, before.as_deref(), now));
            tokio::task::spawn_blocking(cut)
                .await
                .map_err(|failure| Error::internal("a part of an index was not made", failure))
        });
        let made = made.await?.clone();
        self.lock().make_room(sight);
        Ok(made)
    }

    /// How many are held.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.lock().parts.len()
    }

    fn cell(&self, sight: &Sight) -> Arc<OnceCell<Arc<Published>>> {
        let mut held = self.lock();
        held.uses += 1;
        let used = held.uses;
        if let Some(part) = held.parts.get_mut(sight) {
            part.used = used;
            return part.cell.clone();
        }
        let cell = Arc::new(OnceCell::new());
        let part = Part {
            cell: cell.clone(),
            used,
        };
        held.parts.insert(sight.clone(), part);
        held.make_room(sight);
        cell
    }

    /// Nothing that a panic could leave half done is behind it.
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    fn weight(&self) -> u64 {
        let forms = [&self.gzip, &self.zstd].into_iter().flatten();
        forms.map(|bytes| bytes.len() as u64).sum()
    }
}

impl Held {
    /// Forgets what was not used for longest, but not `newest`.
    fn make_room(&mut self, newest: &Sight) {
        let size = |part: &Part| part.cell.get().map_or(0, |made| weight(made));
        let mut bytes: u64 = self.parts.values().map(size).sum();
        while self.parts.len() > MAX_PARTS || bytes > MAX_BYTES {
            let others = self.parts.iter().filter(|(sight, _)| *sight != newest);
            let Some((oldest, part)) = others.min_by_key(|(_, part)| part.used) else {
                return;
            };
            bytes -= size(part);
            let oldest = oldest.clone();
            self.parts.remove(&oldest);
        }
    }
}

/// The bytes of a part that are its own: what each chart costs, and compressed forms, which are a tenth of the text each.
fn weight(part: &Published) -> u64 {
    let snapshot = &part.snapshot;
    snapshot.chart_count() as u64 * CHART_BYTES + snapshot.length() / 5
}

#[cfg(test)]
#[path = "views_tests.rs"]
mod tests;
