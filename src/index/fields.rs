//! Reading the fields of an entry: what is read otherwise than written is noted, what cannot be read is a rejection.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::report::Reason;
use super::text::one_line;
use crate::chart::node::{Node, Shape, entry_shape};

/// Repairs that are told of one entry.
const MAX_REPAIRS: usize = 16;

/// What was repaired, and how.
pub(super) type Repair = (Reason, Box<str>);

/// Why an entry is not published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    /// The version as written, where it could be read.
    pub(super) version: Box<str>,
    pub(super) reason: Reason,
    pub(super) detail: Box<str>,
}

impl Rejection {
    pub(super) fn new(reason: Reason, detail: impl Into<Box<str>>) -> Self {
        Self {
            version: Box::default(),
            reason,
            detail: detail.into(),
        }
    }
}

/// The fields of one entry, and what was repaired in them.
#[derive(Default)]
pub(super) struct Fields<'n> {
    pub(super) fields: BTreeMap<&'n str, &'n Node<'n>>,
    pub(super) repairs: Vec<Repair>,
}

impl<'n> Fields<'n> {
    pub(super) fn collect(&mut self, pairs: &'n [(Cow<'n, str>, Node<'n>)]) {
        for (key, value) in pairs {
            match entry_shape(key) {
                Shape::Unknown => self.note(Reason::UnknownField, key),
                Shape::Ignored => {}
                _ => {
                    if self.fields.insert(key, value).is_some() {
                        self.note(Reason::DuplicateField, key);
                    }
                }
            }
        }
    }

    pub(super) fn note(&mut self, reason: Reason, detail: &str) {
        if self.repairs.len() < MAX_REPAIRS {
            self.repairs.push((reason, shorten(detail).into()));
        }
    }

    /// The text of a scalar; `None` for null.
    pub(super) fn text(
        &mut self,
        field: &str,
        node: &'n Node<'n>,
    ) -> Result<Option<&'n str>, Rejection> {
        match node {
            Node::Null => Ok(None),
            Node::Text(text) => Ok(Some(text)),
            Node::Bare(text) => {
                self.note(Reason::UnquotedScalar, &format!("{field}: {text}"));
                Ok(Some(text))
            }
            Node::Lost => {
                self.note(Reason::FieldDropped, field);
                Ok(None)
            }
            Node::List(_) | Node::Map(_) => Err(wrong_type(field)),
        }
    }

    /// A one-line text field; `None` where it is absent, null or empty.
    pub(super) fn line(&mut self, field: &'static str) -> Result<Option<Cow<'n, str>>, Rejection> {
        let Some(node) = self.fields.get(field).copied() else {
            return Ok(None);
        };
        let text = self.text(field, node)?;
        Ok(text.filter(|text| !text.is_empty()).map(one_line))
    }

    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool, Rejection> {
        let (text, quoted) = match self.fields.get(field).copied() {
            None | Some(Node::Null | Node::Lost) => return Ok(false),
            Some(Node::Bare(text)) => (text.as_ref(), false),
            Some(Node::Text(text)) => (text.as_ref(), true),
            Some(Node::List(_) | Node::Map(_)) => return Err(wrong_type(field)),
        };
        let value = match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Some(true),
            "false" | "no" | "off" | "n" | "" => Some(false),
            _ => None,
        };
        if quoted || value.is_none() {
            self.note(Reason::FlagText, &format!("{field}: {text}"));
        }
        Ok(value.unwrap_or(false))
    }

    pub(super) fn lines(&mut self, field: &'static str) -> Result<Vec<Cow<'n, str>>, Rejection> {
        let items = match self.fields.get(field).copied() {
            None | Some(Node::Null) => return Ok(Vec::new()),
            Some(Node::List(items)) => items,
            Some(_) => return Err(wrong_type(field)),
        };
        self.texts(field, items)
    }

    pub(super) fn texts(
        &mut self,
        field: &str,
        items: &'n [Node<'n>],
    ) -> Result<Vec<Cow<'n, str>>, Rejection> {
        let mut lines = Vec::with_capacity(items.len());
        for item in items {
            if let Some(text) = self.text(field, item)? {
                lines.push(one_line(text));
            }
        }
        Ok(lines)
    }

    pub(super) fn records(
        &self,
        field: &'static str,
        null: Reason,
    ) -> Result<Vec<Record<'n>>, Rejection> {
        let items = match self.fields.get(field).copied() {
            None | Some(Node::Null) => return Ok(Vec::new()),
            Some(Node::List(items)) => items,
            Some(_) => return Err(wrong_type(field)),
        };
        items
            .iter()
            .map(|item| match item {
                Node::Map(pairs) => Ok(pairs.as_slice()),
                Node::Null => Err(Rejection::new(null, format!("`{field}` has a null in it"))),
                Node::Text(_) | Node::Bare(_) | Node::Lost | Node::List(_) => {
                    Err(wrong_type(field))
                }
            })
            .collect()
    }

    pub(super) fn record_text(
        &mut self,
        record: Record<'n>,
        field: &str,
        key: &str,
    ) -> Result<Option<&'n str>, Rejection> {
        match last(record, key) {
            Some(node) => self.text(&format!("{field}.{key}"), node),
            None => Ok(None),
        }
    }

    pub(super) fn unknown_keys(&mut self, record: Record<'n>, field: &str, known: &[&str]) {
        for (key, _) in record {
            if !known.contains(&key.as_ref()) {
                self.note(Reason::UnknownField, &format!("{field}.{key}"));
            }
        }
    }
}

/// An object in a list.
pub(super) type Record<'n> = &'n [(Cow<'n, str>, Node<'n>)];

/// The value of a key; of several the last.
pub(super) fn last<'n>(record: Record<'n>, key: &str) -> Option<&'n Node<'n>> {
    record
        .iter()
        .rev()
        .find_map(|(name, value)| (name == key).then_some(value))
}

/// A field that is a list or object instead of a text, or the other way round.
pub(super) fn wrong_type(field: &str) -> Rejection {
    Rejection::new(
        Reason::FieldType,
        format!("`{}` has the wrong type", shorten(field)),
    )
}

/// At most 120 bytes of a text, for reports.
pub(super) fn shorten(text: &str) -> &str {
    let mut end = text.len().min(120);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
