//! `upstreams:`

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::section::{Section, Value};
use super::{
    Client, OnDigestMismatch, Source, Upstream, UpstreamAuth, buckets, client, registries, units,
};
use crate::oci::RepoName;

/// The kinds of the contract.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Helm,
    Dir,
    S3,
    Oci,
    Later,
}

pub(super) fn read(value: Option<&Value<'_>>) -> Read {
    let mut read = Read::default();
    for (name, value) in value.into_iter().flat_map(Value::named) {
        let name: Arc<str> = Arc::from(name);
        if !is_name(&name) {
            value.mistake(
                "the name of an upstream is made of letters, digits, `.`, `_` and `-`, at most 128",
            );
        }
        read.names.push(Arc::clone(&name));
        let (kind, upstream) = upstream(&name, &value);
        if let Some(is_registry) = kind {
            read.registries.insert(Arc::clone(&name), is_registry);
        }
        if let Some(upstream) = upstream {
            read.upstreams.insert(name, upstream);
        }
    }
    read
}

/// What `upstreams:` says.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Those without mistakes.
    pub(super) upstreams: BTreeMap<Arc<str>, Upstream>,
    /// All names, so that a mistake in an upstream does not look like another one in every tenant that uses it.
    pub(super) names: Vec<Arc<str>>,
    /// Whether they are registries, as far as they say what they are.
    pub(super) registries: BTreeMap<Arc<str>, bool>,
}

/// Names stand in metrics, routes of the admin listener and file names.
fn is_name(name: &str) -> bool {
    name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Whether it is a registry, and what it is where it has no mistakes.
fn upstream(name: &Arc<str>, value: &Value<'_>) -> (Option<bool>, Option<Upstream>) {
    let Some(mut section) = value.section() else {
        return (None, None);
    };
    let url = section.take("url");
    let kind = match section.take("type") {
        Some(value) => kind(&value),
        None => by_scheme(url.as_ref()),
    };
    if kind == Some(Type::Later) {
        // Its keys are in words that are not known yet; the type is the mistake.
        return (None, None);
    }
    if url.is_none() {
        section.mistake("`url` is missing");
    }
    let client = match kind {
        Some(Type::Dir) => {
            let reason = "has no meaning for a folder; it belongs to upstreams of type `helm`, `s3` and `oci`";
            for key in ["timeout", "proxy", "tls", "auth", "allow_private"] {
                section.refuse(key, reason);
            }
            Client {
                timeout: DEFAULT_TIMEOUT,
                ..Client::default()
            }
        }
        _ => client(&mut section),
    };
    let client = match kind {
        Some(Type::Dir | Type::S3) => {
            section.refuse("budget", "belongs to upstreams of type `helm` and `oci`");
            client
        }
        _ => Client {
            budget: client::read_budget(&mut section),
            ..client
        },
    };
    let upstream = match kind {
        Some(Type::Oci) => registry(name, &mut section, url.as_ref(), client),
        _ => charts(name, &mut section, kind, url.as_ref(), client),
    };
    section.finish();
    (kind.map(|kind| kind == Type::Oci), upstream)
}

fn registry(
    name: &Arc<str>,
    section: &mut Section<'_>,
    url: Option<&Value<'_>>,
    client: Client,
) -> Option<Upstream> {
    if !RepoName::parse(name).is_ok_and(|name| name.is_single()) {
        section.mistake(
            "the name of a registry is part of repositories' names: write lower-case letters and digits, with `.`, `_` or `-` between them",
        );
    }
    let (source, keep_removed) = registries::read(section, url, &client);
    Some(Upstream {
        name: Arc::clone(name),
        source: source?,
        refresh: DEFAULT_REFRESH,
        timeout: client.timeout,
        client,
        on_digest_mismatch: OnDigestMismatch::Reject,
        keep_removed,
        max_shrink: DEFAULT_SHRINK,
    })
}

fn charts(
    name: &Arc<str>,
    section: &mut Section<'_>,
    kind: Option<Type>,
    url: Option<&Value<'_>>,
    mut client: Client,
) -> Option<Upstream> {
    let refresh = section
        .take("refresh")
        .and_then(|value| {
            value.parsed(|text| match units::duration(text)? {
                // Every refresh is a request; a loop without a pause would be an attack.
                short if short < Duration::from_secs(1) => Err("at least `1s`".into()),
                refresh => Ok(refresh),
            })
        })
        .unwrap_or(DEFAULT_REFRESH);
    let source = if kind == Some(Type::S3) {
        buckets::read(section, url, &client)
    } else {
        if kind != Some(Type::Dir) {
            client.auth = section.take("auth").and_then(|value| auth(&value));
        }
        let reason = "belongs to upstreams of type `s3`";
        for key in ["bucket", "endpoint", "region", "path_style"] {
            section.refuse(key, reason);
        }
        url.and_then(|url| source(kind, url))
    };
    let on_digest_mismatch = section.choice(
        "on_digest_mismatch",
        OnDigestMismatch::Reject,
        &[
            ("reject", OnDigestMismatch::Reject),
            ("serve", OnDigestMismatch::Serve),
        ],
    );
    let keep_removed = section.boolean("keep_removed", true);
    let max_shrink = section.parsed_or("max_shrink", DEFAULT_SHRINK, units::share);
    registries::refuse(section);
    Some(Upstream {
        name: Arc::clone(name),
        source: source?,
        refresh,
        timeout: client.timeout,
        client,
        on_digest_mismatch,
        keep_removed,
        max_shrink,
    })
}

const DEFAULT_REFRESH: Duration = Duration::from_mins(5);

const DEFAULT_SHRINK: f64 = 0.5;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

fn kind(value: &Value<'_>) -> Option<Type> {
    let kind = value.choice(&[
        ("helm", Type::Helm),
        ("dir", Type::Dir),
        ("s3", Type::S3),
        ("git", Type::Later),
        ("oci", Type::Oci),
    ])?;
    if kind == Type::Later {
        value.mistake(format!(
            "`{}`: not supported yet; use `helm`, `dir`, `s3` or `oci`",
            value.spelling()
        ));
    }
    Some(kind)
}

/// What a URL says without a `type`. Registries have the same schemes as chart repositories; only `oci://` is theirs alone.
fn by_scheme(url: Option<&Value<'_>>) -> Option<Type> {
    let text = url?.spelling();
    match text.split_once("://")?.0 {
        "s3" => Some(Type::S3),
        "oci" => Some(Type::Oci),
        "file" => Some(Type::Dir),
        "http" | "https" => Some(Type::Helm),
        _ => None,
    }
}

fn source(kind: Option<Type>, value: &Value<'_>) -> Option<Source> {
    let text = value.text()?;
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    match (kind, scheme) {
        (Some(Type::Dir) | None, Some("file")) => folder_url(value, &text),
        (Some(Type::Dir), None) => value.path_beside_file().map(Source::Dir),
        (Some(Type::Helm) | None, Some("http" | "https")) => helm_url(value, &text),
        (None, None) => {
            value.mistake("without `type` this must be an http, https, s3, oci or file URL; for a folder add `type: dir`");
            None
        }
        (_, Some("oci")) => {
            value.mistake("this is a registry; write `type: oci`");
            None
        }
        (Some(Type::Dir), Some(_)) => {
            value.mistake("a `dir` upstream is a path or a `file://` URL");
            None
        }
        (_, Some(scheme)) => {
            value.mistake(format!(
                "scheme `{scheme:.20}` is not supported; use http or https, `type: s3` for a bucket, or `type: dir` for a folder"
            ));
            None
        }
        (Some(_), None) => {
            value.mistake("write a URL such as `https://charts.example.com/stable`");
            None
        }
    }
}

fn folder_url(value: &Value<'_>, text: &str) -> Option<Source> {
    let path = Url::parse(text)
        .ok()
        .and_then(|url| url.to_file_path().ok());
    match path {
        Some(path) => Some(Source::Dir(path)),
        None => {
            value.mistake("write the folder as `file:///absolute/path`, or as a path");
            None
        }
    }
}

fn helm_url(value: &Value<'_>, text: &str) -> Option<Source> {
    let mut url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => {
            value.mistake(format!("not a URL: {error}"));
            return None;
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        // URLs are logged and shown; credentials must not be part of them.
        value.mistake("credentials in the URL would be logged; give them under `auth`");
        return None;
    }
    if url.path().ends_with("/index.yaml") {
        value.mistake("give the folder of the repository, without `index.yaml`");
        return None;
    }
    if url.fragment().is_some() {
        value.mistake("a URL with `#` cannot be a repository; leave the fragment out");
        return None;
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Some(Source::Helm(url))
}

pub(super) fn client(section: &mut Section<'_>) -> Client {
    let timeout = section
        .take("timeout")
        .and_then(|value| {
            value.parsed(|text| match units::duration(text)? {
                Duration::ZERO => Err("more than zero".into()),
                timeout => Ok(timeout),
            })
        })
        .unwrap_or(DEFAULT_TIMEOUT);
    let proxy = section
        .take("proxy")
        .and_then(|value| value.parsed_secretly(proxy_url));
    let allow_private = section.boolean("allow_private", false);
    let mut client = Client {
        proxy,
        allow_private,
        timeout,
        ..Client::default()
    };
    if let Some(value) = section.take("tls") {
        tls(&value, &mut client);
    }
    client
}

/// A proxy's URL may hold its credentials, so no message shows it.
pub(super) fn proxy_url(text: &str) -> Result<Url, String> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| "write the proxy as `http://proxy.example.com:3128`".into())
}

pub(super) fn tls(value: &Value<'_>, client: &mut Client) {
    let Some(mut section) = value.section() else {
        return;
    };
    client.ca_file = section
        .take("ca_file")
        .and_then(|value| value.readable_file());
    client.insecure_skip_verify = section.boolean("insecure_skip_verify", false);
    let certificate = section.take("cert_file");
    let key = section.take("key_file");
    client.identity = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let certificate = certificate.readable_file();
            let key = key.readable_file();
            certificate.zip(key)
        }
        (None, None) => None,
        (Some(_), None) => {
            section.mistake("`cert_file` needs `key_file`");
            None
        }
        (None, Some(_)) => {
            section.mistake("`key_file` needs `cert_file`");
            None
        }
    };
    if client.insecure_skip_verify && client.ca_file.is_some() {
        section.mistake("`ca_file` means nothing with `insecure_skip_verify: true`; keep one");
    }
    section.finish();
}

fn auth(value: &Value<'_>) -> Option<UpstreamAuth> {
    let mut section = value.section()?;
    let username = section.take("username");
    let password = section.secret("password", "password_file");
    let token = section.secret("token", "token_file");
    let name = match &username {
        Some(value) => Some(value.parsed(user_name)?),
        None => None,
    };
    let (password, token) = (password.ok()?, token.ok()?);
    let auth = match (name, password, token) {
        (Some(name), Some(password), None) => Some(UpstreamAuth::Basic(name, password)),
        (None, None, Some(token)) => Some(UpstreamAuth::Bearer(token)),
        (Some(_), None, None) => {
            section.mistake("`username` needs `password_file` or `password`");
            None
        }
        (None, Some(_), None) => {
            section.mistake("`password` needs `username`");
            None
        }
        (None, None, None) => {
            section.mistake("give `username` and `password_file`, or `token_file`");
            None
        }
        (_, _, Some(_)) => {
            section.mistake("a token and a user contradict each other; keep one");
            None
        }
    };
    section.finish();
    auth
}

/// RFC 7617: a colon would end the name.
pub(super) fn user_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(|c: char| c == ':' || c.is_control()) {
        Err("a user name is not empty and has no `:`".into())
    } else {
        Ok(text.to_owned())
    }
}
