//! What a policy decides, against a table that is written the plainest way: words, and no code shared with the policy.

use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use super::{About, ApiToken, Identity, Lasts, Policy, Wish};
use crate::config::{Access, Action, Auth, Callers, Jwt, JwtKeys, Rule, Subject};
use crate::digest::Digest;
use crate::error::ErrorKind;

/// Somebody: as `--as` names him, whose tokens he has (`own` for users), his name, his groups, his claim.
type Somebody = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static str,
);

const EVERYBODY: &[Somebody] = &[
    ("anonymous", "nobody", "", &[], ""),
    ("user:ci", "own", "ci", &[], ""),
    ("user:alice", "own", "alice", &[], ""),
    ("user:eve", "own", "eve", &[], ""),
    ("user:github:ci", "github", "ci", &[], ""),
    ("user:github:bot", "github", "bot", &[], ""),
    ("user:corp:ci", "corp", "ci", &[], ""),
    ("user:corp:alice,group:dev", "corp", "alice", &["dev"], ""),
    ("user:corp:eve,group:ops", "corp", "eve", &["ops"], ""),
    ("group:corp:dev,group:ops", "corp", "", &["dev", "ops"], ""),
    (
        "claim:github:repository=acme/app",
        "github",
        "",
        &[],
        "acme/app",
    ),
    (
        "user:github:ci,claim:github:repository=evil/acme",
        "github",
        "ci",
        &[],
        "evil/acme",
    ),
    (
        "claim:corp:repository=acme/app",
        "corp",
        "",
        &[],
        "acme/app",
    ),
];

const SUBJECTS: &[&str] = &[
    "user:*",
    "user:ci",
    "user:token",
    "user:github:ci",
    "user:github:*",
    "user:corp:ci",
    "group:dev",
    "group:ops",
    "group:none",
    "group:corp:dev",
    "group:github:dev",
    "claim:github:repository=acme/*",
    "claim:corp:repository=acme/*",
    "claim:github:repository=evil/acme",
    "claim:github:other=*",
];

const ACTIONS: [Action; 4] = [Action::Pull, Action::Push, Action::Delete, Action::Admin];

const PATTERNS: &[&str] = &["app", "app-*", "team/**", "hub/**", "*", "library/nginx"];

const ABOUT: &[About<'static>] = &[
    About::Tenant,
    About::Name("app"),
    About::Name("app-x"),
    About::Name("app-x/y"),
    About::Name("team/a/b"),
    About::Name("library/nginx"),
    About::Name("secret"),
    About::Member {
        upstream: "hub",
        name: "app",
    },
    About::Member {
        upstream: "hub",
        name: "library/nginx",
    },
    About::Member {
        upstream: "other",
        name: "library/nginx",
    },
];

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

/// Users, an issuer without groups, and one with.
fn callers() -> Callers {
    let jwt = |name: &str, groups: Option<&str>| Jwt {
        name: Some(name.to_owned()),
        groups_claim: groups.map(str::to_owned),
        ..Jwt::new(JwtKeys::File("key.pem".into()), None)
    };
    let members = |users: &[&str]| users.iter().map(|&user| user.to_owned()).collect();
    let auth = Auth {
        users_file: Some("htpasswd".into()),
        jwt: vec![jwt("github", None), jwt("corp", Some("groups"))],
        groups: [
            ("dev".to_owned(), members(&["alice"])),
            ("ops".to_owned(), members(&["alice", "ci", "github:bot"])),
        ]
        .into(),
        ..Auth::default()
    };
    Callers::new(&auth, false)
}

/// Whether a rule about `subject` is about `who`.
fn means(subject: &str, (_, whose, name, groups, claim): Somebody) -> bool {
    match subject {
        "user:*" => whose != "nobody",
        "user:ci" => whose == "own" && name == "ci",
        "user:github:ci" => whose == "github" && name == "ci",
        "user:github:*" => whose == "github",
        "user:corp:ci" => whose == "corp" && name == "ci",
        "group:dev" => {
            whose == "own" && name == "alice" || whose == "corp" && groups.contains(&"dev")
        }
        "group:ops" => {
            whose == "own" && (name == "alice" || name == "ci")
                || whose == "github" && name == "bot"
                || whose == "corp" && groups.contains(&"ops")
        }
        "group:corp:dev" => whose == "corp" && groups.contains(&"dev"),
        "claim:github:repository=acme/*" => whose == "github" && claim == "acme/app",
        "claim:corp:repository=acme/*" => whose == "corp" && claim == "acme/app",
        "claim:github:repository=evil/acme" => whose == "github" && claim == "evil/acme",
        _ => false,
    }
}

/// Whether a rule with these names is about it.
fn covers(names: &[&str], about: About<'_>) -> bool {
    let fits = |name: &str| {
        names.iter().any(|pattern| match *pattern {
            "app" => name == "app",
            "app-*" => name.starts_with("app-") && !name.contains('/'),
            "team/**" => name.starts_with("team/"),
            "hub/**" => name.starts_with("hub/"),
            "*" => !name.contains('/'),
            "library/nginx" => name == "library/nginx",
            other => panic!("{other}"),
        })
    };
    match about {
        _ if names.is_empty() => true,
        About::Tenant => true,
        About::Name(name) => fits(name),
        About::Member { upstream, name } => fits(name) || fits(&format!("{upstream}/{name}")),
    }
}

fn includes(actions: &[Action], action: Action) -> bool {
    actions.contains(&Action::Admin) || actions.contains(&action)
}

/// Subjects, actions, names.
type Words = (Vec<&'static str>, Vec<Action>, Vec<&'static str>);

fn rule() -> impl Strategy<Value = Words> {
    (
        subsequence(SUBJECTS, 0..4),
        subsequence(ACTIONS.to_vec(), 0..4),
        subsequence(PATTERNS, 0..3),
    )
}

/// What is answered: nothing where it is allowed.
fn table(
    anonymous: &[Action],
    rules: &[Words],
    who: Somebody,
    action: Action,
    about: About<'_>,
) -> Option<ErrorKind> {
    let allowed = |action: Action, about: About<'_>| {
        let by_rule = rules.iter().any(|(subjects, actions, names)| {
            includes(actions, action)
                && (action != Action::Admin || names.is_empty())
                && subjects.iter().any(|one| means(one, who))
                && covers(names, about)
        });
        includes(anonymous, action) || by_rule
    };
    if allowed(action, about) {
        None
    } else if allowed(Action::Pull, About::Tenant) && !allowed(Action::Pull, about) {
        Some(ErrorKind::NotFound)
    } else if who.0 == "anonymous" {
        Some(ErrorKind::Unauthenticated)
    } else {
        Some(ErrorKind::Forbidden)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn every_decision_is_that_of_the_table(
        anonymous in subsequence(ACTIONS.to_vec(), 0..2),
        rules in proptest::collection::vec(rule(), 0..5),
        who in any::<Index>(),
    ) {
        let who = *who.get(EVERYBODY);
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let access = Access {
            anonymous: anonymous.clone(),
            rules: rules
                .iter()
                .map(|(subjects, actions, names)| Rule {
                    subjects: subjects.iter().map(|text| subject(text)).collect(),
                    actions: actions.clone(),
                    names: owned(names),
                })
                .collect(),
        };
        let callers = callers();
        let policy = Policy::new(&access, &callers).expect("a policy");
        let identity = Identity::imagined(who.0, &callers).expect("somebody");
        for path in ["", "acme", "acme/app"] {
            for action in ACTIONS {
                let sight = policy.sight(&identity, path, action);
                for about in ABOUT.iter().copied() {
                    let expected = table(&anonymous, &rules, who, action, about);
                    let refused = policy.authorize(&identity, path, action, about).err();
                    let kind = refused.map(|error| error.kind());
                    prop_assert_eq!(kind, expected, "{} {:?} {:?}", who.0, action, about);
                    let allowed = policy.allows(&identity, path, action, about);
                    prop_assert_eq!(allowed, expected.is_none());
                    // What somebody is shown in lists is what he gets by name.
                    prop_assert_eq!(sight.includes(about), allowed, "{} {:?} {:?}", who.0, action, about);
                    if let About::Name(name) = about && allowed {
                        // What is shown through the group, each upstream shows as well.
                        let member = About::Member { upstream: "hub", name };
                        prop_assert!(policy.allows(&identity, path, action, member));
                    }
                }
            }
        }
    }
}

/// Where tokens of our own count, as they are written.
const PLACES: &[&str] = &["/", "acme", "acme/*", "acme/**"];

fn is_in(places: &[&str], path: &str) -> bool {
    places.iter().any(|place| match *place {
        "/" => path.is_empty(),
        "acme" => path == "acme",
        "acme/*" => path == "acme/app",
        "acme/**" => path == "acme" || path.starts_with("acme/"),
        other => panic!("{other}"),
    })
}

fn api_token(places: &[&str], actions: &[Action], names: &[&str]) -> Identity {
    let owned = |texts: &[&str]| -> Vec<String> { texts.iter().map(|&text| text.into()).collect() };
    let wish = Wish::new("ci", &owned(places), actions, &owned(names), Lasts::Forever);
    let id = "0123456789ab".parse().expect("an id");
    let (digest, made) = (Digest::of(b"text"), Timestamp::UNIX_EPOCH);
    let token = ApiToken::new(id, digest, wish.expect("a wish"), made, None);
    Identity::ApiToken(Arc::new(token))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_token_of_ours_may_do_what_it_says_and_what_everybody_may(
        anonymous in subsequence(ACTIONS.to_vec(), 0..2),
        rules in proptest::collection::vec(rule(), 0..3),
        places in subsequence(PLACES, 1..4),
        actions in subsequence(ACTIONS.to_vec(), 1..4),
        names in subsequence(PATTERNS, 0..3),
    ) {
        prop_assume!(names.is_empty() || !actions.contains(&Action::Admin));
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let rules = rules.iter().map(|(subjects, actions, names)| Rule {
            subjects: subjects.iter().map(|text| subject(text)).collect(),
            actions: actions.clone(),
            names: owned(names),
        });
        // Rules are about everybody else, though the token is called as a user is.
        let access = Access { anonymous: anonymous.clone(), rules: rules.collect() };
        let policy = Policy::new(&access, &callers()).expect("a policy");
        let identity = api_token(&places, &actions, &names);
        for path in ["", "acme", "acme/app", "acme/a/b", "other"] {
            let allowed = |action: Action, about: About<'_>| {
                let says = is_in(&places, path) && includes(&actions, action) && covers(&names, about);
                includes(&anonymous, action) || says
            };
            for action in ACTIONS {
                let sight = policy.sight(&identity, path, action);
                for about in ABOUT.iter().copied() {
                    let expected = if allowed(action, about) {
                        None
                    } else if allowed(Action::Pull, About::Tenant) && !allowed(Action::Pull, about) {
                        Some(ErrorKind::NotFound)
                    } else {
                        Some(ErrorKind::Forbidden)
                    };
                    let refused = policy.authorize(&identity, path, action, about).err();
                    let kind = refused.map(|error| error.kind());
                    prop_assert_eq!(kind, expected, "{} {:?} {:?}", path, action, about);
                    prop_assert_eq!(sight.includes(about), expected.is_none(), "{} {:?} {:?}", path, action, about);
                }
            }
        }
    }
}
