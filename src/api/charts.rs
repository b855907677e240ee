//! The chart repository routes: the merged index, archives and provenance files.

use std::borrow::Cow;
use std::time::Duration;

use crate::auth::Identity;
use crate::config::Action;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::{Gateway, Tenant};
use crate::http::conditional::not_modified;
use crate::http::encoding::Coding;
use crate::http::range::{self, Selection};
use crate::http::{Body, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use crate::names::FileName;
use crate::repository::{Artifact, Freshness, Origin};

/// `X-Cache: hit | miss | stale | hosted` (contract/http.md).
pub(super) const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

const HIT: HeaderValue = HeaderValue::from_static("hit");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
const BY_ENCODING: HeaderValue = HeaderValue::from_static("Accept-Encoding");

/// How long the very first request of a tenant waits for upstreams that were never reached.
const FIRST_INDEX: Duration = Duration::from_secs(60);

/// `GET /T/index.yaml`: the merged index as it was last published.
pub(super) async fn index(tenant: &Tenant, request: &Request) -> Result<Response> {
    let group = tenant.charts();
    // Before any index exists there is nothing to serve; a half of one would make clients forget charts.
    let settled = group.has_settled()
        || tokio::time::timeout(FIRST_INDEX, group.settled())
            .await
            .is_ok();
    let published = group.published();
    let freshness = group.freshness();
    if !settled || freshness == Freshness::Unknown {
        return Err(Error::unavailable(format!(
            "`{}` has no index yet: {}",
            tenant.path(),
            group.unknown_members().join("; ")
        ))
        .with_retry_after(Duration::from_secs(5)));
    }
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

/// `GET /T/charts/<file>`: an archive or a provenance file.
pub(super) async fn file(tenant: &Tenant, file: &FileName, request: &Request) -> Result<Response> {
    let artifact = match tenant.charts().file(file).await {
        // What others put into the folder is downloadable under its own name, indexed or not (ChartMuseum).
        Err(error) if error.kind() == ErrorKind::NotFound => {
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
    let response = match &selection {
        Selection::Unsatisfiable => {
            return Ok(describe(
                Response::text(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    format!("`{file}` has {length} bytes, and the range asks for others"),
                )
                .with_header(header::CONTENT_RANGE, format!("bytes */{length}")),
            ));
        }
        Selection::Part(part) => Response::new(
            StatusCode::PARTIAL_CONTENT,
            artifact.body(part.clone()).await?,
        )
        .with_header(
            header::CONTENT_RANGE,
            format!("bytes {}-{}/{length}", part.start, part.end - 1),
        ),
        Selection::Whole => Response::new(StatusCode::OK, artifact.body(0..u64::MAX).await?),
    };
    Ok(describe(
        response.with_header(header::CONTENT_TYPE, content_type),
    ))
}

fn with_freshness(response: Response, freshness: &Freshness) -> Response {
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

/// `GET /health` and `GET /info`, as ChartMuseum.
pub(super) fn health() -> Response {
    Response::json(StatusCode::OK, &serde_json::json!({ "healthy": true }))
}

/// `GET /info`: the version.
pub(super) fn info() -> Response {
    Response::json(
        StatusCode::OK,
        &serde_json::json!({ "version": env!("CARGO_PKG_VERSION") }),
    )
}

/// `GET /`: what this is, for a person with a browser. Names only tenants that everybody may read.
pub(super) fn welcome(gateway: &Gateway) -> Response {
    let mut text = String::from(
        "chartgate: a caching gateway for Helm chart repositories\n\nAdd a repository:\n\n",
    );
    for tenant in gateway
        .tenants()
        .filter(|tenant| tenant.policy().allows(&Identity::Anonymous, Action::Pull))
    {
        let base = gateway
            .config()
            .server
            .external_url
            .as_ref()
            .map_or("http://<this address>", |url| url.as_str());
        text.push_str(&format!(
            "  helm repo add gw {}/{}\n",
            base.trim_end_matches('/'),
            tenant.path().as_str()
        ));
    }
    Response::text(StatusCode::OK, text)
}
