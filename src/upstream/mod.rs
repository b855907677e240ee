//! Remote sources of charts: an index, and the bytes behind its URLs.
//!
//! The main type is the trait [`Upstream`]; [`build`] makes one from its configuration. [`Helm`] speaks http and https, [`Dir`]
//! reads a folder, [`S3`] a bucket. [`registry`] is the client of OCI registries: no [`Upstream`], because it answers other questions. An upstream
//! only fetches: what is held, how old it may get and what a wrong digest means is decided above.
//! Knows nothing about tenants, caches or routes.

mod dir;
mod edition;
mod files;
mod folder;
mod helm;
mod packages;
pub mod registry;
mod s3;
mod stream;
mod text;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use url::Url;

pub use self::dir::Dir;
pub use self::helm::Helm;
pub use self::s3::S3;
pub use self::text::TextLimits;
use crate::clock::Clock;
use crate::config;
use crate::error::{Error, ErrorKind, Result};
use crate::http::ByteStream;
use crate::index::SourceIndex;
use crate::metrics::Metrics;
use crate::net::{Budget, Clients};

/// One remote source.
///
/// Errors: [`ErrorKind::NotFound`] is a fact (404, 410), `UpstreamUnauthorized` means
/// credentials, and `UpstreamUnavailable` carries no information about the object: keep serving what is held. Every message
/// names the upstream. All futures may be dropped at any point; the transfer then ends.
#[async_trait]
pub trait Upstream: Send + Sync + fmt::Debug {
    /// The name in the configuration.
    fn name(&self) -> &Arc<str>;

    /// Fetches the index unless it is still the one that `held` describes.
    async fn fetch_index(&self, held: Option<&Validators>) -> Result<IndexReply>;

    /// Opens the object behind `url` (absolute, as an index entry has it), from byte `offset` on.
    ///
    /// An `offset` above zero resumes a transfer that broke: it fails with `UpstreamUnavailable` where the source is known to
    /// have changed since, so that two versions are never joined.
    async fn open(&self, url: &str, offset: u64) -> Result<Download>;

    /// How much it may be asked, where it is asked over HTTP.
    fn budget(&self) -> Option<&Arc<Budget>> {
        None
    }

    /// Whether it can be reached and read, and what is there in a few words; for `chartgate check --connect`.
    async fn check(&self) -> Result<String> {
        self.fetch_index(None).await.map(|reply| reply.summary())
    }

    /// Opens the provenance file that belongs to the archive behind `url`.
    async fn open_provenance(&self, url: &str) -> Result<Download> {
        self.open(&provenance_url(url), 0).await
    }
}

/// What identifies one version of an index, to ask "still this one?".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    /// Where the index came from, without credentials. Validators of another place are never sent.
    pub url: String,
    /// The `ETag` with its quotes (and `W/`), as the source gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The `Last-Modified` date, as the source gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

/// What a source says about its index.
#[derive(Debug)]
pub enum IndexReply {
    /// It is still the one that is held.
    NotModified,
    /// The text of an index.yaml, complete and decoded, not yet looked into.
    Text {
        /// The document.
        text: Bytes,
        /// What relative chart URLs resolve against: ends in `/`, and carries the query of the configured URL.
        base: Url,
        /// For the next [`Upstream::fetch_index`].
        validators: Validators,
    },
    /// Entries that were read from the packages themselves.
    Entries {
        /// All of them, with absolute URLs for [`Upstream::open`].
        index: Arc<SourceIndex>,
        /// Files that look like packages and are none.
        broken: Vec<BrokenPackage>,
        /// For the next [`Upstream::fetch_index`].
        validators: Validators,
    },
}

impl IndexReply {
    /// What it is, in a few words.
    fn summary(&self) -> String {
        match self {
            Self::NotModified => "not modified".to_owned(),
            Self::Text { text, .. } => format!("index of {} bytes", text.len()),
            Self::Entries { index, broken, .. } => format!(
                "{} packages without an index, {} of them broken",
                index.versions() + broken.len(),
                broken.len()
            ),
        }
    }
}

/// A file that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenPackage {
    /// Its path inside the folder.
    pub file: String,
    /// What is wrong with it.
    pub reason: Arc<str>,
}

/// An open transfer of one object.
#[derive(Debug)]
pub struct Download {
    /// The length of the whole object, where the source says it.
    pub length: Option<u64>,
    /// The bytes from the asked offset on. An error ends it; a clean end means that everything came.
    pub body: ByteStream,
}

/// Where an upstream finds again what it learnt before a restart. Losing a note costs transfers, nothing else.
#[async_trait]
pub trait Notebook: Send + Sync + fmt::Debug {
    /// The last note of this name.
    async fn read(&self, name: &str) -> Option<Bytes>;

    /// Replaces a note, as a whole.
    async fn write(&self, name: &str, note: Bytes) -> Result<()>;
}

/// A notebook that keeps nothing, for those who look once.
#[derive(Clone, Copy, Debug)]
pub struct NoNotebook;

#[async_trait]
impl Notebook for NoNotebook {
    async fn read(&self, _name: &str) -> Option<Bytes> {
        None
    }

    async fn write(&self, _name: &str, _note: Bytes) -> Result<()> {
        Ok(())
    }
}

/// Makes an upstream from its configuration. Must run inside the runtime that will use it.
///
/// Errors: files of the TLS section that cannot be read or understood; a folder that does not exist is no error yet.
pub fn build(
    config: &config::Upstream,
    clients: &Clients,
    metrics: &Arc<Metrics>,
    clock: &Clock,
    notebook: Arc<dyn Notebook>,
) -> Result<Arc<dyn Upstream>> {
    Ok(match &config.source {
        config::Source::Helm(url) => Arc::new(Helm::new(
            Arc::clone(&config.name),
            url,
            &config.client,
            clients,
            Arc::clone(metrics),
            clock.clone(),
        )?),
        config::Source::Dir(path) => Arc::new(Dir::new(
            Arc::clone(&config.name),
            path.clone(),
            clock.clone(),
        )),
        config::Source::Oci(_) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "upstream `{}` is a registry; name it under `registries`, not under `charts`",
                    config.name
                ),
            ));
        }
        config::Source::Bucket(store) => Arc::new(S3::new(
            Arc::clone(&config.name),
            store,
            clients,
            Arc::clone(metrics),
            clock,
            notebook,
        )?),
    })
}

/// `.prov` belongs to the path: a query stays where it is. (Helm appends it to the whole string, which no server understands.)
fn provenance_url(url: &str) -> String {
    let path_end = url.find(['?', '#']).unwrap_or(url.len());
    format!("{}.prov{}", &url[..path_end], &url[path_end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provenance_lies_beside_the_archive() {
        assert_eq!(
            provenance_url("https://h/a-1.0.0+b%20c.tgz"),
            "https://h/a-1.0.0+b%20c.tgz.prov"
        );
        assert_eq!(
            provenance_url("https://h/a.tgz?raw=true&x=1#f"),
            "https://h/a.tgz.prov?raw=true&x=1#f"
        );
    }
}
