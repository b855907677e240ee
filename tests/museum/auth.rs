//! Who may read and write: everybody, one user, holders of tokens; and what a 401 says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::differences::*;
use super::packages::package;
use super::pair::Pair;
use super::routing::fill;
use crate::support::http::Call;

const SIGNING: &[u8] = include_bytes!("keys/token-signing.pem");
const STRANGER: &[u8] = include_bytes!("keys/token-stranger.pem");

/// `call` by the holder of these credentials.
fn by(call: Call, authorization: &str) -> Call {
    call.header("Authorization", authorization)
}

/// `u:p` and others as Basic credentials.
const GOOD: &str = "Basic dTpw";
const WRONG_PASSWORD: &str = "Basic dTp4";

const BASIC: &[&str] = &["--basic-auth-user", "u", "--basic-auth-pass", "p"];

#[test]
fn one_user_may_do_everything_and_nobody_else_anything() {
    let pair = Pair::on(|folder| fill(folder, ""), BASIC);
    let push = || Call::new("POST", "/api/charts").body(package("new", "1.0.0"));
    let delete = || Call::new("DELETE", "/api/charts/new/1.0.0");
    let guarded = [
        Call::get("/"),
        Call::get("/index.yaml"),
        Call::new("HEAD", "/index.yaml"),
        Call::get("/charts/mychart-0.1.0.tgz"),
        Call::get("/charts/none-0.1.0.tgz"),
        Call::get("/charts/mychart-0.1.0.tgz.prov"),
        Call::get("/api/charts"),
        Call::get("/api/charts/none"),
        Call::new("HEAD", "/api/charts/mychart"),
        Call::get("/api/charts/mychart/0.1.0"),
        push(),
        Call::new("POST", "/api/prov").body("x"),
        delete(),
    ];
    for call in guarded {
        for call in [
            call.clone(),
            by(call.clone(), WRONG_PASSWORD),
            by(call.clone(), "Basic nonsense"),
            by(call.clone(), "Bearer dTpw"),
            by(call.clone(), "dTpw"),
        ] {
            let reply = pair.send(&call).expect(401);
            assert_eq!(
                reply.header("www-authenticate"),
                Some("Basic realm=\"ChartMuseum\"")
            );
            if !call.line().starts_with("HEAD ") {
                assert_eq!(reply.json(), json!({"error": "unauthorized"}));
            }
        }
    }
    pair.get("/health").expect(200);
    pair.get_unlike(&INFO, "/info").expect(200);
    pair.get("/no/such/route").expect(404);
    pair.send(&by(Call::get("/index.yaml"), GOOD)).expect(200);
    pair.send(&by(Call::new("HEAD", "/api/charts/mychart"), GOOD))
        .expect(200);
    pair.send(&by(Call::get("/charts/mychart-0.1.0.tgz"), GOOD))
        .expect(200);
    pair.send(&by(push(), GOOD)).expect(201);
    pair.send(&by(delete(), GOOD)).expect(200);
    let lower = by(Call::get("/index.yaml"), "basic dTpw");
    pair.send_unlike(&SCHEME_IN_LOWER_CASE, &lower).expect(200);
}

#[test]
fn everybody_may_read_where_the_operator_says_so() {
    let flags = [BASIC, &["--auth-anonymous-get"]].concat();
    let pair = Pair::on(|folder| fill(folder, ""), &flags);
    for path in [
        "/",
        "/index.yaml",
        "/charts/mychart-0.1.0.tgz",
        "/api/charts",
        "/api/charts/mychart/latest",
    ] {
        let call = Call::get(path);
        if path == "/" {
            pair.send_unlike(&WELCOME_PAGE, &call).expect(200);
        } else {
            pair.send(&call).expect(200);
        }
    }
    pair.send(&Call::new("HEAD", "/api/charts/mychart"))
        .expect(200);
    pair.send(&Call::new("HEAD", "/index.yaml")).expect(200);
    for call in [
        Call::new("POST", "/api/charts").body(package("new", "1.0.0")),
        Call::new("POST", "/api/charts?force").body(package("new", "1.0.0")),
        Call::new("POST", "/api/prov").body("x"),
        Call::new("DELETE", "/api/charts/mychart/0.1.0"),
    ] {
        pair.send(&call).expect(401);
        pair.send(&by(call, WRONG_PASSWORD)).expect(401);
    }
    // Reading does not look at the header at all.
    pair.send(&by(Call::get("/index.yaml"), WRONG_PASSWORD))
        .expect(200);
    pair.send(&by(Call::get("/index.yaml"), "nonsense"))
        .expect(200);
    assert_eq!(pair.stored().len(), 4);
    pair.send(&by(
        Call::new("POST", "/api/charts").body(package("new", "1.0.0")),
        GOOD,
    ))
    .expect(201);
}

#[test]
fn without_credentials_configured_there_are_none() {
    let pair = Pair::on(|folder| fill(folder, ""), &[]);
    for authorization in [GOOD, WRONG_PASSWORD, "Bearer x", "nonsense"] {
        pair.send(&by(Call::get("/index.yaml"), authorization))
            .expect(200);
    }
    // Half of a pair is none.
    let pair = Pair::on(|folder| fill(folder, ""), &["--basic-auth-user", "u"]);
    pair.get("/index.yaml").expect(200);
}

/// A token with these claims.
fn token(key: &[u8], algorithm: Algorithm, claims: &Value) -> String {
    let key = EncodingKey::from_rsa_pem(key).expect("a private key");
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).expect("a token")
}

/// A token that allows `actions` in repository `name`.
pub(crate) fn allowing(name: &str, actions: &[&str]) -> String {
    let claims =
        json!({"access": [{"type": "artifact-repository", "name": name, "actions": actions}]});
    token(SIGNING, Algorithm::RS256, &claims)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn key_file(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/museum/keys");
    path.join(name).to_str().expect("a UTF-8 path").to_owned()
}

pub(crate) fn bearer_flags(certificate: &str, depth: &str) -> Vec<String> {
    [
        "--bearer-auth",
        "--auth-realm",
        "https://auth.example.com/token",
        "--auth-service",
        "charts.example.com",
        "--auth-cert-path",
        &key_file(certificate),
        "--depth",
        depth,
    ]
    .map(str::to_owned)
    .to_vec()
}

fn words(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

#[test]
fn tokens_open_what_they_name() {
    for certificate in ["token-public.pem", "token-certificate.pem"] {
        let flags = bearer_flags(certificate, "2");
        let pair = Pair::on(|folder| fill(folder, "org1/repo1"), &words(&flags));
        let challenge = |name: &str, action: &str| {
            format!(
                "Bearer realm=\"https://auth.example.com/token\",service=\"charts.example.com\",scope=\"artifact-repository:{name}:{action}\""
            )
        };
        let read = Call::get("/org1/repo1/index.yaml");
        let write = Call::new("POST", "/api/org1/repo1/charts?force").body(package("new", "1.0.0"));
        let delete = Call::new("DELETE", "/api/org1/repo1/charts/new/1.0.0");

        for (call, name, action) in [
            (&read, "org1/repo1", "pull"),
            (&write, "org1/repo1", "push"),
            (&delete, "org1/repo1", "push"),
            (&Call::get("/"), "repo", "pull"),
            (&Call::get("/a/b/index.yaml"), "a/b", "pull"),
        ] {
            let reply = pair.send(call).expect(401);
            assert_eq!(reply.json(), json!({"error": "unauthorized"}));
            assert_eq!(
                reply.header("www-authenticate"),
                Some(challenge(name, action).as_str())
            );
        }

        let pull = allowing("org1/repo1", &["pull"]);
        let push = allowing("org1/repo1", &["push"]);
        let both = allowing("org1/repo1", &["pull", "push"]);
        let other = allowing("org1/repo2", &["pull", "push"]);
        for (token, reads, writes) in [
            (&pull, 200, 401),
            (&push, 401, 201),
            (&both, 200, 201),
            (&other, 401, 401),
            (&allowing("org1", &["pull", "push"]), 401, 401),
            (&allowing("org1/*", &["pull", "push"]), 401, 401),
            (&allowing("*", &["pull", "push"]), 401, 401),
            (&allowing("ORG1/repo1", &["pull", "push"]), 401, 401),
            (&allowing("org1/repo1", &["delete", "*"]), 401, 401),
        ] {
            pair.send(&by(read.clone(), &bearer(token))).expect(reads);
            pair.send(&by(write.clone(), &bearer(token))).expect(writes);
        }
        pair.send(&by(delete.clone(), &bearer(&pull))).expect(401);
        pair.send(&by(delete.clone(), &bearer(&both))).expect(200);
        // Without a scheme, or with another spelling of it.
        pair.send(&by(read.clone(), &both)).expect(200);
        pair.send(&by(read.clone(), &format!("bearer {both}")))
            .expect(200);
        pair.send(&by(read.clone(), &format!("BEARER {both}")))
            .expect(200);
        // As a password, so that `helm repo add --password` works.
        let password = format!("Basic {}", base64(format!("anyone:{both}").as_bytes()));
        pair.send_unlike(&TOKEN_AS_PASSWORD, &by(read.clone(), &password))
            .expect(200);
        pair.get("/health").expect(200);
    }
}

#[test]
fn forged_and_stale_tokens_open_nothing() {
    let flags = bearer_flags("token-public.pem", "0");
    let pair = Pair::on(|folder| fill(folder, ""), &words(&flags));
    let read = Call::get("/index.yaml");
    let access = json!([{"type": "artifact-repository", "name": "repo", "actions": ["pull"]}]);
    let now = jiff::Timestamp::now().as_second();
    let good = json!({"access": access, "iat": now - 10, "nbf": now - 10, "exp": now + 600});
    for algorithm in [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS512,
    ] {
        let token = token(SIGNING, algorithm, &good);
        pair.send(&by(read.clone(), &bearer(&token))).expect(200);
    }
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        token(SIGNING, Algorithm::RS256, &claims)
    };
    let valid = token(SIGNING, Algorithm::RS256, &good);
    let (head, _) = valid.rsplit_once('.').expect("three parts");
    let bad = [
        ("expired", with("exp", json!(now - 600))),
        ("not yet valid", with("nbf", json!(now + 600))),
        ("of the future", with("iat", json!(now + 600))),
        (
            "signed by a stranger",
            token(STRANGER, Algorithm::RS256, &good),
        ),
        ("unsigned", format!("{head}.")),
        ("cut", head.to_owned()),
        ("no token", "nonsense".to_owned()),
        ("empty", String::new()),
        (
            "of no algorithm",
            format!(
                "{}.{}.",
                base64url(b"{\"alg\":\"none\",\"typ\":\"JWT\"}"),
                base64url(good.to_string().as_bytes())
            ),
        ),
        ("signed with the public key as secret", confused(&good)),
        (
            "of another type",
            with(
                "access",
                json!([{"type": "repository", "name": "repo", "actions": ["pull"]}]),
            ),
        ),
        ("of nothing", with("access", json!([]))),
    ];
    for (what, token) in bad {
        let reply = pair.send(&by(read.clone(), &bearer(&token)));
        assert_eq!(reply.status, 401, "a token that is {what}");
    }
    // Who it was meant for is not asked.
    for (name, value) in [
        ("aud", json!("someone")),
        ("iss", json!("anyone")),
        ("sub", json!("x")),
    ] {
        let call = by(read.clone(), &bearer(&with(name, value)));
        pair.send(&call).expect(200);
    }
    let empty = token(SIGNING, Algorithm::RS256, &json!({"sub": "x"}));
    let reply = pair.send_unlike(&TOKEN_WITHOUT_ACCESS, &by(read, &bearer(&empty)));
    reply.expect(401);
}

/// A token with HS256 whose secret is our public key: what a verifier that trusts the header would accept.
fn confused(claims: &Value) -> String {
    let secret = std::fs::read(key_file("token-public.pem")).expect("the public key");
    let key = EncodingKey::from_secret(&secret);
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).expect("a token")
}

#[test]
fn everybody_may_read_beside_tokens() {
    let mut flags = bearer_flags("token-public.pem", "1");
    flags.push("--auth-anonymous-get".to_owned());
    let pair = Pair::on(|folder| fill(folder, "org"), &words(&flags));
    pair.get("/org/index.yaml").expect(200);
    pair.get("/api/org/charts/mychart/latest").expect(200);
    let write = Call::new("POST", "/api/org/charts").body(package("new", "1.0.0"));
    pair.send(&write).expect(401);
    let token = allowing("org", &["push"]);
    pair.send(&by(write, &bearer(&token))).expect(201);
}

#[test]
fn the_claims_may_lie_elsewhere() {
    let mut flags = bearer_flags("token-public.pem", "1");
    flags.extend(
        [
            "--auth-actions-search-path",
            "grants[?repo=='$NAMESPACE'].may[]",
        ]
        .map(str::to_owned),
    );
    let pair = Pair::newer(|folder| fill(folder, "org"), &words(&flags));
    let claims =
        json!({"grants": [{"repo": "org", "may": ["pull"]}, {"repo": "x", "may": ["push"]}]});
    let token = token(SIGNING, Algorithm::RS256, &claims);
    let read = |repo: &str| by(Call::get(&format!("/{repo}/index.yaml")), &bearer(&token));
    pair.send(&read("org")).expect(200);
    pair.send(&read("x")).expect(401);
    // A name that would end the literal is a name.
    let tricky = Call::get("/x'%20%7C%7C%20'1'=='1/index.yaml");
    let reply = pair.send_ours(&by(tricky, &bearer(&token)));
    assert_eq!(reply.status, 401);
}

#[test]
fn the_limits_of_auth_hold_for_every_name_of_a_route() {
    let flags = [BASIC, &["--depth", "1"]].concat();
    let pair = Pair::on(|folder| fill(folder, "org"), &flags);
    let mut seen = BTreeMap::new();
    for path in [
        "/api/org/charts",
        "/org/api/charts",
        "/org/index.yaml",
        "/org/charts/mychart-0.1.0.tgz",
        "/org",
    ] {
        seen.insert(path, pair.get(path).status);
        pair.send(&Call::new("POST", path).body(package("new", "1.0.0")));
    }
    assert!(seen.values().all(|status| *status == 401), "{seen:?}");
    assert_eq!(pair.stored().len(), 4);
}

fn base64(bytes: &[u8]) -> String {
    super::reads::base64(bytes)
}

fn base64url(bytes: &[u8]) -> String {
    let text = base64(bytes).replace('+', "-").replace('/', "_");
    text.trim_end_matches('=').to_owned()
}
