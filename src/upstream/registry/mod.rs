//! The client of an upstream registry: manifests, blobs, tags and referrers of any distribution-compatible server.
//!
//! [`Registry`] asks and judges; what is held, how old it may get and what is served when the upstream is away is decided above.
//! Nothing is asked at start: the way in (`WWW-Authenticate`) is learned from the first refusal. An upstream that fails or asks
//! to be left alone is left alone (see [`Lane`]), and its answers are told apart: 404 is a fact, 401 and 403 are about
//! credentials, everything else carries no information. Knows nothing about tenants, caches or routes.

mod answer;
mod auth;
mod blobs;
mod check;
mod clerk;
mod health;
mod lists;
mod login;
mod manifests;
mod realm;
mod settings;
mod token;

use std::fmt;
use std::sync::Arc;

use url::Url;

use self::answer::{Identity, Object};
use self::auth::Doorman;
pub use self::blobs::{BlobHead, Part};
use self::health::Health;
pub use self::health::Lane;
pub use self::manifests::{Fetched, Head, ManifestHead, Resolved};
pub use self::settings::{Credentials, Settings};
use crate::clock::Clock;
use crate::error::Result;
use crate::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use crate::metrics::Metrics;
pub use crate::net::Allowance;
use crate::net::{Budget, Client, Clients, Cost, Exchange, Response, is_held_back};
use crate::oci::RepoName;

/// One upstream registry. Cheap to share; all state (tokens, health, allowance) is inside.
///
/// Errors of all calls name the upstream. `NotFound` is a fact. `UpstreamDenied`: our credentials, or the anonymous token that
/// we were given, do not open this object; absent and forbidden look alike. `UpstreamUnauthorized`: the credentials themselves
/// are missing or wrong. `RateLimited` and `UpstreamUnavailable` carry no information about the object. Dropping a future ends its
/// transfer, except for a token's, which others may be waiting for.
pub struct Registry {
    name: Arc<str>,
    base: Url,
    settings: Settings,
    client: Arc<Client>,
    doorman: Doorman,
    health: Arc<Health>,
    is_docker_hub: bool,
}

/// One question, before it is known who asks.
struct Question<'a> {
    lane: Lane,
    method: Method,
    url: Url,
    headers: HeaderMap,
    /// The repository as the upstream calls it; `None`: the registry itself.
    repository: Option<&'a RepoName>,
    max_redirects: usize,
}

impl Registry {
    /// The registry that `settings` describe. Must be called inside the runtime that will use it; asks nobody.
    ///
    /// Errors: files of the TLS section that cannot be read or understood.
    pub fn new(
        name: Arc<str>,
        settings: Settings,
        clients: &Clients,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Self> {
        let base = settings.api_base();
        // Credentials have rules of their own here; the client must not send any by itself.
        let plain = crate::config::Client {
            auth: None,
            ..settings.client.clone()
        };
        let client = Client::new(
            clients,
            &plain,
            Arc::clone(&name),
            &base,
            metrics,
            clock.clone(),
        )?;
        let client = Arc::new(client);
        let health = Arc::new(Health::new(Arc::clone(&name), clock.clone()));
        Ok(Self {
            doorman: Doorman::new(
                Arc::clone(&name),
                &base,
                &settings,
                Arc::clone(&client),
                Arc::clone(&health),
                clock,
            ),
            is_docker_hub: settings.is_docker_hub(),
            name,
            base,
            settings,
            client,
            health,
        })
    }

    /// The name in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What the upstream calls the repository that clients call `name`: Docker Hub's own images lie below `library/`, and a
    /// configured prefix comes first. Errors: the name gets too long.
    pub fn repository(&self, name: &RepoName) -> Result<RepoName> {
        self.settings.repository(name)
    }

    /// The names by which clients may call the upstream's `repository`, the shortest first; none where it is not theirs.
    pub fn names(&self, repository: &RepoName) -> Vec<RepoName> {
        self.settings.names(repository)
    }

    /// What the upstream last said about how much it still allows, where it does.
    pub fn allowance(&self) -> Option<Allowance> {
        self.budget().allowance()
    }

    /// What it is asked, and how much more it may be.
    pub fn budget(&self) -> &Arc<Budget> {
        self.client.budget()
    }

    /// How long requests of this kind are still held back, because the upstream failed or asked for it.
    pub fn paused(&self, lane: Lane) -> Option<std::time::Duration> {
        self.health.paused(lane)
    }

    /// `<base>/v2/<repository>/<rest>`
    fn url(&self, repository: &RepoName, rest: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}v2/{repository}/{rest}", self.base.path()));
        url
    }

    fn question<'a>(
        &self,
        lane: Lane,
        method: Method,
        url: Url,
        repository: &'a RepoName,
    ) -> Question<'a> {
        let mut headers = HeaderMap::new();
        // Digests and lengths are those of the bytes that are there.
        headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
        Question {
            lane,
            method,
            url,
            headers,
            repository: Some(repository),
            max_redirects: MAX_REDIRECTS,
        }
    }

    /// Asks, with whatever the upstream wants to see first, and says as whom the last answer was got.
    async fn ask(&self, question: &Question<'_>) -> Result<(Response, Identity)> {
        let mut pass = self.doorman.known(question.repository).await?;
        let mut challenged = false;
        loop {
            let answer = self.send(question, pass.as_ref()).await?;
            let identity = Identity::of(pass.as_ref());
            if !answer.at_home || challenged {
                return Ok((answer, identity));
            }
            challenged = true;
            pass = match answer.status {
                StatusCode::UNAUTHORIZED => {
                    let headers = answer.headers.clone();
                    answer.discard().await;
                    let refused = pass.take();
                    self.doorman
                        .admit(&headers, question.repository, refused, &question.object())
                        .await?
                }
                // Some servers hide what strangers may not see without saying that they could identify themselves.
                StatusCode::FORBIDDEN | StatusCode::NOT_FOUND
                    if identity == Identity::Nobody && self.doorman.has_credentials() =>
                {
                    match self.knock().await? {
                        None => return Ok((answer, identity)),
                        Some(headers) => {
                            answer.discard().await;
                            self.doorman
                                .admit(&headers, question.repository, None, &question.object())
                                .await?
                        }
                    }
                }
                _ => return Ok((answer, identity)),
            };
        }
    }

    /// Asks `/v2/` as nobody, once in the life of this process: the head of a 401, where it is one.
    async fn knock(&self) -> Result<Option<HeaderMap>> {
        let ask = async || {
            let mut url = self.base.clone();
            url.set_path(&format!("{}v2/", self.base.path()));
            let question = Question {
                lane: Lane::Lists,
                method: Method::GET,
                url,
                headers: HeaderMap::new(),
                repository: None,
                max_redirects: 0,
            };
            let answer = self.send(&question, None).await?;
            let headers = answer.headers.clone();
            match answer.status {
                StatusCode::UNAUTHORIZED => {
                    answer.discard().await;
                    Ok(Some(headers))
                }
                status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
                    Err(self.refusal(&answer, Identity::Nobody, &question.object()))
                }
                _ => Ok(None),
            }
        };
        self.doorman.door().get_or_try_init(ask).await.cloned()
    }

    /// One exchange: held back where the upstream is to be left alone, and judged afterwards.
    async fn send(&self, question: &Question<'_>, pass: Option<&auth::Pass>) -> Result<Response> {
        self.health.admit(question.lane)?;
        let exchange = Exchange {
            headers: question.headers.clone(),
            authorization: pass.map(|pass| pass.header.clone()),
            max_redirects: question.max_redirects,
            object: question.object().to_string(),
            cost: self.cost(question.lane),
            ..Exchange::new(question.method.clone(), question.url.clone())
        };
        let outcome = self.client.exchange(&exchange).await;
        if outcome.as_ref().is_err_and(is_held_back) {
            // Our own decision says nothing about how it is doing.
            return outcome;
        }
        let after = outcome
            .as_ref()
            .ok()
            .and_then(|answer| self.client.retry_after(&answer.headers));
        self.health.judge(question.lane, &outcome, after);
        outcome
    }

    /// Docker Hub counts GETs of manifests that it answers (spec: oci.md §3.2); of others only the headers tell, so all count.
    fn cost(&self, lane: Lane) -> Cost {
        match (self.is_docker_hub, lane) {
            (_, Lane::Tokens) => Cost::Outside,
            (true, Lane::Manifests) => Cost::Served,
            (true, Lane::Heads | Lane::Blobs | Lane::Lists) => Cost::Free,
            (false, _) => Cost::Counted,
        }
    }

    /// The error that an answer other than success is.
    fn refusal(
        &self,
        answer: &Response,
        identity: Identity,
        object: &Object,
    ) -> crate::error::Error {
        let after = self.client.retry_after(&answer.headers);
        answer::refusal(&self.name, answer, identity, object, after)
    }
}

impl Question<'_> {
    /// What it is about, for messages.
    fn object(&self) -> Object {
        Object::of(&self.url)
    }
}

/// Queries and credentials are not shown.
impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("name", &self.name)
            .field("host", &self.base.host_str())
            .finish_non_exhaustive()
    }
}

/// As many as other clients follow on blobs.
const MAX_REDIRECTS: usize = 5;
