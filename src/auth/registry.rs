//! Clients of registries: every way in which they show who they are, and the tokens that they get for it.
//!
//! Passwords and tokens of others are accepted directly, too, because curl, Flux and Argo send nothing else.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;

use super::fault::NoGuess;
use super::header::Credentials;
use super::issue::{self, Holder, Issued, Issuer, Session};
use super::logins::{Caller, Surface};
use super::realm::{Place, Realm};
use super::{Authenticator, Identity, Token};
use crate::clock::Clock;
use crate::config::{Action, Config};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{self, Request};
use crate::oci::{Scope, challenge};

/// How long a token without an end may be kept before its holder has to log in again, in seconds.
const ENDLESS: u64 = 3_600;
/// The shortest time that clients can be told; they take less for this.
const SHORTEST: u64 = 60;

/// What is there for clients of registries only.
#[derive(Debug)]
pub(super) struct Front {
    realm: Realm,
    /// Absent where no tenant has a registry.
    issuer: Option<Issuer>,
    /// Whether clients can show certificates.
    certificates: bool,
    /// Whether strangers' credentials count as none where only pulling is asked for.
    lenient: bool,
}

/// What a request's credentials allow besides what the rules say about the identity.
#[derive(Clone, Debug)]
pub struct Grants(Option<Arc<Session>>);

/// What a 401 to a request that carried a token says was wrong with it (RFC 6750 §3.1). Clients fetch another token for either; the
/// one that keeps one token server for each host does so only if it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenProblem {
    /// It is malformed, expired, or not one that counts here.
    Invalid,
    /// It was made for something else.
    InsufficientScope,
}

/// Who asks for a token.
#[derive(Debug)]
pub enum Login {
    /// Somebody that a token can be made for; anonymous where no credentials were shown.
    Known(Identity),
    /// The holder of somebody else's token, and its text. Only its own claims say what it allows, so it is given back.
    Foreign(Arc<Token>, String),
}

impl Front {
    /// Reads or makes the key, where any tenant has a registry. Blocking.
    pub(super) fn open(config: &Config, clock: &Clock) -> Result<Self> {
        let mut tenants = config.tenants.values().chain(config.patterns.values());
        let registries = !config.museum.strict
            && tenants.any(|tenant| tenant.hosted.is_some() || !tenant.registries.is_empty());
        let token = &config.auth.token;
        let issuer = registries.then(|| Issuer::open(token, &config.data_dir, clock));
        let mut https = config.server.https.iter();
        Ok(Self {
            realm: Realm::of(config),
            issuer: issuer.transpose()?,
            certificates: https.any(|https| https.client_ca_file.is_some()),
            lenient: token.anonymous_on_unknown_credentials,
        })
    }
}

impl Authenticator {
    /// Whether anybody can be somebody: there are users, keys of tokens, or certificates. Where nobody can, registries ask nobody
    /// who he is.
    pub fn knows_anybody(&self) -> bool {
        self.reads_credentials() || self.front.as_ref().is_some_and(|front| front.certificates)
    }

    /// Whether strangers' credentials count as none where only pulling is asked for.
    pub fn is_lenient(&self) -> bool {
        self.front.as_ref().is_some_and(|front| front.lenient)
    }

    /// Whether tokens are given out at all: some tenant has a registry.
    pub fn gives_tokens(&self) -> bool {
        self.issuer().is_some()
    }

    /// Who sends `request` to a registry, and what the token, if it shows one, was made for.
    ///
    /// Errors: credentials are malformed or wrong, a token does not count any more ([`ErrorKind::Unauthenticated`]); the caller
    /// has sent too many wrong ones ([`ErrorKind::RateLimited`]). Where nobody can be somebody, credentials are not looked at.
    /// Cancel-safe.
    pub async fn authenticate_registry(&self, request: &Request) -> Result<(Identity, Grants)> {
        if !self.knows_anybody() {
            return Ok((Identity::Anonymous, Grants(None)));
        }
        let caller = Caller::new(Surface::Registry, request.peer);
        match self.read(caller, &request.headers)? {
            Some(Credentials::Token(text)) => self.bearer(caller, request, text).await,
            Some(credentials) if self.reads(&credentials) => {
                let identity = self.log_in_with(caller, &credentials).await?;
                Ok((identity, Grants(None)))
            }
            Some(_) | None => Ok((nobody(request), Grants(None))),
        }
    }

    /// The value of `WWW-Authenticate` in a 401 to `request`: exactly one challenge, of the scheme `Bearer`.
    ///
    /// `scope` is what a token would need: `repository:<name as the client spells it>:<actions>`, several separated by spaces.
    /// A request that carried a token is always told what was wrong with it, `problem` or what can be guessed.
    pub fn registry_challenge(
        &self,
        request: &Request,
        scope: Option<&str>,
        problem: Option<TokenProblem>,
    ) -> String {
        let Some(front) = &self.front else {
            return "Bearer".to_owned();
        };
        let Place { realm, service } = front.realm.place(request);
        let problem =
            problem.or_else(|| carries_token(request).then(|| TokenProblem::guess(scope)));
        challenge::Bearer {
            realm,
            service: Some(service),
            scopes: scope.map(str::to_owned).into_iter().collect(),
            error: problem.map(|problem| problem.as_str().to_owned()),
        }
        .to_string()
    }

    /// Who asks for a token: by a form's user name and password, else by the `Authorization` field, else by certificate.
    ///
    /// Errors as for [`Authenticator::authenticate_registry`]. A token of ours is no reason for another one: it would outlive the
    /// password that it was given for. Cancel-safe.
    pub async fn log_in(&self, request: &Request, form: Option<(&str, &str)>) -> Result<Login> {
        if !self.knows_anybody() {
            return Ok(Login::Known(Identity::Anonymous));
        }
        let caller = Caller::new(Surface::Token, request.peer);
        let credentials = match form {
            Some((name, password)) => {
                Some(Credentials::Basic(name.to_owned(), password.to_owned()))
            }
            None => self.read(caller, &request.headers)?,
        };
        let Some(credentials) = credentials.filter(|credentials| self.reads(credentials)) else {
            return Ok(Login::Known(nobody(request)));
        };
        Ok(match self.log_in_with(caller, &credentials).await? {
            Identity::Token(token) => {
                let (Credentials::Basic(_, text) | Credentials::Token(text)) = credentials;
                Login::Foreign(token, text)
            }
            known => Login::Known(known),
        })
    }

    /// A token for `identity` at the host of `request`, made for `access`. Errors: no tenant has a registry
    /// ([`ErrorKind::NotFound`]); our own fault. Cancel-safe.
    pub async fn issue(
        &self,
        request: &Request,
        identity: &Identity,
        access: &[Scope],
    ) -> Result<Issued> {
        let (Some(front), Some(issuer)) = (&self.front, self.issuer()) else {
            return Err(Error::not_found(
                "no tenant has a registry, so nobody needs a token",
            ));
        };
        let Place { service, .. } = front.realm.place(request);
        let fingerprint = match identity {
            // The first of both is whose password was asked for.
            Identity::User { name } => self.fingerprints(name).await.into_iter().flatten().next(),
            _ => None,
        };
        issuer.issue(identity, &service, access, fingerprint).await
    }

    /// What [`Issued`] says about a token of somebody else's.
    pub fn pass_on(&self, token: &Token, text: String, now: Timestamp) -> Issued {
        let left = token.remaining(now).unwrap_or(ENDLESS);
        Issued {
            token: text,
            expires_in: left.max(SHORTEST),
            issued_at: now,
        }
    }

    fn issuer(&self) -> Option<&Issuer> {
        self.front.as_ref()?.issuer.as_ref()
    }

    /// Whether credentials are looked at. Some clients send empty ones to say that they have none.
    fn reads(&self, credentials: &Credentials) -> bool {
        let is_empty = matches!(credentials, Credentials::Basic(name, password) if name.is_empty() && password.is_empty());
        self.reads_credentials() && !is_empty
    }

    /// A token of ours, or of somebody whom the configuration trusts.
    async fn bearer(
        &self,
        caller: Caller,
        request: &Request,
        text: String,
    ) -> Result<(Identity, Grants)> {
        if let (Some(front), Some(issuer)) = (&self.front, self.issuer()) {
            let Place { service, .. } = front.realm.place(request);
            let may_try = || self.may_try(caller);
            if let Some(session) = issuer.verify(&text, &service, &may_try).await {
                let shown = match session {
                    Ok(session) => self
                        .holder_of(issuer, &session)
                        .await
                        .map(|holder| (holder, session)),
                    Err(error) => Err(error),
                };
                let (holder, session) = shown.inspect_err(|error| {
                    self.count_forged(caller, error);
                    self.failed(caller, NoGuess::reason(error));
                })?;
                let identity = match holder {
                    Identity::Anonymous => nobody(request),
                    known => known,
                };
                return Ok((identity, Grants(Some(session))));
            }
        }
        let credentials = Credentials::Token(text);
        let identity = self.log_in_with(caller, &credentials).await?;
        Ok((identity, Grants(None)))
    }

    /// Who holds a token of ours, if he still counts: a user with the same password, an API token that is still there.
    async fn holder_of(&self, issuer: &Issuer, session: &Session) -> Result<Identity> {
        match (session.holder(), &self.api_tokens) {
            (Holder::Known(known), _) => {
                self.check_holder(issuer, session, known).await?;
                Ok(known.clone())
            }
            (Holder::ApiToken(id), Some(tokens)) => tokens.by_id(id).await.map(Identity::ApiToken),
            (Holder::ApiToken(_), None) => Err(issue::ended("API tokens do not count any more")),
        }
    }

    /// Whether the user is still one, with the same password.
    async fn check_holder(
        &self,
        issuer: &Issuer,
        session: &Session,
        holder: &Identity,
    ) -> Result<()> {
        let Identity::User { name } = holder else {
            return Ok(());
        };
        let known = self.fingerprints(name).await;
        let mut known = known.into_iter().flatten();
        if known.any(|fingerprint| issuer.is_of(session, fingerprint)) {
            Ok(())
        } else {
            Err(issue::ended("its holder or the password has changed"))
        }
    }

    /// Of the passwords that the user called `name` has: in the configuration, and in the file.
    async fn fingerprints(&self, name: &str) -> [Option<crate::digest::Digest>; 2] {
        let plain = self
            .plain
            .as_ref()
            .and_then(|plain| plain.fingerprint(name));
        let listed = match &self.users {
            Some(users) => users.fingerprint(name).await,
            None => None,
        };
        [plain, listed]
    }
}

impl Grants {
    /// Whether a token was shown that we gave out, an anonymous one included: its holder has been asked who he is already.
    pub fn are_of_a_token(&self) -> bool {
        self.0.is_some()
    }

    /// Whether `action` on the repository that the client calls `name` is what the token was made for. Everything is where no token
    /// was shown; pulling always is, because clients show tokens that they got for another repository.
    pub fn allows(&self, name: &str, action: Action) -> bool {
        let word = match action {
            Action::Pull => return true,
            Action::Push => "push",
            Action::Delete => "delete",
            Action::Admin => "*",
        };
        self.0
            .as_ref()
            .is_none_or(|session| session.names(name, word))
    }

    /// Nothing, where it is allowed; else what a 401 with [`TokenProblem::InsufficientScope`] says. To be asked after the rules of
    /// the tenant: only they say whether a better token can be had.
    pub fn authorize(&self, name: &str, action: Action) -> Result<()> {
        if self.allows(name, action) {
            return Ok(());
        }
        let verb = if action == Action::Delete {
            "delete from"
        } else {
            "push to"
        };
        Err(Error::new(
            ErrorKind::Unauthenticated,
            format!("the token was not made to {verb} `{name}`; get one for that scope"),
        ))
    }
}

impl TokenProblem {
    /// The word in the challenge.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
        }
    }

    fn guess(scope: Option<&str>) -> Self {
        scope.map_or(Self::Invalid, |_| Self::InsufficientScope)
    }
}

/// Whoever shows no credentials: the holder of the certificate, else nobody.
fn nobody(request: &Request) -> Identity {
    match &request.certificate_subject {
        Some(subject) => Identity::Certificate {
            subject: subject.clone(),
        },
        None => Identity::Anonymous,
    }
}

/// Whether credentials of the scheme `Bearer` were sent, good or bad.
fn carries_token(request: &Request) -> bool {
    let text: Cow<'_, str> = match request.headers.get(http::header::AUTHORIZATION) {
        Some(value) => String::from_utf8_lossy(value.as_bytes()),
        None => return false,
    };
    let scheme = text.split_ascii_whitespace().next().unwrap_or_default();
    !scheme.eq_ignore_ascii_case("basic")
}
