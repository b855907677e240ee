//! Which edition of an object a transfer had, so that a resumed one never joins two of them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::http::{HeaderValue, header};
use crate::net::Reply;

/// What was seen of objects when they were last opened from their start; bounded.
#[derive(Debug)]
pub(super) struct Editions<E>(Mutex<VecDeque<(String, E)>>);

impl<E> Default for Editions<E> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<E: Clone> Editions<E> {
    pub(super) fn recall(&self, url: &str) -> Option<E> {
        let opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        opened
            .iter()
            .find(|(known, _)| known == url)
            .map(|(_, edition)| edition.clone())
    }

    pub(super) fn remember(&self, url: &str, edition: E) {
        let mut opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|(known, _)| known != url);
        if opened.len() >= REMEMBERED {
            opened.pop_front();
        }
        opened.push_back((url.to_owned(), edition));
    }
}

/// What tells one edition of an object from another.
#[derive(Clone, Debug)]
pub(super) struct Edition {
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
    length: Option<u64>,
}

impl Edition {
    pub(super) fn of(reply: &Reply, length: Option<u64>) -> Self {
        Self {
            etag: reply.headers.get(header::ETAG).cloned(),
            last_modified: reply.headers.get(header::LAST_MODIFIED).cloned(),
            length,
        }
    }

    /// `If-Range` takes strong tags only (RFC 9110 §13.1.5).
    pub(super) fn strong_etag(&self) -> Option<&HeaderValue> {
        self.etag
            .as_ref()
            .filter(|etag| etag.as_bytes().starts_with(b"\""))
    }

    /// Whether anything that both name is not the same.
    pub(super) fn differs(&self, other: &Self) -> bool {
        fn conflict<T: PartialEq>(one: Option<&T>, two: Option<&T>) -> bool {
            one.zip(two).is_some_and(|(one, two)| one != two)
        }
        conflict(self.etag.as_ref(), other.etag.as_ref())
            || conflict(self.last_modified.as_ref(), other.last_modified.as_ref())
            || conflict(self.length.as_ref(), other.length.as_ref())
    }
}

/// `bytes 5-9/10` as first byte and total.
pub(super) fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, total.trim().parse().ok()))
}

/// More transfers than can break at the same time.
const REMEMBERED: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(content_range("bytes */10"), None);
        assert_eq!(content_range("5-9/10"), None);
    }

    #[test]
    fn only_so_many_editions_are_kept() {
        let editions = Editions::default();
        let edition = |length| Edition {
            etag: None,
            last_modified: None,
            length: Some(length),
        };
        for n in 0..=REMEMBERED as u64 {
            editions.remember(&n.to_string(), edition(n));
        }
        assert!(editions.recall("0").is_none());
        editions.remember("1", edition(100));
        let held = editions.recall("1").expect("kept");
        assert_eq!(held.length, Some(100));
    }

    #[test]
    fn editions_differ_only_in_what_both_name() {
        let edition = |etag: Option<&'static str>, length| Edition {
            etag: etag.map(HeaderValue::from_static),
            last_modified: None,
            length,
        };
        let held = edition(Some("\"a\""), Some(5));
        assert!(!held.differs(&edition(Some("\"a\""), None)));
        assert!(!held.differs(&edition(None, Some(5))));
        assert!(held.differs(&edition(Some("\"b\""), Some(5))));
        assert!(held.differs(&edition(None, Some(6))));
        assert!(held.strong_etag().is_some());
        assert!(edition(Some("W/\"a\""), None).strong_etag().is_none());
    }
}
