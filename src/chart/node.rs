//! A neutral tree for Chart.yaml data: every scalar is text, and remembers whether it was written as text.
//!
//! All readers (YAML, JSON, the fast path for index entries) end here, so that the rules are written once. A dynamic YAML value
//! cannot be used: it turns `1.10` into 1.1.

use std::borrow::Cow;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node<'a> {
    /// Null, absent, or a value that nobody asks for.
    Null,
    /// A string.
    Text(Cow<'a, str>),
    /// A number or boolean, as written.
    Bare(Cow<'a, str>),
    /// A number whose text is lost.
    Lost,
    /// A list.
    List(Vec<Self>),
    /// Pairs in order; a key may come twice.
    Map(Vec<(Cow<'a, str>, Self)>),
}

/// How the value of a key is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// A scalar.
    Scalar,
    /// A list of scalars.
    Scalars,
    /// Pairs of scalars.
    Pairs,
    /// An object with these keys.
    Record(fn(&str) -> Self),
    /// A list of objects with these keys.
    Records(fn(&str) -> Self),
    /// Anything; numbers may lose their text.
    Any,
    /// Known and of no use.
    Ignored,
    /// Not a key that Helm knows: dropped, because strict clients refuse a whole index for one.
    Unknown,
}

/// The keys of Chart.yaml.
pub(crate) fn chart_shape(key: &str) -> Shape {
    match key {
        "name" | "home" | "version" | "description" | "icon" | "apiVersion" | "condition"
        | "tags" | "appVersion" | "deprecated" | "kubeVersion" | "type" => Shape::Scalar,
        "sources" | "keywords" => Shape::Scalars,
        "annotations" => Shape::Pairs,
        "maintainers" => Shape::Records(maintainer_shape),
        "dependencies" => Shape::Records(dependency_shape),
        "engine" | "tillerVersion" | "url" | "checksum" => Shape::Ignored,
        _ => Shape::Unknown,
    }
}

/// The keys of an index entry: those of Chart.yaml and four more.
pub(crate) fn entry_shape(key: &str) -> Shape {
    match key {
        "created" | "digest" | "removed" => Shape::Scalar,
        "urls" => Shape::Scalars,
        _ => chart_shape(key),
    }
}

pub(crate) fn maintainer_shape(key: &str) -> Shape {
    match key {
        "name" | "email" | "url" => Shape::Scalar,
        _ => Shape::Unknown,
    }
}

pub(crate) fn dependency_shape(key: &str) -> Shape {
    match key {
        "name" | "version" | "repository" | "condition" | "alias" | "enabled" => Shape::Scalar,
        "tags" => Shape::Scalars,
        "import-values" => Shape::Any,
        _ => Shape::Unknown,
    }
}

impl Node<'_> {
    /// Takes over from `other`, a second reading of the same text, which scalars are bare.
    pub(crate) fn adopt_kinds(&mut self, other: &Node<'_>) {
        match (self, other) {
            (this @ Self::Text(_), Node::Bare(_) | Node::Lost) => {
                if let Self::Text(text) = this {
                    *this = Self::Bare(std::mem::take(text));
                }
            }
            (Self::List(items), Node::List(others)) => {
                for (item, other) in items.iter_mut().zip(others) {
                    item.adopt_kinds(other);
                }
            }
            (Self::Map(pairs), Node::Map(others)) => {
                for ((_, value), (_, other)) in pairs.iter_mut().zip(others) {
                    value.adopt_kinds(other);
                }
            }
            _ => {}
        }
    }

    /// Whether some scalar might be a number or boolean in YAML, so that its kind has to be looked up.
    pub(crate) fn may_be_bare(&self) -> bool {
        match self {
            Node::Null | Node::Bare(_) | Node::Lost => false,
            Node::Text(text) => looks_bare(text),
            Node::List(items) => items.iter().any(Node::may_be_bare),
            Node::Map(pairs) => pairs.iter().any(|(_, value)| value.may_be_bare()),
        }
    }
}

/// Whether a plain YAML scalar with this text may be a number or boolean. Errs on the side of yes.
pub(crate) fn looks_bare(text: &str) -> bool {
    let bytes = text.as_bytes();
    match bytes.first() {
        Some(b't' | b'T' | b'f' | b'F') => {
            text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")
        }
        // Two dots or any character that no number has make it text, as in nearly all versions and digests.
        Some(b'0'..=b'9' | b'+' | b'-' | b'.' | b'i' | b'n' | b'I' | b'N') => {
            bytes.iter().filter(|b| **b == b'.').count() < 2
                && (bytes.starts_with(b"0x")
                    || bytes.iter().all(|b| {
                        matches!(
                            b,
                            b'0'..=b'9'
                                | b'.'
                                | b'+'
                                | b'-'
                                | b'e'
                                | b'E'
                                | b'x'
                                | b'o'
                                | b'b'
                                | b'_'
                        )
                    })
                    || text.to_ascii_lowercase().contains("inf")
                    || text.to_ascii_lowercase().contains("nan"))
        }
        _ => false,
    }
}
