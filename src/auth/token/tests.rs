//! Tokens of every kind of key, and everything that must not pass for one.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use super::*;
use crate::config::Action;

const ACTIONS: &str = "access[?name=='$NAMESPACE' && type=='$ACCESS_ENTRY_TYPE'].actions[]";
const RSA_PRIVATE: &str = include_str!("../../../tests/keys/rsa.pem");
const RSA_PUBLIC: &str = include_str!("../../../tests/keys/rsa.pub");
const RSA_CERTIFICATE: &str = include_str!("../../../tests/keys/rsa.crt");
const RSA_SHORT: &str = include_str!("../../../tests/keys/rsa-512.pub");

/// A time at which the tokens of these tests are used.
const NOW: i64 = 1_800_000_000;

struct World {
    _folder: tempfile::TempDir,
    path: PathBuf,
    clock: Clock,
    tokens: Tokens,
}

impl World {
    fn new(key: &str) -> Self {
        Self::configured(key, |_| ())
    }

    fn configured(key: &str, change: impl FnOnce(&mut Jwt)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key.pem");
        std::fs::write(&path, key).expect("written");
        let mut jwt = Jwt::new(JwtKeys::File(path.clone()), Some(ACTIONS));
        change(&mut jwt);
        let clock = Clock::manual(Timestamp::from_second(NOW).expect("a time"));
        let tokens = Tokens::open(&[jwt], &clock, None)
            .expect("opened")
            .expect("a key");
        Self {
            _folder: folder,
            path,
            clock,
            tokens,
        }
    }

    async fn accepts(&self, token: &str) -> bool {
        match self.tokens.verify(token, &|| Ok(())).await {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unauthenticated);
                assert!(
                    token.is_empty() || !error.chain().contains(token),
                    "{error}"
                );
                false
            }
        }
    }

    fn remembered(&self) -> usize {
        self.tokens.remembered.size().0
    }
}

fn access() -> Value {
    json!({"access": [{"type": "artifact-repository", "name": "org1", "actions": ["pull"]}]})
}

fn rsa() -> EncodingKey {
    EncodingKey::from_rsa_pem(RSA_PRIVATE.as_bytes()).expect("a key")
}

fn signed(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, key).expect("signed")
}

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().enumerate().fold(0u32, |bits, (n, byte)| {
            bits | u32::from(*byte) << (16 - 8 * n)
        });
        for place in 0..=group.len() {
            text.push(char::from(
                ALPHABET[(bits >> (18 - 6 * place) & 63) as usize],
            ));
        }
    }
    text
}

/// A token with this header and these claims whose signature is `signature`.
fn forged(header: &Value, claims: &Value, signature: &[u8]) -> String {
    format!(
        "{}.{}.{}",
        base64url(header.to_string().as_bytes()),
        base64url(claims.to_string().as_bytes()),
        base64url(signature)
    )
}

#[tokio::test]
async fn rsa_keys_and_certificates_with_every_rsa_algorithm() {
    for key in [RSA_PUBLIC, RSA_CERTIFICATE] {
        let world = World::new(key);
        for algorithm in [
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ] {
            let token = signed(algorithm, &rsa(), &access());
            assert!(world.accepts(&token).await, "{algorithm:?}");
        }
    }
}

#[tokio::test]
async fn curves_by_the_type_of_the_key() {
    for (rcgen, algorithm) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, Algorithm::ES256),
        (&rcgen::PKCS_ECDSA_P384_SHA384, Algorithm::ES384),
        (&rcgen::PKCS_ED25519, Algorithm::EdDSA),
    ] {
        let pair = rcgen::KeyPair::generate_for(rcgen).expect("a key");
        let other = rcgen::KeyPair::generate_for(rcgen).expect("a key");
        let encoding = |pair: &rcgen::KeyPair| {
            let pem = pair.serialize_pem();
            match algorithm {
                Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
                _ => EncodingKey::from_ec_pem(pem.as_bytes()),
            }
            .expect("a key")
        };
        let certificate = rcgen::CertificateParams::new(vec!["tokens".to_owned()])
            .expect("parameters")
            .self_signed(&pair)
            .expect("a certificate");
        for key in [pair.public_key_pem(), certificate.pem()] {
            let world = World::new(&key);
            let good = signed(algorithm, &encoding(&pair), &access());
            assert!(world.accepts(&good).await, "{algorithm:?}");
            let stranger = signed(algorithm, &encoding(&other), &access());
            assert!(!world.accepts(&stranger).await, "{algorithm:?}");
            let rs256 = signed(Algorithm::RS256, &rsa(), &access());
            assert!(!world.accepts(&rs256).await);
        }
    }
}

#[tokio::test]
async fn a_public_key_is_never_a_shared_secret() {
    let world = World::new(RSA_PUBLIC);
    let der: Vec<u8> = crate::base64::decode(
        &RSA_PUBLIC
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect::<String>(),
    )
    .expect("base64");
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        for secret in [
            RSA_PUBLIC.as_bytes(),
            RSA_PUBLIC.trim_end().as_bytes(),
            &der,
            b"",
        ] {
            let token = signed(algorithm, &EncodingKey::from_secret(secret), &access());
            assert!(!world.accepts(&token).await, "{algorithm:?}");
        }
    }
    for algorithm in ["none", "None", "NONE", "", "RS256 ", "rs256"] {
        for signature in [&b""[..], b"x"] {
            let token = forged(
                &json!({"alg": algorithm, "typ": "JWT"}),
                &access(),
                signature,
            );
            assert!(!world.accepts(&token).await, "{algorithm}");
        }
    }
    assert_eq!(world.remembered(), 0);
}

#[tokio::test]
async fn whatever_was_changed_is_refused() {
    let world = World::new(RSA_PUBLIC);
    let token = signed(Algorithm::RS256, &rsa(), &access());
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        panic!("three parts")
    };
    let other = signed(Algorithm::RS256, &rsa(), &json!({"access": []}));
    let others: Vec<&str> = other.split('.').collect();
    let more = base64url(access().to_string().replace("pull", "push").as_bytes());
    let crit = base64url(
        json!({"alg": "RS256", "crit": ["exp"], "exp": 1})
            .to_string()
            .as_bytes(),
    );
    for bad in [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        format!("{header}.{claims}"),
        format!("{header}.{claims}."),
        format!("{header}.{more}.{signature}"),
        format!("{header}.{claims}.{}", others[2]),
        format!("{header}.{}.{signature}", others[1]),
        format!("{crit}.{claims}.{signature}"),
        format!("{token}."),
        format!("{token}.{token}"),
        format!(".{token}"),
        format!("{}A", &token[..token.len() - 1]),
        format!("{header}.{claims}.{signature}="),
        "a".repeat(1 << 20),
        "\u{e4}.\u{f6}.\u{fc}".into(),
    ] {
        assert!(!world.accepts(&bad).await, "{bad:.100}");
    }
    for body in [json!([]), json!("x"), json!(1), json!(null)] {
        let token = signed(Algorithm::RS256, &rsa(), &body);
        assert!(!world.accepts(&token).await, "{body}");
    }
    let crit = jsonwebtoken::encode(
        &Header {
            crit: Some(vec!["b64".into()]),
            ..Header::new(Algorithm::RS256)
        },
        &access(),
        &rsa(),
    )
    .expect("signed");
    assert!(!world.accepts(&crit).await);
    assert!(world.accepts(&token).await);
}

#[tokio::test]
async fn a_token_costs_one_verification_until_it_expires() {
    let world = World::new(RSA_PUBLIC);
    let mut claims = access();
    claims["exp"] = json!(NOW + 100);
    claims["sub"] = json!("ci");
    let token = signed(Algorithm::RS256, &rsa(), &claims);
    let first = world
        .tokens
        .verify(&token, &|| Ok(()))
        .await
        .expect("valid");
    let second = world
        .tokens
        .verify(&token, &|| Ok(()))
        .await
        .expect("valid");
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(first.subject().map(AsRef::as_ref), Some("ci"));
    assert!(first.grants("org1").contain(Action::Pull));
    assert!(!first.grants("org1").contain(Action::Push));
    assert!(!first.grants("").contain(Action::Pull));
    world.clock.advance(Duration::from_secs(99));
    assert!(world.accepts(&token).await);
    world.clock.advance(Duration::from_secs(1));
    assert!(!world.accepts(&token).await, "expired while remembered");
    claims["exp"] = json!(NOW - 1);
    assert!(
        !world
            .accepts(&signed(Algorithm::RS256, &rsa(), &claims))
            .await
    );
    assert_eq!(world.remembered(), 2, "also one that comes after its end");
    let forged = format!("{}A", &token[..token.len() - 1]);
    assert!(!world.accepts(&forged).await);
    assert_eq!(world.remembered(), 2, "what is forged is not remembered");
}

#[tokio::test]
async fn the_memory_is_bounded() {
    let world = World::new(RSA_PUBLIC);
    let claims = query::claims(serde_json::Map::new()).expect("claims");
    let Keys::File(key) = &world.tokens.issuers[0].keys else {
        panic!("a file")
    };
    let key = key.known();
    let kept = |until: i64| {
        let claims_map = json!({"exp": until}).as_object().cloned().expect("a map");
        Arc::new(Token {
            entry: 0,
            id: Digest::of(b""),
            subject: None,
            groups: Vec::new(),
            validity: Validity::of(&claims_map).expect("valid"),
            claims: claims.clone(),
            query: world.tokens.issuers[0].query.clone(),
            grants: Mutex::default(),
        })
    };
    let (short, long) = (kept(NOW + 10), kept(NOW + 100_000));
    let remember = |number: u32, token: &Arc<Token>| {
        let id = Digest::of(&number.to_le_bytes());
        let kept = Kept {
            issuer: 0,
            key: key.clone(),
            token: token.clone(),
        };
        let now = world.clock.now();
        let counts = |kept: &Kept| kept.token.validity.check(now).is_ok();
        world.tokens.remembered.remember(id, 1_000, kept, counts);
    };
    for number in 0..2_000 {
        remember(number, &short);
    }
    world.clock.advance(Duration::from_secs(20));
    for number in 2_000..5_000 {
        remember(number, &long);
    }
    assert_eq!(
        world.remembered(),
        3_000,
        "expired ones make place for valid ones"
    );
    for number in 5_000..50_000 {
        remember(number, &long);
    }
    assert!(world.tokens.remembered.size().1 <= REMEMBERED_BYTES);
    assert!(world.remembered() <= REMEMBERED_BYTES / 1_000);
    for number in 0..10_000 {
        long.grants(&number.to_string());
    }
    assert!(long.grants.lock().expect("a lock").len() <= REMEMBERED_TENANTS);
}

#[tokio::test]
async fn issuer_and_audience_are_asked_for_where_configured() {
    let world = World::configured(RSA_PUBLIC, |jwt| {
        jwt.audience = Some("charts".into());
        jwt.issuer = Some("https://issuer.example".into());
    });
    let issuer = "https://issuer.example";
    for (claims, counts) in [
        (json!({"iss": issuer, "aud": "charts"}), true),
        (json!({"iss": issuer, "aud": ["x", "charts"]}), true),
        (json!({"iss": issuer, "aud": ["x"]}), false),
        (json!({"iss": issuer, "aud": []}), false),
        (json!({"iss": issuer, "aud": {"charts": 1}}), false),
        (json!({"iss": issuer}), false),
        (json!({"aud": "charts"}), false),
        (
            json!({"iss": "https://issuer.example/", "aud": "charts"}),
            false,
        ),
        (json!({"iss": [issuer], "aud": "charts"}), false),
    ] {
        let token = signed(Algorithm::RS256, &rsa(), &claims);
        assert_eq!(world.accepts(&token).await, counts, "{claims}");
    }
    let open = World::new(RSA_PUBLIC);
    let token = signed(
        Algorithm::RS256,
        &rsa(),
        &json!({"iss": "any", "aud": "any"}),
    );
    assert!(open.accepts(&token).await);
}

#[tokio::test]
async fn a_replaced_key_counts_from_the_next_second_and_ends_the_old_tokens() {
    let world = World::new(RSA_PUBLIC);
    let old = signed(Algorithm::RS256, &rsa(), &access());
    assert!(world.accepts(&old).await);
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let key = EncodingKey::from_ed_pem(pair.serialize_pem().as_bytes()).expect("a key");
    let new = signed(Algorithm::EdDSA, &key, &access());

    std::fs::write(&world.path, "half a key").expect("written");
    world.clock.advance(Duration::from_secs(1));
    assert!(
        world.accepts(&old).await,
        "a file that is no key changes nothing"
    );
    std::fs::write(&world.path, pair.public_key_pem()).expect("written");
    assert!(!world.accepts(&new).await, "not looked at yet");
    world.clock.advance(Duration::from_secs(1));
    assert!(world.accepts(&new).await);
    assert!(!world.accepts(&old).await, "also where it was remembered");
}

#[tokio::test]
async fn every_configured_key_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let jwt = |name: &str, key: &str, actions_path: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, key).expect("written");
        Jwt::new(JwtKeys::File(path), Some(actions_path))
    };
    let configured = [
        jwt("a", RSA_PUBLIC, ACTIONS),
        jwt("b", &pair.public_key_pem(), "['push']"),
    ];
    let tokens = Tokens::open(&configured, &Clock::system(), None)
        .expect("opened")
        .expect("keys");
    let key = EncodingKey::from_ed_pem(pair.serialize_pem().as_bytes()).expect("a key");
    for _ in 0..2 {
        let first = tokens
            .verify(&signed(Algorithm::RS256, &rsa(), &access()), &|| Ok(()))
            .await
            .expect("valid");
        assert!(!first.grants("x").contain(Action::Push));
        let second = tokens
            .verify(&signed(Algorithm::EdDSA, &key, &access()), &|| Ok(()))
            .await
            .expect("valid");
        assert!(second.grants("x").contain(Action::Push));
    }
    assert!(
        Tokens::open(&[], &Clock::system(), None)
            .expect("opened")
            .is_none()
    );
}

#[test]
fn files_that_are_no_public_key_are_refused_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key.pem");
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    for (content, word) in [
        ("", "PEM"),
        ("secret", "PEM"),
        (RSA_PRIVATE, "private key"),
        (&pair.serialize_pem(), "private key"),
        (RSA_SHORT, "512 bits"),
        (
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            "PEM",
        ),
        (&RSA_PUBLIC[..RSA_PUBLIC.len() / 2], "PEM"),
    ] {
        std::fs::write(&path, content).expect("written");
        let jwt = Jwt::new(JwtKeys::File(path.clone()), Some(ACTIONS));
        let error = Tokens::open(&[jwt], &Clock::system(), None).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.chain().contains(word), "{}", error.chain());
    }
}
