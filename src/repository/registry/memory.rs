//! A bounded memory of facts: what was not asked for lately is forgotten.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Facts by text, which weigh at most so much together. Forgetting one must cost work only.
#[derive(Debug)]
pub(super) struct Memory<T> {
    generations: Mutex<Generations<T>>,
    half: usize,
}

/// When the younger half is full, it becomes the older one, and what nobody asked for since is gone.
#[derive(Debug)]
struct Generations<T> {
    young: HashMap<Box<str>, Fact<T>>,
    old: HashMap<Box<str>, Fact<T>>,
    /// Of `young`.
    weight: usize,
}

#[derive(Debug)]
struct Fact<T> {
    value: T,
    weight: usize,
}

impl<T: Clone> Memory<T> {
    /// For facts that weigh `most` together.
    pub(super) fn new(most: usize) -> Self {
        Self {
            generations: Mutex::new(Generations {
                young: HashMap::new(),
                old: HashMap::new(),
                weight: 0,
            }),
            half: (most / 2).max(1),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<T> {
        let mut all = self.lock();
        if let Some(fact) = all.young.get(key) {
            return Some(fact.value.clone());
        }
        let (key, fact) = all.old.remove_entry(key)?;
        let value = fact.value.clone();
        self.keep(&mut all, key, fact);
        Some(value)
    }

    /// Remembers a small fact, which weighs 1.
    pub(super) fn put(&self, key: &str, fact: T) {
        self.put_heavy(key, fact, 1);
    }

    /// Remembers a fact of this weight, unless it alone is more than half of what may be remembered.
    pub(super) fn put_heavy(&self, key: &str, value: T, weight: usize) {
        let mut all = self.lock();
        all.old.remove(key);
        if let Some(known) = all.young.remove(key) {
            all.weight -= known.weight;
        }
        if weight <= self.half {
            self.keep(&mut all, key.into(), Fact { value, weight });
        }
    }

    fn keep(&self, all: &mut Generations<T>, key: Box<str>, fact: Fact<T>) {
        if all.weight + fact.weight > self.half {
            all.old = std::mem::take(&mut all.young);
            all.weight = 0;
        }
        all.weight += fact.weight;
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
        for number in 0..1_000u32 {
            memory.put_heavy(&number.to_string(), number, 1 + number as usize % 7);
            let all = memory.lock();
            let facts = all.young.values().chain(all.old.values());
            assert!(facts.map(|fact| fact.weight).sum::<usize>() <= 10);
        }
        assert_eq!(memory.get("998"), Some(998));
        memory.put_heavy("998", 1, 6);
        assert_eq!(memory.get("998"), None, "too heavy, and not what it was");
        memory.put("kept", 7);
        memory.put("kept", 8);
        assert_eq!(memory.get("kept"), Some(8));
    }
}
