//! Bearer tokens signed by others: verified once, remembered until they expire, asked what they allow.
//!
//! What a token says is looked up in its claims for each tenant. Knows nothing about users or about how a request carries it.

mod key;
mod query;
#[cfg(test)]
mod tests;
mod times;

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::Value;

use self::key::Key;
pub(super) use self::query::ACCESS_ENTRY_TYPE;
use self::query::{Claims, Query};
use self::times::Validity;
use super::policy::Actions;
use super::remembered::Remembered;
use super::watched::Watched;
use crate::clock::Clock;
use crate::config::Jwt;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

/// How many bytes of tokens are remembered. Their claims take a few times that.
const REMEMBERED_BYTES: usize = 4 << 20;
/// No header field is this long; work on one that is would be somebody else's choice.
const MAX_TOKEN: usize = 64 << 10;
/// For how many tenants a token remembers what it allows there.
const REMEMBERED_TENANTS: usize = 64;

/// How tokens call the tenant at `path`: ChartMuseum has a word for the root.
pub(super) fn namespace(path: &str) -> &str {
    if path.is_empty() { "repo" } else { path }
}

/// Everybody whose tokens count.
pub(super) struct Tokens {
    issuers: Vec<Issuer>,
    clock: Clock,
    remembered: Remembered<Kept>,
}

/// One entry of `auth.jwt`.
struct Issuer {
    key: Watched<Key>,
    audience: Option<String>,
    issuer: Option<String>,
    query: Arc<Query>,
}

/// A verified token: who holds it, and what it allows where.
pub struct Token {
    /// Of the token's text: two tokens are the same if their texts are.
    id: Digest,
    subject: Option<Arc<str>>,
    validity: Validity,
    claims: Claims,
    query: Arc<Query>,
    grants: Mutex<HashMap<Box<str>, Actions>>,
}

impl Tokens {
    /// Reads the keys; `None` where there are none. Errors: a key or a query cannot be used. Blocking.
    pub(super) fn open(configured: &[Jwt], clock: &Clock) -> Result<Option<Self>> {
        let issuers = configured
            .iter()
            .map(|jwt| Issuer::open(jwt, clock))
            .collect::<Result<Vec<_>>>()?;
        Ok((!issuers.is_empty()).then(|| Self {
            issuers,
            clock: clock.clone(),
            remembered: Remembered::new(REMEMBERED_BYTES),
        }))
    }

    /// The token whose text this is, if one of the keys signed it and its time is now; else [`ErrorKind::Unauthenticated`].
    ///
    /// The first verification computes (an RSA signature costs well below a millisecond); later ones are one look-up.
    /// Cancel-safe.
    pub(super) async fn verify(&self, text: &str) -> Result<Arc<Token>> {
        if text.len() > MAX_TOKEN {
            return Err(refused("it is too long"));
        }
        let id = Digest::of(text.as_bytes());
        let mut reason = "no key is configured";
        for (position, issuer) in self.issuers.iter().enumerate() {
            // Also where the token is remembered: a key that was replaced must not go on opening doors.
            let key = issuer.key.current().await;
            let known = self.remembered.recall(id);
            let token = match known.filter(|kept| kept.is_of(position, &key)) {
                Some(kept) => kept.token,
                None => match issuer.verify(id, &key, text) {
                    Ok(token) => {
                        let kept = Kept {
                            issuer: position,
                            key,
                            token: Arc::new(token),
                        };
                        let token = kept.token.clone();
                        let now = self.clock.now();
                        let counts = |kept: &Kept| kept.token.validity.check(now).is_ok();
                        if counts(&kept) {
                            self.remembered.remember(id, text.len(), kept, counts);
                        }
                        token
                    }
                    Err(why) => {
                        reason = why;
                        continue;
                    }
                },
            };
            match token.validity.check(self.clock.now()) {
                Ok(()) => return Ok(token),
                Err(why) => reason = why,
            }
        }
        Err(refused(reason))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.issuers.iter().map(|issuer| &issuer.key);
        f.debug_list().entries(keys).finish()
    }
}

impl Issuer {
    fn open(jwt: &Jwt, clock: &Clock) -> Result<Self> {
        Ok(Self {
            key: Watched::open(&jwt.public_key_file, clock.clone())?,
            audience: jwt.audience.clone(),
            issuer: jwt.issuer.clone(),
            query: Arc::new(Query::parse(&jwt.actions_path)?),
        })
    }

    fn verify(&self, id: Digest, key: &Key, text: &str) -> Result<Token, &'static str> {
        let claims = key.verify(text)?;
        if let Some(expected) = &self.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(expected)
        {
            return Err("it comes from another issuer");
        }
        if let Some(expected) = &self.audience {
            let meant = match claims.get("aud") {
                Some(Value::String(audience)) => audience == expected,
                Some(Value::Array(audiences)) => audiences
                    .iter()
                    .any(|audience| audience.as_str() == Some(expected)),
                _ => false,
            };
            if !meant {
                return Err("it is meant for another audience");
            }
        }
        Ok(Token {
            id,
            subject: claims
                .get("sub")
                .and_then(Value::as_str)
                .filter(|subject| !subject.is_empty())
                .map(Arc::from),
            validity: Validity::of(&claims)?,
            claims: query::claims(claims).map_err(|_| "its claims cannot be read")?,
            query: self.query.clone(),
            grants: Mutex::default(),
        })
    }
}

impl Token {
    /// A name for it in logs: the beginning of its digest, from which nobody can make the token.
    pub fn fingerprint(&self) -> String {
        let mut text = self.id.to_string();
        text.truncate("sha256:".len() + 16);
        text
    }

    /// The `sub` claim, where it has one.
    pub fn subject(&self) -> Option<&Arc<str>> {
        self.subject.as_ref()
    }

    /// How many seconds it is still valid; `None` where it has no end.
    pub(super) fn remaining(&self, now: Timestamp) -> Option<u64> {
        self.validity.remaining(now)
    }

    /// What it allows in the tenant at `path`. Asked once for each tenant.
    pub(super) fn grants(&self, path: &str) -> Actions {
        let lock = || self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(actions) = lock().get(path) {
            return *actions;
        }
        let actions = self.query.actions(&self.claims, namespace(path));
        let mut grants = lock();
        if grants.len() >= REMEMBERED_TENANTS {
            grants.clear();
        }
        grants.insert(path.into(), actions);
        actions
    }
}

/// Without the claims: they may hold what is nobody's business.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Token {}

impl Hash for Token {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

/// A verified token, who signed it, and with which reading of the key.
#[derive(Clone)]
struct Kept {
    issuer: usize,
    key: Arc<Key>,
    token: Arc<Token>,
}

impl Kept {
    fn is_of(&self, issuer: usize, key: &Arc<Key>) -> bool {
        self.issuer == issuer && Arc::ptr_eq(&self.key, key)
    }
}

fn refused(reason: &str) -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        format!("the token is refused: {reason}; get a new one from who issues them"),
    )
}
