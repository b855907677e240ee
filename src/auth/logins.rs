//! Who somebody is by what he shows, as long as he may try; failed attempts are counted and measured.

use std::net::{IpAddr, SocketAddr};

use super::attempts::network;
use super::fault::NoGuess;
use super::header::{self, Credentials};
use super::{Authenticator, Identity, users};
use crate::error::{Error, ErrorKind, Result};
use crate::http::HeaderMap;

/// Asked before something is computed for somebody. Errors: he has to wait.
pub(super) type MayTry<'a> = dyn Fn() -> Result<()> + Send + Sync + 'a;

/// Where somebody logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surface {
    /// The chart routes and ChartMuseum's API.
    Charts,
    /// `/v2/`
    Registry,
    /// `/token`
    Token,
}

/// Who logs in, before anybody knows who he is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) surface: Surface,
    /// `None` on Unix sockets.
    address: Option<IpAddr>,
}

impl Surface {
    fn as_str(self) -> &'static str {
        match self {
            Self::Charts => "charts",
            Self::Registry => "registry",
            Self::Token => "token",
        }
    }
}

impl Caller {
    pub(super) fn new(surface: Surface, peer: Option<SocketAddr>) -> Self {
        Self {
            surface,
            address: peer.map(|peer| peer.ip()),
        }
    }
}

impl Authenticator {
    /// Whose credentials these are. Errors: they are wrong ([`ErrorKind::Unauthenticated`]), or the caller has to wait
    /// ([`ErrorKind::RateLimited`]). Cancel-safe.
    pub(super) async fn log_in_with(
        &self,
        caller: Caller,
        credentials: &Credentials,
    ) -> Result<Identity> {
        let identity = match credentials {
            Credentials::Basic(name, password) => self.basic(caller, name, password).await,
            Credentials::Token(text) => self.token(caller, text).await,
        };
        identity.inspect_err(|error| self.failed(caller, NoGuess::reason(error)))
    }

    /// The credentials that are shown; see [`header::read`].
    pub(super) fn read(&self, caller: Caller, headers: &HeaderMap) -> Result<Option<Credentials>> {
        header::read(headers).inspect_err(|_| self.failed(caller, "malformed"))
    }

    /// Measures a failed login.
    pub(super) fn failed(&self, caller: Caller, reason: &'static str) {
        if let Some(metrics) = &self.metrics {
            metrics.login_failed(caller.surface.as_str(), reason);
        }
    }

    /// Whether `caller` may have something looked at that costs work and is no password. Errors: he has to wait.
    pub(super) fn may_try(&self, caller: Caller) -> Result<()> {
        self.attempts.check(caller.address)
    }

    /// Counts `error` where it says that something was forged.
    pub(super) fn count_forged(&self, caller: Caller, error: &Error) {
        if error.kind() == ErrorKind::Unauthenticated && NoGuess::of(error).is_none() {
            self.attempts.forged(caller.address);
        }
    }

    /// A user, or a token in the place of the password, for clients that can send nothing else; the name then means nothing.
    async fn basic(&self, caller: Caller, name: &str, password: &str) -> Result<Identity> {
        if let Some(holder) = self.api_holder(caller, password).await {
            return holder;
        }
        if let Some(tokens) = &self.tokens
            && header::is_token(password)
        {
            let may_try = || self.may_try(caller);
            let verified = tokens.verify(password, &may_try).await;
            let Err(error) = verified else {
                return verified.map(Identity::Token);
            };
            // It may be the odd password of somebody; what was made by one of the issuers is not.
            let is_forged =
                error.kind() == ErrorKind::Unauthenticated && NoGuess::of(&error).is_none();
            if !is_forged || !self.has_users() {
                self.count_forged(caller, &error);
                return Err(error);
            }
        }
        if !self.has_users() {
            return Err(Error::new(
                ErrorKind::Unauthenticated,
                "the password is no token; send `Bearer` with one, or one as the password",
            ));
        }
        let trial = self.attempts.begin(caller.address, name, password)?;
        let verified = self.user(caller, name, password).await;
        match &verified {
            Ok(_) => self.attempts.right(trial),
            Err(error) if error.kind() == ErrorKind::Unauthenticated => self.attempts.wrong(trial),
            Err(_) => self.attempts.undecided(trial),
        }
        verified
    }

    fn has_users(&self) -> bool {
        self.plain.is_some() || self.users.is_some()
    }

    /// The user of the configuration or of the file who has this password.
    async fn user(&self, caller: Caller, name: &str, password: &str) -> Result<Identity> {
        let plain = self.plain.as_ref();
        if let Some(name) = plain.and_then(|plain| plain.verify(name, password)) {
            return Ok(Identity::User { name });
        }
        match &self.users {
            Some(users) => Ok(Identity::User {
                name: users
                    .verify(name, password, caller.address.map(network))
                    .await?,
            }),
            None => Err(users::wrong()),
        }
    }

    /// The holder of one of our API tokens; `None`: `text` is something else.
    async fn api_holder(&self, caller: Caller, text: &str) -> Option<Result<Identity>> {
        let verified = self.api_tokens.as_ref()?.verify(text).await?;
        let verified = verified.inspect_err(|error| self.count_forged(caller, error));
        Some(verified.map(Identity::ApiToken))
    }

    /// The holder of a token.
    async fn token(&self, caller: Caller, text: &str) -> Result<Identity> {
        if let Some(holder) = self.api_holder(caller, text).await {
            return holder;
        }
        let Some(tokens) = &self.tokens else {
            return Err(Error::new(
                ErrorKind::Unauthenticated,
                "tokens are not accepted here; send `Basic` with a user name and password",
            ));
        };
        let verified = tokens.verify(text, &|| self.may_try(caller)).await;
        let verified = verified.inspect_err(|error| self.count_forged(caller, error));
        verified.map(Identity::Token)
    }
}
