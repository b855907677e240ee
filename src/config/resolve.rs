//! The top level of the file, the process's sections and the rules that span sections.

use std::path::{Path, PathBuf};

use super::mistakes::listed;
use super::section::{Context, Section, Value};
use super::{
    Cache, Config, Environment, Mistakes, Redis, Secret, audit, auth, limits, museum,
    registry_server, server, store, tenants, tree, upstreams,
};

/// Resolves `text`, or finds everything that is wrong with it.
pub(super) fn resolve(
    text: &str,
    base_dir: &Path,
    env: Environment<'_>,
) -> Result<Config, Mistakes> {
    let node = tree::parse(text).map_err(|mistake| Mistakes(vec![mistake]))?;
    let context = Context::new(base_dir, env);
    let config = read(&context, &node);
    let mistakes = context.into_mistakes();
    match config {
        Some(config) if mistakes.0.is_empty() => Ok(config),
        _ => Err(mistakes),
    }
}

/// The keys that chartgate knows and `text` does not have anywhere.
pub(super) fn absent_keys(
    text: &str,
    base_dir: &Path,
    env: Environment<'_>,
) -> Result<Vec<String>, Mistakes> {
    let node = tree::parse(text).map_err(|mistake| Mistakes(vec![mistake]))?;
    let context = Context::new(base_dir, env);
    read(&context, &node);
    Ok(context.absent_keys())
}

fn read<'c>(context: &'c Context<'c>, node: &'c tree::Node) -> Option<Config> {
    let mut file = Value::root(context, node).section()?;
    let server = server::read(file.take("server"));
    let data_dir = file
        .take("data_dir")
        .and_then(|value| working_path(&value))
        .unwrap_or_else(|| PathBuf::from("./data"));
    let cache = cache(file.take("cache"));
    let store = store::read(file.take("store"), &data_dir);
    let upstreams = upstreams::read(file.take("upstreams").as_ref());
    let tenants = tenants::read(file.take("tenants"), &upstreams);
    let museum = museum::read(file.take("chartmuseum"));
    let auth = auth::read(file.take("auth"));
    let registry = file.take("registry");
    let limits = file
        .take("limits")
        .map_or_else(Vec::new, |value| limits::read_of_all(&value));
    let audit = audit::read(file.take("audit"));
    let offline = file.boolean("offline", false);
    if tenants.is_none() {
        file.mistake("`tenants` is missing: without one there is nothing to serve");
    }
    file.finish();
    let tenants::Read { tenants, patterns } = tenants.unwrap_or_default();
    auth::users_for_rules(context, &server, &auth, &tenants, &patterns);
    let registry = registry_server::read(registry, &tenants, &patterns, &upstreams);
    registry_server::tenants(context, &registry, &museum, &tenants, &patterns);
    museum::strict_tenants(context, &museum, &tenants, &patterns);
    Some(Config {
        server,
        data_dir,
        cache,
        store,
        upstreams: upstreams.upstreams,
        tenants,
        patterns,
        museum,
        registry,
        auth,
        limits,
        audit,
        offline,
    })
}

/// Takes a key that must be there.
pub(super) fn required<'c, T>(
    section: &mut Section<'c>,
    key: &'static str,
    read: impl FnOnce(&Value<'c>) -> Option<T>,
) -> Option<T> {
    match section.take(key) {
        Some(value) => read(&value),
        None => {
            section.mistake(format!("`{key}` is missing"));
            None
        }
    }
}

/// A path of data: relative to the working directory, as every server's data folder is.
pub(super) fn working_path(value: &Value<'_>) -> Option<PathBuf> {
    value.parsed(|text| match text {
        "" => Err("a path must not be empty".into()),
        _ => Ok(PathBuf::from(text)),
    })
}

fn cache(value: Option<Value<'_>>) -> Cache {
    let mut cache = Cache {
        memory: 256 << 20,
        disk: 10 << 30,
        redis: None,
    };
    if let Some(mut section) = value.and_then(|value| value.section()) {
        cache.memory = section.size("memory", cache.memory);
        cache.disk = section.size("disk", cache.disk);
        cache.redis = section.take("redis").and_then(|value| redis(&value));
        section.finish();
    }
    cache
}

fn redis(value: &Value<'_>) -> Option<Redis> {
    let mut section = value.section()?;
    let url = redis_url(&mut section);
    let prefix = section.parsed_or("prefix", "chartgate".to_owned(), |text| {
        if text.is_empty() || text.len() > 64 || text.contains(['{', '}', '*', '?', '[', ' ']) {
            Err("write a prefix of 1 to 64 bytes without `{ } * ? [` and spaces".into())
        } else {
            Ok(text.to_owned())
        }
    });
    let max_object = section.size("max_object", 1 << 20);
    section.finish();
    Some(Redis {
        url: url?,
        prefix,
        max_object,
    })
}

/// The URL may hold a password, so no message shows it.
fn redis_url(section: &mut Section<'_>) -> Option<Secret> {
    let Some(url) = section.secret("url", "url_file").ok()? else {
        section.mistake("`url` is missing");
        return None;
    };
    check_redis_url(url.reveal())
        .map_err(|message| section.mistake(message))
        .ok()?;
    let Some(password) = section.secret("password", "password_file").ok()? else {
        return Some(url);
    };
    match with_password(url.reveal(), password.reveal()) {
        Some(url) => Some(url),
        None => {
            section.mistake(
                "`url` has credentials already; take `password` away or the ones in `url`",
            );
            None
        }
    }
}

/// A URL takes a password only with its special characters encoded, which is nothing to ask of whoever writes a secret.
fn with_password(url: &str, password: &str) -> Option<Secret> {
    let (scheme, rest) = url.split_once("://")?;
    let password =
        percent_encoding::utf8_percent_encode(password, percent_encoding::NON_ALPHANUMERIC);
    let credentials = rest
        .split('/')
        .next()
        .is_some_and(|part| part.contains('@'));
    (!credentials).then(|| Secret::new(format!("{scheme}://:{password}@{rest}")))
}

fn check_redis_url(text: &str) -> Result<(), String> {
    let schemes = ["redis", "rediss", "redis+sentinel", "redis+cluster"];
    match text.split_once("://") {
        Some((scheme, rest)) if schemes.contains(&scheme) && !rest.is_empty() => Ok(()),
        _ => Err(format!(
            "`url`: write one such as `redis://127.0.0.1:6379/0`; schemes: {}",
            listed(schemes)
        )),
    }
}
