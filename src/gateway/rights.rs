//! Which rule decides about somebody, for operators: asked of the configuration, without anything running.

use super::pattern::precedence;
use crate::auth::{About, Granted, Identity, Policy};
use crate::config::{self, Action, Callers, Config, Rule};
use crate::error::{Error, Result};
use crate::names::TenantPath;

/// Says in one sentence whether `identity` may do `action` at `place`, and why. `place` is a tenant's path, with or without the
/// name of a chart or a repository in it; the longest tenant counts.
///
/// Errors: no tenant is there; a rule cannot be read.
pub fn explain(
    config: &Config,
    identity: &Identity,
    place: &str,
    action: Action,
) -> Result<String> {
    let place = place.trim_matches('/');
    let found = prefixes(place).find_map(|path| Some((path, tenant(config, path)?)));
    let Some((path, (key, tenant))) = found else {
        return Err(Error::not_found(format!(
            "`{place:.200}` is in no tenant that is configured"
        )));
    };
    let about = about(tenant, place[path.len()..].trim_start_matches('/'));
    let policy = Policy::new(&tenant.access, &Callers::of(config))?;
    let decision = policy.decide(identity, path, action, about);
    let rules = &tenant.access.rules;
    let verb = action.verb();
    let where_ = match about {
        About::Tenant => format!("{verb} in tenant `/{path}`"),
        name => format!("{verb} {name} in tenant `/{path}`"),
    };
    Ok(match decision.by {
        Some(Granted::Anonymous) => {
            format!("`{identity}` may {where_}: everybody may (`tenants.{key}.access.anonymous`)")
        }
        Some(Granted::Rule(number)) => {
            let rule = rules.get(number);
            let subjects = rule.map(|rule| {
                let all: Vec<_> = rule.subjects.iter().map(ToString::to_string).collect();
                all.join(", ")
            });
            let names = names(rules, number).map(|names| format!(", about {names} only"));
            format!(
                "`{identity}` may {where_}: `tenants.{key}.access.rules[{number}]` allows it ({}{})",
                subjects.unwrap_or_default(),
                names.unwrap_or_default()
            )
        }
        Some(Granted::Token) => format!("`{identity}` may {where_}: the token says so"),
        None if matches!(identity, Identity::ApiToken(_)) => format!(
            "`{identity}` may not {where_}: neither `tenants.{key}.access.anonymous` nor the token allows it"
        ),
        None => {
            let others = policy.rules_about_others(identity, action, about);
            let others = others.filter_map(|number| {
                Some(format!(
                    "; rule {number} is about {} only",
                    names(rules, number)?
                ))
            });
            format!(
                "`{identity}` may not {where_}: neither `tenants.{key}.access.anonymous` nor any of its {} rules allows it{}",
                rules.len(),
                others.collect::<String>()
            )
        }
    })
}

/// What the rules are asked about `name` in a tenant, empty for the tenant itself: a name that starts with one of its registries
/// is that one's.
fn about<'n>(tenant: &config::Tenant, name: &'n str) -> About<'n> {
    let registries = &tenant.registries;
    match name.split_once('/') {
        _ if name.is_empty() => About::Tenant,
        Some((upstream, below)) if registries.iter().any(|one| *one.upstream == *upstream) => {
            About::Member {
                upstream,
                name: below,
            }
        }
        _ => About::Name(name),
    }
}

/// The names that a rule is about, where it is not about all.
fn names(rules: &[Rule], number: usize) -> Option<String> {
    let names = &rules.get(number)?.names;
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    (!quoted.is_empty()).then(|| quoted.join(", "))
}

/// The path itself, then what is above it, at last the root.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let above = path.rmatch_indices('/').map(|(slash, _)| &path[..slash]);
    let root = (!path.is_empty()).then_some("");
    std::iter::once(path).chain(above).chain(root)
}

/// The tenant at exactly this path, or of the pattern that decides about it, with its key in the file.
fn tenant<'c>(config: &'c Config, path: &str) -> Option<(String, &'c config::Tenant)> {
    if let Some(tenant) = config.tenants.get(path) {
        return Some((tenant.path.to_string(), tenant));
    }
    TenantPath::parse(path).ok()?;
    let fitting = config.patterns.iter().filter(|(key, _)| key.fits(path));
    let (key, tenant) = fitting.min_by_key(|(key, _)| precedence(key))?;
    Some((key.to_string(), tenant))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
auth:
  users: {ci: {password: x}, alice: {password: y}}
  groups: {dev: [alice]}
  jwt: [{jwks_url: 'https://keys.example.com', audience: a, groups_claim: groups}]
tenants:
  acme:
    hosted: true
    access:
      anonymous: [pull]
      rules:
        - {subjects: 'group:dev', actions: push}
        - {subjects: 'claim:repository=acme/*', actions: [push, delete]}
        - {subjects: 'user:ci', actions: push, names: [app-*, tools/**]}
  'team/*': {hosted: true, access: {rules: [{subjects: 'user:ci', actions: admin}]}}
";

    #[test]
    fn the_rule_that_decides_is_named() {
        let folder = std::path::Path::new("");
        let config = config::parse(TEXT, folder, &|_| None).expect("a configuration");
        let explain = |who: &str, place: &str, action| {
            explain(
                &config,
                &Identity::imagined(who, &Callers::of(&config)).expect("somebody"),
                place,
                action,
            )
        };
        use Action::{Admin, Delete, Pull, Push};
        for (who, place, action, words) in [
            (
                "anonymous",
                "acme/app",
                Pull,
                "may pull `app` in tenant `/acme`: everybody may",
            ),
            ("anonymous", "acme", Push, "may not push"),
            (
                "user:ci",
                "acme/app",
                Push,
                "nor any of its 3 rules allows it; rule 2 is about `app-*`, `tools/**` only",
            ),
            (
                "user:ci",
                "acme/app-web",
                Push,
                "rules[2]` allows it (user:ci, about `app-*`",
            ),
            (
                "user:ci",
                "acme/tools/x/y",
                Push,
                "may push `tools/x/y` in tenant `/acme`: ",
            ),
            ("user:ci", "acme", Push, "may push in tenant `/acme`: "),
            ("user:alice", "acme/app-web", Delete, "rules allows it"),
            (
                "user:alice",
                "/acme/app/",
                Push,
                "acme.access.rules[0]` allows it (group:dev)",
            ),
            ("user:x,group:dev", "acme", Push, "rules[0]"),
            ("user:x,group:ops", "acme", Push, "may not push"),
            ("claim:repository=acme/app", "acme", Delete, "rules[1]"),
            (
                "claim:repository=other/app",
                "acme",
                Delete,
                "may not delete",
            ),
            (
                "user:ci",
                "team/a/app",
                Admin,
                "tenant `/team/a`: `tenants.team/*.access.rules[0]`",
            ),
        ] {
            let said = explain(who, place, action).expect("a tenant");
            assert!(said.contains(words), "{who} {place}: {said}");
        }
        assert!(explain("user:ci", "nobody/app", Pull).is_err());
    }
}
