//! Single exchanges of any method, whose every answer is for the caller to judge.
//!
//! [`Client::get`] decides what statuses mean and sends the upstream's credentials by itself. Protocols with rules of their own
//! about both, such as registries with their tokens, use [`Client::exchange`]; redirects, addresses, TLS and retries are the
//! same for both.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use url::Url;

use super::budget::Cost;
use super::client::{Arrived, Client, Outgoing};
use super::credentials::anonymous;
use super::fault;
use super::retry::retry_after;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{ByteStream, HeaderMap, HeaderValue, Method, StatusCode, header};

/// A request.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Its method; kept over redirects.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Header fields, sent on every hop.
    pub headers: HeaderMap,
    /// `Authorization`: sent to the origin of `url` only. Once a redirect has left it, it is not sent again.
    pub authorization: Option<HeaderValue>,
    /// The body; with one, redirects are never followed.
    pub body: Option<Bytes>,
    /// Whether failures that may pass (no connection, 502, 503, 504) are tried again.
    pub retry: bool,
    /// How many redirects are followed; 0: none, the redirect is the answer.
    pub max_redirects: usize,
    /// What messages call the thing that is asked for; default: the last part of the path.
    pub object: String,
    /// What it costs of the upstream's budget.
    pub cost: Cost,
}

impl Exchange {
    /// A request without credentials and body that follows five redirects.
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            object: fault::object(&url),
            url,
            headers: HeaderMap::new(),
            authorization: None,
            body: None,
            retry: true,
            max_redirects: 5,
            cost: Cost::Counted,
        }
    }

    /// With one more header field.
    #[must_use]
    pub fn with(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// An answer of any status.
#[derive(Debug)]
pub struct Response {
    /// Its status; never a redirect that was followed.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Where it came from, after redirects; without credentials.
    pub url: Url,
    /// Whether it came from the origin that was asked.
    pub at_home: bool,
    /// The bytes as they are on the wire, watched as those of [`Reply`](super::Reply). Empty for HEAD and 304.
    pub body: ByteStream,
}

impl Response {
    /// A header's text.
    pub fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All bytes of the body, at most `limit`. `None`: there are more.
    pub async fn bytes(mut self, limit: usize) -> Result<Option<Bytes>> {
        if self.body.length.is_some_and(|length| length > limit as u64) {
            return Ok(None);
        }
        let mut all = Vec::new();
        while let Some(chunk) = self.body.next().await {
            let chunk = chunk?;
            if all.len() + chunk.len() > limit {
                return Ok(None);
            }
            all.extend_from_slice(&chunk);
        }
        Ok(Some(all.into()))
    }

    /// Reads over a short body, so that its connection can be used again. Errors do not matter: it was not wanted.
    pub async fn discard(self) {
        let _ = tokio::time::timeout(PATIENCE, self.bytes(DISCARDED)).await;
    }
}

impl Client {
    /// Sends a request and returns with the head of the answer, whatever its status.
    ///
    /// Errors: no answer, a redirect that may not be followed, or a budget that is used up ([`is_held_back`](super::is_held_back)).
    /// Dropping the future or the answer closes the transfer.
    pub async fn exchange(&self, exchange: &Exchange) -> Result<Response> {
        let object = &exchange.object;
        // An answer that may pass is a failure to try again, and an answer when there is no next try.
        let last = Mutex::new(None);
        let outcome = self.persist(exchange.retry, || {
            last.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.once(exchange, object, &last)
        });
        let outcome = outcome.await;
        match last.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(answer) => Ok(answer),
            // A redirect to what is no http: the upstream's mistake, and nothing that this gateway might do one day.
            None => outcome.map_err(|error| match error.kind() {
                ErrorKind::Unsupported => Error::unavailable(error.message().to_owned()),
                _ => error,
            }),
        }
    }

    /// One attempt over all redirects. 502, 503 and 504 are failures whose answer is left in `last`.
    async fn once(
        &self,
        exchange: &Exchange,
        object: &str,
        last: &Mutex<Option<Response>>,
    ) -> Result<Response, fault::Failure> {
        let home = exchange.url.origin();
        let outgoing = Outgoing {
            method: exchange.method.clone(),
            headers: &exchange.headers,
            authorization: exchange.authorization.as_ref(),
            body: exchange.body.as_ref(),
            cost: exchange.cost,
        };
        let hops = match exchange.body {
            Some(_) => 0,
            None => exchange.max_redirects,
        };
        let arrived = self.walk(&exchange.url, outgoing, hops, object).await?;
        let Arrived { response, url, .. } = &arrived;
        let status = response.status();
        let answer = Response {
            status,
            at_home: url.origin() == home,
            url: anonymous(url),
            headers: response.headers().clone(),
            body: match exchange.method {
                Method::HEAD => ByteStream::once(Bytes::new()),
                _ => self.watched(arrived, object),
            },
        };
        if matches!(status.as_u16(), 502..=504) {
            let after = retry_after(&answer.headers, self.clock());
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
            return Err(fault::status(self.upstream(), object, status, after));
        }
        Ok(answer)
    }

    /// How long the server asks to be left alone.
    pub fn retry_after(&self, headers: &HeaderMap) -> Option<Duration> {
        retry_after(headers, self.clock())
    }

    /// An error of this upstream about its answers.
    pub fn useless(&self, what: impl std::fmt::Display) -> Error {
        Error::unavailable(format!("upstream `{}` {what}", self.upstream()))
    }
}

/// Bodies of errors are a few hundred bytes; a connection is not worth more than this.
const DISCARDED: usize = 16 << 10;
/// A new connection is there sooner.
const PATIENCE: Duration = Duration::from_millis(500);
