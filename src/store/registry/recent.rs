//! Small documents that were asked for recently, in bounded memory.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::digest::Digest;

/// Documents by the digest of their bytes. What is asked for stays: it moves from the older half to the younger one, and the
/// older half goes as a whole when the younger one is full.
#[derive(Debug)]
pub(super) struct Recent {
    halves: Mutex<Halves>,
    half: usize,
}

#[derive(Debug, Default)]
struct Halves {
    young: HashMap<Digest, Bytes>,
    old: HashMap<Digest, Bytes>,
    /// Of `young`.
    bytes: usize,
}

impl Recent {
    /// At most `capacity` bytes.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            halves: Mutex::default(),
            half: capacity / 2,
        }
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Bytes> {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = halves.young.get(digest) {
            return Some(bytes.clone());
        }
        let bytes = halves.old.remove(digest)?;
        halves.put(*digest, bytes.clone(), self.half);
        Some(bytes)
    }

    /// Keeps `bytes`, unless they are too large to be worth it.
    pub(super) fn put(&self, digest: Digest, bytes: Bytes) {
        if bytes.len() + OVERHEAD <= self.half / 4 {
            // A slice of a larger buffer would keep all of it alive, uncounted.
            let bytes = match bytes.is_unique() {
                true => bytes,
                false => Bytes::copy_from_slice(&bytes),
            };
            let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
            halves.put(digest, bytes, self.half);
        }
    }
}

impl Halves {
    fn put(&mut self, digest: Digest, bytes: Bytes, half: usize) {
        let size = bytes.len() + OVERHEAD;
        if self.bytes + size > half {
            self.old = mem::take(&mut self.young);
            self.bytes = 0;
        }
        if self.young.insert(digest, bytes).is_none() {
            self.bytes += size;
        }
    }
}

/// What an entry costs besides its bytes.
const OVERHEAD: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_bound_holds() {
        let recent = Recent::new(100_000);
        let often = Digest::of(b"often");
        recent.put(often, Bytes::from_static(b"often"));
        for at in 0..10_000_u32 {
            let text = Bytes::from(at.to_string().repeat(100));
            recent.put(Digest::of(&text), text);
            assert!(recent.get(&often).is_some(), "{at}");
        }
        let halves = recent.halves.lock().expect("no panic");
        let all = halves.young.values().chain(halves.old.values());
        assert!(all.map(|bytes| bytes.len() + OVERHEAD).sum::<usize>() <= 100_000);
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let recent = Recent::new(1000);
        let large = Bytes::from(vec![0; 200]);
        recent.put(Digest::of(&large), large.clone());
        assert_eq!(recent.get(&Digest::of(&large)), None);
    }
}
