//! Conditional requests (RFC 9110 §13): `If-None-Match` and `If-Modified-Since` for GET and HEAD.

use http::{HeaderMap, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

/// Whether the client's copy is still the current one, so that 304 is the answer.
///
/// `etag` is the current strong entity tag with its quotes. Comparison is weak, as §13.1.2 asks for GET;
/// `If-Modified-Since` counts only without `If-None-Match` (§13.1.3).
pub fn not_modified(headers: &HeaderMap, etag: Option<&str>, modified: Option<Timestamp>) -> bool {
    if headers.contains_key(header::IF_NONE_MATCH) {
        let Some(etag) = etag else { return false };
        return headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| list_matches(value, etag));
    }
    let (Some(modified), Some(since)) = (modified, headers.get(header::IF_MODIFIED_SINCE)) else {
        return false;
    };
    since
        .to_str()
        .ok()
        .and_then(parse_http_date)
        .is_some_and(|since| modified.as_second() <= since.as_second())
}

fn list_matches(list: &str, etag: &str) -> bool {
    list.split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// The IMF-fixdate form of a time (RFC 9110 §5.6.7).
pub fn http_date(time: Timestamp) -> String {
    let mut text = String::new();
    match DateTimePrinter::new().print_timestamp_rfc9110(&time, &mut text) {
        Ok(()) => text,
        Err(_) => "Thu, 01 Jan 1970 00:00:00 GMT".to_owned(),
    }
}

/// Parses an HTTP date; `None` where it is not one.
pub fn parse_http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, header::HeaderValue::from_static(value))])
    }

    #[test]
    fn entity_tags_compare_weakly_and_in_lists() {
        let current = Some("\"abc\"");
        for value in ["\"abc\"", "W/\"abc\"", "\"x\", \"abc\"", "*"] {
            assert!(
                not_modified(&headers(header::IF_NONE_MATCH, value), current, None),
                "{value}"
            );
        }
        assert!(!not_modified(
            &headers(header::IF_NONE_MATCH, "\"abcd\""),
            current,
            None
        ));
    }

    #[test]
    fn dates_have_second_precision() {
        let modified: Timestamp = "2026-11-20T15:59:01.9Z".parse().expect("time");
        assert_eq!(http_date(modified), "Fri, 20 Nov 2026 15:59:01 GMT");
        let same = headers(header::IF_MODIFIED_SINCE, "Fri, 20 Nov 2026 15:59:01 GMT");
        assert!(not_modified(&same, None, Some(modified)));
        let earlier = headers(header::IF_MODIFIED_SINCE, "Fri, 20 Nov 2026 15:59:00 GMT");
        assert!(!not_modified(&earlier, None, Some(modified)));
    }
}
