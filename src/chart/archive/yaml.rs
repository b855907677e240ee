//! YAML inside archives: bounded before it is parsed, then checked for the shape that Helm needs.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::flaw::Flaws;
use super::{Strictness, flow};
use crate::chart::Metadata;
use crate::error::{Error, Result};

/// Checks that the YAML file `name` is a map or nothing at all. Helm 4 reads every document of the file, Helm 3 the first.
pub(super) fn check_map(name: &str, bytes: &[u8], strictness: Strictness) -> Result<()> {
    let text = text(name, bytes)?;
    if is_blank(text) {
        return Ok(());
    }
    let documents = match strictness {
        Strictness::Upload => usize::MAX,
        Strictness::Stored => 1,
    };
    for document in serde_yaml::Deserializer::from_str(text).take(documents) {
        document
            .deserialize_any(MapOrNothing)
            .map_err(|error| cannot_load(name, &error))?;
    }
    Ok(())
}

/// The text of the YAML file `name`, once it is known that parsing it is cheap.
///
/// libyaml needs time that grows with the square of the depth of nested brackets, and memory that grows with the number
/// of nodes; both are counted first.
pub(super) fn text<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| cannot_load(name, &error))?;
    if flow::is_deeper_than(text, MAX_BRACKETS) {
        return Err(Error::invalid(format!(
            "cannot load {name}: brackets are nested more than {MAX_BRACKETS} deep"
        )));
    }
    let nodes = bytes
        .iter()
        .filter(|byte| matches!(byte, b'\n' | b',' | b':' | b'-' | b'?' | b'[' | b'{'))
        .count();
    if nodes > MAX_NODES {
        return Err(Error::invalid(format!(
            "cannot load {name}: it has more than {MAX_NODES} nodes"
        )));
    }
    Ok(text)
}

/// What the fields that name a chart look like in the file, before they are made text.
#[derive(Deserialize)]
struct Plain {
    name: Option<serde_yaml::Value>,
    version: Option<serde_yaml::Value>,
}

/// Finds names and versions that Helm reads as something else than what is written: `version: 1.10` is 1.1 to it (`1.2` is
/// `1.2` to both), and two `name` keys are a riddle.
pub(super) fn check_identity(bytes: &[u8], metadata: &Metadata, flaws: &mut Flaws) -> Result<()> {
    if flaws.strictness() == Strictness::Stored {
        return Ok(());
    }
    let text = text("Chart.yaml", bytes)?;
    let plain: Plain =
        serde_yaml::from_str(text).map_err(|error| cannot_load("Chart.yaml", &error))?;
    let written = [
        ("name", &plain.name, &metadata.name),
        ("version", &plain.version, &metadata.version),
    ];
    for (key, value, written) in written {
        let is_same = match value {
            None | Some(serde_yaml::Value::Null | serde_yaml::Value::String(_)) => true,
            Some(serde_yaml::Value::Number(number)) => number.to_string() == **written,
            Some(serde_yaml::Value::Bool(value)) => value.to_string() == **written,
            Some(_) => false,
        };
        if !is_same {
            flaws.found(format!(
                "validation: chart.metadata.{key} is not text; write it in quotes, because YAML changes numbers such as 1.10"
            ))?;
        }
    }
    Ok(())
}

/// The error of a YAML file, in Helm's words.
pub(super) fn cannot_load(name: &str, error: &dyn fmt::Display) -> Error {
    Error::invalid(format!(
        "cannot load {name}: error converting YAML to JSON: yaml: {error:.300}"
    ))
}

/// Whether there is nothing but comments and document marks.
pub(super) fn is_blank(text: &str) -> bool {
    text.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---" || line == "..."
    })
}

struct MapOrNothing;

impl<'de> Visitor<'de> for MapOrNothing {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_unit<E>(self) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// Nobody nests brackets by hand this deep; the project's notes on libyaml name the same bound.
const MAX_BRACKETS: usize = 64;
/// The largest real values.yaml files have some tens of thousands; at about 200 bytes a node this bounds memory.
const MAX_NODES: usize = 1_000_000;
