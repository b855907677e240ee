//! What an identity may do in one tenant.

use super::Identity;
use super::names::{About, NamePatterns, Sight};
use super::token::{ClaimPattern, Token};
use crate::config::{Access, Action, Callers, Rule, Subject};
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
    /// The policy that `access` describes, where `callers` are those who can be somebody. Errors: a pattern is none; it is not
    /// clear whom a subject means.
    pub fn new(access: &Access, callers: &Callers) -> Result<Self> {
        let rules = access.rules.iter().map(|rule| Compiled::of(rule, callers));
        Ok(Self {
            anonymous: Actions::of(&access.anonymous),
            rules: rules.collect::<Result<_>>()?,
        })
    }

    /// Whether `identity` may do `action` to what `about` says, in the tenant at `path` (segments joined by `/`, empty for the
    /// root).
    pub fn allows(
        &self,
        identity: &Identity,
        path: &str,
        action: Action,
        about: About<'_>,
    ) -> bool {
        self.decide(identity, path, action, about).allowed
    }

    /// As [`Policy::allows`], with the reason. What anonymous clients may do, everybody may.
    pub fn decide(
        &self,
        identity: &Identity,
        path: &str,
        action: Action,
        about: About<'_>,
    ) -> Decision {
        let by = if self.anonymous.contain(action) {
            Some(Granted::Anonymous)
        } else if let Some(rule) = self.rule_for(identity, action, about) {
            Some(Granted::Rule(rule))
        } else {
            let own = Own::of(identity, path);
            let covers = || own.names.is_none_or(|names| about.is_covered_by(names));
            (own.actions.contain(action) && covers()).then_some(Granted::Token)
        };
        Decision {
            allowed: by.is_some(),
            by,
        }
    }

    /// The rules that would allow it if they were about other names.
    pub fn rules_about_others<'p>(
        &'p self,
        identity: &'p Identity,
        action: Action,
        about: About<'p>,
    ) -> impl Iterator<Item = usize> + 'p {
        let rules = self.rules.iter().enumerate();
        let misses = rules.filter(move |(_, rule)| {
            let others = rule.objects.as_ref();
            rule.actions.contain(action)
                && rule.is_about(identity)
                && others.is_some_and(|objects| !about.is_covered_by(objects))
        });
        misses.map(|(number, _)| number)
    }

    /// To what in the tenant at `path` `identity` may do `action`: exactly what [`Policy::allows`] says for each name.
    pub fn sight(&self, identity: &Identity, path: &str, action: Action) -> Sight {
        if self.anonymous.contain(action) {
            return Sight::Everything;
        }
        let mut patterns = Vec::new();
        let rules = self
            .rules
            .iter()
            .filter(|rule| rule.actions.contain(action) && rule.is_about(identity));
        for rule in rules {
            match &rule.objects {
                None => return Sight::Everything,
                Some(objects) => patterns.push(objects.clone()),
            }
        }
        let own = Own::of(identity, path);
        match own.names {
            _ if !own.actions.contain(action) => {}
            None => return Sight::Everything,
            Some(names) => patterns.push(names.clone()),
        }
        Sight::of(patterns)
    }

    /// Nothing, where `identity` may do `action` to what `about` says; else the error to answer with.
    ///
    /// Who may pull other things here learns nothing about this one: it is not found (404), whether it is there or not. Otherwise
    /// anonymous clients and holders of tokens that do not reach so far are asked for credentials (401), and known users are
    /// refused (403). Nothing is looked up for any of them.
    pub fn authorize(
        &self,
        identity: &Identity,
        path: &str,
        action: Action,
        about: About<'_>,
    ) -> Result<()> {
        if self.allows(identity, path, action, about) {
            return Ok(());
        }
        let pulls = |about| self.allows(identity, path, Action::Pull, about);
        if about != About::Tenant && pulls(About::Tenant) && !pulls(about) {
            return Err(Error::not_found(format!("{about} does not exist here")));
        }
        let verb = action.verb();
        Err(match identity {
            Identity::Anonymous => Error::new(
                ErrorKind::Unauthenticated,
                format!("credentials are needed to {verb} here"),
            ),
            // The challenge of a 401 says which token is needed; the client can fetch that one.
            _ if identity.may_have_more() => Error::new(
                ErrorKind::Unauthenticated,
                format!("the token does not allow to {verb} here"),
            ),
            _ => Error::new(
                ErrorKind::Forbidden,
                format!("`{identity}` may not {verb} here"),
            ),
        })
    }

    /// Whether strangers may do `least`, and nobody may do more than strangers because of who he is. Tokens may still say that
    /// they allow more.
    pub fn treats_all_alike(&self, least: Action) -> bool {
        let is_more = |rule: &Compiled| rule.actions.0 & !self.anonymous.0 != 0;
        self.anonymous.contain(least) && !self.rules.iter().any(is_more)
    }

    fn rule_for(&self, identity: &Identity, action: Action, about: About<'_>) -> Option<usize> {
        self.rules.iter().position(|rule| {
            rule.actions.contain(action)
                && rule.is_about(identity)
                && rule
                    .objects
                    .as_ref()
                    .is_none_or(|objects| about.is_covered_by(objects))
        })
    }
}

/// What an identity brings with it, whatever the rules say.
struct Own<'i> {
    actions: Actions,
    /// To which names; `None`: to all.
    names: Option<&'i NamePatterns>,
}

impl<'i> Own<'i> {
    fn of(identity: &'i Identity, path: &str) -> Self {
        match identity {
            Identity::Token(token) => Self {
                actions: token.grants(path),
                names: None,
            },
            Identity::ApiToken(token) => Self {
                actions: token.grants(path),
                names: token.patterns(),
            },
            Identity::Anonymous | Identity::User { .. } | Identity::Certificate { .. } => Self {
                actions: Actions::of(&[]),
                names: None,
            },
        }
    }
}

#[derive(Clone, Debug)]
struct Compiled {
    everybody: bool,
    /// Our own users and holders of certificates, those of the groups included.
    names: Vec<String>,
    /// Holders of tokens, each with the entry of `auth.jwt` that must vouch for it.
    tokens: Vec<(usize, Holder)>,
    actions: Actions,
    /// What of the tenant it is about; `None`: all of it.
    objects: Option<NamePatterns>,
}

/// What a token has to say.
#[derive(Clone, Debug)]
enum Holder {
    /// Anything.
    Any,
    /// Who holds it.
    Named(String),
    /// That he belongs to a group.
    InGroup(String),
    /// A claim.
    With(ClaimPattern),
}

impl Compiled {
    fn of(rule: &Rule, callers: &Callers) -> Result<Self> {
        let objects = (!rule.names.is_empty()).then(|| NamePatterns::new(&rule.names));
        let actions = Actions::of(&rule.actions);
        let mut compiled = Self {
            everybody: false,
            names: Vec::new(),
            tokens: Vec::new(),
            // Administering is nothing that is done to one name.
            actions: match objects {
                Some(_) => actions.without_admin(),
                None => actions,
            },
            objects: objects.transpose()?,
        };
        for subject in &rule.subjects {
            match subject {
                Subject::AnyUser => compiled.everybody = true,
                Subject::User(name) => compiled.add_user(name, callers)?,
                Subject::Group(group) => {
                    for name in callers.members(group) {
                        compiled.add_user(name, callers)?;
                    }
                    let meant = callers.group(group).map_err(Error::invalid)?;
                    let holder = Holder::InGroup(meant.text.to_owned());
                    compiled.tokens.extend(meant.entry.map(|at| (at, holder)));
                }
                Subject::Claim { name, pattern } => {
                    let meant = callers.claim(name).map_err(Error::invalid)?;
                    let holder = Holder::With(ClaimPattern::new(meant.text, pattern)?);
                    compiled.tokens.extend(meant.entry.map(|at| (at, holder)));
                }
            }
        }
        Ok(compiled)
    }

    fn add_user(&mut self, name: &str, callers: &Callers) -> Result<()> {
        let meant = callers.user(name).map_err(Error::invalid)?;
        if meant.own {
            self.names.push(meant.text.to_owned());
        }
        let holder = match meant.text {
            "*" => Holder::Any,
            name => Holder::Named(name.to_owned()),
        };
        self.tokens.extend(meant.entry.map(|at| (at, holder)));
        Ok(())
    }

    fn is_about(&self, identity: &Identity) -> bool {
        match identity {
            // An API token was made for something, and may have the name of anybody.
            Identity::Anonymous | Identity::ApiToken(_) => false,
            _ if self.everybody => true,
            Identity::User { name } | Identity::Certificate { subject: name } => {
                self.names.iter().any(|known| **known == **name)
            }
            Identity::Token(token) => self
                .tokens
                .iter()
                .any(|(entry, holder)| *entry == token.entry() && holder.is(token)),
        }
    }
}

impl Holder {
    fn is(&self, token: &Token) -> bool {
        match self {
            Self::Any => true,
            Self::Named(name) => token.subject().is_some_and(|known| **known == **name),
            Self::InGroup(group) => token.is_in(group),
            Self::With(claim) => token.has(claim),
        }
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

    /// For what is kept to some names.
    pub(super) fn without_admin(self) -> Self {
        Self(self.0 & !bit(Action::Admin))
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
                    names: Vec::new(),
                },
                Rule {
                    subjects: vec![Subject::AnyUser],
                    actions: vec![Action::Delete],
                    names: Vec::new(),
                },
                Rule {
                    subjects: vec![Subject::User("root".into())],
                    actions: vec![Action::Admin],
                    names: Vec::new(),
                },
            ],
        })
    }

    /// The policy of tenants without groups.
    fn of(access: &Access) -> Policy {
        Policy::new(access, &Callers::default()).expect("a policy")
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
            let decision = policy.decide(&identity, "", action, About::Tenant);
            assert_eq!(decision.by, by, "{identity} {action:?}");
            assert_eq!(decision.allowed, by.is_some());
        }
    }

    #[test]
    fn strangers_are_asked_and_known_users_refused() {
        let policy = policy();
        let kind = |identity: &Identity| {
            policy
                .authorize(identity, "", Action::Push, About::Tenant)
                .expect_err("refused")
                .kind()
        };
        assert_eq!(kind(&Identity::Anonymous), ErrorKind::Unauthenticated);
        assert_eq!(kind(&user("eve")), ErrorKind::Forbidden);
        assert!(
            policy
                .authorize(&user("ci"), "", Action::Push, About::Tenant)
                .is_ok()
        );
    }

    #[test]
    fn who_may_more_than_strangers_makes_a_difference() {
        let open = |anonymous: &[Action], rule: &[Action]| {
            let rule = Rule {
                subjects: vec![Subject::AnyUser],
                actions: rule.to_vec(),
                names: Vec::new(),
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
            assert!(!policy.allows(&identity, "", Action::Pull, About::Tenant));
        }
    }
}
