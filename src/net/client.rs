//! The way to one upstream.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use url::Url;

use super::budget::{Budget, Cost, Place};
use super::clients::{Clients, Identity};
use super::credentials::{anonymous, userinfo};
use super::fault::{self, Failure};
use super::guard;
use super::reply::{self, BodyContext, Reply};
use super::retry::retry_after;
use crate::clock::Clock;
use crate::config::{self, UpstreamAuth};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{ByteStream, HeaderMap, HeaderValue, Method, StatusCode, header};
use crate::metrics::Metrics;

/// The way to one upstream, and to wherever its index and its redirects lead.
///
/// Credentials and the client certificate are for the upstream's own origin (scheme, host and port) and go nowhere else;
/// which authorities are trusted, and through which proxy, counts for every host.
pub struct Client {
    upstream: Arc<str>,
    origin: url::Origin,
    auth: Option<UpstreamAuth>,
    allow_private: bool,
    timeout: Duration,
    clients: Clients,
    /// Hosts of egress proxies: their names pass the resolver, so URLs must not name them.
    proxy_hosts: Vec<String>,
    /// To the upstream's origin.
    at_home: Arc<reqwest::Client>,
    /// To all others: without the client certificate.
    abroad: Arc<reqwest::Client>,
    budget: Arc<Budget>,
    metrics: Arc<Metrics>,
    clock: Clock,
}

/// What a GET asks for besides its URL.
#[derive(Clone, Debug)]
pub struct GetOptions {
    /// Header fields, sent on every hop.
    pub headers: HeaderMap,
    /// Whether failures that may pass are tried again.
    pub retry: bool,
    /// How many redirects are followed. Helm follows 10.
    pub max_redirects: usize,
    /// What it costs of the upstream's budget.
    pub cost: Cost,
}

/// What is sent, on every hop.
#[derive(Clone)]
pub(super) struct Outgoing<'a> {
    pub(super) method: Method,
    pub(super) headers: &'a HeaderMap,
    /// In place of the upstream's own credentials.
    pub(super) authorization: Option<&'a HeaderValue>,
    pub(super) body: Option<&'a Bytes>,
    pub(super) cost: Cost,
}

/// The head of an answer.
pub(super) struct Arrived {
    pub(super) response: reqwest::Response,
    /// Where it came from.
    pub(super) url: Url,
    /// To be kept while its body is read.
    pub(super) place: Option<Place>,
}

impl Default for GetOptions {
    fn default() -> Self {
        Self {
            headers: HeaderMap::new(),
            retry: true,
            max_redirects: 10,
            cost: Cost::Counted,
        }
    }
}

impl Client {
    /// The way to `upstream` at `origin`. Must be called inside the runtime that will use it.
    ///
    /// Errors: files of the `tls` section that cannot be read or understood, a proxy that is none.
    pub fn new(
        clients: &Clients,
        config: &config::Client,
        upstream: Arc<str>,
        origin: &Url,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Self> {
        let named = |error: Error| {
            Error::new(
                error.kind(),
                format!("upstream `{upstream}`: {}", error.message()),
            )
            .with_source(error)
        };
        let identity = Identity::read(config).map_err(named)?;
        Ok(Self {
            at_home: clients.client(config, identity.as_ref()).map_err(named)?,
            abroad: clients.client(config, None).map_err(named)?,
            auth: config.auth.clone().or_else(|| userinfo(origin)),
            budget: clients.budget(
                &upstream,
                &origin.origin(),
                config.budget,
                Arc::clone(&metrics),
                clock.clone(),
            ),
            origin: origin.origin(),
            allow_private: config.allow_private,
            timeout: config.timeout,
            proxy_hosts: clients.proxies(config).hosts(),
            clients: clients.clone(),
            upstream,
            metrics,
            clock,
        })
    }

    /// GETs `url`, following redirects, and returns once the head of a successful answer (200, 206, 304) is there.
    ///
    /// Errors name the upstream: `NotFound` for 404 and 410, `UpstreamUnauthorized` for 401, `RateLimited` for 429 and over the
    /// [`Budget`], else `UpstreamUnavailable`, with `retry_after` where the server said so. No progress for the upstream's
    /// `timeout` is an error. Dropping the future or the reply closes the transfer.
    pub async fn get(&self, url: &Url, options: GetOptions) -> Result<Reply> {
        self.persist(options.retry, || self.follow(url, &options))
            .await
    }

    /// Tries until it goes well, the failure is lasting, or enough was tried.
    pub(super) async fn persist<T, F>(
        &self,
        retry: bool,
        mut attempt_once: impl FnMut() -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let end = Instant::now() + self.timeout;
        let mut attempt = 1;
        loop {
            let failure = match attempt_once().await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            let left = end.saturating_duration_since(Instant::now());
            let asked = failure.error.retry_after();
            let backoff = self.clients.backoff();
            let pause = (failure.transient && retry)
                .then(|| backoff.pause(attempt, asked, left))
                .flatten();
            let Some(pause) = pause else {
                return Err(failure.error);
            };
            tracing::debug!(
                upstream.name = &*self.upstream,
                attempt,
                pause_ms = pause.as_millis(),
                "{}; trying again",
                failure.error
            );
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    /// One attempt over all redirects.
    async fn follow(&self, start: &Url, options: &GetOptions) -> Result<Reply, Failure> {
        let object = fault::object(start);
        let outgoing = Outgoing {
            method: Method::GET,
            headers: &options.headers,
            authorization: None,
            body: None,
            cost: options.cost,
        };
        let hops = options.max_redirects;
        let arrived = self.walk(start, outgoing, hops, &object).await?;
        self.accept(arrived, &object)
    }

    /// Sends a request along its redirects, at most `hops`, and says where the answer came from.
    pub(super) async fn walk(
        &self,
        start: &Url,
        mut outgoing: Outgoing<'_>,
        hops: usize,
        object: &str,
    ) -> Result<Arrived, Failure> {
        let place = self.budget.place(outgoing.cost, self.timeout).await;
        let place = place.map_err(Failure::lasting)?;
        let mut url = start.clone();
        url.set_fragment(None);
        let mut seen = Vec::new();
        loop {
            let response = self.send(&url, &outgoing, object).await?;
            if hops == 0 || !is_redirect(response.status()) {
                return Ok(Arrived {
                    response,
                    url,
                    place,
                });
            }
            let next = self
                .redirected(&url, &response, object)
                .map_err(Failure::lasting)?;
            if next.origin() != url.origin() {
                // For good: whoever leads back must not get them either.
                outgoing.authorization = None;
            }
            seen.push(url);
            if seen.contains(&next) {
                return Err(self.lost(object, "redirects in a circle"));
            }
            if seen.len() > hops {
                return Err(self.lost(object, "redirects too often"));
            }
            url = next;
        }
    }

    /// One request, until the head of its answer.
    async fn send(
        &self,
        url: &Url,
        outgoing: &Outgoing<'_>,
        object: &str,
    ) -> Result<reqwest::Response, Failure> {
        self.check(url, object).map_err(Failure::lasting)?;
        let at_home = url.origin() == self.origin;
        let client = if at_home { &self.at_home } else { &self.abroad };
        let auth = match &self.auth {
            Some(auth) if at_home => Some(auth.clone()),
            _ => userinfo(url),
        };
        let mut request = client
            .request(outgoing.method.clone(), anonymous(url))
            .headers(outgoing.headers.clone());
        request = match (&auth, outgoing.authorization) {
            (_, Some(value)) => request.header(header::AUTHORIZATION, value.clone()),
            (Some(UpstreamAuth::Basic(user, password)), None) => {
                request.basic_auth(user, Some(password.reveal()))
            }
            (Some(UpstreamAuth::Bearer(token)), None) => request.bearer_auth(token.reveal()),
            (None, None) => request,
        };
        if let Some(body) = outgoing.body {
            request = request.body(body.clone());
        }
        let charge = match at_home {
            true => self.budget.charge(outgoing.cost),
            false => Ok(None),
        };
        let charge = charge.map_err(Failure::lasting)?;
        let answer = tokio::time::timeout(self.timeout, request.send()).await;
        let code = match &answer {
            Ok(Ok(response)) => Some(response.status().as_u16()),
            _ => None,
        };
        self.metrics.upstream_request(&self.upstream, code);
        match (&answer, charge) {
            (Ok(Ok(response)), Some(charge)) => {
                charge.answered(response.status(), response.headers());
            }
            (Ok(Ok(response)), None) if at_home => self.budget.learn(response.headers()),
            (Ok(Err(error)), Some(charge)) if error.is_connect() => charge.undone(),
            _ => {}
        }
        match answer {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(fault::transport(&self.upstream, object, url, error)),
            // Not tried again: it has had its time.
            Err(_) => Err(Failure::lasting(Error::unavailable(format!(
                "upstream `{}` did not answer for {object} within {:?}",
                self.upstream, self.timeout
            )))),
        }
    }

    /// What must be true of every URL before anything is sent to it.
    fn check(&self, url: &Url, object: &str) -> Result<()> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "upstream `{}` names a `{}://` URL for {object}, which is not supported yet",
                    self.upstream,
                    url.scheme()
                ),
            ));
        }
        if self.allow_private {
            return Ok(());
        }
        guard::check(url).map_err(|refused| fault::refusal(&self.upstream, object, &refused))?;
        let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
        if self.proxy_hosts.contains(&host) {
            return Err(Error::unavailable(format!(
                "upstream `{}` leads to the egress proxy itself (`{host}`) for {object}",
                self.upstream
            )));
        }
        Ok(())
    }

    /// Where a redirect leads.
    fn redirected(&self, from: &Url, response: &reqwest::Response, object: &str) -> Result<Url> {
        let location = response
            .headers()
            .get(header::LOCATION)
            .and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
        let next = location.and_then(|location| from.join(location).ok());
        let Some(mut next) = next else {
            return Err(Error::unavailable(format!(
                "upstream `{}` redirects {object} to nowhere ({} without a usable Location)",
                self.upstream,
                response.status().as_u16()
            )));
        };
        next.set_fragment(None);
        if from.scheme() == "https" && next.scheme() == "http" {
            return Err(Error::unavailable(format!(
                "upstream `{}` redirects {object} from https to plain http at `{}`, which is refused",
                self.upstream,
                next.host_str().unwrap_or_default()
            )));
        }
        Ok(next)
    }

    fn accept(&self, arrived: Arrived, object: &str) -> Result<Reply, Failure> {
        let response = &arrived.response;
        let status = response.status();
        if !matches!(status.as_u16(), 200 | 206 | 304) {
            let after = retry_after(response.headers(), &self.clock);
            // A shorter pause is made by whoever tries again.
            if status == StatusCode::TOO_MANY_REQUESTS
                && arrived.url.origin() == self.origin
                && let Some(after) = after
                && after > self.clients.backoff().longest_pause()
            {
                self.budget.rest(after);
            }
            return Err(fault::status(&self.upstream, object, status, after));
        }
        let headers = response.headers().clone();
        Ok(Reply {
            status,
            headers,
            url: anonymous(&arrived.url),
            body: self.watched(arrived, object),
        })
    }

    /// The body of an answer, watched for stalls and wrong lengths.
    pub(super) fn watched(&self, arrived: Arrived, object: &str) -> ByteStream {
        let Arrived {
            response, place, ..
        } = arrived;
        let is_wanted = matches!(response.status().as_u16(), 200 | 206);
        let context = BodyContext {
            source: format!("upstream `{}`", self.upstream),
            object: object.to_owned(),
            stall: self.timeout,
            // What else is said is short, and whoever reads it may have to ask something else before.
            _place: place.filter(|_| is_wanted),
        };
        reply::body(response, context)
    }

    /// What the upstream is asked, and how much more it may be.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    pub(super) fn upstream(&self) -> &Arc<str> {
        &self.upstream
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    fn lost(&self, object: &str, how: &str) -> Failure {
        Failure::lasting(Error::unavailable(format!(
            "upstream `{}` {how} for {object}",
            self.upstream
        )))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}
