//! Asking token servers: the two ways in which they are asked, and what their answers mean.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use url::Url;

use super::health::{Health, Lane};
use super::login::{Login, User};
use super::realm::Realms;
use super::settings::{Credentials, Settings};
use super::token::{Granted, Token, Wanted};
use crate::clock::Clock;
use crate::config::Secret;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{HeaderValue, Method, header};
use crate::net::{Client, Cost, Exchange, Response, basic};

/// Asks token servers.
pub(super) struct Clerk {
    pub(super) upstream: Arc<str>,
    pub(super) credentials: Option<Credentials>,
    pub(super) login: Login,
    realms: Realms,
    /// The refresh token that the server gave in place of the configured one.
    rotated: Mutex<Option<Secret>>,
    client: Arc<Client>,
    health: Arc<Health>,
    clock: Clock,
}

impl Clerk {
    pub(super) fn new(
        upstream: Arc<str>,
        registry: &Url,
        settings: &Settings,
        client: Arc<Client>,
        health: Arc<Health>,
        clock: Clock,
    ) -> Self {
        Self {
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
        }
    }

    /// A new token. Errors: `UpstreamUnauthorized` where the credentials are refused, `UpstreamDenied` where the token is.
    pub(super) async fn fetch(&self, wanted: &Wanted) -> Result<Token> {
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

    async fn send(&self, exchange: &Exchange) -> Result<Response> {
        let outcome = self.client.exchange(exchange).await;
        let after = outcome
            .as_ref()
            .ok()
            .and_then(|answer| self.client.retry_after(&answer.headers));
        self.health.judge(Lane::Tokens, &outcome, after);
        outcome
    }

    async fn read(&self, answer: Response, realm: &Url) -> Result<Token> {
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
        cost: Cost::Outside,
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
        cost: Cost::Outside,
        ..Exchange::new(Method::POST, realm.clone())
    }
    .with(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    )
}

/// Tokens with many claims reach some kilobytes.
const MAX_ANSWER: usize = 256 << 10;
