//! The chart repository routes: the merged index, archives and provenance files.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::partial;
use crate::auth::Sight;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::Tenant;
use crate::http::conditional::not_modified;
use crate::http::encoding::Coding;
use crate::http::range::{self, Selection};
use crate::http::{Body, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use crate::names::FileName;
use crate::repository::group::Published;
use crate::repository::{Artifact, Freshness, Origin};

/// `X-Cache: hit | miss | stale | hosted` (contract/http.md).
pub(super) const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

const HIT: HeaderValue = HeaderValue::from_static("hit");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
const BY_ENCODING: HeaderValue = HeaderValue::from_static("Accept-Encoding");

/// How long the very first request of a tenant waits for upstreams that were never reached.
const FIRST_INDEX: Duration = Duration::from_secs(60);

/// `GET /T/index.yaml`: the merged index as it was last published, as far as `sight` shows it.
pub(super) async fn index(tenant: &Tenant, sight: &Sight, request: &Request) -> Result<Response> {
    let group = tenant.charts();
    let (published, freshness) = published(tenant, sight).await?;
    let snapshot = &published.snapshot;
    let encoded = Coding::accepted(&request.headers).find_map(|coding| {
        group
            .variant(&published, coding)
            .map(|bytes| (coding, bytes))
    });
    let etag = match &encoded {
        // A strong tag names bytes, and the encoded ones are others.
        Some((coding, _)) => Cow::Owned(format!(
            "{}-{}\"",
            snapshot.etag().trim_end_matches('"'),
            coding.as_str()
        )),
        None => Cow::Borrowed(snapshot.etag()),
    };
    let mut response = if not_modified(&request.headers, Some(&etag), Some(snapshot.modified())) {
        Response::new(StatusCode::NOT_MODIFIED, Body::Empty)
    } else {
        let (body, coding) = match encoded {
            Some((coding, bytes)) => (Body::Bytes(bytes), Some(coding)),
            None => (snapshot.body(), None),
        };
        let response = Response::new(StatusCode::OK, body)
            .with_header(header::CONTENT_TYPE, snapshot.content_type());
        match coding {
            Some(coding) => response.with_header(header::CONTENT_ENCODING, coding.as_str()),
            None => response,
        }
    };
    response = response
        .with_header(header::ETAG, &*etag)
        .with_header(header::LAST_MODIFIED, &published.last_modified)
        .with_header(header::CACHE_CONTROL, NO_CACHE)
        .with_header(header::VARY, BY_ENCODING);
    Ok(with_freshness(response, &freshness))
}

/// What `sight` shows of the current index, once there is one.
///
/// Before any index exists there is nothing to serve; a half of one would make clients forget charts.
pub(super) async fn published(
    tenant: &Tenant,
    sight: &Sight,
) -> Result<(Arc<Published>, Freshness)> {
    let group = tenant.charts();
    let settled = group.has_settled()
        || tokio::time::timeout(FIRST_INDEX, group.settled())
            .await
            .is_ok();
    let published = group.seen(sight).await?;
    let freshness = group.freshness();
    if !settled || freshness == Freshness::Unknown {
        return Err(Error::unavailable(format!(
            "`{}` has no index yet: {}",
            tenant.path(),
            group.unknown_members().join("; ")
        ))
        .with_retry_after(Duration::from_secs(5)));
    }
    Ok((published, freshness))
}

/// `GET /T/charts/<file>`: an archive or a provenance file.
///
/// Whose chart it is, only the index says: to those who may not see everything, what it does not show them is not there, and
/// nothing is asked to find out more.
pub(super) async fn file(
    tenant: &Tenant,
    sight: &Sight,
    file: &FileName,
    request: &Request,
) -> Result<Response> {
    let group = tenant.charts();
    let seen = group.seen(sight).await?;
    let artifact = match group.file_in(&seen.snapshot, file).await {
        // What others put into the folder is downloadable under its own name, indexed or not (ChartMuseum).
        Err(error) if error.kind() == ErrorKind::NotFound && *sight == Sight::Everything => {
            tenant
                .stored_file(file)
                .await
                .map_err(|other| match other.kind() {
                    // A store that cannot be asked says nothing about the file.
                    ErrorKind::UpstreamUnavailable => other,
                    _ => error,
                })?
        }
        found => found?,
    };
    respond(artifact, file, request).await
}

async fn respond(artifact: Artifact, file: &FileName, request: &Request) -> Result<Response> {
    let etag = artifact.digest.map(|digest| format!("\"{digest}\""));
    let content_type = if file.is_provenance() {
        "application/pgp-signature"
    } else {
        "application/gzip"
    };
    let cache_control = match (artifact.digest, artifact.origin) {
        // A hosted version may be replaced by an upload with force, so only its revalidation is cheap.
        (Some(_), Origin::Hit | Origin::Miss) if !file.is_provenance() => {
            "public, max-age=31536000, immutable"
        }
        _ => "no-cache",
    };
    let describe = |response: Response| {
        let response = response
            .with_header(header::CACHE_CONTROL, cache_control)
            .with_header(header::ACCEPT_RANGES, "bytes")
            .with_header(X_CACHE, artifact.origin.as_str());
        let response = match &artifact.warning {
            Some(warning) => response.with_header(header::WARNING, format!("299 - \"{warning}\"")),
            None => response,
        };
        match &etag {
            Some(etag) => response.with_header(header::ETAG, etag.as_str()),
            None => response,
        }
    };
    if not_modified(&request.headers, etag.as_deref(), None) {
        return Ok(describe(Response::new(
            StatusCode::NOT_MODIFIED,
            Body::Empty,
        )));
    }
    let selection = match artifact.length() {
        Some(length) => range::select(&request.headers, length, etag.as_deref()),
        None => Selection::Whole,
    };
    let length = artifact.length().unwrap_or_default();
    let body = async |part| artifact.body(part).await;
    let response = partial::respond(selection, file, length, body).await?;
    if response.status == StatusCode::RANGE_NOT_SATISFIABLE {
        return Ok(describe(response));
    }
    Ok(describe(
        response.with_header(header::CONTENT_TYPE, content_type),
    ))
}

pub(super) fn with_freshness(response: Response, freshness: &Freshness) -> Response {
    match freshness {
        Freshness::Fresh { age } => response
            .with_header(X_CACHE, HIT)
            .with_header(header::AGE, age.as_secs()),
        Freshness::Stale { age } => response
            .with_header(X_CACHE, "stale")
            .with_header(header::AGE, age.as_secs())
            .with_header(header::WARNING, "110 - \"Response is Stale\""),
        Freshness::Unknown => response
            .with_header(X_CACHE, "stale")
            .with_header(header::WARNING, "199 - \"an upstream was never reached\""),
    }
}
