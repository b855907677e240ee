//! The repositories of a tenant.

use super::{HostedRegistry, layout};
use crate::error::Result;
use crate::oci::RepoName;

impl HostedRegistry {
    /// All repositories that hold something, sorted by bytes. One listing.
    pub async fn catalog(&self) -> Result<Vec<RepoName>> {
        let folder = layout::catalog(&self.tenant.segment);
        let objects = self.store.place.list(&folder).await?;
        let mut names: Vec<_> = objects
            .iter()
            .filter_map(|object| layout::read_repo(&object.name))
            .collect();
        names.sort_unstable();
        Ok(names)
    }
}
