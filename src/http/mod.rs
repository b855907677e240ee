//! A small vocabulary for requests and responses, independent of the server and of the client library.
//!
//! Knows nothing about charts or tenants; [`conditional`] and [`range`] hold the RFC 9110 rules.

pub mod body;
pub mod conditional;
pub mod encoding;
pub mod file;
mod host;
pub mod range;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

pub use self::body::{Body, ByteStream};
pub use self::file::FileReader;
pub use self::host::Authority;
use crate::error::Result;

/// A request's head. The body is handed to handlers beside it, because reading it needs the connection.
#[derive(Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path as sent: percent-encoded, starting with `/`, never containing `?`.
    pub path: String,
    /// The query without `?`, as sent.
    pub query: Option<String>,
    /// All header fields.
    pub headers: HeaderMap,
    /// Which host it was sent to, as the client wrote it: of an absolute target or `:authority`, else the `Host` field. Where a
    /// trusted proxy says so, the one that the client sent it to.
    pub host: Option<String>,
    /// Whether its connection to this process is encrypted, or that to the trusted proxy which says so.
    pub secure: bool,
    /// The client's address: the peer's, or the one that trusted proxies tell (with port 0 where they tell none). Absent on Unix
    /// sockets otherwise.
    pub peer: Option<SocketAddr>,
    /// The subject of a verified client certificate, where the listener asks for one.
    pub certificate_subject: Option<Arc<str>>,
    /// The `X-Request-Id` of this request: the client's, where acceptable, else a new one.
    pub id: String,
    /// What the access log and the metrics say about it; written once, by whoever knows.
    pub account: OnceLock<Account>,
}

/// What is known about a request after it was answered.
#[derive(Clone, Debug)]
pub struct Account {
    /// The route's label; `none` where the path meant nothing.
    pub route: &'static str,
    /// The label of the tenant that it was admitted to. Names that anybody may invent do not appear here, so it may label a
    /// metric.
    pub tenant: Option<Arc<str>>,
    /// Who asked, for the log; empty where nobody got as far as to ask.
    pub identity: Cow<'static, str>,
}

impl Request {
    /// The value of header `name` where it is visible ASCII.
    pub fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Which host it was sent to, where that is one that can be dialled.
    pub fn authority(&self) -> Option<Authority<'_>> {
        self.host.as_deref().and_then(Authority::parse)
    }

    /// Whether the query has `key`, with or without a value.
    pub fn query_has(&self, key: &str) -> bool {
        self.query_pairs().any(|(name, _)| name == key)
    }

    /// About how many bytes it has: the head as HTTP/1.1 would write it, and the body where its length was announced.
    pub fn size(&self) -> u64 {
        let line = self.method.as_str().len() + self.path.len() + " HTTP/1.1\r\n\r\n".len();
        let query = self.query.as_ref().map_or(0, |query| query.len() + 1);
        let fields = self.headers.iter();
        let fields: usize = fields
            .map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len())
            .sum();
        let body = self.header(header::CONTENT_LENGTH);
        let body = body.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        body.saturating_add((line + query + fields) as u64)
    }

    /// The decoded pairs of the query, in order.
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        url::form_urlencoded::parse(self.query.as_deref().unwrap_or_default().as_bytes())
    }
}

/// A request body, read chunk by chunk. Dropping it unread is fine: the server drains what is left.
#[async_trait]
pub trait RequestBody: Send {
    /// The next chunk, or `None` at the end. Errors: the peer left, or sent nothing for too long.
    async fn chunk(&mut self) -> Result<Option<Bytes>>;

    /// The announced length, where the request has one.
    fn length(&self) -> Option<u64>;
}

/// How many header fields an answer has room for at once.
const HEADERS: usize = 12;

/// A response. The server adds `Date`, `Connection` and the framing.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// Header fields, without `Content-Length`: that follows from the body (see [`Body::length`]).
    pub headers: HeaderMap,
    /// The body. For a HEAD request handlers answer as for GET; the server sends the length and no bytes.
    pub body: Body,
}

impl Response {
    /// A response with this status and body and no header fields.
    pub fn new(status: StatusCode, body: impl Into<Body>) -> Self {
        Self {
            status,
            // Room for what handlers and the server add, so that it never grows.
            headers: HeaderMap::with_capacity(HEADERS),
            body: body.into(),
        }
    }

    /// Adds a header field; a value that is not allowed in a header is left out.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        if let Ok(value) = value.try_into() {
            self.headers.insert(name, value);
        }
        self
    }

    /// Plain text, ended by a line feed.
    pub fn text(status: StatusCode, text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.push('\n');
        Self::new(status, Bytes::from(text))
            .with_header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
    }

    /// A JSON document.
    pub fn json(status: StatusCode, value: &impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(value).unwrap_or_else(|_| b"{}".to_vec());
        Self::new(status, Bytes::from(body))
            .with_header(header::CONTENT_TYPE, "application/json; charset=utf-8")
    }
}
