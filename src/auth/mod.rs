//! Who asks, and what they may do.
//!
//! [`Authenticator`] turns a request's credentials into an [`Identity`]; [`Policy`] says what an identity may do in one
//! tenant, where a token itself says so too. Neither knows routes, repositories or how an answer is worded on the wire.

mod api_token;
mod attempts;
mod challenge;
#[cfg(test)]
mod decisions_tests;
mod fault;
mod hash;
mod header;
mod imagined;
mod issue;
mod logins;
mod names;
mod plain;
mod policy;
mod private;
mod queue;
mod realm;
mod registry;
mod remembered;
#[cfg(test)]
mod tests;
mod token;
#[doc(hidden)]
pub mod untrusted;
mod users;
mod watched;

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

pub use self::api_token::{ApiToken, ApiTokens, Lasts, Listed, NewToken, State, TokenId, Wish};
use self::attempts::Attempts;
pub(crate) use self::attempts::network;
pub use self::hash::{bcrypt_line, check_user_name};
pub use self::issue::Issued;
use self::logins::{Caller, Surface};
pub use self::names::{About, NamePatterns, Sight};
use self::plain::PlainUsers;
pub use self::policy::{Decision, Granted, Policy};
use self::registry::Front;
pub use self::registry::{Grants, Login, TokenProblem};
use self::token::Tokens;
pub use self::token::{Outside, Token};
pub use self::users::Users;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::error::Result;
use crate::http::{HeaderMap, Request};
use crate::metrics::Metrics;
use crate::net::Clients;

/// Who asks. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// Nobody in particular: no credentials were shown.
    Anonymous,
    /// A user of the users file, with the right password.
    User {
        /// The name in the file.
        name: Arc<str>,
    },
    /// The holder of a verified client certificate.
    Certificate {
        /// The certificate's subject.
        subject: Arc<str>,
    },
    /// The holder of a verified bearer token, which may itself say what it allows.
    Token(Arc<Token>),
    /// The holder of one of chartgate's own API tokens, which says what it allows.
    ApiToken(Arc<ApiToken>),
}

impl Identity {
    /// `anonymous`, `user`, `certificate`, `token` or `api_token`: the label for logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::User { .. } => "user",
            Self::Certificate { .. } => "certificate",
            Self::Token(_) => "token",
            Self::ApiToken(_) => "api_token",
        }
    }

    /// What they are called: the user's name, the certificate's subject or the token's (`sub`), by which rules know them, or the
    /// name of an API token, which rules do not know.
    pub fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Anonymous => None,
            Self::User { name } => Some(name),
            Self::Certificate { subject } => Some(subject),
            Self::Token(token) => token.subject(),
            Self::ApiToken(token) => Some(token.name()),
        }
    }

    /// How the log calls them; owned only where there is a name.
    pub fn log_name(&self) -> Cow<'static, str> {
        self.name()
            .map_or(Cow::Borrowed(self.kind()), |name| name.to_string().into())
    }

    /// Whether other credentials could allow more: somebody without any, or with a token made for one purpose. They are
    /// answered 401 where a known user is answered 403 or 404.
    pub fn may_have_more(&self) -> bool {
        match self {
            Self::Anonymous => true,
            Self::User { .. } | Self::Certificate { .. } | Self::ApiToken(_) => false,
            Self::Token(token) => !token.names_somebody(),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().map_or(self.kind(), AsRef::as_ref))
    }
}

/// Verifies the credentials of requests. Shared behind an `Arc`, one per gateway.
#[derive(Debug)]
pub struct Authenticator {
    plain: Option<PlainUsers>,
    users: Option<Users>,
    tokens: Option<Tokens>,
    attempts: Attempts,
    metrics: Option<Arc<Metrics>>,
    api_tokens: Option<ApiTokens>,
    challenge: config::Challenge,
    /// What clients of registries need besides; absent where only `auth:` is known.
    front: Option<Front>,
}

impl Authenticator {
    /// Opens everything that `config` names, with the key of the tokens that clients of registries get. Errors: as
    /// [`Authenticator::open`], or a key of tokens can be neither read nor made. Blocking.
    ///
    /// To be called in the runtime that will use it.
    pub fn build(
        config: &Config,
        clock: &Clock,
        clients: &Clients,
        metrics: &Arc<Metrics>,
    ) -> Result<Self> {
        let outside = Outside {
            clients,
            metrics,
            data_dir: &config.data_dir,
        };
        Ok(Self {
            front: Some(Front::open(config, clock)?),
            api_tokens: ApiTokens::open(config, clients, clock)?,
            ..Self::open(&config.auth, clock, Some(outside))?
        })
    }

    /// Opens what `auth:` names, for the chart routes only; keys at a URL need `outside` and a runtime. Errors: the users file or a
    /// key cannot be read. Blocking.
    pub fn open(auth: &config::Auth, clock: &Clock, outside: Option<Outside<'_>>) -> Result<Self> {
        let users = match &auth.users_file {
            Some(path) => Some(Users::open(path, clock.clone())?),
            None => None,
        };
        Ok(Self {
            plain: PlainUsers::new(&auth.users)?,
            users,
            tokens: Tokens::open(&auth.jwt, clock, outside)?,
            attempts: Attempts::new(auth.attempts.0, clock.clone()),
            metrics: outside.map(|outside| Arc::clone(outside.metrics)),
            api_tokens: None,
            challenge: auth.challenge.clone(),
            front: None,
        })
    }

    /// Goes on with what `previous`, of the configuration before, knows by now.
    pub fn take_over(&mut self, previous: &Self) {
        if let Some((tokens, known)) = self.api_tokens.as_mut().zip(previous.api_tokens.as_ref()) {
            tokens.take_over(known);
        }
    }

    /// The API tokens; `None` where the configuration has none.
    pub fn api_tokens(&self) -> Option<&ApiTokens> {
        self.api_tokens.as_ref()
    }

    /// The value of `WWW-Authenticate` in a 401 about `action` in the tenant at `path` (empty for the root).
    ///
    /// A bearer challenge names a token that would do, as ChartMuseum words it: no space after commas, `repo` for the root, and
    /// `push` for deletions.
    pub fn challenge(&self, path: &str, action: config::Action) -> String {
        challenge::render(&self.challenge, path, action)
    }

    /// Who sends `request`. No credentials: the client certificate's subject, else anonymous.
    ///
    /// Credentials that are malformed or wrong are [`ErrorKind::Unauthenticated`], also where anonymous clients may do the
    /// same: a typing error must not look like a missing chart. Whoever sent too many wrong ones waits
    /// ([`ErrorKind::RateLimited`]). Without any users or keys configured, credentials are not looked at, because then they are
    /// meant for somebody else, such as a proxy in front. Cancel-safe.
    ///
    /// [`ErrorKind::Unauthenticated`]: crate::error::ErrorKind::Unauthenticated
    /// [`ErrorKind::RateLimited`]: crate::error::ErrorKind::RateLimited
    pub async fn authenticate(&self, request: &Request) -> Result<Identity> {
        let certificate = request.certificate_subject.as_ref();
        self.identify_from(&request.headers, certificate, request.peer)
            .await
    }

    /// As [`Authenticator::authenticate`], from the parts of a request that count, where nobody knows where it comes from.
    pub async fn identify(
        &self,
        headers: &HeaderMap,
        certificate: Option<&Arc<str>>,
    ) -> Result<Identity> {
        self.identify_from(headers, certificate, None).await
    }

    async fn identify_from(
        &self,
        headers: &HeaderMap,
        certificate: Option<&Arc<str>>,
        peer: Option<SocketAddr>,
    ) -> Result<Identity> {
        if self.reads_credentials() {
            let caller = Caller::new(Surface::Charts, peer);
            if let Some(credentials) = self.read(caller, headers)? {
                return self.log_in_with(caller, &credentials).await;
            }
        }
        Ok(match certificate {
            Some(subject) => Identity::Certificate {
                subject: Arc::clone(subject),
            },
            None => Identity::Anonymous,
        })
    }

    /// Whether anybody has credentials that could stand in a header.
    fn reads_credentials(&self) -> bool {
        self.plain.is_some()
            || self.users.is_some()
            || self.tokens.is_some()
            || self.api_tokens.is_some()
    }
}
