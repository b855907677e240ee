//! A chart repository over http or https.
//!
//! Chart bytes come from the URL that the index names, exactly as it is written there: never rebuilt from name and version,
//! never encoded anew. Relative URLs are resolved against the *configured* URL and carry its query, as Helm does it
//! (spec: clients.md §2.4): an index that lies on another host, behind a redirect with a signed URL, still names charts here.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use url::Url;

use super::files::{HttpFiles, useless};
use super::text::{self, TextLimits};
use super::{Download, IndexReply, Upstream, Validators};
use crate::clock::Clock;
use crate::config;
use crate::digest::Digest;
use crate::error::Result;
use crate::http::{HeaderMap, HeaderValue, StatusCode, header};
use crate::metrics::Metrics;
use crate::net::{Budget, Client, Clients, GetOptions, Reply};

/// A chart repository over http or https.
pub struct Helm {
    name: Arc<str>,
    base: Url,
    index_url: Url,
    files: HttpFiles,
    limits: TextLimits,
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
            files: HttpFiles::new(Arc::clone(&name), client),
            name,
            base,
            index_url,
            limits: TextLimits::default(),
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
}

#[async_trait]
impl Upstream for Helm {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn budget(&self) -> Option<&Arc<Budget>> {
        Some(self.files.client().budget())
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
        let reply = self.files.client().get(&self.index_url, options).await?;
        match reply.status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if conditional => return Ok(IndexReply::NotModified),
            other => {
                let answer = format!("answered {} for index.yaml unasked", other.as_u16());
                return Err(useless(&self.name, &answer));
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
        self.files.open(url, offset).await
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
