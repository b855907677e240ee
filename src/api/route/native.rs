//! Native paths: read from their right end, because tenants have any depth. A wrong method is told apart from a wrong path.

use super::{Api, Route, Routes, not_found};
use crate::error::{Error, Result};
use crate::http::Method;
use crate::names::FileName;

const READ: &str = "GET, HEAD";

/// Reads a route from segments below the context path. `path` is for messages.
pub(super) fn parse(
    routes: &Routes<'_>,
    method: &Method,
    segments: &[&str],
    path: &str,
) -> Result<Route> {
    let allow = |allowed: &'static str, route: Route| {
        let fits = allowed.split(", ").any(|name| name == method.as_str());
        fits.then_some(route)
            .ok_or_else(|| Error::method_not_allowed(method.as_str(), path, allowed))
    };
    match segments {
        [] => return allow(READ, Route::Welcome),
        ["health"] => return allow(READ, Route::Health),
        ["info"] => return allow(READ, Route::Info),
        ["static", file @ ..] if routes.web && !file.is_empty() => {
            let path = file.join("/");
            return allow(READ, Route::Static { path });
        }
        [tenant @ .., "index.yaml"] => {
            let tenant = tenant.join("/");
            return allow(READ, Route::Index { tenant });
        }
        [tenant @ .., "artifacthub-repo.yml"] if routes.artifact_hub => {
            let tenant = tenant.join("/");
            return allow(READ, Route::ArtifactHub { tenant });
        }
        _ => {}
    }
    // Before files: a chart may be called `charts`, and no tenant may.
    if let Some((tenant, rest)) = split_api(segments)
        && let Some(api) = Api::of(rest)
    {
        if !routes.api {
            return Err(Error::not_found(
                "the ChartMuseum API is switched off (`chartmuseum.api: false`)",
            ));
        }
        if *method == Method::OPTIONS && routes.cors {
            return Ok(Route::Preflight);
        }
        let route = api.route(method, tenant.join("/"));
        return route
            .ok_or_else(|| Error::method_not_allowed(method.as_str(), path, api.methods()));
    }
    match segments {
        [tenant @ .., "charts", file] if file.ends_with(".tgz") || file.ends_with(".tgz.prov") => {
            let file = FileName::parse(file)?;
            let tenant = tenant.join("/");
            allow(READ, Route::File { tenant, file })
        }
        _ => Err(not_found(path)),
    }
}

/// Splits `/api/T…/charts…` and `/T…/api/charts…` into the tenant and the rest, which starts at `charts` or is `prov`.
///
/// No tenant has a segment `api` or `charts` (names.rs), so the first one is where the route begins.
pub(super) fn split_api<'a, 's>(segments: &'a [&'s str]) -> Option<(&'a [&'s str], &'a [&'s str])> {
    let api = segments.iter().position(|segment| *segment == "api")?;
    let after = &segments[api + 1..];
    let rest = after
        .iter()
        .position(|segment| *segment == "charts")
        .or_else(|| {
            after
                .last()
                .filter(|last| **last == "prov")
                .map(|_| after.len() - 1)
        })?;
    match (api, rest) {
        (0, _) => Some((&after[..rest], &after[rest..])),
        (_, 0) => Some((&segments[..api], after)),
        _ => None,
    }
}
