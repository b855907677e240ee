//! What users pushed, as a part of a tenant's registry. Writing goes to the store itself.

use std::ops::Range;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;

use super::{FoundManifest, Listed, RegistryRepository, ReservesNames, Source};
use crate::cache::{Cache, FillRequest, FillSource, Object, Sharing};
use crate::config::OnDigestMismatch;
use crate::error::{ErrorKind, Result};
use crate::http::Body;
use crate::oci::{Descriptor, Digest, Reference, RepoName, Tag};
use crate::repository::{Artifact, Content, Origin, RemoteContent};
use crate::store::registry::{BlobContent, BlobObject, HostedRegistry};
use crate::upstream::Download;

/// A hosted registry, read as a repository.
#[derive(Debug)]
pub struct HostedRegistryRepository {
    store: Arc<HostedRegistry>,
    cache: Arc<Cache>,
}

static LABEL: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("hosted"));

impl HostedRegistryRepository {
    /// The repository of everything in `store`. Blobs in a bucket are served through `cache`, and those in
    /// files that are wanted often from its memory.
    pub fn new(store: Arc<HostedRegistry>, cache: Arc<Cache>) -> Self {
        Self { store, cache }
    }
}

#[async_trait]
impl RegistryRepository for HostedRegistryRepository {
    fn label(&self) -> &Arc<str> {
        &LABEL
    }

    async fn manifest(&self, name: &RepoName, reference: &Reference) -> Result<FoundManifest> {
        let stored = self.store.manifest(name, reference).await?;
        Ok(FoundManifest {
            digest: stored.digest,
            media_type: stored.media_type,
            bytes: stored.bytes,
            source: Source::of(Origin::Hosted),
        })
    }

    async fn blob(&self, name: &RepoName, digest: &Digest) -> Result<Artifact> {
        let stored = self.store.blob(name, digest).await?;
        let content = match stored.body {
            BlobContent::File(file) => {
                let file = Arc::new(file);
                Content::Cached(self.cache.lend(stored.content, file, stored.size))
            }
            BlobContent::Object(object) => Content::Remote(Arc::new(InBucket {
                store: Arc::clone(&self.store),
                cache: Arc::clone(&self.cache),
                name: name.clone(),
                digest: *digest,
                object,
            })),
        };
        Ok(Artifact {
            content,
            origin: Origin::Hosted,
            digest: Some(stored.content),
            warning: None,
        })
    }

    async fn tags(&self, name: &RepoName) -> Result<Listed<Tag>> {
        Ok(Listed {
            items: self.store.tags(name).await?,
            source: Source::of(Origin::Hosted),
        })
    }

    async fn referrers(&self, name: &RepoName, digest: &Digest) -> Result<Listed<Descriptor>> {
        Ok(Listed {
            items: self.store.referrers(name, digest).await?,
            source: Source::of(Origin::Hosted),
        })
    }

    async fn catalog(&self) -> Result<Vec<RepoName>> {
        self.store.catalog().await
    }

    /// What is stored is found by its name; nobody needs to know it by a digest before.
    fn links(&self, _: &RepoName, _: &Digest) -> bool {
        false
    }
}

#[async_trait]
impl ReservesNames for HostedRegistryRepository {
    async fn has(&self, name: &RepoName) -> Result<bool> {
        self.store.has(name).await
    }
}

/// A blob in a bucket: what the cache holds of it, else read from there once for all who ask at the same time.
#[derive(Debug)]
struct InBucket {
    store: Arc<HostedRegistry>,
    cache: Arc<Cache>,
    name: RepoName,
    digest: Digest,
    object: BlobObject,
}

impl InBucket {
    async fn through_cache(&self) -> Result<Object> {
        let request = FillRequest {
            name: self.object.name(),
            // The repository shows it, and so whoever has these bytes may hand them out.
            expect: Some(self.object.content()),
            also_accept: Vec::new(),
            on_mismatch: OnDigestMismatch::Reject,
            max_length: u64::MAX,
            // The store says what is not there.
            negative_ttl: Duration::ZERO,
            sharing: Sharing::Everybody,
        };
        let source = Arc::new(self.object.clone());
        self.cache.fill(request, source).await
    }
}

#[async_trait]
impl RemoteContent for InBucket {
    fn length(&self) -> Option<u64> {
        Some(self.object.size())
    }

    async fn body(&self, range: Range<u64>) -> Result<Body> {
        match self.through_cache().await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Deleted and swept by another replica; or lost, which is no absence.
                self.store.look_again(&self.name, &self.digest);
                self.store.blob(&self.name, &self.digest).await?;
                Err(self.object.lost())
            }
            object => object?.body(range).await,
        }
    }
}

#[async_trait]
impl FillSource for BlobObject {
    async fn open(&self, offset: u64) -> Result<Download> {
        Ok(Download {
            length: Some(self.size()),
            body: Self::open(self, offset).await?,
        })
    }
}
