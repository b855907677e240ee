//! Getting past a 401: which scheme, as whom, with which token.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;
use url::Url;

use super::answer::Object;
use super::clerk::Clerk;
use super::health::Health;
use super::settings::{Credentials, Settings};
use super::token::{Tokens, Wanted};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{HeaderMap, HeaderValue};
use crate::net::{Client, basic, bearer};
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
            clerk: Arc::new(Clerk::new(
                upstream, registry, settings, client, health, clock,
            )),
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
            Some(Learned::Basic) => self.pass().await,
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
            let pass = self.pass().await?;
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

    /// The credentials themselves, where they are user and password.
    async fn pass(&self) -> Result<Option<Pass>> {
        let user = self.clerk.login.user().await?;
        let header = user.map(|user| basic(&user.name, &user.password));
        Ok(header.transpose()?.map(|header| Pass {
            header,
            wanted: None,
        }))
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

/// Repositories whose challenge is remembered.
const MOST: usize = 16_384;
