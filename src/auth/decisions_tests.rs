//! What a policy decides, against a table that is written the plainest way: words, and no code shared with the policy.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use super::{About, Identity, Policy};
use crate::config::{Access, Action, Rule, Subject};

/// Somebody: as `--as` names him, his name, the groups and the claim that his token has.
type Somebody = (
    &'static str,
    Option<&'static str>,
    &'static [&'static str],
    Option<(&'static str, &'static str)>,
);

const EVERYBODY: &[Somebody] = &[
    ("anonymous", None, &[], None),
    ("user:ci", Some("ci"), &[], None),
    ("user:alice", Some("alice"), &[], None),
    ("user:eve", Some("eve"), &[], None),
    ("user:eve,group:dev", Some("eve"), &["dev"], None),
    ("user:ci,group:ops", Some("ci"), &["ops"], None),
    ("group:dev", None, &["dev"], None),
    ("group:token", None, &["token"], None),
    (
        "claim:repository=acme/app",
        None,
        &[],
        Some(("repository", "acme/app")),
    ),
    (
        "user:eve,claim:repository=evil/acme",
        Some("eve"),
        &[],
        Some(("repository", "evil/acme")),
    ),
];

const SUBJECTS: &[&str] = &[
    "user:*",
    "user:ci",
    "user:token",
    "user:dev",
    "group:dev",
    "group:ops",
    "group:none",
    "claim:repository=acme/*",
    "claim:repository=evil/acme",
    "claim:other=*",
];

const ACTIONS: [Action; 4] = [Action::Pull, Action::Push, Action::Delete, Action::Admin];

/// Who is in `dev` and `ops` by `auth.groups`.
const MEMBERS: &[(&str, &[&str])] = &[("dev", &["alice"]), ("ops", &["alice", "ci"])];

fn subject(text: &str) -> Subject {
    let (kind, name) = text.split_once(':').expect("a kind");
    match (kind, name.split_once('=')) {
        ("claim", Some((name, pattern))) => Subject::Claim {
            name: name.to_owned(),
            pattern: pattern.to_owned(),
        },
        ("group", _) => Subject::Group(name.to_owned()),
        _ if name == "*" => Subject::AnyUser,
        _ => Subject::User(name.to_owned()),
    }
}

/// Whether a rule about `subject` is about `who`.
fn means(subject: &str, (text, name, groups, claim): Somebody) -> bool {
    if text == "anonymous" {
        return false;
    }
    match subject {
        "user:*" => true,
        "user:ci" => name == Some("ci"),
        "group:dev" => groups.contains(&"dev") || name == Some("alice"),
        "group:ops" => groups.contains(&"ops") || matches!(name, Some("alice" | "ci")),
        "claim:repository=acme/*" => claim.is_some_and(|(_, value)| value.starts_with("acme/")),
        "claim:repository=evil/acme" => claim.is_some_and(|(_, value)| value == "evil/acme"),
        _ => false,
    }
}

fn includes(actions: &[Action], action: Action) -> bool {
    actions.contains(&Action::Admin) || actions.contains(&action)
}

fn rule() -> impl Strategy<Value = (Vec<&'static str>, Vec<Action>)> {
    (
        subsequence(SUBJECTS, 0..4),
        subsequence(ACTIONS.to_vec(), 0..4),
    )
}

proptest! {
    #[test]
    fn every_decision_is_that_of_the_table(
        anonymous in subsequence(ACTIONS.to_vec(), 0..3),
        rules in proptest::collection::vec(rule(), 0..5),
        who in any::<Index>(),
    ) {
        let who = *who.get(EVERYBODY);
        let access = Access {
            anonymous: anonymous.clone(),
            rules: rules
                .iter()
                .map(|(subjects, actions)| Rule {
                    subjects: subjects.iter().map(|text| subject(text)).collect(),
                    actions: actions.clone(),
                    names: Vec::new(),
                })
                .collect(),
        };
        let groups: BTreeMap<String, Vec<String>> = MEMBERS
            .iter()
            .map(|(group, users)| {
                let users = users.iter().map(|&user| user.to_owned());
                ((*group).to_owned(), users.collect())
            })
            .collect();
        let policy = Policy::new(&access, &groups).expect("a policy");
        let identity = Identity::imagined(who.0).expect("somebody");
        for path in ["", "acme", "acme/app"] {
            for action in ACTIONS {
                let by_rule = rules.iter().any(|(subjects, actions)| {
                    includes(actions, action) && subjects.iter().any(|one| means(one, who))
                });
                let expected = includes(&anonymous, action) || by_rule;
                let allowed = policy.allows(&identity, path, action, About::Tenant);
                prop_assert_eq!(allowed, expected, "{} {:?}", who.0, action);
                let refused = policy.authorize(&identity, path, action, About::Tenant).err();
                let kind = refused.map(|error| error.kind());
                let stranger = who.0 == "anonymous";
                prop_assert_eq!(kind, match (expected, stranger) {
                    (true, _) => None,
                    (false, true) => Some(crate::error::ErrorKind::Unauthenticated),
                    (false, false) => Some(crate::error::ErrorKind::Forbidden),
                });
            }
        }
    }
}
