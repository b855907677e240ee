//! Byte ranges (RFC 9110 §14): one range per request; several or malformed ones mean the whole object.

use std::ops::Range;

use http::{HeaderMap, header};

/// What a request's `Range` asks of an object of a known length.
#[derive(Debug, PartialEq, Eq)]
pub enum Selection {
    /// No usable range: send everything with 200.
    Whole,
    /// Send these bytes with 206.
    Part(Range<u64>),
    /// None of the object's bytes: 416.
    Unsatisfiable,
}

/// Reads `Range` and `If-Range` against an object of `length` bytes with the strong tag `etag`.
pub fn select(headers: &HeaderMap, length: u64, etag: Option<&str>) -> Selection {
    read(headers, length, etag, Selection::Whole)
}

/// The same for registries, where a range whose end lies before its start is refused (`bytes=500-0`), not ignored: clients that
/// resume downloads ask so by mistake and must not take everything for a part (spec: oci.md §1.5).
pub fn select_strictly(headers: &HeaderMap, length: u64, etag: Option<&str>) -> Selection {
    read(headers, length, etag, Selection::Unsatisfiable)
}

fn read(headers: &HeaderMap, length: u64, etag: Option<&str>, reversed: Selection) -> Selection {
    let Some(text) = headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok())
    else {
        return Selection::Whole;
    };
    if let Some(condition) = headers.get(header::IF_RANGE) {
        // A date in If-Range would need a strong Last-Modified, which no object here has.
        if etag.is_none() || condition.to_str().ok() != etag {
            return Selection::Whole;
        }
    }
    let Some(spec) = text.trim().strip_prefix("bytes=") else {
        return Selection::Whole;
    };
    let Some((first, last)) = spec.trim().split_once('-') else {
        return Selection::Whole;
    };
    match (number(first), number(last)) {
        (Some(None), Some(Some(suffix))) => {
            if suffix == 0 || length == 0 {
                return Selection::Unsatisfiable;
            }
            Selection::Part(length.saturating_sub(suffix)..length)
        }
        (Some(Some(start)), Some(last)) => {
            if last.is_some_and(|last| last < start) {
                return reversed;
            }
            if start >= length {
                return Selection::Unsatisfiable;
            }
            Selection::Part(start..last.map_or(length, |last| last.saturating_add(1).min(length)))
        }
        _ => Selection::Whole,
    }
}

/// `Some(None)` for nothing, `Some(Some(n))` for digits, `None` for anything else.
#[expect(
    clippy::option_option,
    reason = "absent and malformed are different answers here"
)]
fn number(text: &str) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| Some(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select_of(range: &str, length: u64) -> Selection {
        let value = header::HeaderValue::from_str(range).expect("header");
        select(
            &HeaderMap::from_iter([(header::RANGE, value)]),
            length,
            Some("\"a\""),
        )
    }

    #[test]
    fn single_ranges() {
        assert_eq!(select_of("bytes=0-0", 10), Selection::Part(0..1));
        assert_eq!(select_of("bytes=3-", 10), Selection::Part(3..10));
        assert_eq!(select_of("bytes=-4", 10), Selection::Part(6..10));
        assert_eq!(select_of("bytes=-40", 10), Selection::Part(0..10));
        assert_eq!(select_of("bytes=3-99", 10), Selection::Part(3..10));
    }

    #[test]
    fn beyond_the_end_is_unsatisfiable() {
        assert_eq!(select_of("bytes=10-", 10), Selection::Unsatisfiable);
        assert_eq!(select_of("bytes=-0", 10), Selection::Unsatisfiable);
        assert_eq!(
            select_of("bytes=99999999999999999999-", 10),
            Selection::Unsatisfiable
        );
    }

    #[test]
    fn several_or_malformed_ranges_mean_everything() {
        for range in [
            "bytes=0-1,4-5",
            "bytes=5-2",
            "bytes=a-b",
            "bytes=-",
            "items=0-1",
            "bytes=+1-2",
        ] {
            assert_eq!(select_of(range, 10), Selection::Whole, "{range}");
        }
    }

    #[test]
    fn registries_refuse_reversed_ranges() {
        let select = |range: &'static str| {
            let value = header::HeaderValue::from_static(range);
            select_strictly(&HeaderMap::from_iter([(header::RANGE, value)]), 10, None)
        };
        assert_eq!(select("bytes=500-0"), Selection::Unsatisfiable);
        assert_eq!(select("bytes=5-2"), Selection::Unsatisfiable);
        assert_eq!(select("bytes=2-5"), Selection::Part(2..6));
        assert_eq!(select("bytes=0-1,4-5"), Selection::Whole);
        assert_eq!(select("bytes=a-b"), Selection::Whole);
    }

    #[test]
    fn if_range_must_match_strongly() {
        let mut headers =
            HeaderMap::from_iter([(header::RANGE, header::HeaderValue::from_static("bytes=0-1"))]);
        headers.insert(header::IF_RANGE, header::HeaderValue::from_static("\"b\""));
        assert_eq!(select(&headers, 10, Some("\"a\"")), Selection::Whole);
        assert_eq!(select(&headers, 10, Some("\"b\"")), Selection::Part(0..2));
    }
}
