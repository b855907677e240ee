//! What there is: tenants, and the repositories of a tenant.

use super::{HostedRegistry, RegistryStore, layout};
use crate::error::Result;
use crate::names::TenantPath;
use crate::oci::RepoName;

impl RegistryStore {
    /// All tenants that may have repositories, sorted; those with paths of more than 200 bytes are left out. One listing.
    pub async fn tenants(&self) -> Result<Vec<TenantPath>> {
        let objects = self.place.list(layout::TENANTS).await?;
        let mut tenants: Vec<_> = objects
            .iter()
            .filter_map(|object| layout::read_tenant(&object.name))
            .collect();
        tenants.sort_unstable();
        Ok(tenants)
    }
}

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
