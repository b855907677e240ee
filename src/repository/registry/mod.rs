//! Registries: the parts of a tenant's expression that answer for manifests and blobs.
//!
//! Every one answers the same questions ([`RegistryRepository`]); writes exist only on the store itself. A name is the client's,
//! relative to the part that is asked. Nobody above can tell hosted from proxied content.

mod elsewhere;
pub mod flight;
pub mod group;
pub mod hosted;
mod memory;
pub mod proxy;
pub mod rules;
pub mod view;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub use self::group::{RegistryGroup, ReservesNames};
pub use self::hosted::HostedRegistryRepository;
pub use self::proxy::ProxyRegistry;
pub use self::rules::NameRules;
pub use self::view::RegistryView;
use super::{Artifact, Origin};
use crate::error::Result;
use crate::oci::{Descriptor, Digest, ManifestType, Reference, RepoName, Tag};

/// A source of images and artifacts: the hosted part of a tenant, one cached upstream, or ordered members seen as one.
///
/// Errors of all questions: `NotFound` is a fact. `RateLimited`, `UpstreamUnavailable` and `UpstreamUnauthorized` mean that nobody
/// could say, and nothing that may be served is held; they never become `NotFound`. Cancel-safe: what is being fetched goes on.
#[async_trait]
pub trait RegistryRepository: Debug + Send + Sync {
    /// What people call it: an upstream's name, `hosted`, or the tenant of a group.
    fn label(&self) -> &Arc<str>;

    /// A manifest by tag or digest, its bytes verified.
    async fn manifest(&self, name: &RepoName, reference: &Reference) -> Result<FoundManifest>;

    /// A blob that this repository may show. Its length is known, or its bytes are on their way; the bytes of one that is not held
    /// are not fetched before [`Artifact::body`] is called, so that HEAD costs nothing more.
    async fn blob(&self, name: &RepoName, digest: &Digest) -> Result<Artifact>;

    /// All tags, sorted by bytes. A repository without tags is empty, one that does not exist is `NotFound`.
    async fn tags(&self, name: &RepoName) -> Result<Listed<Tag>>;

    /// All manifests whose subject is `digest`, whether or not there is such a manifest. Never `NotFound`.
    async fn referrers(&self, name: &RepoName, digest: &Digest) -> Result<Listed<Descriptor>>;

    /// The repositories that are known without asking anybody, sorted.
    async fn catalog(&self) -> Result<Vec<RepoName>>;

    /// Whether rules let the repository in; whether there is one is another question. In memory.
    fn shows(&self, _name: &RepoName) -> bool {
        true
    }

    /// Whether it is known, without asking anybody, that this repository has the digest. In memory.
    fn links(&self, name: &RepoName, digest: &Digest) -> bool;
}

/// A manifest.
#[derive(Clone, Debug)]
pub struct FoundManifest {
    /// The digest of `bytes`: the one asked for, else the one that the source uses.
    pub digest: Digest,
    /// The type that it was stored or served with; helm's manifests do not say it themselves.
    pub media_type: ManifestType,
    /// The document, byte for byte.
    pub bytes: Bytes,
    /// How the answer came about.
    pub source: Source,
}

/// A complete list.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    /// The items, sorted.
    pub items: Arc<[T]>,
    /// How the answer came about.
    pub source: Source,
}

/// How an answer came about, for its headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it came from.
    pub origin: Origin,
    /// Time since the upstream last confirmed it, for tags and lists of upstreams.
    pub age: Option<Duration>,
    /// Why something older than it should be is served: the text of `Warning: 299`. With it `X-Cache` says `stale`.
    pub stale: Option<Arc<str>>,
}

impl Source {
    /// Of something that cannot get old.
    pub fn of(origin: Origin) -> Self {
        Self {
            origin,
            age: None,
            stale: None,
        }
    }
}
