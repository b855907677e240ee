//! Manifests: pushed after everything that they name, and read back as they came.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{TryStreamExt as _, stream};

use super::HostedRegistry;
use super::blobs::Presence;
use super::links::{Link, detached, lost};
use super::repo::Repo;
use super::tags::PARALLEL;
use crate::digest;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::{Algorithm, Digest, Manifest, ManifestType, Reference, RepoName, Tag};

/// What a manifest is pushed as.
#[derive(Clone, Debug)]
pub enum Target {
    /// `PUT …/manifests/<tag>`
    Tag(Tag),
    /// `PUT …/manifests/<digest>?tag=…`
    Digest(Digest, Vec<Tag>),
}

/// A manifest that was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// The digest that it was pushed and is linked with.
    pub digest: Digest,
    /// The type that it was pushed with.
    pub media_type: ManifestType,
    /// The document, byte for byte.
    pub bytes: Bytes,
}

impl HostedRegistry {
    /// A manifest by tag or digest, its bytes verified. Errors: `NotFound`.
    ///
    /// What was asked for recently costs no I/O. Cancel-safe.
    pub async fn manifest(&self, name: &RepoName, reference: &Reference) -> Result<StoredManifest> {
        let repo = self.repo(name);
        for _ in 0..MAX_LOOKS {
            let digest = match reference {
                Reference::Digest(digest) => *digest,
                Reference::Tag(tag) => match self.look(&repo, tag).await? {
                    Some(value) => value.digest,
                    None => break,
                },
            };
            if let Some(manifest) = self.linked_manifest(&repo, &digest).await? {
                return Ok(manifest);
            }
            match reference {
                // It was deleted, with this tag, while this looked; or elsewhere, and the tag is what is left in memory.
                Reference::Tag(tag) => repo.change(|state| state.forget(tag)),
                Reference::Digest(_) => break,
            }
        }
        Err(no_manifest(name, reference))
    }

    /// The manifest that the repository shows as `digest`.
    pub(super) async fn linked_manifest(
        &self,
        repo: &Repo,
        digest: &Digest,
    ) -> Result<Option<StoredManifest>> {
        for _ in 0..2 {
            let Some(link) = self.look(repo, digest).await? else {
                return Ok(None);
            };
            let Some(media_type) = link.kind() else {
                return Ok(None);
            };
            if let Some(bytes) = self.store.read_blob(&link.content()?, link.size).await? {
                return Ok(Some(StoredManifest {
                    digest: *digest,
                    media_type,
                    bytes,
                }));
            }
            // Deleted and swept elsewhere, unless the place says that it is still linked.
            repo.change(|state| state.forget(digest));
        }
        Err(lost(digest))
    }

    /// Stores a manifest, and makes tags mean it. Durable when this returns, visible as a whole.
    ///
    /// Errors: `Invalid` for what is no manifest of the type that `content_type` says; `NotFound` where something that it needs
    /// is not in the repository; `DigestMismatch` where it is named by another digest; `TooLarge`; `QuotaExceeded`; `Conflict`
    /// for a tag that may not change. Once it has begun it goes on to its end, whether or not somebody waits.
    pub async fn put_manifest(
        self: &Arc<Self>,
        name: &RepoName,
        target: Target,
        content_type: Option<&str>,
        bytes: Bytes,
    ) -> Result<Pushed> {
        let limit = usize::try_from(self.settings.max_manifest).unwrap_or(usize::MAX);
        let manifest = Manifest::inspect(content_type, &bytes, limit)?;
        let (digest, tags) = named(target, &bytes)?;
        let (this, repo) = (Arc::clone(self), self.repo(name));
        detached(async move {
            let _writer = repo.writer.lock().await;
            this.check_references(&repo, &manifest).await?;
            // Before anything is written: what is refused leaves nothing.
            if this.settings.immutable_tags {
                let now = this.current(&repo, &tags).await?;
                this.check_immutable(&now, digest)?;
            }
            this.store_manifest(&repo, &manifest, digest, bytes).await?;
            this.point(&repo, &tags, digest).await?;
            Ok(Pushed {
                digest,
                subject: manifest.subject.map(|subject| subject.digest),
                tags,
            })
        })
        .await
    }

    /// Bytes, link and entry among the referrers of its subject, in this order: what a crash leaves is not seen, or is whole.
    async fn store_manifest(
        &self,
        repo: &Repo,
        manifest: &Manifest,
        digest: Digest,
        bytes: Bytes,
    ) -> Result<()> {
        let (content, size) = (digest::Digest::of(&bytes), bytes.len() as u64);
        let kind = Some(manifest.media_type);
        let link = Link::new(content, size, kind, self.store.clock.now());
        let presence = self.store.put_bytes(&content, bytes).await?;
        self.add_link(repo, digest, link, presence).await?;
        let added = self.add_referrer(repo, manifest, digest, size).await;
        repo.change(|_| added)
    }

    /// Errors: `NotFound` with the first thing that the manifest needs and the repository does not show.
    async fn check_references(&self, repo: &Repo, manifest: &Manifest) -> Result<()> {
        let needed = manifest.blobs().chain(&manifest.manifests);
        let mut needed: Vec<Digest> = needed.map(|descriptor| descriptor.digest).collect();
        needed.sort_unstable();
        needed.dedup();
        stream::iter(needed.into_iter().map(Ok))
            .try_for_each_concurrent(PARALLEL, async |digest| {
                match self.is_shown(repo, &digest).await? {
                    true => Ok(()),
                    false => Err(Error::not_found(format!(
                        "the manifest needs `{digest}`, which is not in `{}`; push it first",
                        repo.name
                    ))),
                }
            })
            .await
    }

    /// Whether the repository shows a digest, and will at least until a manifest names it: what nothing has needed for long may
    /// be removed at this very moment.
    async fn is_shown(&self, repo: &Repo, digest: &Digest) -> Result<bool> {
        let Some(link) = self.look(repo, digest).await? else {
            return Ok(false);
        };
        match self.store.renew(&link.content()?, link.size).await? {
            Presence::Young => Ok(true),
            Presence::Old => Ok(self.find(repo, digest).await?.is_some()),
            Presence::Absent => {
                repo.change(|state| state.forget(digest));
                Ok(false)
            }
        }
    }
}

/// What the manifest is called.
fn named(target: Target, bytes: &[u8]) -> Result<(Digest, Vec<Tag>)> {
    match target {
        Target::Tag(tag) => Ok((Digest::of(Algorithm::Sha256, bytes), vec![tag])),
        Target::Digest(digest, mut tags) => {
            if !digest.names(bytes) {
                return Err(Error::new(
                    ErrorKind::DigestMismatch,
                    format!("the manifest that was sent does not have the digest `{digest}`"),
                ));
            }
            if tags.len() > MAX_TAGS {
                let message = format!("{} tags at once; at most {MAX_TAGS} are taken", tags.len());
                return Err(Error::invalid(message));
            }
            let mut seen = std::collections::HashSet::new();
            tags.retain(|tag| seen.insert(tag.clone()));
            Ok((digest, tags))
        }
    }
}

pub(super) fn no_manifest(name: &RepoName, reference: &Reference) -> Error {
    Error::not_found(format!("manifest `{reference}` is not in `{name}`"))
}

/// A tag that moves all the time was right when it was looked at.
const MAX_LOOKS: usize = 4;
/// How many tags one push may set.
const MAX_TAGS: usize = 256;
