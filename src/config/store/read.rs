//! Reading `store:`. The keys of each service are called as the fields of its type.

use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::{Azblob, Cos, Etcd, Gcs, ObjectStore, Oss, Place, S3, Service, Store, Swift};
use crate::base64;
use crate::config::resolve::{required, working_path};
use crate::config::section::{Section, Value};
use crate::config::upstreams::{proxy_url, tls};
use crate::config::{Client, Secret, units};

/// `type:` of a store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Fs,
    S3,
    Gcs,
    Azblob,
    Oss,
    Swift,
    Cos,
    Etcd,
}

const TYPES: &[(&str, Type)] = &[
    ("fs", Type::Fs),
    ("s3", Type::S3),
    ("gcs", Type::Gcs),
    ("azblob", Type::Azblob),
    ("oss", Type::Oss),
    ("swift", Type::Swift),
    ("cos", Type::Cos),
    ("etcd", Type::Etcd),
];

/// What `store:` says; a folder in `data_dir` where it says nothing. After a mistake, something that is not used.
pub(in crate::config) fn read(value: Option<Value<'_>>, data_dir: &Path) -> Store {
    let default = Store::folder(data_dir.join("hosted"));
    let Some(mut section) = value.and_then(|value| value.section()) else {
        return default;
    };
    let kind = match section.take("type") {
        None => Type::Fs,
        Some(value) => match value.choice(TYPES) {
            Some(kind) => kind,
            // The keys are in words of a type that is not known; the type is the mistake.
            None => return default,
        },
    };
    let place = match kind {
        Type::Fs => {
            section.refuse("prefix", "belongs to buckets; a folder is `root`");
            let root = section.take("root").and_then(|value| working_path(&value));
            Some(Place::Folder(
                root.unwrap_or_else(|| data_dir.join("hosted")),
            ))
        }
        _ => objects(kind, &mut section).map(|objects| Place::Objects(Box::new(objects))),
    };
    let refresh = section.parsed_or("refresh", default.refresh, |text| {
        match units::duration(text)? {
            short if !short.is_zero() && short < Duration::from_secs(1) => {
                Err("at least `1s`, or `0` for never".into())
            }
            refresh => Ok(refresh),
        }
    });
    let timestamp_tolerance = section.duration("timestamp_tolerance", default.timestamp_tolerance);
    let readers = section.parsed_or("readers", default.readers, |text| match text.parse() {
        Ok(readers @ 0..=256) => Ok(readers),
        _ => Err("write a number from 1 to 256, or 0 for 8 to 16, by the number of cores".into()),
    });
    section.finish();
    Store {
        place: place.unwrap_or(default.place),
        refresh,
        timestamp_tolerance,
        readers,
    }
}

fn objects(kind: Type, section: &mut Section<'_>) -> Option<ObjectStore> {
    let named = section
        .take("prefix")
        .and_then(|value| value.parsed(prefix));
    // The word of folders does as well.
    let root = section.take("root").and_then(|value| value.parsed(prefix));
    if named.is_some() && root.is_some() {
        section.mistake("`prefix` and `root` mean the same in a bucket; keep `prefix`");
    }
    let client = client(section);
    let service = match kind {
        Type::S3 => s3(section).map(Service::S3),
        Type::Gcs => gcs(section).map(Service::Gcs),
        Type::Azblob => azblob(section).map(Service::Azblob),
        Type::Oss => oss(section).map(Service::Oss),
        Type::Swift => swift(section).map(Service::Swift),
        Type::Cos => cos(section).map(Service::Cos),
        Type::Etcd => Some(Service::Etcd(etcd(section))),
        Type::Fs => None,
    };
    Some(ObjectStore {
        service: service?,
        prefix: named.or(root).unwrap_or_default(),
        client,
    })
}

/// `type: s3`, of a store or an upstream.
pub(in crate::config) fn s3(section: &mut Section<'_>) -> Option<S3> {
    let bucket = required(section, "bucket", name);
    let region = text(section, "region");
    let endpoint = endpoint(section);
    let (access_key_id, secret_access_key) = keys(
        section,
        "access_key_id",
        "secret_access_key",
        "secret_access_key_file",
    );
    let session_token = secret(section, "session_token", "session_token_file");
    let path_style = section.boolean("path_style", true);
    let server_side_encryption = text(section, "server_side_encryption");
    let anonymous = section.boolean("anonymous", false);
    if anonymous && access_key_id.is_some() {
        section.mistake("`anonymous` and `access_key_id` contradict each other; keep one");
    }
    Some(S3 {
        bucket: bucket?,
        region,
        endpoint,
        access_key_id,
        secret_access_key,
        session_token,
        path_style,
        server_side_encryption,
        anonymous,
    })
}

fn gcs(section: &mut Section<'_>) -> Option<Gcs> {
    let bucket = required(section, "bucket", name);
    let endpoint = endpoint(section);
    let credential_file: Option<PathBuf> = section
        .take("credential_file")
        .and_then(|value| value.readable_file());
    let anonymous = section.boolean("anonymous", false);
    if anonymous && credential_file.is_some() {
        section.mistake("`anonymous` and `credential_file` contradict each other; keep one");
    }
    Some(Gcs {
        bucket: bucket?,
        endpoint,
        credential_file,
        anonymous,
    })
}

fn azblob(section: &mut Section<'_>) -> Option<Azblob> {
    let container = required(section, "container", name);
    let account_name = text(section, "account_name");
    let account_key = secret(section, "account_key", "account_key_file");
    if account_key
        .as_ref()
        .is_some_and(|key| base64::decode(key.reveal()).is_none())
    {
        section.mistake("`account_key` is not base64; copy it whole, with the `=` at its end");
    }
    let endpoint = endpoint(section);
    Some(Azblob {
        container: container?,
        account_name,
        account_key,
        endpoint,
    })
}

fn oss(section: &mut Section<'_>) -> Option<Oss> {
    let bucket = required(section, "bucket", name);
    let (access_key_id, access_key_secret) = keys(
        section,
        "access_key_id",
        "access_key_secret",
        "access_key_secret_file",
    );
    let endpoint = endpoint(section);
    let server_side_encryption = text(section, "server_side_encryption");
    Some(Oss {
        bucket: bucket?,
        endpoint,
        access_key_id,
        access_key_secret,
        server_side_encryption,
    })
}

fn swift(section: &mut Section<'_>) -> Option<Swift> {
    let container = required(section, "container", name);
    let endpoint = endpoint(section);
    let auth_url = section
        .take("auth_url")
        .and_then(|value| value.parsed(service_url));
    let (username, password) = keys(section, "username", "password", "password_file");
    let token = secret(section, "token", "token_file");
    if token.is_some() && endpoint.is_none() {
        section.mistake("`token` needs `endpoint`: without credentials nobody can be asked where the objects are");
    }
    if token.is_some() && username.is_some() {
        section.mistake("a token and a user contradict each other; keep one");
    }
    let project = text(section, "project");
    let domain = text(section, "domain");
    let region = text(section, "region");
    Some(Swift {
        container: container?,
        endpoint,
        auth_url,
        username,
        password,
        project,
        domain,
        region,
        token,
    })
}

fn cos(section: &mut Section<'_>) -> Option<Cos> {
    let bucket = required(section, "bucket", name);
    let endpoint = required(section, "endpoint", |value| value.parsed(service_url));
    let (secret_id, secret_key) = keys(section, "secret_id", "secret_key", "secret_key_file");
    Some(Cos {
        bucket: bucket?,
        endpoint,
        secret_id,
        secret_key,
    })
}

fn etcd(section: &mut Section<'_>) -> Etcd {
    let endpoints = section.take("endpoints").map(|value| value.items());
    let endpoints = endpoints
        .into_iter()
        .flatten()
        .filter_map(|value| value.parsed(service_url))
        .collect::<Vec<_>>();
    let (username, password) = keys(section, "username", "password", "password_file");
    Etcd {
        endpoints: match endpoints.is_empty() {
            true => vec!["http://localhost:2379".to_owned()],
            false => endpoints,
        },
        username,
        password,
    }
}

/// A name and its secret, which mean nothing alone.
fn keys(
    section: &mut Section<'_>,
    key: &'static str,
    secret_key: &'static str,
    file_key: &'static str,
) -> (Option<String>, Option<Secret>) {
    let id = text(section, key);
    let Ok(secret) = section.secret(secret_key, file_key) else {
        return (id, None);
    };
    match (&id, &secret) {
        (Some(_), None) => section.mistake(format!("`{key}` needs `{file_key}` or `{secret_key}`")),
        (None, Some(_)) => section.mistake(format!("`{secret_key}` needs `{key}`")),
        _ => {}
    }
    (id, secret)
}

fn secret(section: &mut Section<'_>, key: &'static str, file_key: &'static str) -> Option<Secret> {
    section.secret(key, file_key).ok().flatten()
}

fn text(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    section.take(key).and_then(|value| name(&value))
}

/// Something of one word: a bucket, a region, a user.
fn name(value: &Value<'_>) -> Option<String> {
    value.parsed(|text| {
        if text.trim().is_empty() || text.contains(char::is_control) {
            Err("it must not be empty".into())
        } else {
            Ok(text.to_owned())
        }
    })
}

fn endpoint(section: &mut Section<'_>) -> Option<String> {
    section
        .take("endpoint")
        .and_then(|value| value.parsed(service_url))
}

/// `https://host`, with a port and a path where needed; without a scheme it is https.
fn service_url(text: &str) -> Result<String, String> {
    const HINT: &str =
        "write a URL such as `https://storage.example.com`, without user, query and fragment";
    let whole = match text.contains("://") {
        true => text.to_owned(),
        false => format!("https://{text}"),
    };
    let url = Url::parse(&whole).map_err(|_| HINT.to_owned())?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if is_plain {
        Ok(whole.trim_end_matches('/').to_owned())
    } else {
        Err(HINT.into())
    }
}

/// What every key starts with: segments with `/` between them.
fn prefix(text: &str) -> Result<String, String> {
    let trimmed = text.trim_matches('/');
    let is_plain = trimmed.is_empty()
        || trimmed.split('/').all(|part| {
            !matches!(part, "" | "." | "..")
                && part.trim() == part
                && !part.contains(char::is_control)
        });
    match is_plain {
        true => Ok(trimmed.to_owned()),
        false => Err("write segments with `/` between them, such as `team/charts`".into()),
    }
}

/// How a store is reached. It may be anywhere: the operator names it, nobody else does.
fn client(section: &mut Section<'_>) -> Client {
    let timeout =
        section.parsed_or(
            "timeout",
            Duration::from_secs(30),
            |text| match units::duration(text)? {
                Duration::ZERO => Err("more than zero".into()),
                timeout => Ok(timeout),
            },
        );
    let proxy = section
        .take("proxy")
        .and_then(|value| value.parsed_secretly(proxy_url));
    let mut client = Client {
        proxy,
        allow_private: true,
        timeout,
        ..Client::default()
    };
    if let Some(value) = section.take("tls") {
        tls(&value, &mut client);
    }
    client
}
