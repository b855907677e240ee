//! Opens the hosted store of a tenant, or takes it over from the configuration before.

use std::sync::Arc;

use tracing::{debug, info, warn};

use super::{Gateway, Progress, Shared};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::names::TenantPath;
use crate::store::Hosted;

pub(super) async fn open_store(
    path: &TenantPath,
    config: &Config,
    shared: &Shared,
    previous: Option<&Gateway>,
    progress: &Progress,
) -> Result<Arc<Hosted>> {
    if let Some(previous) = previous
        && previous.config.store == config.store
        && let Some(hosted) = previous
            .tenants
            .get(path)
            .and_then(|tenant| tenant.hosted_part())
    {
        return Ok(hosted.store.clone());
    }
    let state_dir = config.data_dir.join("cache").join("hosted");
    let progress = progress.clone();
    let told = move |done, total| progress(done, total);
    let Some(root) = config.store.root() else {
        return Err(Error::invalid("buckets are no stores yet"));
    };
    let store = Hosted::open(
        root.to_path_buf(),
        path,
        state_dir,
        shared.clock.clone(),
        told,
    )
    .await?;
    let problems = store.problems();
    if !problems.is_empty() {
        warn!(tenant.name = %path, "{} packages of `{path}` cannot be read and are not listed; the report of the tenant names them", problems.len());
    }
    if store.versions() == 0 {
        // Anybody may ask for tenants of a pattern, and most names hold nothing.
        debug!(tenant.name = %path, "opened the hosted store of `{path}`, which is empty");
    } else {
        info!(tenant.name = %path, versions = store.versions(), "opened the hosted store of `{path}`");
    }
    Ok(store)
}
