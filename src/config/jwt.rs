//! `auth.jwt:`, tokens that others issue.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::Client;

/// One of `auth.jwt:`, somebody whose tokens count.
#[derive(Clone, Debug, PartialEq)]
pub struct Jwt {
    /// What rules call it, where several entries could be meant.
    pub name: Option<String>,
    /// Where the keys are that the tokens are signed for.
    pub keys: JwtKeys,
    /// `aud` must hold this, where it is given.
    pub audience: Option<String>,
    /// `iss` must be this, where it is given.
    pub issuer: Option<String>,
    /// JMESPath over the claims that yields the allowed actions; `$NAMESPACE` is the tenant's path, `$ACCESS_ENTRY_TYPE` is
    /// `artifact-repository`. Default ChartMuseum's. `None`: tokens say only who somebody is, and rules what he may do.
    pub actions_path: Option<String>,
    /// The claim that says who somebody is. Default `sub`.
    pub subject_claim: String,
    /// The claim that lists the groups of which somebody is one.
    pub groups_claim: Option<String>,
    /// Claims that every token must have, as name and pattern: more than signature, issuer and audience say.
    pub required_claims: Vec<(String, String)>,
}

/// Where keys of tokens are.
#[derive(Clone, Debug, PartialEq)]
pub enum JwtKeys {
    /// `public_key_file`: PEM public key or certificate (RSA, P-256, P-384 or Ed25519). Read again when it changes.
    File(PathBuf),
    /// `jwks_url`: a set of keys (RFC 7517) that is fetched.
    Url(Box<Jwks>),
}

/// A set of keys on a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Jwks {
    /// Where it is.
    pub url: Url,
    /// How it is reached; no redirect is followed.
    pub client: Client,
    /// A file with the bearer token that the server wants (`auth.token_file`); read again for every fetch, because it may be one
    /// that is renewed every hour.
    pub token_file: Option<PathBuf>,
    /// How long keys are believed that cannot be fetched again. Default 24 h.
    pub max_stale: Duration,
}

impl Jwt {
    /// What `auth.jwt` says if it names nothing but keys and what tokens look like.
    pub fn new(keys: JwtKeys, actions_path: Option<&str>) -> Self {
        Self {
            name: None,
            keys,
            audience: None,
            issuer: None,
            actions_path: actions_path.map(str::to_owned),
            subject_claim: "sub".to_owned(),
            groups_claim: None,
            required_claims: Vec::new(),
        }
    }
}
