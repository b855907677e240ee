//! What an identity may do in one tenant.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Identity;
use super::token::ClaimPattern;
use crate::config::{Access, Action, Rule, Subject};
use crate::error::{Error, ErrorKind, Result};

/// The access rules of one tenant, ready to be asked: a look-up allocates nothing.
#[derive(Clone, Debug)]
pub struct Policy {
    anonymous: Actions,
    rules: Vec<Compiled>,
}

/// The answer to "may they?", with the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// What allowed it; `None` where nothing did.
    pub by: Option<Granted>,
}

/// What allowed an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// `access.anonymous`: everybody may.
    Anonymous,
    /// `access.rules[n]`, the first that matches.
    Rule(usize),
    /// What the token says about this tenant.
    Token,
}

impl Policy {
    /// The policy that `access` describes, where `groups` has the users of each group. Errors: a claim's pattern is none.
    pub fn new(access: &Access, groups: &BTreeMap<String, Vec<String>>) -> Result<Self> {
        let rules = access.rules.iter().map(|rule| Compiled::of(rule, groups));
        Ok(Self {
            anonymous: Actions::of(&access.anonymous),
            rules: rules.collect::<Result<_>>()?,
        })
    }

    /// Whether `identity` may do `action` in the tenant at `path` (segments joined by `/`, empty for the root).
    pub fn allows(&self, identity: &Identity, path: &str, action: Action) -> bool {
        self.decide(identity, path, action).allowed
    }

    /// As [`Policy::allows`], with the reason. What anonymous clients may do, everybody may.
    pub fn decide(&self, identity: &Identity, path: &str, action: Action) -> Decision {
        let by = if self.anonymous.contain(action) {
            Some(Granted::Anonymous)
        } else if let Some(rule) = self.rule_for(identity, action) {
            Some(Granted::Rule(rule))
        } else {
            match identity {
                Identity::Token(token) if token.grants(path).contain(action) => {
                    Some(Granted::Token)
                }
                _ => None,
            }
        };
        Decision {
            allowed: by.is_some(),
            by,
        }
    }

    /// Nothing, where `identity` may do `action`; else the error to answer with: anonymous clients and holders of tokens that
    /// do not reach so far are asked for credentials (401), known users are refused (403).
    pub fn authorize(&self, identity: &Identity, path: &str, action: Action) -> Result<()> {
        if self.allows(identity, path, action) {
            return Ok(());
        }
        let verb = verb(action);
        Err(match identity {
            Identity::Anonymous => Error::new(
                ErrorKind::Unauthenticated,
                format!("credentials are needed to {verb} here"),
            ),
            // The challenge of a 401 says which token is needed; the client can fetch that one.
            Identity::Token(token) if !token.names_somebody() => Error::new(
                ErrorKind::Unauthenticated,
                format!("the token does not allow to {verb} here"),
            ),
            Identity::User { .. } | Identity::Certificate { .. } | Identity::Token(_) => {
                Error::new(
                    ErrorKind::Forbidden,
                    format!("`{identity}` may not {verb} here"),
                )
            }
        })
    }

    /// Whether strangers may do `least`, and nobody may do more than strangers because of who he is. Tokens may still say that
    /// they allow more.
    pub fn treats_all_alike(&self, least: Action) -> bool {
        let is_more = |rule: &Compiled| rule.actions.0 & !self.anonymous.0 != 0;
        self.anonymous.contain(least) && !self.rules.iter().any(is_more)
    }

    fn rule_for(&self, identity: &Identity, action: Action) -> Option<usize> {
        self.rules
            .iter()
            .position(|rule| rule.actions.contain(action) && rule.is_about(identity))
    }
}

#[derive(Clone, Debug)]
struct Compiled {
    everybody: bool,
    /// Users, those of the groups included.
    names: Vec<String>,
    /// Groups, as tokens name them.
    groups: Vec<String>,
    claims: Vec<ClaimPattern>,
    actions: Actions,
}

impl Compiled {
    fn of(rule: &Rule, members: &BTreeMap<String, Vec<String>>) -> Result<Self> {
        let mut compiled = Self {
            everybody: false,
            names: Vec::new(),
            groups: Vec::new(),
            claims: Vec::new(),
            actions: Actions::of(&rule.actions),
        };
        for subject in &rule.subjects {
            match subject {
                Subject::User(name) => compiled.names.push(name.clone()),
                Subject::AnyUser => compiled.everybody = true,
                Subject::Group(group) => {
                    let users = members.get(group).into_iter().flatten();
                    compiled.names.extend(users.cloned());
                    compiled.groups.push(group.clone());
                }
                Subject::Claim { name, pattern } => {
                    compiled.claims.push(ClaimPattern::new(name, pattern)?);
                }
            }
        }
        Ok(compiled)
    }

    fn is_about(&self, identity: &Identity) -> bool {
        let named = |name: &Arc<str>| self.names.iter().any(|known| **known == **name);
        if self.everybody && *identity != Identity::Anonymous || identity.name().is_some_and(named)
        {
            return true;
        }
        let Identity::Token(token) = identity else {
            return false;
        };
        self.groups.iter().any(|group| token.is_in(group))
            || self.claims.iter().any(|claim| token.has(claim))
    }
}

/// A set of actions. `admin` contains all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Actions(u8);

impl Actions {
    pub(super) fn of(actions: &[Action]) -> Self {
        let bits = |action: &Action| match action {
            Action::Admin => u8::MAX,
            other => bit(*other),
        };
        Self(actions.iter().map(bits).fold(0, |all, bits| all | bits))
    }

    pub(super) fn contain(self, action: Action) -> bool {
        self.0 & bit(action) != 0
    }
}

fn bit(action: Action) -> u8 {
    match action {
        Action::Pull => 1,
        Action::Push => 2,
        Action::Delete => 4,
        Action::Admin => 8,
    }
}

fn verb(action: Action) -> &'static str {
    match action {
        Action::Pull => "pull",
        Action::Push => "push",
        Action::Delete => "delete",
        Action::Admin => "administer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Identity {
        Identity::User { name: name.into() }
    }

    fn policy() -> Policy {
        of(&Access {
            anonymous: vec![Action::Pull],
            rules: vec![
                Rule {
                    subjects: vec![Subject::User("ci".into()), Subject::User("CN=ci".into())],
                    actions: vec![Action::Push],
                },
                Rule {
                    subjects: vec![Subject::AnyUser],
                    actions: vec![Action::Delete],
                },
                Rule {
                    subjects: vec![Subject::User("root".into())],
                    actions: vec![Action::Admin],
                },
            ],
        })
    }

    /// The policy of tenants without groups.
    fn of(access: &Access) -> Policy {
        Policy::new(access, &BTreeMap::new()).expect("a policy")
    }

    #[test]
    fn any_rule_that_matches_is_enough() {
        let policy = policy();
        let certificate = Identity::Certificate {
            subject: "CN=ci".into(),
        };
        for (identity, action, by) in [
            (Identity::Anonymous, Action::Pull, Some(Granted::Anonymous)),
            (Identity::Anonymous, Action::Push, None),
            (Identity::Anonymous, Action::Delete, None),
            (user("ci"), Action::Pull, Some(Granted::Anonymous)),
            (user("ci"), Action::Push, Some(Granted::Rule(0))),
            (user("ci"), Action::Delete, Some(Granted::Rule(1))),
            (user("ci"), Action::Admin, None),
            (user("CI"), Action::Push, None),
            (certificate, Action::Push, Some(Granted::Rule(0))),
            (user("root"), Action::Push, Some(Granted::Rule(2))),
            (user("root"), Action::Admin, Some(Granted::Rule(2))),
        ] {
            let decision = policy.decide(&identity, "", action);
            assert_eq!(decision.by, by, "{identity} {action:?}");
            assert_eq!(decision.allowed, by.is_some());
        }
    }

    #[test]
    fn strangers_are_asked_and_known_users_refused() {
        let policy = policy();
        let kind = |identity: &Identity| {
            policy
                .authorize(identity, "", Action::Push)
                .expect_err("refused")
                .kind()
        };
        assert_eq!(kind(&Identity::Anonymous), ErrorKind::Unauthenticated);
        assert_eq!(kind(&user("eve")), ErrorKind::Forbidden);
        assert!(policy.authorize(&user("ci"), "", Action::Push).is_ok());
    }

    #[test]
    fn who_may_more_than_strangers_makes_a_difference() {
        let open = |anonymous: &[Action], rule: &[Action]| {
            let rule = Rule {
                subjects: vec![Subject::AnyUser],
                actions: rule.to_vec(),
            };
            of(&Access {
                anonymous: anonymous.to_vec(),
                rules: vec![rule],
            })
            .treats_all_alike(Action::Pull)
        };
        assert!(open(&[Action::Pull], &[]) && open(&[Action::Pull], &[Action::Pull]));
        assert!(open(&[Action::Admin], &[Action::Push, Action::Admin]));
        assert!(!open(&[Action::Pull], &[Action::Push]));
        assert!(!open(&[Action::Push], &[]) && !open(&[], &[]));
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        let policy = of(&Access::default());
        for identity in [Identity::Anonymous, user("ci")] {
            assert!(!policy.allows(&identity, "", Action::Pull));
        }
    }
}
