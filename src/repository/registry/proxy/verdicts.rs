//! What an upstream said that is believed for a moment, so that it is not asked at every request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Clock;
use crate::error::Error;

/// Failures that are still believed, by what they are about. In memory only, and bounded: clients can ask for anything.
#[derive(Debug)]
pub(super) struct Verdicts {
    known: Mutex<HashMap<String, (Timestamp, Arc<Error>)>>,
    clock: Clock,
}

impl Verdicts {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            known: Mutex::default(),
            clock,
        }
    }

    /// What is still believed about `what`.
    pub(super) fn get(&self, what: &str) -> Option<Arc<Error>> {
        let known = self.lock();
        let (until, error) = known.get(what)?;
        (*until > self.clock.now()).then(|| Arc::clone(error))
    }

    /// Believes `error` about `what` for so long.
    pub(super) fn put(&self, what: &str, error: Arc<Error>, period: Duration) {
        let now = self.clock.now();
        let Ok(until) = now.checked_add(period) else {
            return;
        };
        let mut known = self.lock();
        if known.len() >= LIMIT {
            known.retain(|_, (until, _)| *until > now);
        }
        if known.len() >= LIMIT {
            known.clear();
        }
        known.insert(what.to_owned(), (until, error));
    }

    /// Believes nothing any more about what starts like this.
    pub(super) fn forget_below(&self, prefix: &str) {
        self.lock().retain(|what, _| !what.starts_with(prefix));
    }

    /// Believes nothing any more about `what`.
    pub(super) fn forget(&self, what: &str) {
        self.lock().remove(what);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Timestamp, Arc<Error>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A few megabytes.
const LIMIT: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_expire_and_are_bounded() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let verdicts = Verdicts::new(clock.clone());
        let error = Arc::new(Error::not_found("gone"));
        verdicts.put("a", error.clone(), Duration::from_secs(30));
        clock.advance(Duration::from_secs(29));
        assert!(verdicts.get("a").is_some());
        clock.advance(Duration::from_secs(1));
        assert!(verdicts.get("a").is_none());
        for n in 0..3 * LIMIT {
            verdicts.put(&n.to_string(), error.clone(), Duration::from_secs(30));
            assert!(verdicts.lock().len() <= LIMIT);
        }
        verdicts.put("b/1", error, Duration::from_secs(30));
        verdicts.forget_below("b/");
        assert!(verdicts.get("b/1").is_none());
    }
}
