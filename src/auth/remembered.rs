//! What was computed once for a text that clients send again and again, under the digest of the text.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::digest::Digest;

/// What each entry costs besides its text.
const OVERHEAD: usize = 256;

/// Results by the digest of their text; bounded by the bytes of the texts.
pub(super) struct Remembered<T> {
    state: Mutex<State<T>>,
    limit: usize,
}

struct State<T> {
    entries: HashMap<Digest, (T, usize)>,
    weight: usize,
}

impl<T: Clone> Remembered<T> {
    /// Room for about `limit` bytes of texts.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            state: Mutex::new(State {
                entries: HashMap::new(),
                weight: 0,
            }),
            limit,
        }
    }

    /// What is known about the text with this digest.
    pub(super) fn recall(&self, id: Digest) -> Option<T> {
        let state = self.lock();
        state.entries.get(&id).map(|(value, _)| value.clone())
    }

    /// Remembers `value` for a text of `length` bytes. Where there is no room, what does not `count` any more goes first.
    pub(super) fn remember(
        &self,
        id: Digest,
        length: usize,
        value: T,
        counts: impl Fn(&T) -> bool,
    ) {
        let weight = length + OVERHEAD;
        let mut state = self.lock();
        if state.weight + weight > self.limit {
            state.retain(counts);
        }
        if state.weight + weight > self.limit {
            // All of it counts: start over rather than grow. It costs each text one more computation.
            state.retain(|_| false);
        }
        state.weight += weight;
        if let Some((_, old)) = state.entries.insert(id, (value, weight)) {
            state.weight -= old;
        }
    }

    /// How many there are, and how much they weigh.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        let state = self.lock();
        (state.entries.len(), state.weight)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.entries.retain(|_, (value, _)| keep(value));
        self.weight = self.entries.values().map(|(_, weight)| weight).sum();
    }
}
