//! `/token`: every form in which clients ask for a token, and what they get.

use chartgate::auth::Identity;
use chartgate::config::Action;
use chartgate::error::ErrorKind;
use serde_json::json;

use super::*;

const SCOPES: &str = "repository:acme/a:pull,push";

fn user(name: &str) -> Identity {
    Identity::User { name: name.into() }
}

/// Method, query, form and credentials as each client sends them; what `access` is then.
#[tokio::test]
async fn every_client_gets_what_it_asks_for() {
    let ci = basic("ci", "secret");
    let password = "username=ci&password=secret";
    let both = json!([{"type": "repository", "name": "acme/a", "actions": ["pull", "push"]}]);
    let pull = json!([{"type": "repository", "name": "acme/a", "actions": ["pull"]}]);
    let two = json!([
        {"type": "repository", "name": "acme/a", "actions": ["pull", "push"]},
        {"type": "repository", "name": "pub/b", "actions": ["pull"]},
    ]);
    let get = |query: &str| {
        (
            request("GET", &format!("/token?{query}"), Some(&ci)),
            String::new(),
        )
    };
    let post = |fields: &str| (form(None), fields.to_owned());
    for (who, (request, body), access) in [
        (
            "docker login",
            get("account=ci&client_id=docker&offline_token=true&service=gw.example%3A5000"),
            json!([]),
        ),
        (
            "docker pull",
            get("account=ci&scope=repository%3Aacme%2Fa%3Apull&service=gw.example%3A5000"),
            pull.clone(),
        ),
        (
            "podman login",
            get("account=ci&service=gw.example%3A5000"),
            json!([]),
        ),
        (
            "skopeo copy",
            get("account=ci&scope=repository%3Aacme%2Fa%3Apull%2Cpush&service=gw.example%3A5000"),
            both.clone(),
        ),
        (
            "crane",
            get("scope=repository%3Aacme%2Fa%3Apush%2Cpull&service=gw.example%3A5000"),
            both.clone(),
        ),
        (
            "a mount, scopes repeated",
            get("scope=repository:acme/a:pull,push&scope=repository:pub/b:pull&service=x"),
            two.clone(),
        ),
        (
            "a mount, scopes in one",
            get("scope=repository:acme/a:pull,push%20repository:pub/b:pull"),
            two.clone(),
        ),
        (
            "helm registry login",
            post(&format!(
                "grant_type=password&service=gw.example%3A5000&client_id=oras-go&{password}"
            )),
            json!([]),
        ),
        (
            "oras",
            post(&format!(
                "client_id=oras-go&grant_type=password&{password}&scope=repository%3Aacme%2Fa%3Apull%2Cpush&service=gw.example%3A5000"
            )),
            both.clone(),
        ),
        (
            "containerd",
            post(&format!(
                "access_type=offline&client_id=containerd-client&grant_type=password&{password}&scope=repository%3Aacme%2Fa%3Apull%2Cpush+repository%3Apub%2Fb%3Apull&service=gw.example%3A5000"
            )),
            two,
        ),
        (
            "a form with the credentials in the header",
            (
                form(Some(&ci)),
                "service=x&scope=repository:acme/a:pull".into(),
            ),
            pull.clone(),
        ),
        (
            "a form whose scope is in the query",
            (
                super::request("POST", "/token?scope=repository:acme/a:pull", Some(&ci)),
                String::new(),
            ),
            pull,
        ),
    ] {
        let world = World::new();
        let reply = json(world.ask(request, &body).await, 200);
        assert_eq!(reply["token"], reply["access_token"], "{who}");
        assert_eq!(reply["expires_in"], 300, "{who}");
        assert_eq!(reply["issued_at"], "2027-01-15T08:00:00Z", "{who}");
        assert_eq!(
            reply.as_object().map(serde_json::Map::len),
            Some(5),
            "no refresh token: {who}"
        );
        let token = reply["token"].as_str().expect("text");
        let claims = claims(token);
        assert_eq!(
            (&claims["access"], &claims["sub"]),
            (&access, &json!("ci")),
            "{who}"
        );
        assert_eq!(claims["aud"], "gw.example:5000", "{who}");
        let (identity, grants) = world.holder(token).await.expect("counts");
        assert_eq!(identity, user("ci"), "{who}");
        let pushes = access[0]["actions"]
            .as_array()
            .is_some_and(|it| it.len() == 2);
        assert_eq!(grants.allows("acme/a", Action::Push), pushes, "{who}");
        assert!(
            grants.allows("anything", Action::Pull) && grants.are_of_a_token(),
            "{who}"
        );
    }
}

#[tokio::test]
async fn what_is_unknown_or_not_allowed_is_left_out_in_silence() {
    let world = World::new();
    for (credentials, asked, granted) in [
        (
            Some(("dev", "word")),
            "repository:acme/a:pull,push",
            "repository:acme/a:pull",
        ),
        (Some(("dev", "word")), "repository:acme/a:push", ""),
        (
            Some(("dev", "word")),
            "repository:pub/a:*",
            "repository:pub/a:pull,push",
        ),
        (
            Some(("ci", "secret")),
            "repository:acme/a:*",
            "repository:acme/a:pull,push,delete",
        ),
        (
            Some(("ci", "secret")),
            "repository:acme/a:delete",
            "repository:acme/a:delete",
        ),
        (
            Some(("ci", "secret")),
            "repository:elsewhere/a:pull,push",
            "",
        ),
        (
            Some(("ci", "secret")),
            "repository(plugin):acme/a:push",
            "repository(plugin):acme/a:push",
        ),
        (
            Some(("ci", "secret")),
            "registry:catalog:*",
            "registry:catalog:*",
        ),
        (Some(("ci", "secret")), "registry:everything:*", ""),
        (Some(("ci", "secret")), "repository:acme/a:fly", ""),
        (
            Some(("ci", "secret")),
            "nonsense a:b : repository:acme/a:pull",
            "repository:acme/a:pull",
        ),
        (Some(("ci", "secret")), "", ""),
        (None, "repository:pub/a:pull,push", "repository:pub/a:pull"),
        (None, "repository:acme/a:pull", ""),
    ] {
        let query = format!("scope={}", asked.replace(' ', "+"));
        let credentials = credentials.map(|(name, password)| basic(name, password));
        let reply = json(world.get(&query, credentials.as_deref()).await, 200);
        assert_eq!(reply["scope"], granted, "{asked}");
    }
}

#[tokio::test]
async fn nobody_gets_a_token_of_nobody() {
    let world = World::new();
    let empty = basic("", "");
    assert_eq!(empty, "Basic Og==");
    for credentials in [None, Some(empty.as_str())] {
        let token = world
            .token("scope=repository:pub/a:pull", credentials)
            .await;
        assert_eq!(claims(&token)["sub"], "");
        let (identity, grants) = world.holder(&token).await.expect("counts");
        assert_eq!(identity, Identity::Anonymous);
        assert!(grants.are_of_a_token() && !grants.allows("pub/a", Action::Push));
    }
    let (identity, grants) = world.who(&empty).await.expect("nobody");
    assert_eq!(identity, Identity::Anonymous);
    assert!(!grants.are_of_a_token());
    // The holder of a certificate is somebody.
    let mut request = request("GET", "/token", None);
    request.certificate_subject = Some("CN=robot".into());
    let reply = json(world.ask(request, "").await, 200);
    let (identity, _) = world
        .holder(reply["token"].as_str().expect("text"))
        .await
        .expect("counts");
    assert_eq!(
        identity,
        Identity::Certificate {
            subject: "CN=robot".into()
        }
    );
}

/// docker sends a mirror whatever it knows for Docker Hub.
#[tokio::test]
async fn strangers_may_pull_what_everybody_may_and_cannot_log_in() {
    let strict = "auth: {users_file: htpasswd, token: {anonymous_on_unknown_credentials: false}}";
    for (keys, lenient) in [("auth: {users_file: htpasswd}", true), (strict, false)] {
        let world = World::with(keys);
        for wrong in [
            basic("hub-user", "dckr_pat"),
            basic("ci", "wrong-one"),
            "Bearer x".to_owned(),
            "Digest x".to_owned(),
        ] {
            for (query, open) in [
                ("scope=repository:pub/a:pull", true),
                ("scope=repository:pub/a:pull+repository:acme/a:pull", true),
                ("service=gw", false),
                ("scope=", false),
                ("scope=repository:acme/a:pull", false),
                ("scope=repository:pub/a:pull,push", false),
                ("scope=repository:pub/a:pull+repository:pub/b:push", false),
                ("scope=repository:pub/a:*", false),
                ("scope=registry:catalog:*", false),
            ] {
                let response = world.get(query, Some(&wrong)).await;
                if lenient && open {
                    let reply = json(response, 200);
                    assert_eq!(claims(reply["token"].as_str().expect("text"))["sub"], "");
                    continue;
                }
                assert_eq!(
                    response.headers[header::WWW_AUTHENTICATE],
                    "Basic realm=\"chartgate\""
                );
                let reply = json(response, 401);
                assert_eq!(reply["errors"][0]["code"], "UNAUTHORIZED", "{query}");
                let text = reply.to_string();
                assert!(
                    !text.contains("dckr_pat") && !text.contains("wrong-one"),
                    "{text}"
                );
            }
            world.clock.advance(60 * SECOND);
        }
    }
}

#[tokio::test]
async fn what_is_no_request_for_a_token() {
    let world = World::new();
    let refresh = "grant_type=refresh_token&refresh_token=x&service=gw&client_id=containerd-client";
    let reply = json(world.ask(form(None), refresh).await, 400);
    assert_eq!(reply["errors"][0]["code"], "UNSUPPORTED");
    for method in ["PUT", "DELETE", "PATCH"] {
        let response = world.ask(request(method, "/token", None), "").await;
        assert_eq!(response.headers[header::ALLOW], "GET, HEAD, POST");
        json(response, 405);
    }
    let mut upload = request("POST", "/token", None);
    let value = HeaderValue::from_static("multipart/form-data; boundary=x");
    upload.headers.insert(header::CONTENT_TYPE, value);
    json(world.ask(upload, "--x--").await, 400);
    let large = format!("grant_type=password&password={}", "x".repeat(200 << 10));
    let response = world.ask(form(None), &large).await;
    assert_eq!(response.headers[header::CONNECTION], "close");
    json(response, 413);
    // Half a pair of credentials is none.
    let reply = json(
        world
            .ask(form(None), "grant_type=password&username=ci")
            .await,
        200,
    );
    assert_eq!(claims(reply["token"].as_str().expect("text"))["sub"], "");
}

#[tokio::test]
async fn a_token_has_an_end_however_much_is_asked_for() {
    let world = World::new();
    let scopes: Vec<_> = (0..500)
        .map(|number| {
            format!(
                "scope=repository:acme/{number}{}:pull,push",
                "x".repeat(180)
            )
        })
        .collect();
    let token = world
        .token(&scopes.join("&"), Some(&basic("ci", "secret")))
        .await;
    assert!(token.len() < 7_000, "{}", token.len());
    assert!(world.holder(&token).await.is_ok(), "and it counts");
}

#[tokio::test]
async fn a_token_of_ours_is_exchanged_for_nothing() {
    let world = World::new();
    let token = world
        .token(&format!("scope={SCOPES}"), Some(&basic("ci", "secret")))
        .await;
    for credentials in [
        format!("Bearer {token}"),
        basic("ci", &token),
        basic("", &token),
    ] {
        json(
            world
                .get(&format!("scope={SCOPES}"), Some(&credentials))
                .await,
            401,
        );
    }
    // Nor is it a password.
    let error = world.who(&basic("ci", &token)).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
}

#[test]
fn the_paths_of_the_endpoint() {
    for path in ["/token", "/service/token", "/v2/token"] {
        assert!(token::is_path(path, "") && token::is_path(path, "/helm"));
        assert!(token::is_path(&format!("/helm{path}"), "/helm"));
        assert!(!token::is_path(&format!("/helm{path}"), ""));
    }
    for path in [
        "/",
        "/token/",
        "/v2/token/tags/list",
        "/acme/token",
        "/helmtoken",
        "//token",
    ] {
        assert!(!token::is_path(path, "/helm"), "{path}");
    }
}

#[tokio::test]
async fn wrong_passwords_are_counted_by_user_and_address() {
    let world = World::with("auth: {users_file: htpasswd, attempts: 3}");
    let good = basic("ci", "secret");
    for _ in 0..20 {
        json(world.get("service=gw", Some(&good)).await, 200);
    }
    let form_body = |password: &str| format!("grant_type=password&username=ci&password={password}");
    json(world.get("service=gw", Some(&basic("ci", "a"))).await, 401);
    json(world.ask(form(None), &form_body("b")).await, 401);
    world
        .who(&basic("ci", "c"))
        .await
        .expect_err("also at the registry itself");
    // Now nothing is looked at any more but what is known to be right.
    let other = basic("ci", "d");
    let response = world.get("service=gw", Some(&other)).await;
    let wait = response.headers[header::RETRY_AFTER]
        .to_str()
        .expect("text")
        .to_owned();
    let wait: u64 = wait.parse().expect("seconds");
    assert!((1..=2).contains(&wait), "{wait}");
    assert_eq!(json(response, 429)["errors"][0]["code"], "TOOMANYREQUESTS");
    let error = world.who(&other).await.expect_err("waits");
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    let charts = request("GET", "/acme/index.yaml", Some(&other));
    let error = world.authenticator.authenticate(&charts).await;
    assert_eq!(error.expect_err("waits").kind(), ErrorKind::RateLimited);
    json(world.get("service=gw", Some(&good)).await, 200);
    json(
        world.get("service=gw", Some(&basic("dev", "word"))).await,
        200,
    );
    // Who needs no password gets on, and learns nothing about any.
    for credentials in [Some(good.as_str()), Some(other.as_str()), None] {
        let token = world
            .token("scope=repository:pub/a:pull", credentials)
            .await;
        let is_known = credentials == Some(good.as_str());
        assert_eq!(claims(&token)["sub"], if is_known { "ci" } else { "" });
    }
    // At another address nobody has guessed.
    let mut elsewhere = request("GET", "/token", Some(&other));
    elsewhere.peer = "10.0.0.2:1".parse().ok();
    json(world.ask(elsewhere, "").await, 401);
    world.clock.advance(2 * SECOND);
    json(world.get("service=gw", Some(&other)).await, 401);
}

/// Clients go on sending a token for a while after its end, and many of them have one address.
#[tokio::test]
async fn tokens_that_are_over_are_no_guesses_and_forged_ones_are() {
    let world = World::with("auth: {users_file: htpasswd, attempts: 1}");
    let token = world
        .token("service=gw", Some(&basic("ci", "secret")))
        .await;
    let later = world.token("service=gw", Some(&basic("dev", "word"))).await;
    let forged = |number: usize| {
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let (head, body) = signature.split_at(number % 60);
        let other = if body.starts_with('A') { 'B' } else { 'A' };
        format!("{signed}.{head}{other}{}", &body[1..])
    };
    world.clock.advance(299 * SECOND);
    world.holder(&later).await.expect("not yet over");
    world.clock.advance(SECOND);
    for _ in 0..50 {
        let error = world.holder(&token).await.expect_err("its time is over");
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    }
    let fresh = world.token("service=gw", Some(&basic("dev", "word"))).await;
    world.holder(&fresh).await.expect("seen once");
    for number in 0..10 {
        let error = world.holder(&forged(number)).await.expect_err("forged");
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{number}");
    }
    let error = world.holder(&forged(11)).await.expect_err("forged");
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    world.holder(&fresh).await.expect("known from before");
}

#[tokio::test]
async fn where_nobody_can_be_somebody_nobody_is_asked() {
    let open = "tenants: {pub: {hosted: {}, access: {anonymous: pull}}}";
    let world = World::of(tempfile::tempdir().expect("a folder"), open);
    assert!(!world.authenticator.knows_anybody());
    for credentials in ["Bearer nonsense", "Basic !", "Digest x"] {
        let (identity, _) = world.who(credentials).await.expect("not looked at");
        assert_eq!(identity, Identity::Anonymous);
        let token = world.token("service=gw", Some(credentials)).await;
        assert_eq!(claims(&token)["sub"], "");
    }
}
