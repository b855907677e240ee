//! What users uploaded, as a member of a group. Writing goes to the store itself (see `Tenant::hosted`).

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{Artifact, BrokenFile, ChartRepository, Content, Freshness, Origin};
use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::index::{Entry, SourceIndex};
use crate::names::FileName;
use crate::store::{Hosted, StoredContent};

/// A hosted store, read as a repository.
#[derive(Debug)]
pub struct HostedRepository {
    store: Arc<Hosted>,
    cache: Arc<Cache>,
}

static LABEL: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("hosted"));

impl HostedRepository {
    /// The repository of everything in `store`. Archives in a bucket are served through `cache`.
    pub fn new(store: Arc<Hosted>, cache: Arc<Cache>) -> Self {
        Self { store, cache }
    }

    /// A stored file by its own name, whether or not the index shows it under that name.
    pub async fn file(
        store: &Arc<Hosted>,
        cache: &Arc<Cache>,
        file: &FileName,
    ) -> Result<Artifact> {
        let _ = cache;
        let stored = store.open_file(file).await?;
        let content = match stored.content {
            StoredContent::File(file) => Content::Stored(Arc::new(file), stored.len),
            StoredContent::Object(_) | StoredContent::Bytes(_) => {
                return Err(Error::unavailable("buckets cannot be read yet"));
            }
        };
        Ok(Artifact {
            content,
            origin: Origin::Hosted,
            digest: stored.digest,
            warning: None,
        })
    }

    async fn stored(&self, entry: &Entry, suffix: &str) -> Result<Artifact> {
        let stored = self.store.stored_name(entry).ok_or_else(|| {
            Error::not_found(format!(
                "chart `{}` was deleted just now",
                entry.file_name()
            ))
        })?;
        let name = FileName::parse(&format!("{stored}{suffix}"))?;
        Self::file(&self.store, &self.cache, &name).await
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
        Freshness::Fresh {
            age: Duration::ZERO,
        }
    }

    fn failure(&self) -> Option<String> {
        None
    }

    async fn settled(&self) {}

    async fn archive(&self, entry: &Arc<Entry>) -> Result<Artifact> {
        self.stored(entry, "").await
    }

    async fn provenance(&self, entry: &Arc<Entry>) -> Result<Artifact> {
        self.stored(entry, ".prov").await
    }
}
