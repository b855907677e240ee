//! A bounded memory of small facts: what was not asked for lately is forgotten.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Facts by text, at most so many. Forgetting one must cost work only.
#[derive(Debug)]
pub(super) struct Memory<T> {
    generations: Mutex<Generations<T>>,
    half: usize,
}

/// When the younger half is full, it becomes the older one, and what nobody asked for since is gone.
#[derive(Debug)]
struct Generations<T> {
    young: HashMap<Box<str>, T>,
    old: HashMap<Box<str>, T>,
}

impl<T: Copy> Memory<T> {
    /// For `most` facts.
    pub(super) fn new(most: usize) -> Self {
        Self {
            generations: Mutex::new(Generations {
                young: HashMap::new(),
                old: HashMap::new(),
            }),
            half: (most / 2).max(1),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<T> {
        let mut all = self.lock();
        if let Some(fact) = all.young.get(key) {
            return Some(*fact);
        }
        let (key, fact) = all.old.remove_entry(key)?;
        self.keep(&mut all, key, fact);
        Some(fact)
    }

    pub(super) fn put(&self, key: &str, fact: T) {
        let mut all = self.lock();
        match all.young.get_mut(key) {
            Some(known) => *known = fact,
            None => {
                all.old.remove(key);
                self.keep(&mut all, key.into(), fact);
            }
        }
    }

    fn keep(&self, all: &mut Generations<T>, key: Box<str>, fact: T) {
        if all.young.len() >= self.half {
            all.old = std::mem::take(&mut all.young);
        }
        all.young.insert(key, fact);
    }

    fn lock(&self) -> MutexGuard<'_, Generations<T>> {
        // Nothing here panics half way.
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let memory = Memory::new(10);
        memory.put("kept", 0);
        for number in 1..1_000u32 {
            memory.put(&number.to_string(), number);
            assert_eq!(memory.get("kept"), Some(0), "after {number}");
            let all = memory.lock();
            assert!(all.young.len() + all.old.len() <= 10);
        }
        assert_eq!(memory.get("1"), None);
        memory.put("kept", 7);
        memory.put("kept", 8);
        assert_eq!(memory.get("kept"), Some(8));
    }
}
