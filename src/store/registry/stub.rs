//! The questions and changes, not answered yet.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::{HostedRegistry, StoredBlob};
use crate::digest;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::{Descriptor, Digest, ManifestType, Reference, RepoName, Tag};

/// What a manifest is pushed as.
#[derive(Clone, Debug)]
pub enum Target {
    /// `PUT …/manifests/<tag>`
    Tag(Tag),
    /// `PUT …/manifests/<digest>?tag=…`
    Digest(Digest, Vec<Tag>),
}

/// A manifest that was pushed.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// Its digest, as it was named, else its SHA-256.
    pub digest: Digest,
    /// What it refers to (`OCI-Subject`).
    pub subject: Option<Digest>,
    /// The tags that mean it now.
    pub tags: Vec<Tag>,
}

/// A manifest.
#[derive(Clone, Debug)]
pub struct StoredManifest {
    /// Its digest.
    pub digest: Digest,
    /// The type that it was pushed with.
    pub media_type: ManifestType,
    /// The document.
    pub bytes: Bytes,
}

/// A blob whose bytes are stored already.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// What it will be called.
    pub digest: Digest,
    /// The SHA-256 of its bytes.
    pub content: digest::Digest,
    /// Bytes.
    pub size: u64,
}

/// Where a mounted blob may come from.
pub enum Mounted<'a> {
    /// `from=`: this repository of the tenant, which the caller may read.
    From(&'a RepoName),
    /// No `from`: any repository of the tenant for which this is true.
    Any(&'a (dyn Fn(&RepoName) -> bool + Send + Sync)),
}

impl fmt::Debug for Mounted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(name) => f.debug_tuple("From").field(name).finish(),
            Self::Any(_) => f.write_str("Any"),
        }
    }
}

/// How much a tenant holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of all distinct contents.
    pub bytes: u64,
    /// How many those are.
    pub contents: u64,
}

fn later<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "not there yet"))
}

impl HostedRegistry {
    /// A manifest by tag or digest, its bytes verified.
    pub async fn manifest(self: &Arc<Self>, _: &RepoName, _: &Reference) -> Result<StoredManifest> {
        later()
    }
    /// A blob, or a manifest as one.
    pub async fn blob(self: &Arc<Self>, _: &RepoName, _: &Digest) -> Result<StoredBlob> {
        later()
    }
    /// Whether there is such a repository.
    pub async fn has(self: &Arc<Self>, _: &RepoName) -> Result<bool> {
        later()
    }
    /// All tags, sorted.
    pub async fn tags(self: &Arc<Self>, _: &RepoName) -> Result<Arc<[Tag]>> {
        later()
    }
    /// All manifests with this subject, sorted by digest.
    pub async fn referrers(
        self: &Arc<Self>,
        _: &RepoName,
        _: &Digest,
    ) -> Result<Arc<[Descriptor]>> {
        later()
    }
    /// All repositories, sorted.
    pub async fn catalog(self: &Arc<Self>) -> Result<Vec<RepoName>> {
        later()
    }
    /// Stores a manifest.
    pub async fn put_manifest(
        self: &Arc<Self>,
        _: &RepoName,
        _: Target,
        _content_type: Option<&str>,
        _: Bytes,
    ) -> Result<Pushed> {
        later()
    }
    /// Removes a tag, or a manifest with all its tags.
    pub async fn delete_manifest(self: &Arc<Self>, _: &RepoName, _: &Reference) -> Result<()> {
        later()
    }
    /// Removes a blob from the repository.
    pub async fn delete_blob(self: &Arc<Self>, _: &RepoName, _: &Digest) -> Result<()> {
        later()
    }
    /// Shows a blob of another repository in this one; whether that was possible.
    pub async fn mount(
        self: &Arc<Self>,
        _: &RepoName,
        _: &Digest,
        _from: Mounted<'_>,
    ) -> Result<bool> {
        later()
    }
    /// Shows a blob whose bytes are stored (`RegistryStore::publish_blob`).
    pub async fn link_blob(self: &Arc<Self>, _: &RepoName, _: Received) -> Result<()> {
        later()
    }
    /// How much the tenant holds.
    pub async fn usage(self: &Arc<Self>) -> Result<Usage> {
        later()
    }
}
