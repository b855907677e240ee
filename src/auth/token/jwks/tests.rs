//! A server of keys that rotates, goes down, is slow and lies; and tokens that try to pass for others.

use std::sync::atomic::{AtomicUsize, Ordering};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::super::{ErrorKind, Tokens};
use super::*;
use crate::config::{Jwt, JwtKeys};

const NOW: i64 = 1_800_000_000;

/// What the server says; switched while it runs.
#[derive(Clone)]
enum Says {
    Keys(Value),
    Raw(u16, String),
    /// Nothing, until it is told.
    Waits(Arc<Notify>, Value),
}

struct Server {
    url: url::Url,
    says: Arc<Mutex<Says>>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    async fn start(says: Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let says = Arc::new(Mutex::new(says));
        let asked = Arc::new(AtomicUsize::new(0));
        let (heard, count) = (says.clone(), asked.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let says = heard.lock().expect("no panic with it").clone();
                tokio::spawn(async move {
                    let mut head = [0; 4096];
                    let _ = stream.read(&mut head).await;
                    let (status, body) = match says {
                        Says::Keys(keys) => (200, keys.to_string()),
                        Says::Raw(status, body) => (status, body),
                        Says::Waits(signal, keys) => {
                            signal.notified().await;
                            (200, keys.to_string())
                        }
                    };
                    let answer = format!(
                        "HTTP/1.1 {status} X\r\nLocation: /elsewhere\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                        body.len()
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Self {
            url: format!("http://{address}/jwks").parse().expect("a URL"),
            says,
            asked,
        }
    }

    fn say(&self, says: Says) {
        *self.says.lock().expect("no panic with it") = says;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// An entry of `auth.jwt` whose keys are here.
    fn jwt(&self, issuer: Option<&str>) -> Jwt {
        let client = config::Client {
            allow_private: true,
            timeout: Duration::from_secs(20),
            ..config::Client::default()
        };
        let keys = JwtKeys::Url(Box::new(config::Jwks {
            url: self.url.clone(),
            client,
            token_file: None,
            max_stale: Duration::from_hours(24),
        }));
        Jwt {
            issuer: issuer.map(str::to_owned),
            audience: Some("chartgate".to_owned()),
            ..Jwt::new(keys, None)
        }
    }
}

/// Who signs tokens.
struct Signer {
    kid: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
    jwk: Value,
}

fn signer(kid: &'static str, algorithm: Algorithm) -> Signer {
    let pair = match algorithm {
        Algorithm::ES256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        Algorithm::ES384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        _ => &rcgen::PKCS_ED25519,
    };
    let pair = rcgen::KeyPair::generate_for(pair).expect("a key");
    let pem = pair.serialize_pem();
    let key = match algorithm {
        Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
        _ => EncodingKey::from_ec_pem(pem.as_bytes()),
    };
    let key = key.expect("a key");
    let mut jwk = match algorithm {
        Algorithm::EdDSA => {
            let x = crate::base64::encode_url(pair.public_key_raw());
            json!({"kty": "OKP", "crv": "Ed25519", "x": x.trim_end_matches('='), "use": "sig"})
        }
        _ => {
            let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&key, algorithm);
            serde_json::to_value(jwk.expect("a key")).expect("JSON")
        }
    };
    jwk["kid"] = json!(kid);
    Signer {
        kid,
        algorithm,
        key,
        jwk,
    }
}

/// An RSA key, whose tokens name `algorithm`.
fn rsa(kid: &'static str, algorithm: Algorithm) -> Signer {
    const PEM: &str = include_str!("../../../../tests/keys/rsa.pem");
    let key = EncodingKey::from_rsa_pem(PEM.as_bytes()).expect("a key");
    let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&key, algorithm).expect("a key");
    let mut jwk = serde_json::to_value(jwk).expect("JSON");
    jwk["kid"] = json!(kid);
    Signer {
        kid,
        algorithm,
        key,
        jwk,
    }
}

impl Signer {
    fn token(&self, more: &Value) -> String {
        let mut claims =
            json!({"iss": "https://a", "aud": "chartgate", "sub": "ci", "exp": NOW + 864_000});
        for (name, value) in more.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.kid.to_owned());
        jsonwebtoken::encode(&header, &claims, &self.key).expect("signed")
    }
}

fn set(signers: &[&Signer]) -> Says {
    let keys: Vec<_> = signers.iter().map(|signer| &signer.jwk).collect();
    Says::Keys(json!({ "keys": keys }))
}

struct World {
    folder: tempfile::TempDir,
    clock: Clock,
}

impl World {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            clock: Clock::manual(Timestamp::from_second(NOW).expect("a time")),
        }
    }

    /// As a start, or a restart.
    fn open(&self, jwt: &[Jwt]) -> Tokens {
        let outside = Outside {
            clients: &Clients::new(),
            metrics: &Arc::new(Metrics::new()),
            data_dir: self.folder.path(),
        };
        Tokens::open(jwt, &self.clock, Some(outside))
            .expect("opened")
            .expect("some")
    }
}

async fn kind(tokens: &Tokens, token: &str) -> Option<ErrorKind> {
    tokens
        .verify(token, &|| Ok(()))
        .await
        .err()
        .map(|error| error.kind())
}

/// Lets a fetch that nobody waits for come to its end.
async fn until(condition: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(20), async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("in time");
}

const REFUSED: Option<ErrorKind> = Some(ErrorKind::Unauthenticated);

#[tokio::test]
async fn keys_are_fetched_once_for_all_who_need_them() {
    let key = signer("one", Algorithm::ES256);
    let signal = Arc::new(Notify::new());
    let Says::Keys(keys) = set(&[&key]) else {
        panic!("keys")
    };
    let server = Server::start(Says::Waits(signal.clone(), keys)).await;
    let world = World::new();
    let tokens = world.open(&[server.jwt(Some("https://a"))]);
    assert_eq!(server.asked(), 0, "nobody has needed them");
    let text = key.token(&json!({}));
    let all = futures_util::future::join_all((0..20).map(|_| tokens.verify(&text, &|| Ok(()))));
    let release = async {
        until(|| server.asked() == 1).await;
        signal.notify_one();
    };
    let (all, ()) = tokio::join!(all, release);
    assert!(
        all.iter()
            .all(|one| one.as_ref().is_ok_and(|token| token.names_somebody()))
    );
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn every_algorithm_of_a_set_counts_and_belongs_to_its_key() {
    for key in [
        signer("k", Algorithm::ES256),
        signer("k", Algorithm::ES384),
        signer("k", Algorithm::EdDSA),
        rsa("k", Algorithm::RS256),
        rsa("k", Algorithm::RS384),
        rsa("k", Algorithm::RS512),
    ] {
        let server = Server::start(set(&[&key])).await;
        let tokens = World::new().open(&[server.jwt(Some("https://a"))]);
        let text = key.token(&json!({}));
        assert_eq!(kind(&tokens, &text).await, None, "{:?}", key.algorithm);
    }
    // The key says what it is for; the token does not.
    let server = Server::start(set(&[&rsa("k", Algorithm::RS256)])).await;
    let tokens = World::new().open(&[server.jwt(Some("https://a"))]);
    let other = rsa("k", Algorithm::RS512).token(&json!({}));
    assert_eq!(kind(&tokens, &other).await, REFUSED);
}

#[tokio::test]
async fn what_confuses_keys_is_refused_without_asking_the_server() {
    let key = rsa("k", Algorithm::RS256);
    let server = Server::start(set(&[&key])).await;
    let tokens = World::new().open(&[server.jwt(Some("https://a"))]);
    let public = include_str!("../../../../tests/keys/rsa.pub");
    let hmac = Signer {
        algorithm: Algorithm::HS256,
        key: EncodingKey::from_secret(public.as_bytes()),
        ..rsa("k", Algorithm::RS256)
    };
    assert_eq!(kind(&tokens, &hmac.token(&json!({}))).await, REFUSED);
    let good = key.token(&json!({}));
    let (_, rest) = good.split_once('.').expect("a token");
    let none = crate::base64::encode_url(br#"{"alg":"none","kid":"k"}"#);
    assert_eq!(kind(&tokens, &format!("{none}.{rest}")).await, REFUSED);
    let (body, _) = rest.split_once('.').expect("a token");
    assert_eq!(kind(&tokens, &format!("{none}.{body}.")).await, REFUSED);
    let foreign = key.token(&json!({"iss": "https://b"}));
    assert_eq!(kind(&tokens, &foreign).await, REFUSED);
    assert_eq!(server.asked(), 0);
    assert_eq!(kind(&tokens, &good).await, None);
    for wrong in [
        json!({"aud": "other"}),
        json!({"aud": null}),
        json!({"sub": ""}),
        json!({"sub": "a\nb"}),
        json!({"exp": null}),
        json!({"exp": NOW - 1}),
    ] {
        assert_eq!(kind(&tokens, &key.token(&wrong)).await, REFUSED, "{wrong}");
    }
}

#[tokio::test]
async fn two_issuers_with_the_same_name_of_a_key_stay_apart() {
    let (a, b) = (
        signer("same", Algorithm::ES256),
        signer("same", Algorithm::ES256),
    );
    let (first, second) = (
        Server::start(set(&[&a])).await,
        Server::start(set(&[&b])).await,
    );
    let world = World::new();
    let tokens = world.open(&[first.jwt(Some("https://a")), second.jwt(Some("https://b"))]);
    assert_eq!(kind(&tokens, &a.token(&json!({}))).await, None);
    assert_eq!(
        kind(&tokens, &b.token(&json!({"iss": "https://b"}))).await,
        None
    );
    assert_eq!(kind(&tokens, &b.token(&json!({}))).await, REFUSED);
    assert_eq!(
        kind(&tokens, &a.token(&json!({"iss": "https://b"}))).await,
        REFUSED
    );
}

#[tokio::test]
async fn a_rotation_is_followed_at_most_once_a_minute() {
    let (old, new) = (
        signer("old", Algorithm::ES256),
        signer("new", Algorithm::EdDSA),
    );
    let server = Server::start(set(&[&old])).await;
    let world = World::new();
    let tokens = world.open(&[server.jwt(Some("https://a"))]);
    let (first, second) = (old.token(&json!({})), new.token(&json!({})));
    assert_eq!(kind(&tokens, &first).await, None);
    server.say(set(&[&new]));
    for _ in 0..10 {
        assert_eq!(kind(&tokens, &second).await, REFUSED);
    }
    assert_eq!(server.asked(), 1);
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(kind(&tokens, &second).await, None);
    assert_eq!(server.asked(), 2);
    // Withdrawn, also for a token that was seen before.
    assert_eq!(kind(&tokens, &first).await, REFUSED);
}

#[tokio::test]
async fn a_server_that_is_away_or_lies_changes_nothing_until_keys_are_too_old() {
    let key = signer("one", Algorithm::ES256);
    let server = Server::start(set(&[&key])).await;
    let world = World::new();
    let jwt = [server.jwt(Some("https://a"))];
    let tokens = world.open(&jwt);
    let stranger = signer("two", Algorithm::ES256).token(&json!({}));
    assert_eq!(kind(&tokens, &key.token(&json!({}))).await, None);
    let mut private = key.jwk.clone();
    private["d"] = json!("AAAA");
    let many = vec![key.jwk.clone(); 101];
    for (n, lie) in [
        Says::Raw(503, String::new()),
        Says::Raw(302, String::new()),
        Says::Raw(404, "{\"keys\": []}".to_owned()),
        Says::Raw(200, "<html>".to_owned()),
        Says::Raw(200, String::new()),
        Says::Keys(json!({})),
        Says::Keys(json!([])),
        Says::Keys(json!({"keys": []})),
        Says::Keys(json!({"keys": "x"})),
        Says::Keys(json!({"keys": [1, null, {"kty": "oct", "k": "AAAA", "kid": "one"}]})),
        Says::Keys(json!({"keys": [{"kty": "EC", "crv": "P-256", "x": 1, "y": 2}]})),
        Says::Keys(json!({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]})),
        Says::Keys(json!({"keys": [private]})),
        Says::Keys(json!({ "keys": many })),
        Says::Raw(
            200,
            format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(MAX_BYTES)),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        server.say(lie);
        world.clock.advance(Duration::from_secs(61));
        // Waits for the fetch, and so sees what came of it.
        assert_eq!(kind(&tokens, &stranger).await, REFUSED, "{n}");
        assert_eq!(server.asked(), n + 2);
        let fresh = key.token(&json!({ "n": n }));
        assert_eq!(kind(&tokens, &fresh).await, None, "{n}");
    }
    // A restart meanwhile changes nothing either.
    let again = world.open(&jwt);
    assert_eq!(kind(&again, &key.token(&json!({}))).await, None);
    world.clock.advance(Duration::from_hours(24));
    for tokens in [&tokens, &again] {
        let outcome = kind(tokens, &key.token(&json!({}))).await;
        assert_eq!(outcome, Some(ErrorKind::UpstreamUnavailable));
    }
    // Back again.
    server.say(set(&[&key]));
    world.clock.advance(Duration::from_secs(6));
    assert_eq!(kind(&tokens, &key.token(&json!({}))).await, None);
}

#[tokio::test]
async fn a_slow_server_holds_up_nobody_whose_key_is_known() {
    let (old, new) = (
        signer("old", Algorithm::ES256),
        signer("new", Algorithm::ES256),
    );
    let server = Server::start(set(&[&old])).await;
    let world = World::new();
    let tokens = Arc::new(world.open(&[server.jwt(Some("https://a"))]));
    assert_eq!(kind(&tokens, &old.token(&json!({}))).await, None);
    let signal = Arc::new(Notify::new());
    let Says::Keys(keys) = set(&[&old, &new]) else {
        panic!("keys")
    };
    server.say(Says::Waits(signal.clone(), keys));
    // Old enough to be fetched again: that happens behind the back of who asks.
    world.clock.advance(Duration::from_hours(2));
    assert_eq!(kind(&tokens, &old.token(&json!({"n": 1}))).await, None);
    until(|| server.asked() == 2).await;
    let (waiting, text) = (Arc::clone(&tokens), new.token(&json!({})));
    let waiting = tokio::spawn(async move { kind(&waiting, &text).await });
    assert_eq!(kind(&tokens, &old.token(&json!({"n": 2}))).await, None);
    assert!(!waiting.is_finished());
    signal.notify_one();
    assert_eq!(waiting.await.expect("no panic"), None);
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn required_claims_names_and_groups_are_looked_up() {
    let key = signer("one", Algorithm::ES256);
    let server = Server::start(set(&[&key])).await;
    let jwt = Jwt {
        subject_claim: "who.name".to_owned(),
        groups_claim: Some("teams".to_owned()),
        required_claims: vec![("owner".to_owned(), "acme*".to_owned())],
        ..server.jwt(Some("https://a"))
    };
    let tokens = World::new().open(&[jwt]);
    let good = json!({"who": {"name": "x"}, "teams": ["dev"], "owner": "acme-eu"});
    let token = tokens
        .verify(&key.token(&good), &|| Ok(()))
        .await
        .expect("good");
    assert_eq!(token.subject().map(AsRef::as_ref), Some("x"));
    assert!(token.is_in("dev") && !token.is_in("ops"));
    for wrong in [
        json!({"who": {"name": "x"}}),
        json!({"who": {"name": "x"}, "owner": "other"}),
        json!({"owner": "acme"}),
    ] {
        assert_eq!(kind(&tokens, &key.token(&wrong)).await, REFUSED, "{wrong}");
    }
}
