//! Whom the subjects of rules mean: a name says little without whose name it is.
//!
//! A user of the file, the holder of a certificate and the holders of the tokens of each entry of `auth.jwt` may all be called
//! `ci`. Whoever issues tokens chooses their names and claims, so one issuer's must never pass for another's.

use std::collections::{BTreeMap, BTreeSet};

use super::{Auth, Config, Server, Subject};

/// Everybody who can be somebody, as far as rules need to know.
#[derive(Clone, Debug, Default)]
pub struct Callers {
    groups: BTreeMap<String, Vec<String>>,
    entries: Vec<Entry>,
    /// There are users or certificates.
    has_own: bool,
    /// The names of all users, where no file and no certificate has others.
    known: Option<BTreeSet<String>>,
}

/// Whether any listener takes certificates of clients.
pub(super) fn has_certificates(server: &Server) -> bool {
    let mut https = server.https.iter();
    https.any(|https| https.client_ca_file.is_some())
}

/// One of `auth.jwt`.
#[derive(Clone, Debug)]
struct Entry {
    name: Option<String>,
    /// Its tokens say only who somebody is, not what he may do.
    names_somebody: bool,
    has_groups: bool,
}

/// Whom a name, a group or a claim of a rule means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meant<'s> {
    /// Users of this gateway and holders of certificates.
    pub own: bool,
    /// Holders of tokens of this entry of `auth.jwt`, by position.
    pub entry: Option<usize>,
    /// The name, the group or the claim's name, without the entry's.
    pub text: &'s str,
}

impl Callers {
    /// Those of a whole configuration.
    pub fn of(config: &Config) -> Self {
        Self::new(&config.auth, has_certificates(&config.server))
    }

    /// Those of `auth:`, and whether clients can show certificates.
    pub fn new(auth: &Auth, certificates: bool) -> Self {
        let entries = auth.jwt.iter().map(|jwt| Entry {
            name: jwt.name.clone(),
            names_somebody: jwt.actions_path.is_none(),
            has_groups: jwt.groups_claim.is_some(),
        });
        Self {
            groups: auth.groups.clone(),
            entries: entries.collect(),
            has_own: auth.users_file.is_some() || !auth.users.is_empty() || certificates,
            known: (auth.users_file.is_none() && !certificates)
                .then(|| auth.users.keys().cloned().collect()),
        }
    }

    /// Whether anybody can have a token of somebody else's.
    pub fn has_tokens(&self) -> bool {
        !self.entries.is_empty()
    }

    /// The names that `auth.groups` lists under `group`.
    pub fn members(&self, group: &str) -> impl Iterator<Item = &str> {
        let listed = self.groups.get(group).into_iter().flatten();
        listed.map(String::as_str)
    }

    /// The entry that bare claims mean, by position, where there is one.
    pub fn only_entry(&self) -> Option<usize> {
        match self.candidates().as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }

    /// What the file calls the entry at `position`, or how it finds it.
    pub fn entry_name(&self, position: usize) -> String {
        let entry = self.entries.get(position);
        let name = entry.and_then(|entry| entry.name.clone());
        name.unwrap_or_else(|| format!("auth.jwt[{position}]"))
    }

    /// Whom `user:NAME` means, also as a member of a group.
    ///
    /// `ENTRY:NAME` is a token's holder. A bare name means our own users and certificates where there are any, else the holders
    /// of tokens, if they come from one entry. A name with a colon is no user's: it means certificates and tokens.
    /// Errors: what to write.
    pub fn user<'s>(&self, name: &'s str) -> Result<Meant<'s>, String> {
        if let Some(meant) = self.named(name) {
            return Ok(meant);
        }
        let own = Meant {
            own: true,
            entry: None,
            text: name,
        };
        // Certificates have names with `=`.
        let could_be_own = self.has_own && (!name.contains(':') || name.contains('='));
        match self.candidates().as_slice() {
            _ if could_be_own => Ok(own),
            [] => Ok(own),
            [one] => Ok(Meant {
                entry: Some(*one),
                ..own
            }),
            several => Err(self.ambiguous("user", name, several)),
        }
    }

    /// Whom `group:NAME` means besides those that `auth.groups` lists: tokens of the one entry with `groups_claim`.
    /// `group:ENTRY:NAME` means tokens only. Errors: what to write.
    pub fn group<'s>(&self, group: &'s str) -> Result<Meant<'s>, String> {
        if let Some(meant) = self.named(group) {
            return Ok(meant);
        }
        let own = Meant {
            own: true,
            entry: None,
            text: group,
        };
        let entries = self.entries.iter().enumerate();
        let with_groups: Vec<_> = entries
            .filter(|(_, entry)| entry.has_groups)
            .map(|(position, _)| position)
            .collect();
        match with_groups.as_slice() {
            [] => Ok(own),
            [one] => Ok(Meant {
                entry: Some(*one),
                ..own
            }),
            _ if self.groups.contains_key(group) => Ok(own),
            several => Err(self.ambiguous("group", group, several)),
        }
    }

    /// Whose claim `claim:NAME=GLOB` means: those of the one entry whose tokens say only who somebody is; of the only entry where
    /// there is none like that. `claim:ENTRY:NAME=GLOB` says it. Errors: what to write.
    pub fn claim<'s>(&self, claim: &'s str) -> Result<Meant<'s>, String> {
        if let Some(meant) = self.named(claim) {
            return Ok(meant);
        }
        let of = |entry| Meant {
            own: false,
            entry,
            text: claim,
        };
        match self.candidates().as_slice() {
            [] => Ok(of(None)),
            [one] => Ok(of(Some(*one))),
            several => Err(self.ambiguous("claim", claim, several)),
        }
    }

    /// Whether it is clear whom a subject means. Errors: what to write.
    pub(super) fn check(&self, subject: &Subject) -> Result<(), String> {
        match subject {
            Subject::AnyUser => Ok(()),
            Subject::User(name) => self.user(name).and_then(|meant| self.is_somebody(&meant)),
            Subject::Claim { name, .. } => self.claim(name).map(drop),
            Subject::Group(group) => {
                self.group(group)?;
                self.members(group).try_for_each(|name| {
                    self.user(name)
                        .map(drop)
                        .map_err(|why| format!("`auth.groups.{group}` has `{name}`: {why}"))
                })
            }
        }
    }

    /// Whether a user of ours who is meant can exist. A holder of a token may have been meant; without tokens it is a name that
    /// nobody has yet. Errors: what to write.
    fn is_somebody(&self, meant: &Meant<'_>) -> Result<(), String> {
        let entries = self.candidates();
        match &self.known {
            Some(known)
                if meant.entry.is_none() && !entries.is_empty() && !known.contains(meant.text) =>
            {
                Err(format!(
                    "no user of `auth.users` is called `{:.120}`; if a token's holder is meant, {}",
                    meant.text,
                    self.advice("user", meant.text, &entries)
                ))
            }
            _ => Ok(()),
        }
    }

    /// `ENTRY:text`, where there is such an entry.
    fn named<'s>(&self, text: &'s str) -> Option<Meant<'s>> {
        let (entry, text) = text.split_once(':').filter(|(_, text)| !text.is_empty())?;
        let named = |one: &Entry| one.name.as_deref() == Some(entry);
        let position = self.entries.iter().position(named)?;
        Some(Meant {
            own: false,
            entry: Some(position),
            text,
        })
    }

    /// Entries whose tokens say only who somebody is; all, where none does.
    fn candidates(&self) -> Vec<usize> {
        let positions = |wanted: fn(&Entry) -> bool| {
            let entries = self.entries.iter().enumerate();
            let fitting = entries.filter(move |(_, entry)| wanted(entry));
            fitting.map(|(position, _)| position).collect::<Vec<_>>()
        };
        let saying_who = positions(|entry| entry.names_somebody);
        if saying_who.is_empty() {
            positions(|_| true)
        } else {
            saying_who
        }
    }

    /// How to say that tokens of one of these entries are meant.
    fn advice(&self, kind: &str, text: &str, entries: &[usize]) -> String {
        let name = |position: &usize| self.entries.get(*position)?.name.as_deref();
        let example = entries.iter().find_map(name);
        match example {
            Some(example) => format!("write `{kind}:{example}:{text:.120}` for that one's"),
            None => format!(
                "give the entry that is meant a name (`auth.jwt[{}].name: corp`) and write `{kind}:corp:{text:.120}`",
                entries.first().copied().unwrap_or_default()
            ),
        }
    }

    fn ambiguous(&self, kind: &str, text: &str, entries: &[usize]) -> String {
        let advice = self.advice(kind, text, entries);
        format!(
            "`{kind}:{text:.120}` could be said by tokens of {} entries of `auth.jwt`, and one issuer's must not pass for another's; {advice}",
            entries.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callers(entries: &[(Option<&str>, bool, bool)], has_own: bool, groups: &[&str]) -> Callers {
        let entry = |(name, names_somebody, has_groups): &(Option<&str>, bool, bool)| Entry {
            name: name.map(str::to_owned),
            names_somebody: *names_somebody,
            has_groups: *has_groups,
        };
        Callers {
            groups: groups
                .iter()
                .map(|group| ((*group).to_owned(), Vec::new()))
                .collect(),
            entries: entries.iter().map(entry).collect(),
            has_own,
            known: None,
        }
    }

    /// `own`, the entry, or both; `?`: nobody can know.
    fn said(meant: &Result<Meant<'_>, String>) -> String {
        match meant {
            Ok(meant) => format!(
                "{}{}{}",
                if meant.own { "own " } else { "" },
                meant.entry.map_or(String::new(), |at| format!("{at} ")),
                meant.text
            ),
            Err(_) => "?".to_owned(),
        }
    }

    #[test]
    fn a_name_is_of_those_who_can_have_it() {
        const MUSEUM: (Option<&str>, bool, bool) = (None, false, false);
        const GITHUB: (Option<&str>, bool, bool) = (Some("github"), true, false);
        const CORP: (Option<&str>, bool, bool) = (Some("corp"), true, true);
        const OTHER: (Option<&str>, bool, bool) = (None, true, true);
        for (entries, own, name, user, group, claim) in [
            (&[][..], true, "ci", "own ci", "own ci", "ci"),
            (&[GITHUB], false, "ci", "own 0 ci", "own ci", "0 ci"),
            // Somebody else's token must not pass for the user of that name.
            (&[GITHUB], true, "ci", "own ci", "own ci", "0 ci"),
            (
                &[GITHUB],
                true,
                "repo:a/b",
                "own 0 repo:a/b",
                "own repo:a/b",
                "0 repo:a/b",
            ),
            (&[GITHUB], true, "github:ci", "0 ci", "0 ci", "0 ci"),
            (
                &[GITHUB],
                true,
                "github:repo:a",
                "0 repo:a",
                "0 repo:a",
                "0 repo:a",
            ),
            (&[MUSEUM], false, "ci", "own 0 ci", "own ci", "0 ci"),
            (&[MUSEUM, GITHUB], false, "ci", "own 1 ci", "own ci", "1 ci"),
            (&[MUSEUM, MUSEUM], false, "ci", "?", "own ci", "?"),
            (&[GITHUB, CORP], false, "ci", "?", "own 1 ci", "?"),
            (&[GITHUB, CORP], true, "ci", "own ci", "own 1 ci", "?"),
            (&[GITHUB, CORP], true, "a:b", "?", "own 1 a:b", "?"),
            (&[GITHUB, CORP], true, "corp:ci", "1 ci", "1 ci", "1 ci"),
            (&[OTHER, CORP], true, "ci", "own ci", "?", "?"),
            (
                &[OTHER, CORP],
                true,
                "listed",
                "own listed",
                "own listed",
                "?",
            ),
        ] {
            let callers = callers(entries, own, &["listed"]);
            let all = [callers.user(name), callers.group(name), callers.claim(name)];
            assert_eq!(
                all.each_ref().map(said),
                [user, group, claim],
                "{name} {entries:?}"
            );
        }
    }

    #[test]
    fn advice_names_an_entry() {
        let named = callers(
            &[(None, true, false), (Some("corp"), true, false)],
            false,
            &[],
        );
        let told = named.claim("repository").expect_err("nobody can know");
        assert!(told.contains("`claim:corp:repository`"), "{told}");
        let nameless = callers(&[(None, true, false), (None, true, false)], false, &[]);
        let told = nameless.user("ci").expect_err("nobody can know");
        assert!(told.contains("auth.jwt[0].name"), "{told}");
    }

    #[test]
    fn a_name_that_no_user_has_may_have_meant_a_token() {
        let mut callers = callers(&[(Some("corp"), true, false)], true, &[]);
        let ci = Subject::User("ci".into());
        assert_eq!(callers.check(&ci), Ok(()), "a file may have him");
        callers.known = Some(BTreeSet::from(["admin".to_owned()]));
        let why = callers.check(&ci).expect_err("nobody");
        assert!(why.contains("write `user:corp:ci`"), "{why}");
        for name in ["admin", "corp:ci"] {
            assert_eq!(callers.check(&Subject::User(name.into())), Ok(()));
        }
        (callers.known, callers.has_own) = (Some(BTreeSet::new()), false);
        assert_eq!(callers.check(&ci), Ok(()), "a token's holder");
        callers.entries.clear();
        assert_eq!(callers.check(&ci), Ok(()), "there are no tokens");
    }
}
