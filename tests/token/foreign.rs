//! Tokens of others (`auth.jwt`) at registries: taken as they are, never exchanged.

use chartgate::config::Action;
use chartgate::error::ErrorKind;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use super::*;

const KEYS: &str = "auth: {jwt: {public_key_file: issuer.pub}}";
const NOW: i64 = 1_800_000_000;

fn world(keys: &str) -> World {
    let folder = tempfile::tempdir().expect("a folder");
    let key = include_str!("../keys/rsa.pub");
    std::fs::write(folder.path().join("issuer.pub"), key).expect("written");
    std::fs::write(folder.path().join("htpasswd"), users()).expect("written");
    World::in_folder(folder, keys)
}

/// A token that allows to pull from and push to `acme`; `push` includes deleting, as for ChartMuseum.
fn signed(end: Option<i64>) -> String {
    let mut claims = json!({
        "sub": "robot",
        "access": [{"type": "artifact-repository", "name": "acme", "actions": ["pull", "push"]}],
    });
    if let Some(end) = end {
        claims["exp"] = json!(end);
    }
    let key = EncodingKey::from_rsa_pem(include_bytes!("../keys/rsa.pem")).expect("a key");
    jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key).expect("signed")
}

#[tokio::test]
async fn its_holder_gets_that_very_token_back() {
    let world = world(KEYS);
    let scope = "scope=repository:acme/a:*+repository:pub/a:pull+repository:z/a:pull";
    for (end, expires) in [(Some(NOW + 900), 900), (Some(NOW + 5), 60), (None, 3_600)] {
        let token = signed(end);
        let forms = [
            world.get(scope, Some(&basic("anything", &token))).await,
            world.get(scope, Some(&basic("", &token))).await,
            world.get(scope, Some(&format!("Bearer {token}"))).await,
            world
                .ask(
                    form(None),
                    &format!("grant_type=password&username=x&password={token}&{scope}"),
                )
                .await,
        ];
        for response in forms {
            let reply = json(response, 200);
            assert_eq!(
                (&reply["token"], &reply["access_token"]),
                (&json!(token), &json!(token))
            );
            assert_eq!(reply["expires_in"], expires);
            assert_eq!(
                reply["scope"],
                "repository:acme/a:pull,push,delete repository:pub/a:pull"
            );
        }
        let (identity, grants) = world.holder(&token).await.expect("accepted");
        assert_eq!(
            (identity.kind(), identity.name().map(|name| &**name)),
            ("token", Some("robot"))
        );
        assert!(
            grants.allows("acme/a", Action::Push),
            "only its own claims decide"
        );
        assert!(world.permits(&identity, "acme/a", Action::Push));
        assert!(!world.permits(&identity, "acme/a", Action::Admin));
        let (same, _) = world
            .who(&basic("x", &token))
            .await
            .expect("as a password, too");
        assert_eq!(same, identity);
    }
    json(
        world
            .get("service=x", Some(&basic("x", &signed(Some(NOW)))))
            .await,
        401,
    );
}

/// Each kind of token is judged by its own keys only.
#[tokio::test]
async fn ours_and_theirs_are_not_confused() {
    let both = "auth: {users_file: htpasswd, jwt: {public_key_file: issuer.pub}}";
    let world = world(both);
    let ours = world
        .token("scope=repository:acme/a:push", Some(&basic("ci", "secret")))
        .await;
    let (identity, _) = world.holder(&ours).await.expect("ours");
    assert_eq!(identity.kind(), "user");
    let (identity, _) = world.holder(&signed(None)).await.expect("theirs");
    assert_eq!(identity.kind(), "token");

    // Theirs, with the claims and the name of a key of ours: not signed by that key.
    let kid = {
        let text = ours
            .split('.')
            .next()
            .expect("a header")
            .replace('-', "+")
            .replace('_', "/");
        let header: Value =
            serde_json::from_slice(&base64::decode(&text).expect("base64")).expect("JSON");
        header["kid"].as_str().expect("text").to_owned()
    };
    let key = EncodingKey::from_rsa_pem(include_bytes!("../keys/rsa.pem")).expect("a key");
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(kid);
    let forged = jsonwebtoken::encode(&header, &claims(&ours), &key).expect("signed");
    let error = world.holder(&forged).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    // Without the name it is theirs, and the claims that make one of ours mean nothing.
    let mut imitated = claims(&ours);
    imitated["sub"] = json!("robot");
    let claims_of_ours =
        jsonwebtoken::encode(&Header::new(Algorithm::RS256), &imitated, &key).expect("signed");
    let (identity, grants) = world.holder(&claims_of_ours).await.expect("theirs");
    assert_eq!(identity.kind(), "token");
    assert!(!grants.are_of_a_token());
    assert!(!world.permits(&identity, "acme/a", Action::Push));

    // Chart routes know nothing of our tokens.
    let request = request("GET", "/acme/index.yaml", Some(&format!("Bearer {ours}")));
    assert!(world.authenticator.authenticate(&request).await.is_err());
}
