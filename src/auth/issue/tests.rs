//! What our tokens say, which ones count, and everything that must not pass for one.

use std::path::PathBuf;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_800_000_000;
const HOST: &str = "gw.example:5000";
const P256: &rcgen::SignatureAlgorithm = &rcgen::PKCS_ECDSA_P256_SHA256;
const ED25519: &rcgen::SignatureAlgorithm = &rcgen::PKCS_ED25519;

struct World {
    folder: tempfile::TempDir,
    clock: Clock,
    config: TokenServer,
    issuer: Issuer,
}

impl World {
    /// An issuer with the key that it makes itself.
    fn new() -> Self {
        Self::with(
            tempfile::tempdir().expect("a folder"),
            TokenServer::default(),
        )
    }

    fn with(folder: tempfile::TempDir, config: TokenServer) -> Self {
        let clock = Clock::manual(Timestamp::from_second(NOW).expect("a time"));
        let issuer = Issuer::open(&config, folder.path(), &clock).expect("opened");
        Self {
            folder,
            clock,
            config,
            issuer,
        }
    }

    /// An issuer that signs with `pem`.
    fn signing(pem: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = TokenServer {
            key_file: Some(put(&folder, "token.pem", pem)),
            ..TokenServer::default()
        };
        Self::with(folder, config)
    }

    async fn issue(&self, identity: &Identity) -> String {
        let issued = self.issuer.issue(identity, HOST, &scopes(), None).await;
        issued.expect("a token").token
    }

    /// Whom the token is of; `Err(None)` where it is not one of ours, else why it is refused.
    async fn holder(&self, token: &str) -> Result<Identity, Option<String>> {
        self.holder_at(token, HOST).await
    }

    async fn holder_at(&self, token: &str, host: &str) -> Result<Identity, Option<String>> {
        match self.issuer.verify(token, host, &|| Ok(())).await {
            None => Err(None),
            Some(Ok(session)) => match session.holder() {
                Holder::Known(identity) => Ok(identity.clone()),
                Holder::ApiToken(id) => panic!("nobody has `{id}`"),
            },
            Some(Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Unauthenticated);
                assert!(!error.chain().contains(token), "{error}");
                Err(Some(error.message().to_owned()))
            }
        }
    }

    async fn refuses(&self, token: &str, reason: &str) {
        match self.holder(token).await {
            Err(Some(message)) => assert!(message.contains(reason), "{message}: not {reason}"),
            other => panic!("{other:?} instead of `{reason}`"),
        }
    }
}

fn put(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("written");
    path
}

fn pem(algorithm: &'static rcgen::SignatureAlgorithm) -> rcgen::KeyPair {
    rcgen::KeyPair::generate_for(algorithm).expect("a key")
}

/// What is between the lines, decoded.
fn pem_content(text: &str) -> Vec<u8> {
    let lines = text.lines().filter(|line| !line.starts_with('-'));
    base64::decode(&lines.collect::<String>()).expect("base64")
}

fn scopes() -> Vec<Scope> {
    Scope::parse_list("repository:acme/a:pull,push repository:acme/b:pull")
}

fn user(name: &str) -> Identity {
    Identity::User { name: name.into() }
}

fn part(token: &str, number: usize) -> Value {
    let text = token.split('.').nth(number).expect("three parts");
    let text = text.replace('-', "+").replace('_', "/");
    serde_json::from_slice(&base64::decode(&text).expect("base64")).expect("JSON")
}

/// The claims of a good token, changed.
fn claims(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = json!({
        "iss": "chartgate", "sub": "ci", "aud": HOST, "iat": NOW, "nbf": NOW - 30, "exp": NOW + 300,
        "jti": "x", "access": [], "kind": "user",
    });
    change(&mut claims);
    claims
}

/// A key and the name that its tokens carry.
fn signer(algorithm: Algorithm, pair: &rcgen::KeyPair) -> (EncodingKey, Header) {
    let text = pair.serialize_pem();
    let key = match algorithm {
        Algorithm::EdDSA => EncodingKey::from_ed_pem(text.as_bytes()),
        _ => EncodingKey::from_ec_pem(text.as_bytes()),
    };
    let own = <SigningKey as super::super::watched::Content>::read(text.as_bytes(), "x".as_ref());
    let mut header = Header::new(algorithm);
    header.kid = Some(own.expect("a key").public().id().to_owned());
    (key.expect("a key"), header)
}

fn forged(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let encode = |value: &Value| base64::encode_url(value.to_string().as_bytes());
    format!(
        "{}.{}.{}",
        encode(header),
        encode(claims),
        base64::encode_url(signature)
    )
}

#[tokio::test]
async fn what_a_token_says() {
    for world in [
        World::new(),
        World::signing(&pem(P256).serialize_pem()),
        World::signing(&pem(ED25519).serialize_pem()),
    ] {
        let issued = world.issuer.issue(&user("ci"), HOST, &scopes(), None).await;
        let issued = issued.expect("a token");
        assert_eq!(issued.expires_in, 300);
        assert_eq!(issued.issued_at.as_second(), NOW);
        let header = part(&issued.token, 0);
        assert_eq!(header["typ"], "JWT");
        assert!(["ES256", "EdDSA"].contains(&header["alg"].as_str().expect("text")));
        assert_eq!(header["kid"].as_str().expect("text").len(), 43);
        let mut claims = part(&issued.token, 1);
        let id = claims["jti"].take();
        assert_eq!(id.as_str().expect("text").len(), 22);
        assert_eq!(
            claims,
            json!({
                "iss": "chartgate", "sub": "ci", "aud": HOST,
                "iat": NOW, "nbf": NOW - 30, "exp": NOW + 300, "jti": null, "kind": "user",
                "access": [
                    {"type": "repository", "name": "acme/a", "actions": ["pull", "push"]},
                    {"type": "repository", "name": "acme/b", "actions": ["pull"]},
                ],
            })
        );
        assert!(issued.token.len() < 1_000);
        let again = world.issue(&user("ci")).await;
        assert_ne!(part(&again, 1)["jti"], id);

        for (identity, sub, kind) in [
            (Identity::Anonymous, "", "anonymous"),
            (
                Identity::Certificate {
                    subject: "CN=ci".into(),
                },
                "CN=ci",
                "certificate",
            ),
            (user("ci"), "ci", "user"),
        ] {
            let token = world.issue(&identity).await;
            let claims = part(&token, 1);
            assert_eq!(
                (claims["sub"].as_str(), claims["kind"].as_str()),
                (Some(sub), Some(kind))
            );
            assert_eq!(world.holder(&token).await.as_ref(), Ok(&identity));
        }
    }
}

#[tokio::test]
async fn what_it_was_made_for_is_found_by_name_and_action() {
    let world = World::new();
    let token = world.issue(&user("ci")).await;
    let session = world
        .issuer
        .verify(&token, HOST, &|| Ok(()))
        .await
        .expect("ours");
    let session = session.expect("counts");
    for (name, action, named) in [
        ("acme/a", "push", true),
        ("acme/a", "pull", true),
        ("acme/a", "delete", false),
        ("acme/b", "push", false),
        ("acme", "push", false),
        ("acme/a/", "push", false),
    ] {
        assert_eq!(session.names(name, action), named, "{name} {action}");
    }
}

#[tokio::test]
async fn the_time_of_a_token() {
    let world = World::new();
    let token = world.issue(&user("ci")).await;
    world.clock.advance(Duration::from_secs(299));
    assert!(world.holder(&token).await.is_ok());
    world.clock.advance(Duration::from_secs(1));
    world.refuses(&token, "expired").await;

    let pair = pem(P256);
    let world = World::signing(&pair.serialize_pem());
    let (key, header) = signer(Algorithm::ES256, &pair);
    for (change, reason) in [
        (json!({"nbf": NOW + 30, "iat": NOW + 60}), None),
        (json!({"nbf": NOW + 31}), Some("not come yet")),
        (json!({"iat": NOW + 61}), Some("not come yet")),
        (json!({"exp": NOW}), Some("expired")),
        (json!({"exp": NOW + 1}), None),
        (json!({"exp": i64::MIN}), Some("expired")),
        (json!({"iat": i64::MIN, "nbf": i64::MIN}), None),
    ] {
        let claims = claims(|claims| {
            for (name, value) in change.as_object().expect("an object") {
                claims[name] = value.clone();
            }
        });
        let token = jsonwebtoken::encode(&header, &claims, &key).expect("signed");
        match reason {
            None => assert_eq!(world.holder(&token).await, Ok(user("ci")), "{change}"),
            Some(reason) => world.refuses(&token, reason).await,
        }
    }
}

#[tokio::test]
async fn claims_that_are_not_ours() {
    let pair = pem(P256);
    let world = World::signing(&pair.serialize_pem());
    let (key, header) = signer(Algorithm::ES256, &pair);
    for (name, value, reason) in [
        ("iss", json!("somebody"), "another issuer"),
        ("iss", Value::Null, "content"),
        ("aud", json!("gw.example"), "another host"),
        ("aud", json!([HOST]), "content"),
        ("kind", json!("admin"), "content"),
        ("exp", json!("tomorrow"), "content"),
        ("exp", Value::Null, "content"),
        ("access", json!("all"), "content"),
    ] {
        let claims = claims(|claims| claims[name] = value.clone());
        let token = jsonwebtoken::encode(&header, &claims, &key).expect("signed");
        world.refuses(&token, reason).await;
    }
    let token = world.issue(&user("ci")).await;
    assert!(
        world.holder_at(&token, "other.example").await.is_err(),
        "at another host"
    );
    assert!(world.holder(&token).await.is_ok());
}

#[tokio::test]
async fn forgeries() {
    for (algorithm, rcgen) in [(Algorithm::ES256, P256), (Algorithm::EdDSA, ED25519)] {
        let pair = pem(rcgen);
        let world = World::signing(&pair.serialize_pem());
        let (key, good) = signer(algorithm, &pair);
        let sign = |header: &Header, key: &EncodingKey| {
            jsonwebtoken::encode(header, &claims(|_| ()), key).expect("signed")
        };
        assert_eq!(world.holder(&sign(&good, &key)).await, Ok(user("ci")));
        let kid = good.kid.clone();

        // Another key under the name of ours.
        let (other, _) = signer(algorithm, &pem(rcgen));
        world.refuses(&sign(&good, &other), "signature").await;
        // The other family of keys.
        let (crossed, cross) = match algorithm {
            Algorithm::EdDSA => (Algorithm::ES256, P256),
            _ => (Algorithm::EdDSA, ED25519),
        };
        let (other, mut header) = signer(crossed, &pem(cross));
        header.kid = kid.clone();
        world.refuses(&sign(&header, &other), "algorithm").await;
        // The public key as the secret of an HMAC, in every form that it has.
        let raw = pair.public_key_raw().to_vec();
        for secret in [
            raw,
            pem_content(&pair.public_key_pem()),
            pair.public_key_pem().into_bytes(),
        ] {
            for hmac in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                let mut header = Header::new(hmac);
                header.kid = kid.clone();
                let token = sign(&header, &EncodingKey::from_secret(&secret));
                world.refuses(&token, "algorithm").await;
            }
        }
        // No signature at all.
        let kid = kid.expect("a name");
        for alg in ["none", "None", "NONE", ""] {
            let token = forged(&json!({"alg": alg, "kid": kid}), &claims(|_| ()), b"");
            assert_eq!(world.holder(&token).await, Err(None), "{alg}");
        }
        // Headers that bring keys or demand extensions.
        let jwk = json!({"kty": "oct", "k": "AAAA"});
        for (name, value) in [
            ("jwk", jwk),
            ("jku", json!("https://evil.example/keys")),
            ("x5u", json!("https://evil.example/keys")),
            ("x5c", json!(["AAAA"])),
            ("crit", json!(["exp"])),
        ] {
            let mut header = json!({"alg": algorithm, "kid": kid, "typ": "JWT"});
            header[name] = value;
            let text = serde_json::from_value::<Header>(header).expect("a header");
            world.refuses(&sign(&text, &key), "header").await;
        }
        // Names of keys that nobody has, and none: not ours, so somebody else may know them.
        let mut header = good.clone();
        for kid in [Some("unknown".to_owned()), Some(String::new()), None] {
            header.kid = kid;
            assert_eq!(world.holder(&sign(&header, &key)).await, Err(None));
        }
        // Every byte of a good token matters.
        let token = sign(&good, &key);
        let claims_at = token.find('.').expect("a dot") + 1;
        for at in (claims_at..token.len() - 1).step_by(7) {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            assert!(world.holder(&changed).await.is_err(), "byte {at}");
        }
    }
    let world = World::new();
    for nonsense in ["", "a", "a.b.c", "..", "ey.ey.ey", &"x".repeat(100_000)] {
        assert_eq!(world.holder(nonsense).await, Err(None), "{nonsense:.20}");
    }
}

#[tokio::test]
async fn keys_rotate_with_overlap() {
    let (old, new) = (pem(P256), pem(ED25519));
    let folder = tempfile::tempdir().expect("a folder");
    let config = TokenServer {
        key_file: Some(put(&folder, "current.pem", &old.serialize_pem())),
        // Made known before it signs, so that every replica believes it by then.
        previous_key_files: vec![put(&folder, "other.pem", &new.public_key_pem())],
        ..TokenServer::default()
    };
    let world = World::with(folder, config);
    let before = world.issue(&user("ci")).await;

    // The files change under the running process.
    put(&world.folder, "current.pem", &new.serialize_pem());
    put(&world.folder, "other.pem", &old.public_key_pem());
    world.clock.advance(Duration::from_secs(1));
    let after = world.issue(&user("ci")).await;
    assert_ne!(part(&before, 0)["kid"], part(&after, 0)["kid"]);
    for token in [&before, &after] {
        assert_eq!(world.holder(token).await, Ok(user("ci")));
    }
    // A replica that is told the same agrees.
    let replica = Issuer::open(&world.config, world.folder.path(), &world.clock).expect("opened");
    for token in [&before, &after] {
        assert!(
            replica
                .verify(token, HOST, &|| Ok(()))
                .await
                .is_some_and(|it| it.is_ok())
        );
    }
    // The old key is taken away: at once, also where its tokens are remembered.
    put(&world.folder, "other.pem", &new.public_key_pem());
    world.clock.advance(Duration::from_secs(1));
    world.refuses(&before, "key does not count any more").await;
    assert_eq!(world.holder(&after).await, Ok(user("ci")));
}

#[tokio::test]
async fn a_private_key_is_as_good_as_a_public_one_for_the_past() {
    let old = pem(P256);
    let first = World::signing(&old.serialize_pem());
    let token = first.issue(&user("ci")).await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = TokenServer {
        previous_key_files: vec![put(&folder, "old.pem", &old.serialize_pem())],
        ..TokenServer::default()
    };
    let second = World::with(folder, config);
    assert_eq!(second.holder(&token).await, Ok(user("ci")));
}

#[tokio::test]
async fn tokens_are_of_one_password() {
    let (pair, next) = (pem(P256), pem(P256));
    let world = World::signing(&pair.serialize_pem());
    let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
    let issued = world.issuer.issue(&user("ci"), HOST, &[], Some(one)).await;
    let token = issued.expect("a token").token;
    let generation = part(&token, 1)["gen"].as_str().expect("text").to_owned();
    assert_eq!(generation.len(), 16);
    let session = world
        .issuer
        .verify(&token, HOST, &|| Ok(()))
        .await
        .expect("ours")
        .expect("counts");
    assert!(world.issuer.is_of(&session, one) && !world.issuer.is_of(&session, two));
    // Nobody without the private key can try passwords on it.
    for guess in [one, Digest::of(&[one.as_bytes(), &b"ci"[..]].concat())] {
        assert_ne!(base64::encode_url(&guess.as_bytes()[..12]), generation);
    }

    // After a rotation: with the private half it is still checked, with the public one it counts until it ends.
    for (previous, strict) in [(pair.serialize_pem(), true), (pair.public_key_pem(), false)] {
        let folder = tempfile::tempdir().expect("a folder");
        let config = TokenServer {
            key_file: Some(put(&folder, "next.pem", &next.serialize_pem())),
            previous_key_files: vec![put(&folder, "old.pem", &previous)],
            ..TokenServer::default()
        };
        let world = World::with(folder, config);
        let session = world
            .issuer
            .verify(&token, HOST, &|| Ok(()))
            .await
            .expect("ours")
            .expect("counts");
        assert!(world.issuer.is_of(&session, one));
        assert_eq!(world.issuer.is_of(&session, two), !strict);
    }
}

#[tokio::test]
async fn the_key_that_is_made_is_private_and_lasts() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("deep/data");
    let open = || file::ensure(&data).expect("a key");
    let threads: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads
            .into_iter()
            .map(|it| it.join().expect("no panic"))
            .collect()
    });
    let path = data.join("token.key");
    assert!(threads.iter().all(|made| *made == path));
    let mode = std::fs::metadata(&path)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let names: Vec<_> = std::fs::read_dir(&data).expect("a folder").collect();
    assert_eq!(names.len(), 1, "nothing else is left: {names:?}");

    let clock = Clock::manual(Timestamp::from_second(NOW).expect("a time"));
    let first = Issuer::open(&TokenServer::default(), &data, &clock).expect("opened");
    let issued = first
        .issue(&user("ci"), HOST, &[], None)
        .await
        .expect("a token");
    let second = Issuer::open(&TokenServer::default(), &data, &clock).expect("opened");
    let known = second.verify(&issued.token, HOST, &|| Ok(())).await;
    assert!(known.expect("ours").is_ok(), "after a restart");
}

#[test]
fn keys_that_cannot_sign_say_why() {
    let sec1 = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";
    let locked =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let p384 = pem(&rcgen::PKCS_ECDSA_P384_SHA384);
    for (text, reason) in [
        (String::new(), "openssl genpkey"),
        (sec1.to_owned(), "openssl pkcs8"),
        (locked.to_owned(), "encrypted"),
        (p384.serialize_pem(), "P-256"),
        (pem(P256).public_key_pem(), "PRIVATE KEY"),
        (
            include_str!("../../../tests/keys/rsa.pem").to_owned(),
            "P-256",
        ),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let config = TokenServer {
            key_file: Some(put(&folder, "key.pem", &text)),
            ..TokenServer::default()
        };
        let error = Issuer::open(&config, folder.path(), &Clock::system()).expect_err("refused");
        let chain = error.chain();
        assert!(
            chain.contains(reason) && chain.contains("key.pem"),
            "{chain}"
        );
        assert!(!chain.contains("AAAA"));
    }
    for text in [p384.public_key_pem(), "nothing".to_owned()] {
        let folder = tempfile::tempdir().expect("a folder");
        let config = TokenServer {
            previous_key_files: vec![put(&folder, "old.pem", &text)],
            ..TokenServer::default()
        };
        let error = Issuer::open(&config, folder.path(), &Clock::system()).expect_err("refused");
        assert!(error.chain().contains("P-256"), "{}", error.chain());
    }
}

#[tokio::test]
async fn a_token_is_computed_once() {
    let world = World::new();
    let token = world.issue(&user("ci")).await;
    for _ in 0..3 {
        assert!(world.holder(&token).await.is_ok());
    }
    assert_eq!(world.issuer.remembered.size().0, 1);
    world.clock.advance(Duration::from_secs(300));
    world.refuses(&token, "expired").await;
    assert_eq!(World::new().holder(&token).await, Err(None), "another key");
}
