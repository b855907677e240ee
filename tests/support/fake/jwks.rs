//! A server of keys (JWKS) with the keys that sign, and tokens of every shape.
//!
//! ```ignore
//! let old = SigningKey::new("2026-01");
//! let server = FakeJwks::run(&[&old]);
//! server.publish(&[&old, &new]);                  // a rotation
//! server.fault(Fault::Html);                      // from now on it lies
//! ```

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{Authority, FakeHelm, FakeUpstream, Fault, Hold, Target};

const PATH: &str = "/openid/v1/jwks";

/// Who may sign tokens.
#[derive(Clone)]
pub(crate) struct SigningKey {
    kid: String,
    algorithm: Algorithm,
    key: EncodingKey,
    jwk: Value,
}

impl SigningKey {
    /// A new P-256 key of this name.
    pub(crate) fn new(kid: &str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        Self::of_pem(kid, Algorithm::ES256, &pair.serialize_pem())
    }

    /// The RSA key of the tests, under this name: making one takes too long.
    pub(crate) fn rsa(kid: &str) -> Self {
        Self::of_pem(kid, Algorithm::RS256, include_str!("../../keys/rsa.pem"))
    }

    fn of_pem(kid: &str, algorithm: Algorithm, pem: &str) -> Self {
        let key = match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            _ => EncodingKey::from_ec_pem(pem.as_bytes()),
        };
        let key = key.expect("a private key");
        let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&key, algorithm).expect("a public key");
        let mut jwk = serde_json::to_value(jwk).expect("JSON");
        jwk["kid"] = json!(kid);
        jwk["use"] = json!("sig");
        Self {
            kid: kid.to_owned(),
            algorithm,
            key,
            jwk,
        }
    }

    /// The public key as an entry of a set.
    pub(crate) fn jwk(&self) -> &Value {
        &self.jwk
    }

    /// A token with these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as(&self.header(), claims)
    }

    /// One with another head.
    pub(crate) fn sign_as(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.key).expect("signed")
    }

    /// What its tokens begin with.
    pub(crate) fn header(&self) -> Header {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.kid.clone());
        header
    }
}

/// A running server of keys.
pub(crate) struct FakeJwks(FakeUpstream);

impl FakeJwks {
    /// One that shows these keys.
    pub(crate) fn run(keys: &[&SigningKey]) -> Self {
        Self(FakeHelm::new().file(PATH, set(keys)).run())
    }

    /// One as a Kubernetes API server: TLS by an authority of its own, and for holders of this bearer token only.
    pub(crate) fn guarded(keys: &[&SigningKey], authority: &Authority, bearer: &str) -> Self {
        let server = FakeHelm::new()
            .file(PATH, set(keys))
            .tls(authority, &["127.0.0.1", "localhost"])
            .require_authorization(&format!("Bearer {bearer}"));
        Self(server.run())
    }

    /// Where the keys are.
    pub(crate) fn url(&self) -> String {
        self.0.at(PATH)
    }

    /// Shows these keys from now on.
    pub(crate) fn publish(&self, keys: &[&SigningKey]) {
        self.0.set_file(PATH, set(keys));
    }

    /// Goes wrong from now on.
    pub(crate) fn fault(&self, fault: Fault) {
        self.0.fault(Target::All, fault);
    }

    /// Goes right again, also after [`FakeJwks::refuse`].
    pub(crate) fn heal(&self) {
        self.0.heal();
    }

    /// Refuses connections.
    pub(crate) fn refuse(&self) {
        self.0.refuse();
    }

    /// Lets questions wait.
    pub(crate) fn hold(&self) -> Hold {
        self.0.hold(Target::All)
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.0.total()
    }
}

/// A set of keys as it is written.
pub(crate) fn set(keys: &[&SigningKey]) -> Vec<u8> {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string().into_bytes()
}

/// Claims with an end in `seconds` from now.
pub(crate) fn lasting(seconds: i64, mut claims: Value) -> Value {
    let now = jiff::Timestamp::now().as_second();
    claims["iat"] = json!(now - 1);
    claims["exp"] = json!(now + seconds);
    claims
}

/// What a job of GitHub Actions gets.
pub(crate) fn github(issuer: &str, repository: &str) -> Value {
    let owner = repository.split('/').next().unwrap_or_default();
    lasting(
        300,
        json!({
            "iss": issuer, "aud": "chartgate", "sub": format!("repo:{repository}:ref:refs/heads/main"),
            "repository": repository, "repository_owner": owner, "ref": "refs/heads/main", "ref_type": "branch",
            "workflow": "release", "actor": "octocat", "event_name": "push", "run_id": "1", "run_attempt": "1",
            "job_workflow_ref": format!("{repository}/.github/workflows/release.yml@refs/heads/main"),
            "runner_environment": "github-hosted", "repository_visibility": "private", "jti": "a-b-c",
        }),
    )
}

/// What a job of GitLab gets.
pub(crate) fn gitlab(issuer: &str, project: &str) -> Value {
    let namespace = project.split('/').next().unwrap_or_default();
    lasting(
        300,
        json!({
            "iss": issuer, "aud": "chartgate", "sub": format!("project_path:{project}:ref_type:branch:ref:main"),
            "namespace_path": namespace, "project_path": project, "project_id": "7", "pipeline_id": "1",
            "pipeline_source": "push", "job_id": "2", "ref": "main", "ref_type": "branch", "ref_protected": "true",
            "user_login": "someone", "user_email": "someone@example.com", "jti": "x",
        }),
    )
}

/// What a pod of Kubernetes has mounted (a projected token).
pub(crate) fn kubernetes(issuer: &str, namespace: &str, account: &str) -> Value {
    lasting(
        3_600,
        json!({
            "iss": issuer, "aud": ["chartgate"], "sub": format!("system:serviceaccount:{namespace}:{account}"),
            "kubernetes.io": {
                "namespace": namespace,
                "pod": {"name": "builder-0", "uid": "1"},
                "serviceaccount": {"name": account, "uid": "2"},
            },
        }),
    )
}
