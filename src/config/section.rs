//! Reading one section of the file: every key is asked for by name, and what nobody asked for is a mistake.
//!
//! So the code that reads a section is the list of its keys. Nothing here stops at a mistake: readers get `None`, use a
//! default and go on, and the file is refused at the end.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::mistakes::{Mistake, Mistakes, listed, nearest};
use super::tree::{Kind, Node};
use super::{Environment, Secret, expand, units};

/// What all sections of one file share.
pub(super) struct Context<'a> {
    env: Environment<'a>,
    base_dir: &'a Path,
    mistakes: RefCell<Vec<Mistake>>,
    /// Every key that was asked for, as (path with `*` for names, whether the file has it).
    asked: RefCell<BTreeSet<(String, bool)>>,
}

impl<'a> Context<'a> {
    pub(super) fn new(base_dir: &'a Path, env: Environment<'a>) -> Self {
        Self {
            env,
            base_dir,
            mistakes: RefCell::default(),
            asked: RefCell::default(),
        }
    }

    /// Records a mistake at `path`.
    pub(super) fn mistake(&self, path: &str, line: Option<usize>, message: impl Into<String>) {
        self.mistakes.borrow_mut().push(Mistake {
            path: path.to_owned(),
            line,
            message: message.into(),
        });
    }

    /// All mistakes so far, in the order of the file.
    pub(super) fn into_mistakes(self) -> Mistakes {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by_key(|mistake| mistake.line.unwrap_or(usize::MAX));
        Mistakes(mistakes)
    }

    /// The keys that no part of the file has.
    pub(super) fn absent_keys(&self) -> Vec<String> {
        let asked = self.asked.borrow();
        asked
            .iter()
            .filter(|(path, present)| !present && !asked.contains(&(path.clone(), true)))
            .map(|(path, _)| path.clone())
            .collect()
    }
}

/// A value with the place where it stands.
#[derive(Clone)]
pub(super) struct Value<'c> {
    context: &'c Context<'c>,
    path: String,
    pattern: String,
    /// Of its key, where it has one.
    line: Option<usize>,
    node: &'c Node,
}

impl<'c> Value<'c> {
    /// The whole file.
    pub(super) fn root(context: &'c Context<'c>, node: &'c Node) -> Self {
        Self {
            context,
            path: String::new(),
            pattern: String::new(),
            line: node.line,
            node,
        }
    }

    /// Records a mistake about this value.
    pub(super) fn mistake(&self, message: impl Into<String>) {
        self.context.mistake(&self.path, self.line, message);
    }

    /// Whether it is a section, so that short forms can be told from long ones.
    pub(super) fn is_section(&self) -> bool {
        matches!(self.node.kind, Kind::Map(_))
    }

    /// Its keys; a mistake where it is something else.
    pub(super) fn section(&self) -> Option<Section<'c>> {
        match &self.node.kind {
            Kind::Map(_) => Some(Section::open(self.clone())),
            Kind::Null if self.path.is_empty() => {
                self.mistake("the file is empty; a configuration needs `tenants` at least");
                None
            }
            other => {
                self.mistake(format!(
                    "expected a section of keys, found {}",
                    other.name()
                ));
                None
            }
        }
    }

    /// The values of a section whose keys are names, such as `upstreams`; duplicates are mistakes.
    pub(super) fn named(&self) -> Vec<(&'c str, Self)> {
        match &self.node.kind {
            Kind::Map(_) => {
                let section = Section::open(self.clone());
                section.entries().collect()
            }
            other => {
                self.mistake(format!(
                    "expected a section of names, found {}",
                    other.name()
                ));
                Vec::new()
            }
        }
    }

    /// Its items; a value that is no list counts as a list of one.
    pub(super) fn items(&self) -> Vec<Self> {
        match &self.node.kind {
            Kind::List(items) => items
                .iter()
                .enumerate()
                .map(|(position, node)| Self {
                    context: self.context,
                    path: format!("{}[{position}]", self.path),
                    pattern: self.pattern.clone(),
                    line: node.line,
                    node,
                })
                .collect(),
            Kind::Null | Kind::Scalar(_) | Kind::Map(_) => vec![self.clone()],
        }
    }

    /// Its text with variables expanded; a mistake where it is no single value.
    pub(super) fn text(&self) -> Option<String> {
        match &self.node.kind {
            Kind::Scalar(text) => match expand::expand(text, self.context.env) {
                Ok(text) => Some(text),
                Err(message) => {
                    self.mistake(message);
                    None
                }
            },
            other => {
                self.mistake(format!("expected a single value, found {}", other.name()));
                None
            }
        }
    }

    /// Its text, read by `parse`, which says how to write one.
    ///
    /// The mistake shows the value as the file spells it, so that the content of variables is never printed.
    pub(super) fn parsed<T>(&self, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text()?;
        parse(&text)
            .map_err(|message| self.mistake(format!("`{}`: {message}", self.spelling())))
            .ok()
    }

    /// As [`Value::parsed`] for text that may hold a secret: the mistake does not show it.
    pub(super) fn parsed_secretly<T>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text()?;
        parse(&text).map_err(|message| self.mistake(message)).ok()
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        self.parsed(|text| {
            let words = || choices.iter().map(|(word, _)| *word);
            choices
                .iter()
                .find(|(word, _)| *word == text)
                .map(|(_, choice)| *choice)
                .ok_or_else(|| match nearest(text, words()) {
                    Some(near) => format!("did you mean `{near}`? known: {}", listed(words())),
                    None => format!("known: {}", listed(words())),
                })
        })
    }

    /// A path, relative to the folder of the configuration file.
    pub(super) fn path_beside_file(&self) -> Option<PathBuf> {
        self.parsed(|text| match text {
            "" => Err("a path must not be empty".into()),
            _ => Ok(self.context.base_dir.join(text)),
        })
    }

    /// As [`Value::path_beside_file`] for a file that must be there and readable.
    pub(super) fn readable_file(&self) -> Option<PathBuf> {
        let path = self.path_beside_file()?;
        match std::fs::File::open(&path).and_then(|file| file.metadata()) {
            Ok(metadata) if metadata.is_dir() => {
                self.mistake(format!("`{}` is a folder, not a file", path.display()));
                None
            }
            Ok(_) => Some(path),
            Err(error) => {
                self.mistake(format!("cannot read `{}`: {error}", path.display()));
                None
            }
        }
    }

    /// The text as the file spells it, short enough for a message.
    pub(super) fn spelling(&self) -> String {
        match &self.node.kind {
            Kind::Scalar(text) => text.chars().take(80).collect(),
            Kind::Null | Kind::List(_) | Kind::Map(_) => String::new(),
        }
    }
}

/// A mistake was recorded already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told;

/// A section being read. [`Section::finish`] reports the keys that nobody asked for.
pub(super) struct Section<'c> {
    value: Value<'c>,
    known: Vec<&'static str>,
}

impl<'c> Section<'c> {
    fn open(value: Value<'c>) -> Self {
        let section = Self {
            value,
            known: Vec::new(),
        };
        let mut seen = BTreeSet::new();
        for (key, value) in section.entries() {
            if !seen.insert(key) {
                value.mistake("this key stands here twice; keep one");
            }
        }
        section
    }

    fn entries(&self) -> impl Iterator<Item = (&'c str, Value<'c>)> + use<'c> {
        let entries = match &self.value.node.kind {
            Kind::Map(entries) => entries.as_slice(),
            Kind::Null | Kind::Scalar(_) | Kind::List(_) => &[],
        };
        let Value {
            context,
            path,
            pattern,
            ..
        } = self.value.clone();
        let named = NAMED.contains(&pattern.as_str());
        entries.iter().map(move |entry| {
            let value = Value {
                context,
                path: join(&path, &entry.key),
                pattern: join(&pattern, if named { "*" } else { &entry.key }),
                line: entry.line.or(entry.value.line),
                node: &entry.value,
            };
            (entry.key.as_str(), value)
        })
    }

    /// The value of `key`; `None` where the file does not have it, or nothing after the colon.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value<'c>> {
        self.known.push(key);
        let found = self.find(key);
        let pattern = join(&self.value.pattern, key);
        self.value
            .context
            .asked
            .borrow_mut()
            .insert((pattern, found.is_some()));
        found.filter(|value| !matches!(value.node.kind, Kind::Null))
    }

    /// Whether `key` stands here, for keys that exclude others.
    pub(super) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Refuses `key` where it stands: it is part of the contract and not built yet.
    pub(super) fn later(&mut self, key: &'static str) {
        self.known.push(key);
        if let Some(value) = self.find(key) {
            value.mistake("not supported yet");
        }
    }

    /// Refuses `key` where it stands, because `reason`.
    pub(super) fn refuse(&mut self, key: &'static str, reason: &str) {
        self.known.push(key);
        if let Some(value) = self.find(key) {
            value.mistake(reason);
        }
    }

    /// The secret in `key`, or in the file that `key_file` names, without the newline at its end.
    pub(super) fn secret(
        &mut self,
        key: &'static str,
        file_key: &'static str,
    ) -> Result<Option<Secret>, Told> {
        let (place, text) = match (self.take(key), self.take(file_key)) {
            (Some(_), Some(file)) => {
                file.mistake(format!(
                    "`{key}` and `{file_key}` contradict each other; keep one"
                ));
                return Err(Told);
            }
            (None, None) => return Ok(None),
            (Some(value), None) => {
                let text = value.text().ok_or(Told)?;
                (value, text)
            }
            (None, Some(value)) => {
                let path = value.readable_file().ok_or(Told)?;
                let text = std::fs::read_to_string(&path).map_err(|error| {
                    value.mistake(format!("cannot read `{}`: {error}", path.display()));
                    Told
                })?;
                (value, text.trim_end_matches(['\n', '\r']).to_owned())
            }
        };
        if text.is_empty() || text.contains(['\n', '\r', '\0']) {
            place.mistake("the secret is empty or has more than one line");
            return Err(Told);
        }
        Ok(Some(Secret::new(text)))
    }

    /// Records a mistake about the section as a whole.
    pub(super) fn mistake(&self, message: impl Into<String>) {
        self.value.mistake(message);
    }

    /// Reports every key that was not asked for, with the nearest one that is known.
    pub(super) fn finish(self) {
        for (key, value) in self.entries() {
            if self.known.contains(&key) {
                continue;
            }
            value.mistake(match nearest(key, self.known.iter().copied()) {
                Some(near) => format!("unknown key; did you mean `{near}`?"),
                None => format!(
                    "unknown key; known here: {}",
                    listed(self.known.iter().copied())
                ),
            });
        }
    }

    fn find(&self, key: &str) -> Option<Value<'c>> {
        self.entries()
            .find(|(candidate, _)| *candidate == key)
            .map(|(_, value)| value)
    }

    // The shapes that most keys have, each with its default.

    pub(super) fn duration(
        &mut self,
        key: &'static str,
        default: std::time::Duration,
    ) -> std::time::Duration {
        self.parsed_or(key, default, units::duration)
    }

    pub(super) fn size(&mut self, key: &'static str, default: u64) -> u64 {
        self.parsed_or(key, default, units::size)
    }

    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        self.parsed_or(key, default, units::boolean)
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        default: T,
        choices: &[(&str, T)],
    ) -> T {
        self.take(key)
            .and_then(|value| value.choice(choices))
            .unwrap_or(default)
    }

    pub(super) fn parsed_or<T>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        self.take(key)
            .and_then(|value| value.parsed(parse))
            .unwrap_or(default)
    }
}

/// Sections whose keys are names.
const NAMED: [&str; 5] = [
    "upstreams",
    "registry.hosts",
    "tenants",
    "auth.users",
    "chartmuseum.artifact_hub",
];

/// `upstreams` + `acme` = `upstreams.acme`; keys that no path could hold are quoted.
fn join(path: &str, key: &str) -> String {
    let quoted;
    let key = if key.is_empty() || key.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let short: String = key.chars().take(80).collect();
        quoted = format!("{short:?}");
        &quoted
    } else {
        key.get(..160).unwrap_or(key)
    };
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
