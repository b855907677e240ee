//! The public key that tokens are signed for: read from PEM, and what a signature under it is worth.
//!
//! The key's type decides which algorithms count, never the token alone: a token that names HMAC, or none, is refused before
//! any key is touched. The only user of jsonwebtoken.

use std::io::{self, Error};
use std::path::Path;

use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
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

/// Shorter RSA keys are broken by one person with one machine.
const MIN_RSA_BITS: usize = 1024;

/// A public key, RSA, P-256, P-384 or Ed25519.
#[derive(Debug)]
pub(super) struct Key {
    key: DecodingKey,
    algorithms: &'static [Algorithm],
}

impl Key {
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
        let mut validation = Validation::new(header.alg);
        // Claims are judged by the caller, who has a clock.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        jsonwebtoken::decode(token, &self.key, &validation)
            .map(|decoded| decoded.claims)
            .map_err(|_| "its signature or its content is wrong")
    }
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

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}
