//! The top level of the file, the process's sections and the rules that span sections.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::mistakes::listed;
use super::section::{Context, Section, Value};
use super::{
    Auth, Cache, Config, Environment, Https, ListenAddress, Mistakes, Redis, Secret, Server,
    Subject, Tenant, store, tenants, tree, units, upstreams,
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
    let server = server(file.take("server"));
    let data_dir = file
        .take("data_dir")
        .and_then(|value| working_path(&value))
        .unwrap_or_else(|| PathBuf::from("./data"));
    let cache = cache(file.take("cache"));
    let store = store::read(file.take("store"), &data_dir);
    let upstreams = upstreams::read(file.take("upstreams").as_ref());
    let tenants = tenants::read(file.take("tenants"), &upstreams);
    let auth = auth(file.take("auth"));
    let offline = file.boolean("offline", false);
    if tenants.is_none() {
        file.mistake("`tenants` is missing: without one there is nothing to serve");
    }
    file.finish();
    let tenants = tenants.unwrap_or_default();
    users_for_rules(context, &server, &auth, &tenants);
    Some(Config {
        server,
        data_dir,
        cache,
        store,
        upstreams: upstreams.upstreams,
        tenants,
        patterns: BTreeMap::new(),
        museum: super::Museum::default(),
        auth,
        offline,
    })
}

fn server(value: Option<Value<'_>>) -> Server {
    let defaults = Server {
        http: vec![ListenAddress::Tcp(([127, 0, 0, 1], 8080).into())],
        https: Vec::new(),
        admin: None,
        external_url: None,
        grace_period: Duration::from_secs(20),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        context_path: String::new(),
        read_timeout: Duration::from_secs(30),
        write_timeout: Duration::from_secs(60),
    };
    let Some(mut section) = value.and_then(|value| value.section()) else {
        return defaults;
    };
    let mut taken = BTreeSet::new();
    let http = section.take("http").filter(|value| !is_false(value));
    let http: Option<Vec<ListenAddress>> = http.map(|value| {
        let listen = |item: &Value<'_>| {
            let address = item.parsed(units::listen_address)?;
            claim(&mut taken, item, &address);
            Some(address)
        };
        value.items().iter().filter_map(listen).collect()
    });
    let https = section
        .take("https")
        .map(|value| {
            let listen = |item: &Value<'_>| https(item, &mut taken);
            value.items().iter().filter_map(listen).collect::<Vec<_>>()
        })
        .unwrap_or_default();
    let admin = section
        .take("admin")
        .filter(|value| !is_false(value))
        .and_then(|value| {
            let address = value.parsed(units::listen_address)?;
            claim(&mut taken, &value, &address);
            Some(address)
        });
    let external_url = section
        .take("external_url")
        .and_then(|value| value.parsed(external_url));
    let grace_period = section.duration("grace_period", defaults.grace_period);
    let threads = section.parsed_or("threads", defaults.threads, |text| match text.parse() {
        Ok(threads @ 1..=1024) => Ok(threads),
        _ => Err("write a number from 1 to 1024".into()),
    });
    section.finish();
    Server {
        // Whoever asks for TLS only does not want an open port beside it.
        http: http.unwrap_or_else(|| {
            if https.is_empty() {
                defaults.http
            } else {
                Vec::new()
            }
        }),
        https,
        admin,
        external_url,
        grace_period,
        threads,
        context_path: defaults.context_path,
        read_timeout: defaults.read_timeout,
        write_timeout: defaults.write_timeout,
    }
}

fn https(value: &Value<'_>, taken: &mut BTreeSet<String>) -> Option<Https> {
    let mut section = value.section()?;
    let listen = required(&mut section, "listen", |value| {
        let address = value.parsed(units::socket_address)?;
        claim(taken, value, &ListenAddress::Tcp(address));
        Some(address)
    });
    let cert_file = required(&mut section, "cert_file", Value::readable_file);
    let key_file = required(&mut section, "key_file", Value::readable_file);
    let client_ca_file = section
        .take("client_ca_file")
        .and_then(|value| value.readable_file());
    section.finish();
    Some(Https {
        listen: listen?,
        cert_file: cert_file?,
        key_file: key_file?,
        client_ca_file,
        client_certificate_required: false,
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

/// Two listeners cannot share an address, except port 0, which is another port each time.
fn claim(taken: &mut BTreeSet<String>, value: &Value<'_>, address: &ListenAddress) {
    if matches!(address, ListenAddress::Tcp(address) if address.port() == 0) {
        return;
    }
    if !taken.insert(address.to_string()) {
        value.mistake(format!("another listener has the address `{address}`"));
    }
}

fn is_false(value: &Value<'_>) -> bool {
    matches!(value.spelling().as_str(), "false" | "off")
}

fn external_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if plain {
        Ok(url)
    } else {
        Err("write an http or https URL without user, query and fragment, such as `https://charts.example.com`".into())
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
    Some(url)
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

fn auth(value: Option<Value<'_>>) -> Auth {
    let mut users_file = None;
    if let Some(mut section) = value.and_then(|value| value.section()) {
        users_file = section
            .take("users_file")
            .and_then(|value| value.readable_file());
        section.later("jwt");
        section.finish();
    }
    Auth {
        users_file,
        ..Auth::default()
    }
}

/// Rules about users need a way to become a user.
fn users_for_rules(
    context: &Context<'_>,
    server: &Server,
    auth: &Auth,
    tenants: &BTreeMap<crate::names::TenantPath, Tenant>,
) {
    let certificates = server
        .https
        .iter()
        .any(|https| https.client_ca_file.is_some());
    if auth.users_file.is_some() || certificates {
        return;
    }
    for tenant in tenants.values() {
        let about_users = tenant.access.rules.iter().any(|rule| {
            rule.subjects
                .iter()
                .any(|subject| matches!(subject, Subject::User(_) | Subject::AnyUser))
        });
        if about_users {
            context.mistake(
                &format!("tenants.{}.access.rules", tenant.path),
                None,
                "rules name users, and nobody can be one: set `auth.users_file`",
            );
        }
    }
}
