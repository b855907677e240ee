//! Opens the hosted store of a tenant.

use std::sync::Arc;

use tracing::{debug, info, warn};

use super::{Progress, Shared};
use crate::config::Config;
use crate::error::Result;
use crate::names::TenantPath;
use crate::store::{Hosted, Parts};

pub(super) async fn open_store(
    path: &TenantPath,
    config: &Config,
    shared: &Shared,
    progress: &Progress,
) -> Result<Arc<Hosted>> {
    let state_dir = config.data_dir.join("cache").join("hosted");
    let progress = progress.clone();
    let told = move |done, total| progress(done, total);
    let parts = Parts {
        state_dir,
        clients: &shared.clients,
        clock: shared.clock.clone(),
        places: &shared.places,
    };
    let store = Hosted::open(&config.store, path, parts, told).await?;
    let problems = store.problems();
    for problem in problems.iter().take(MAX_TOLD) {
        warn!(tenant.name = %path, file = %problem.file, "`{}` in `{path}` is not listed: {}", problem.file, problem.reason);
    }
    if problems.len() > MAX_TOLD {
        warn!(tenant.name = %path, "{} packages of `{path}` are not listed in all; the report of the tenant names them", problems.len());
    }
    if store.versions() == 0 {
        // Anybody may ask for tenants of a pattern, and most names hold nothing.
        debug!(tenant.name = %path, "opened the hosted store of `{path}`, which is empty");
    } else {
        info!(tenant.name = %path, versions = store.versions(), "opened the hosted store of `{path}`");
    }
    Ok(store)
}

/// How many packages that cannot be listed the log names at a start.
const MAX_TOLD: usize = 20;
