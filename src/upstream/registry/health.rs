//! Leaving an upstream alone that fails, or that asks for it: a circuit breaker for every kind of request.
//!
//! Kinds are apart because upstreams limit them apart: Docker Hub counts manifest GETs, not HEADs and not blobs, and a token
//! server is another machine. The wall clock decides, because `Retry-After` is about it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::net::Response;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// HEAD of manifests: which digest a tag has.
    Heads,
    /// GET of manifests.
    Manifests,
    /// Blobs.
    Blobs,
    /// Tags, referrers, catalog.
    Lists,
    /// The token server.
    Tokens,
}

impl Lane {
    fn as_str(self) -> &'static str {
        match self {
            Self::Heads => "digests of tags",
            Self::Manifests => "manifests",
            Self::Blobs => "blobs",
            Self::Lists => "lists",
            Self::Tokens => "tokens",
        }
    }
}

/// The breakers of one upstream.
#[derive(Debug)]
pub(super) struct Health {
    upstream: Arc<str>,
    clock: Clock,
    lanes: [Mutex<State>; 5],
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    until: Option<Timestamp>,
    /// It asked for the pause itself (429).
    asked: bool,
}

impl Health {
    pub(super) fn new(upstream: Arc<str>, clock: Clock) -> Self {
        Self {
            upstream,
            clock,
            lanes: Default::default(),
        }
    }

    /// Whether a request may be sent now; the error says how long not.
    ///
    /// After a pause one request at a time is let through until one goes well. The caller must [`judge`](Self::judge); not doing
    /// it counts as a failure.
    pub(super) fn admit(&self, lane: Lane) -> Result<()> {
        let now = self.clock.now();
        let mut state = self.lock(lane);
        let Some(until) = state.until else {
            return Ok(());
        };
        let left = Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO);
        if left.is_zero() {
            state.until = later(now, pause(state.failures));
            return Ok(());
        }
        let (kind, why) = match state.asked {
            true => (ErrorKind::RateLimited, "it asked for it"),
            false => (ErrorKind::UpstreamUnavailable, "it keeps failing"),
        };
        Err(Error::new(
            kind,
            format!(
                "upstream `{}` is not asked for {} for another {}s, because {why}",
                self.upstream,
                lane.as_str(),
                left.as_secs().max(1)
            ),
        )
        .with_retry_after(left))
    }

    /// How a request went that was admitted.
    pub(super) fn judge(&self, lane: Lane, outcome: &Result<Response>, asked: Option<Duration>) {
        match outcome {
            Ok(answer) if answer.status.as_u16() == 429 => self.slow_down(lane, asked),
            // 501 is what somebody says who does not know the method: an answer.
            Ok(answer) if answer.status.is_server_error() && answer.status.as_u16() != 501 => {
                self.failed(lane, asked);
            }
            Ok(_) => *self.lock(lane) = State::default(),
            Err(error) => self.failed(lane, error.retry_after()),
        }
    }

    /// It wants to be left alone: at once, for as long as it says.
    fn slow_down(&self, lane: Lane, asked: Option<Duration>) {
        let mut state = self.lock(lane);
        state.failures = state.failures.saturating_add(1).max(LIMIT);
        state.asked = true;
        let pause =
            asked.unwrap_or_else(|| UNSAID.saturating_mul(1 << (state.failures - LIMIT).min(6)));
        state.until = later(self.clock.now(), pause.min(LONGEST_ASKED));
    }

    fn failed(&self, lane: Lane, asked: Option<Duration>) {
        let mut state = self.lock(lane);
        state.failures = state.failures.saturating_add(1);
        state.asked = false;
        if state.failures < LIMIT && asked.is_none() {
            return;
        }
        let pause = asked.map_or_else(|| pause(state.failures), |asked| asked.min(LONGEST_ASKED));
        state.until = later(self.clock.now(), pause);
    }

    /// How long a lane still waits.
    pub(super) fn paused(&self, lane: Lane) -> Option<Duration> {
        let until = self.lock(lane).until?;
        let left = Duration::try_from(until.duration_since(self.clock.now())).ok()?;
        (!left.is_zero()).then_some(left)
    }

    fn lock(&self, lane: Lane) -> MutexGuard<'_, State> {
        self.lanes[lane as usize]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn later(now: Timestamp, pause: Duration) -> Option<Timestamp> {
    now.checked_add(pause).ok()
}

fn pause(failures: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(1 << failures.saturating_sub(LIMIT).min(5))
        .min(LONGEST_PAUSE)
}

/// Failures in a row before it is left alone.
const LIMIT: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After a 429 that does not say how long; doubled with each further one.
const UNSAID: Duration = Duration::from_secs(5);
/// No upstream can switch itself off for longer.
const LONGEST_ASKED: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{ByteStream, HeaderMap, StatusCode};

    fn health() -> (Health, Clock) {
        let clock = Clock::manual("2026-11-20T15:59:01Z".parse().expect("a time"));
        (Health::new(Arc::from("hub"), clock.clone()), clock)
    }

    fn answer(code: u16) -> Result<Response> {
        Ok(Response {
            status: StatusCode::from_u16(code).expect("a status"),
            headers: HeaderMap::new(),
            url: url::Url::parse("http://h/").expect("a URL"),
            at_home: true,
            body: ByteStream::once(bytes::Bytes::new()),
        })
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn three_failures_in_a_row_and_then_one_at_a_time() {
        let (health, clock) = health();
        let lane = Lane::Manifests;
        for _ in 0..2 {
            health.admit(lane).expect("admitted");
            health.judge(lane, &answer(503), None);
        }
        health.admit(lane).expect("still admitted");
        health.judge(lane, &Err(Error::unavailable("gone")), None);
        let error = health.admit(lane).expect_err("held back");
        assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
        assert_eq!(error.retry_after(), Some(SECOND));
        health.admit(Lane::Blobs).expect("another kind");

        clock.advance(SECOND);
        health.admit(lane).expect("one to see");
        assert!(health.admit(lane).is_err(), "and no second one");
        health.judge(lane, &answer(500), None);
        clock.advance(SECOND);
        assert!(health.admit(lane).is_err(), "twice as long now");
        clock.advance(SECOND);
        health.admit(lane).expect("one to see");
        health.judge(lane, &answer(404), None);
        health.admit(lane).expect("an answer is an answer");
        assert_eq!(health.paused(lane), None);
    }

    #[test]
    fn who_asks_to_be_left_alone_is() {
        let (health, clock) = health();
        let lane = Lane::Manifests;
        health.judge(lane, &answer(429), Some(30 * SECOND));
        let error = health.admit(lane).expect_err("held back");
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert_eq!(error.retry_after(), Some(30 * SECOND));
        health.admit(Lane::Heads).expect("does not count there");
        clock.advance(30 * SECOND);
        health.admit(lane).expect("the time is over");
        health.judge(lane, &answer(200), None);
        assert_eq!(health.paused(lane), None);

        health.judge(lane, &answer(429), None);
        assert_eq!(health.paused(lane), Some(5 * SECOND));
        health.judge(lane, &answer(429), None);
        assert_eq!(health.paused(lane), Some(10 * SECOND));
        health.judge(lane, &answer(429), Some(Duration::MAX));
        assert_eq!(health.paused(lane), Some(LONGEST_ASKED));
        health.judge(Lane::Blobs, &answer(503), Some(20 * SECOND));
        assert_eq!(health.paused(Lane::Blobs), Some(20 * SECOND));
    }
}
