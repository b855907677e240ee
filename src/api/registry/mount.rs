//! `?mount=<digest>[&from=<repository>]`: showing a blob in a repository without sending it, where the caller may read it already.
//!
//! What cannot be mounted, for whatever reason, is uploaded. So nothing can be learned here about repositories that the caller may
//! not read: they answer like those that are not there (spec: oci.md §7.5).

use crate::gateway::Ask;
use std::sync::Arc;

use super::Visit;
use crate::config::Action;
use crate::error::Result;
use crate::limit::Demand;
use crate::oci::Digest;
use crate::store::registry::{HostedRegistry, Mounted, Received};

/// Whether the repository of `visit` shows the blob now.
pub(super) async fn try_mount(
    visit: &Visit<'_>,
    store: &Arc<HostedRegistry>,
    digest: &Digest,
    from: Option<&str>,
) -> bool {
    let mounted = match from.filter(|from| !from.is_empty()) {
        Some(from) => mount_from(visit, store, digest, from).await,
        None => mount_any(visit, store, digest).await,
    };
    mounted.unwrap_or_else(|error| {
        tracing::debug!("`{digest}` is not mounted: {}", error.chain());
        false
    })
}

/// From the repository that the client names, in this tenant or in another one.
async fn mount_from(
    visit: &Visit<'_>,
    store: &Arc<HostedRegistry>,
    digest: &Digest,
    from: &str,
) -> Result<bool> {
    let (route, request) = (visit.route, visit.request);
    let ns = route.spelling.ns();
    let source = visit
        .gateway
        .locate(&route.base, from, ns, request.host.as_deref())?;
    if source.member.is_some() {
        // Copies of upstreams lie elsewhere, and may go.
        return Ok(false);
    }
    let ask = Ask {
        identity: visit.identity,
        address: request.peer.map(|peer| peer.ip()),
        action: Action::Pull,
        about: source.about(),
        demand: Demand::Request,
    };
    let (tenant, _) = visit.gateway.admit_registry(&source.tenant, &ask).await?;
    if tenant.path() == visit.tenant.path() {
        let from = Mounted::From(&source.name);
        return store.mount(&visit.located.name, digest, from).await;
    }
    let Some(hosted) = tenant
        .registry()
        .and_then(|registry| registry.hosted(None).ok())
    else {
        return Ok(false);
    };
    let blob = hosted.store.blob(&source.name, digest).await?;
    let received = Received {
        digest: *digest,
        content: blob.content,
        size: blob.size,
    };
    store.link_blob(&visit.located.name, received).await?;
    Ok(true)
}

/// From any repository of the tenant that the caller may read.
async fn mount_any(
    visit: &Visit<'_>,
    store: &Arc<HostedRegistry>,
    digest: &Digest,
) -> Result<bool> {
    let sight = visit.tenant.sight(visit.identity, Action::Pull);
    let any = |name: &crate::oci::RepoName| sight.shows(name.as_str());
    store
        .mount(&visit.located.name, digest, Mounted::Any(&any))
        .await
}
