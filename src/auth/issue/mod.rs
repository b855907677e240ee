//! Tokens of our own: short-lived, signed, for clients of registries that log in once and then show a token.
//!
//! A token says who its holder is and what he asked for. It is no permission: that is decided at each request from the rules of
//! the tenant, so a changed rule counts at once. Knows nothing about users, routes or tenants.

mod claims;
mod file;
mod key;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use self::claims::{Claims, Kind};
use self::key::{PublicKey, SigningKey};
use super::Identity;
use super::fault::NoGuess;
use super::logins::MayTry;
use super::remembered::Remembered;
use super::watched::Watched;
use crate::base64;
use crate::clock::Clock;
use crate::config::TokenServer;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::Scope;

/// How many bytes of tokens are remembered as verified.
const REMEMBERED_BYTES: usize = 4 << 20;
/// The longest token of ours; longer ones would not pass the header limits of the servers that stand in front.
const MAX_TOKEN: usize = 8 << 10;

/// A token that was made.
#[derive(Debug)]
pub struct Issued {
    /// Its text.
    pub token: String,
    /// How long it lasts, in seconds.
    pub expires_in: u64,
    /// When it was made.
    pub issued_at: Timestamp,
}

/// Makes tokens and recognises them.
pub(super) struct Issuer {
    current: Watched<SigningKey>,
    previous: Vec<Watched<PublicKey>>,
    lifetime: Duration,
    clock: Clock,
    /// Tokens whose signature was right, with the name of the key: it must still be one of ours.
    remembered: Remembered<Arc<Session>>,
}

/// A token of ours that was verified: its time, audience and signature are right.
#[derive(Debug)]
pub(super) struct Session {
    claims: Claims,
    holder: Holder,
    key: String,
}

/// Whom a token was given to.
#[derive(Debug)]
pub(super) enum Holder {
    /// Somebody.
    Known(Identity),
    /// Whoever has the API token of this id. Only who knows all API tokens can say what it allows, and whether it still counts.
    ApiToken(String),
}

impl Issuer {
    /// Reads the keys, or makes one in `data_dir`. Errors: a key cannot be used. Blocking.
    pub(super) fn open(config: &TokenServer, data_dir: &Path, clock: &Clock) -> Result<Self> {
        let current = match &config.key_file {
            Some(path) => Watched::open(path, clock.clone())?,
            None => Watched::open(&file::ensure(data_dir)?, clock.clone())?,
        };
        let previous = config
            .previous_key_files
            .iter()
            .map(|path| Watched::open(path, clock.clone()))
            .collect::<Result<_>>()?;
        Ok(Self {
            current,
            previous,
            lifetime: config.lifetime,
            clock: clock.clone(),
            remembered: Remembered::new(REMEMBERED_BYTES),
        })
    }

    /// A token for `identity` at `audience`, made for `access`. `fingerprint` is of the credentials behind it, where they can
    /// change. Errors: the identity is one that has tokens of its own; our own fault. Cancel-safe.
    pub(super) async fn issue(
        &self,
        identity: &Identity,
        audience: &str,
        access: &[Scope],
        fingerprint: Option<Digest>,
    ) -> Result<Issued> {
        let who = match identity {
            Identity::Anonymous => (Kind::Anonymous, ""),
            Identity::User { name } => (Kind::User, &**name),
            Identity::Certificate { subject } => (Kind::Certificate, &**subject),
            Identity::ApiToken(token) => (Kind::ApiToken, token.id().as_str()),
            Identity::Token(_) => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "a token is not exchanged for another; send it as it is",
                ));
            }
        };
        let mut id = [0; 16];
        getrandom::fill(&mut id)
            .map_err(|error| Error::internal("the system gives no random numbers", error))?;
        let key = self.current.current().await;
        let generation = fingerprint
            .zip(key.public().secret())
            .map(|(fingerprint, secret)| generation(secret, who.1, fingerprint));
        let now = self.clock.now();
        let claims = Claims::new(
            who,
            audience,
            access,
            generation,
            base64::encode_url(&id),
            now,
            i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX),
        );
        let token = key
            .sign(&claims)
            .map_err(|error| Error::internal("a token could not be signed", error))?;
        Ok(Issued {
            token,
            expires_in: self.lifetime.as_secs(),
            issued_at: now,
        })
    }

    /// The session whose token this is. `None`: no key of ours is named in it, so it may be somebody else's token. Errors: it is
    /// one of ours and does not count at `audience` now. The first look computes, if whoever sent it `may_try`; later ones are one
    /// look-up. Cancel-safe.
    pub(super) async fn verify(
        &self,
        text: &str,
        audience: &str,
        may_try: &MayTry<'_>,
    ) -> Option<Result<Arc<Session>>> {
        if text.len() > MAX_TOKEN {
            return None;
        }
        let id = Digest::of(text.as_bytes());
        let session = match self.remembered.recall(id) {
            // A key that was taken away must not go on opening doors.
            Some(session) if self.knows(&session.key).await => session,
            Some(_) => return Some(Err(ended("its key does not count any more"))),
            None => match self.read(text, may_try).await? {
                Ok(session) => {
                    let session = Arc::new(session);
                    let now = self.clock.now();
                    let counts = |session: &Arc<Session>| session.claims.check_time(now).is_ok();
                    // One whose time is over, too: clients go on sending it.
                    self.remembered
                        .remember(id, text.len(), session.clone(), counts);
                    session
                }
                Err(error) => return Some(Err(error)),
            },
        };
        let checked = session.claims.check(audience, self.clock.now());
        Some(checked.map(|()| session).map_err(ended))
    }

    /// Whether `session` was made while the credentials behind it had this fingerprint. Where the key that signed it is only known
    /// by its public half, nobody can tell, and it counts for the rest of its time.
    pub(super) fn is_of(&self, session: &Session, fingerprint: Digest) -> bool {
        let Some(made_with) = &session.claims.generation else {
            return false;
        };
        let name = &session.claims.sub;
        let matches = |secret: Option<&Digest>| {
            secret.is_none_or(|secret| generation(secret, name, fingerprint) == *made_with)
        };
        let current = self.current.known();
        if current.public().id() == session.key {
            return matches(current.public().secret());
        }
        let previous = self.previous.iter().map(Watched::known);
        previous
            .filter(|key| key.id() == session.key)
            .any(|key| matches(key.secret()))
    }

    async fn knows(&self, id: &str) -> bool {
        if self.current.current().await.public().id() == id {
            return true;
        }
        for key in &self.previous {
            if key.current().await.id() == id {
                return true;
            }
        }
        false
    }

    /// What `text` says where one of the keys signed it; `None` where it names none of them.
    async fn read(&self, text: &str, may_try: &MayTry<'_>) -> Option<Result<Session>> {
        let id = key::id_of(text)?;
        let read = |key: &PublicKey| {
            may_try()?;
            Session::read(key, text).map_err(refused)
        };
        let current = self.current.current().await;
        if current.public().id() == id {
            return Some(read(current.public()));
        }
        for key in &self.previous {
            let key = key.current().await;
            if key.id() == id {
                return Some(read(&key));
            }
        }
        None
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer")
            .field("current", &self.current)
            .field("previous", &self.previous)
            .finish_non_exhaustive()
    }
}

impl Session {
    fn read(key: &PublicKey, text: &str) -> Result<Self, &'static str> {
        let claims: Claims = key.verify(text)?;
        let holder = match claims.kind {
            Kind::Anonymous => Holder::Known(Identity::Anonymous),
            Kind::User => Holder::Known(Identity::User {
                name: claims.sub.as_str().into(),
            }),
            Kind::Certificate => Holder::Known(Identity::Certificate {
                subject: claims.sub.as_str().into(),
            }),
            Kind::ApiToken => Holder::ApiToken(claims.sub.clone()),
        };
        Ok(Self {
            claims,
            holder,
            key: key.id().to_owned(),
        })
    }

    /// Whom the token was given to.
    pub(super) fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Whether it was asked for `action` on the repository that the client calls `name`.
    pub(super) fn names(&self, name: &str, action: &str) -> bool {
        self.claims.names(name, action)
    }
}

/// What stands for a fingerprint in tokens that anybody may read: without `secret` nobody can try passwords on it.
fn generation(secret: &Digest, name: &str, fingerprint: Digest) -> String {
    let mut text = Vec::with_capacity(2 * 32 + name.len());
    text.extend_from_slice(secret.as_bytes());
    text.extend_from_slice(fingerprint.as_bytes());
    text.extend_from_slice(name.as_bytes());
    // Hashed twice, so that nothing can be appended to what was hashed first.
    let inner = Digest::of(&text);
    let outer = Digest::of(&[&secret.as_bytes()[..], inner.as_bytes()].concat());
    base64::encode_url(&outer.as_bytes()[..12])
}

/// A token of ours that does not count any more.
pub(super) fn ended(reason: &str) -> Error {
    refused(reason).with_source(NoGuess::Genuine)
}

fn refused(reason: &str) -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        format!("the token is refused: {reason}; get a new one"),
    )
}
