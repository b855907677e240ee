//! The way to one service whose protocol somebody else speaks: any method, any answer, our rules of dialling.
//!
//! [`Client`](super::Client) is for GETs whose answers mean something here. An object store's signed requests are made and
//! understood by another library; what this adds is where connections may go, how long they may stall, and what went wrong.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use tokio::sync::Semaphore;
use url::Url;

use super::clients::{Clients, Identity};
use super::fault::{self, Failure};
use super::reply::{self, BodyContext};
use super::retry::retry_after;
use super::{guard, tls};
use crate::clock::Clock;
use crate::config;
use crate::error::{Error, Result};
use crate::http::{ByteStream, HeaderMap, Method, StatusCode, header};

/// The way to one service. Redirects are not followed: their answer is handed on.
pub struct Transport {
    /// What messages call the service: `` s3 bucket `charts` ``.
    label: Arc<str>,
    client: Arc<reqwest::Client>,
    /// To metadata services, which no proxy may see.
    direct: Arc<reqwest::Client>,
    allow_private: bool,
    timeout: Duration,
    clients: Clients,
    /// How many requests may wait for their answers at a time. Bodies that are being read do not count: a slow reader must not
    /// keep others from asking.
    permits: Semaphore,
    clock: Clock,
}

/// A request. Its content is sent again as often as needed, so it is in memory.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// Absolute, http or https.
    pub url: String,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// An answer with any status.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The bytes as they are on the wire. They fail when the connection ends before the announced end or stalls.
    pub body: ByteStream,
}

impl Transport {
    /// The way to the service that messages call `label`. Must be called inside the runtime that will use it.
    ///
    /// Errors: files of the `tls` section that cannot be read or understood, a proxy that is none.
    pub fn new(
        clients: &Clients,
        config: &config::Client,
        label: Arc<str>,
        clock: Clock,
    ) -> Result<Self> {
        let named = |error: Error| {
            Error::new(error.kind(), format!("{label}: {}", error.message())).with_source(error)
        };
        let identity = Identity::read(config).map_err(named)?;
        Ok(Self {
            client: clients.client(config, identity.as_ref()).map_err(named)?,
            direct: clients.direct().map_err(named)?,
            allow_private: config.allow_private,
            timeout: if config.timeout.is_zero() {
                DEFAULT_TIMEOUT
            } else {
                config.timeout
            },
            clients: clients.clone(),
            permits: Semaphore::new(MAX_WAITING),
            label,
            clock,
        })
    }

    /// How long anything may go without progress.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The pause before the attempt after the `attempt`th (1-based), or `None` when enough was tried; see
    /// [`Retries`](super::Retries).
    pub fn pause(&self, attempt: u32, asked: Option<Duration>, left: Duration) -> Option<Duration> {
        self.clients.backoff().pause(attempt, asked, left)
    }

    /// Sends one request and waits for the head of its answer. Dropping the future or the answer closes the transfer.
    ///
    /// Errors name the service. No progress for [`Transport::timeout`] is one that is not transient: it has had its time.
    pub async fn send(&self, request: Outgoing) -> Result<Answer, Failure> {
        let url = Url::parse(&request.url).map_err(|_| {
            Failure::lasting(Error::invalid(format!(
                "{}: its `endpoint` does not make a URL; write one such as `https://storage.example.com`",
                self.label
            )))
        })?;
        let is_metadata = url
            .host_str()
            .is_some_and(|host| METADATA_HOSTS.contains(&host));
        if !is_metadata && !self.allow_private {
            guard::check(&url).map_err(|refused| Failure::lasting(self.refusal(&refused)))?;
        }
        let (client, limit) = match is_metadata {
            true => (&self.direct, METADATA_TIMEOUT),
            false => (&self.client, self.timeout),
        };
        let waiting = tokio::time::timeout(limit, self.permits.acquire());
        let Ok(Ok(_permit)) = waiting.await else {
            return Err(Failure::lasting(Error::unavailable(format!(
                "{} is asked too much at a time; nothing was free for {limit:?}",
                self.label
            ))));
        };
        let object = fault::object(&url);
        let progress = Arc::new(AtomicU64::new(0));
        let is_head = request.method == Method::HEAD;
        let mut headers = request.headers;
        if request.body.len() > PIECE {
            // A stream does not know its length.
            headers.insert(header::CONTENT_LENGTH, request.body.len().into());
        }
        let sending = client.request(request.method, url.clone()).headers(headers);
        let sending = match request.body {
            empty if empty.is_empty() => sending,
            body if body.len() <= PIECE => sending.body(body),
            body => sending.body(pieces(body, Arc::clone(&progress))),
        };
        let answer = tokio::select! {
            answer = sending.send() => answer,
            () = stalled(&progress, limit) => {
                return Err(Failure::lasting(Error::unavailable(format!(
                    "{} did not answer for {object} within {limit:?}",
                    self.label
                ))));
            }
        };
        let response = answer.map_err(|error| self.unreachable(&url, error))?;
        let headers = response.headers().clone();
        let context = BodyContext {
            source: format!("{}", self.label),
            object,
            stall: self.timeout,
            _place: None,
        };
        Ok(Answer {
            status: response.status(),
            retry_after: retry_after(&headers, &self.clock),
            headers,
            body: match is_head {
                true => ByteStream::once(Bytes::new()),
                false => reply::body(response, context),
            },
        })
    }

    fn unreachable(&self, url: &Url, error: reqwest::Error) -> Failure {
        // The library's own text repeats the URL, whose query may be a signature.
        let error = error.without_url();
        if let Some(refused) =
            tls::chain(&error).find_map(|cause| cause.downcast_ref::<guard::Refused>())
        {
            return Failure::lasting(self.refusal(refused));
        }
        let place = fault::place(url);
        match tls::complaint(&error) {
            Some(complaint) => Failure::lasting(
                Error::unavailable(format!(
                    "{} is not trusted at `{place}`: {complaint}",
                    self.label
                ))
                .with_source(error),
            ),
            None => Failure {
                undone: error.is_connect(),
                transient: true,
                error: Error::unavailable(format!(
                    "{} cannot be reached at `{place}`: {}",
                    self.label,
                    fault::cause(&error)
                ))
                .with_source(error),
            },
        }
    }

    fn refusal(&self, refused: &guard::Refused) -> Error {
        Error::unavailable(format!(
            "{} is at a private address: {refused}; set `allow_private: true` if that is intended",
            self.label
        ))
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// `body` in pieces, each of which is progress.
fn pieces(body: Bytes, progress: Arc<AtomicU64>) -> reqwest::Body {
    let pieces = stream::unfold(body, move |mut left| {
        let progress = Arc::clone(&progress);
        async move {
            if left.is_empty() {
                return None;
            }
            progress.fetch_add(1, Ordering::Relaxed);
            let piece = left.split_to(left.len().min(PIECE));
            Some((Ok::<_, Infallible>(piece), left))
        }
    });
    reqwest::Body::wrap_stream(pieces)
}

/// Returns when nothing has moved for `limit`.
async fn stalled(progress: &AtomicU64, limit: Duration) {
    let mut seen = progress.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(limit).await;
        let now = progress.load(Ordering::Relaxed);
        if now == seen {
            return;
        }
        seen = now;
    }
}

const PIECE: usize = 256 << 10;

const MAX_WAITING: usize = 64;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Where clouds tell their machines about themselves; credential chains ask them by these very names. They are on the machine's
/// own link and answer at once or are not there.
const METADATA_HOSTS: &[&str] = &[
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "[fd00:ec2::254]",
    "[fd00:ec2::23]",
    "100.100.100.200",
    "metadata.google.internal",
    "metadata.tencentyun.com",
];

const METADATA_TIMEOUT: Duration = Duration::from_secs(2);
