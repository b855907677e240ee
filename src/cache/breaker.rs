//! A circuit breaker: a server that keeps failing is left alone for a while, so that it costs nothing per request.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Counts failures in a row. After three it refuses for 1 s, then lets one attempt through; each that fails doubles the
/// pause, up to 30 s.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    closed_until: Option<Instant>,
}

impl Breaker {
    /// Whether an attempt may be made now. The caller must report how it went; not reporting it counts as a failure.
    pub(crate) fn admits(&self) -> bool {
        let mut state = self.lock();
        match state.closed_until {
            None => true,
            Some(until) if Instant::now() < until => false,
            Some(_) => {
                // One attempt at a time while it is not known to work.
                state.closed_until = Some(Instant::now() + pause(state.failures));
                true
            }
        }
    }

    /// An attempt went well. `true`: it had been refusing.
    pub(crate) fn succeeded(&self) -> bool {
        let mut state = self.lock();
        state.failures = 0;
        state.closed_until.take().is_some()
    }

    /// An attempt failed. `true`: it refuses from now on.
    pub(crate) fn failed(&self) -> bool {
        let mut state = self.lock();
        state.failures = state.failures.saturating_add(1);
        if state.failures < LIMIT {
            return false;
        }
        let newly = state.closed_until.is_none();
        state.closed_until = Some(Instant::now() + pause(state.failures));
        newly
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pause(failures: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(1 << failures.saturating_sub(LIMIT).min(5))
        .min(LONGEST_PAUSE)
}

const LIMIT: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn refuses_after_three_failures_and_tries_one_at_a_time() {
        let breaker = Breaker::default();
        assert!(!breaker.failed());
        assert!(!breaker.failed());
        assert!(breaker.admits());
        assert!(breaker.failed());
        assert!(!breaker.admits());

        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(breaker.admits());
        assert!(!breaker.admits());
        assert!(!breaker.failed());

        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!breaker.admits());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(breaker.admits());
        assert!(breaker.succeeded());
        assert!(breaker.admits());
        assert!(!breaker.failed());
    }
}
