//! The YAML of a configuration file as a tree that knows its lines.
//!
//! Typed deserialization stops at the first mistake. So the text is read into a tree first, which keeps the spelling of
//! every scalar (`1.10` stays `1.10`), every duplicate key and every line; the sections then take from it what they know.
//! The parser's budgets stop alias bombs and deep nesting. The only user of serde-saphyr.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy, Options, Spanned};

use super::mistakes::Mistake;

/// More than this is not a configuration file.
const MAX_BYTES: usize = 8 << 20;

/// One value of the file.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// From 1.
    pub(super) line: Option<usize>,
    pub(super) kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Nothing after the colon, `~` or `null`.
    Null,
    /// Text, numbers and booleans, as spelled.
    Scalar(String),
    List(Vec<Node>),
    /// In the order of the file, duplicates included.
    Map(Vec<Entry>),
}

/// One `key: value`.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: Option<usize>,
    pub(super) value: Node,
}

impl Kind {
    /// What it is, for messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a section",
        }
    }
}

/// Reads `text`. The error is the one place where it stops being YAML, or stops being reasonable.
pub(super) fn parse(text: &str) -> Result<Node, Mistake> {
    if text.len() > MAX_BYTES {
        return Err(Mistake {
            path: String::new(),
            line: None,
            message: format!(
                "the file has {} bytes; a configuration has at most {MAX_BYTES}",
                text.len()
            ),
        });
    }
    let spanned: Spanned<Shape> =
        serde_saphyr::from_str_with_options(text, options(DuplicateKeyPolicy::LastWins))
            .map_err(|error| mistake_of(&error))?;
    let node = Node::from_shape(spanned, text);
    // The tree shows duplicates to whoever opens the section, except where numbers are keys: there the parser merges
    // them before we see them. The strict pass finds those, and is never reached by a file without mistakes otherwise.
    if !has_duplicates(&node) {
        serde_saphyr::from_str_with_options::<IgnoredAny>(text, options(DuplicateKeyPolicy::Error))
            .map_err(|error| mistake_of(&error))?;
    }
    Ok(node)
}

fn options(duplicate_keys: DuplicateKeyPolicy) -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 32,
            flow_nesting_limit: 32,
            max_documents: 1,
            max_nodes: 250_000,
            max_total_scalar_bytes: MAX_BYTES,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
        duplicate_keys: duplicate_keys,
        merge_keys: MergeKeyPolicy::Merge,
        with_snippet: false,
    }
}

fn mistake_of(error: &serde_saphyr::Error) -> Mistake {
    let line = error
        .location()
        .and_then(|location| usize::try_from(location.line()).ok())
        .filter(|line| *line > 0);
    let text = error
        .without_snippet()
        .render_with_formatter(&serde_saphyr::UserMessageFormatter);
    Mistake {
        path: String::new(),
        line,
        message: format!("not readable as YAML: {}", text.trim()),
    }
}

fn has_duplicates(node: &Node) -> bool {
    match &node.kind {
        Kind::Null | Kind::Scalar(_) => false,
        Kind::List(items) => items.iter().any(has_duplicates),
        Kind::Map(entries) => {
            let mut keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
            keys.sort_unstable();
            keys.windows(2).any(|pair| pair[0] == pair[1])
                || entries.iter().any(|entry| has_duplicates(&entry.value))
        }
    }
}

impl Node {
    fn from_shape(spanned: Spanned<Shape>, source: &str) -> Self {
        let line = line_of(&spanned);
        let spelling = spelling_of(&spanned, source);
        let kind = match spanned.value {
            Shape::Null => Kind::Null,
            Shape::Text(text) => Kind::Scalar(text),
            Shape::Other(fallback) => Kind::Scalar(spelling.unwrap_or(fallback)),
            Shape::List(items) => Kind::List(
                items
                    .into_iter()
                    .map(|item| Self::from_shape(item, source))
                    .collect(),
            ),
            Shape::Map(entries) => Kind::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| Entry {
                        line: line_of(&key),
                        key: match Self::from_shape(key, source).kind {
                            Kind::Scalar(text) => text,
                            Kind::Null | Kind::List(_) | Kind::Map(_) => "null".into(),
                        },
                        value: Self::from_shape(value, source),
                    })
                    .collect(),
            ),
        };
        Self { line, kind }
    }
}

fn line_of(spanned: &Spanned<Shape>) -> Option<usize> {
    usize::try_from(spanned.referenced.line())
        .ok()
        .filter(|line| *line > 0)
}

/// A scalar as the file spells it, because `0x10`, `1.10` and `1e3` lose their spelling as numbers.
fn spelling_of(spanned: &Spanned<Shape>, source: &str) -> Option<String> {
    let span = spanned.defined.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    let text = source.get(start..start.checked_add(length)?)?.trim();
    (!text.is_empty() && !text.contains('\n')).then(|| text.trim_matches(['"', '\'']).to_owned())
}

/// What the parser makes of a node before its spelling is looked up.
enum Shape {
    Null,
    Text(String),
    /// A number or boolean, in the parser's spelling.
    Other(String),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<Self>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_none<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        Shape::deserialize(deserializer)
    }

    fn visit_str<E>(self, text: &str) -> Result<Shape, E> {
        Ok(Shape::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Shape, E> {
        Ok(Shape::Text(text))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Shape, E> {
        Ok(Shape::Other(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Shape, E> {
        Ok(Shape::Other(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Shape, E> {
        Ok(Shape::Other(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Shape, E> {
        Ok(Shape::Other(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Shape, E> {
        Ok(Shape::Other(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Shape, E> {
        Ok(Shape::Other(value.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shape, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Shape::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<Shape>>()? {
            if matches!(key.value, Shape::List(_) | Shape::Map(_)) {
                return Err(A::Error::custom("a key must be a single value"));
            }
            entries.push((key, map.next_value()?));
        }
        Ok(Shape::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(node: &Node) -> &[Entry] {
        match &node.kind {
            Kind::Map(entries) => entries,
            other => panic!("{other:?} is not a map"),
        }
    }

    fn scalar(node: &Node) -> &str {
        match &node.kind {
            Kind::Scalar(text) => text,
            other => panic!("{other:?} is not a scalar"),
        }
    }

    #[test]
    fn spellings_and_lines_survive() {
        let node = parse(
            "a: 1.10\nb: yes\nc: 0x10\nd: \"5\"\ne: [1e3, 'x y']\nf: |\n  two\n  lines\n8080: 00123\n",
        )
        .expect("valid");
        let entries = map(&node);
        let spelled: Vec<_> = entries
            .iter()
            .filter(|entry| matches!(entry.value.kind, Kind::Scalar(_)))
            .map(|entry| (entry.key.as_str(), scalar(&entry.value), entry.line))
            .collect();
        assert_eq!(
            spelled,
            [
                ("a", "1.10", Some(1)),
                ("b", "yes", Some(2)),
                ("c", "0x10", Some(3)),
                ("d", "5", Some(4)),
                ("f", "two\nlines\n", Some(6)),
                ("8080", "00123", Some(9)),
            ]
        );
        let Kind::List(items) = &entries[4].value.kind else {
            panic!("a list")
        };
        assert_eq!(scalar(&items[0]), "1e3");
        assert_eq!(scalar(&items[1]), "x y");
    }

    #[test]
    fn anchors_and_merge_keys_work() {
        let node = parse("base: &base {refresh: 5m, timeout: 1.10}\nx: {<<: *base, refresh: 1m}\n")
            .expect("valid");
        let x = map(&map(&node)[1].value);
        let mut pairs: Vec<_> = x
            .iter()
            .map(|entry| (entry.key.as_str(), scalar(&entry.value)))
            .collect();
        pairs.sort_unstable();
        assert_eq!(pairs, [("refresh", "1m"), ("timeout", "1.10")]);
    }

    #[test]
    fn duplicates_are_kept_for_whoever_reports_them() {
        let node = parse("a: 1\nb: {x: 1, x: 2}\n").expect("kept");
        assert_eq!(map(&map(&node)[1].value).len(), 2);
        let mistake = parse("8: 1\na: 2\na: 3\n").expect_err("numeric keys hide the duplicate");
        assert_eq!(mistake.line, Some(3), "{mistake}");
    }

    #[test]
    fn hostile_files_are_refused_quickly() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let alias = format!("*a{}", level - 1);
            bomb.push_str(&format!(
                "a{level}: &a{level} [{}]\n",
                vec![alias; 10].join(", ")
            ));
        }
        for bad in [
            bomb,
            "[".repeat(100_000),
            "a: ".to_owned() + &"{b: ".repeat(5_000),
            "- ".repeat(100_000),
            "a: 1\n---\nb: 2\n".to_owned(),
            "a: \"unclosed\n".to_owned(),
            "a: 1\n b: 2\n".to_owned(),
            "? [a, b]\n: c\n".to_owned(),
            "x".repeat(MAX_BYTES + 1),
        ] {
            let mistake = parse(&bad).expect_err("refused");
            assert!(mistake.message.len() < 400, "{}", mistake.message);
        }
    }
}
