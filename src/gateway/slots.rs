//! Places by tenant path for what is opened when it is first asked for, and closed when nobody needs it any more.
//!
//! Anybody may ask for any name, so what nobody needs must not pile up: a map that has grown is looked over, and at most
//! [`SLACK`] places that are needless stay until then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::names::TenantPath;

/// How many new places are taken before the map is looked over.
const SLACK: usize = 64;

/// What a place holds.
pub(super) trait Slot: Sized {
    /// Whether `this` must stay open, although only the map holds its place.
    fn is_needed(&self) -> bool;
}

/// Places by path. Cheap to ask; the lock is held for look-ups only.
#[derive(Debug)]
pub(super) struct Slots<T> {
    inner: Mutex<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    map: HashMap<TenantPath, Arc<T>>,
    look_over_at: usize,
}

impl<T: Slot> Slots<T> {
    pub(super) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                map: HashMap::new(),
                look_over_at: SLACK,
            }),
        }
    }

    /// The place of `path`, if it is taken.
    pub(super) fn get(&self, path: &str) -> Option<Arc<T>> {
        self.lock().map.get(path).cloned()
    }

    /// The place of `path`; a free one is taken with `make`.
    pub(super) fn take(&self, path: &TenantPath, make: impl FnOnce() -> T) -> Arc<T> {
        let mut inner = self.lock();
        if let Some(slot) = inner.map.get(path) {
            return slot.clone();
        }
        let closed = if inner.map.len() >= inner.look_over_at {
            inner.look_over()
        } else {
            Vec::new()
        };
        let slot = Arc::new(make());
        inner.map.insert(path.clone(), slot.clone());
        drop(inner);
        // Closing may free much; not under the lock.
        drop(closed);
        slot
    }

    /// Closes what nobody needs.
    pub(super) fn look_over(&self) {
        let closed = self.lock().look_over();
        drop(closed);
    }

    /// Everything that is open.
    pub(super) fn all(&self) -> Vec<(TenantPath, Arc<T>)> {
        let inner = self.lock();
        let pairs = inner.map.iter();
        pairs
            .map(|(path, slot)| (path.clone(), slot.clone()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        // Nothing here panics half way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Slot> Inner<T> {
    fn look_over(&mut self) -> Vec<Arc<T>> {
        // Clones are only made under the lock, so a place that the map alone holds cannot get into use meanwhile.
        let needless =
            |_: &TenantPath, slot: &mut Arc<T>| Arc::strong_count(slot) == 1 && !slot.is_needed();
        let closed = self
            .map
            .extract_if(needless)
            .map(|(_, slot)| slot)
            .collect();
        self.look_over_at = self.map.len() + SLACK;
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Kept(bool);

    impl Slot for Kept {
        fn is_needed(&self) -> bool {
            self.0
        }
    }

    fn path(text: &str) -> TenantPath {
        TenantPath::parse(text).expect("a path")
    }

    #[test]
    fn names_without_use_do_not_pile_up() {
        let slots = Slots::new();
        for number in 0..50 {
            slots.take(&path(&format!("kept{number}")), || Kept(true));
        }
        let used = slots.take(&path("used"), || Kept(false));
        for number in 0..100_000 {
            slots.take(&path(&format!("n{number}")), || Kept(false));
            assert!(slots.lock().map.len() <= 51 + 2 * SLACK);
        }
        assert!(Arc::ptr_eq(&used, &slots.get("used").expect("in use")));
        drop(used);
        slots.look_over();
        assert_eq!(slots.all().len(), 50);
        assert!(slots.get("used").is_none() && slots.get("kept7").is_some());
    }

    #[test]
    fn one_place_a_path() {
        let slots = Slots::new();
        let first = slots.take(&path("a"), || Kept(false));
        let second = slots.take(&path("a"), || panic!("it is taken"));
        assert!(Arc::ptr_eq(&first, &second));
    }
}
