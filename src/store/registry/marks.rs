//! Marks: one small object for each repository and each tenant, so that one listing finds all of them.
//!
//! A mark is there before the first link and as long as there is one. Two machines may push to a repository and empty it at the
//! same time: whoever made a link looks at the mark afterwards, whoever removed a mark looks at the links afterwards.

use bytes::Bytes;

use super::repo::{Mark, Repo};
use super::{HostedRegistry, layout};
use crate::error::Result;
use crate::object::Existing;

impl HostedRegistry {
    /// Marks a repository that is going to have a link.
    pub(super) async fn mark(&self, repo: &Repo) -> Result<()> {
        if self.look(repo, &Mark).await?.is_some() {
            return Ok(());
        }
        self.write_marks(repo).await
    }

    /// Marks it again if somebody found it empty just before its link was there.
    pub(super) async fn keep_mark(&self, repo: &Repo) -> Result<()> {
        match self.store.place.stat(&repo.keys.mark).await? {
            Some(_) => Ok(()),
            None => self.write_marks(repo).await,
        }
    }

    /// Removes the mark of a repository without links. The caller holds its writer.
    pub(super) async fn unmark_if_empty(&self, repo: &Repo) -> Result<()> {
        let place = &self.store.place;
        let links = repo.keys.links();
        if !place.is_empty(&links).await? {
            return Ok(());
        }
        let removed = place.remove(&repo.keys.mark).await;
        repo.change(|state| state.forget(&Mark));
        removed?;
        if !place.is_empty(&links).await? {
            self.write_marks(repo).await?;
        }
        Ok(())
    }

    async fn write_marks(&self, repo: &Repo) -> Result<()> {
        let tenant = layout::tenant(&self.tenant.segment);
        for key in [tenant.as_str(), &repo.keys.mark] {
            self.store
                .place
                .write(key, Bytes::new(), Existing::Replace)
                .await?;
        }
        Ok(())
    }
}
