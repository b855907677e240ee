//! ChartMuseum's paths (spec: chartmuseum.md §1.2): cut from the left at the depth of the one tenant, so that repositories may
//! have any name. A path or method that is not there is 404 before anybody is asked for credentials.

use super::{Api, Route, Routes};
use crate::error::{Error, Result};
use crate::http::Method;
use crate::names::FileName;

/// How many segments name the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Always this many.
    Fixed(usize),
    /// As many as the first shape of route that fits leaves over.
    Dynamic,
}

/// What follows the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest<'a> {
    Welcome,
    Health,
    Info,
    ArtifactHub,
    Index,
    File(&'a str),
    Api(Api<'a>),
}

/// ChartMuseum's only answer to what it does not know.
fn unknown() -> Error {
    Error::not_found("not found")
}

/// Reads a route from segments below the context path, empty ones included.
pub(super) fn parse(
    routes: &Routes<'_>,
    depth: Depth,
    method: &Method,
    segments: &[&str],
) -> Result<Route> {
    // One slash at the end of a repository's address is what people type into browsers. Below `/api/` there are no pages.
    let segments = match segments {
        [""] => &[],
        ["api", .., ""] => segments,
        [rest @ .., ""] if depth == Depth::Fixed(rest.len()) => rest,
        all => all,
    };
    if segments.iter().any(|segment| segment.is_empty()) {
        return Err(unknown());
    }
    if let ["static", file @ ..] = segments
        && routes.web
        && *method == Method::GET
    {
        let path = file.join("/");
        return Ok(Route::Static { path });
    }
    let (repository, rest) = split(depth, segments).ok_or_else(unknown)?;
    let route = route(routes, method, repository.join("/"), rest);
    route.ok_or_else(unknown)
}

/// The repository's segments, and what follows them.
fn split<'a, 's>(depth: Depth, segments: &'a [&'s str]) -> Option<(&'a [&'s str], Rest<'s>)> {
    // These are there whatever the depth. ChartMuseum shows its welcome page for two of them at some depths.
    let at_root = match segments {
        [] => Some(Rest::Welcome),
        ["health"] => Some(Rest::Health),
        ["info"] => Some(Rest::Info),
        ["artifacthub-repo.yml"] => Some(Rest::ArtifactHub),
        _ => None,
    };
    if let Some(rest) = at_root {
        return Some((&[], rest));
    }
    let is_api = is_api(segments);
    match depth {
        Depth::Fixed(depth) if is_api => {
            let (repository, rest) = segments[1..].split_at_checked(depth)?;
            Some((repository, Rest::Api(Api::of(rest)?)))
        }
        Depth::Fixed(depth) => {
            let (repository, rest) = segments.split_at_checked(depth)?;
            Some((repository, below_repository(rest)?))
        }
        // The shape that comes first wins, so `a/charts/charts` lists the repository `a/charts`; that of `prov` is the last.
        Depth::Dynamic if is_api => {
            let after = &segments[1..];
            let fits = |length: usize| {
                let (repository, rest) =
                    after.split_at_checked(after.len().checked_sub(length)?)?;
                Some((repository, Api::of(rest)?))
            };
            let charts = |length: &usize| fits(*length).filter(|(_, api)| *api != Api::Provenance);
            let (repository, api) = [1, 2, 3, 4].iter().find_map(charts).or_else(|| fits(1))?;
            Some((repository, Rest::Api(api)))
        }
        Depth::Dynamic => match segments {
            [repository @ .., "index.yaml"] => Some((repository, Rest::Index)),
            [repository @ .., "charts", file] => Some((repository, Rest::File(file))),
            _ => None,
        },
    }
}

/// What is below a repository at a fixed depth: also everything that has no repository in it, and the whole API.
fn below_repository<'s>(rest: &[&'s str]) -> Option<Rest<'s>> {
    match rest {
        [] => Some(Rest::Welcome),
        ["health"] => Some(Rest::Health),
        ["info"] => Some(Rest::Info),
        ["artifacthub-repo.yml"] => Some(Rest::ArtifactHub),
        ["index.yaml"] => Some(Rest::Index),
        ["charts", file] => Some(Rest::File(file)),
        ["api", rest @ ..] => Some(Rest::Api(Api::of(rest)?)),
        _ => None,
    }
}

/// Whether a path is one of the API: what ends like a file of a repository is not, so a repository may be called `api`.
pub(super) fn is_api(segments: &[&str]) -> bool {
    let is_file = |last: &str| {
        [".yaml", ".tgz", ".prov"]
            .iter()
            .any(|end| last.ends_with(end))
    };
    matches!(segments, ["api", .., last] if !is_file(last))
}

fn route(routes: &Routes<'_>, method: &Method, tenant: String, rest: Rest<'_>) -> Option<Route> {
    let get = *method == Method::GET;
    match rest {
        Rest::Welcome if get => Some(Route::Welcome),
        Rest::Health if get => Some(Route::Health),
        Rest::Info if get => Some(Route::Info),
        Rest::ArtifactHub if get && routes.artifact_hub => Some(Route::ArtifactHub { tenant }),
        Rest::Index if get || *method == Method::HEAD => Some(Route::Index { tenant }),
        Rest::File(file) if get => Some(match FileName::parse(file) {
            Ok(file) => Route::File { tenant, file },
            Err(_) => Route::OddFile {
                tenant,
                looks_like_a_package: file.ends_with("tgz") || file.ends_with("tgz.prov"),
            },
        }),
        Rest::Api(_) if !routes.api => None,
        Rest::Api(_) if *method == Method::OPTIONS && routes.cors => Some(Route::Preflight),
        Rest::Api(api) => {
            let route = api.route(method, tenant)?;
            let is_there = match &route {
                Route::Delete { .. } => routes.delete,
                // Only a chart and a version can be asked for without their content.
                Route::Charts { .. } | Route::Templates { .. } | Route::Values { .. } => get,
                _ => true,
            };
            is_there.then_some(route)
        }
        _ => None,
    }
}
