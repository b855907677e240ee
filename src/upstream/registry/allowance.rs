//! How much an upstream still allows: the rate headers that Docker Hub and others send with every answer.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

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

    fn read(headers: &HeaderMap, seen: Timestamp) -> Option<Self> {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let (remaining, window) = value(text("ratelimit-remaining")?)?;
        let limit = text("ratelimit-limit").and_then(value);
        Some(Self {
            limit: limit.map(|(limit, _)| limit),
            remaining,
            window: window.or(limit.and_then(|(_, window)| window)),
            source: text("docker-ratelimit-source").map(|text| text.chars().take(100).collect()),
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

/// The last that was seen.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Option<Allowance>>);

impl Seen {
    pub(super) fn note(&self, headers: &HeaderMap, now: Timestamp) {
        if let Some(allowance) = Allowance::read(headers, now) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(allowance);
        }
    }

    pub(super) fn last(&self) -> Option<Allowance> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{HeaderName, HeaderValue};

    #[test]
    fn what_docker_hub_sends() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs
                .iter()
                .map(|(name, value)| {
                    (
                        HeaderName::from_static(name),
                        HeaderValue::from_static(value),
                    )
                })
                .collect()
        };
        let read = |pairs: &[_]| Allowance::read(&headers(pairs), Timestamp::UNIX_EPOCH);
        let full = read(&[
            ("ratelimit-limit", "100;w=21600"),
            ("ratelimit-remaining", "76;w=21600"),
            ("docker-ratelimit-source", "192.0.2.1"),
        ])
        .expect("an allowance");
        assert_eq!((full.limit, full.remaining), (Some(100), 76));
        assert_eq!(full.window, Some(Duration::from_secs(21600)));
        assert!(!full.is_low());
        let low = read(&[("ratelimit-remaining", "0")]).expect("an allowance");
        assert!(low.is_low() && low.limit.is_none());
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[("ratelimit-remaining", "many")]), None);
    }
}
