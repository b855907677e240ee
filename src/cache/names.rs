//! What names mean: the digest that an upstream gave for one, or that it does not exist. Survives a restart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::ledger::{Change, Ledger, NameRow};
use crate::clock::Clock;
use crate::digest::Digest;

/// What is known about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameRecord {
    /// What the upstream said.
    pub state: NameState,
    /// When.
    pub at: Timestamp,
}

/// What an upstream said about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameState {
    /// It gave bytes with this digest. They may have been evicted since: [`Cache::holds`](super::Cache::holds) tells.
    Held(Digest),
    /// It does not exist (404 or 410).
    Absent,
}

/// All names, in memory, with the ledger behind them.
#[derive(Debug)]
pub(crate) struct Names {
    rows: Mutex<HashMap<Box<str>, NameRow>>,
    ledger: Arc<Ledger>,
    clock: Clock,
    limit: usize,
}

impl Names {
    /// The names that the ledger knew.
    pub(crate) fn new(rows: Vec<(Box<str>, NameRow)>, ledger: Arc<Ledger>, clock: Clock) -> Self {
        Self {
            rows: Mutex::new(rows.into_iter().collect()),
            ledger,
            clock,
            limit: LIMIT,
        }
    }

    /// Adds names that a ledger knew which another process held until now; what was learnt since wins.
    pub(crate) fn merge(&self, rows: Vec<(Box<str>, NameRow)>) {
        let mut known = self.lock();
        for (name, row) in rows {
            known.entry(name).or_insert(row);
        }
    }

    /// What is known about `name`; an absence counts until it expires.
    pub(crate) fn get(&self, name: &str) -> Option<NameRecord> {
        let row = *self.lock().get(name)?;
        let state = match row.digest {
            Some(digest) => NameState::Held(digest),
            None if row.until > self.now() => NameState::Absent,
            None => return None,
        };
        let at = Timestamp::from_millisecond(row.at).unwrap_or(Timestamp::UNIX_EPOCH);
        Some(NameRecord { state, at })
    }

    /// Records that `name` is the object with this digest.
    pub(crate) fn held(&self, name: &str, digest: Digest) {
        self.put(name, Some(digest), i64::MAX);
    }

    /// Records that `name` does not exist, for `ttl`.
    pub(crate) fn absent(&self, name: &str, ttl: Duration) {
        if ttl.is_zero() {
            return self.forget(name);
        }
        let ttl = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        self.put(name, None, self.now().saturating_add(ttl));
    }

    /// Forgets `name`.
    pub(crate) fn forget(&self, name: &str) {
        let known = self.lock().remove(name).is_some();
        if known {
            self.ledger.send(Change::Name(name.into(), None));
        }
    }

    /// What follows `prefix` in the names that mean an object.
    pub(crate) fn below(&self, prefix: &str) -> Vec<String> {
        let rows = self.lock();
        let held = rows.iter().filter(|(_, row)| row.digest.is_some());
        held.filter_map(|(name, _)| name.strip_prefix(prefix).map(str::to_owned))
            .collect()
    }

    /// How many names are known.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn put(&self, name: &str, digest: Option<Digest>, until: i64) {
        let row = NameRow {
            digest,
            at: self.now(),
            until,
        };
        let dropped = {
            let mut rows = self.lock();
            let dropped = if rows.len() >= self.limit {
                prune(&mut rows, row.at, self.limit)
            } else {
                Vec::new()
            };
            rows.insert(name.into(), row);
            dropped
        };
        for name in dropped {
            self.ledger.send(Change::Name(name, None));
        }
        self.ledger.send(Change::Name(name.into(), Some(row)));
    }

    fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, NameRow>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room: first what has expired, then the oldest tenth. Clients can invent names without end; memory is bounded.
fn prune(rows: &mut HashMap<Box<str>, NameRow>, now: i64, limit: usize) -> Vec<Box<str>> {
    let mut dropped: Vec<_> = rows
        .extract_if(|_, row| row.until <= now)
        .map(|(name, _)| name)
        .collect();
    if rows.len() >= limit {
        let mut ages: Vec<i64> = rows.values().map(|row| row.at).collect();
        let (_, oldest, _) = ages.select_nth_unstable(limit / 10);
        let oldest = *oldest;
        dropped.extend(
            rows.extract_if(|_, row| row.at <= oldest)
                .map(|(name, _)| name),
        );
    }
    dropped
}

/// About 50 MB of memory at usual name lengths.
const LIMIT: usize = 200_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(limit: usize) -> (tempfile::TempDir, Clock, Names) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (ledger, _) = Ledger::open(&dir.path().join("ledger"));
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let mut names = Names::new(Vec::new(), Arc::new(ledger), clock.clone());
        names.limit = limit;
        (dir, clock, names)
    }

    #[test]
    fn an_absence_expires_and_a_digest_does_not() {
        let (_dir, clock, names) = names(10);
        names.absent("a", Duration::from_secs(30));
        names.held("b", Digest::of(b"b"));
        assert_eq!(names.get("a").map(|r| r.state), Some(NameState::Absent));
        clock.advance(Duration::from_secs(29));
        assert_eq!(names.get("a").map(|r| r.state), Some(NameState::Absent));
        clock.advance(Duration::from_secs(1));
        assert_eq!(names.get("a"), None);
        assert_eq!(
            names.get("b").map(|r| r.state),
            Some(NameState::Held(Digest::of(b"b")))
        );
        names.forget("b");
        assert_eq!(names.get("b"), None);
    }

    #[test]
    fn names_are_bounded_and_the_expired_and_the_oldest_go() {
        let (_dir, clock, names) = names(100);
        names.absent("gone", Duration::from_millis(1));
        for n in 0..500 {
            clock.advance(Duration::from_millis(1));
            names.held(&n.to_string(), Digest::of(b"x"));
            assert!(names.len() <= 101);
        }
        assert_eq!(names.get("gone"), None);
        assert!(names.get("499").is_some());
        assert!(names.get("0").is_none());
    }
}
