//! Values as ChartMuseum reads them: the spellings of Go's `strconv` and `time`.
//!
//! Every function returns the value, or how to write one.

use std::time::Duration;

/// A switch: `1 t T TRUE true True` and their opposites.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("write `true` or `false`".into()),
    }
}

/// A whole number, decimal or with the prefix of another base (`0x`, `0o`, `0b`, or `0` for octal).
pub(super) fn number(text: &str) -> Result<i64, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, base) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'o', ..] => (&lower[2..], 8),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (lower.as_str(), 10),
    };
    // A sign behind the prefix would be taken by the conversion below.
    if digits.starts_with(['+', '-']) {
        return Err("write a whole number".into());
    }
    i64::from_str_radix(digits, base)
        .map(|number| sign * number)
        .map_err(|_| "write a whole number".into())
}

/// A duration: `90s`, `5m`, `1h30m`, `1.5h`, `300ms`; `0` alone needs no unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let hint = || "write a duration with its unit, such as `30s`, `5m` or `1h30m`".to_owned();
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(hint());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let unit_start = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(hint)?;
        let (number, after) = rest.split_at(unit_start);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return Err(hint()),
        };
        // `.5` and `5.` are numbers here as they are in Go; `.` is none.
        let number: f64 = number.parse().map_err(|_| hint())?;
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| hint())?;
        total = total.checked_add(part).ok_or_else(hint)?;
        rest = after;
    }
    // Go's durations end at 292 years, and ours at a century.
    if total > Duration::from_hours(24 * 365 * 100) {
        return Err(hint());
    }
    Ok(total)
}

/// One pair: `repository=id`, or `id` for the root.
pub(super) fn pair(text: &str) -> (String, String) {
    match text.split_once('=') {
        Some((repository, id)) => (repository.to_owned(), id.to_owned()),
        None => (String::new(), text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_numbers_and_durations_as_go_reads_them() {
        for (text, value) in [("1", true), ("T", true), ("False", false), ("0", false)] {
            assert_eq!(switch(text), Ok(value), "{text}");
        }
        for text in ["", "yes", "on", "tRUE", " true"] {
            assert!(switch(text).is_err(), "{text}");
        }
        for (text, value) in [
            ("8080", 8080),
            ("-1", -1),
            ("+5", 5),
            ("0", 0),
            ("0x10", 16),
            ("0X1f", 31),
            ("0b101", 5),
            ("0o17", 15),
            ("017", 15),
            ("-0x1", -1),
        ] {
            assert_eq!(number(text), Ok(value), "{text}");
        }
        for text in [
            "",
            "-",
            "0x",
            "1.5",
            "08",
            "1e3",
            "0x-1",
            "0-1",
            "--1",
            "20MiB",
            "9223372036854775808",
        ] {
            assert!(number(text).is_err(), "{text}");
        }
        for (text, millis) in [
            ("0", 0),
            ("90s", 90_000),
            ("5m", 300_000),
            ("5m0s", 300_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("300ms", 300),
            ("2000us", 2),
            ("2000\u{b5}s", 2),
            ("+1s", 1_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "60",
            "5 m",
            "m",
            "-5m",
            ".s",
            "5d",
            "1h30",
            "s5",
            "9999999999h",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pair_is_cut_at_its_first_sign() {
        let owned = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(pair("id"), owned("", "id"));
        assert_eq!(pair("org1/repo=id"), owned("org1/repo", "id"));
        assert_eq!(pair("org1=a,org2=b"), owned("org1", "a,org2=b"));
    }
}
