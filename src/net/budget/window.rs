//! Requests within a moving window: never more than the limit in any period of that length.
//!
//! An allowance that refills evenly lets twice the limit through within its first period; an upstream that counts would notice.
//! Times are kept in slices of a hundredth of the period, and a slice counts until a whole period after its end: the limit is
//! kept exactly, and a request comes back at most a slice late.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

/// What was sent.
#[derive(Clone, Debug)]
pub(super) struct Window {
    limit: u64,
    /// Milliseconds.
    period: i64,
    /// Ends of slices in milliseconds, in order, and how many requests were sent in each.
    sent: VecDeque<(i64, u64)>,
}

/// When a request was sent, so that it can be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(i64);

impl Window {
    /// `limit` requests in any `period`.
    pub(super) fn new(limit: u32, period: Duration) -> Self {
        Self {
            limit: limit.into(),
            period: i64::try_from(period.as_millis())
                .unwrap_or(i64::MAX / 4)
                .max(1),
            sent: VecDeque::new(),
        }
    }

    /// With what was sent under another limit.
    pub(super) fn after(mut self, before: &Self) -> Self {
        self.sent.clone_from(&before.sent);
        self
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// How many requests may be sent now.
    pub(super) fn left(&mut self, now: Timestamp) -> u64 {
        let now = now.as_millisecond();
        while let Some((end, _)) = self.sent.front()
            && end.saturating_add(self.period) <= now
        {
            self.sent.pop_front();
        }
        let sent: u64 = self.sent.iter().map(|(_, sent)| sent).sum();
        self.limit.saturating_sub(sent)
    }

    /// Counts one request. Over the limit: how long there is no other.
    pub(super) fn take(&mut self, now: Timestamp) -> Result<Mark, Duration> {
        if self.left(now) == 0 {
            return Err(self.wait(now));
        }
        let now = now.as_millisecond();
        let slice = (self.period / SLICES).max(1);
        let end = (now / slice).saturating_add(1).saturating_mul(slice);
        match self.sent.back_mut() {
            // Also where the clock was set back: the order stays.
            Some((last, sent)) if *last >= end => {
                *sent += 1;
                Ok(Mark(*last))
            }
            _ => {
                self.sent.push_back((end, 1));
                Ok(Mark(end))
            }
        }
    }

    /// Takes a request back that did not count after all.
    pub(super) fn give_back(&mut self, mark: Mark) {
        if let Some((_, sent)) = self.sent.iter_mut().find(|(end, _)| *end == mark.0) {
            *sent = sent.saturating_sub(1);
        }
    }

    /// How long until a request may be sent. Call [`Window::left`] first.
    fn wait(&self, now: Timestamp) -> Duration {
        // Under a smaller limit than before, several slices must pass.
        let mut sent: u64 = self.sent.iter().map(|(_, sent)| sent).sum();
        let enough = self.sent.iter().find(|(_, gone)| {
            sent = sent.saturating_sub(*gone);
            sent < self.limit
        });
        let end = enough.map_or(0, |(end, _)| end.saturating_add(self.period));
        let left = end.saturating_sub(now.as_millisecond());
        Duration::from_millis(u64::try_from(left).unwrap_or_default())
    }

    /// How long until a request may be sent; zero: now.
    pub(super) fn next(&mut self, now: Timestamp) -> Duration {
        match self.left(now) {
            0 => self.wait(now),
            _ => Duration::ZERO,
        }
    }
}

const SLICES: i64 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const HOUR: Duration = Duration::from_hours(1);

    fn clock() -> Clock {
        Clock::manual("2026-11-20T15:59:01Z".parse().expect("a time"))
    }

    #[test]
    fn no_six_hours_of_a_day_have_more_than_a_hundred() {
        let clock = clock();
        let mut window = Window::new(100, 6 * HOUR);
        let start = clock.now();
        let mut sent: Vec<i64> = Vec::new();
        // Somebody always wants something: every 7 seconds for 24 hours.
        while clock.since(start) < 24 * HOUR {
            if window.take(clock.now()).is_ok() {
                sent.push(clock.now().as_second());
            }
            clock.advance(Duration::from_secs(7));
        }
        for (place, from) in sent.iter().enumerate() {
            let within = sent[place..].iter().take_while(|at| **at - from < 6 * 3600);
            assert!(within.count() <= 100);
        }
        assert!(sent.len() >= 395, "and little is lost: {}", sent.len());
        assert!(window.sent.len() <= 102, "bounded");
    }

    #[test]
    fn the_wait_is_exact() {
        let clock = clock();
        let mut window = Window::new(3, HOUR);
        for _ in 0..3 {
            window.take(clock.now()).expect("within the limit");
            clock.advance(Duration::from_mins(10));
        }
        let wait = window.take(clock.now()).expect_err("over the limit");
        assert_eq!(wait, window.next(clock.now()));
        assert!(
            wait > Duration::from_mins(30) && wait <= Duration::from_secs(1836),
            "{wait:?}"
        );
        clock.advance(wait - Duration::from_millis(1));
        window.take(clock.now()).expect_err("a moment too early");
        clock.advance(Duration::from_millis(1));
        window.take(clock.now()).expect("as was said");
        window.take(clock.now()).expect_err("one only");
    }

    #[test]
    fn what_was_taken_back_can_be_had_again() {
        let clock = clock();
        let mut window = Window::new(1, HOUR);
        let mark = window.take(clock.now()).expect("within the limit");
        window.take(clock.now()).expect_err("over the limit");
        window.give_back(mark);
        assert_eq!(window.left(clock.now()), 1);
        window.take(clock.now()).expect("within the limit");
        clock.advance(2 * HOUR);
        window.give_back(mark);
        assert_eq!(window.left(clock.now()), 1, "long forgotten");
    }

    #[test]
    fn a_new_limit_knows_what_was_sent() {
        let clock = clock();
        let mut wide = Window::new(100, HOUR);
        for _ in 0..50 {
            wide.take(clock.now()).expect("within the limit");
            clock.advance(Duration::from_mins(1));
        }
        let mut narrow = Window::new(10, HOUR).after(&wide);
        let wait = narrow.take(clock.now()).expect_err("over the limit");
        assert!(
            wait > Duration::from_mins(49),
            "forty must pass first: {wait:?}"
        );
        clock.advance(wait);
        narrow.take(clock.now()).expect("as was said");
    }

    #[test]
    fn a_clock_that_is_set_back_gives_nothing_away() {
        let mut window = Window::new(2, HOUR);
        let now = clock().now();
        let before = now - jiff::SignedDuration::from_hours(3);
        window.take(now).expect("within the limit");
        window.take(before).expect("within the limit");
        window.take(before).expect_err("over the limit");
        window.take(now).expect_err("over the limit");
    }
}
