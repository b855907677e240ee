//! How much a server still allows: the rate headers that Docker Hub, GitLab, GitHub and others send with every answer.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Clock;
use crate::http::HeaderMap;

/// What an upstream said about its rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Requests per window.
    pub limit: Option<u64>,
    /// Requests left in it.
    pub remaining: u64,
    /// The window.
    pub window: Option<Duration>,
    /// When all requests are there again, from `seen` on.
    pub reset: Option<Duration>,
    /// Whose allowance it is: an address or an account.
    pub source: Option<String>,
    /// When it was said.
    pub seen: Timestamp,
}

impl Allowance {
    /// Less than a tenth is left, or nothing.
    pub fn is_low(&self) -> bool {
        match self.limit {
            Some(limit) => self.remaining <= limit / 10,
            None => self.remaining == 0,
        }
    }

    /// Whether it says something about now: until it is reset, or its window is over.
    pub(super) fn counts(&self, clock: &Clock) -> bool {
        let life = self.reset.or(self.window).unwrap_or(UNSAID_WINDOW);
        clock.since(self.seen) < life
    }

    /// After which time there should be one more request, where none is left.
    pub(super) fn pause(&self) -> Duration {
        let each = || self.window?.checked_div(u32::try_from(self.limit?).ok()?);
        let pause = self.reset.or_else(each).unwrap_or(UNSAID_PAUSE);
        pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }

    /// `RateLimit-Remaining` and its companions, with or without `X-`, or the one `RateLimit` field that took their place.
    pub(super) fn read(headers: &HeaderMap, seen: Timestamp) -> Option<Self> {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let source = text("docker-ratelimit-source").map(|text| text.chars().take(100).collect());
        for prefix in ["", "x-"] {
            let number = |what: &str| text(&format!("{prefix}ratelimit-{what}")).and_then(value);
            if let Some((remaining, window)) = number("remaining") {
                let limit = number("limit");
                return Some(Self {
                    limit: limit.map(|(limit, _)| limit),
                    remaining,
                    window: window.or(limit.and_then(|(_, window)| window)),
                    reset: number("reset").map(|(reset, _)| until(reset, seen)),
                    source,
                    seen,
                });
            }
        }
        // `limit=100, remaining=50, reset=5`, and later `"default";r=50;t=5`.
        let field = text("ratelimit")?;
        let part = |names: [&str; 2]| {
            let mut parts = field
                .split([';', ','])
                .filter_map(|part| part.split_once('='));
            let (_, number) = parts.find(|(name, _)| names.contains(&name.trim()))?;
            number.trim().parse().ok()
        };
        Some(Self {
            limit: part(["limit", "q"]),
            remaining: part(["remaining", "r"])?,
            window: None,
            reset: part(["reset", "t"]).map(Duration::from_secs),
            source,
            seen,
        })
    }
}

/// `100;w=21600`
fn value(text: &str) -> Option<(u64, Option<Duration>)> {
    let (number, parameters) = text.split_once(';').unwrap_or((text, ""));
    let window = parameters
        .split(';')
        .find_map(|parameter| parameter.trim().strip_prefix("w="))
        .and_then(|seconds| seconds.trim().parse().ok())
        .map(Duration::from_secs);
    Some((number.trim().parse().ok()?, window))
}

/// Seconds from now, or since 1970: GitHub and GitLab mean the latter, and nobody's window lasts for thirty years.
fn until(reset: u64, seen: Timestamp) -> Duration {
    if reset < 1_000_000_000 {
        return Duration::from_secs(reset);
    }
    let since = u64::try_from(seen.as_second()).unwrap_or_default();
    Duration::from_secs(reset.saturating_sub(since))
}

/// How long an allowance counts whose window nobody told.
const UNSAID_WINDOW: Duration = Duration::from_hours(1);
/// Before the next try, where nothing is left and nobody told for how long.
const UNSAID_PAUSE: Duration = Duration::from_secs(5);
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// No upstream can switch itself off for longer.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{HeaderName, HeaderValue};

    fn read(pairs: &[(&'static str, &'static str)]) -> Option<Allowance> {
        let pairs = pairs.iter().map(|(name, value)| {
            let (name, value) = (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
            (name, value)
        });
        Allowance::read(&pairs.collect(), NOW)
    }

    /// 2023-11-14T22:13:20Z
    const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_docker_hub_sends() {
        let full = read(&[
            ("ratelimit-limit", "100;w=21600"),
            ("ratelimit-remaining", "76;w=21600"),
            ("docker-ratelimit-source", "192.0.2.1"),
        ])
        .expect("an allowance");
        assert_eq!((full.limit, full.remaining), (Some(100), 76));
        assert_eq!(full.window, Some(21_600 * SECOND));
        assert_eq!(full.pause(), 216 * SECOND);
        assert!(!full.is_low());
        let low = read(&[("ratelimit-remaining", "0")]).expect("an allowance");
        assert!(low.is_low() && low.limit.is_none());
        assert_eq!(low.pause(), UNSAID_PAUSE);
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[("ratelimit-remaining", "many")]), None);
        assert_eq!(read(&[("ratelimit-remaining", "-1")]), None);
    }

    #[test]
    fn what_others_send() {
        for (pairs, expected) in [
            (
                // GitLab, GitHub: a point in time.
                &[
                    ("ratelimit-limit", "60"),
                    ("ratelimit-remaining", "1"),
                    ("ratelimit-reset", "1700000030"),
                ][..],
                (Some(60), 1, Some(30)),
            ),
            (
                &[
                    ("x-ratelimit-limit", "5000"),
                    ("x-ratelimit-remaining", "0"),
                    ("x-ratelimit-reset", "1600000000"),
                ],
                (Some(5000), 0, Some(0)),
            ),
            (
                &[("ratelimit-remaining", "7"), ("ratelimit-reset", "12")],
                (None, 7, Some(12)),
            ),
            (
                &[("ratelimit", "limit=100, remaining=50, reset=5")],
                (Some(100), 50, Some(5)),
            ),
            (&[("ratelimit", "\"default\";r=3;t=9")], (None, 3, Some(9))),
        ] {
            let allowance = read(pairs).expect("an allowance");
            let (limit, remaining, reset) = expected;
            assert_eq!((allowance.limit, allowance.remaining), (limit, remaining));
            assert_eq!(allowance.reset, reset.map(Duration::from_secs));
        }
        assert_eq!(read(&[("ratelimit", "\"default\";t=9")]), None);
    }

    #[test]
    fn what_was_said_counts_for_a_while() {
        let clock = Clock::manual(NOW);
        let said = |remaining, reset, window| Allowance {
            limit: Some(10),
            remaining,
            window,
            reset,
            source: None,
            seen: NOW,
        };
        let (reset, window) = (Some(5 * SECOND), Some(60 * SECOND));
        clock.advance(4 * SECOND);
        assert!(said(0, reset, window).counts(&clock));
        clock.advance(SECOND);
        assert!(!said(0, reset, window).counts(&clock));
        assert!(said(0, None, window).counts(&clock));
        clock.advance(55 * SECOND);
        assert!(!said(0, None, window).counts(&clock));
        assert!(said(0, None, None).counts(&clock));
        assert_eq!(said(0, Some(Duration::MAX), None).pause(), LONGEST_PAUSE);
        assert_eq!(said(0, Some(Duration::ZERO), None).pause(), SHORTEST_PAUSE);
        let nothing = Allowance {
            limit: Some(0),
            ..said(0, None, window)
        };
        assert_eq!(nothing.pause(), UNSAID_PAUSE, "a division by zero");
    }
}
