//! One entry cleaned: Helm's rules for what is listed, and ours for what every client can read (spec/clients.md §0).

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use url::Url;

use super::entry::Entry;
use super::fields::{Fields, Record, Rejection, Repair, last, shorten, wrong_type};
use super::members::Members;
use super::report::Reason;
use super::text::{one_line, push_json};
use super::time::{guess_time, is_rfc3339};
use crate::chart::Version;
use crate::chart::node::Node;
use crate::digest::Digest;

/// The longest key that clients read: libyaml and go-yaml refuse simple keys of 1024 bytes.
const MAX_KEY: usize = 1000;
/// The longest file name without `.tgz.prov`, so that it fits the file systems it will be kept on.
const MAX_STEM: usize = 240;
/// URLs kept per entry.
const MAX_URLS: usize = 32;

/// Where the entry's URLs come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin<'a> {
    /// An index with this final URL.
    Index(&'a Url),
    /// An archive that we hold: no URLs.
    Archive,
}

/// Cleans one entry that stands under `key`.
pub(super) fn clean(
    key: &Arc<str>,
    node: &Node<'_>,
    origin: Origin<'_>,
) -> Result<(Entry, Vec<Repair>), Rejection> {
    let Node::Map(pairs) = node else {
        return Err(Rejection::new(
            Reason::NotAnObject,
            "the entry is not an object",
        ));
    };
    let mut fields = Fields::default();
    fields.collect(pairs);
    let version = match fields.fields.get("version") {
        Some(Node::Text(text) | Node::Bare(text)) => text.as_ref(),
        _ => "",
    };
    let version: Box<str> = shorten(version).into();
    fields.entry(key, origin).map_err(|rejection| Rejection {
        version,
        ..rejection
    })
}

impl<'n> Fields<'n> {
    fn entry(
        mut self,
        key: &Arc<str>,
        origin: Origin<'_>,
    ) -> Result<(Entry, Vec<Repair>), Rejection> {
        let name = self
            .line("name")?
            .ok_or_else(|| Rejection::new(Reason::NameMissing, "`name` is missing"))?;
        if matches!(name.as_ref(), "." | "..") || name.contains(['/', '\\']) {
            return Err(Rejection::new(
                Reason::NameInvalid,
                format!("the name `{}` is a path", shorten(&name)),
            ));
        }
        let version = match self.fields.get("version").copied() {
            Some(node) => self.text("version", node)?.unwrap_or_default(),
            None => "",
        };
        if version.is_empty() {
            return Err(Rejection::new(
                Reason::VersionMissing,
                "`version` is missing",
            ));
        }
        let version = Version::parse(version)
            .map_err(|error| Rejection::new(Reason::VersionInvalid, error.message()))?;
        check_key(key, &version)?;

        let mut out = Members(String::with_capacity(1024));
        self.annotations(&mut out)?;
        for field in ["apiVersion", "appVersion", "condition"] {
            if let Some(text) = self.line(field)? {
                out.text(field, &text);
            }
        }
        let created = self.created()?;
        if let Some((_, text)) = &created {
            out.text("created", text);
        }
        self.dependencies(&mut out)?;
        if self.flag("deprecated")? {
            out.raw("deprecated", "true");
        }
        if let Some(text) = self.line("description")? {
            out.text("description", &text);
        }
        let digest = self.digest()?;
        if let Some(digest) = digest {
            out.text("digest", &digest.to_hex());
        }
        for field in ["home", "icon"] {
            if let Some(text) = self.line(field)? {
                out.text(field, &text);
            }
        }
        let keywords = self.lines("keywords")?;
        out.list("keywords", &keywords);
        if let Some(text) = self.line("kubeVersion")? {
            out.text("kubeVersion", &text);
        }
        self.maintainers(&mut out)?;
        out.text("name", &name);
        if self.flag("removed")? {
            out.raw("removed", "true");
        }
        let sources = self.lines("sources")?;
        out.list("sources", &sources);
        if let Some(text) = self.line("tags")? {
            out.text("tags", &text);
        }
        if let Some(kind) = self.line("type")? {
            if !matches!(kind.as_ref(), "application" | "library") {
                return Err(Rejection::new(
                    Reason::TypeInvalid,
                    format!("the type `{}` is unknown", shorten(&kind)),
                ));
            }
            out.text("type", &kind);
        }
        out.text("version", version.as_str());

        let urls = match origin {
            Origin::Index(base) => self.urls(base)?,
            Origin::Archive => Box::default(),
        };
        let entry = Entry {
            name: Arc::clone(key),
            version,
            digest,
            created: created.map(|(time, _)| time),
            urls,
            fragment: out.0.into_boxed_str(),
        };
        Ok((entry, self.repairs))
    }

    /// Annotations, sorted.
    fn annotations(&mut self, out: &mut Members) -> Result<(), Rejection> {
        const FIELD: &str = "annotations";
        let pairs = match self.fields.get(FIELD).copied() {
            None | Some(Node::Null) => return Ok(()),
            Some(Node::Map(pairs)) => pairs,
            // An empty list is what some template engines write for an empty map.
            Some(Node::List(items)) if items.is_empty() => return Ok(()),
            Some(_) => return Err(wrong_type(FIELD)),
        };
        let mut sorted = BTreeMap::new();
        for (key, value) in pairs {
            // Escapes make a key up to six times as long.
            let mut written = String::new();
            push_json(&mut written, key);
            if written.len() > MAX_KEY {
                self.note(Reason::FieldDropped, key);
                continue;
            }
            let text = match value {
                Node::Null => "",
                value => match self.text(key, value)? {
                    Some(text) => text,
                    None => continue,
                },
            };
            if sorted.insert(key.as_ref(), text).is_some() {
                self.note(Reason::DuplicateField, key);
            }
        }
        if sorted.is_empty() {
            return Ok(());
        }
        out.open(FIELD, '{');
        for (position, (key, value)) in sorted.iter().enumerate() {
            if position > 0 {
                out.0.push(',');
            }
            push_json(&mut out.0, key);
            out.0.push(':');
            push_json(&mut out.0, value);
        }
        out.0.push('}');
        Ok(())
    }

    fn created(&mut self) -> Result<Option<(Timestamp, String)>, Rejection> {
        let Some(text) = self.line("created")? else {
            // An empty text breaks strict clients; null and absent do not.
            if matches!(self.fields.get("created"), Some(Node::Text(_))) {
                self.note(Reason::CreatedInvalid, "created is empty");
            }
            return Ok(None);
        };
        let time = if is_rfc3339(&text) {
            text.parse::<Timestamp>().ok()
        } else {
            None
        };
        let (time, written) = match time {
            Some(time) => (Some(time), text.into_owned()),
            None => {
                self.note(Reason::CreatedInvalid, &format!("created: {text}"));
                let time = guess_time(&text);
                (time, time.map(|time| time.to_string()).unwrap_or_default())
            }
        };
        // Go writes year 1 for "unknown".
        let known = time.filter(|time| time.as_second() > -62_135_596_800);
        Ok(known.map(|time| (time, written)))
    }

    fn digest(&mut self) -> Result<Option<Digest>, Rejection> {
        let Some(text) = self.line("digest")? else {
            return Ok(None);
        };
        let digest = text.trim().parse::<Digest>().ok();
        if digest.is_none() {
            self.note(Reason::DigestInvalid, &format!("digest: {text}"));
        }
        Ok(digest)
    }

    fn maintainers(&mut self, out: &mut Members) -> Result<(), Rejection> {
        let records = self.records("maintainers", Reason::MaintainersInvalid)?;
        let mut list = Vec::with_capacity(records.len());
        for record in records {
            let mut item = Members::default();
            for field in ["email", "name", "url"] {
                if let Some(text) = self.record_text(record, "maintainers", field)? {
                    item.text(field, &one_line(text));
                }
            }
            self.unknown_keys(record, "maintainers", &["email", "name", "url"]);
            list.push(item);
        }
        out.records("maintainers", &list);
        Ok(())
    }

    fn dependencies(&mut self, out: &mut Members) -> Result<(), Rejection> {
        let records = self.records("dependencies", Reason::DependenciesInvalid)?;
        let mut list = Vec::with_capacity(records.len());
        for record in records {
            list.push(self.dependency(record)?);
        }
        out.records("dependencies", &list);
        Ok(())
    }

    fn dependency(&mut self, record: Record<'n>) -> Result<Members, Rejection> {
        const FIELD: &str = "dependencies";
        let mut item = Members::default();
        for field in ["alias", "condition"] {
            if let Some(text) = self.record_text(record, FIELD, field)? {
                let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
                if field == "alias" && !text.bytes().all(plain) {
                    return Err(Rejection::new(
                        Reason::DependenciesInvalid,
                        format!("the alias `{}` has disallowed characters", shorten(text)),
                    ));
                }
                item.text(field, &one_line(text));
            }
        }
        match last(record, "enabled") {
            Some(Node::Bare(text)) if text.eq_ignore_ascii_case("true") => {
                item.raw("enabled", "true")
            }
            None | Some(Node::Null) => {}
            Some(Node::Bare(text)) if text.eq_ignore_ascii_case("false") => {}
            Some(_) => self.note(Reason::FieldDropped, "dependencies.enabled"),
        }
        if let Some(text) = last(record, "import-values").and_then(import_values) {
            item.raw("import-values", &text);
        }
        for field in ["name", "repository"] {
            if let Some(text) = self.record_text(record, FIELD, field)? {
                item.text(field, &one_line(text));
            }
        }
        match last(record, "tags") {
            None | Some(Node::Null) => {}
            Some(Node::List(items)) => {
                let tags = self.texts("dependencies.tags", items)?;
                item.list("tags", &tags);
            }
            Some(_) => return Err(wrong_type("dependencies.tags")),
        }
        if let Some(text) = self.record_text(record, FIELD, "version")? {
            item.text("version", &one_line(text));
        }
        self.unknown_keys(
            record,
            FIELD,
            &[
                "alias",
                "condition",
                "enabled",
                "import-values",
                "name",
                "repository",
                "tags",
                "version",
            ],
        );
        Ok(item)
    }

    fn urls(&mut self, base: &Url) -> Result<Box<[Box<str>]>, Rejection> {
        let given = self.lines("urls")?;
        let mut urls = Vec::with_capacity(given.len());
        for text in &given {
            match super::urls::resolve(base, text) {
                Some(url) if urls.len() < MAX_URLS => urls.push(url),
                _ => self.note(Reason::UrlDropped, text),
            }
        }
        match (given.first(), urls.is_empty()) {
            (None, _) => Err(Rejection::new(Reason::UrlsMissing, "there are no URLs")),
            (Some(first), true) => Err(Rejection::new(
                Reason::UrlInvalid,
                format!("the URL `{}` cannot be used", shorten(first)),
            )),
            (Some(_), false) => Ok(urls.into()),
        }
    }
}

/// The key becomes the archive's file name and, in YAML, a simple key.
fn check_key(key: &str, version: &Version) -> Result<(), Rejection> {
    let bad = key.is_empty()
        || key.starts_with('.')
        || key
            .chars()
            .any(|c| c.is_control() || matches!(c, '/' | '\\'))
        || key.len() + 1 + version.as_str().len() > MAX_STEM;
    if bad {
        return Err(Rejection::new(
            Reason::KeyInvalid,
            format!("the key `{}` cannot be part of a file name", shorten(key)),
        ));
    }
    Ok(())
}

/// The list as JSON, where it is one of texts and of `child`/`parent` objects, as Helm expects.
fn import_values(node: &Node<'_>) -> Option<String> {
    let Node::List(items) = node else { return None };
    let mut out = String::from("[");
    for item in items {
        if out.len() > 1 {
            out.push(',');
        }
        match item {
            Node::Text(text) => push_json(&mut out, text),
            Node::Map(pairs) => {
                let mut record = Members::default();
                for field in ["child", "parent"] {
                    if let Some(Node::Text(text)) = last(pairs, field) {
                        record.text(field, text);
                    }
                }
                out.push('{');
                out.push_str(&record.0);
                out.push('}');
            }
            Node::Null | Node::Bare(_) | Node::Lost | Node::List(_) => return None,
        }
    }
    out.push(']');
    (!items.is_empty()).then_some(out)
}
