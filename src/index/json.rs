//! JSON indexes: cut by the parser itself, so that unchanged entries need not be read again.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::chart::node::Node;

/// The nesting that an entry may have; Helm's schema has four levels.
const MAX_DEPTH: usize = 16;

/// The text of each chart's list items.
pub(super) struct Document<'a> {
    /// Chart keys in order with the text of their list items; `None`: not a list.
    pub(super) charts: Vec<(Cow<'a, str>, Option<Vec<&'a str>>)>,
    /// Whether there is a `generated` key.
    pub(super) generated: bool,
}

/// Cuts a JSON document. `Err`: it is not JSON; `Ok(None)`: it has no `entries`.
pub(super) fn cut(text: &str) -> Result<Option<Document<'_>>, serde_json::Error> {
    let top: Pairs<'_, &RawValue> = serde_json::from_str(text)?;
    let last = |key: &str| top.0.iter().rev().find(|(name, _)| name == key);
    let Some((_, entries)) = last("entries") else {
        return Ok(None);
    };
    let charts = match entries.get() {
        "null" => Vec::new(),
        entries => serde_json::from_str::<Pairs<'_, &RawValue>>(entries)?
            .0
            .into_iter()
            .map(|(key, list)| (key, items(list.get())))
            .collect(),
    };
    Ok(Some(Document {
        charts,
        generated: last("generated").is_some(),
    }))
}

fn items(list: &str) -> Option<Vec<&str>> {
    if list == "null" {
        return Some(Vec::new());
    }
    let items: Vec<&RawValue> = serde_json::from_str(list).ok()?;
    Some(items.into_iter().map(RawValue::get).collect())
}

/// Reads one value; `None` where its text is no text (a lone surrogate).
pub(super) fn read(text: &str) -> Option<Node<'_>> {
    node(text, 0)
}

fn node(text: &str, depth: usize) -> Option<Node<'_>> {
    if depth > MAX_DEPTH {
        return Some(Node::Null);
    }
    Some(match text.as_bytes().first()? {
        b'n' => Node::Null,
        b'"' => {
            let Text(text) = serde_json::from_str(text).ok()?;
            Node::Text(text)
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            let items = items.into_iter().map(|item| node(item.get(), depth + 1));
            Node::List(items.collect::<Option<_>>()?)
        }
        b'{' => {
            let pairs: Pairs<'_, &RawValue> = serde_json::from_str(text).ok()?;
            let pairs = pairs
                .0
                .into_iter()
                .map(|(key, value)| Some((key, node(value.get(), depth + 1)?)));
            Node::Map(pairs.collect::<Option<_>>()?)
        }
        _ => Node::Bare(Cow::Borrowed(text)),
    })
}

/// An object's pairs in order.
struct Pairs<'a, V>(Vec<(Cow<'a, str>, V)>);

impl<'de: 'a, 'a, V: Deserialize<'de> + 'a> Deserialize<'de> for Pairs<'a, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor<'a, V>(PhantomData<&'a V>);
        impl<'de: 'a, 'a, V: Deserialize<'de>> Visitor<'de> for PairsVisitor<'a, V> {
            type Value = Pairs<'a, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some((Text(key), value)) = map.next_entry()? {
                    pairs.push((key, value));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }
}

/// A string, borrowed where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        deserializer.deserialize_str(TextVisitor).map(Text)
    }
}
