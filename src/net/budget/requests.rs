//! Requests within a window, as the configuration, the upstream and its refusals see them together.

use std::time::Duration;

use jiff::Timestamp;

use super::allowance::Allowance;
use super::window::{Mark, Window};
use crate::clock::Clock;
use crate::http::HeaderMap;

/// What was sent, what is left, and who says so.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    pub(super) window: Option<Window>,
    told: Option<Told>,
    /// Requests whose answers have not come: they are not in what was told.
    flying: u64,
    /// It asked to be left alone until then.
    rest: Option<Timestamp>,
}

/// What the upstream last said.
#[derive(Clone, Debug)]
struct Told {
    allowance: Allowance,
    /// When one may be tried although none was left.
    next: Timestamp,
}

/// Why a request is not sent.
pub(super) enum Held {
    Rest,
    Told(Allowance),
    Spent(u64),
}

impl Requests {
    /// With what is known from `before`, where the configuration changed.
    pub(super) fn new(rule: Option<(u32, Duration)>, before: Option<Self>) -> Self {
        let before = before.unwrap_or_default();
        let window = rule.map(|(limit, period)| {
            let window = Window::new(limit, period);
            match &before.window {
                Some(old) => window.after(old),
                None => window,
            }
        });
        // What is under way answers to the old one.
        Self {
            window,
            flying: 0,
            ..before
        }
    }

    /// Takes one request off, or says why not and for how long.
    pub(super) fn take(&mut self, clock: &Clock) -> Result<Option<Mark>, (Held, Duration)> {
        let now = clock.now();
        if let Some(wait) = self.resting(clock) {
            return Err((Held::Rest, wait));
        }
        let mut probing = false;
        if let Some((0, _, wait)) = self.told_left(clock)
            && let Some(told) = &self.told
        {
            if !wait.is_zero() {
                return Err((Held::Told(told.allowance.clone()), wait));
            }
            probing = true;
        }
        let mark = match &mut self.window {
            None => None,
            Some(window) => Some(
                window
                    .take(now)
                    .map_err(|wait| (Held::Spent(window.limit()), wait))?,
            ),
        };
        if probing && let Some(told) = &mut self.told {
            // One at a time, until an answer says more.
            told.next = later(now, told.allowance.pause());
        }
        self.flying += 1;
        Ok(mark)
    }

    /// How much longer it is left alone.
    pub(super) fn resting(&mut self, clock: &Clock) -> Option<Duration> {
        let left = until(self.rest?, clock);
        if left.is_zero() {
            self.rest = None;
            return None;
        }
        Some(left)
    }

    /// What is left of what the upstream allows, of how much, and how long until one may be tried anyway. `None`: it says nothing.
    pub(super) fn told_left(&self, clock: &Clock) -> Option<(u64, Option<u64>, Duration)> {
        let told = self.told.as_ref()?;
        if !told.allowance.counts(clock) {
            return None;
        }
        let left = told.allowance.remaining.saturating_sub(self.flying);
        Some((left, told.allowance.limit, until(told.next, clock)))
    }

    pub(super) fn learn(&mut self, headers: &HeaderMap, clock: &Clock) {
        let now = clock.now();
        if let Some(allowance) = Allowance::read(headers, now) {
            self.told = Some(Told {
                next: later(now, allowance.pause()),
                allowance,
            });
        }
    }

    /// A request that was counted has ended, with or without an answer that says what is left.
    pub(super) fn landed(&mut self) {
        self.flying = self.flying.saturating_sub(1);
        if let Some(told) = &mut self.told {
            told.allowance.remaining = told.allowance.remaining.saturating_sub(1);
        }
    }

    /// A request did not get there.
    pub(super) fn forget(&mut self, mark: Option<Mark>) {
        self.flying = self.flying.saturating_sub(1);
        self.refund(mark);
    }

    /// A request does not count for the window.
    pub(super) fn refund(&mut self, mark: Option<Mark>) {
        if let (Some(window), Some(mark)) = (&mut self.window, mark) {
            window.give_back(mark);
        }
    }

    /// It wants to be left alone for so long.
    pub(super) fn rest(&mut self, period: Duration, clock: &Clock) {
        self.rest = self.rest.max(Some(later(clock.now(), period)));
    }

    /// What the upstream last said.
    pub(super) fn allowance(&self) -> Option<&Allowance> {
        self.told.as_ref().map(|told| &told.allowance)
    }
}

fn until(then: Timestamp, clock: &Clock) -> Duration {
    Duration::try_from(then.duration_since(clock.now())).unwrap_or(Duration::ZERO)
}

fn later(now: Timestamp, pause: Duration) -> Timestamp {
    now.checked_add(pause).unwrap_or(Timestamp::MAX)
}
