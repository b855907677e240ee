//! Reading: all charts, one chart, one version.

use crate::api::charts::{published, with_freshness};
use crate::auth::Sight;
use crate::chart::Constraint;
use crate::error::{Error, Result};
use crate::gateway::Tenant;
use crate::http::conditional::not_modified;
use crate::http::{Body, HeaderValue, Request, Response, StatusCode, header};
use crate::index::{ChartView, Found};
use crate::repository::Freshness;

const JSON: &str = "application/json; charset=utf-8";
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// `GET /api/T/charts`: chart name -> versions; `offset` and `limit` cut a page out of the names.
pub(in crate::api) async fn charts(
    tenant: &Tenant,
    sight: &Sight,
    request: &Request,
) -> Result<Response> {
    let offset = number(request, "offset", 0)
        .ok_or_else(|| Error::invalid("offset is not a valid non-negative integer"))?;
    let limit = number(request, "limit", usize::MAX)
        .filter(|limit| *limit > 0)
        .ok_or_else(|| Error::invalid("limit is not a valid positive integer"))?;
    let (published, freshness) = published(tenant, sight).await?;
    let snapshot = &published.snapshot;
    let body = || snapshot.list(offset, limit);
    Ok(listed(request, snapshot.list_all_etag(), &freshness, body))
}

/// `GET /api/T/charts/<name>`: all versions of a chart.
pub(in crate::api) async fn chart(
    tenant: &Tenant,
    sight: &Sight,
    name: &str,
    request: &Request,
) -> Result<Response> {
    let (published, freshness) = published(tenant, sight).await?;
    let snapshot = &published.snapshot;
    let chart = snapshot
        .chart(name)
        .ok_or_else(|| Error::not_found("chart not found"))?;
    let body = || snapshot.list_chart(chart).into();
    Ok(listed(request, snapshot.list_etag(chart), &freshness, body))
}

/// `GET /api/T/charts/<name>/<version>`: one version.
pub(in crate::api) async fn version(
    tenant: &Tenant,
    sight: &Sight,
    name: &str,
    version: &str,
    request: &Request,
) -> Result<Response> {
    let (published, freshness) = published(tenant, sight).await?;
    let snapshot = &published.snapshot;
    let (chart, found) = resolve(snapshot.chart(name), name, version)?;
    let body = || snapshot.list_version(found.entry).into();
    Ok(listed(request, snapshot.list_etag(chart), &freshness, body))
}

/// The version of a chart that `wanted` means: that very text, else the newest that the constraint accepts. `latest` is the
/// newest release.
pub(super) fn resolve<'a>(
    chart: Option<&'a ChartView>,
    name: &str,
    wanted: &str,
) -> Result<(&'a ChartView, Found<'a>)> {
    let chart = chart.ok_or_else(|| Error::not_found("no chart name found"))?;
    let wanted = if wanted == "latest" { "" } else { wanted };
    if let Some(found) = chart.get(wanted) {
        return Ok((chart, found));
    }
    let constraint = Constraint::parse(wanted).map_err(|error| {
        Error::not_found(format!("improper constraint: {wanted:.300}")).with_source(error)
    })?;
    let found = chart
        .versions()
        .find(|found| constraint.matches(&found.entry.version))
        .ok_or_else(|| {
            Error::not_found(format!(
                "no chart version found for {name:.300}-{wanted:.300}"
            ))
        })?;
    Ok((chart, found))
}

/// A query parameter as a number: `default` where it is absent, `None` where it is not one.
fn number(request: &Request, key: &str, default: usize) -> Option<usize> {
    let Some((_, text)) = request.query_pairs().find(|(name, _)| name == key) else {
        return Some(default);
    };
    // Go reads a sign, and so did every script that was written against it.
    let digits = text.strip_prefix('+').unwrap_or(&text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(usize::MAX))
}

fn listed(
    request: &Request,
    etag: Option<String>,
    freshness: &Freshness,
    body: impl FnOnce() -> Body,
) -> Response {
    let response = if not_modified(&request.headers, etag.as_deref(), None) {
        Response::new(StatusCode::NOT_MODIFIED, Body::Empty)
    } else {
        Response::new(StatusCode::OK, body()).with_header(header::CONTENT_TYPE, JSON)
    };
    let response = response.with_header(header::CACHE_CONTROL, NO_CACHE);
    let response = match etag {
        Some(etag) => response.with_header(header::ETAG, etag),
        None => response,
    };
    with_freshness(response, freshness)
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
