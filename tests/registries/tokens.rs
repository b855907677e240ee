use std::time::Duration;

use chartgate::config::Secret;
use chartgate::error::ErrorKind;
use chartgate::upstream::registry::{Credentials, Lane, Registry};
use url::Url;

use super::{Hub, PASSWORD, assert_error, hub, hub_at, name, reference, user};
use crate::support::fake::{Authority, FakeProxy, FakeRegistry, Fault, Row, RunningRegistry, Spot};

fn plain() -> FakeRegistry {
    FakeRegistry::of(Row::Plain)
        .user("me", PASSWORD)
        .image("acme/app", "1")
        .image("acme/other", "1")
}

async fn head(registry: &Registry, repository: &str) -> chartgate::error::Result<()> {
    let head = registry
        .head_manifest(&name(repository), &reference("1"))
        .await;
    head.map(drop)
}

#[tokio::test]
async fn nothing_is_asked_before_it_is_needed() {
    let fake = plain().run();
    let registry = hub(&fake).known().build();
    assert_eq!(fake.count(Spot::All), 0);
    head(&registry, "acme/app").await.expect("there");
    let paths: Vec<_> = fake
        .asked(Spot::All)
        .iter()
        .map(|asked| asked.head.path.clone())
        .collect();
    let manifest = "/v2/acme/app/manifests/1";
    assert_eq!(paths, [manifest, "/token", manifest]);
}

#[tokio::test]
async fn a_hundred_requests_wait_for_one_token() {
    let fake = plain().run();
    let hold = fake.hold(Spot::Token);
    let registry = hub(&fake).known().build();
    let all = futures_util::future::join_all((0..100).map(|_| head(&registry, "acme/app")));
    let release = async {
        hold.waiting(1).await;
        hold.release();
    };
    let (all, ()) = tokio::join!(all, release);
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(fake.count(Spot::Token), 1);
    head(&registry, "acme/app").await.expect("there");
    assert_eq!(fake.count(Spot::Token), 1);
}

#[tokio::test]
async fn the_token_is_for_what_the_challenge_names_and_nothing_else() {
    let fake = plain().run();
    let registry = hub(&fake).build();
    head(&registry, "acme/app").await.expect("there");
    head(&registry, "acme/other").await.expect("there");
    let queries: Vec<_> = fake
        .asked(Spot::Token)
        .into_iter()
        .map(|asked| asked.head.query)
        .collect();
    let expected = ["app", "other"].map(|repo| {
        Some(format!(
            "service=registry.example&scope=repository%3Aacme%2F{repo}%3Apull"
        ))
    });
    assert_eq!(queries, expected);

    let own = FakeRegistry::of(Row::EcrPublic)
        .image("acme/app", "1")
        .run();
    head(&hub(&own).build(), "acme/app").await.expect("there");
    let query = own.asked(Spot::Token)[0].head.query.clone();
    assert_eq!(query.as_deref(), Some("service=public.ecr.aws&scope=aws"));

    // A challenge without a scope: ours is the only one that makes sense.
    let bare = FakeRegistry::of(Row::Nexus).image("acme/app", "1").run();
    head(&hub(&bare).build(), "acme/app").await.expect("there");
    let query = bare.asked(Spot::Token)[0]
        .head
        .query
        .clone()
        .expect("a query");
    assert!(
        query.ends_with("&scope=repository%3Aacme%2Fapp%3Apull"),
        "{query}"
    );
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    let fake = plain().expires_in(100).run();
    let hub = hub(&fake);
    let registry = hub.build();
    head(&registry, "acme/app").await.expect("there");
    hub.advance(79);
    head(&registry, "acme/app").await.expect("there");
    assert_eq!(fake.count(Spot::Token), 1);
    hub.advance(1);
    head(&registry, "acme/app").await.expect("there");
    assert_eq!(fake.count(Spot::Token), 2);
    // It stays in use while no new one is to be had.
    hub.advance(80);
    fake.fault(Spot::Token, Fault::Status(500));
    head(&registry, "acme/app")
        .await
        .expect("the old token is good");
    hub.advance(20);
    let error = head(&registry, "acme/app")
        .await
        .expect_err("its time is over");
    assert_error(
        &error,
        ErrorKind::UpstreamUnavailable,
        "token server `127.0.0.1`",
    );
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    let fake = plain().run();
    let registry = hub(&fake).build();
    head(&registry, "acme/app").await.expect("there");
    fake.revoke_tokens();
    fake.forget();
    head(&registry, "acme/app").await.expect("there");
    assert_eq!((fake.count(Spot::Heads), fake.count(Spot::Token)), (2, 1));

    // A registry that likes no token at all is asked twice, not for ever.
    let refusal = vec![(
        "WWW-Authenticate".to_owned(),
        format!(
            "Bearer realm=\"{}token\",service=\"registry.example\"",
            fake.url()
        ),
    )];
    fake.fault(Spot::Heads, Fault::StatusWith(401, refusal));
    fake.forget();
    let error = head(&registry, "acme/app").await.expect_err("refused");
    assert_error(&error, ErrorKind::UpstreamDenied, "not for the user");
    assert_eq!((fake.count(Spot::Heads), fake.count(Spot::Token)), (2, 1));
}

#[tokio::test]
async fn a_wrong_password_is_not_tried_again_and_again() {
    let fake = plain().run();
    let hub = hub(&fake).with(|settings| settings.credentials = Some(user("wrong")));
    let registry = hub.build();
    for _ in 0..10 {
        let error = head(&registry, "acme/app").await.expect_err("refused");
        assert_error(&error, ErrorKind::UpstreamUnauthorized, "answered 401");
    }
    assert_eq!(fake.count(Spot::Token), 1);
    fake.change_password("wrong");
    hub.advance(10);
    head(&registry, "acme/app").await.expect("it is right now");
}

fn refreshing(hub: Hub, token: &str) -> Hub {
    let credentials = Credentials::Refresh("me".to_owned(), Secret::new(token));
    hub.with(|settings| settings.credentials = Some(credentials))
}

#[tokio::test]
async fn a_refresh_token_is_exchanged_by_post() {
    let fake = FakeRegistry::of(Row::Acr)
        .refresh_token("r3fresh")
        .known_only()
        .image("acme/app", "1")
        .private("acme/app")
        .run();
    head(&refreshing(hub(&fake), "r3fresh").build(), "acme/app")
        .await
        .expect("there");
    let asked = &fake.asked(Spot::Token)[0];
    assert_eq!(
        (asked.head.method.as_str(), fake.count(Spot::Token)),
        ("POST", 1)
    );
    assert_eq!(asked.head.header("authorization"), None);
    assert_eq!(
        std::str::from_utf8(&asked.body).expect("a form"),
        "grant_type=refresh_token&refresh_token=r3fresh&client_id=chartgate&access_type=offline&service=registry.example&scope=repository%3Aacme%2Fapp%3Apull"
    );
}

#[tokio::test]
async fn where_post_is_unknown_the_token_is_a_password() {
    for status in [400, 401, 404, 405] {
        let fake = plain().private("acme/app").run();
        fake.fault_times(Spot::Token, 1, Fault::Status(status));
        let registry = refreshing(hub(&fake), PASSWORD).build();
        head(&registry, "acme/app").await.expect("there");
        let methods: Vec<_> = fake
            .asked(Spot::Token)
            .iter()
            .map(|asked| asked.head.method.clone())
            .collect();
        assert_eq!(methods, ["POST", "GET"], "{status}");
    }
    for row in [Row::Gar, Row::Artifactory] {
        let fake = FakeRegistry::of(row)
            .user("me", PASSWORD)
            .image("acme/app", "1")
            .private("acme/app")
            .run();
        head(&refreshing(hub(&fake), PASSWORD).build(), "acme/app")
            .await
            .expect("there");
    }
}

#[tokio::test]
async fn a_rotated_refresh_token_takes_the_place_of_the_configured_one() {
    let fake = plain().run();
    let answer = br#"{"access_token":"token-0","refresh_token":"second"}"#;
    fake.fault_times(Spot::Token, 1, Fault::Body(answer.to_vec()));
    let registry = refreshing(hub(&fake), "first").build();
    let _ = head(&registry, "acme/app").await;
    let _ = head(&registry, "acme/other").await;
    let bodies: Vec<_> = fake
        .asked(Spot::Token)
        .into_iter()
        .map(|asked| asked.body)
        .collect();
    let used = |body: &[u8], token: &str| {
        String::from_utf8_lossy(body).contains(&format!("refresh_token={token}&"))
    };
    assert!(
        used(&bodies[0], "first") && used(&bodies[1], "second"),
        "{bodies:?}"
    );
}

#[tokio::test]
async fn a_fixed_token_is_sent_as_it_is() {
    let fake = plain().run();
    let fixed = hub(&fake).with(|settings| {
        settings.credentials = Some(Credentials::Bearer(Secret::new("fixed")));
    });
    let error = head(&fixed.build(), "acme/app")
        .await
        .expect_err("not one of theirs");
    assert_error(&error, ErrorKind::UpstreamUnauthorized, "refuses our token");
    let asked = &fake.asked(Spot::All)[0].head;
    assert_eq!(asked.header("authorization"), Some("Bearer fixed"));
    assert_eq!(fake.count(Spot::All), 1, "and no token server hears of it");
}

#[tokio::test]
async fn a_helper_is_asked_again_when_its_password_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("helper");
    let script = r#"cat > /dev/null; printf '{"Username":"AWS","Secret":"%s"}' "$(cat "$(dirname "$0")/password")""#;
    // Written by another process: a fork of this one that still has the file open would make it "busy".
    let written = std::process::Command::new("sh")
        .args([
            "-c",
            r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod 755 "$2""#,
            "sh",
            script,
        ])
        .arg(&program)
        .status();
    assert!(written.expect("a shell").success());
    let password =
        |text: &str| std::fs::write(folder.path().join("password"), text).expect("writable");

    let fake = FakeRegistry::of(Row::Ecr)
        .user("AWS", "morning")
        .image("acme/app", "1")
        .run();
    password("morning");
    let ecr = hub(&fake).with(|settings| {
        settings.credentials = Some(Credentials::Helper(program, Duration::from_hours(6)));
    });
    let registry = ecr.build();
    head(&registry, "acme/app").await.expect("there");
    password("evening");
    fake.change_password("evening");
    head(&registry, "acme/app")
        .await
        .expect("with the new password");
    password("wrong");
    fake.change_password("night");
    let error = head(&registry, "acme/app").await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnauthorized);
}

/// A registry whose challenge leads somewhere else.
fn misled(realm: &str) -> (RunningRegistry, FakeProxy, Hub) {
    let fake = plain().private("acme/app").realm(realm).run();
    let hosts = [
        "registry.example.com:80",
        "auth.example.com:80",
        "evil.example.net:80",
    ]
    .map(|host| (host, fake.address()));
    let proxy = FakeProxy::run(&hosts);
    let url = Url::parse(&proxy.url()).expect("a URL");
    let hub = hub_at("http://registry.example.com/").with(|settings| {
        settings.client.proxy = Some(url);
        settings.client.allow_private = false;
    });
    (fake, proxy, hub)
}

#[tokio::test]
async fn credentials_go_to_neighbours_and_to_nobody_else() {
    let (fake, _proxy, hub) = misled("http://auth.example.com/token");
    head(&hub.known().build(), "acme/app").await.expect("there");
    assert_eq!(fake.count(Spot::Token), 1);

    let (fake, _proxy, hub) = misled("http://evil.example.net/token");
    let error = head(&hub.known().build(), "acme/app")
        .await
        .expect_err("refused");
    assert_error(
        &error,
        ErrorKind::UpstreamUnauthorized,
        "`evil.example.net` belongs to somebody else",
    );
    assert_eq!(fake.count(Spot::Token), 0, "nothing was said to it");

    let (fake, _proxy, hub) = misled("http://evil.example.net/token");
    let allowed = hub
        .known()
        .with(|settings| settings.token_realms = vec!["Evil.example.net".to_owned()]);
    head(&allowed.build(), "acme/app").await.expect("said so");
    assert_eq!(fake.count(Spot::Token), 1);

    // Who has nothing to lose may ask anybody.
    let (fake, _proxy, hub) = misled("http://evil.example.net/token");
    let error = head(&hub.build(), "acme/app").await.expect_err("private");
    assert_eq!(error.kind(), ErrorKind::UpstreamDenied);
    assert_eq!(fake.count(Spot::Token), 1);
}

#[tokio::test]
async fn a_token_server_cannot_be_inside_the_network() {
    for realm in [
        "http://169.254.169.254/token",
        "http://127.0.0.1:9/token",
        "http://[::1]/token",
    ] {
        let (fake, proxy, hub) = misled(realm);
        let error = head(&hub.build(), "acme/app").await.expect_err("refused");
        assert_error(&error, ErrorKind::UpstreamUnavailable, "private address");
        assert_eq!(
            (fake.count(Spot::Token), proxy.requests().len()),
            (0, 1),
            "{realm}"
        );
    }
}

#[tokio::test]
async fn a_registry_with_tls_has_a_token_server_with_tls() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let bare = plain().run();
    let realm = format!("{}token", bare.url());
    let fake = plain().realm(&realm).tls(&authority, &["127.0.0.1"]).run();
    for known in [true, false] {
        let hub = hub(&fake)
            .with(|settings| settings.client.ca_file = Some(authority.write(folder.path())));
        let hub = if known { hub.known() } else { hub };
        let error = head(&hub.build(), "acme/app").await.expect_err("refused");
        assert_error(&error, ErrorKind::UpstreamUnauthorized, "without https");
    }
    assert_eq!(bare.count(Spot::All), 0);
}

#[tokio::test]
async fn a_token_server_that_lies_or_redirects_gives_no_token() {
    let fake = plain().run();
    let elsewhere = format!("{}/token?stolen", fake.elsewhere());
    for (fault, words) in [
        (Fault::Html, "answers without a token"),
        (Fault::Body(b"{}".to_vec()), "answers without a token"),
        (
            Fault::Body(br#"{"token":"a\u0000b"}"#.to_vec()),
            "answers without a token",
        ),
        (Fault::EndlessText(1 << 20), "answers without a token"),
        (Fault::Redirect(elsewhere), "answered 302"),
        (Fault::Status(404), "answered 404"),
        (Fault::Status(500), "answered 500"),
        (Fault::Close, "cannot be reached"),
        (Fault::CutAfter(5), "broke off"),
    ] {
        fake.heal();
        fake.fault(Spot::Token, fault.clone());
        fake.forget();
        let registry = hub(&fake).known().build();
        let error = head(&registry, "acme/app").await.expect_err("no token");
        assert_error(&error, ErrorKind::UpstreamUnavailable, words);
        assert_eq!(fake.count(Spot::Token), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_token_server_that_is_slow_costs_its_time_once() {
    let fake = plain().run();
    fake.fault(Spot::Token, Fault::Silence);
    let registry = hub(&fake).impatient().build();
    let all = futures_util::future::join_all((0..20).map(|_| head(&registry, "acme/app"))).await;
    for error in all {
        let error = error.expect_err("no token");
        assert_error(&error, ErrorKind::UpstreamUnavailable, "did not answer");
    }
    assert_eq!(fake.count(Spot::Token), 1);
}

#[tokio::test]
async fn a_token_server_that_limits_us_is_left_alone_and_nothing_is_absent() {
    let fake = plain().run();
    let retry = vec![("Retry-After".to_owned(), "120".to_owned())];
    fake.fault(Spot::Token, Fault::StatusWith(429, retry));
    let hub = hub(&fake);
    let registry = hub.build();
    for _ in 0..5 {
        let error = head(&registry, "acme/app").await.expect_err("no token");
        assert_error(&error, ErrorKind::RateLimited, "");
        assert!(
            error
                .retry_after()
                .is_some_and(|after| after.as_secs() == 120)
        );
    }
    assert_eq!(fake.count(Spot::Token), 1);
    assert_eq!(registry.paused(Lane::Tokens), Some(Duration::from_mins(2)));
    fake.heal();
    hub.advance(120);
    head(&registry, "acme/app").await.expect("there");
}
