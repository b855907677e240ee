//! How much a repository may hold: refusing what is too much, and removing the oldest versions.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::Hosted;
use super::place::Place;
use crate::error::{Error, ErrorKind, Result};
use crate::index::Entry;

/// How much a repository may hold; zero: any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Files in all, whatever they are. An upload that would make it more is [`ErrorKind::QuotaExceeded`].
    pub max_objects: usize,
    /// Versions of one chart. An upload of one more removes the oldest ones by time of upload, with their provenance files;
    /// never the one just uploaded.
    pub max_versions: usize,
}

impl Hosted {
    /// Makes sure that what the limits count is known. To be called without `writer`.
    pub(super) async fn prepare_limits(self: &Arc<Self>, limits: Limits) -> Result<()> {
        match &self.place {
            Place::Bucket(shelf) if limits != Limits::default() => self.list_once(shelf).await,
            _ => Ok(()),
        }
    }

    /// Whether so many more files may come in.
    pub(super) async fn admit(&self, added: usize, limits: Limits) -> Result<()> {
        if limits.max_objects == 0 || added == 0 {
            return Ok(());
        }
        let known = self.catalog().files().len();
        if self.place.count(known).await? + added > limits.max_objects {
            // ChartMuseum's words.
            return Err(Error::new(
                ErrorKind::QuotaExceeded,
                "repo has reached storage limit",
            ));
        }
        Ok(())
    }

    /// Removes what is too much after `pushed` came in. What cannot be removed now is removed after the next upload; the upload
    /// itself has succeeded.
    pub(super) async fn evict(
        self: &Arc<Self>,
        writer: &OwnedMutexGuard<()>,
        pushed: &Arc<Entry>,
        limits: Limits,
    ) {
        if limits.max_versions == 0 {
            return;
        }
        for entry in oldest(&self.index(), pushed, limits.max_versions) {
            let (name, version) = (&entry.name, entry.version.as_str());
            match self.remove(writer, name, version).await {
                Ok(()) => {
                    tracing::info!(tenant.name = %self.tenant, chart = %name, %version, "removed the oldest version of a chart (`hosted.max_versions`)");
                }
                Err(error) => {
                    tracing::warn!(tenant.name = %self.tenant, chart = %name, %version, error = %error.chain(), "the oldest version of a chart cannot be removed (`hosted.max_versions`)");
                }
            }
        }
    }
}

/// The versions of the chart of `pushed` beyond the newest `most` by time of upload.
fn oldest(index: &crate::index::SourceIndex, pushed: &Arc<Entry>, most: usize) -> Vec<Arc<Entry>> {
    let Some(chart) = index.get(&pushed.name) else {
        return Vec::new();
    };
    let mut others: Vec<_> = chart
        .entries()
        .iter()
        .filter(|entry| entry.version.as_str() != pushed.version.as_str())
        .cloned()
        .collect();
    // Stores that know whole seconds only give many the same time; then the lower version counts as the older one.
    others.sort_by(|a, b| {
        a.created
            .cmp(&b.created)
            .then_with(|| a.version.compare(&b.version))
    });
    let kept = most - 1;
    others.truncate(others.len().saturating_sub(kept));
    others
}
