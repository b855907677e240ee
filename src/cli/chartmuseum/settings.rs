//! The settings of one run: flag, else environment, else configuration file, else default.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use super::flags::{FLAGS, Flag, Kind};
use super::values;
use crate::config::{self, Environment};

/// Every flag's value, and where it comes from. Without `Debug`: it holds passwords.
pub(super) struct Settings {
    settings: HashMap<&'static str, Setting>,
    /// Keys of the file that ChartMuseum does not know, and therefore ignores.
    pub(super) unknown_keys: Vec<String>,
}

struct Setting {
    value: Value,
    given: bool,
}

#[derive(PartialEq)]
enum Value {
    Text(String),
    Number(i64),
    Switch(bool),
    Duration(Duration),
    Pairs(BTreeMap<String, String>),
}

impl Settings {
    /// Resolves what was typed, the environment and the file that either of them names. Blocking. Errors: every value that
    /// cannot be read, one a line.
    pub(super) fn resolve(
        typed: &[(&'static str, String)],
        env: Environment<'_>,
    ) -> Result<Self, String> {
        let config = typed
            .iter()
            .rev()
            .find(|(name, _)| *name == "config")
            .map(|(_, value)| value.clone())
            .or_else(|| env("CONFIG"))
            .filter(|path| !path.is_empty());
        let mut file = match config {
            Some(path) => read_file(&path)?,
            None => Vec::new(),
        };
        let mut problems = Vec::new();
        let mut settings = HashMap::new();
        for flag in FLAGS {
            let typed: Vec<&str> = typed
                .iter()
                .filter(|(name, _)| *name == flag.name)
                .map(|(_, value)| value.as_str())
                .collect();
            match one(flag, &typed, env, &mut file) {
                Ok(setting) => {
                    settings.insert(flag.name, setting);
                }
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems.join("\n"));
        }
        Ok(Self {
            settings,
            unknown_keys: file.into_iter().map(|leaf| leaf.path).collect(),
        })
    }

    /// A text; empty where nobody gave one.
    pub(super) fn text(&self, name: &str) -> &str {
        match self.value(name) {
            Value::Text(text) => text,
            _ => "",
        }
    }

    /// A text that is not empty.
    pub(super) fn given_text(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    pub(super) fn number(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Number(number) => *number,
            _ => 0,
        }
    }

    /// A number for which ChartMuseum takes everything below 1 as none: 0 then.
    pub(super) fn count(&self, name: &str) -> i64 {
        self.number(name).max(0)
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        *self.value(name) == Value::Switch(true)
    }

    pub(super) fn duration(&self, name: &str) -> Duration {
        match self.value(name) {
            Value::Duration(duration) => *duration,
            _ => Duration::ZERO,
        }
    }

    /// Repository ids of Artifact Hub by repository.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = match self.value("artifact-hub-repo-id") {
            Value::Pairs(pairs) => Some(pairs),
            _ => None,
        };
        let pairs = pairs.into_iter().flatten();
        pairs.map(|(repository, id)| (repository.as_str(), id.as_str()))
    }

    /// Whether somebody gave it, and as something else than switched off.
    pub(super) fn is_given(&self, flag: &Flag) -> bool {
        let setting = &self.settings[flag.name];
        setting.given && setting.value != Value::Switch(false)
    }

    fn value(&self, name: &str) -> &Value {
        &self.settings[name].value
    }
}

/// The value of one flag. What the file has of it is taken out.
fn one(
    flag: &'static Flag,
    typed: &[&str],
    env: Environment<'_>,
    file: &mut Vec<config::Leaf>,
) -> Result<Setting, String> {
    let in_file = take(flag, file);
    let in_env = env(flag.env).filter(|text| counts_when_empty(flag) || !text.is_empty());
    let given = !typed.is_empty() || in_env.is_some() || !in_file.is_empty();
    if flag.kind == Kind::Pairs {
        // The environment and the command line fill one table; the file is the alternative to both.
        let mut pairs: BTreeMap<_, _> = in_env.iter().map(|text| values::pair(text)).collect();
        pairs.extend(typed.iter().map(|text| values::pair(text)));
        if pairs.is_empty() {
            pairs.extend(in_file.into_iter().map(|leaf| (leaf.path, leaf.value)));
        }
        return Ok(Setting {
            value: Value::Pairs(pairs),
            given,
        });
    }
    let (origin, text) = if let Some(text) = typed.last() {
        (format!("--{}", flag.name), (*text).to_owned())
    } else if let Some(text) = in_env {
        (format!("environment variable {}", flag.env), text)
    } else if let Some(leaf) = in_file.into_iter().next_back() {
        (format!("configuration file, key {}", flag.key), leaf.value)
    } else {
        (String::new(), flag.default.to_owned())
    };
    let value = match flag.kind {
        // A variable that is empty switches off (urfave/cli v1, flag.go).
        Kind::Switch if text.is_empty() => Ok(Value::Switch(false)),
        Kind::Switch => values::switch(&text).map(Value::Switch),
        Kind::Number => values::number(&text).map(Value::Number),
        Kind::Duration => values::duration(&text).map(Value::Duration),
        Kind::Text | Kind::Pairs => Ok(Value::Text(text.clone())),
    };
    value
        .map(|value| Setting { value, given })
        .map_err(|hint| format!("{origin}: `{text:.80}`: {hint}"))
}

/// For numbers and durations an empty variable says nothing (ChartMuseum ends without a word).
fn counts_when_empty(flag: &Flag) -> bool {
    matches!(flag.kind, Kind::Text | Kind::Switch)
}

/// The leaves that belong to `flag`; those of a table with the rest of their path.
fn take(flag: &Flag, file: &mut Vec<config::Leaf>) -> Vec<config::Leaf> {
    if flag.key.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    file.retain_mut(|leaf| {
        let Some(rest) = leaf
            .path
            .get(..flag.key.len())
            .filter(|start| start.eq_ignore_ascii_case(flag.key))
            .map(|_| &leaf.path[flag.key.len()..])
        else {
            return true;
        };
        let rest = match (rest, flag.kind) {
            ("", _) => "",
            (rest, Kind::Pairs) if rest.starts_with('.') => &rest[1..],
            _ => return true,
        };
        found.push(config::Leaf {
            path: rest.to_owned(),
            value: std::mem::take(&mut leaf.value),
        });
        false
    });
    found
}

fn read_file(path: &str) -> Result<Vec<config::Leaf>, String> {
    let file = Path::new(path);
    if !file.exists() {
        return Err(format!("config file not found: {path}"));
    }
    if !matches!(
        file.extension().and_then(|extension| extension.to_str()),
        None | Some("yaml" | "yml")
    ) {
        return Err("config file must have .yaml/.yml extension (or no extension)".to_owned());
    }
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read the config file `{path}`: {error}"))?;
    config::leaves(&text).map_err(|mistakes| format!("config file `{path}`: {mistakes}"))
}
