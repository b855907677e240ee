//! Opens upstreams, or takes them over from the configuration before.

use std::sync::Arc;

use super::{Gateway, Shared};
use crate::config::{self, Config};
use crate::error::Result;
use crate::repository::proxy::Proxy;
use crate::upstream;

pub(super) async fn open(
    upstream: &config::Upstream,
    config: &Config,
    shared: &Shared,
    previous: Option<&Gateway>,
) -> Result<Arc<Proxy>> {
    if let Some(previous) = previous
        && previous.config.offline == config.offline
        && let Some(proxy) = previous.upstreams.get(&upstream.name)
        && proxy.config() == upstream
    {
        return Ok(proxy.clone());
    }
    let source = upstream::build(
        upstream,
        &shared.clients,
        &shared.metrics,
        &shared.clock,
        shared.cache.clone(),
    )?;
    let (cache, metrics, clock) = (
        shared.cache.clone(),
        shared.metrics.clone(),
        shared.clock.clone(),
    );
    Ok(Proxy::open(
        upstream.clone(),
        source,
        cache,
        metrics,
        clock,
        config.offline,
    )
    .await)
}
