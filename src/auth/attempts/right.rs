//! Passwords that were right lately, by user and address.

use super::count::{Count, Rule};
use super::table::{Row, Table};

/// How long a right password is known after it was used, in milliseconds.
const KNOWN: i64 = 60 * 60 * 1_000;
/// How many pairs; about 80 bytes each.
const MOST: usize = 16_384;
/// How many other passwords may be sent beside a right one while its pair waits; one is forgiven every 36 s.
pub(super) const PROBES: u32 = 100;
const FORGIVEN: std::time::Duration = std::time::Duration::from_secs(36);
/// How many of those are told from each other: a robot sends one again and again.
const KEPT: usize = 4;

/// The right passwords of pairs. Only who has an account can make it grow.
#[derive(Debug)]
pub(super) struct Rights {
    rows: Table<Right>,
    rule: Rule,
}

#[derive(Clone, Copy, Debug)]
struct Right {
    credential: u64,
    until: i64,
    probes: Count,
    probed: [u64; KEPT],
    next: usize,
}

impl Default for Rights {
    fn default() -> Self {
        Self {
            rows: Table::new(MOST),
            rule: Rule::new(PROBES, (FORGIVEN, FORGIVEN)),
        }
    }
}

impl Rights {
    /// Whether the pair's password was right lately, and nobody has sent too many others beside it.
    pub(super) fn knows(&self, pair: u64, credential: u64, now: i64) -> bool {
        self.rows.get(pair).is_some_and(|right| {
            right.credential == credential
                // The distance, because a clock that is set back must not make it last.
                && (1..=KNOWN).contains(&(right.until - now))
                && right.probes.wait(&self.rule, now).is_none()
        })
    }

    /// It was right just now.
    pub(super) fn keep(&mut self, pair: u64, credential: u64, now: i64) {
        let until = now.saturating_add(KNOWN);
        let mut right = self.rows.get(pair).copied().unwrap_or(Right {
            credential,
            until,
            probes: Count::default(),
            probed: [0; KEPT],
            next: 0,
        });
        (right.credential, right.until) = (credential, until);
        self.rows.insert(pair, right, now);
    }

    /// Another password was sent while the pair waits.
    pub(super) fn probed(&mut self, pair: u64, credential: u64, now: i64) {
        let rule = self.rule;
        if let Some(right) = self.rows.get_mut(pair)
            && !right.probed.contains(&credential)
        {
            right.probed[right.next % KEPT] = credential;
            right.next = (right.next + 1) % KEPT;
            right.probes.add(&rule, now, credential);
        }
    }

    /// It is right no more.
    pub(super) fn forget(&mut self, pair: u64) {
        self.rows.remove(pair);
    }
}

impl Row for Right {
    fn clean_at(&self) -> i64 {
        self.until
    }
}
