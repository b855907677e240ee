//! Failures that are forgiven one by one, and the pause that the last of them brought.

use std::time::Duration;

/// In milliseconds: the first pause.
const FIRST: i64 = 1_000;
/// How far beyond what is allowed failures are counted: more would be remembered for days.
const MOST: i64 = 16;

/// How failures of one kind count. Times are in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    allowed: i64,
    /// In which time one failure is forgiven.
    forgiven: i64,
    /// The longest pause, before it is spread.
    longest: i64,
}

/// Failures and a pause. All zero: nothing has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// When all failures are forgiven, in milliseconds since 1970.
    clean_at: i64,
    paused_until: i64,
}

impl Rule {
    pub(super) fn new(allowed: u32, (forgiven, longest): (Duration, Duration)) -> Self {
        let milliseconds = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Self {
            allowed: i64::from(allowed.max(1)),
            forgiven: milliseconds(forgiven).max(1),
            longest: milliseconds(longest),
        }
    }

    /// The pause that follows the `failures`-th failure. `random` spreads it by up to a quarter: whoever waits together shall not
    /// come back together.
    fn pause(&self, failures: i64, random: u64) -> Option<i64> {
        let beyond = u32::try_from(failures - self.allowed).ok()?;
        let pause = FIRST
            .checked_shl(beyond.min(32))
            .unwrap_or(i64::MAX)
            .min(self.longest);
        let quarter = u64::try_from(pause / 4).unwrap_or_default() + 1;
        Some(pause + i64::try_from(random % quarter).unwrap_or_default())
    }
}

impl Count {
    /// Takes note of one more failure.
    pub(super) fn add(&mut self, rule: &Rule, now: i64, random: u64) {
        // A clock that was set back must not lock anybody out for longer than one that was not.
        let latest = now.saturating_add(rule.forgiven.saturating_mul(rule.allowed + MOST));
        self.clean_at = self
            .clean_at
            .max(now)
            .saturating_add(rule.forgiven)
            .min(latest);
        let failures = self.failures(rule, now);
        if let Some(pause) = rule.pause(
            failures,
            random.rotate_left(u32::try_from(failures).unwrap_or_default() % 64),
        ) {
            self.paused_until = now.saturating_add(pause);
        }
    }

    /// Takes one back that was none.
    pub(super) fn take_back(&mut self, rule: &Rule, now: i64) {
        self.clean_at = self.clean_at.saturating_sub(rule.forgiven);
        if self.failures(rule, now) < rule.allowed {
            self.paused_until = 0;
        }
    }

    /// How long to wait from `now`, in milliseconds; `None`: not at all.
    pub(super) fn wait(&self, rule: &Rule, now: i64) -> Option<i64> {
        let wait = (self.paused_until - now).min(rule.longest + rule.longest / 4);
        (wait > 0).then_some(wait)
    }

    /// When nothing is left of it.
    pub(super) fn clean_at(&self) -> i64 {
        self.clean_at.max(self.paused_until)
    }

    fn failures(&self, rule: &Rule, now: i64) -> i64 {
        let left = self.clean_at.saturating_sub(now).max(0);
        left / rule.forgiven + i64::from(left % rule.forgiven > 0)
    }
}
