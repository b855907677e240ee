//! values.yaml as JSON, with the meaning that Helm gives every scalar: YAML 1.1, where `on` is true and `0644` is 420.
//!
//! The other readers of YAML here ask for text only, or follow YAML 1.2; this one needs to know how a scalar was quoted, so it
//! reads events.

use std::collections::HashMap;

use granit_parser::{Event, Options, Parser, ScalarStyle, Tag};
use serde_json::{Map, Number, Value};

use crate::error::{Error, Result};

/// Nodes of one file, copies made by aliases included: few bytes must not stand for many.
const MAX_NODES: usize = 1_000_000;

/// The first document of a values.yaml as a JSON value; null where there is nothing in it.
///
/// The caller has bounded the length. Errors say what is wrong with the YAML.
pub fn to_json(text: &str) -> Result<Value> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, _) = event.map_err(|error| malformed(&error))?;
        match event {
            Event::DocumentEnd | Event::StreamEnd => break,
            Event::Alias(id) => {
                let value = builder.anchors.get(&id).cloned();
                builder.node(value.ok_or_else(|| malformed(&"an alias names its own parent"))?)?;
            }
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref());
                builder.anchored(anchor, value)?;
            }
            Event::SequenceStart(_, anchor, _) => builder.open(anchor, Open::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                builder.open(anchor, Open::Map(Map::new(), None));
            }
            Event::SequenceEnd | Event::MappingEnd => builder.close()?,
            _ => {}
        }
    }
    Ok(builder.root.unwrap_or_default())
}

fn malformed(error: &dyn std::fmt::Display) -> Error {
    Error::invalid(format!(
        "cannot load values.yaml: error converting YAML to JSON: yaml: {error:.300}"
    ))
}

/// A collection whose end was not met yet.
enum Open {
    List(Vec<Value>),
    /// The pairs so far, and the key whose value comes next.
    Map(Map<String, Value>, Option<String>),
}

#[derive(Default)]
struct Builder {
    root: Option<Value>,
    stack: Vec<(usize, Open)>,
    anchors: HashMap<usize, Value>,
    nodes: usize,
}

impl Builder {
    fn open(&mut self, anchor: usize, open: Open) {
        self.stack.push((anchor, open));
    }

    fn close(&mut self) -> Result<()> {
        match self.stack.pop() {
            Some((anchor, Open::List(list))) => self.anchored(anchor, Value::Array(list)),
            Some((anchor, Open::Map(map, _))) => self.anchored(anchor, Value::Object(map)),
            None => Ok(()),
        }
    }

    fn anchored(&mut self, anchor: usize, value: Value) -> Result<()> {
        if anchor > 0 {
            self.spend(count(&value))?;
            self.anchors.insert(anchor, value.clone());
        }
        self.place(value)
    }

    /// A copy of an anchored value.
    fn node(&mut self, value: Value) -> Result<()> {
        self.spend(count(&value))?;
        self.place(value)
    }

    fn place(&mut self, value: Value) -> Result<()> {
        self.spend(1)?;
        match self.stack.last_mut() {
            None => {
                self.root.get_or_insert(value);
            }
            Some((_, Open::List(list))) => list.push(value),
            Some((_, Open::Map(map, key))) => match key.take() {
                None => *key = Some(key_text(value)?),
                Some(name) if name == MERGE => merge(map, value)?,
                Some(name) => {
                    map.insert(name, value);
                }
            },
        }
        Ok(())
    }

    fn spend(&mut self, nodes: usize) -> Result<()> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(malformed(&format!("it has more than {MAX_NODES} nodes")));
        }
        Ok(())
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

/// The key whose value is merged into the map around it.
const MERGE: &str = "<<";

fn merge(map: &mut Map<String, Value>, value: Value) -> Result<()> {
    match value {
        Value::Object(other) => map.extend(other),
        Value::Array(list) => {
            // The first one counts, so it comes last.
            for value in list.into_iter().rev() {
                merge(map, value)?;
            }
        }
        _ => {
            return Err(malformed(
                &"map merge requires map or sequence of maps as the value",
            ));
        }
    }
    Ok(())
}

fn key_text(key: Value) -> Result<String> {
    match key {
        Value::String(text) => Ok(text),
        Value::Bool(_) | Value::Number(_) => Ok(key.to_string()),
        Value::Null => Ok("null".to_owned()),
        Value::Array(_) | Value::Object(_) => Err(malformed(&"a key is a list or a map")),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    let tag = tag.and_then(Tag::core_suffix);
    match (style, tag) {
        (_, Some("str" | "binary" | "timestamp")) => Value::from(text),
        (ScalarStyle::Plain, _) | (_, Some("bool" | "int" | "float" | "null")) => resolve(text),
        _ => Value::from(text),
    }
}

/// A plain scalar by the rules of Go's YAML library, version 2.
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        _ => number(text).map_or_else(|| Value::from(text), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    let first = text.bytes().next()?;
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return None;
    }
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    integer(&plain).or_else(|| {
        is_float(&plain)
            .then(|| plain.parse::<f64>().ok())
            .flatten()
            .and_then(float)
    })
}

/// Decimal, `0x`, `0o`, `0b`, and octal after a plain zero.
fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if let Some(rest) = lower.strip_prefix('0').filter(|rest| !rest.is_empty()) {
        (8, rest)
    } else {
        (10, lower.as_str())
    };
    if !digits.bytes().all(|digit| digit.is_ascii_alphanumeric()) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    let value = if negative { -value } else { value };
    i64::try_from(value)
        .map(Number::from)
        .or_else(|_| u64::try_from(value).map(Number::from))
        .ok()
}

/// `1.5`, `.5`, `1.`, `1e3`, with a sign.
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    exponent_fits && !(whole.is_empty() && fraction.is_empty()) && digits(whole) && digits(fraction)
}

/// As Go writes it: without a fraction where there is none.
fn float(value: f64) -> Option<Number> {
    let whole = value as i64;
    if whole as f64 == value && whole.unsigned_abs() < 1 << 53 {
        return Some(whole.into());
    }
    Number::from_f64(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_mean_what_helm_takes_them_for() {
        for (text, expected) in [
            ("yes", json!(true)),
            ("Off", json!(false)),
            ("\"yes\"", json!("yes")),
            ("'on'", json!("on")),
            ("|-\n  on", json!("on")),
            ("!!str yes", json!("yes")),
            ("0644", json!(420)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("-0b11", json!(-3)),
            ("08", json!(8)),
            ("1_000", json!(1000)),
            ("+5", json!(5)),
            ("1.50", json!(1.5)),
            ("1e3", json!(1000)),
            (".5", json!(0.5)),
            (
                "18446744073709551615",
                json!(18_446_744_073_709_551_615_u64),
            ),
            ("1.2.3", json!("1.2.3")),
            ("10Gi", json!("10Gi")),
            ("2026-01-02", json!("2026-01-02")),
            ("-", json!([null])),
            ("~", json!(null)),
            ("", json!(null)),
            ("nil", json!("nil")),
            ("0x", json!("0x")),
            ("1e", json!("1e")),
            ("--", json!("--")),
        ] {
            assert_eq!(to_json(text).expect(text), expected, "{text}");
        }
    }

    #[test]
    fn collections_anchors_and_merges() {
        let text = "base: &base {a: 1, b: [x, ~]}\nown:\n  <<: *base\n  a: 2\ntwo:\n  <<: [*base, {c: 3, a: 9}]\n1: x\ntrue: z\nempty: {}\nlist: []\ncopy: *base\n---\nnext: 1\n";
        let expected = json!({
            "base": {"a": 1, "b": ["x", null]},
            "own": {"a": 2, "b": ["x", null]},
            "two": {"a": 1, "b": ["x", null], "c": 3},
            "1": "x", "true": "z", "empty": {}, "list": [],
            "copy": {"a": 1, "b": ["x", null]},
        });
        assert_eq!(to_json(text).expect("values"), expected);
        assert_eq!(to_json("# nothing\n").expect("nothing"), json!(null));
        assert!(to_json("a: [").is_err());
        assert!(to_json("a: b: c").is_err());
        assert!(to_json("a: &a [*a]").is_err());
    }

    #[test]
    fn few_bytes_cannot_stand_for_many() {
        let mut text = String::from("a0: &a0 [x]\n");
        for level in 1..40 {
            text.push_str(&format!(
                "a{level}: &a{level} [*a{0}, *a{0}, *a{0}]\n",
                level - 1
            ));
        }
        assert!(to_json(&text).is_err());
        assert!(to_json(&"[".repeat(100_000)).is_err());
    }
}
