//! `…/blobs/<digest>`: bytes by digest, whole or in part.

use super::respond::{Tagged, with_origin, with_warning};
use crate::api::partial;
use crate::error::{Error, ErrorKind, Result};
use crate::http::conditional::not_modified;
use crate::http::range::{self, Selection};
use crate::http::{Body, HeaderValue, Method, Request, Response, StatusCode, header};
use crate::oci::error::{Code, envelope};
use crate::oci::{Digest, Reference, RepoName};
use crate::repository::registry::RegistryRepository;
use crate::repository::{Artifact, Content};

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
const BYTES: HeaderValue = HeaderValue::from_static("bytes");

/// A blob, or a manifest by its digest: containerd looks for one here when the other place has none.
pub(super) async fn read(
    repository: &dyn RegistryRepository,
    name: &RepoName,
    digest: &Digest,
    request: &Request,
) -> Result<Response> {
    let artifact = match repository.blob(name, digest).await {
        Err(error) if error.is_absence() => manifest(repository, name, digest, error).await?,
        found => found?,
    };
    let tagged = Tagged::of(digest);
    let describe = |response: Response| {
        let response = tagged.describe(response);
        let response = with_origin(
            response.with_header(header::ACCEPT_RANGES, BYTES),
            artifact.origin,
        );
        match &artifact.warning {
            Some(text) => with_warning(response, text),
            None => response,
        }
    };
    if not_modified(&request.headers, Some(tagged.etag()), None) {
        let response = Response::new(StatusCode::NOT_MODIFIED, Body::Empty);
        return Ok(describe(response));
    }
    if request.method == Method::HEAD
        && let Some(length) = artifact.length()
    {
        // Nothing is opened or fetched for it.
        let response = Response::new(StatusCode::OK, Body::Empty)
            .with_header(header::CONTENT_LENGTH, length)
            .with_header(header::CONTENT_TYPE, OCTETS);
        return Ok(describe(response));
    }
    let selection = match artifact.length() {
        Some(length) if request.method == Method::GET => {
            range::select_strictly(&request.headers, length, Some(tagged.etag()))
        }
        _ => Selection::Whole,
    };
    let length = artifact.length().unwrap_or_default();
    let body = async |part| artifact.body(part).await;
    let response = partial::respond(selection, digest, length, body).await?;
    if response.status == StatusCode::RANGE_NOT_SATISFIABLE {
        let text = format!("`{digest}` has {length} bytes, and the range asks for others");
        return Ok(Response {
            body: envelope(Code::SizeInvalid, &text).into(),
            ..response
        }
        .with_header(header::CONTENT_TYPE, "application/json")
        .with_header(header::ACCEPT_RANGES, BYTES));
    }
    Ok(describe(response.with_header(header::CONTENT_TYPE, OCTETS)))
}

/// The manifest of this digest as bytes. `error`: why it is no blob.
async fn manifest(
    repository: &dyn RegistryRepository,
    name: &RepoName,
    digest: &Digest,
    error: Error,
) -> Result<Artifact> {
    let reference = Reference::Digest(*digest);
    match repository.manifest(name, &reference).await {
        Ok(found) => Ok(Artifact {
            content: Content::Bytes(found.bytes),
            origin: found.source.origin,
            digest: None,
            warning: found.source.stale.map(|text| text.to_string()),
        }),
        // Neither; an upstream that could not be asked about the second is no such fact.
        Err(other) if other.is_absence() || other.kind() == ErrorKind::Unsupported => Err(error),
        Err(other) => Err(other),
    }
}
