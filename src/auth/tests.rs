//! Credentials in every form, and what they allow.

use super::*;
use crate::error::ErrorKind;
use crate::http::{HeaderValue, header};

fn headers(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(
            header::AUTHORIZATION,
            HeaderValue::from_str(value).expect("a value"),
        );
    }
    headers
}

async fn with_users() -> (tempfile::TempDir, Authenticator) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("htpasswd");
    // The SHA-1 of `pass:word`; the cheapest scheme keeps the test fast.
    std::fs::write(&file, "ci:{SHA}JfOwpCDy5ASLqp0M24rdutzyYk8=\n").expect("written");
    let auth = config::Auth {
        users_file: Some(file),
        ..config::Auth::default()
    };
    let authenticator = Authenticator::open(&auth, &Clock::system(), None).expect("opened");
    (folder, authenticator)
}

#[tokio::test]
async fn absent_credentials_are_anonymous_and_bad_ones_are_refused() {
    let (_folder, authenticator) = with_users().await;
    let subject: Arc<str> = Arc::from("CN=node");
    let identity = authenticator.identify(&headers(&[]), None).await;
    assert_eq!(identity.expect("anonymous"), Identity::Anonymous);
    let identity = authenticator.identify(&headers(&[]), Some(&subject)).await;
    assert_eq!(identity.expect("certificate").to_string(), "CN=node");
    for good in [
        "Basic Y2k6cGFzczp3b3Jk",
        "basic  Y2k6cGFzczp3b3Jk ",
        "BASIC Y2k6cGFzczp3b3Jk",
    ] {
        let identity = authenticator
            .identify(&headers(&[good]), Some(&subject))
            .await
            .expect(good);
        assert_eq!(identity.kind(), "user");
        assert_eq!(identity.to_string(), "ci");
    }
    for bad in [
        &["Basic Y2k6d3Jvbmc="][..],
        &["Basic bm9ib2R5OnBhc3M6d29yZA=="],
        &["Basic"],
        &["Basic "],
        &["Basic !!!!"],
        &["Basic Y2k="],
        &["Basic /////w=="],
        &["Bearer abc"],
        &["Y2k6cGFzczp3b3Jk"],
        &[""],
        &["Basic Og=="],
        &["Basic Y2k6cGFzczp3b3Jk", "Basic Y2k6cGFzczp3b3Jk"],
    ] {
        let error = authenticator
            .identify(&headers(bad), Some(&subject))
            .await
            .expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{bad:?}");
        assert!(!error.message().contains("pass:word"), "{error}");
    }
}

#[tokio::test]
async fn credentials_for_somebody_else_are_not_looked_at() {
    let authenticator =
        Authenticator::open(&config::Auth::default(), &Clock::system(), None).expect("opened");
    let identity = authenticator
        .identify(&headers(&["Bearer for-the-proxy-in-front"]), None)
        .await;
    assert_eq!(identity.expect("anonymous"), Identity::Anonymous);
}

const RSA_PRIVATE: &str = include_str!("../../tests/keys/rsa.pem");
const RSA_PUBLIC: &str = include_str!("../../tests/keys/rsa.pub");

fn token(claims: &serde_json::Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_rsa_pem(RSA_PRIVATE.as_bytes()).expect("a key");
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
    jsonwebtoken::encode(&header, claims, &key).expect("signed")
}

fn basic(text: &str) -> String {
    // Long enough for a token, and padded as clients do.
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::from("Basic ");
    for group in text.as_bytes().chunks(3) {
        let bits = group.iter().enumerate().fold(0u32, |bits, (n, byte)| {
            bits | u32::from(*byte) << (16 - 8 * n)
        });
        for place in 0..4 {
            encoded.push(if place <= group.len() {
                char::from(ALPHABET[(bits >> (18 - 6 * place) & 63) as usize])
            } else {
                '='
            });
        }
    }
    encoded
}

/// Opens an authenticator with a key, and with whatever `more` configures.
fn with_key(more: impl FnOnce(&mut config::Auth)) -> (tempfile::TempDir, Authenticator) {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key.pem");
    std::fs::write(&key, RSA_PUBLIC).expect("written");
    let mut auth = config::Auth {
        jwt: vec![config::Jwt::new(
            config::JwtKeys::File(key),
            Some("access[?name=='$NAMESPACE'].actions[]"),
        )],
        ..config::Auth::default()
    };
    more(&mut auth);
    let authenticator = Authenticator::open(&auth, &Clock::system(), None).expect("opened");
    (folder, authenticator)
}

#[tokio::test]
async fn a_token_is_taken_in_every_form_that_clients_send() {
    let (_folder, authenticator) = with_key(|_| ());
    let text = token(&serde_json::json!({"sub": "ci", "access": []}));
    for good in [
        format!("Bearer {text}"),
        format!("bearer  {text} "),
        format!("BEARER {text}"),
        text.clone(),
        basic(&format!("x:{text}")),
        basic(&format!(":{text}")),
    ] {
        let identity = authenticator
            .identify(&headers(&[&good]), None)
            .await
            .expect("accepted");
        assert_eq!((identity.kind(), &*identity.log_name()), ("token", "ci"));
    }
    for bad in [
        "Bearer".to_owned(),
        "Bearer ".into(),
        "Bearer x".into(),
        format!("Bearer {text}x"),
        format!("Bearer{text}"),
        format!("Token {text}"),
        format!("Basic {text}"),
        basic(&format!("{text}:x")),
        basic(&format!("x:{text}x")),
        basic("x:y"),
        format!("x{text}"),
    ] {
        let error = authenticator
            .identify(&headers(&[&bad]), None)
            .await
            .expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{bad:.60}");
    }
    let nameless = token(&serde_json::json!({"access": []}));
    let identity = authenticator
        .identify(&headers(&[&format!("Bearer {nameless}")]), None)
        .await
        .expect("accepted");
    assert_eq!((identity.name(), &*identity.log_name()), (None, "token"));
}

#[tokio::test]
async fn configured_users_stand_beside_the_file_and_the_keys() {
    let users = tempfile::tempdir().expect("a folder");
    let file = users.path().join("htpasswd");
    std::fs::write(&file, "ci:{SHA}JfOwpCDy5ASLqp0M24rdutzyYk8=\n").expect("written");
    let (_folder, authenticator) = with_key(|auth| {
        auth.users_file = Some(file);
        auth.users = [("push".to_owned(), config::Secret::new("secret"))].into();
    });
    let text = token(&serde_json::json!({}));
    for (shown, kind) in [
        (basic("push:secret"), "user"),
        (basic("ci:pass:word"), "user"),
        (basic(&format!("push:{text}")), "token"),
    ] {
        let identity = authenticator.identify(&headers(&[&shown]), None).await;
        assert_eq!(identity.expect("accepted").kind(), kind);
    }
    for shown in [
        basic("push:wrong"),
        basic("ci:secret"),
        basic(&format!("push:{text}x")),
        basic("nobody:secret"),
    ] {
        assert!(
            authenticator
                .identify(&headers(&[&shown]), None)
                .await
                .is_err()
        );
    }
}

#[tokio::test]
async fn rules_and_tokens_both_allow() {
    let (_folder, authenticator) = with_key(|_| ());
    let identity = async |claims| {
        let shown = format!("Bearer {}", token(&claims));
        authenticator
            .identify(&headers(&[&shown]), None)
            .await
            .expect("accepted")
    };
    let rule = |subject, action| config::Rule {
        subjects: vec![subject],
        actions: vec![action],
        names: Vec::new(),
    };
    let policy = policy_of(&config::Access {
        anonymous: vec![],
        rules: vec![
            rule(
                config::Subject::User("token".into()),
                config::Action::Delete,
            ),
            rule(config::Subject::User("ci".into()), config::Action::Push),
        ],
    });
    let access = serde_json::json!([
        {"name": "org1", "actions": ["pull"]},
        {"name": "repo", "actions": ["push"]},
    ]);
    let nameless = identity(serde_json::json!({ "access": access })).await;
    let named = identity(serde_json::json!({ "access": access, "sub": "ci" })).await;
    use config::Action::{Admin, Delete, Pull, Push};
    for (identity, path, action, by) in [
        (&nameless, "org1", Pull, Some(Granted::Token)),
        (&nameless, "org1", Push, None),
        (&nameless, "org2", Pull, None),
        (&nameless, "", Push, Some(Granted::Token)),
        (&nameless, "", Delete, Some(Granted::Token)),
        (&nameless, "", Pull, None),
        // A token without a name is nobody's, not that of a user called `token`.
        (&nameless, "org1", Delete, None),
        (&nameless, "", Admin, None),
        (&named, "org1", Push, Some(Granted::Rule(1))),
        (&named, "org2", Push, Some(Granted::Rule(1))),
        (&named, "org2", Pull, None),
    ] {
        let decision = policy.decide(identity, path, action, About::Tenant);
        assert_eq!(decision.by, by, "{identity} {path} {action:?}");
    }
    let error = policy
        .authorize(&named, "org2", Pull, About::Tenant)
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    let everybody = policy_of(&config::Access {
        anonymous: vec![],
        rules: vec![rule(config::Subject::AnyUser, Pull)],
    });
    assert!(everybody.allows(&nameless, "org2", Pull, About::Tenant));
    assert!(!everybody.allows(&Identity::Anonymous, "org2", Pull, About::Tenant));
}

/// A policy where tokens come from one entry.
fn policy_of(access: &config::Access) -> Policy {
    let key = config::JwtKeys::File("key.pem".into());
    let auth = config::Auth {
        jwt: vec![config::Jwt::new(key, Some("access"))],
        ..config::Auth::default()
    };
    Policy::new(access, &config::Callers::new(&auth, false)).expect("a policy")
}
