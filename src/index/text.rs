//! Text as every client can read it (spec/clients.md §0 rule 2).

use std::borrow::Cow;

/// Appends `text` as a JSON string that JSON parsers and go-yaml v2 read alike.
///
/// Non-ASCII stays raw, because go-yaml cannot read surrogate escapes; what it takes for control characters or line breaks
/// (U+007F to U+009F, U+2028, U+2029, U+FEFF, U+FFFE, U+FFFF) is escaped. `/` is never escaped.
pub(super) fn push_json(out: &mut String, text: &str) {
    out.push('"');
    let plain = |b: u8| (0x20..0x7f).contains(&b) && b != b'"' && b != b'\\';
    if text.bytes().all(plain) {
        out.push_str(text);
    } else {
        let mut done = 0;
        for (at, c) in text.char_indices() {
            if !needs_escape(c) {
                continue;
            }
            out.push_str(&text[done..at]);
            done = at + c.len_utf8();
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                _ => {
                    out.push_str("\\u");
                    for shift in [12, 8, 4, 0] {
                        let digit = (c as u32 >> shift) & 15;
                        out.push(char::from_digit(digit, 16).unwrap_or('0'));
                    }
                }
            }
        }
        out.push_str(&text[done..]);
    }
    out.push('"');
}

fn needs_escape(c: char) -> bool {
    matches!(
        c,
        '\0'..='\x1f' | '"' | '\\' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
    )
}

/// What Helm makes of a one-line field when it loads a chart: every white space is a space, control characters are dropped.
pub(super) fn one_line<'a>(text: &'a str) -> Cow<'a, str> {
    if text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Cow::Borrowed(text);
    }
    let odd = |c: char| c.is_control() || (c.is_whitespace() && c != ' ');
    if !text.contains(odd) {
        return Cow::Borrowed(text);
    }
    let clean = text.chars().filter_map(|c| match c {
        c if c.is_whitespace() => Some(' '),
        c if c.is_control() => None,
        c => Some(c),
    });
    Cow::Owned(clean.collect())
}

/// Appends a path segment, percent-encoding what is not plainly safe in one. `+` stays, as chart URLs have it everywhere.
pub(super) fn push_segment(out: &mut String, segment: &str) {
    use std::fmt::Write as _;
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(text: &str) -> String {
        let mut out = String::new();
        push_json(&mut out, text);
        out
    }

    #[test]
    fn escapes_what_go_yaml_cannot_read_raw() {
        assert_eq!(json("a/b ü 😀"), "\"a/b ü 😀\"");
        assert_eq!(
            json("\u{7f}\u{85}\u{2028}\u{feff}\u{ffff}"),
            "\"\\u007f\\u0085\\u2028\\ufeff\\uffff\""
        );
        assert_eq!(json("\"\\\n\t\r\0"), "\"\\\"\\\\\\n\\t\\r\\u0000\"");
    }

    #[test]
    fn one_line_fields_lose_control_characters() {
        assert_eq!(one_line("a\nb\tc\u{7}\u{2028}d"), "a b c d");
        assert!(matches!(one_line("plain ü"), Cow::Borrowed(_)));
    }

    #[test]
    fn segments_keep_plus_and_encode_spaces() {
        let mut out = String::new();
        push_segment(&mut out, "a b-1.0+x%ü?.tgz");
        assert_eq!(out, "a%20b-1.0+x%25%C3%BC%3F.tgz");
    }

    proptest! {
        #[test]
        fn json_and_yaml_read_back_the_same_text(text: String) {
            let out = json(&text);
            prop_assert_eq!(&serde_json::from_str::<String>(&out).expect("json"), &text);
            prop_assert_eq!(&serde_yaml::from_str::<String>(&out).expect("yaml"), &text);
        }
    }
}
