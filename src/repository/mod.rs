//! Repositories: the parts of a tenant's expression, each of which shows an index and yields bytes.
//!
//! [`hosted::HostedRepository`] owns what users uploaded, [`proxy::Proxy`] is one cached upstream,
//! [`curated::Curated`] a filtered view, [`group::Group`] ordered members seen as one.
//! Nobody above this layer can tell hosted from proxied content.

pub mod curated;
pub mod group;
pub mod hosted;
pub mod proxy;
pub mod registry;
mod views;

use std::fmt::Debug;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::cache::Object;
use crate::digest::Digest;
use crate::error::Result;
use crate::http::{Body, ByteStream};
use crate::index::{Entry, SourceIndex};
use crate::store::Problem;
use crate::upstream::BrokenPackage;

pub use self::group::Group;

/// A source of charts: one member of a group.
#[async_trait]
pub trait ChartRepository: Debug + Send + Sync {
    /// What people call it: an upstream's name, or `hosted`.
    fn label(&self) -> &Arc<str>;

    /// The current index. Cheap; never waits for I/O.
    fn index(&self) -> Arc<SourceIndex>;

    /// A counter that moves whenever [`ChartRepository::index`] returns something else.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Files that look like packages and are none, for the report.
    fn broken(&self) -> Vec<BrokenFile>;

    /// How current the index is.
    fn freshness(&self) -> Freshness;

    /// Why the last attempt to learn or confirm the index failed, while that lasts.
    fn failure(&self) -> Option<String>;

    /// Waits until the index is known or the first attempt to learn it has failed. Cancel-safe.
    async fn settled(&self);

    /// The archive of an entry that this repository's index shows.
    async fn archive(&self, entry: &Arc<Entry>) -> Result<Artifact>;

    /// The provenance file of an entry that this repository's index shows.
    async fn provenance(&self, entry: &Arc<Entry>) -> Result<Artifact>;
}

/// A file that is not listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenFile {
    /// Its name, or its path inside the folder.
    pub file: Arc<str>,
    /// What is wrong with it.
    pub reason: Arc<str>,
}

impl From<BrokenPackage> for BrokenFile {
    fn from(package: BrokenPackage) -> Self {
        Self {
            file: package.file.into(),
            reason: package.reason,
        }
    }
}

impl From<Problem> for BrokenFile {
    fn from(problem: Problem) -> Self {
        Self {
            file: problem.file,
            reason: problem.reason,
        }
    }
}

/// How current a repository's index is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It is the truth, or was confirmed within its `refresh`.
    Fresh {
        /// Time since the last confirmation.
        age: Duration,
    },
    /// The last attempt to confirm it failed; this copy is served meanwhile.
    Stale {
        /// Time since the last confirmation.
        age: Duration,
    },
    /// It was never learned.
    Unknown,
}

/// Where the bytes of an answer came from, as `X-Cache` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Held before the request came.
    Hit,
    /// Fetched for this request (or for another one that runs now).
    Miss,
    /// Uploaded to this gateway.
    Hosted,
}

impl Origin {
    /// The value of `X-Cache`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Hosted => "hosted",
        }
    }
}

/// An archive or provenance file, ready to be sent whole or in part.
#[derive(Debug)]
pub struct Artifact {
    /// The bytes.
    pub content: Content,
    /// Where they came from.
    pub origin: Origin,
    /// The digest that the bytes are known to have (after the last byte, for a running fill).
    pub digest: Option<Digest>,
    /// A sentence for the `Warning` header, where something about the bytes is not as it should be.
    pub warning: Option<String>,
}

/// Where an artifact's bytes are.
#[derive(Debug)]
pub enum Content {
    /// In the cache, or arriving there.
    Cached(Object),
    /// In the hosted store: the open file and its length.
    Stored(Arc<File>, u64),
    /// In memory: a small file of a hosted store in a bucket.
    Bytes(Bytes),
    /// Elsewhere: nothing of it is fetched before a body is asked for.
    Remote(Arc<dyn RemoteContent>),
}

/// Bytes that are fetched when somebody wants them.
#[async_trait]
pub trait RemoteContent: Debug + Send + Sync {
    /// The length in bytes, where it is known before.
    fn length(&self) -> Option<u64>;

    /// The bytes of `range`, as [`Artifact::body`].
    async fn body(&self, range: Range<u64>) -> Result<Body>;
}

impl Artifact {
    /// The length in bytes; `None` for a running fill whose upstream did not say.
    pub fn length(&self) -> Option<u64> {
        match &self.content {
            Content::Cached(object) => object.length(),
            Content::Stored(_, length) => Some(*length),
            Content::Bytes(bytes) => Some(bytes.len() as u64),
            Content::Remote(content) => content.length(),
        }
    }

    /// The bytes of `range`; `0..u64::MAX` is everything.
    pub async fn body(&self, range: Range<u64>) -> Result<Body> {
        match &self.content {
            Content::Cached(object) => object.body(range).await,
            Content::Remote(content) => content.body(range).await,
            Content::Stored(file, length) => {
                Ok(ByteStream::from_file(file.clone(), range.start..range.end.min(*length)).into())
            }
            Content::Bytes(bytes) => {
                let all = bytes.len() as u64;
                let (start, end) = (range.start.min(all), range.end.min(all));
                // Both are within the bytes, and so fit.
                Ok(bytes.slice(start as usize..end.max(start) as usize).into())
            }
        }
    }
}
