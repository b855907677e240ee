//! Times as Go reads them, and as people write them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};

/// Whether Go's `time.RFC3339` reads it.
pub(super) fn is_rfc3339(text: &str) -> bool {
    let digits = |range: std::ops::Range<usize>| {
        text.as_bytes()
            .get(range)
            .is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    let bytes = text.as_bytes();
    let sign = |at: usize, sign: u8| bytes.get(at) == Some(&sign);
    if !(digits(0..4)
        && sign(4, b'-')
        && digits(5..7)
        && sign(7, b'-')
        && digits(8..10)
        && sign(10, b'T')
        && digits(11..13)
        && sign(13, b':')
        && digits(14..16)
        && sign(16, b':')
        && digits(17..19))
        || sign(17, b'6')
    {
        return false;
    }
    let rest = &bytes[19..];
    let rest = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let end = fraction
                .iter()
                .position(|b| !b.is_ascii_digit())
                .unwrap_or(fraction.len());
            if end == 0 {
                return false;
            }
            &fraction[end..]
        }
        None => rest,
    };
    match rest {
        b"Z" => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].into_iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// Reads the times that people and other languages write; those without a zone count as UTC.
pub(super) fn guess_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    // Go's `Time.String()`: `2019-01-01 10:00:00.5 +0000 UTC`.
    let mut words = text.split_whitespace();
    if let (Some(date), Some(time), Some(zone)) = (words.next(), words.next(), words.next())
        && let Ok(time) = format!("{date}T{time}{zone}").parse::<Timestamp>()
    {
        return Some(time);
    }
    let civil = text
        .parse::<DateTime>()
        .or_else(|_| text.parse::<Date>().map(DateTime::from))
        .ok()?;
    civil
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()
        .map(|zoned| zoned.timestamp())
}
