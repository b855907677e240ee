//! The public key that tokens are signed for: read from PEM or JSON, and what a signature under it is worth.
//!
//! The key's type decides which algorithms count, never the token alone: a token that names HMAC, or none, is refused before
//! any key is touched. The only user of jsonwebtoken.

use std::io::{self, Error};
use std::ops::RangeInclusive;
use std::path::Path;

use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::auth::watched::Content;

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
/// Which of the two it is follows from the key: a signature of the other curve never fits it.
const EC: &[Algorithm] = &[Algorithm::ES256, Algorithm::ES384];
const ED: &[Algorithm] = &[Algorithm::EdDSA];
/// The names of single algorithms that a key of a set may be meant for (RFC 7518 §3.1, RFC 8037 §3.1, RFC 9864 §2.2).
const NAMES: &[(&str, &[Algorithm])] = &[
    ("RS256", &[Algorithm::RS256]),
    ("RS384", &[Algorithm::RS384]),
    ("RS512", &[Algorithm::RS512]),
    ("PS256", &[Algorithm::PS256]),
    ("PS384", &[Algorithm::PS384]),
    ("PS512", &[Algorithm::PS512]),
    ("ES256", &[Algorithm::ES256]),
    ("ES384", &[Algorithm::ES384]),
    ("EdDSA", ED),
    ("Ed25519", ED),
];

/// Shorter RSA keys are broken by one person with one machine.
const MIN_RSA_BITS: usize = 1024;
/// What keys of a set must have (RFC 7518 §3.3), and the most that anybody uses: more would only cost time.
const JWK_RSA_BITS: RangeInclusive<usize> = 2048..=16_384;

/// A public key, RSA, P-256, P-384 or Ed25519.
#[derive(Debug)]
pub(super) struct Key {
    key: DecodingKey,
    algorithms: &'static [Algorithm],
}

impl Key {
    /// The key of one entry of a set (RFC 7517 §4). The error says why it is none that tokens can be verified with.
    ///
    /// Symmetric keys are none: whoever can read the set could sign with them.
    pub(super) fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, &'static str> {
        const INCOMPLETE: &str = "a part of it is missing or malformed";
        let part = |name: &str| jwk.get(name).and_then(Value::as_str);
        if jwk.contains_key("d") {
            return Err("it is a private key, which everybody can read there");
        }
        if part("use").is_some_and(|purpose| purpose != "sig") {
            return Err("it is not for signatures");
        }
        if let Some(operations) = jwk.get("key_ops").and_then(Value::as_array)
            && !operations.iter().any(|operation| operation == "verify")
        {
            return Err("it is not for verifying");
        }
        let (family, key) = match (part("kty"), part("crv")) {
            (Some("RSA"), _) => {
                let (modulus, exponent) = part("n").zip(part("e")).ok_or(INCOMPLETE)?;
                if !JWK_RSA_BITS.contains(&(significant(modulus) * 6)) {
                    return Err("it has too few or too many bits; 2048 to 16384 are taken");
                }
                let key = DecodingKey::from_rsa_components(modulus, exponent);
                (RSA, key.map_err(|_| INCOMPLETE)?)
            }
            (Some("EC"), Some(curve @ ("P-256" | "P-384"))) => {
                let (x, y) = part("x").zip(part("y")).ok_or(INCOMPLETE)?;
                let key = DecodingKey::from_ec_components(x, y).map_err(|_| INCOMPLETE)?;
                let (length, algorithms) = match curve {
                    "P-256" => (65, &EC[..1]),
                    _ => (97, &EC[1..]),
                };
                if key.try_get_as_bytes().map(<[u8]>::len).ok() != Some(length) {
                    return Err("it is no point of its curve");
                }
                (algorithms, key)
            }
            (Some("OKP"), Some("Ed25519")) => {
                let x = part("x").ok_or(INCOMPLETE)?;
                let key = DecodingKey::from_ed_components(x).map_err(|_| INCOMPLETE)?;
                check(&key, ED).map_err(|_| INCOMPLETE)?;
                (ED, key)
            }
            _ => return Err("it is neither RSA, P-256, P-384 nor Ed25519"),
        };
        let algorithms = match jwk.get("alg") {
            None | Some(Value::Null) => family,
            Some(name) => NAMES
                .iter()
                .find(|(known, algorithms)| name == known && family.contains(&algorithms[0]))
                .map(|(_, algorithms)| *algorithms)
                .ok_or("its algorithm is unknown, or not one of such keys")?,
        };
        Ok(Self { key, algorithms })
    }

    /// Whether a token that names this algorithm can be signed for it.
    pub(super) fn takes(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// The claims of `token`, if it is signed with this key. The error says what is wrong, without the token.
    pub(super) fn verify(&self, token: &str) -> Result<Map<String, Value>, &'static str> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| "it is not a signed token")?;
        if !self.algorithms.contains(&header.alg) {
            return Err("its algorithm is not one of the key's");
        }
        // Extensions that must be understood (RFC 7515 §4.1.11); none is.
        if header.crit.is_some() {
            return Err("it demands an extension that is not supported");
        }
        content(token, &self.key, header.alg)
    }
}

/// The claims of a token that `key` has signed with `algorithm`. Errors: it has not, or they are no claims.
pub(in crate::auth) fn content<T: DeserializeOwned>(
    token: &str,
    key: &DecodingKey,
    algorithm: Algorithm,
) -> Result<T, &'static str> {
    let mut validation = Validation::new(algorithm);
    // Claims are judged by the caller, who has a clock.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    jsonwebtoken::decode(token, key, &validation)
        .map(|decoded| decoded.claims)
        .map_err(|_| "its signature or its content is wrong")
}

impl Content for Key {
    const WHAT: &'static str = "public key";

    fn read(bytes: &[u8], _path: &Path) -> io::Result<Self> {
        if contains(bytes, b"PRIVATE KEY-----") {
            return Err(Error::other(
                "this is a private key; put the public key or the certificate here, and keep this one secret",
            ));
        }
        let mut read = [
            (RSA, DecodingKey::from_rsa_pem as fn(&[u8]) -> _),
            (EC, DecodingKey::from_ec_pem),
            (ED, DecodingKey::from_ed_pem),
        ]
        .into_iter()
        .filter_map(|(algorithms, from_pem)| Some((algorithms, from_pem(bytes).ok()?)));
        let Some((algorithms, key)) = read.next() else {
            return Err(Error::other(
                "there is no PEM block `PUBLIC KEY`, `RSA PUBLIC KEY` or `CERTIFICATE` with an RSA, P-256, P-384 or Ed25519 key in it",
            ));
        };
        check(&key, algorithms).map_err(Error::other)?;
        Ok(Self { key, algorithms })
    }

    fn summary(&self) -> String {
        let family = match self.algorithms {
            EC => "an elliptic curve",
            ED => "an Ed25519",
            _ => "an RSA",
        };
        format!("{family} key")
    }
}

/// Whether the key can verify anything, found at the start instead of by refusing every token.
fn check(key: &DecodingKey, algorithms: &[Algorithm]) -> Result<(), String> {
    let bytes = key.try_get_as_bytes().map_err(|error| error.to_string())?;
    match algorithms {
        EC if matches!(bytes.len(), 65 | 97) => Ok(()),
        EC => Err("the key is on a curve that is not supported; use P-256 or P-384".into()),
        ED if bytes.len() == 32 => Ok(()),
        ED => Err("the Ed25519 key does not have 32 bytes".into()),
        _ => {
            let components = DEFAULT_PROVIDER
                .key_utils
                .rsa_pub_components_from_public_key;
            let (modulus, _) = components(bytes)
                .map_err(|error| format!("the RSA key cannot be used: {error}"))?;
            if modulus.len() * 8 < MIN_RSA_BITS {
                return Err(format!(
                    "the RSA key has {} bits; at least {MIN_RSA_BITS} are needed, better 2048",
                    modulus.len() * 8
                ));
            }
            Ok(())
        }
    }
}

/// What the head of a token says before anything is verified: enough to choose a key, and nothing to believe.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    /// Who it says has issued it.
    pub(super) issuer: Option<String>,
}

impl Head {
    /// Reads it. `None`: it is no signed token, or names an algorithm without a public key.
    pub(super) fn read(token: &str) -> Option<Self> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        if ![RSA, EC, ED]
            .iter()
            .any(|family| family.contains(&header.alg))
        {
            return None;
        }
        let claims: Map<String, Value> =
            jsonwebtoken::dangerous::insecure_decode_claims(token).ok()?;
        Some(Self {
            algorithm: header.alg,
            kid: header.kid,
            issuer: claims.get("iss").and_then(Value::as_str).map(str::to_owned),
        })
    }
}

/// How many characters of base64 count: without the zeros at the front.
fn significant(text: &str) -> usize {
    text.trim_end_matches('=').trim_start_matches('A').len()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}
