//! Bearer tokens signed by others: verified once, remembered until they expire, asked what they allow.
//!
//! What a token says is looked up in its claims for each tenant. Knows nothing about users or about how a request carries it.

mod claim;
mod jwks;
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
use serde_json::{Map, Value};

pub(super) use self::claim::ClaimPattern;
use self::jwks::Jwks;
pub use self::jwks::Outside;
pub(super) use self::key::content;
use self::key::{Head, Key};
pub(super) use self::query::ACCESS_ENTRY_TYPE;
use self::query::{Claims, Query};
use self::times::Validity;
use super::fault::NoGuess;
use super::logins::MayTry;
use super::policy::Actions;
use super::remembered::Remembered;
use super::watched::Watched;
use crate::clock::Clock;
use crate::config::{Jwt, JwtKeys};
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

/// For [`super::untrusted`].
pub(super) fn algorithm_of(token: &str) -> Option<String> {
    Head::read(token).map(|head| format!("{:?}", head.algorithm))
}

/// For [`super::untrusted`].
pub(super) fn count_keys(set: &[u8]) -> Result<usize, String> {
    jwks::count_keys(set)
}

/// Everybody whose tokens count.
pub(super) struct Tokens {
    issuers: Vec<Issuer>,
    clock: Clock,
    remembered: Remembered<Kept>,
}

/// One entry of `auth.jwt`.
struct Issuer {
    /// The position in `auth.jwt`.
    entry: usize,
    keys: Keys,
    audience: Option<String>,
    issuer: Option<String>,
    subject_claim: String,
    groups_claim: Option<String>,
    required: Vec<ClaimPattern>,
    /// `None`: rules alone say what its tokens allow.
    query: Option<Arc<Query>>,
}

/// Where an issuer's keys come from.
#[derive(Debug)]
enum Keys {
    File(Watched<Key>),
    Url(Jwks),
}

/// Why a token does not count; what says more comes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Refusal {
    /// What is wrong with it.
    Token(&'static str),
    /// None of the keys that are known is the one that it names.
    UnknownKey,
    /// It is signed by an issuer, and does not count here.
    Genuine(&'static str),
    /// It may be a good one: nobody knows, because the server of its keys is away.
    NoKeys,
}

/// A verified token: who holds it, and what it allows where.
pub struct Token {
    /// Whose it is: the position in `auth.jwt`.
    entry: usize,
    /// Of the token's text: two tokens are the same if their texts are.
    id: Digest,
    subject: Option<Arc<str>>,
    groups: Vec<String>,
    validity: Validity,
    claims: Claims,
    query: Option<Arc<Query>>,
    grants: Mutex<HashMap<Box<str>, Actions>>,
}

impl Tokens {
    /// Reads the keys; `None` where there are none. Without `outside`, keys can only be in files.
    ///
    /// Errors: a key, a query or a pattern cannot be used. Blocking.
    pub(super) fn open(
        configured: &[Jwt],
        clock: &Clock,
        outside: Option<Outside<'_>>,
    ) -> Result<Option<Self>> {
        let issuers = configured
            .iter()
            .enumerate()
            .map(|(position, jwt)| Issuer::open(position, jwt, clock, outside))
            .collect::<Result<Vec<_>>>()?;
        Ok((!issuers.is_empty()).then(|| Self {
            issuers,
            clock: clock.clone(),
            remembered: Remembered::new(REMEMBERED_BYTES),
        }))
    }

    /// The token whose text this is, if one of the keys signed it and its time is now; else [`ErrorKind::Unauthenticated`], or
    /// [`ErrorKind::UpstreamUnavailable`] where its keys cannot be had just now.
    ///
    /// The first verification computes (an RSA signature costs well below a millisecond), if whoever sent it `may_try`; later ones
    /// are one look-up. Cancel-safe.
    pub(super) async fn verify(&self, text: &str, may_try: &MayTry<'_>) -> Result<Arc<Token>> {
        if text.len() > MAX_TOKEN {
            return Err(refused("it is too long"));
        }
        let id = Digest::of(text.as_bytes());
        // Its key is asked for again: one that was replaced must not go on opening doors.
        if let Some(kept) = self.remembered.recall(id)
            && self.issuers[kept.issuer].keys.believe(&kept.key).await
        {
            return self.timely(kept.token);
        }
        may_try()?;
        let Some(head) = Head::read(text) else {
            return Err(refused("it is not signed, or not with a public key"));
        };
        let mut refusal = Refusal::Token("no key is configured");
        for (position, issuer) in self.issuers.iter().enumerate() {
            let (key, token) = match issuer.verify(id, &head, text).await {
                Ok(verified) => verified,
                Err(why) => {
                    refusal = refusal.max(why);
                    continue;
                }
            };
            let token = Arc::new(token);
            let kept = Kept {
                issuer: position,
                key,
                token: Arc::clone(&token),
            };
            let now = self.clock.now();
            let counts = |kept: &Kept| kept.token.validity.check(now).is_ok();
            // One whose time is over, too: clients go on sending it.
            self.remembered.remember(id, text.len(), kept, counts);
            return self.timely(token);
        }
        Err(match refusal {
            Refusal::Token(reason) => refused(reason),
            Refusal::UnknownKey => refused("its key is not known").with_source(NoGuess::UnknownKey),
            Refusal::Genuine(reason) => refused(reason).with_source(NoGuess::Genuine),
            Refusal::NoKeys => Error::unavailable(
                "the token cannot be verified: the keys of its issuer cannot be fetched just now; try again in a few seconds",
            ),
        })
    }

    /// The token, if its time is now.
    fn timely(&self, token: Arc<Token>) -> Result<Arc<Token>> {
        match token.validity.check(self.clock.now()) {
            Ok(()) => Ok(token),
            Err(why) => Err(refused(why).with_source(NoGuess::Genuine)),
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.issuers.iter().map(|issuer| &issuer.keys);
        f.debug_list().entries(keys).finish()
    }
}

impl Issuer {
    fn open(
        position: usize,
        jwt: &Jwt,
        clock: &Clock,
        outside: Option<Outside<'_>>,
    ) -> Result<Self> {
        let keys = match (&jwt.keys, outside) {
            (JwtKeys::File(path), _) => Keys::File(Watched::open(path, clock.clone())?),
            (JwtKeys::Url(jwks), Some(outside)) => {
                let name = format!("auth.jwt[{position}]");
                Keys::Url(Jwks::open(jwks, &name, outside, clock)?)
            }
            (JwtKeys::Url(_), None) => {
                return Err(Error::invalid("`jwks_url` cannot be fetched here"));
            }
        };
        if jwt.audience.is_none() && matches!(keys, Keys::Url(_)) {
            tracing::warn!(
                "`auth.jwt[{position}]` has no `audience`: tokens that its issuer made for any other service count here too"
            );
        }
        let required = jwt.required_claims.iter();
        Ok(Self {
            entry: position,
            keys,
            audience: jwt.audience.clone(),
            issuer: jwt.issuer.clone(),
            subject_claim: jwt.subject_claim.clone(),
            groups_claim: jwt.groups_claim.clone(),
            required: required
                .map(|(name, pattern)| ClaimPattern::new(name, pattern))
                .collect::<Result<_>>()?,
            query: match &jwt.actions_path {
                Some(path) => Some(Arc::new(Query::parse(path)?)),
                None => None,
            },
        })
    }

    /// The token, and the key that it is signed for.
    async fn verify(
        &self,
        id: Digest,
        head: &Head,
        text: &str,
    ) -> Result<(Arc<Key>, Token), Refusal> {
        // Verified below as well. Here it keeps tokens of others from being a reason to fetch anything.
        if self.issuer.is_some() && self.issuer != head.issuer {
            return Err(Refusal::Token("it comes from another issuer"));
        }
        let keys = match &self.keys {
            Keys::File(key) => vec![key.current().await],
            Keys::Url(jwks) => jwks.fitting(head).await?,
        };
        let mut refusal = "its signature is wrong";
        for key in keys {
            match key.verify(text) {
                Ok(claims) => {
                    let token = self.judge(id, claims).map_err(Refusal::Genuine)?;
                    return Ok((key, token));
                }
                Err(why) => refusal = why,
            }
        }
        Err(Refusal::Token(refusal))
    }

    /// The token with these claims, which its signature vouches for.
    fn judge(&self, id: Digest, claims: Map<String, Value>) -> Result<Token, &'static str> {
        if let Some(expected) = &self.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(expected)
        {
            return Err("it comes from another issuer");
        }
        if let Some(expected) = &self.audience {
            let meant = match claims.get("aud") {
                Some(Value::String(audience)) => *audience == *expected,
                Some(Value::Array(audiences)) => audiences
                    .iter()
                    .any(|audience| audience.as_str() == Some(expected)),
                _ => false,
            };
            if !meant {
                return Err("it is meant for another audience");
            }
        }
        let validity = Validity::of(&claims)?;
        // Keys of a set are those of services that always say so (OpenID Connect Core §2).
        if matches!(self.keys, Keys::Url(_)) && !claims.contains_key("exp") {
            return Err("it does not say when it ends");
        }
        let claims = query::claims(claims).map_err(|_| "its claims cannot be read")?;
        if !self.required.iter().all(|claim| claim.fits(&claims)) {
            return Err("a claim that is required here is missing or another");
        }
        let subject = claim::texts(&claims, &self.subject_claim)
            .into_iter()
            .next();
        let subject = subject.filter(|subject| !subject.is_empty());
        match &subject {
            // Without rights of its own it is worth what rules say about its name.
            None if self.query.is_none() => return Err("it does not say who holds it"),
            // Names stand in lines of logs.
            Some(subject) if subject.contains(char::is_control) => {
                return Err("its holder's name has control characters");
            }
            _ => {}
        }
        let groups = self.groups_claim.as_deref();
        Ok(Token {
            entry: self.entry,
            id,
            subject: subject.map(Arc::from),
            groups: groups.map_or_else(Vec::new, |name| claim::texts(&claims, name)),
            validity,
            claims,
            query: self.query.clone(),
            grants: Mutex::default(),
        })
    }
}

impl Keys {
    /// Whether tokens that were signed for `key` still count.
    async fn believe(&self, key: &Arc<Key>) -> bool {
        match self {
            Self::File(file) => Arc::ptr_eq(&file.current().await, key),
            Self::Url(jwks) => jwks.believes(key),
        }
    }
}

impl Token {
    /// A name for it in logs: the beginning of its digest, from which nobody can make the token.
    pub fn fingerprint(&self) -> String {
        let mut text = self.id.to_string();
        text.truncate("sha256:".len() + 16);
        text
    }

    /// One that nobody has signed, of the entry of `auth.jwt` at this position, for questions about rules.
    pub(super) fn imagined(
        entry: usize,
        subject: Option<Arc<str>>,
        groups: Vec<String>,
        claims: Map<String, Value>,
    ) -> Result<Self> {
        let text = Value::Object(claims.clone()).to_string();
        let no_limit = Validity::of(&Map::new()).map_err(refused)?;
        Ok(Self {
            entry,
            id: Digest::of(text.as_bytes()),
            subject,
            groups,
            validity: no_limit,
            claims: query::claims(claims)?,
            query: None,
            grants: Mutex::default(),
        })
    }

    /// Who it says holds it: `sub`, or the claim that is configured. Always there where [`Token::names_somebody`].
    pub fn subject(&self) -> Option<&Arc<str>> {
        self.subject.as_ref()
    }

    /// Which entry of `auth.jwt` vouches for it, by position.
    pub(super) fn entry(&self) -> usize {
        self.entry
    }

    /// Whether it only says who somebody is, and rules what he may do.
    pub fn names_somebody(&self) -> bool {
        self.query.is_none()
    }

    /// Whether it says that its holder belongs to `group`.
    pub(super) fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|known| known == group)
    }

    /// Whether it has such a claim.
    pub(super) fn has(&self, claim: &ClaimPattern) -> bool {
        claim.fits(&self.claims)
    }

    /// How many seconds it is still valid; `None` where it has no end.
    pub(super) fn remaining(&self, now: Timestamp) -> Option<u64> {
        self.validity.remaining(now)
    }

    /// What it allows in the tenant at `path`. Asked once for each tenant.
    pub(super) fn grants(&self, path: &str) -> Actions {
        let Some(query) = &self.query else {
            return Actions::of(&[]);
        };
        let lock = || self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(actions) = lock().get(path) {
            return *actions;
        }
        let actions = query.actions(&self.claims, namespace(path));
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

fn refused(reason: &str) -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        format!("the token is refused: {reason}; get a new one from who issues them"),
    )
}
