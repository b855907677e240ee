//! Which objects the disk holds, from the least to the most recently used. Pure bookkeeping, no I/O.
//!
//! Every use gets a stamp that only grows (microseconds of the wall clock, or one more than the last stamp). The queue
//! keeps old stamps of an object until they reach its front or outnumber the objects: a use is then one push.

use std::collections::{HashMap, VecDeque};

use crate::digest::Digest;

/// The order of use and the total size of a set of objects.
#[derive(Debug, Default)]
pub(crate) struct Lru {
    entries: HashMap<Digest, Entry>,
    queue: VecDeque<(u64, Digest)>,
    bytes: u64,
    stamp: u64,
}

/// What is known about one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Bytes.
    pub(crate) length: u64,
    /// The last use; larger is later.
    pub(crate) stamp: u64,
    /// Why its bytes are believed.
    pub(crate) trust: Trust,
    /// Whether the ledger knows an older stamp only.
    pub(crate) touched: bool,
}

/// Why the bytes of a file are believed to have the digest that the file is named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// This process hashed them.
    Checked,
    /// An earlier process hashed them and recorded their length.
    Recorded,
    /// The file was found without a record.
    Found,
}

impl Lru {
    /// Adds an object as the most recently used one, in place of a former one with this digest.
    pub(crate) fn insert(&mut self, digest: Digest, length: u64, now: u64, trust: Trust) -> u64 {
        let stamp = self.next_stamp(now);
        self.put(
            digest,
            Entry {
                length,
                stamp,
                trust,
                touched: false,
            },
        );
        stamp
    }

    /// Adds objects that an earlier process used, with the stamps of that time.
    pub(crate) fn restore(&mut self, mut objects: Vec<(Digest, Entry)>) {
        objects.sort_unstable_by_key(|(digest, entry)| (entry.stamp, *digest));
        for (digest, entry) in objects {
            self.stamp = self.stamp.max(entry.stamp);
            self.put(digest, entry);
        }
    }

    /// Makes an object the most recently used one. Returns its state before that.
    pub(crate) fn touch(&mut self, digest: &Digest, now: u64) -> Option<Entry> {
        let stamp = self.next_stamp(now);
        let entry = self.entries.get_mut(digest)?;
        let before = *entry;
        entry.stamp = stamp;
        entry.touched = true;
        self.queue.push_back((stamp, *digest));
        if self.queue.len() > 2 * self.entries.len() + 64 {
            self.compact();
        }
        Some(before)
    }

    /// What is known about an object; not a use.
    pub(crate) fn entry_mut(&mut self, digest: &Digest) -> Option<&mut Entry> {
        self.entries.get_mut(digest)
    }

    /// Whether the object is there; not a use.
    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.entries.contains_key(digest)
    }

    /// Removes an object.
    pub(crate) fn remove(&mut self, digest: &Digest) -> Option<Entry> {
        let entry = self.entries.remove(digest)?;
        self.bytes -= entry.length;
        Some(entry)
    }

    /// Removes the least recently used object.
    pub(crate) fn pop_oldest(&mut self) -> Option<(Digest, Entry)> {
        loop {
            let (stamp, digest) = self.queue.pop_front()?;
            if self.entries.get(&digest).map(|entry| entry.stamp) == Some(stamp) {
                return self.remove(&digest).map(|entry| (digest, entry));
            }
        }
    }

    /// The sum of all lengths.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of objects.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All objects, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Digest, &Entry)> {
        self.entries.iter()
    }

    fn put(&mut self, digest: Digest, entry: Entry) {
        self.queue.push_back((entry.stamp, digest));
        self.bytes += entry.length;
        if let Some(former) = self.entries.insert(digest, entry) {
            self.bytes -= former.length;
        }
    }

    fn next_stamp(&mut self, now: u64) -> u64 {
        self.stamp = now.max(self.stamp + 1);
        self.stamp
    }

    fn compact(&mut self) {
        let entries = &self.entries;
        self.queue
            .retain(|(stamp, digest)| entries.get(digest).map(|entry| entry.stamp) == Some(*stamp));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> Digest {
        Digest::of(&[n])
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut lru = Lru::default();
        for n in 0..4 {
            lru.insert(digest(n), 10, 0, Trust::Checked);
        }
        lru.touch(&digest(0), 0);
        lru.remove(&digest(2));
        assert_eq!(lru.bytes(), 30);
        let order: Vec<_> =
            std::iter::from_fn(|| lru.pop_oldest().map(|(digest, _)| digest)).collect();
        assert_eq!(order, [digest(1), digest(3), digest(0)]);
        assert_eq!((lru.bytes(), lru.len()), (0, 0));
    }

    #[test]
    fn replacing_an_object_counts_it_once() {
        let mut lru = Lru::default();
        lru.insert(digest(1), 10, 0, Trust::Found);
        lru.insert(digest(1), 7, 0, Trust::Checked);
        assert_eq!((lru.bytes(), lru.len()), (7, 1));
        assert_eq!(lru.pop_oldest().map(|(_, entry)| entry.length), Some(7));
        assert_eq!(lru.pop_oldest(), None);
    }

    #[test]
    fn many_uses_do_not_grow_the_queue() {
        let mut lru = Lru::default();
        lru.insert(digest(1), 1, 0, Trust::Checked);
        lru.insert(digest(2), 1, 0, Trust::Checked);
        for _ in 0..10_000 {
            lru.touch(&digest(1), 0);
        }
        assert!(lru.queue.len() < 200);
        assert_eq!(lru.pop_oldest().map(|(digest, _)| digest), Some(digest(2)));
    }

    #[test]
    fn stamps_survive_a_restart_and_a_clock_that_went_back() {
        let mut lru = Lru::default();
        let entry = |stamp| Entry {
            length: 1,
            stamp,
            trust: Trust::Recorded,
            touched: false,
        };
        lru.restore(vec![(digest(1), entry(900)), (digest(2), entry(500))]);
        lru.touch(&digest(2), 3);
        assert_eq!(lru.pop_oldest().map(|(digest, _)| digest), Some(digest(1)));
    }
}
