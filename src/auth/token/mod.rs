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

use serde_json::Value;

use self::key::Key;
pub(super) use self::query::ACCESS_ENTRY_TYPE;
use self::query::{Claims, Query};
use self::times::Validity;
use super::policy::Actions;
use super::watched::Watched;
use crate::clock::Clock;
use crate::config::Jwt;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

/// How many bytes of tokens are remembered. Their claims take a few times that.
const REMEMBERED_BYTES: usize = 4 << 20;
/// What each costs besides its text.
const OVERHEAD: usize = 256;
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
    remembered: Mutex<Remembered>,
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
            remembered: Mutex::default(),
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
            let known = self.lock().recall(id, position, &key);
            let token = match known {
                Some(token) => token,
                None => match issuer.verify(id, &key, text) {
                    Ok(token) => {
                        let token = Arc::new(token);
                        self.remember(id, text.len(), position, key, &token);
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

    fn remember(
        &self,
        id: Digest,
        length: usize,
        issuer: usize,
        key: Arc<Key>,
        token: &Arc<Token>,
    ) {
        let now = self.clock.now();
        if token.validity.check(now).is_err() {
            return;
        }
        let kept = Kept {
            issuer,
            key,
            token: token.clone(),
            weight: length + OVERHEAD,
        };
        let mut remembered = self.lock();
        if remembered.weight + kept.weight > REMEMBERED_BYTES {
            remembered.retain(|kept| kept.token.validity.check(now).is_ok());
        }
        if remembered.weight + kept.weight > REMEMBERED_BYTES {
            // All of them valid: start over rather than grow. It costs each token one verification.
            remembered.retain(|_| false);
        }
        remembered.insert(id, kept);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
    /// The `sub` claim, where it has one.
    pub fn subject(&self) -> Option<&Arc<str>> {
        self.subject.as_ref()
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

/// Verified tokens by the hash of their text.
#[derive(Default)]
struct Remembered {
    tokens: HashMap<Digest, Kept>,
    weight: usize,
}

struct Kept {
    /// Who signed it, and with which reading of the key.
    issuer: usize,
    key: Arc<Key>,
    token: Arc<Token>,
    weight: usize,
}

impl Remembered {
    fn recall(&self, id: Digest, issuer: usize, key: &Arc<Key>) -> Option<Arc<Token>> {
        let kept = self.tokens.get(&id)?;
        (kept.issuer == issuer && Arc::ptr_eq(&kept.key, key)).then(|| kept.token.clone())
    }

    fn insert(&mut self, id: Digest, kept: Kept) {
        self.weight += kept.weight;
        if let Some(old) = self.tokens.insert(id, kept) {
            self.weight -= old.weight;
        }
    }

    fn retain(&mut self, keep: impl Fn(&Kept) -> bool) {
        self.tokens.retain(|_, kept| keep(kept));
        self.weight = self.tokens.values().map(|kept| kept.weight).sum();
    }
}

fn refused(reason: &str) -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        format!("the token is refused: {reason}; get a new one from who issues them"),
    )
}
