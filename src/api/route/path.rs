//! Paths as segments: decoded exactly once, without anything that another layer could read differently.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::error::{Error, Result};

/// Paths longer than this are refused: no tenant, chart and version together come near it.
const MAX_PATH: usize = 4096;

/// The decoded segments of a path, empty ones included: `/` has one empty segment.
///
/// Errors: dot segments, encoded separators, control characters, broken encodings.
pub(super) fn decode(path: &str) -> Result<Vec<Cow<'_, str>>> {
    if path.len() > MAX_PATH {
        return Err(Error::invalid(format!(
            "the path is {} bytes long; {MAX_PATH} are allowed",
            path.len()
        )));
    }
    let Some(path) = path.strip_prefix('/') else {
        return Err(Error::invalid(
            "the request target is not a path that starts with `/`",
        ));
    };
    path.split('/').map(decode_segment).collect()
}

fn decode_segment(segment: &str) -> Result<Cow<'_, str>> {
    let refuse = |what: &str| {
        Err(Error::invalid(format!(
            "the path segment `{segment:.120}` {what}"
        )))
    };
    if segment.bytes().enumerate().any(|(at, byte)| {
        byte == b'%'
            && !segment
                .as_bytes()
                .get(at + 1..at + 3)
                .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    }) {
        return refuse("has a `%` that no two hexadecimal digits follow");
    }
    let Ok(decoded) = percent_decode_str(segment).decode_utf8() else {
        return refuse("is not UTF-8 after decoding");
    };
    if decoded == "." || decoded == ".." {
        return refuse("is a dot segment; send the path it leads to");
    }
    if decoded
        .chars()
        .any(|c| c == '/' || c == '\\' || c.is_control())
    {
        return refuse("has an encoded separator or control character");
    }
    Ok(decoded)
}

/// What is left of `segments` below the context path (`/helm`, or empty); `None` where they are not below it.
pub(super) fn below<'a, 's>(segments: &'a [&'s str], context: &str) -> Option<&'a [&'s str]> {
    let mut rest = segments;
    for part in context.split('/').filter(|part| !part.is_empty()) {
        rest = match rest.split_first() {
            Some((first, rest)) if *first == part => rest,
            _ => return None,
        };
    }
    Some(rest)
}
