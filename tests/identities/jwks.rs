//! Servers of keys: rotation, absence, slowness and lies, seen by those who hold tokens.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{ISSUER, basic, bearer, config, failed, index, issuer};
use crate::support::fake::jwks::{FakeJwks, SigningKey, github, lasting};
use crate::support::fake::{Authority, Fault};
use crate::support::files_below;
use crate::support::gateway::Gateway;
use crate::support::http::Call;
use crate::support::until;

fn token(key: &SigningKey) -> String {
    key.sign(&github(ISSUER, "acme/app"))
}

/// The file in which a gateway keeps the keys of its only server.
fn kept(gateway: &Gateway) -> PathBuf {
    let folder = gateway.data().join("jwks");
    until("the keys to be kept", Duration::from_secs(20), || {
        let files = files_below(&folder);
        files
            .into_iter()
            .find(|file| file.extension().is_some_and(|it| it == "json"))
    })
}

/// Makes the kept keys look as if they had been fetched so long ago, while the gateway is down.
fn age(gateway: &Gateway, by: Duration) {
    let file = kept(gateway);
    let text = std::fs::read_to_string(&file).expect("kept keys");
    let mut document: Value = serde_json::from_str(&text).expect("JSON");
    let then = jiff::Timestamp::now() - jiff::SignedDuration::try_from(by).expect("short");
    document["fetched"] = json!(then.to_string());
    std::fs::write(&file, document.to_string()).expect("writable");
}

/// Starts again with keys that were fetched so long ago.
fn restart_after(gateway: &mut Gateway, by: Duration) {
    gateway.kill();
    age(gateway, by);
    gateway.run();
    gateway.wait_ready();
}

const HOUR: Duration = Duration::from_hours(1);

#[test]
fn a_rotation_costs_no_request() {
    let (old, new) = (SigningKey::new("old"), SigningKey::new("new"));
    let server = FakeJwks::run(&[&old]);
    let mut gateway = Gateway::start(config(&json!([issuer(&server.url())])));
    gateway.send(&index(&token(&old))).expect(200);
    kept(&gateway);
    assert_eq!(server.asked(), 1);
    // Issuers show a key before they use it. Whoever comes with the new one first makes it known; nobody is refused.
    server.publish(&[&old, &new]);
    restart_after(&mut gateway, Duration::from_mins(5));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let hammer = scope.spawn(|| {
            let mut asked = 0;
            while !done.load(Ordering::SeqCst) || asked < 50 {
                gateway.send(&index(&token(&old))).expect(200);
                asked += 1;
            }
        });
        for _ in 0..20 {
            gateway.send(&index(&token(&new))).expect(200);
        }
        done.store(true, Ordering::SeqCst);
        hammer.join().expect("nobody with the old key is refused");
    });
    assert_eq!(server.asked(), 2);
    // Withdrawn: it ends with the next fetch, which happens behind the back of who asks; the new one goes on throughout.
    server.publish(&[&new]);
    restart_after(&mut gateway, 2 * HOUR);
    let seen = token(&old);
    gateway.send(&index(&seen)).expect(200);
    until("the old key to end", Duration::from_secs(20), || {
        gateway.send(&index(&token(&new))).expect(200);
        (gateway.send(&index(&seen)).status == 401).then_some(())
    });
    assert_eq!(server.asked(), 3);
}

#[test]
fn kept_keys_open_a_gateway_without_the_server_until_they_are_too_old() {
    let key = SigningKey::new("one");
    let server = FakeJwks::run(&[&key]);
    let mut gateway = Gateway::start(config(&json!([issuer(&server.url())])));
    server.refuse();
    let reply = gateway.send(&index(&token(&key))).expect(502);
    assert!(
        reply.text().contains("keys of its issuer"),
        "{}",
        reply.text()
    );
    server.heal();
    until("the keys", Duration::from_secs(30), || {
        (gateway.send(&index(&token(&key))).status == 200).then_some(())
    });
    kept(&gateway);
    server.refuse();
    for (age, status) in [(23 * HOUR, 200), (25 * HOUR, 502)] {
        restart_after(&mut gateway, age);
        gateway.send(&index(&token(&key))).expect(status);
    }
    let metrics = gateway.admin("/metrics");
    assert!(failed(&metrics, "charts", "unavailable") >= 1);
    // Nobody who only could not be verified is somebody who guesses.
    assert_eq!(failed(&metrics, "charts", "paused"), 0);
}

#[test]
fn unknown_keys_ask_the_server_once_and_stop_nobody() {
    let key = SigningKey::new("one");
    let server = FakeJwks::run(&[&key]);
    let gateway = Gateway::start(config(&json!([issuer(&server.url())])));
    gateway.send(&index(&token(&key))).expect(200);
    let asked = server.asked();
    let storm = std::thread::scope(|scope| {
        let storm: Vec<_> = (0..4)
            .map(|thread| {
                let gateway = &gateway;
                scope.spawn(move || {
                    let stranger = SigningKey::new("stranger");
                    for number in 0..50 {
                        let mut header = stranger.header();
                        header.kid = Some(format!("kid-{thread}-{number}"));
                        let forged = stranger.sign_as(&header, &github(ISSUER, "acme/app"));
                        let reply = gateway.send(&index(&forged)).expect(401);
                        assert!(reply.text().contains("not known"), "{}", reply.text());
                    }
                })
            })
            .collect();
        for _ in 0..50 {
            gateway.send(&index(&token(&key))).expect(200);
        }
        storm
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .all(|one| one.is_ok())
    });
    assert!(storm);
    assert!(server.asked() <= asked + 1, "{} {asked}", server.asked());
    let metrics = gateway.admin("/metrics");
    assert_eq!(failed(&metrics, "charts", "unknown_key"), 200);
}

#[test]
fn a_slow_server_delays_nobody_whose_key_is_known() {
    let (old, new) = (SigningKey::new("old"), SigningKey::new("new"));
    let server = FakeJwks::run(&[&old]);
    let mut gateway = Gateway::start(config(&json!([issuer(&server.url())])));
    gateway.send(&index(&token(&old))).expect(200);
    kept(&gateway);
    server.publish(&[&old, &new]);
    let hold = server.hold();
    restart_after(&mut gateway, 2 * HOUR);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| gateway.send(&index(&token(&new))));
        until("the question", Duration::from_secs(20), || {
            (hold.arrived() == 1).then_some(())
        });
        let start = Instant::now();
        for _ in 0..20 {
            gateway.send(&index(&token(&old))).expect(200);
        }
        // Far below the time that the server may take.
        assert!(
            start.elapsed() < Duration::from_secs(8),
            "{:?}",
            start.elapsed()
        );
        assert!(!waiting.is_finished());
        hold.release();
        waiting.join().expect("an answer").expect(200);
    });
    assert_eq!(server.asked(), 2);
}

#[test]
fn a_server_that_lies_takes_nothing_away_and_gives_nothing() {
    let (key, thief) = (SigningKey::new("one"), SigningKey::new("one"));
    let server = FakeJwks::run(&[&key]);
    let elsewhere = FakeJwks::run(&[&thief]);
    let mut gateway = Gateway::start(config(&json!([issuer(&server.url())])));
    gateway.send(&index(&token(&key))).expect(200);
    kept(&gateway);
    let set = |document: Value| Fault::Body(document.to_string().into_bytes());
    for lie in [
        Fault::Html,
        Fault::Garbage(50_000),
        Fault::EndlessText(100 << 20),
        set(json!({"keys": []})),
        set(json!({"keys": "none"})),
        set(json!([thief.jwk()])),
        set(json!({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "one", "alg": "HS256"}]})),
        set(json!({"keys": vec![thief.jwk(); 101]})),
        Fault::Redirect(elsewhere.url()),
        Fault::Close,
        Fault::Status(404),
    ] {
        server.heal();
        server.fault(lie.clone());
        let told = |gateway: &Gateway| gateway.log().matches("cannot be fetched").count();
        let before = told(&gateway);
        restart_after(&mut gateway, 2 * HOUR);
        gateway.send(&index(&token(&key))).expect(200);
        until("what came of it", Duration::from_secs(20), || {
            (told(&gateway) > before).then_some(())
        });
        gateway.send(&index(&token(&key))).expect(200);
        let reply = gateway.send(&index(&token(&thief)));
        assert_eq!(reply.status, 401, "{lie:?}: {}", reply.text());
    }
    assert_eq!(elsewhere.asked(), 0, "no redirect is followed");
}

#[test]
fn confused_keys_open_nothing_on_any_surface() {
    let rsa = SigningKey::rsa("rsa");
    let server = FakeJwks::run(&[&rsa]);
    let trap = FakeJwks::run(&[&SigningKey::new("trap")]);
    let mut config = config(&json!([issuer(&server.url())]));
    config["auth"]["attempts"] = json!(1_000);
    let gateway = Gateway::start(config);
    let claims = github(ISSUER, "acme/app");
    let good = rsa.sign(&claims);
    for call in surfaces() {
        gateway.send(&bearer(call.clone(), &good)).expect(200);
        gateway.send(&basic(call, "any", &good)).expect(200);
    }
    let public = include_str!("../keys/rsa.pub");
    let hmac = |secret: &[u8]| {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("rsa".into());
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret)).expect("signed")
    };
    let (_, rest) = good.split_once('.').expect("three parts");
    let (body, signature) = rest.split_once('.').expect("three parts");
    let encode = |text: &str| {
        let text = chartgate::base64::encode(text.as_bytes());
        text.trim_end_matches('=')
            .replace('+', "-")
            .replace('/', "_")
    };
    let ec = SigningKey::new("rsa");
    let with_header = |change: &dyn Fn(&mut Header)| {
        let mut header = ec.header();
        change(&mut header);
        ec.sign_as(&header, &claims)
    };
    let other = |change: Value| {
        let mut changed = claims.clone();
        for (name, value) in change.as_object().expect("an object") {
            changed[name] = value.clone();
        }
        rsa.sign(&changed)
    };
    for (what, forged) in [
        ("HMAC with the public key", hmac(public.as_bytes())),
        ("HMAC with its text", hmac(public.trim_end().as_bytes())),
        ("HMAC with nothing", hmac(b"")),
        (
            "no algorithm",
            format!("{}.{body}.", encode(r#"{"alg":"none","kid":"rsa"}"#)),
        ),
        (
            "no algorithm, with a signature",
            format!(
                "{}.{body}.{signature}",
                encode(r#"{"alg":"none","kid":"rsa"}"#)
            ),
        ),
        (
            "None",
            format!(
                "{}.{body}.{signature}",
                encode(r#"{"alg":"None","kid":"rsa"}"#)
            ),
        ),
        (
            "another algorithm",
            format!(
                "{}.{body}.{signature}",
                encode(r#"{"alg":"RS512","kid":"rsa"}"#)
            ),
        ),
        ("a curve under the name of an RSA key", with_header(&|_| ())),
        (
            "a key of its own",
            with_header(&|header| {
                header.jwk = serde_json::from_value(ec.jwk().clone()).ok();
            }),
        ),
        (
            "a set of its own",
            with_header(&|header| header.jku = Some(trap.url())),
        ),
        (
            "a certificate of its own",
            with_header(&|header| header.x5u = Some(trap.url())),
        ),
        ("no name of a key", with_header(&|header| header.kid = None)),
        (
            "a path as a name",
            with_header(&|header| header.kid = Some("../../dev/null".into())),
        ),
        ("another audience", other(json!({"aud": "other"}))),
        (
            "another issuer",
            other(json!({"iss": "https://evil.example.com"})),
        ),
        ("no end", other(json!({"exp": null}))),
        ("over", other(json!({"exp": 1}))),
        ("not yet", other(json!({"nbf": 99_999_999_999_i64}))),
        ("cut", good[..good.len() - 4].to_owned()),
        (
            "another's claims",
            format!(
                "{}.{}.{signature}",
                good.split('.').next().expect("a head"),
                encode(&github(ISSUER, "acme/other").to_string())
            ),
        ),
    ] {
        for call in surfaces() {
            let line = call.line().to_owned();
            for call in [bearer(call.clone(), &forged), basic(call, "any", &forged)] {
                let reply = gateway.send(&call);
                assert_eq!(reply.status, 401, "{what}: {line}: {}", reply.text());
            }
        }
    }
    assert_eq!(trap.asked(), 0);
    // Genuine, and for somebody else's repository: known, and may do nothing.
    let stranger = rsa.sign(&github(ISSUER, "other/app"));
    let reply = gateway.send(&index(&stranger));
    assert!(matches!(reply.status, 403 | 404), "{}", reply.status);
}

fn surfaces() -> [Call; 4] {
    [
        Call::get("/acme/index.yaml"),
        Call::get("/api/acme/charts"),
        Call::get("/v2/"),
        Call::get("/token?service=x"),
    ]
}

#[test]
fn a_kubernetes_api_server_is_asked_with_a_token_and_believed_by_its_own_authority() {
    let key = SigningKey::new("cluster");
    let authority = Authority::new();
    let server = FakeJwks::guarded(&[&key], &authority, "sa-token-2");
    let folder = tempfile::tempdir().expect("a folder");
    authority.write(folder.path());
    std::fs::write(folder.path().join("sa"), "sa-token-1\n").expect("written");
    let entry = |ca: &str| {
        json!({
            "issuer": ISSUER, "audience": "chartgate", "jwks_url": server.url(),
            "tls": {"ca_file": ca}, "auth": {"token_file": "sa"},
        })
    };
    let gateway = Gateway::start_in(folder, config(&json!([entry("ca.pem")])));
    let account = key.sign(&crate::support::fake::jwks::kubernetes(
        ISSUER, "build", "builder",
    ));
    // The token was renewed meanwhile, as kubelets do; the server wants the new one.
    gateway.send(&index(&account)).expect(502);
    gateway.wait_log(&["cannot be fetched", "401"]);
    assert!(!gateway.log().contains("sa-token"), "a secret in the log");
    std::fs::write(gateway.folder().join("sa"), "sa-token-2\n").expect("written");
    until("the keys", Duration::from_secs(30), || {
        (gateway.send(&index(&account)).status == 200).then_some(())
    });
    let other = key.sign(&crate::support::fake::jwks::kubernetes(
        ISSUER, "default", "builder",
    ));
    assert_ne!(gateway.send(&index(&other)).status, 200);
    // An authority that did not sign it, and none at all.
    let folder = tempfile::tempdir().expect("a folder");
    Authority::new().write(folder.path());
    std::fs::write(folder.path().join("sa"), "sa-token-2\n").expect("written");
    let stranger = Gateway::start_in(folder, config(&json!([entry("ca.pem")])));
    stranger.send(&index(&account)).expect(502);
}

#[test]
fn expired_tokens_of_many_stop_nobody() {
    let key = SigningKey::new("one");
    let server = FakeJwks::run(&[&key]);
    let mut config = config(&json!([issuer(&server.url())]));
    config["auth"]["attempts"] = json!(1);
    let gateway = Gateway::start(config);
    for number in 0..40 {
        let mut claims = lasting(-5, github(ISSUER, "acme/app"));
        claims["jti"] = json!(number);
        let old = key.sign(&claims);
        gateway.send(&index(&old)).expect(401);
        gateway
            .send(&basic(Call::get("/acme/index.yaml"), "helm", &old))
            .expect(401);
    }
    gateway.send(&index(&token(&key))).expect(200);
    let metrics = gateway.admin("/metrics");
    assert_eq!(failed(&metrics, "charts", "ended"), 80);
    // Forged ones do, after a while; not those whose token was seen.
    let seen = token(&key);
    gateway.send(&index(&seen)).expect(200);
    let forged = SigningKey::new("one");
    let stopped = (0..100).any(|_| gateway.send(&index(&token(&forged))).status == 429);
    assert!(stopped, "no end of forged tokens");
    gateway.send(&index(&seen)).expect(200);
}
