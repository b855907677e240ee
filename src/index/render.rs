//! The text of one chart in a published index: compact JSON, or YAML whose scalars are all quoted.

use std::fmt::Write as _;
use std::sync::Arc;

use url::Url;

use super::entry::Entry;
use super::text::{push_json, push_segment};
use crate::names::TenantPath;

/// JSON or YAML text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Compact JSON, which every client reads and helm parses fastest (default).
    #[default]
    Json,
    /// YAML with every scalar in double quotes, so that no parser takes text for anything else.
    Yaml,
}

/// How much of each entry is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fields {
    /// Everything that clients know (default).
    #[default]
    Full,
    /// The newest version and the newest release of a chart in full, older ones with the fields that installing needs.
    Slim,
}

/// What an index says of the server (`serverInfo`). Helm and cm-push look up the context path there; strict readers accept both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServerInfo {
    /// The key is left out (default).
    #[default]
    Absent,
    /// An empty section, as ChartMuseum writes it where there is no context path.
    Empty,
    /// `contextPath`: starts with a slash and ends without one.
    ContextPath(Arc<str>),
}

/// How a tenant's index looks. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// JSON or YAML.
    pub format: Format,
    /// Full or slim.
    pub fields: Fields,
    /// Newest versions shown per chart; 0 = all.
    pub keep: usize,
    /// What file names are appended to in chart URLs (see [`charts_url`]); absent: `charts/`, relative to the index.
    pub charts_url: Option<Arc<str>>,
    /// What is said of the server.
    pub server_info: ServerInfo,
}

/// Where a tenant's charts are for clients that want absolute URLs: `<url><context path>/<tenant>/charts/`, percent-encoded.
///
/// ChartMuseum fixes the URLs when a chart is added; here they are made when the index is, so a change of `url` shows at once.
pub fn charts_url(url: &Url, context_path: &str, tenant: &TenantPath) -> Arc<str> {
    let mut base = url.as_str().trim_end_matches('/').to_owned();
    base.push_str(context_path);
    for segment in tenant.as_str().split('/').filter(|path| !path.is_empty()) {
        base.push('/');
        push_segment(&mut base, segment);
    }
    base.push_str("/charts/");
    base.into()
}

impl Style {
    /// How many of `versions` versions are shown.
    pub(super) fn shown(&self, versions: usize) -> usize {
        if self.keep == 0 {
            versions
        } else {
            versions.min(self.keep)
        }
    }

    /// What comes before the first chart.
    pub(super) fn prefix(&self, empty: bool) -> &'static str {
        match (self.format, empty) {
            (Format::Json, _) => "{\"apiVersion\":\"v1\",\"entries\":{",
            (Format::Yaml, false) => "\"apiVersion\": \"v1\"\n\"entries\":\n",
            (Format::Yaml, true) => "\"apiVersion\": \"v1\"\n\"entries\": {}\n",
        }
    }

    /// What comes after the last chart.
    pub(super) fn suffix(&self, generated: jiff::Timestamp) -> String {
        match self.format {
            Format::Json => {
                let info = match &self.server_info {
                    ServerInfo::Absent => String::new(),
                    ServerInfo::Empty => ",\"serverInfo\":{}".to_owned(),
                    ServerInfo::ContextPath(path) => {
                        format!(",\"serverInfo\":{{\"contextPath\":{}}}", quoted(path))
                    }
                };
                format!("}},\"generated\":\"{generated}\"{info}}}\n")
            }
            Format::Yaml => {
                let info = match &self.server_info {
                    ServerInfo::Absent => String::new(),
                    ServerInfo::Empty => "\"serverInfo\": {}\n".to_owned(),
                    ServerInfo::ContextPath(path) => {
                        format!("\"serverInfo\":\n  \"contextPath\": {}\n", quoted(path))
                    }
                };
                format!("\"generated\": \"{generated}\"\n{info}")
            }
        }
    }

    /// The text of one chart. In JSON it starts with a comma, which the first chart of an index leaves out.
    pub(super) fn chart<'e>(
        &self,
        name: &str,
        entries: impl ExactSizeIterator<Item = &'e Arc<Entry>> + Clone,
    ) -> String {
        let shown = self.shown(entries.len());
        // One allocation of nearly the right size: the text stays in memory for as long as the chart does.
        let base = self.charts_url.as_ref().map_or(8, |base| base.len());
        let sizes = entries.clone().take(shown).map(|entry| {
            let name = entry.name.len() + entry.version.as_str().len() + base + 24;
            match self.fields {
                Fields::Full => entry.fragment.len() + name,
                Fields::Slim => 256 + name,
            }
        });
        let mut out = String::with_capacity(sizes.sum::<usize>() + name.len() + 16);
        match self.format {
            Format::Json => out.push(','),
            Format::Yaml => out.push_str("  "),
        }
        push_json(&mut out, name);
        out.push_str(match self.format {
            Format::Json => ":[",
            Format::Yaml => ":\n",
        });
        let mut release_shown = false;
        for (position, entry) in entries.take(shown).enumerate() {
            let newest_release = !release_shown && !entry.version.is_prerelease();
            release_shown |= newest_release;
            let full = self.fields == Fields::Full || position == 0 || newest_release;
            match self.format {
                Format::Json => {
                    out.push_str(if position == 0 { "{" } else { ",{" });
                    if full {
                        out.push_str(&entry.fragment);
                    } else {
                        push_slim(&mut out, &entry.fragment);
                    }
                    out.push_str(",\"urls\":[");
                    self.push_url(&mut out, entry);
                    out.push_str("]}");
                }
                Format::Yaml => {
                    let mut slim = String::new();
                    let members = if full {
                        &entry.fragment
                    } else {
                        push_slim(&mut slim, &entry.fragment);
                        slim.as_str()
                    };
                    push_yaml_members(&mut out, members, 4, true);
                    out.push_str("    \"urls\":\n    - ");
                    self.push_url(&mut out, entry);
                    out.push('\n');
                }
            }
        }
        if self.format == Format::Json {
            out.push(']');
        }
        out.shrink_to_fit();
        out
    }

    /// The URL of an archive, in quotation marks. Both of its parts need no escapes in JSON: they are percent-encoded.
    pub(super) fn push_url(&self, out: &mut String, entry: &Entry) {
        out.push('"');
        out.push_str(self.charts_url.as_deref().unwrap_or("charts/"));
        push_segment(out, &entry.name);
        out.push('-');
        push_segment(out, entry.version.as_str());
        out.push_str(".tgz\"");
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_json(&mut out, text);
    out
}

/// The members that installing needs. Annotations stay where they mark a KubeVela addon: vela reads its requirements there.
fn push_slim(out: &mut String, fragment: &str) {
    let mut first = true;
    for (key, value) in members(fragment) {
        let wanted = match key {
            "\"apiVersion\"" | "\"appVersion\"" | "\"created\"" | "\"digest\"" | "\"name\""
            | "\"version\"" => true,
            "\"annotations\"" => members(inside(value)).any(|(key, _)| key == "\"addon.name\""),
            _ => false,
        };
        if wanted {
            if !first {
                out.push(',');
            }
            first = false;
            let _ = write!(out, "{key}:{value}");
        }
    }
}

/// The members of an object as (quoted key, value) in the JSON that cleaning writes: without white space.
fn members(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let key_end = value_end(rest)?;
        let (key, after) = rest.split_at(key_end);
        let after = after.strip_prefix(':')?;
        let (value, after) = after.split_at(value_end(after)?);
        rest = after.strip_prefix(',').unwrap_or(after);
        Some((key, value))
    })
}

/// The items of a list in the same JSON.
fn items(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (item, after) = rest.split_at(value_end(rest)?);
        rest = after.strip_prefix(',').unwrap_or(after);
        Some(item)
    })
}

/// What is between the brackets of a list or object.
fn inside(value: &str) -> &str {
    value
        .get(1..value.len().saturating_sub(1))
        .unwrap_or_default()
}

/// Where the first value of `text` ends; `None` where there is none.
fn value_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at += 1;
                while *bytes.get(at)? != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b',' if depth == 0 => return Some(at),
            _ => {}
        }
        at += 1;
    }
    (at > 0).then_some(at)
}

/// Members as block YAML. JSON strings are double-quoted YAML scalars, so only the structure is written anew.
fn push_yaml_members(out: &mut String, text: &str, indent: usize, dash: bool) {
    let mut dash = dash;
    for (key, value) in members(text) {
        push_indent(out, if dash { indent - 2 } else { indent });
        if dash {
            out.push_str("- ");
            dash = false;
        }
        out.push_str(key);
        out.push(':');
        match value.as_bytes().first() {
            Some(b'{') => {
                out.push('\n');
                push_yaml_members(out, inside(value), indent + 2, false);
            }
            Some(b'[') => {
                out.push('\n');
                for item in items(inside(value)) {
                    if item.starts_with('{') {
                        push_yaml_members(out, inside(item), indent + 2, true);
                        if item == "{}" {
                            push_indent(out, indent);
                            out.push_str("- {}\n");
                        }
                    } else {
                        push_indent(out, indent);
                        out.push_str("- ");
                        out.push_str(item);
                        out.push('\n');
                    }
                }
            }
            _ => {
                out.push(' ');
                out.push_str(value);
                out.push('\n');
            }
        }
    }
}

fn push_indent(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

#[cfg(test)]
mod tests {
    use super::super::testing::entry_with;
    use super::*;

    fn entries() -> Vec<Arc<Entry>> {
        let long = "\"description\":\"a, {b} [c] \\\"d\\\\\",\"keywords\":[\"x\",\"y\"],\"maintainers\":[{\"email\":\"e\",\"name\":\"n\"},{}],";
        [
            ("2.0.0-rc1", format!("\"annotations\":{{\"a.b/c\":\"1.10\"}},{long}\"name\":\"app\",\"version\":\"2.0.0-rc1\"")),
            ("1.1.0+x", format!("\"annotations\":{{\"k\":\"v\"}},{long}\"name\":\"app\",\"version\":\"1.1.0+x\"")),
            ("1.0.0", format!("\"annotations\":{{\"k\":\"v\"}},{long}\"name\":\"app\",\"version\":\"1.0.0\"")),
            ("0.9.0", format!("\"annotations\":{{\"addon.name\":\"v\"}},\"deprecated\":true,{long}\"name\":\"app\",\"version\":\"0.9.0\"")),
        ]
        .into_iter()
        .map(|(version, fragment)| Arc::new(entry_with("app", version, &fragment)))
        .collect()
    }

    fn document(style: &Style) -> String {
        let chart = style.chart("app", entries().iter());
        let body = match style.format {
            Format::Json => &chart[1..],
            Format::Yaml => &chart,
        };
        format!(
            "{}{body}{}",
            style.prefix(false),
            style.suffix(jiff::Timestamp::UNIX_EPOCH)
        )
    }

    #[test]
    fn yaml_says_what_json_says() {
        for (fields, keep) in [(Fields::Full, 0), (Fields::Slim, 0), (Fields::Full, 2)] {
            let json: serde_json::Value = {
                serde_json::from_str(&document(&Style {
                    fields,
                    keep,
                    ..Style::default()
                }))
                .expect("json")
            };
            let text = document(&Style {
                format: Format::Yaml,
                fields,
                keep,
                ..Style::default()
            });
            let yaml: serde_json::Value = serde_yaml::from_str(&text).expect(&text);
            assert_eq!(json, yaml, "{text}");
        }
    }

    #[test]
    fn urls_are_relative_and_keep_plus() {
        let json: serde_json::Value =
            serde_json::from_str(&document(&Style::default())).expect("json");
        assert_eq!(
            json["entries"]["app"][1]["urls"],
            serde_json::json!(["charts/app-1.1.0+x.tgz"])
        );
        assert_eq!(json["apiVersion"], "v1");
        assert_eq!(json["generated"], "1970-01-01T00:00:00Z");
    }

    #[test]
    fn slim_keeps_the_newest_in_full_and_addons_readable() {
        let style = Style {
            fields: Fields::Slim,
            ..Style::default()
        };
        let json: serde_json::Value = serde_json::from_str(&document(&style)).expect("json");
        let list = json["entries"]["app"].as_array().expect("list");
        assert!(list[0]["description"].is_string() && list[1]["description"].is_string());
        assert_eq!(
            list[2],
            serde_json::json!({"name": "app", "version": "1.0.0", "urls": ["charts/app-1.0.0.tgz"]})
        );
        assert_eq!(list[3]["annotations"]["addon.name"], "v");
    }

    #[test]
    fn keep_shows_the_newest() {
        let style = Style {
            keep: 3,
            ..Style::default()
        };
        let json: serde_json::Value = serde_json::from_str(&document(&style)).expect("json");
        assert_eq!(json["entries"]["app"].as_array().expect("list").len(), 3);
    }

    #[test]
    fn absolute_urls_and_what_is_said_of_the_server() {
        let url: Url = "https://c.example.com/base/".parse().expect("a url");
        let tenant = TenantPath::parse_any("org 1/repo").expect("a path");
        for (server_info, expected) in [
            (ServerInfo::Absent, serde_json::Value::Null),
            (ServerInfo::Empty, serde_json::json!({})),
            (
                ServerInfo::ContextPath("/helm".into()),
                serde_json::json!({"contextPath": "/helm"}),
            ),
        ] {
            let style = |format| Style {
                format,
                charts_url: Some(charts_url(&url, "/helm", &tenant)),
                server_info: server_info.clone(),
                ..Style::default()
            };
            let json: serde_json::Value =
                serde_json::from_str(&document(&style(Format::Json))).expect("json");
            let text = document(&style(Format::Yaml));
            let yaml: serde_json::Value = serde_yaml::from_str(&text).expect(&text);
            assert_eq!(json, yaml, "{text}");
            assert_eq!(
                json.get("serverInfo"),
                Some(&expected).filter(|v| !v.is_null())
            );
            assert_eq!(
                json["entries"]["app"][1]["urls"][0],
                "https://c.example.com/base/helm/org%201/repo/charts/app-1.1.0+x.tgz"
            );
        }
        assert_eq!(
            &*charts_url(&url, "", &TenantPath::root()),
            "https://c.example.com/base/charts/"
        );
    }
}
