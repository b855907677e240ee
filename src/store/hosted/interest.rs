//! Whether anybody asks for what is in a folder: where nobody does, looking every second would be in vain.
//!
//! With thousands of repositories open, the looks at those that nobody uses would be most of what an idle process does.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// When somebody asked last, and the watch that may have to be woken for it.
#[derive(Debug)]
pub(super) struct Interest {
    origin: Instant,
    /// Milliseconds from `origin`.
    asked: AtomicU64,
    is_resting: AtomicBool,
    call: Notify,
}

impl Interest {
    /// Whoever opens a store wants something of it.
    pub(super) fn new() -> Self {
        Self {
            origin: Instant::now(),
            asked: AtomicU64::new(0),
            is_resting: AtomicBool::new(false),
            call: Notify::new(),
        }
    }

    /// Takes note that somebody asks. A watch that rests looks at once. Cheap, and never waits.
    pub(super) fn note(&self) {
        self.asked.store(self.now(), Ordering::SeqCst);
        if self.is_resting.load(Ordering::SeqCst) {
            self.call.notify_one();
        }
    }

    /// Waits until the next look is due: `every` so often where somebody asked a while ago, else seldom, or when somebody asks.
    pub(super) async fn rest(&self, every: Duration) {
        if self.is_recent() {
            return tokio::time::sleep(every).await;
        }
        self.is_resting.store(true, Ordering::SeqCst);
        // Who asked before this is seen here; who asks after it sees the flag.
        if !self.is_recent() {
            let _ = tokio::time::timeout(every.max(SELDOM), self.call.notified()).await;
        }
        self.is_resting.store(false, Ordering::SeqCst);
    }

    fn is_recent(&self) -> bool {
        let since = self.now().saturating_sub(self.asked.load(Ordering::SeqCst));
        Duration::from_millis(since) < RECENT
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A client that comes back within this time finds what others did meanwhile.
const RECENT: Duration = Duration::from_secs(60);
/// How old the index may be that the first client after a long time gets.
const SELDOM: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const EVERY: Duration = Duration::from_secs(1);

    async fn rested(interest: &Interest) -> Duration {
        let start = Instant::now();
        interest.rest(EVERY).await;
        start.elapsed()
    }

    /// Timers count whole milliseconds.
    fn about(time: Duration) -> u64 {
        (time + Duration::from_millis(50)).as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn looks_are_frequent_while_somebody_asks_and_seldom_afterwards() {
        let interest = Interest::new();
        for _ in 0..60 {
            assert_eq!(about(rested(&interest).await), 1);
        }
        for _ in 0..3 {
            assert_eq!(about(rested(&interest).await), 15);
        }
        interest.note();
        assert_eq!(about(rested(&interest).await), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_wakes_it() {
        let interest = Interest::new();
        tokio::time::advance(RECENT).await;
        let mut rest = Box::pin(interest.rest(EVERY));
        assert_eq!(rest.as_mut().now_or_never(), None);
        interest.note();
        assert_eq!(rest.as_mut().now_or_never(), Some(()));
        assert_eq!(about(rested(&interest).await), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_longer_pause_than_that_stays_as_long() {
        let interest = Interest::new();
        tokio::time::advance(RECENT).await;
        let start = Instant::now();
        interest.rest(2 * SELDOM).await;
        assert_eq!(about(start.elapsed()), 30);
    }
}
