//! When a GET is tried again, and after how long.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::http::{HeaderMap, conditional, header};

/// The rules of trying again. Only requests that have not given a single byte of body are tried again.
#[derive(Clone, Debug)]
pub struct Retries {
    /// How often a request is sent at most. Default 3.
    pub attempts: u32,
    /// The pause before the second attempt; every further one is twice as long. Default 200 ms.
    pub first_pause: Duration,
    /// A server that asks for a longer pause than this is not asked again now. Default 2 s.
    pub longest_pause: Duration,
    /// Where jitter starts from; `None`: from the system's randomness.
    pub seed: Option<u64>,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 3,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(2),
            seed: None,
        }
    }
}

impl Retries {
    /// One attempt only.
    pub fn never() -> Self {
        Self {
            attempts: 1,
            ..Self::default()
        }
    }
}

/// The rules and the state of their jitter.
#[derive(Debug)]
pub(super) struct Backoff {
    rules: Retries,
    jitter: AtomicU64,
}

impl Backoff {
    pub(super) fn new(rules: Retries) -> Self {
        let seed = rules.seed.unwrap_or_else(|| {
            let mut bytes = [0; 8];
            // Without randomness the jitter starts at the same place; it is no secret.
            let _ = getrandom::fill(&mut bytes);
            u64::from_ne_bytes(bytes)
        });
        Self {
            rules,
            jitter: AtomicU64::new(seed),
        }
    }

    /// A server that asks for a longer pause is not asked again for the same request.
    pub(super) fn longest_pause(&self) -> Duration {
        self.rules.longest_pause
    }

    /// The pause before the attempt after the `attempt`th (1-based), or `None` when enough was tried.
    ///
    /// `asked` is the server's Retry-After; `left` is what remains of the time for the whole request.
    pub(super) fn pause(
        &self,
        attempt: u32,
        asked: Option<Duration>,
        left: Duration,
    ) -> Option<Duration> {
        if attempt >= self.rules.attempts {
            return None;
        }
        let step = self
            .rules
            .first_pause
            .saturating_mul(1 << (attempt - 1).min(10));
        // Half fixed, half random: replicas that failed together do not come back together.
        let jittered = step / 2 + (step / 2).mul_f64(self.random());
        let pause = jittered.max(asked.unwrap_or_default());
        (pause <= self.rules.longest_pause && pause < left).then_some(pause)
    }

    /// In 0..1 (splitmix64).
    fn random(&self) -> f64 {
        let state = self
            .jitter
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        (word >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The `Retry-After` of an answer: seconds, or a date (RFC 9110 §10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, clock: &Clock) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = conditional::parse_http_date(text)?;
    Some(Duration::try_from(date.duration_since(clock.now())).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn backoff(seed: u64) -> Backoff {
        Backoff::new(Retries {
            seed: Some(seed),
            ..Retries::default()
        })
    }

    #[test]
    fn pauses_grow_with_jitter_and_end() {
        let backoff = backoff(1);
        let first = backoff.pause(1, None, LONG).expect("a second attempt");
        let second = backoff.pause(2, None, LONG).expect("a third attempt");
        assert!((100..=200).contains(&first.as_millis()), "{first:?}");
        assert!((200..=400).contains(&second.as_millis()), "{second:?}");
        assert_eq!(backoff.pause(3, None, LONG), None);
    }

    #[test]
    fn the_same_seed_gives_the_same_pauses() {
        let pauses = |seed| {
            let backoff = backoff(seed);
            [1, 2, 1, 2].map(|attempt| backoff.pause(attempt, None, LONG))
        };
        assert_eq!(pauses(7), pauses(7));
        assert_ne!(pauses(7), pauses(8));
    }

    #[test]
    fn a_server_is_given_the_time_it_asks_for_or_left_alone() {
        let backoff = backoff(1);
        let second = Duration::from_secs(1);
        assert_eq!(backoff.pause(1, Some(second), LONG), Some(second));
        assert_eq!(backoff.pause(1, Some(LONG), LONG), None);
        assert_eq!(backoff.pause(1, None, Duration::from_millis(1)), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let clock = Clock::manual("2026-11-20T15:59:01Z".parse().expect("time"));
        let read = |text| {
            let value = header::HeaderValue::from_static(text);
            retry_after(
                &HeaderMap::from_iter([(header::RETRY_AFTER, value)]),
                &clock,
            )
        };
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(
            read("Fri, 20 Nov 2026 16:00:01 GMT"),
            Some(Duration::from_secs(60))
        );
        assert_eq!(read("Fri, 20 Nov 2020 16:00:01 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
    }
}
