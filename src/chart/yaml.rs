//! YAML into [`Node`]s: the only place, with `index/`, that knows `serde_yaml`.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    Deserialize as _, DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, MapAccess, SeqAccess,
    VariantAccess as _, Visitor,
};

use super::node::{Node, Shape};
use crate::error::{Error, Result};

/// Opening brackets that one text may have. The parser's time grows with the square of their nesting: this many cost milliseconds.
pub(crate) const MAX_BRACKETS: usize = 1000;
/// Aliases that one text with anchors may have, so that few bytes cannot stand for many.
pub(crate) const MAX_ALIASES: usize = 8;

/// Refuses texts that cost more to parse than their length explains. `brackets` and `aliases` bound what their names say.
pub(crate) fn guard(text: &[u8], brackets: usize, aliases: usize) -> Result<()> {
    let opened = memchr::memchr2_iter(b'[', b'{', text).count();
    if opened > brackets {
        return Err(Error::invalid(format!(
            "it has {opened} opening brackets, more than {brackets}"
        )));
    }
    let marked = |mark: u8| {
        memchr::memchr_iter(mark, text)
            .filter(|at| {
                let before = at.checked_sub(1).and_then(|at| text.get(at));
                let after = text.get(at + 1);
                before.is_none_or(|b| b" \t\n\r[{,:-?".contains(b))
                    && after.is_some_and(|b| !b" \t\n\r".contains(b) && *b != mark)
            })
            .count()
    };
    if marked(b'&') > 0 && marked(b'*') > aliases {
        return Err(Error::invalid(format!(
            "it has anchors and more than {aliases} aliases"
        )));
    }
    Ok(())
}

/// Reads one document of this shape. The text must have passed [`guard`].
pub(crate) fn read(text: &str, shape: Shape) -> Result<Node<'static>, serde_yaml::Error> {
    let mut node = Seed(shape).deserialize(serde_yaml::Deserializer::from_str(text))?;
    if node.may_be_bare()
        && let Ok(kinds) = Seed(Shape::Any).deserialize(serde_yaml::Deserializer::from_str(text))
    {
        node.adopt_kinds(&kinds);
    }
    Ok(node)
}

/// Reads a value of one shape, keeping the text of scalars.
#[derive(Clone, Copy)]
pub(crate) struct Seed(pub(crate) Shape);

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Node<'static>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        match self.0 {
            Shape::Ignored | Shape::Unknown => {
                IgnoredAny::deserialize(deserializer).map(|_| Node::Null)
            }
            Shape::Any => deserializer.deserialize_any(AnyVisitor),
            shape => deserializer.deserialize_option(Optional(shape)),
        }
    }
}

/// Null, or a value of the shape.
struct Optional(Shape);

impl<'de> Visitor<'de> for Optional {
    type Value = Node<'static>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or null")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Node::Null)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        match self.0 {
            Shape::Scalars | Shape::Records(_) => deserializer.deserialize_seq(Typed(self.0)),
            Shape::Pairs | Shape::Record(_) => deserializer.deserialize_map(Typed(self.0)),
            Shape::Scalar | Shape::Any | Shape::Ignored | Shape::Unknown => {
                deserializer.deserialize_str(Typed(self.0))
            }
        }
    }
}

/// A value of the shape that is not null.
struct Typed(Shape);

impl<'de> Visitor<'de> for Typed {
    type Value = Node<'static>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Shape::Scalars | Shape::Records(_) => "a list",
            Shape::Pairs | Shape::Record(_) => "a map",
            Shape::Scalar | Shape::Any | Shape::Ignored | Shape::Unknown => "a text",
        })
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Node::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let shape = match self.0 {
            Shape::Records(keys) => Shape::Record(keys),
            _ => Shape::Scalar,
        };
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Seed(shape))? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = pairs.next_key::<String>()? {
            let shape = match self.0 {
                Shape::Record(keys) => keys(&key),
                _ => Shape::Scalar,
            };
            map.push((Cow::Owned(key), pairs.next_value_seed(Seed(shape))?));
        }
        Ok(Node::Map(map))
    }
}

/// Whatever is there; numbers come as values, so their text may be lost.
struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = Node<'static>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Node::Bare(Cow::Borrowed(if value {
            "true"
        } else {
            "false"
        })))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Node::Lost)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Node::Lost)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Self::Value, E> {
        Ok(Node::Lost)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Self::Value, E> {
        Ok(Node::Lost)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Node::Lost)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Node::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Seed(Shape::Any))? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = pairs.next_key::<String>()? {
            map.push((Cow::Owned(key), pairs.next_value_seed(Seed(Shape::Any))?));
        }
        Ok(Node::Map(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Self::Value, A::Error> {
        let (_tag, value) = tagged.variant::<String>()?;
        value.newtype_variant_seed(Seed(Shape::Any))
    }
}
