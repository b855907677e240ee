//! Names that this process changed while somebody was reading from the store.
//!
//! Whoever compares a listing, or a package that he read, with what is known holds a [`Reading`]: what a writer changed
//! meanwhile is newer than what he saw, and must not be undone by it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The names, as long as anybody reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Edits(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    readings: usize,
    names: HashSet<Arc<str>>,
}

/// A comparison that is going on.
#[derive(Debug)]
pub(super) struct Reading(Edits);

impl Edits {
    /// Takes note that a name was changed.
    pub(super) fn note(&self, name: &Arc<str>) {
        let mut inner = self.inner();
        if inner.readings > 0 {
            inner.names.insert(Arc::clone(name));
        }
    }

    /// Names are remembered from now on until the last reading ends.
    pub(super) fn begin(&self) -> Reading {
        self.inner().readings += 1;
        Reading(self.clone())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    /// Whether the name was changed since this (or an older reading that still goes on) began.
    pub(super) fn is_edited(&self, name: &str) -> bool {
        self.0.inner().names.contains(name)
    }

    /// All such names.
    pub(super) fn edited(&self) -> HashSet<Arc<str>> {
        self.0.inner().names.clone()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut inner = self.0.inner();
        inner.readings -= 1;
        if inner.readings == 0 {
            inner.names = HashSet::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_count_for_readings_that_began_before_them() {
        let edits = Edits::default();
        edits.note(&"before".into());
        let first = edits.begin();
        edits.note(&"app".into());
        assert!(first.is_edited("app") && !first.is_edited("before"));
        let second = edits.begin();
        drop(first);
        assert!(second.is_edited("app"), "rather too many than too few");
        assert_eq!(second.edited().len(), 1);
        drop(second);
        assert!(!edits.begin().is_edited("app"));
    }
}
