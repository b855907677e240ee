//! What is known under keyed hashes, bounded: what will be clean soonest is forgotten first.

use std::collections::HashMap;

/// What a table holds.
pub(super) trait Row: Copy {
    /// When nothing would be lost by forgetting it, in milliseconds since 1970.
    fn clean_at(&self) -> i64;
}

/// Rows by key.
#[derive(Debug)]
pub(super) struct Table<T> {
    rows: HashMap<u64, T>,
    most: usize,
}

impl<T: Row> Table<T> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            rows: HashMap::new(),
            most,
        }
    }

    pub(super) fn get(&self, key: u64) -> Option<&T> {
        self.rows.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        self.rows.get_mut(&key)
    }

    pub(super) fn remove(&mut self, key: u64) {
        self.rows.remove(&key);
    }

    /// Sets a row. Where there is no room, clean ones go, then the half that will be clean soonest: a flood forgets what came of it,
    /// and never makes anybody wait who is not part of it.
    pub(super) fn insert(&mut self, key: u64, row: T, now: i64) {
        if self.rows.len() >= self.most && !self.rows.contains_key(&key) {
            self.rows.retain(|_, row| row.clean_at() > now);
            if self.rows.len() >= self.most {
                let mut times: Vec<i64> = self.rows.values().map(Row::clean_at).collect();
                let half = times.len() / 2;
                let (_, middle, _) = times.select_nth_unstable(half);
                let middle = *middle;
                self.rows.retain(|_, row| row.clean_at() > middle);
            }
        }
        self.rows.insert(key, row);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}
