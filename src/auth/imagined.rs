//! Somebody who is not there, for operators who ask what he could do.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Identity, Token};
use crate::config::{Callers, Meant};
use crate::error::{Error, Result};

impl Identity {
    /// Who has all of `text`: `user:NAME`, `group:NAME` and `claim:NAME=VALUE` with commas between them, or `anonymous`.
    ///
    /// A `user:NAME` alone is one of our own. Everybody else holds a token: of the entry of `auth.jwt` that rules would mean, or
    /// of the one that is named as they name it (`claim:github:repository=acme/app`). Groups are those that a token says; those
    /// of `auth.groups` follow from the name. Errors: how to write it.
    pub fn imagined(text: &str, callers: &Callers) -> Result<Self> {
        if text == "anonymous" {
            return Ok(Self::Anonymous);
        }
        let parts: Vec<&str> = text.split(',').collect();
        if !callers.has_tokens() {
            return one_of_ours(&parts, callers);
        }
        let mut token = Imagined::default();
        for part in &parts {
            let told = match part.split_once(':') {
                Some(("user", name)) if !name.is_empty() => match callers.user(name) {
                    Ok(meant) if meant.own && parts.len() == 1 => {
                        return Ok(Self::User { name: name.into() });
                    }
                    // With something that only tokens say, it is a token's holder, though a rule would mean a user.
                    meant => token.name(meant.map(|meant| (meant.entry, meant.text)), name),
                },
                Some(("group", name)) if !name.is_empty() => token.group(callers.group(name)),
                Some(("claim", claim)) => match claim.split_once('=') {
                    Some((name, value)) if !name.is_empty() => {
                        token.claim(callers.claim(name), value)
                    }
                    _ => None,
                },
                _ => None,
            };
            match told {
                Some(Ok(())) => {}
                Some(Err(why)) => return Err(Error::invalid(why)),
                None => return Err(nobody(part)),
            }
        }
        let entry = token.entry.or_else(|| callers.only_entry());
        let entry = entry.ok_or_else(|| {
            Error::invalid(format!(
                "nobody knows whose token `{text:.200}` is; name the entry of `auth.jwt`, as in `claim:ENTRY:NAME=VALUE`"
            ))
        })?;
        let token = Token::imagined(entry, token.subject, token.groups, token.claims)?;
        Ok(Self::Token(Arc::new(token)))
    }
}

/// A user, or a member of groups of `auth.groups`, where nobody can have a token.
fn one_of_ours(parts: &[&str], callers: &Callers) -> Result<Identity> {
    let (mut user, mut groups) = (None, Vec::new());
    for part in parts {
        match part.split_once(':') {
            Some(("user", name)) if !name.is_empty() && user.is_none() => user = Some(name),
            Some(("group", name)) if !name.is_empty() => groups.push(name),
            _ => return Err(nobody(part)),
        }
    }
    let listed = groups.iter().flat_map(|group| callers.members(group));
    let mut anybody = user.into_iter().chain(listed.filter(|_| user.is_none()));
    let is_in = |name: &str, group: &str| callers.members(group).any(|member| member == name);
    let found = anybody.find(|name| groups.iter().all(|group| is_in(name, group)));
    found
        .map(|name| Identity::User { name: name.into() })
        .ok_or_else(|| {
            Error::invalid(format!(
                "nobody is `{:.200}`: look at `auth.groups`",
                parts.join(",")
            ))
        })
}

fn nobody(part: &str) -> Error {
    Error::invalid(format!(
        "`{part:.200}` is nobody; write one `user:NAME`, `group:NAME`, `claim:NAME=VALUE`, several with commas between them, or `anonymous`"
    ))
}

/// A token in the making.
#[derive(Default)]
struct Imagined {
    entry: Option<usize>,
    subject: Option<Arc<str>>,
    groups: Vec<String>,
    claims: Map<String, Value>,
}

/// `None`: it was said already.
type Told = Option<Result<(), String>>;

impl Imagined {
    fn name(&mut self, meant: Result<(Option<usize>, &str), String>, whole: &str) -> Told {
        let (entry, name) = meant.unwrap_or((None, whole));
        let is_new = self.subject.replace(name.into()).is_none();
        is_new.then(|| self.is_of(entry))
    }

    fn group(&mut self, meant: Result<Meant<'_>, String>) -> Told {
        Some(meant.and_then(|meant| {
            self.groups.push(meant.text.to_owned());
            self.is_of(meant.entry)
        }))
    }

    fn claim(&mut self, meant: Result<Meant<'_>, String>, value: &str) -> Told {
        let meant = match meant {
            Ok(meant) => meant,
            Err(why) => return Some(Err(why)),
        };
        let value = Value::String(value.to_owned());
        let is_new = self.claims.insert(meant.text.to_owned(), value).is_none();
        is_new.then(|| self.is_of(meant.entry))
    }

    /// All that it says, one entry vouches for.
    fn is_of(&mut self, entry: Option<usize>) -> Result<(), String> {
        match (self.entry, entry) {
            (Some(one), Some(other)) if one != other => {
                Err("a token comes from one entry of `auth.jwt`, not from two".to_owned())
            }
            (_, None) => Ok(()),
            (_, some) => {
                self.entry = some;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn callers(auth: &str) -> Callers {
        let text = format!("auth: {auth}\ntenants: {{t: {{hosted: true}}}}");
        let folder = std::path::Path::new("");
        Callers::of(&config::parse(&text, folder, &|_| None).expect("a configuration"))
    }

    const JWKS: &str = "jwks_url: 'https://keys.example.com'";

    #[test]
    fn subjects_make_somebody() {
        let callers = callers(&format!("{{jwt: [{{{JWKS}, groups_claim: g}}]}}"));
        let kind = |text| Identity::imagined(text, &callers).map(|identity| identity.kind());
        assert_eq!(kind("anonymous").expect("somebody"), "anonymous");
        assert_eq!(kind("user:ci").expect("somebody"), "user");
        assert_eq!(kind("user:ci,group:dev").expect("somebody"), "token");
        assert_eq!(kind("claim:a=b=c").expect("somebody"), "token");
        for wrong in [
            "",
            "ci",
            "user:",
            "user:a,user:b",
            "group:",
            "claim:a",
            "claim:=a",
            "user:a,",
            "role:x",
            "claim:a=b,claim:a=c",
        ] {
            assert!(kind(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_token_is_of_one_entry() {
        let two = callers(&format!(
            "{{jwt: [{{name: github, {JWKS}}}, {{name: corp, {JWKS}, groups_claim: g}}]}}"
        ));
        let entry = |text| match Identity::imagined(text, &two) {
            Ok(Identity::Token(token)) => Ok(token.entry()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.message().to_owned()),
        };
        assert_eq!(entry("claim:github:repository=a/b"), Ok(0));
        assert_eq!(entry("user:corp:ci"), Ok(1));
        assert_eq!(entry("user:ci,group:dev"), Ok(1));
        assert_eq!(entry("user:github:ci,claim:github:a=b"), Ok(0));
        for (wrong, words) in [
            ("claim:repository=a/b", "claim:github:repository"),
            ("user:github:ci,group:corp:dev", "not from two"),
        ] {
            let told = entry(wrong).expect_err(wrong);
            assert!(told.contains(words), "{told}");
        }
    }

    #[test]
    fn without_tokens_groups_have_the_members_that_are_listed() {
        let callers = callers("{groups: {dev: [alice, ci], ops: [ci]}}");
        let name = |text| {
            Identity::imagined(text, &callers).map(|identity| {
                assert_eq!(identity.kind(), "user");
                identity.to_string()
            })
        };
        for (text, who) in [
            ("user:bob", "bob"),
            ("user:ci,group:dev", "ci"),
            ("group:dev", "alice"),
            ("group:dev,group:ops", "ci"),
        ] {
            assert_eq!(name(text).expect("somebody"), who, "{text}");
        }
        for wrong in [
            "user:alice,group:ops",
            "group:none",
            "claim:a=b",
            "user:a,user:b",
        ] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }
}
