//! A token only says who its holder is: users that go, passwords that change, and rules that decide at each request.

use chartgate::auth::Identity;
use chartgate::config::Action;
use chartgate::error::ErrorKind;
use proptest::prelude::*;

use super::*;

const LOGIN: &str = "scope=repository:acme/a:pull,push,delete";
/// Of `secret`, with another salt each.
const SALTED: [&str; 2] = [
    "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/",
    "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
];

#[tokio::test]
async fn who_is_removed_is_refused_at_once() {
    let world = World::new();
    let token = world.token(LOGIN, Some(&basic("ci", "secret"))).await;
    let other = world.token(LOGIN, Some(&basic("dev", "word"))).await;
    assert!(world.holder(&token).await.is_ok());

    let without: String = users()
        .lines()
        .filter(|line| !line.starts_with("ci:"))
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(world.path().join("htpasswd"), without).expect("written");
    world.clock.advance(SECOND);
    let error = world.holder(&token).await.expect_err("removed");
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(world.holder(&other).await.is_ok(), "the others stay");

    // With the same line again the token is as good as before, for what is left of its time.
    std::fs::write(world.path().join("htpasswd"), users()).expect("written");
    world.clock.advance(SECOND);
    assert!(world.holder(&token).await.is_ok());
    world.clock.advance(300 * SECOND);
    assert!(world.holder(&token).await.is_err());
}

#[tokio::test]
async fn a_changed_password_ends_the_tokens_of_the_old_one() {
    let world = World::new();
    let token = world.token(LOGIN, Some(&basic("ci", "secret"))).await;
    for line in [
        format!("ci:{}\n", SALTED[0]),
        "ci:{SHA}PLzZCtxLGSqHpiWFC38jHK3fDrM=\n".to_owned(),
    ] {
        std::fs::write(world.path().join("htpasswd"), &line).expect("written");
        world.clock.advance(SECOND);
        assert!(world.holder(&token).await.is_err(), "{line}");
    }
    std::fs::write(world.path().join("htpasswd"), format!("ci:{}\n", SALTED[1])).expect("written");
    world.clock.advance(SECOND);
    assert!(world.holder(&token).await.is_ok());
}

/// A reload makes a new gate from the changed file.
#[tokio::test]
async fn users_of_the_configuration_likewise() {
    let keys = |users: &str| format!("auth: {{users: {users}}}");
    let world = World::with(&keys("{ci: {password: secret}, dev: {password: word}}"));
    let token = world.token(LOGIN, Some(&basic("ci", "secret"))).await;
    let World { folder, .. } = world;
    let mut folder = folder;
    for (users, counts) in [
        ("{ci: {password: secret}}", true),
        ("{ci: {password: other}}", false),
        ("{dev: {password: secret}}", false),
        ("{ci: {password: secret}, x: {password: y}}", true),
    ] {
        let reloaded = World::in_folder(folder, &keys(users));
        assert_eq!(reloaded.holder(&token).await.is_ok(), counts, "{users}");
        folder = reloaded.folder;
    }
}

#[tokio::test]
async fn a_certificate_has_no_password_to_change() {
    let world = World::new();
    let mut request = request("GET", "/token", None);
    request.certificate_subject = Some("ci".into());
    let reply = json(world.ask(request, "").await, 200);
    let token = reply["token"].as_str().expect("text");
    let (identity, _) = world.holder(token).await.expect("counts");
    assert_eq!(identity.kind(), "certificate", "not the user of that name");
}

fn anybody() -> impl Strategy<Value = Option<(&'static str, &'static str)>> {
    prop::sample::select(vec![
        None,
        Some(("ci", "secret")),
        Some(("dev", "word")),
        Some(("ci", "wrong")),
        Some(("hub", "x")),
        Some(("", "")),
    ])
}

fn scopes() -> impl Strategy<Value = Vec<String>> {
    let kind = prop::sample::select(vec!["repository", "repository(plugin)", "registry", "x"]);
    let name = prop::sample::select(vec![
        "acme/a",
        "acme/b/c",
        "pub/a",
        "catalog",
        "acme",
        "z/a",
        "pub/a:5000/b",
    ]);
    let actions = prop::collection::vec(
        prop::sample::select(vec!["pull", "push", "delete", "*", "admin", ""]),
        0..4,
    );
    let scope = (kind, name, actions)
        .prop_map(|(kind, name, actions)| format!("scope={kind}:{name}:{}", actions.join(",")));
    prop::collection::vec(scope, 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whoever asks for whatever: no token names what the rules do not allow its holder, nor what was not asked for.
    #[test]
    fn no_token_allows_more_than_the_rules(who in anybody(), scopes in scopes()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let world = World::new();
            let credentials = who.map(|(name, password)| basic(name, password));
            let response = world.get(&scopes.join("&"), credentials.as_deref()).await;
            if response.status != 200 {
                prop_assert_eq!(response.status.as_u16(), 401);
                prop_assert!(matches!(who, Some((_, "wrong" | "x"))));
                return Ok(());
            }
            let reply = json(response, 200);
            let token = reply["token"].as_str().expect("text");
            let (identity, grants) = world.holder(token).await.expect("counts");
            match who {
                Some((name, "secret" | "word")) => prop_assert_eq!(&identity, &Identity::User { name: name.into() }),
                _ => prop_assert_eq!(&identity, &Identity::Anonymous),
            }
            for entry in claims(token)["access"].as_array().expect("a list") {
                let (kind, name) = (entry["type"].as_str().expect("text"), entry["name"].as_str().expect("text"));
                if (kind, name) == ("registry", "catalog") {
                    continue;
                }
                prop_assert!(kind.starts_with("repository"));
                for action in entry["actions"].as_array().expect("a list") {
                    let action = match action.as_str() {
                        Some("pull") => Action::Pull,
                        Some("push") => Action::Push,
                        Some("delete") => Action::Delete,
                        other => return Err(TestCaseError::fail(format!("{other:?}"))),
                    };
                    prop_assert!(world.permits(&identity, name, action), "{identity} {name} {action:?}");
                }
            }
            for name in ["acme/a", "acme/b/c", "pub/a", "acme", "z/a"] {
                for (action, word) in [(Action::Push, "push"), (Action::Delete, "delete")] {
                    let allowed = grants.allows(name, action);
                    let asked = scopes.iter().any(|scope| {
                        let mut parts = scope.split(':').skip(1);
                        parts.next() == Some(name)
                            && parts.next().is_some_and(|actions| actions.split(',').any(|it| it == word || it == "*"))
                    });
                    prop_assert!(!allowed || asked && world.permits(&identity, name, action));
                }
            }
            Ok(())
        })?;
    }
}
