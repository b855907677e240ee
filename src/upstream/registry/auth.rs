//! Getting past a 401: which scheme, as whom, with which token.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;
use url::Url;

use super::answer::Object;
use super::health::{Health, Lane};
use super::login::{Login, User};
use super::realm::Realms;
use super::settings::{Credentials, Settings};
use super::token::{Granted, Token, Tokens, Wanted};
use crate::clock::Clock;
use crate::config::Secret;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{HeaderMap, HeaderValue, Method, header};
use crate::net::{Answer, Client, Exchange, basic, bearer};
use crate::oci::{Challenge, RepoName, Scope, challenge};

/// What is shown with a request.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    /// The value of `Authorization`.
    pub(super) header: HeaderValue,
    /// What the token is for; `None`: these are the credentials themselves.
    wanted: Option<Wanted>,
}

impl Pass {
    /// Whether it is a token from a token server.
    pub(super) fn is_token(&self) -> bool {
        self.wanted.is_some()
    }
}

/// Knows what an upstream wants to see, and gets it.
pub(super) struct Doorman {
    /// What requests about a repository (or, with an empty name, the registry) were last asked for.
    learned: Mutex<HashMap<String, Learned>>,
    tokens: Tokens,
    clerk: Arc<Clerk>,
    /// What `/v2/` answered, once it was asked: the head of its 401, or that there is none.
    door: OnceCell<Option<HeaderMap>>,
}

/// What a server wants.
#[derive(Clone, Debug)]
enum Learned {
    Basic,
    Token(Wanted),
}

impl Doorman {
    pub(super) fn new(
        upstream: Arc<str>,
        registry: &Url,
        settings: &Settings,
        client: Arc<Client>,
        health: Arc<Health>,
        clock: Clock,
    ) -> Self {
        Self {
            learned: Mutex::default(),
            tokens: Tokens::new(clock.clone()),
            clerk: Arc::new(Clerk {
                realms: Realms::new(
                    Arc::clone(&upstream),
                    registry.clone(),
                    &settings.token_realms,
                ),
                login: Login::new(Arc::clone(&upstream), registry, settings, clock.clone()),
                credentials: settings.credentials.clone(),
                upstream,
                rotated: Mutex::default(),
                client,
                health,
                clock,
            }),
            door: OnceCell::new(),
        }
    }

    pub(super) fn has_credentials(&self) -> bool {
        self.clerk.credentials.is_some()
    }

    pub(super) fn door(&self) -> &OnceCell<Option<HeaderMap>> {
        &self.door
    }

    /// What to show, from what was learned. `None`: nothing, to begin with.
    pub(super) async fn known(&self, repository: Option<&RepoName>) -> Result<Option<Pass>> {
        if let Some(Credentials::Bearer(token)) = &self.clerk.credentials {
            return Ok(Some(Pass {
                header: bearer(token)?,
                wanted: None,
            }));
        }
        let learned = self.lock().get(&key(repository)).cloned();
        match learned {
            None => Ok(None),
            Some(Learned::Basic) => self.clerk.pass().await,
            Some(Learned::Token(wanted)) => self.token(wanted).await.map(Some),
        }
    }

    /// What to show after a 401 with these headers, in place of `refused`.
    ///
    /// Errors: there is nothing, or the token server refuses.
    pub(super) async fn admit(
        &self,
        headers: &HeaderMap,
        repository: Option<&RepoName>,
        refused: Option<Pass>,
        object: &Object,
    ) -> Result<Option<Pass>> {
        let challenges = challenge::read(headers);
        let mut token = challenges.iter().find_map(|challenge| match challenge {
            Challenge::Bearer(bearer) if !bearer.realm.is_empty() => Some(bearer),
            Challenge::Bearer(_) | Challenge::Basic | Challenge::Other(_) => None,
        });
        let basic = challenges.contains(&Challenge::Basic);
        if matches!(self.clerk.credentials, Some(Credentials::Bearer(_))) {
            token = None;
        }
        if let Some(bearer) = token {
            let own = repository.map(|name| Scope::repository(name, "pull").to_string());
            let wanted = Wanted::of(bearer, own);
            if let Some(pass) = &refused
                && let Some(old) = &pass.wanted
            {
                self.tokens.forget(old, &pass.header);
            }
            self.learn(repository, Learned::Token(wanted.clone()));
            return self.token(wanted).await.map(Some);
        }
        if basic {
            let shown = refused.filter(|pass| !pass.is_token());
            if shown.is_some() {
                self.clerk.login.refused().await;
            }
            let pass = self.clerk.pass().await?;
            if let Some(pass) = pass
                && shown.is_none_or(|shown| shown.header != pass.header)
            {
                self.learn(repository, Learned::Basic);
                return Ok(Some(pass));
            }
        }
        let upstream = &self.clerk.upstream;
        let why = match &self.clerk.credentials {
            None => "wants credentials",
            Some(Credentials::Bearer(_)) => "refuses our token",
            Some(_) if basic => "refuses our credentials",
            Some(_) => "wants credentials of a kind that we do not have",
        };
        Err(Error::new(
            ErrorKind::UpstreamUnauthorized,
            format!("upstream `{upstream}` {why} for {object}; check `upstreams.{upstream}.auth`"),
        ))
    }

    async fn token(&self, wanted: Wanted) -> Result<Pass> {
        let clerk = Arc::clone(&self.clerk);
        let request = wanted.clone();
        let token = self
            .tokens
            .get(&wanted, || async move { clerk.fetch(&request).await })
            .await?;
        Ok(Pass {
            header: token.header,
            wanted: Some(wanted),
        })
    }

    fn learn(&self, repository: Option<&RepoName>, what: Learned) {
        let mut learned = self.lock();
        if learned.len() >= MOST {
            learned.clear();
        }
        learned.insert(key(repository), what);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Learned>> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(repository: Option<&RepoName>) -> String {
    repository.map_or_else(String::new, |name| name.as_str().to_owned())
}

/// Asks token servers.
struct Clerk {
    upstream: Arc<str>,
    credentials: Option<Credentials>,
    login: Login,
    realms: Realms,
    /// The refresh token that the server gave in place of the configured one.
    rotated: Mutex<Option<Secret>>,
    client: Arc<Client>,
    health: Arc<Health>,
    clock: Clock,
}

impl Clerk {
    /// The credentials themselves, where they are user and password.
    async fn pass(&self) -> Result<Option<Pass>> {
        let user = self.login.user().await?;
        let header = user.map(|user| basic(&user.name, &user.password));
        Ok(header.transpose()?.map(|header| Pass {
            header,
            wanted: None,
        }))
    }

    /// A new token. Errors: `UpstreamUnauthorized` where the credentials are refused, `UpstreamDenied` where the token is.
    async fn fetch(&self, wanted: &Wanted) -> Result<Token> {
        let realm = self
            .realms
            .check(&wanted.realm, self.credentials.is_some())?;
        let user = self.login.user().await?;
        self.health.admit(Lane::Tokens)?;
        if let Some(user) = user.as_ref().filter(|user| user.is_refresh_token) {
            let rotated = self.rotated().clone();
            let refresh = rotated.as_ref().unwrap_or(&user.password);
            let answer = self.send(&refreshing(&realm, wanted, refresh)).await?;
            // These know no such exchange: Artifactory 401, ACR 400, GCR 404, others 405.
            if !matches!(answer.status.as_u16(), 400 | 401 | 404 | 405) {
                return self.read(answer, &realm).await;
            }
            answer.discard().await;
        }
        let answer = self.send(&asking(&realm, wanted, user.as_ref())?).await?;
        if answer.status.as_u16() == 401 {
            self.login.refused().await;
        }
        self.read(answer, &realm).await
    }

    async fn send(&self, exchange: &Exchange) -> Result<Answer> {
        let outcome = self.client.exchange(exchange).await;
        let after = outcome
            .as_ref()
            .ok()
            .and_then(|answer| self.client.retry_after(&answer.headers));
        self.health.judge(Lane::Tokens, &outcome, after);
        outcome
    }

    async fn read(&self, answer: Answer, realm: &Url) -> Result<Token> {
        let code = answer.status.as_u16();
        if code != 200 {
            let after = self.client.retry_after(&answer.headers);
            answer.discard().await;
            let error = self.refusal(code, realm);
            return Err(match after {
                Some(after) => error.with_retry_after(after),
                None => error,
            });
        }
        let granted = match answer.bytes(MAX_ANSWER).await? {
            Some(bytes) => Granted::read(&bytes, self.clock.now()),
            None => None,
        };
        let Some(granted) = granted else {
            return Err(self.client.useless(format!(
                "has a token server at `{}` that answers without a token",
                realm.host_str().unwrap_or_default()
            )));
        };
        if granted.refresh_token.is_some() {
            *self.rotated() = granted.refresh_token;
        }
        Ok(granted.token)
    }

    fn refusal(&self, code: u16, realm: &Url) -> Error {
        let upstream = &self.upstream;
        let host = realm.host_str().unwrap_or_default();
        let kind = match code {
            401 => ErrorKind::UpstreamUnauthorized,
            403 => ErrorKind::UpstreamDenied,
            429 => ErrorKind::RateLimited,
            _ => ErrorKind::UpstreamUnavailable,
        };
        let next = match kind {
            ErrorKind::UpstreamUnauthorized | ErrorKind::UpstreamDenied => {
                format!("; check `upstreams.{upstream}.auth`")
            }
            _ => String::new(),
        };
        Error::new(
            kind,
            format!("the token server `{host}` of upstream `{upstream}` answered {code}{next}"),
        )
    }

    fn rotated(&self) -> MutexGuard<'_, Option<Secret>> {
        self.rotated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The GET that every token server understands.
fn asking(realm: &Url, wanted: &Wanted, user: Option<&User>) -> Result<Exchange> {
    let mut url = realm.clone();
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = &wanted.service {
            query.append_pair("service", service);
        }
        for scope in &wanted.scopes {
            query.append_pair("scope", scope);
        }
        if let Some(user) = user.filter(|user| !user.is_refresh_token) {
            query.append_pair("account", &user.name);
        }
    }
    if url.query() == Some("") {
        url.set_query(None);
    }
    let header = user.map(|user| basic(&user.name, &user.password));
    Ok(Exchange {
        authorization: header.transpose()?,
        max_redirects: 0,
        ..Exchange::new(Method::GET, url)
    })
}

/// The POST that exchanges a refresh token (OAuth 2).
fn refreshing(realm: &Url, wanted: &Wanted, refresh: &Secret) -> Exchange {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token")
        .append_pair("refresh_token", refresh.reveal())
        .append_pair("client_id", "chartgate")
        .append_pair("access_type", "offline");
    if let Some(service) = &wanted.service {
        form.append_pair("service", service);
    }
    if !wanted.scopes.is_empty() {
        form.append_pair("scope", &wanted.scopes.join(" "));
    }
    Exchange {
        body: Some(form.finish().into()),
        max_redirects: 0,
        ..Exchange::new(Method::POST, realm.clone())
    }
    .with(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    )
}

/// Tokens with many claims reach some kilobytes.
const MAX_ANSWER: usize = 256 << 10;
/// Repositories whose challenge is remembered.
const MOST: usize = 16_384;
