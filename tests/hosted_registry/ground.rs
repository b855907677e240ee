//! A tenant's registry, and what is pushed to it.

use std::sync::Arc;

use bytes::Bytes;
use chartgate::config::HostedRegistry as Settings;
use chartgate::error::{Error, ErrorKind, Result};
use chartgate::names::TenantPath;
use chartgate::oci::{Algorithm, Digest, ManifestType, Reference, RepoName, Tag};
use chartgate::store::registry::{BlobContent, HostedRegistry, Pushed, Target};

use crate::suites::hosted::Ground;

pub(super) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// One tenant, with fresh eyes whenever that is wanted.
pub(super) struct World<'a> {
    pub(super) ground: &'a Ground,
    pub(super) tenant: &'static str,
    pub(super) registry: Arc<HostedRegistry>,
}

impl<'a> World<'a> {
    pub(super) async fn new(ground: &'a Ground, tenant: &'static str) -> Self {
        let registry = open(ground, tenant, Settings::default(), true).await;
        Self {
            ground,
            tenant,
            registry,
        }
    }

    /// The same after a restart.
    pub(super) async fn again(&self) -> Arc<HostedRegistry> {
        open(self.ground, self.tenant, Settings::default(), true).await
    }

    /// The same with other settings, after a restart.
    pub(super) async fn with(&self, settings: Settings, delete: bool) -> Arc<HostedRegistry> {
        open(self.ground, self.tenant, settings, delete).await
    }
}

pub(super) async fn open(
    ground: &Ground,
    tenant: &str,
    settings: Settings,
    delete: bool,
) -> Arc<HostedRegistry> {
    let tenant = TenantPath::parse_any(tenant).expect("a path");
    ground.registries().await.tenant(&tenant, settings, delete)
}

pub(super) fn name(text: &str) -> RepoName {
    RepoName::parse(text).expect("a name")
}

pub(super) fn tag(text: &str) -> Tag {
    Tag::parse(text).expect("a tag")
}

pub(super) fn by_tag(text: &str) -> Reference {
    Reference::Tag(tag(text))
}

pub(super) fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

pub(super) fn kind<T>(result: Result<T>) -> ErrorKind {
    result
        .map(drop)
        .map_err(|error: Error| error.kind())
        .expect_err("an error")
}

/// What points at `bytes`.
pub(super) fn descriptor(media_type: &str, bytes: &[u8]) -> String {
    let (digest, size) = (sha256(bytes), bytes.len());
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
}

/// An image of one layer, and what else stands in it (starting with a comma).
pub(super) fn image(config: &[u8], layer: &[u8], rest: &str) -> Bytes {
    let config = descriptor("application/vnd.example.config", config);
    let layer = descriptor("application/vnd.example.layer", layer);
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","config":{config},"layers":[{layer}]{rest}}}"#
    )
    .into()
}

/// An index of manifests.
pub(super) fn index(manifests: &[&[u8]], rest: &str) -> Bytes {
    let manifests: Vec<_> = manifests
        .iter()
        .map(|manifest| descriptor(IMAGE, manifest))
        .collect();
    let manifests = manifests.join(",");
    format!(r#"{{"schemaVersion":2,"manifests":[{manifests}]{rest}}}"#).into()
}

pub(super) async fn put_blob(registry: &Arc<HostedRegistry>, repo: &str, bytes: &[u8]) -> Digest {
    let (digest, bytes) = (sha256(bytes), Bytes::copy_from_slice(bytes));
    registry
        .put_blob(&name(repo), digest, bytes)
        .await
        .expect("stored");
    digest
}

/// Pushes an image that is another one for another text.
pub(super) async fn push(
    registry: &Arc<HostedRegistry>,
    repo: &str,
    tag: &str,
    text: &str,
) -> Digest {
    let manifest = with_blobs(registry, repo, text, "").await;
    put(registry, repo, by_tag(tag), IMAGE, &manifest)
        .await
        .expect("stored")
        .digest
}

/// An image whose blobs are there.
pub(super) async fn with_blobs(
    registry: &Arc<HostedRegistry>,
    repo: &str,
    text: &str,
    rest: &str,
) -> Bytes {
    let layer = format!("layer of {text}");
    put_blob(registry, repo, b"{}").await;
    put_blob(registry, repo, layer.as_bytes()).await;
    image(b"{}", layer.as_bytes(), rest)
}

pub(super) async fn put(
    registry: &Arc<HostedRegistry>,
    repo: &str,
    reference: Reference,
    media_type: &str,
    bytes: &Bytes,
) -> Result<Pushed> {
    let target = match reference {
        Reference::Tag(tag) => Target::Tag(tag),
        Reference::Digest(digest) => Target::Digest(digest, Vec::new()),
    };
    registry
        .put_manifest(&name(repo), target, Some(media_type), bytes.clone())
        .await
}

/// A manifest as a client gets it: its digest, its type and its bytes.
pub(super) async fn get(
    registry: &HostedRegistry,
    repo: &str,
    reference: Reference,
) -> Result<(Digest, ManifestType, Bytes)> {
    let found = registry.manifest(&name(repo), &reference).await?;
    assert!(found.digest.names(&found.bytes));
    Ok((found.digest, found.media_type, found.bytes))
}

pub(super) async fn tags(registry: &HostedRegistry, repo: &str) -> Vec<String> {
    let tags = registry.tags(&name(repo)).await.expect("a list");
    tags.iter().map(Tag::to_string).collect()
}

/// The bytes of a blob as a client gets them.
pub(super) async fn blob(registry: &HostedRegistry, repo: &str, digest: &Digest) -> Result<Bytes> {
    let stored = registry.blob(&name(repo), digest).await?;
    let mut bytes = Vec::new();
    match stored.body {
        BlobContent::File(mut file) => {
            std::io::Read::read_to_end(&mut file, &mut bytes).expect("readable");
        }
        BlobContent::Object(object) => {
            let mut body = object.open(0).await?;
            while let Some(chunk) = body.next().await {
                bytes.extend_from_slice(&chunk?);
            }
        }
    }
    assert_eq!(bytes.len() as u64, stored.size);
    assert!(digest.names(&bytes));
    Ok(bytes.into())
}
