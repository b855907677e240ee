//! Indexes in unusual forms, through the full parser.

use std::borrow::Cow;

use serde::de::DeserializeSeed as _;

use super::fields::shorten;
use crate::chart::node::{Node, Shape, entry_shape};
use crate::chart::yaml::{self, MAX_ALIASES};
use crate::error::{Error, Result};

/// The largest text that is read, in bytes; the parser needs ten times as much memory.
const MAX_PARSED: usize = 32 << 20;
/// Opening brackets in a text of block form.
const MAX_PARSED_BRACKETS: usize = 20_000;
/// Nesting of flow collections in a text that is one: the parser's time grows with its square.
const MAX_FLOW_DEPTH: usize = 64;

/// A document that was read whole.
pub(super) struct Whole {
    pub(super) charts: Vec<(Cow<'static, str>, Option<Vec<Node<'static>>>)>,
    pub(super) generated: bool,
}

pub(super) fn parse_whole(text: &[u8]) -> Result<Whole> {
    let not_yaml = |detail: &str| {
        Error::invalid(format!(
            "the index is neither YAML nor JSON: {}",
            shorten(detail)
        ))
    };
    let text = std::str::from_utf8(text).map_err(|error| not_yaml(&error.to_string()))?;
    if text.len() > MAX_PARSED {
        return Err(Error::invalid(format!(
            "the index has {} bytes in a form that is not Helm's, more than {MAX_PARSED}",
            text.len()
        )));
    }
    let brackets = if text.trim_start().starts_with('{') {
        check_flow_depth(text)?;
        usize::MAX
    } else {
        MAX_PARSED_BRACKETS
    };
    yaml::guard(text.as_bytes(), brackets, MAX_ALIASES * 8)
        .map_err(|error| Error::invalid(format!("the index is not read: {}", error.message())))?;
    let text = first_document(text);
    let seed = |shape| yaml::Seed(shape).deserialize(serde_yaml::Deserializer::from_str(text));
    let kinds = seed(Shape::Any);
    // Typed reading keeps the text of numbers; where some type is wrong, the untyped reading tells which entry it is.
    let node = match (seed(Shape::Record(document_shape)), kinds) {
        (Ok(mut node), Ok(kinds)) => {
            node.adopt_kinds(&kinds);
            node
        }
        (Ok(node), Err(_)) | (Err(_), Ok(node)) => node,
        (Err(error), Err(_)) => return Err(not_yaml(&error.to_string())),
    };
    let Node::Map(pairs) = node else {
        return Err(not_yaml("it is a single text or list"));
    };
    let generated = pairs.iter().any(|(key, _)| key == "generated");
    let entries = pairs.into_iter().rev().find(|(key, _)| key == "entries");
    let charts = match entries {
        None => return Err(no_entries()),
        Some((_, Node::Null)) => Vec::new(),
        Some((_, Node::Map(charts))) => charts,
        Some(_) => return Err(not_yaml("`entries` is not a map")),
    };
    let charts = charts
        .into_iter()
        .map(|(key, list)| match list {
            Node::Null => (key, Some(Vec::new())),
            Node::List(items) => (key, Some(items)),
            Node::Text(_) | Node::Bare(_) | Node::Lost | Node::Map(_) => (key, None),
        })
        .collect();
    Ok(Whole { charts, generated })
}

pub(super) fn document_shape(key: &str) -> Shape {
    match key {
        "entries" => Shape::Record(|_| Shape::Records(entry_shape)),
        _ => Shape::Ignored,
    }
}

/// Clients read the first document of a stream and ignore the rest.
fn first_document(text: &str) -> &str {
    let mut seen = false;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let marker = line.trim_end();
        if seen && matches!(marker, "---" | "...") {
            return &text[..start];
        }
        seen |= !matches!(marker, "" | "---") && !marker.starts_with(['#', '%']);
        start += line.len();
    }
    text
}

/// Follows the tokens of a text that is one flow collection, and refuses deep nesting.
fn check_flow_depth(text: &str) -> Result<()> {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0_usize, 0);
    // Whether a quote here starts a quoted scalar, rather than being part of a plain one.
    let mut fresh = true;
    while let Some(byte) = bytes.get(at).copied() {
        at += 1;
        match byte {
            b'[' | b'{' => {
                depth += 1;
                fresh = true;
                if depth > MAX_FLOW_DEPTH {
                    return Err(Error::invalid(format!(
                        "the index is nested deeper than {MAX_FLOW_DEPTH} levels"
                    )));
                }
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                fresh = true;
            }
            b',' => fresh = true,
            b':' if bytes.get(at).is_none_or(|b| b" \t\r\n[]{},\"'".contains(b)) => fresh = true,
            b'"' if fresh => {
                while let Some(byte) = bytes.get(at) {
                    at += if *byte == b'\\' { 2 } else { 1 };
                    if *byte == b'"' {
                        break;
                    }
                }
                fresh = true;
            }
            b'\'' if fresh => {
                at = memchr::memchr(b'\'', &bytes[at..]).map_or(bytes.len(), |end| at + end + 1);
            }
            b'#' if at < 2 || bytes[at - 2].is_ascii_whitespace() => {
                at = memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |end| at + end);
            }
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => fresh = false,
        }
    }
    Ok(())
}

pub(super) fn no_entries() -> Error {
    Error::invalid("the document has no `entries`, so it is not the index of a chart repository")
}
