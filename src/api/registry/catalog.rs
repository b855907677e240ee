//! `GET /v2/_catalog`: the repositories that are known, of all tenants that the caller may pull from.
//!
//! Not part of the specification; tools that replicate registries ask for it. Nothing is fetched for it: of upstreams it has what
//! was pulled through us.

use super::respond::{AboutExt as _, Failure};
use super::route::RegistryRoute;
use super::tags;
use crate::auth::{About as Subject, Identity, Sight};
use crate::config::Action;
use crate::error::Result;
use crate::gateway::{Ask, Gateway, Place, Tenant};
use crate::http::{Request, Response, StatusCode, header};
use crate::limit::Demand;
use crate::oci::error::About;
use crate::oci::{RepoName, link, tags::render_catalog};

/// The page that the request asks for, in names that the client can pull at the same address.
pub(super) async fn list(
    gateway: &Gateway,
    route: &RegistryRoute,
    request: &Request,
    identity: &Identity,
) -> Result<Response, Failure> {
    let page = tags::page(request).about(About::Repository)?;
    let place = gateway
        .place(&route.base, request.host.as_deref())
        .map_err(|error| gateway.unlocated(error, identity))
        .about(About::Repository)?;
    let mut names = match &place {
        Some(place) => at(gateway, place, identity, request).await?,
        None => everywhere(gateway, identity)
            .await
            .about(About::Repository)?,
    };
    names.sort_unstable();
    names.dedup();
    let (shown, more) = page.of(&names);
    let response = Response::new(StatusCode::OK, render_catalog(shown))
        .with_header(header::CONTENT_TYPE, "application/json");
    Ok(match (shown.last(), page.count) {
        (Some(last), Some(count)) if more => {
            let next = route.spelling.next_catalog(count, last);
            response.with_header(header::LINK, link::render(&next))
        }
        _ => response,
    })
}

/// What one tenant has, or one upstream of it, in names relative to it.
async fn at(
    gateway: &Gateway,
    place: &Place,
    identity: &Identity,
    request: &Request,
) -> Result<Vec<String>, Failure> {
    let ask = Ask {
        identity,
        address: request.peer.map(|peer| peer.ip()),
        action: Action::Pull,
        about: Subject::Tenant,
        demand: Demand::Request,
    };
    let (tenant, _) = gateway
        .admit_registry(&place.tenant, &ask)
        .await
        .about(About::Repository)?;
    let sight = tenant.sight(identity, Action::Pull);
    let Some(member) = &place.member else {
        let names = of_tenant(&tenant, &sight, "").await;
        return names.about(About::Repository);
    };
    let Some(registry) = tenant.registry() else {
        return Ok(Vec::new());
    };
    let repository = registry.repository(Some(member)).about(About::Repository)?;
    let known = repository.catalog().await.about(About::Repository)?;
    Ok(of_member(member, &known, &sight)
        .map(ToString::to_string)
        .collect())
}

/// What all tenants have, in names that start with the tenant.
async fn everywhere(gateway: &Gateway, identity: &Identity) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for tenant in gateway.registry_tenants(identity).await? {
        let sight = tenant.sight(identity, Action::Pull);
        names.extend(of_tenant(&tenant, &sight, tenant.path().as_str()).await?);
    }
    Ok(names)
}

/// What `sight` shows of what is `known` of an upstream.
fn of_member<'k>(
    upstream: &str,
    known: &'k [RepoName],
    sight: &Sight,
) -> impl Iterator<Item = &'k RepoName> {
    known.iter().filter(move |name| {
        let name = name.as_str();
        sight.includes(Subject::Member { upstream, name })
    })
}

/// Hosted repositories as they are called, those of upstreams below the upstream's name, so that each name has one meaning; of
/// both what `sight` shows.
async fn of_tenant(tenant: &Tenant, sight: &Sight, prefix: &str) -> Result<Vec<String>> {
    let Some(registry) = tenant.registry() else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    let mut add = |upstream: &str, name: &RepoName| {
        let parts = [prefix, upstream, name.as_str()];
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        names.push(parts.collect::<Vec<_>>().join("/"));
    };
    if let Ok(hosted) = registry.hosted(None) {
        let known = hosted.store.catalog().await?;
        let shown = known.iter().filter(|name| sight.shows(name.as_str()));
        shown.for_each(|name| add("", name));
    }
    for (upstream, member) in registry.members() {
        let known = member.catalog().await?;
        of_member(upstream, &known, sight).for_each(|name| add(upstream, name));
    }
    Ok(names)
}
