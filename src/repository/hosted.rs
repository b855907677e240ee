//! What users uploaded, as a member of a group. Writing goes to the store itself (see `Tenant::hosted`).

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{Artifact, BrokenFile, ChartRepository, Content, Freshness, Origin};
use crate::cache::{Cache, FillRequest, FillSource, Sharing};
use crate::config::OnDigestMismatch;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Entry, SourceIndex};
use crate::names::FileName;
use crate::store::{self, Hosted, StoredContent, StoredObject};
use crate::upstream::Download;

/// A hosted store, read as a repository.
#[derive(Debug)]
pub struct HostedRepository {
    store: Arc<Hosted>,
    cache: Arc<Cache>,
}

static LABEL: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("hosted"));
/// The largest archive that is read from a bucket. Helm itself refuses charts that unpack to more than 100 MiB.
const MAX_ARCHIVE: u64 = 1 << 30;

impl HostedRepository {
    /// The repository of everything in `store`. Archives in a bucket are served through `cache`.
    pub fn new(store: Arc<Hosted>, cache: Arc<Cache>) -> Self {
        Self { store, cache }
    }

    /// A stored file by its own name, whether or not the index shows it under that name.
    ///
    /// An archive in a bucket that is not the one that the index knows is read again, and the index is brought up to date.
    pub async fn file(&self, file: &FileName) -> Result<Artifact> {
        let (store, cache) = (&self.store, &self.cache);
        let mut failure = None;
        for _ in 0..MAX_LOOKS {
            let stored = store.open_file(file).await?;
            let content = match stored.content {
                StoredContent::File(file) => Content::Stored(Arc::new(file), stored.len),
                StoredContent::Bytes(bytes) => Content::Bytes(bytes),
                StoredContent::Object(object) => {
                    match through_cache(cache, object, stored.len, stored.digest).await {
                        Ok(content) => content,
                        Err(error) if is_outdated(&error) => {
                            store.look_again(file).await?;
                            failure = Some(error);
                            continue;
                        }
                        Err(error) => return Err(error),
                    }
                }
            };
            return Ok(Artifact {
                content,
                origin: Origin::Hosted,
                digest: stored.digest,
                warning: None,
            });
        }
        Err(failure.unwrap_or_else(|| Error::not_found(format!("`{file}` does not exist"))))
    }

    async fn stored(&self, entry: &Entry, suffix: &str) -> Result<Artifact> {
        let stored = self.store.stored_name(entry).ok_or_else(|| {
            Error::not_found(format!(
                "chart `{}` was deleted just now",
                entry.file_name()
            ))
        })?;
        let name = FileName::parse(&format!("{stored}{suffix}"))?;
        self.file(&name).await
    }
}

/// An archive in a bucket: what is held of it, else read from there once for all who ask at the same time.
async fn through_cache(
    cache: &Arc<Cache>,
    object: StoredObject,
    length: u64,
    digest: Option<Digest>,
) -> Result<Content> {
    let request = FillRequest {
        name: object.name(),
        expect: digest,
        also_accept: Vec::new(),
        on_mismatch: OnDigestMismatch::Reject,
        max_length: MAX_ARCHIVE,
        // The store remembers for itself what is not there.
        negative_ttl: Duration::ZERO,
        sharing: Sharing::Everybody,
    };
    let source = Arc::new(InBucket { object, length });
    cache.fill(request, source).await.map(Content::Cached)
}

/// Whether an error says that the bucket holds something else than the index.
fn is_outdated(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::DigestMismatch
    )
}

/// Where the cache gets an archive in a bucket.
#[derive(Debug)]
struct InBucket {
    object: StoredObject,
    length: u64,
}

#[async_trait]
impl FillSource for InBucket {
    async fn open(&self, offset: u64) -> Result<Download> {
        Ok(Download {
            length: Some(self.length),
            body: self.object.open(offset).await?,
        })
    }
}

#[async_trait]
impl ChartRepository for HostedRepository {
    fn label(&self) -> &Arc<str> {
        &LABEL
    }

    fn index(&self) -> Arc<SourceIndex> {
        self.store.index()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.store.subscribe()
    }

    fn broken(&self) -> Vec<BrokenFile> {
        self.store
            .problems()
            .into_iter()
            .map(BrokenFile::from)
            .collect()
    }

    fn freshness(&self) -> Freshness {
        match self.store.freshness() {
            store::Freshness::Unknown => Freshness::Unknown,
            store::Freshness::Fresh { age } => Freshness::Fresh { age },
            store::Freshness::Stale { age } => Freshness::Stale { age },
        }
    }

    fn failure(&self) -> Option<String> {
        self.store.failure()
    }

    async fn settled(&self) {
        self.store.settled().await;
    }

    async fn archive(&self, entry: &Arc<Entry>) -> Result<Artifact> {
        self.stored(entry, "").await
    }

    async fn provenance(&self, entry: &Arc<Entry>) -> Result<Artifact> {
        self.stored(entry, ".prov").await
    }
}

/// An object that is replaced between two looks again and again is being written to by somebody.
const MAX_LOOKS: usize = 3;
