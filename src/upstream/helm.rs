//! A chart repository over http or https.
//!
//! Chart bytes come from the URL that the index names, exactly as it is written there: never rebuilt from name and version,
//! never encoded anew. Relative URLs are resolved against the *configured* URL and carry its query, as Helm does it
//! (spec: clients.md §2.4): an index that lies on another host, behind a redirect with a signed URL, still names charts here.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use url::Url;

use super::edition::{Edition, Editions, content_range};
use super::stream::cut;
use super::text::{self, TextLimits};
use super::{Download, IndexReply, Upstream, Validators};
use crate::clock::Clock;
use crate::config;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::http::{ByteStream, HeaderMap, HeaderValue, StatusCode, header};
use crate::metrics::Metrics;
use crate::net::{Client, Clients, GetOptions, Reply};

/// A chart repository over http or https.
pub struct Helm {
    name: Arc<str>,
    base: Url,
    index_url: Url,
    client: Client,
    limits: TextLimits,
    opened: Editions,
}

impl Helm {
    /// A repository whose index is `index.yaml` under `url`; the query of `url` is sent with it.
    ///
    /// Must be called inside the runtime that will use it. Errors: as [`Client::new`].
    pub fn new(
        name: Arc<str>,
        url: &Url,
        config: &config::Client,
        clients: &Clients,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Self> {
        let client = Client::new(clients, config, Arc::clone(&name), url, metrics, clock)?;
        let mut base = url.clone();
        base.set_fragment(None);
        // The client has taken the credentials; they must not get into entries' URLs.
        let _ = base.set_username("");
        let _ = base.set_password(None);
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let mut index_url = base.clone();
        index_url.set_path(&format!("{}index.yaml", base.path()));
        Ok(Self {
            name,
            base,
            index_url,
            client,
            limits: TextLimits::default(),
            opened: Editions::default(),
        })
    }

    /// With other limits for the index.
    #[must_use]
    pub fn with_limits(mut self, limits: TextLimits) -> Self {
        self.limits = limits;
        self
    }

    fn validators(&self, reply: &Reply) -> Validators {
        let text = |name| reply.header(name).map(str::to_owned);
        Validators {
            url: identify(&self.index_url),
            etag: text(header::ETAG),
            last_modified: text(header::LAST_MODIFIED),
        }
    }

    fn useless(&self, what: &str) -> Error {
        Error::unavailable(format!("upstream `{}` {what}", self.name))
    }
}

#[async_trait]
impl Upstream for Helm {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    async fn fetch_index(&self, held: Option<&Validators>) -> Result<IndexReply> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        let held = held.filter(|held| held.url == identify(&self.index_url));
        for (name, value) in held.into_iter().flat_map(|held| {
            [
                (header::IF_NONE_MATCH, held.etag.as_deref()),
                (header::IF_MODIFIED_SINCE, held.last_modified.as_deref()),
            ]
        }) {
            if let Some(value) = value.and_then(|text| HeaderValue::from_str(text).ok()) {
                headers.insert(name, value);
            }
        }
        let conditional = headers.len() > 1;
        let options = GetOptions {
            headers,
            ..GetOptions::default()
        };
        let reply = self.client.get(&self.index_url, options).await?;
        match reply.status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if conditional => return Ok(IndexReply::NotModified),
            other => {
                let answer = format!("answered {} for index.yaml unasked", other.as_u16());
                return Err(self.useless(&answer));
            }
        }
        let validators = self.validators(&reply);
        let text = text::read(&self.name, reply, &self.limits).await?;
        Ok(IndexReply::Text {
            text,
            base: self.base.clone(),
            validators,
        })
    }

    async fn open(&self, url: &str, offset: u64) -> Result<Download> {
        let parsed = Url::parse(url).map_err(|error| {
            self.useless("has an index entry whose URL cannot be understood")
                .with_source(error)
        })?;
        let known = (offset > 0).then(|| self.opened.recall(url)).flatten();
        let mut headers = HeaderMap::new();
        // Digests and lengths are those of the bytes that are there.
        headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
        if offset > 0 {
            if let Ok(range) = HeaderValue::from_str(&format!("bytes={offset}-")) {
                headers.insert(header::RANGE, range);
            }
            if let Some(etag) = known.as_ref().and_then(Edition::strong_etag) {
                headers.insert(header::IF_RANGE, etag.clone());
            }
        }
        let options = GetOptions {
            headers,
            ..GetOptions::default()
        };
        let reply = self.client.get(&parsed, options).await?;
        let range = reply.header(header::CONTENT_RANGE).and_then(content_range);
        let (start, length) = match (reply.status, range) {
            (StatusCode::OK, _) => (0, reply.body.length),
            (StatusCode::PARTIAL_CONTENT, Some((start, total)))
                if start == offset && offset > 0 =>
            {
                (start, total)
            }
            (status, _) => {
                let answer = format!("answered {} to a request for other bytes", status.as_u16());
                return Err(self.useless(&answer));
            }
        };
        let edition = Edition::of(&reply, length);
        match &known {
            Some(known) if known.differs(&edition) => {
                return Err(self.useless("changed an archive while it was being read"));
            }
            _ if offset == 0 => self.opened.remember(url, edition),
            _ => {}
        }
        let body = match offset {
            0 => self.sniffed(reply.body).await?,
            _ => cut(reply.body, offset - start..u64::MAX),
        };
        Ok(Download { length, body })
    }
}

impl Helm {
    /// Looks at the first bytes: nothing in a chart repository starts like a web page, and nothing is empty.
    async fn sniffed(&self, mut body: ByteStream) -> Result<ByteStream> {
        let length = body.length;
        let first = loop {
            match body.next().await.transpose()? {
                Some(chunk) if chunk.is_empty() => {}
                other => break other,
            }
        };
        let Some(first) = first else {
            return Err(self.useless("answered 200 with nothing where an archive should be"));
        };
        if first.trim_ascii_start().starts_with(b"<") {
            return Err(self.useless("answered 200 with a web page where an archive should be"));
        }
        let chunks = stream::iter([Ok(first)]).chain(body.stream);
        Ok(ByteStream::new(chunks, length))
    }
}

/// Queries may hold credentials, so they are not shown.
impl fmt::Debug for Helm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Helm")
            .field("name", &self.name)
            .field("host", &self.base.host_str())
            .finish_non_exhaustive()
    }
}

/// The URL as [`Validators`] keep it: they are written to disk, and a query may be a credential.
fn identify(url: &Url) -> String {
    let Some(query) = url.query() else {
        return url.to_string();
    };
    let mut plain = url.clone();
    plain.set_query(None);
    format!("{plain}?sha256={}", Digest::of(query.as_bytes()).to_hex())
}
