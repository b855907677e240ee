//! The keys that our own tokens are signed with: P-256 or Ed25519, read from PEM.
//!
//! Each has a name (`kid`) that follows from the key itself, so that replicas with the same file agree without talking. The type
//! of a key decides the one algorithm that counts for it.

use std::io::{self, Error};
use std::path::Path;

use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
use jsonwebtoken::jwk::EllipticCurve;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::auth::token::content;
use crate::auth::watched::Content;
use crate::base64;
use crate::digest::Digest;

/// What a PKCS#8 file of an Ed25519 key starts with (RFC 8410 §7); the 32 bytes of the key follow.
const ED25519_PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// A key that signs.
pub(super) struct SigningKey {
    key: EncodingKey,
    public: PublicKey,
}

/// A key that signatures are checked with.
pub(super) struct PublicKey {
    key: DecodingKey,
    algorithm: Algorithm,
    id: String,
    /// Of the private key, where that is known: what is derived from it cannot be computed by who only has tokens.
    secret: Option<Digest>,
}

/// The claims of a token that proves only that the key can sign.
#[derive(Serialize, Deserialize)]
struct NoClaims {}

impl SigningKey {
    /// `claims` as a signed token. Errors: the key cannot sign, which was tried when it was read.
    pub(super) fn sign(
        &self,
        claims: &impl Serialize,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(self.public.algorithm);
        header.kid = Some(self.public.id.clone());
        jsonwebtoken::encode(&header, claims, &self.key)
    }

    /// The other half.
    pub(super) fn public(&self) -> &PublicKey {
        &self.public
    }
}

impl PublicKey {
    /// The name of the key in the headers of tokens: the thumbprint of RFC 7638.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// A secret that only who has the private key can compute.
    pub(super) fn secret(&self) -> Option<&Digest> {
        self.secret.as_ref()
    }

    /// The claims of `token`, if it is signed with this key. The error says what is wrong, without the token.
    pub(super) fn verify<T: DeserializeOwned>(&self, token: &str) -> Result<T, &'static str> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| "it is not a signed token")?;
        if header.alg != self.algorithm {
            return Err("its algorithm is not the key's");
        }
        // A key that comes with a token says nothing (RFC 8725 §3.10); nor is any extension understood.
        let foreign = header.jwk.is_some()
            || header.jku.is_some()
            || header.x5c.is_some()
            || header.x5u.is_some();
        if foreign || header.crit.is_some() {
            return Err("its header names keys or extensions");
        }
        content(token, &self.key, self.algorithm)
    }

    fn ec(point: &[u8]) -> io::Result<Self> {
        let [4, coordinates @ ..] = point else {
            return Err(Error::other("the point of the key is not uncompressed"));
        };
        if coordinates.len() != 64 {
            return Err(Error::other("the key is on another curve than P-256"));
        }
        let (x, y) = coordinates.split_at(32);
        let (x, y) = (base64::encode_url(x), base64::encode_url(y));
        Ok(Self {
            key: DecodingKey::from_ec_der(point),
            algorithm: Algorithm::ES256,
            // The order and the absence of spaces are those of RFC 7638 §3.
            id: thumbprint(&format!(
                r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#
            )),
            secret: None,
        })
    }

    fn ed25519(point: &[u8]) -> io::Result<Self> {
        if point.len() != 32 {
            return Err(Error::other("the Ed25519 key does not have 32 bytes"));
        }
        let x = base64::encode_url(point);
        Ok(Self {
            key: DecodingKey::from_ed_der(point),
            algorithm: Algorithm::EdDSA,
            id: thumbprint(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)),
            secret: None,
        })
    }
}

impl Content for SigningKey {
    const WHAT: &'static str = "token key";

    fn read(bytes: &[u8], _path: &Path) -> io::Result<Self> {
        let utils = &DEFAULT_PROVIDER.key_utils;
        let unusable = |error| Error::other(format!("the private key cannot be used: {error}"));
        let (key, mut public) = if let Ok(key) = EncodingKey::from_ed_pem(bytes) {
            let components = utils.ed_pub_components_from_private_key;
            let point = components(key.as_bytes(), &EllipticCurve::Ed25519).map_err(unusable)?;
            (key, PublicKey::ed25519(&point)?)
        } else if let Ok(key) = EncodingKey::from_ec_pem(bytes) {
            let components = utils.ec_pub_components_from_private_key;
            let Ok((_, x, y)) = components(key.as_bytes(), Algorithm::ES256) else {
                return Err(Error::other("the key is on another curve than P-256"));
            };
            (key, PublicKey::ec(&[&[4], &x[..], &y[..]].concat())?)
        } else {
            return Err(Error::other(no_private_key(bytes)));
        };
        public.secret = Some(Digest::of(
            &[b"chartgate: what tokens are worth", key.as_bytes()].concat(),
        ));
        let key = Self { key, public };
        // Found here instead of at the first login.
        let proof = key.sign(&NoClaims {}).map_err(unusable)?;
        key.public
            .verify::<NoClaims>(&proof)
            .map_err(Error::other)?;
        Ok(key)
    }

    fn summary(&self) -> String {
        self.public.summary()
    }
}

impl Content for PublicKey {
    const WHAT: &'static str = "previous token key";

    fn read(bytes: &[u8], path: &Path) -> io::Result<Self> {
        if memchr::memmem::find(bytes, b"PRIVATE KEY-----").is_some() {
            return SigningKey::read(bytes, path).map(|key| key.public);
        }
        if let Ok(key) = DecodingKey::from_ed_pem(bytes) {
            Self::ed25519(key.try_get_as_bytes().map_err(Error::other)?)
        } else if let Ok(key) = DecodingKey::from_ec_pem(bytes) {
            Self::ec(key.try_get_as_bytes().map_err(Error::other)?)
        } else {
            Err(Error::other(
                "there is no PEM block `PUBLIC KEY`, `CERTIFICATE` or `PRIVATE KEY` with a P-256 or Ed25519 key in it",
            ))
        }
    }

    fn summary(&self) -> String {
        let family = match self.algorithm {
            Algorithm::ES256 => "P-256",
            _ => "Ed25519",
        };
        format!("a {family} key `{}`", self.id)
    }
}

/// The text of a new Ed25519 key, in PEM. Errors: the system has no randomness.
pub(super) fn generate() -> Result<String, getrandom::Error> {
    let mut key = [0; 32];
    getrandom::fill(&mut key)?;
    let der = base64::encode(&[&ED25519_PKCS8[..], &key[..]].concat());
    Ok(format!(
        "-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n"
    ))
}

/// The `kid` in the header of `token`, where it has one; nothing is verified.
pub(super) fn id_of(token: &str) -> Option<String> {
    jsonwebtoken::decode_header(token).ok()?.kid
}

fn thumbprint(jwk: &str) -> String {
    base64::encode_url(Digest::of(jwk.as_bytes()).as_bytes())
}

/// Why nothing in `bytes` signs, and what to do.
fn no_private_key(bytes: &[u8]) -> &'static str {
    let has = |part: &[u8]| memchr::memmem::find(bytes, part).is_some();
    if has(b"BEGIN EC PRIVATE KEY-----") {
        "the key is in SEC1 form; convert it: openssl pkcs8 -topk8 -nocrypt -in FILE"
    } else if has(b"BEGIN ENCRYPTED PRIVATE KEY-----") {
        "the key is encrypted; put one without a passphrase here, readable by this user only"
    } else {
        "there is no PEM block `PRIVATE KEY` with a P-256 or Ed25519 key in it; make one: openssl genpkey -algorithm ed25519"
    }
}
