//! `GET /v2/_catalog`: the repositories that are known, of all tenants that the caller may pull from.
//!
//! Not part of the specification; tools that replicate registries ask for it. Nothing is fetched for it: of upstreams it has what
//! was pulled through us.

use super::respond::{AboutExt as _, Failure};
use super::route::RegistryRoute;
use super::tags;
use crate::auth::Identity;
use crate::config::Action;
use crate::error::Result;
use crate::gateway::{Gateway, Place, Tenant};
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
    let address = request.peer.map(|peer| peer.ip());
    let (tenant, _) = gateway
        .admit_registry(
            &place.tenant,
            identity,
            Action::Pull,
            address,
            Demand::Request,
        )
        .await
        .about(About::Repository)?;
    match &place.member {
        None => of_tenant(&tenant, "").await.about(About::Repository),
        Some(member) => {
            let mut names = Vec::new();
            if let Some(registry) = tenant.registry() {
                let repository = registry.repository(Some(member)).about(About::Repository)?;
                let known = repository.catalog().await.about(About::Repository)?;
                names.extend(known.iter().map(ToString::to_string));
            }
            Ok(names)
        }
    }
}

/// What all tenants have, in names that start with the tenant.
async fn everywhere(gateway: &Gateway, identity: &Identity) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for tenant in gateway.registry_tenants(identity).await? {
        names.extend(of_tenant(&tenant, tenant.path().as_str()).await?);
    }
    Ok(names)
}

/// Hosted repositories as they are called, those of upstreams below the upstream's name, so that each name has one meaning.
async fn of_tenant(tenant: &Tenant, prefix: &str) -> Result<Vec<String>> {
    let Some(registry) = tenant.registry() else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    let mut add = |upstream: &str, known: &[RepoName]| {
        names.extend(known.iter().map(|name| {
            let parts = [prefix, upstream, name.as_str()];
            let parts = parts.iter().filter(|part| !part.is_empty());
            parts.copied().collect::<Vec<_>>().join("/")
        }));
    };
    if let Ok(hosted) = registry.hosted(None) {
        add("", &hosted.store.catalog().await?);
    }
    for (upstream, member) in registry.members() {
        add(upstream, &member.catalog().await?);
    }
    Ok(names)
}
