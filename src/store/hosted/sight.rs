//! How current the index is.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::error::Error;

/// How current what is shown is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It was never compared with the store, and nothing is known from an earlier run.
    Unknown,
    /// The last look was complete.
    Fresh {
        /// Time since then.
        age: Duration,
    },
    /// The last look failed, or there was none yet and this is what an earlier run knew.
    Stale {
        /// Time since the last complete look, as far as it is known.
        age: Duration,
    },
}

/// What came of the looks at the store so far.
#[derive(Debug)]
pub(super) struct Sight(watch::Sender<View>);

#[derive(Clone, Debug, Default)]
struct View {
    /// When what is shown was saved by an earlier run, as long as nothing newer is known.
    kept: Option<Timestamp>,
    /// The last complete look.
    complete: Option<Instant>,
    /// Why the look after it failed.
    failure: Option<Arc<str>>,
}

impl Sight {
    /// Before the first look, with what an earlier run saved at `kept`.
    pub(super) fn new(kept: Option<Timestamp>) -> Self {
        Self(watch::Sender::new(View {
            kept,
            ..View::default()
        }))
    }

    /// Takes note of a look that saw everything; whether nothing was known before it.
    pub(super) fn complete(&self) -> bool {
        let mut was_unknown = false;
        self.0.send_modify(|view| {
            was_unknown = view.complete.is_none() && view.kept.is_none();
            view.complete = Some(Instant::now());
            view.failure = None;
        });
        was_unknown
    }

    /// Takes note of a look that failed.
    pub(super) fn failed(&self, error: &Error) {
        self.0
            .send_modify(|view| view.failure = Some(error.message().into()));
    }

    /// Whether there was a complete look.
    pub(super) fn was_complete(&self) -> bool {
        self.0.borrow().complete.is_some()
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.0.borrow().failure.as_deref().map(str::to_owned)
    }

    /// How current what is shown is. Where changes are seen at once (`is_live`), it has no age as long as looks succeed.
    pub(super) fn freshness(&self, is_live: bool, clock: &Clock) -> Freshness {
        let view = self.0.borrow();
        match (view.complete, &view.failure, view.kept) {
            (Some(_), None, _) if is_live => Freshness::Fresh {
                age: Duration::ZERO,
            },
            (Some(at), None, _) => Freshness::Fresh { age: at.elapsed() },
            (Some(at), Some(_), _) => Freshness::Stale { age: at.elapsed() },
            (None, _, Some(kept)) => Freshness::Stale {
                age: clock.since(kept),
            },
            (None, _, None) => Freshness::Unknown,
        }
    }

    /// Waits until something is known or the first look has failed.
    pub(super) async fn settled(&self) {
        let is_settled =
            |view: &View| view.complete.is_some() || view.kept.is_some() || view.failure.is_some();
        // The sender lives in `self`, so this ends only with the value being true.
        let _ = self.0.subscribe().wait_for(is_settled).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_known_is_said_as_it_is() {
        let clock = Clock::manual("2026-11-21T10:00:00Z".parse().expect("a time"));
        let minute = Duration::from_secs(60);
        let (new, kept) = (Sight::new(None), Sight::new(Some(clock.now())));
        clock.advance(minute);
        assert_eq!(new.freshness(false, &clock), Freshness::Unknown);
        assert_eq!(new.settled().now_or_never(), None);
        assert_eq!(
            kept.freshness(false, &clock),
            Freshness::Stale { age: minute }
        );
        assert_eq!(kept.settled().now_or_never(), Some(()));

        new.failed(&Error::unavailable("away"));
        assert_eq!(new.freshness(false, &clock), Freshness::Unknown);
        assert_eq!(new.failure().as_deref(), Some("away"));
        assert_eq!(new.settled().now_or_never(), Some(()));
        assert!(!new.was_complete());

        assert!(new.complete());
        assert!(!new.complete() && !kept.complete());
        tokio::time::advance(minute).await;
        assert_eq!(
            new.freshness(false, &clock),
            Freshness::Fresh { age: minute }
        );
        assert_eq!(
            new.freshness(true, &clock),
            Freshness::Fresh {
                age: Duration::ZERO
            }
        );
        assert_eq!(new.failure(), None);
        new.failed(&Error::unavailable("away"));
        assert_eq!(
            new.freshness(true, &clock),
            Freshness::Stale { age: minute }
        );
    }
}
