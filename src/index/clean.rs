//! One entry cleaned: Helm's rules for what is listed, and ours for what every client can read (spec/clients.md §0).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use url::Url;

use super::entry::Entry;
use super::report::Reason;
use super::text::{one_line, push_json};
use crate::chart::Version;
use crate::chart::node::Node;
use crate::digest::Digest;

/// The longest key that clients read: libyaml and go-yaml refuse simple keys of 1024 bytes.
const MAX_KEY: usize = 1000;
/// The longest file name without `.tgz.prov`, so that it fits the file systems it will be kept on.
const MAX_STEM: usize = 240;
/// URLs kept per entry.
const MAX_URLS: usize = 32;

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
    let mut cleaner = Cleaner {
        fields: BTreeMap::new(),
        repairs: Vec::new(),
    };
    cleaner.collect(pairs);
    let version = match cleaner.fields.get("version") {
        Some(Node::Text(text) | Node::Bare(text)) => text.as_ref(),
        _ => "",
    };
    let version: Box<str> = shorten(version).into();
    cleaner.entry(key, origin).map_err(|rejection| Rejection {
        version,
        ..rejection
    })
}

struct Cleaner<'n> {
    fields: BTreeMap<&'n str, &'n Node<'n>>,
    repairs: Vec<Repair>,
}

impl<'n> Cleaner<'n> {
    fn collect(&mut self, pairs: &'n [(Cow<'n, str>, Node<'n>)]) {
        for (key, value) in pairs {
            match crate::chart::node::entry_shape(key) {
                crate::chart::node::Shape::Unknown => self.note(Reason::UnknownField, key),
                crate::chart::node::Shape::Ignored => {}
                _ => {
                    if self.fields.insert(key, value).is_some() {
                        self.note(Reason::DuplicateField, key);
                    }
                }
            }
        }
    }

    fn note(&mut self, reason: Reason, detail: &str) {
        if self.repairs.len() < 16 {
            self.repairs.push((reason, shorten(detail).into()));
        }
    }

    /// The text of a scalar; `None` for null.
    fn text(&mut self, field: &str, node: &'n Node<'n>) -> Result<Option<&'n str>, Rejection> {
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
    fn line(&mut self, field: &'static str) -> Result<Option<Cow<'n, str>>, Rejection> {
        let Some(node) = self.fields.get(field).copied() else {
            return Ok(None);
        };
        let text = self.text(field, node)?;
        Ok(text.filter(|text| !text.is_empty()).map(one_line))
    }

    fn flag(&mut self, field: &'static str) -> Result<bool, Rejection> {
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

    fn lines(&mut self, field: &'static str) -> Result<Vec<Cow<'n, str>>, Rejection> {
        let items = match self.fields.get(field).copied() {
            None | Some(Node::Null) => return Ok(Vec::new()),
            Some(Node::List(items)) => items,
            Some(_) => return Err(wrong_type(field)),
        };
        self.texts(field, items)
    }

    fn texts(
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
        let addon = self.pairs("annotations", &mut out)?;
        debug_assert!(!addon || out.0.contains("addon.name"));
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

    /// Annotations, sorted; says whether they mark a KubeVela addon.
    fn pairs(&mut self, field: &'static str, out: &mut Members) -> Result<bool, Rejection> {
        let pairs = match self.fields.get(field).copied() {
            None | Some(Node::Null) => return Ok(false),
            Some(Node::Map(pairs)) => pairs,
            // An empty list is what some template engines write for an empty map.
            Some(Node::List(items)) if items.is_empty() => return Ok(false),
            Some(_) => return Err(wrong_type(field)),
        };
        let mut sorted = BTreeMap::new();
        for (key, value) in pairs {
            if key.len() > MAX_KEY {
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
            return Ok(false);
        }
        out.open(field, '{');
        for (position, (key, value)) in sorted.iter().enumerate() {
            if position > 0 {
                out.0.push(',');
            }
            push_json(&mut out.0, key);
            out.0.push(':');
            push_json(&mut out.0, value);
        }
        out.0.push('}');
        Ok(sorted.contains_key("addon.name"))
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

    fn records(&self, field: &'static str, null: Reason) -> Result<Vec<Record<'n>>, Rejection> {
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

    fn record_text(
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

    fn unknown_keys(&mut self, record: Record<'n>, field: &str, known: &[&str]) {
        for (key, _) in record {
            if !known.contains(&key.as_ref()) {
                self.note(Reason::UnknownField, &format!("{field}.{key}"));
            }
        }
    }

    fn urls(&mut self, base: &Url) -> Result<Box<[Box<str>]>, Rejection> {
        let given = self.lines("urls")?;
        let mut urls = Vec::with_capacity(given.len());
        for text in &given {
            match resolve(base, text) {
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

type Record<'n> = &'n [(Cow<'n, str>, Node<'n>)];

fn last<'n>(record: Record<'n>, key: &str) -> Option<&'n Node<'n>> {
    record
        .iter()
        .rev()
        .find_map(|(name, value)| (name == key).then_some(value))
}

fn wrong_type(field: &str) -> Rejection {
    Rejection::new(
        Reason::FieldType,
        format!("`{}` has the wrong type", shorten(field)),
    )
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
    (items.len() > 0).then_some(out)
}

/// The absolute form of a chart URL. Helm's rule: a relative one takes over the query of the repository's URL.
///
/// Schemes other than http, https and oci count only where the index itself came from there, so that a remote index
/// cannot name local files.
fn resolve(base: &Url, text: &str) -> Option<Box<str>> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(url::ParseError::RelativeUrlWithoutBase) => {
            let mut url = base.join(text).ok()?;
            if base.query().is_some() {
                url.set_query(base.query());
            }
            url
        }
        Err(_) => return None,
    };
    let usable = matches!(url.scheme(), "http" | "https" | "oci") || url.scheme() == base.scheme();
    (usable && url.as_str().len() <= 8192).then(|| url.as_str().into())
}

/// Whether Go's `time.RFC3339` reads it.
fn is_rfc3339(text: &str) -> bool {
    let digits = |range: std::ops::Range<usize>| {
        text.as_bytes()
            .get(range)
            .is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    let bytes = text.as_bytes();
    let sign = |at: usize, sign: u8| bytes.get(at) == Some(&sign);
    if !(digits(0..4)
        && sign(4, b'-')
        && digits(5..7)
        && sign(7, b'-')
        && digits(8..10)
        && sign(10, b'T')
        && digits(11..13)
        && sign(13, b':')
        && digits(14..16)
        && sign(16, b':')
        && digits(17..19))
        || sign(17, b'6')
    {
        return false;
    }
    let rest = &bytes[19..];
    let rest = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let end = fraction
                .iter()
                .position(|b| !b.is_ascii_digit())
                .unwrap_or(fraction.len());
            if end == 0 {
                return false;
            }
            &fraction[end..]
        }
        None => rest,
    };
    match rest {
        b"Z" => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].into_iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// Reads the times that people and other languages write; those without a zone count as UTC.
fn guess_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    // Go's `Time.String()`: `2019-01-01 10:00:00.5 +0000 UTC`.
    let mut words = text.split_whitespace();
    if let (Some(date), Some(time), Some(zone)) = (words.next(), words.next(), words.next())
        && let Ok(time) = format!("{date}T{time}{zone}").parse::<Timestamp>()
    {
        return Some(time);
    }
    let civil = text
        .parse::<DateTime>()
        .or_else(|_| text.parse::<Date>().map(DateTime::from))
        .ok()?;
    civil
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()
        .map(|zoned| zoned.timestamp())
}

/// At most 120 bytes of a text, for reports.
pub(super) fn shorten(text: &str) -> &str {
    let mut end = text.len().min(120);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The members of a JSON object that is being written.
#[derive(Debug, Default)]
struct Members(String);

impl Members {
    fn key(&mut self, key: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push('"');
        self.0.push_str(key);
        self.0.push_str("\":");
    }

    fn text(&mut self, key: &str, text: &str) {
        self.key(key);
        push_json(&mut self.0, text);
    }

    fn raw(&mut self, key: &str, json: &str) {
        self.key(key);
        self.0.push_str(json);
    }

    fn open(&mut self, key: &str, bracket: char) {
        self.key(key);
        self.0.push(bracket);
    }

    fn list(&mut self, key: &str, items: &[Cow<'_, str>]) {
        if items.is_empty() {
            return;
        }
        self.open(key, '[');
        for (position, item) in items.iter().enumerate() {
            if position > 0 {
                self.0.push(',');
            }
            push_json(&mut self.0, item);
        }
        self.0.push(']');
    }

    fn records(&mut self, key: &str, items: &[Self]) {
        if items.is_empty() {
            return;
        }
        self.open(key, '[');
        for (position, item) in items.iter().enumerate() {
            if position > 0 {
                self.0.push(',');
            }
            self.0.push('{');
            self.0.push_str(&item.0);
            self.0.push('}');
        }
        self.0.push(']');
    }
}
