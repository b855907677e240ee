//! From an index's text to a [`SourceIndex`]: cut, hash, reuse, and parse only what was never seen.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use url::Url;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use super::clean::{Origin, clean};
use super::fields::{Rejection, shorten};
use super::json;
use super::plain;
use super::report::Reason;
use super::scan;
use super::source::{ChartEntries, Lot, Outcome, SourceIndex};
use super::whole::{no_entries, parse_whole};
use crate::chart::node::{Node, Shape, entry_shape};
use crate::chart::yaml::{self, MAX_ALIASES, MAX_BRACKETS};
use crate::error::{Error, Result};

/// The largest text that is read, in bytes.
const MAX_TEXT: usize = 512 << 20;
/// The largest entry, in bytes.
const MAX_ENTRY: usize = 1 << 20;
/// The largest text that is read again by the full parser because a piece of it is no YAML, in bytes.
const MAX_SECOND_LOOK: usize = 8 << 20;
/// Versions that are read; the rest is dropped and counted.
const MAX_VERSIONS: usize = 1_000_000;
/// Opening brackets in all pieces that go to the full parser.
const BRACKET_BUDGET: usize = 200_000;

/// See [`SourceIndex::ingest`].
pub(super) fn ingest(
    text: &[u8],
    base: &Url,
    previous: Option<&SourceIndex>,
) -> Result<SourceIndex> {
    if text.len() > MAX_TEXT {
        return Err(Error::invalid(format!(
            "the index has {} bytes, more than {MAX_TEXT}",
            text.len()
        )));
    }
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let seed = xxh3_64(base.as_str().as_bytes());
    let text_hash = xxh3_128_with_seed(text, seed);
    if let Some(previous) = previous.filter(|previous| previous.text_hash == text_hash) {
        return Ok(previous.own());
    }
    let reader = Reader {
        base,
        seed,
        previous,
        brackets: BRACKET_BUDGET,
        syntax_errors: 0,
        versions: 0,
        lots: BTreeMap::new(),
    };
    let (lots, generated) = reader.document(text)?;
    let index = SourceIndex::from_lots(lots, text_hash, generated);
    // Tools write `generated` behind the entries: with it, versions went away too? Then the tail was lost on the way.
    if let Some(previous) = previous.filter(|previous| previous.generated && !generated) {
        let lost = index.lost_since(previous);
        if lost > 0 {
            return Err(half(&format!(
                "its last line, `generated`, is missing, and so are {lost} versions"
            )));
        }
    }
    Ok(index)
}

type Lots = BTreeMap<Arc<str>, Arc<Lot>>;

struct Reader<'a> {
    base: &'a Url,
    seed: u64,
    previous: Option<&'a SourceIndex>,
    /// What is left of [`BRACKET_BUDGET`].
    brackets: usize,
    /// New pieces that are no YAML.
    syntax_errors: usize,
    versions: usize,
    lots: Lots,
}

/// The text of one entry.
#[derive(Clone, Copy)]
enum Piece<'a> {
    /// A block list with one item.
    Yaml(&'a [u8]),
    /// A JSON value.
    Json(&'a str),
}

impl Reader<'_> {
    fn document(mut self, text: &[u8]) -> Result<(Lots, bool)> {
        let first = text.trim_ascii_start().first().copied();
        match first {
            None => return Err(Error::invalid("the index is empty")),
            Some(b'<') => {
                return Err(Error::invalid(
                    "the answer is a web page, not an index; is this the URL of a chart repository?",
                ));
            }
            Some(0) => return Err(Error::invalid("the index is binary data, not YAML or JSON")),
            Some(b'{') => {
                if let Ok(text) = std::str::from_utf8(text)
                    && let Some(done) = self.json(text)?
                {
                    return Ok(done);
                }
                return self.whole(text, None);
            }
            Some(_) => {}
        }
        let Some(cut) = scan::cut(text).filter(skeleton_is_sound) else {
            return self.whole(text, None);
        };
        let (generated, open_end) = (cut.generated, cut.open_end);
        let last = cut.charts.last().map(|(key, _)| key.to_string());
        for (key, items) in cut.charts {
            let pieces = items.into_iter().map(Piece::Yaml).collect();
            self.chart(&key, pieces);
        }
        if open_end
            && let Some(lot) = last.and_then(|key| self.lots.get(key.as_str()))
            && let Some((_, Outcome::Dropped(rejection))) = lot.pieces.last()
            && matches!(
                rejection.reason,
                Reason::Syntax | Reason::NameMissing | Reason::VersionMissing | Reason::UrlsMissing
            )
        {
            return Err(half(&format!(
                "it ends in the middle of an entry ({})",
                rejection.detail
            )));
        }
        if self.syntax_errors > 0 {
            // A quoted text may cross the cuts; if the file is sound as a whole, the full parser is right.
            let cut = (std::mem::take(&mut self.lots), generated);
            return self.whole(text, Some(cut));
        }
        Ok((self.lots, generated))
    }

    /// A JSON document; `None`: it is something else that starts with a brace.
    fn json(&mut self, text: &str) -> Result<Option<(Lots, bool)>> {
        let document = match json::cut(text) {
            Ok(Some(document)) => document,
            Ok(None) => return Err(no_entries()),
            Err(error) if error.is_eof() => return Err(half("its JSON ends too early")),
            Err(_) => return Ok(None),
        };
        for (key, items) in document.charts {
            match items {
                Some(items) => {
                    let pieces = items.into_iter().map(Piece::Json).collect();
                    self.chart(&key, pieces);
                }
                None => self.not_a_list(&key),
            }
        }
        Ok(Some((std::mem::take(&mut self.lots), document.generated)))
    }

    /// Any other form, through the full parser. `cut` is what is returned where the text is not sound.
    fn whole(mut self, text: &[u8], mut cut: Option<(Lots, bool)>) -> Result<(Lots, bool)> {
        if let Some(cut) = cut.take_if(|_| text.len() > MAX_SECOND_LOOK) {
            return Ok(cut);
        }
        let document = match parse_whole(text) {
            Ok(document) => document,
            Err(error) => return cut.ok_or(error),
        };
        let generated = document.generated;
        for (key, items) in document.charts {
            match items {
                Some(items) => self.parsed_chart(&key, &items),
                None => self.not_a_list(&key),
            }
        }
        Ok((self.lots, generated))
    }

    fn not_a_list(&mut self, key: &str) {
        let rejection = Rejection::new(Reason::FieldType, "its versions are not a list");
        self.add(key, 0, vec![(0, Outcome::Dropped(Box::new(rejection)))]);
    }

    /// A chart whose pieces are known by their hashes.
    fn chart(&mut self, key: &str, pieces: Vec<Piece<'_>>) {
        let pieces = self.limit(key, pieces);
        let seed = self.seed ^ xxh3_64(key.as_bytes());
        let hashes: Vec<u128> = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Yaml(text) => xxh3_128_with_seed(text, seed),
                Piece::Json(text) => xxh3_128_with_seed(text.as_bytes(), seed),
            })
            .collect();
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        let fingerprint = xxh3_128_with_seed(&bytes, seed) | 1;
        let old = self
            .previous
            .and_then(|previous| previous.lots.get_key_value(key));
        if let Some((name, lot)) = old.filter(|(_, lot)| lot.fingerprint == fingerprint)
            && !self.lots.contains_key(key)
        {
            self.lots.insert(Arc::clone(name), Arc::clone(lot));
            return;
        }
        let known: HashMap<u128, &Outcome> = old
            .into_iter()
            .flat_map(|(_, lot)| lot.pieces.iter())
            .filter(|(hash, _)| *hash != 0)
            .map(|(hash, outcome)| (*hash, outcome))
            .collect();
        let name = self.name(key);
        let outcomes = hashes
            .into_iter()
            .zip(pieces)
            .map(|(hash, piece)| {
                let outcome = match known.get(&hash) {
                    Some(outcome) => Outcome::clone(outcome),
                    None => self.piece(&name, piece),
                };
                (hash, outcome)
            })
            .collect();
        self.add(key, fingerprint, outcomes);
    }

    /// A chart whose entries the full parser has read.
    fn parsed_chart(&mut self, key: &str, items: &[Node<'static>]) {
        let items = self.limit(key, items.iter().collect());
        let name = self.name(key);
        let outcomes = items
            .into_iter()
            .map(|node| (0, self.outcome(&name, node)))
            .collect();
        self.add(key, 0, outcomes);
    }

    /// The key, shared with the previous index where that has it.
    fn name(&self, key: &str) -> Arc<str> {
        let old = self
            .previous
            .and_then(|previous| previous.lots.get_key_value(key));
        old.map_or_else(|| Arc::from(key), |(name, _)| Arc::clone(name))
    }

    fn limit<T>(&mut self, key: &str, mut items: Vec<T>) -> Vec<T> {
        let room = MAX_VERSIONS.saturating_sub(self.versions);
        self.versions += items.len();
        if items.len() > room {
            let rejection = Rejection::new(
                Reason::TooMany,
                format!("{} versions beyond {MAX_VERSIONS}", items.len() - room),
            );
            items.truncate(room);
            self.add(key, 0, vec![(0, Outcome::Dropped(Box::new(rejection)))]);
        }
        items
    }

    fn piece(&mut self, name: &Arc<str>, piece: Piece<'_>) -> Outcome {
        match self.read(piece) {
            Ok(node) => self.outcome(name, &node),
            Err(rejection) => {
                self.syntax_errors += usize::from(rejection.reason == Reason::Syntax);
                Outcome::Dropped(Box::new(rejection))
            }
        }
    }

    fn read<'p>(&mut self, piece: Piece<'p>) -> Result<Node<'p>, Rejection> {
        let text = match piece {
            Piece::Json(text) if text.len() > MAX_ENTRY => return Err(too_large(text.len())),
            Piece::Json(text) => {
                return json::read(text)
                    .ok_or_else(|| Rejection::new(Reason::Encoding, "a text is not Unicode"));
            }
            Piece::Yaml(bytes) if bytes.len() > MAX_ENTRY => return Err(too_large(bytes.len())),
            Piece::Yaml(bytes) => std::str::from_utf8(bytes)
                .map_err(|_| Rejection::new(Reason::Encoding, "the entry is not UTF-8"))?,
        };
        if let Some(node) = plain::read(text) {
            return Ok(node);
        }
        let limit = MAX_BRACKETS.min(self.brackets);
        yaml::guard(text.as_bytes(), limit, MAX_ALIASES)
            .map_err(|error| Rejection::new(Reason::TooComplex, error.message()))?;
        self.brackets -= memchr::memchr2_iter(b'[', b'{', text.as_bytes()).count();
        read_item(text)
    }

    fn outcome(&self, name: &Arc<str>, node: &Node<'_>) -> Outcome {
        match clean(name, node, Origin::Index(self.base)) {
            Ok((entry, repairs)) => {
                let repairs = (!repairs.is_empty()).then(|| repairs.into());
                let old = self
                    .previous
                    .and_then(|previous| previous.get(name)?.get(entry.version.as_str()))
                    .filter(|old| old.is_same(&entry));
                Outcome::Kept(old.map_or_else(|| Arc::new(entry), Arc::clone), repairs)
            }
            Err(rejection) => Outcome::Dropped(Box::new(rejection)),
        }
    }

    /// Adds what was read about a chart to what is known about it: a key may come twice.
    fn add(&mut self, key: &str, fingerprint: u128, mut pieces: Vec<(u128, Outcome)>) {
        let mut fingerprint = fingerprint;
        if let Some(lot) = self.lots.get(key) {
            fingerprint = 0;
            pieces.splice(0..0, lot.pieces.iter().cloned());
        }
        let entries = pieces
            .iter()
            .filter_map(|(_, outcome)| match outcome {
                Outcome::Kept(entry, _) => Some(Arc::clone(entry)),
                Outcome::Dropped(_) => None,
            })
            .collect();
        let (chart, duplicates) = ChartEntries::assemble(entries);
        let old = self
            .previous
            .and_then(|previous| previous.lots.get(key)?.chart.as_ref());
        let chart = chart.map(|chart| match old {
            Some(old) if old.is_same(&chart) => Arc::clone(old),
            _ => chart,
        });
        let lot = Lot {
            fingerprint,
            pieces: pieces.into(),
            duplicates: duplicates.into(),
            chart,
        };
        let name = self.name(key);
        self.lots.insert(name, Arc::new(lot));
    }
}

fn half(why: &str) -> Error {
    Error::unavailable(format!("the index is not complete: {why}"))
}

fn too_large(bytes: usize) -> Rejection {
    Rejection::new(
        Reason::TooLarge,
        format!("the entry has {bytes} bytes, more than {MAX_ENTRY}"),
    )
}

/// Whether what surrounds the entries is a map of its own, so that no quoted text reaches from there into them.
fn skeleton_is_sound(cut: &scan::Cut<'_>) -> bool {
    let Ok(text) = std::str::from_utf8(&cut.skeleton) else {
        return false;
    };
    if text.len() > MAX_ENTRY || yaml::guard(text.as_bytes(), MAX_BRACKETS, MAX_ALIASES).is_err() {
        return false;
    }
    let node = yaml::read(text, Shape::Record(|_| Shape::Ignored));
    matches!(node, Ok(Node::Map(pairs)) if pairs.iter().filter(|(key, _)| key == "entries").count() == 1)
}

/// Reads `- key: value …`, a list with one entry, with the full parser.
fn read_item(text: &str) -> Result<Node<'static>, Rejection> {
    let typed = yaml::read(text, Shape::Records(entry_shape));
    let node = match typed {
        Ok(Node::List(items)) => <[Node<'_>; 1]>::try_from(items).ok(),
        Ok(_) => None,
        Err(error) => {
            // A field of a wrong type, or no YAML at all? Only the second sends the whole text to the full parser.
            let detail = error.to_string();
            let reason = match yaml::read(text, Shape::Any) {
                Ok(Node::List(items)) if matches!(items.as_slice(), [Node::Map(_)]) => {
                    Reason::FieldType
                }
                Ok(_) => Reason::NotAnObject,
                Err(_) => Reason::Syntax,
            };
            return Err(Rejection::new(reason, shorten(&detail)));
        }
    };
    match node {
        Some([node]) => Ok(node),
        None => Err(Rejection::new(
            Reason::NotAnObject,
            "the entry is not an object",
        )),
    }
}

#[cfg(test)]
#[path = "ingest_tests.rs"]
mod tests;
