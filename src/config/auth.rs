//! `auth:`

use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use url::{Host, Url};

use super::callers::has_certificates;
use super::resolve::required;
use super::section::{Context, Section, Value};
use super::{
    Attempts, Auth, Callers, Challenge, Jwks, Jwt, JwtKeys, Secret, Server, Subject, Tenant,
    TokenServer, api_tokens, units, upstreams,
};
use crate::names::{TenantPath, TenantPattern};

/// What ChartMuseum looks up in the claims of a token.
const ACTIONS_PATH: &str = "access[?name=='$NAMESPACE' && type=='$ACCESS_ENTRY_TYPE'].actions[]";

/// How long a server of keys may take.
const JWKS_TIMEOUT: Duration = Duration::from_secs(10);
/// Less would make a short rest of the server a rest of everybody.
const MIN_STALE: Duration = Duration::from_mins(5);
/// How long keys are believed whose server does not answer.
const JWKS_MAX_STALE: Duration = Duration::from_hours(24);

/// How long tokens may last.
const LIFETIMES: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(24);

/// The section; absent keys have their defaults.
pub(super) fn read(value: Option<Value<'_>>) -> Auth {
    let mut auth = Auth::default();
    let Some(mut section) = value.and_then(|value| value.section()) else {
        return auth;
    };
    auth.users_file = section
        .take("users_file")
        .and_then(|value| value.readable_file());
    if let Some(value) = section.take("users") {
        let users = value.named();
        auth.users = users
            .iter()
            .filter_map(|(name, value)| Some(((*name).to_owned(), user(name, value)?)))
            .collect();
    }
    if let Some(value) = section.take("groups") {
        let groups = value.named();
        auth.groups = groups
            .iter()
            .map(|(name, value)| ((*name).to_owned(), group(value)))
            .collect();
    }
    if let Some(value) = section.take("jwt") {
        let entries = value.items();
        auth.jwt = entries.iter().filter_map(jwt).collect();
        let mut names = HashSet::new();
        for name in auth.jwt.iter().filter_map(|jwt| jwt.name.as_ref()) {
            if !names.insert(name) {
                value.mistake(format!("two entries are called `{name}`; rename one"));
            }
        }
    }
    if let Some(challenge) = section
        .take("challenge")
        .and_then(|value| challenge(&value))
    {
        auth.challenge = challenge;
    }
    if let Some(value) = section.take("token") {
        auth.token = token(&value);
    }
    auth.attempts = section.parsed_or("attempts", auth.attempts, |text| {
        match text.parse() {
        Ok(attempts @ 1..=60_000) => Ok(Attempts(attempts)),
        _ => Err(
            "write how many wrong passwords for one user may come from one address, from 1 to 60000"
                .into(),
        ),
    }
    });
    auth.api_tokens = section
        .take("api_tokens")
        .and_then(|value| api_tokens::read(&value));
    section.finish();
    auth
}

fn token(value: &Value<'_>) -> TokenServer {
    let defaults = TokenServer::default();
    let Some(mut section) = value.section() else {
        return defaults;
    };
    let key_file = section
        .take("key_file")
        .and_then(|value| value.readable_file());
    let previous_key_files = section.take("previous_key_files").map(|value| {
        let files = value.items();
        files.iter().filter_map(Value::readable_file).collect()
    });
    let token = TokenServer {
        key_file,
        previous_key_files: previous_key_files.unwrap_or_default(),
        lifetime: section.parsed_or("lifetime", defaults.lifetime, |text| match units::duration(
            text,
        )? {
            lifetime if LIFETIMES.contains(&lifetime) => Ok(lifetime),
            _ => Err("write a time from 60s to 24h: clients take less for a minute".into()),
        }),
        anonymous_on_unknown_credentials: section.boolean(
            "anonymous_on_unknown_credentials",
            defaults.anonymous_on_unknown_credentials,
        ),
    };
    section.refuse(
        "attempts",
        "write `auth.attempts` instead: how many wrong passwords for one user may come from one address before pauses begin",
    );
    section.finish();
    token
}

fn user(name: &str, value: &Value<'_>) -> Option<Secret> {
    let mut section = value.section()?;
    // In a header the name ends at the first colon (RFC 7617).
    if name.is_empty() || name.contains(|c: char| c == ':' || c.is_control()) {
        section.mistake("a user name is not empty and has no `:` and no control characters");
    }
    let password = section.secret("password", "password_file").ok()?;
    if password.is_none() {
        section.mistake("`password` or `password_file` is missing");
    }
    section.finish();
    password
}

fn jwt(value: &Value<'_>) -> Option<Jwt> {
    let mut section = value.section()?;
    let by_url = section.has("jwks_url");
    let keys = if by_url {
        section.refuse(
            "public_key_file",
            "`jwks_url` says already where the keys are",
        );
        jwks(&mut section).map(|jwks| JwtKeys::Url(Box::new(jwks)))
    } else {
        for key in [
            "jwks_max_stale",
            "timeout",
            "proxy",
            "tls",
            "allow_private",
            "auth",
        ] {
            section.refuse(key, "only `jwks_url` is fetched");
        }
        required(&mut section, "public_key_file", Value::readable_file).map(JwtKeys::File)
    };
    let name = section
        .take("name")
        .and_then(|value| value.parsed(entry_name));
    let audience = text(&mut section, "audience");
    let issuer = text(&mut section, "issuer");
    let actions_path = text(&mut section, "actions_path");
    let subject_claim = text(&mut section, "subject_claim");
    let groups_claim = text(&mut section, "groups_claim");
    let required_claims = section.take("required_claims").map(|value| {
        let claims = value.items();
        let read = |item: &Value<'_>| item.parsed(claim);
        claims.iter().filter_map(read).collect()
    });
    section.finish();
    // Who names a claim of his own, or where keys are, means tokens that say who somebody is.
    let says_who = by_url || subject_claim.is_some();
    let museum = (!says_who).then(|| ACTIONS_PATH.to_owned());
    Some(Jwt {
        name,
        keys: keys?,
        audience,
        issuer,
        actions_path: actions_path.or(museum),
        subject_claim: subject_claim.unwrap_or_else(|| "sub".to_owned()),
        groups_claim,
        required_claims: required_claims.unwrap_or_default(),
    })
}

/// What rules write before a colon.
fn entry_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !text.is_empty() && text.len() <= 64 && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("write a name of letters, digits, `-`, `_` and `.`".into())
    }
}

fn jwks(section: &mut Section<'_>) -> Option<Jwks> {
    let has_timeout = section.has("timeout");
    let mut client = upstreams::client(section);
    if !has_timeout {
        client.timeout = JWKS_TIMEOUT;
    }
    let max_stale =
        section.parsed_or(
            "jwks_max_stale",
            JWKS_MAX_STALE,
            |text| match units::duration(text)? {
                time if time >= MIN_STALE => Ok(time),
                _ => Err("write a time from 5m: every token would wait for the server".into()),
            },
        );
    let token_file = section.take("auth").and_then(|value| {
        let mut section = value.section()?;
        let file = required(&mut section, "token_file", Value::readable_file);
        section.finish();
        file
    });
    let url = section.take("jwks_url")?.parsed(|text| {
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        let is_plain = url.username().is_empty() && url.password().is_none();
        match url.scheme() {
            _ if !is_plain || !url.has_host() => {
                Err("write a URL without user and password".into())
            }
            "https" => Ok(url),
            "http" if client.allow_private || is_loopback(&url) => Ok(url),
            _ => Err(
                "write an https URL: who can change an answer on its way could make tokens; http is for loopback, or with `allow_private: true`"
                    .into(),
            ),
        }
    })?;
    // Who writes a loopback address means it. No redirect leads anywhere else.
    client.allow_private |= is_loopback(&url);
    Some(Jwks {
        url,
        client,
        token_file,
        max_stale,
    })
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// `NAME=GLOB`, a claim and what it looks like.
pub(super) fn claim(text: &str) -> Result<(String, String), String> {
    let (name, pattern) = text
        .split_once('=')
        .filter(|(name, pattern)| !name.is_empty() && !pattern.is_empty())
        .ok_or("write a claim as `NAME=GLOB`, such as `repository=acme/*`")?;
    globset::Glob::new(pattern)
        .map_err(|error| format!("not a pattern of a claim's value: {}", error.kind()))?;
    Ok((name.to_owned(), pattern.to_owned()))
}

/// The users of one group, named as in rules. Their names are not checked: they may come with a file, a certificate or a token.
fn group(value: &Value<'_>) -> Vec<String> {
    let users = value.items();
    let name = |item: &Value<'_>| {
        item.parsed(|text| match text {
            "" | "*" => Err("write the name of a user; `user:*` in a rule means everybody".into()),
            _ => Ok(text.to_owned()),
        })
    };
    users.iter().filter_map(name).collect()
}

fn challenge(value: &Value<'_>) -> Option<Challenge> {
    let mut section = value.section()?;
    let bearer = section.choice("scheme", false, &[("basic", false), ("bearer", true)]);
    let challenge = if bearer {
        let realm = required(&mut section, "realm", quotable);
        let service = required(&mut section, "service", quotable);
        realm
            .zip(service)
            .map(|(realm, service)| Challenge::Bearer { realm, service })
    } else {
        section.refuse("service", "only `scheme: bearer` has a service");
        let realm = section.take("realm").map(|value| quotable(&value));
        match realm {
            Some(realm) => realm.map(|realm| Challenge::Basic { realm }),
            None => Some(Challenge::default()),
        }
    };
    section.finish();
    challenge
}

/// Text that stands between quotation marks in a header.
fn quotable(value: &Value<'_>) -> Option<String> {
    value.parsed(|text| {
        let plain = |b: u8| (0x20..0x7f).contains(&b) && b != b'"' && b != b'\\';
        if !text.is_empty() && text.bytes().all(plain) {
            Ok(text.to_owned())
        } else {
            Err("write visible ASCII without `\"` and `\\`: it stands in a header".into())
        }
    })
}

fn text(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    section.take(key)?.parsed(|text| match text {
        "" => Err("must not be empty; leave the key out instead".into()),
        _ => Ok(text.to_owned()),
    })
}

/// Rules about users need a way to become a user.
pub(super) fn users_for_rules(
    context: &Context<'_>,
    server: &Server,
    auth: &Auth,
    tenants: &BTreeMap<TenantPath, Tenant>,
    patterns: &BTreeMap<TenantPattern, Tenant>,
) {
    let certificates = has_certificates(server);
    let callers = Callers::new(auth, certificates);
    whom_rules_mean(context, &callers, tenants, patterns);
    let tokens = !auth.jwt.is_empty();
    if !tokens {
        claims_without_tokens(context, tenants, patterns);
    }
    if auth.users_file.is_some() || !auth.users.is_empty() || tokens || certificates {
        return;
    }
    for (key, tenant) in by_key(tenants, patterns) {
        let about_users = tenant.access.rules.iter().any(|rule| {
            rule.subjects
                .iter()
                .any(|subject| !matches!(subject, Subject::Claim { .. }))
        });
        if about_users {
            context.mistake(
                &format!("tenants.{key}.access.rules"),
                None,
                "rules name users, and nobody can be one: set `auth.users_file` or `auth.users`",
            );
        }
    }
}

/// Every tenant and pattern, under its key in the file.
fn by_key<'t>(
    tenants: &'t BTreeMap<TenantPath, Tenant>,
    patterns: &'t BTreeMap<TenantPattern, Tenant>,
) -> impl Iterator<Item = (String, &'t Tenant)> {
    let tenants = tenants
        .iter()
        .map(|(path, tenant)| (path.to_string(), tenant));
    let patterns = patterns
        .iter()
        .map(|(pattern, tenant)| (pattern.to_string(), tenant));
    tenants.chain(patterns)
}

/// Names and claims in rules are somebody's.
fn whom_rules_mean(
    context: &Context<'_>,
    callers: &Callers,
    tenants: &BTreeMap<TenantPath, Tenant>,
    patterns: &BTreeMap<TenantPattern, Tenant>,
) {
    for (key, tenant) in by_key(tenants, patterns) {
        for (number, rule) in tenant.access.rules.iter().enumerate() {
            for mistake in rule
                .subjects
                .iter()
                .filter_map(|one| callers.check(one).err())
            {
                let path = format!("tenants.{key}.access.rules[{number}].subjects");
                context.mistake(&path, None, mistake);
            }
        }
    }
}

/// Rules about claims need tokens.
fn claims_without_tokens(
    context: &Context<'_>,
    tenants: &BTreeMap<TenantPath, Tenant>,
    patterns: &BTreeMap<TenantPattern, Tenant>,
) {
    for (key, tenant) in by_key(tenants, patterns) {
        let mut rules = tenant.access.rules.iter();
        let is_claim = |subject: &Subject| matches!(subject, Subject::Claim { .. });
        if rules.any(|rule| rule.subjects.iter().any(is_claim)) {
            context.mistake(
                &format!("tenants.{key}.access.rules"),
                None,
                "rules name claims, and nobody has any: set `auth.jwt`",
            );
        }
    }
}
