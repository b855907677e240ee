//! Claims by name: what stands in a token that is no more than text.

use globset::{GlobBuilder, GlobMatcher};
use jmespath::Variable;

use super::query::Claims;
use crate::error::{Error, Result};

/// A claim and what it has to look like. Cheap to ask: nothing is allocated where the claim is text.
#[derive(Clone, Debug)]
pub(in crate::auth) struct ClaimPattern {
    name: String,
    pattern: GlobMatcher,
}

impl ClaimPattern {
    /// `*` stands for any text, slashes included, `?` for one character; `{a,b}` and `[a-z]` as in file names. Errors: it is no
    /// pattern.
    pub(in crate::auth) fn new(name: &str, pattern: &str) -> Result<Self> {
        let glob = GlobBuilder::new(pattern).literal_separator(false).build();
        let glob = glob.map_err(|error| {
            Error::invalid(format!(
                "claim `{name}`: `{pattern}` is no pattern: {}",
                error.kind()
            ))
        })?;
        Ok(Self {
            name: name.to_owned(),
            pattern: glob.compile_matcher(),
        })
    }

    /// Whether the claim is there and looks like this; of a list, any member.
    pub(super) fn fits(&self, claims: &Claims) -> bool {
        let Some(found) = find(claims, &self.name) else {
            return false;
        };
        match found {
            Variable::Array(members) => members.iter().any(|member| self.is(member)),
            one => self.is(one),
        }
    }

    fn is(&self, value: &Variable) -> bool {
        match value {
            Variable::String(text) => self.pattern.is_match(text),
            other => text(other).is_some_and(|text| self.pattern.is_match(text)),
        }
    }
}

/// The texts at `name`: one, or the members of a list. Numbers and truth values are texts as they are written.
pub(super) fn texts(claims: &Claims, name: &str) -> Vec<String> {
    match find(claims, name) {
        Some(Variable::Array(members)) => members.iter().filter_map(|one| text(one)).collect(),
        Some(one) => text(one).into_iter().collect(),
        None => Vec::new(),
    }
}

/// What stands at `name`, in which dots lead into objects. Names may have dots themselves, as `kubernetes.io` does: a longer name
/// counts before a shorter one.
fn find<'a>(value: &'a Variable, name: &str) -> Option<&'a Variable> {
    let Variable::Object(members) = value else {
        return None;
    };
    if let Some(found) = members.get(name) {
        return Some(found);
    }
    name.rmatch_indices('.').find_map(|(dot, _)| {
        let inner = members.get(&name[..dot])?;
        find(inner, &name[dot + 1..])
    })
}

fn text(value: &Variable) -> Option<String> {
    match value {
        Variable::String(text) => Some(text.clone()),
        Variable::Number(number) => Some(number.to_string()),
        Variable::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::query;
    use super::*;
    use serde_json::{Value, json};

    fn claims() -> Claims {
        let Value::Object(claims) = json!({
            "repository": "acme/app",
            "email_verified": true,
            "run": 42,
            "groups": ["dev", "ops", 7, ["deep"]],
            "kubernetes.io": {"namespace": "prod", "pod": {"name": "x.y"}, "a.b": "whole"},
            "a": {"b": "inner"},
            "a.b": "outer",
        }) else {
            panic!("an object")
        };
        query::claims(claims).expect("claims")
    }

    #[test]
    fn names_lead_into_objects_and_may_have_dots() {
        for (name, expected) in [
            ("repository", &["acme/app"][..]),
            ("email_verified", &["true"]),
            ("run", &["42"]),
            ("groups", &["dev", "ops", "7"]),
            ("kubernetes.io.namespace", &["prod"]),
            ("kubernetes.io.pod.name", &["x.y"]),
            ("kubernetes.io.a.b", &["whole"]),
            ("a.b", &["outer"]),
            ("kubernetes.io", &[]),
            ("kubernetes", &[]),
            ("repository.acme", &[]),
            ("groups.0", &[]),
            ("", &[]),
            (".", &[]),
        ] {
            assert_eq!(texts(&claims(), name), expected, "{name}");
        }
    }

    #[test]
    fn patterns_are_about_whole_values() {
        for (name, pattern, fits) in [
            ("repository", "acme/app", true),
            ("repository", "acme/*", true),
            ("repository", "*", true),
            ("repository", "acm?/app", true),
            ("repository", "{acme,other}/app", true),
            ("repository", "acme", false),
            ("repository", "Acme/app", false),
            ("repository", "me/app", false),
            ("run", "4?", true),
            ("email_verified", "true", true),
            ("groups", "ops", true),
            ("groups", "deep", false),
            ("absent", "*", false),
            ("kubernetes.io", "*", false),
        ] {
            let claim = ClaimPattern::new(name, pattern).expect("a pattern");
            assert_eq!(claim.fits(&claims()), fits, "{name}={pattern}");
        }
        assert!(ClaimPattern::new("a", "[").is_err());
    }
}
