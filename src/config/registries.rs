//! `type: oci` upstreams: the keys that only registries have.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::mistakes::listed;
use super::section::{Section, Told, Value};
use super::tenants::globs;
use super::upstreams::user_name;
use super::{Client, Oci, OciAuth, Secret, Source, namespace, units};
use crate::oci::RepoName;

/// The keys of `upstreams.<name>` that only registries have.
const KEYS: [&str; 11] = [
    "tag_ttl",
    "list_ttl",
    "max_stale",
    "max_stale_denied",
    "max_manifest",
    "max_blob",
    "hosts",
    "include",
    "exclude",
    "share",
    "charts",
];

/// Refuses what only registries have, in an upstream of another type.
pub(super) fn refuse(section: &mut Section<'_>) {
    for key in KEYS {
        section.refuse(key, "belongs to upstreams of type `oci`");
    }
}

/// Reads the keys that only registries have. `type`, `url` and those of `client` have been taken from `section` already.
///
/// The second value is `keep_removed`, whose default is another one than that of charts.
pub(super) fn read(
    section: &mut Section<'_>,
    url: Option<&Value<'_>>,
    client: &Client,
) -> (Option<Source>, bool) {
    for (key, instead) in [
        ("refresh", "`tag_ttl` and `list_ttl`"),
        ("max_shrink", "nothing"),
        (
            "on_digest_mismatch",
            "nothing: wrong bytes are always refused",
        ),
    ] {
        section.refuse(
            key,
            &format!("belongs to chart repositories; a registry has {instead}"),
        );
    }
    for key in ["bucket", "endpoint", "region", "path_style"] {
        section.refuse(key, "belongs to upstreams of type `s3`");
    }
    let address = url.and_then(address);
    let hosts = section.take("hosts").map(|value| {
        let hosts = value.items();
        hosts.iter().filter_map(host).collect::<Vec<_>>()
    });
    let auth = section.take("auth").map(|value| credentials(&value));
    let tag_ttl = section.parsed_or("tag_ttl", Some(FRESH), |text| match text {
        "never" => Ok(None),
        _ => units::duration(text)
            .map(Some)
            .map_err(|hint| format!("{hint}; `never` to ask no more for a tag that is held")),
    });
    let list_ttl = section.duration("list_ttl", FRESH);
    let max_stale = section
        .take("max_stale")
        .and_then(|value| value.parsed(units::duration));
    let max_stale_denied = section.duration("max_stale_denied", Duration::from_hours(1));
    let keep_removed = section.boolean("keep_removed", false);
    let max_manifest = section.parsed_or("max_manifest", 8 << 20, manifest_size);
    let max_blob = section.parsed_or("max_blob", 50 << 30, blob_size);
    let include = globs(section, "include");
    let exclude = globs(section, "exclude");
    let share = section.boolean("share", auth.is_none());
    section.later("charts");
    let read = || {
        let (url, prefix) = address?;
        let (auth, token_realms) = match auth {
            None => (None, Vec::new()),
            Some(read) => read.map(|(auth, realms)| (Some(auth), realms))?,
        };
        if url.scheme() == "http" && (client.ca_file.is_some() || client.identity.is_some()) {
            section.mistake(
                "`tls` means nothing for an http registry; write `https://` or take it away",
            );
        }
        let own = namespace::of(&url);
        Some(Source::Oci(Box::new(Oci {
            hosts: all_names(hosts.unwrap_or_else(|| own.into_iter().collect())),
            url,
            prefix,
            auth,
            token_realms,
            tag_ttl,
            list_ttl,
            max_stale,
            max_stale_denied,
            keep_removed,
            max_manifest,
            max_blob,
            include,
            exclude,
            share,
        })))
    };
    (read(), keep_removed)
}

const FRESH: Duration = Duration::from_mins(5);

/// Where the API lies, and what all repositories lie below.
///
/// The path is the prefix, as in a name that people write; a path with `v2` in it is written as requests are, and says both.
fn address(value: &Value<'_>) -> Option<(Url, Option<RepoName>)> {
    let text = value.text()?;
    let text = match text.strip_prefix("oci://") {
        Some(rest) => format!("https://{rest}"),
        None => text,
    };
    let mut url = match units::plain_url(&text) {
        Ok(url) => url,
        Err(_) if !text.contains("://") => {
            value.mistake("write the registry as a URL, such as `https://registry.example.com`");
            return None;
        }
        Err(message) => {
            // It may hold a password.
            value.mistake(message.replace("charts.example.com", "registry.example.com"));
            return None;
        }
    };
    let path = url.path().trim_matches('/').to_owned();
    let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (api, prefix) = match segments.iter().position(|part| *part == "v2") {
        Some(cut) => (segments[..cut].join("/"), segments[cut + 1..].join("/")),
        None => (String::new(), segments.join("/")),
    };
    url.set_path(&api);
    if prefix.is_empty() {
        return Some((url, None));
    }
    match RepoName::parse(&prefix) {
        Ok(prefix) => Some((url, Some(prefix))),
        Err(error) => {
            value.mistake(format!(
                "the path is what all repositories lie below, and {}",
                error.message()
            ));
            None
        }
    }
}

fn host(value: &Value<'_>) -> Option<String> {
    value.parsed(|text| {
        namespace::normalized(text)
            .ok_or_else(|| "write a host, with its port where clients write one".into())
    })
}

/// Whoever means Docker Hub by one of its names means it by all.
fn all_names(mut hosts: Vec<String>) -> Vec<String> {
    let is_hub = |host: &String| namespace::DOCKER_HUB.contains(&host.as_str());
    if hosts.iter().any(is_hub) {
        hosts.extend(namespace::DOCKER_HUB.map(str::to_owned));
    }
    let mut seen = std::collections::BTreeSet::new();
    hosts.retain(|host| seen.insert(host.clone()));
    hosts
}

/// A manifest is held in memory while it is checked.
pub(super) fn manifest_size(text: &str) -> Result<u64, String> {
    match units::size(text)? {
        size @ 1..=0x0800_0000 => Ok(size),
        _ => Err("from one byte to `128MiB`; clients expect `4MiB` at least".into()),
    }
}

pub(super) fn blob_size(text: &str) -> Result<u64, String> {
    match units::size(text)? {
        0 => Err("more than zero".into()),
        size => Ok(size),
    }
}

/// `auth`, and its `token_realms`. `None`: something is wrong with it, which was told.
fn credentials(value: &Value<'_>) -> Option<(OciAuth, Vec<String>)> {
    let mut section = value.section()?;
    let username = section.take("username");
    let user = username.as_ref().map(|value| value.parsed(user_name));
    let password = section.secret("password", "password_file");
    let token = section.secret("token", "token_file");
    let refresh = section.secret("refresh_token", "refresh_token_file");
    let helper = section.take("helper").map(|value| program(&value));
    let renew = section.take("helper_renew");
    let life = renew.as_ref().map(|value| {
        value.parsed(|text| match units::duration(text)? {
            short if short < Duration::from_secs(1) => Err("at least `1s`".into()),
            life => Ok(life),
        })
    });
    let realms = section.take("token_realms").map(|value| {
        let items = value.items();
        items.iter().filter_map(realm).collect::<Vec<_>>()
    });
    if renew.is_some() && helper.is_none() {
        section.mistake("`helper_renew` needs `helper`");
    }
    let secrets = [
        ("password_file", is_given(&password)),
        ("token_file", is_given(&token)),
        ("refresh_token_file", is_given(&refresh)),
        ("helper", helper.is_some()),
    ];
    let given: Vec<&str> = secrets
        .iter()
        .filter(|(_, given)| *given)
        .map(|(key, _)| *key)
        .collect();
    let auth = match given.as_slice() {
        [] if username.is_some() => {
            section.mistake("`username` needs `password_file` or `refresh_token_file`");
            None
        }
        [] => {
            section.mistake(
                "give `username` and `password_file`, or one of `token_file`, `refresh_token_file` and `helper`",
            );
            None
        }
        [_] => match (helper, refresh.ok()?, token.ok()?, password.ok()?) {
            (Some(_), ..) | (None, None, Some(_), _) if username.is_some() => {
                section.mistake(format!(
                    "`{}` says who we are; take `username` away",
                    given[0]
                ));
                None
            }
            (Some(program), ..) => {
                program.map(|program| OciAuth::Helper(program, life.flatten().unwrap_or(RENEW)))
            }
            (None, Some(refresh), ..) => {
                let name = user.unwrap_or_else(|| Some(String::new()));
                name.map(|name| OciAuth::Refresh(name, refresh))
            }
            (None, None, Some(token), _) => Some(OciAuth::Bearer(token)),
            (None, None, None, Some(password)) => match user {
                Some(user) => user.map(|name| OciAuth::Basic(name, password)),
                None => {
                    section.mistake("`password` needs `username`");
                    None
                }
            },
            (None, None, None, None) => None,
        },
        several => {
            section.mistake(format!(
                "{} contradict each other; keep one",
                listed(several.iter().copied())
            ));
            None
        }
    };
    section.finish();
    auth.zip(Some(realms.unwrap_or_default()))
}

/// Half of the life of ECR's passwords.
const RENEW: Duration = Duration::from_hours(6);

/// Also where it could not be read.
fn is_given(secret: &Result<Option<Secret>, Told>) -> bool {
    !matches!(secret, Ok(None))
}

/// A program: a path where it has a slash, else one that is looked up in `PATH`.
fn program(value: &Value<'_>) -> Option<PathBuf> {
    let text = value.text()?;
    if text.contains('/') {
        return value.readable_file();
    }
    let is_name = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    if !is_name {
        value
            .mistake("write the program's path or its name, such as `docker-credential-ecr-login`");
        return None;
    }
    Some(PathBuf::from(text))
}

/// Where credentials may be sent: no address by which a name could be guessed.
fn realm(value: &Value<'_>) -> Option<String> {
    value.parsed(|text| {
        let host = namespace::normalized(text).filter(|host| namespace::without_port(host) == host);
        host.ok_or_else(|| {
            "write the host of a token server without its port, such as `auth.example.com`".into()
        })
    })
}
