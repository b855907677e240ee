//! `auth:`

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::resolve::required;
use super::section::{Context, Section, Value};
use super::{Auth, Challenge, Jwt, Secret, Server, Subject, Tenant, TokenServer, units};
use crate::names::{TenantPath, TenantPattern};

/// What ChartMuseum looks up in the claims of a token.
const ACTIONS_PATH: &str = "access[?name=='$NAMESPACE' && type=='$ACCESS_ENTRY_TYPE'].actions[]";

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
    if let Some(value) = section.take("jwt") {
        auth.jwt = value.items().iter().filter_map(jwt).collect();
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
        attempts: section.parsed_or("attempts", defaults.attempts, |text| match text.parse() {
            Ok(attempts @ 1..=60_000) => Ok(attempts),
            _ => Err(
                "write how many wrong passwords an address has each minute, from 1 to 60000".into(),
            ),
        }),
    };
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
    section.later("jwks_url");
    section.later("subject_claim");
    let public_key_file = if by_url {
        section.take("public_key_file");
        None
    } else {
        required(&mut section, "public_key_file", Value::readable_file)
    };
    let audience = text(&mut section, "audience");
    let issuer = text(&mut section, "issuer");
    let actions_path = text(&mut section, "actions_path");
    section.finish();
    Some(Jwt {
        public_key_file: public_key_file?,
        audience,
        issuer,
        actions_path: actions_path.unwrap_or_else(|| ACTIONS_PATH.to_owned()),
    })
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
    let certificates = server
        .https
        .iter()
        .any(|https| https.client_ca_file.is_some());
    let tokens = !auth.jwt.is_empty();
    if auth.users_file.is_some() || !auth.users.is_empty() || tokens || certificates {
        return;
    }
    let tenants = tenants
        .iter()
        .map(|(path, tenant)| (path.to_string(), tenant));
    let patterns = patterns
        .iter()
        .map(|(pattern, tenant)| (pattern.to_string(), tenant));
    for (key, tenant) in tenants.chain(patterns) {
        let about_users = tenant.access.rules.iter().any(|rule| {
            rule.subjects
                .iter()
                .any(|subject| matches!(subject, Subject::User(_) | Subject::AnyUser))
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
