//! `…/manifests/<reference>`: manifests, byte for byte and with the type that they were stored with, whatever `Accept` says.

use bytes::{Bytes, BytesMut};

use super::respond::{AboutExt as _, CONTENT_DIGEST, Failure, Tagged, with_source};
use super::spelling::Spelling;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::HostedRegistryPart;
use crate::http::conditional::not_modified;
use crate::http::{
    Body, HeaderName, HeaderValue, Request, RequestBody, Response, StatusCode, header,
};
use crate::oci::error::About;
use crate::oci::{Reference, RepoName, Tag};
use crate::repository::registry::RegistryRepository;
use crate::store::registry::Target;

/// A manifest by tag or digest.
pub(super) async fn read(
    repository: &dyn RegistryRepository,
    name: &RepoName,
    reference: &Reference,
    request: &Request,
) -> Result<Response> {
    let found = repository
        .manifest(name, reference)
        .await
        .map_err(|error| match error.kind() {
            // Schema 1, which is neither kept nor converted: a client that can do nothing else is told that there is nothing.
            ErrorKind::Unsupported => {
                Error::new(ErrorKind::NotFound, error.message().to_owned()).with_source(error)
            }
            _ => error,
        })?;
    let tagged = Tagged::of(&found.digest);
    let response = if not_modified(&request.headers, Some(tagged.etag()), None) {
        Response::new(StatusCode::NOT_MODIFIED, Body::Empty)
    } else {
        let media_type = HeaderValue::from_static(found.media_type.as_str());
        Response::new(StatusCode::OK, found.bytes).with_header(header::CONTENT_TYPE, media_type)
    };
    Ok(with_source(tagged.describe(response), &found.source))
}

/// `PUT`: stores the document as it comes, under a tag, or under its digest and any number of tags (`?tag=`).
pub(super) async fn push(
    hosted: &HostedRegistryPart,
    name: &RepoName,
    reference: &Reference,
    spelling: &Spelling,
    request: &Request,
    body: &mut dyn RequestBody,
) -> Result<Response, Failure> {
    let target = match reference {
        Reference::Tag(tag) => Target::Tag(tag.clone()),
        Reference::Digest(digest) => Target::Digest(*digest, tags(request)?),
    };
    let limit = hosted.store.settings().max_manifest;
    let document = gather(body, limit).await.about(About::Manifest)?;
    let content_type = request.header(header::CONTENT_TYPE);
    let pushed = hosted
        .store
        .put_manifest(name, target, content_type, document)
        .await
        .about(About::Reference)?;
    let response = Response::new(StatusCode::CREATED, Body::Empty)
        .with_header(header::LOCATION, spelling.manifest(&pushed.digest))
        .with_header(CONTENT_DIGEST, pushed.digest.to_string());
    let response = match &pushed.subject {
        Some(subject) => response.with_header(SUBJECT, subject.to_string()),
        None => response,
    };
    Ok(match reference {
        Reference::Digest(_) if !pushed.tags.is_empty() => {
            let tags: Vec<&str> = pushed.tags.iter().map(AsRef::as_ref).collect();
            response.with_header(TAGS, tags.join(", "))
        }
        _ => response,
    })
}

/// The tags of a push by digest, each once.
fn tags(request: &Request) -> Result<Vec<Tag>, Failure> {
    let mut tags = Vec::new();
    for (_, text) in request.query_pairs().filter(|(key, _)| key == "tag") {
        let tag = Tag::parse(&text).about(About::Manifest)?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
        if tags.len() > MAX_TAGS {
            return Err(Failure::too_many(format!(
                "more than {MAX_TAGS} tags at once; push the manifest again with the others"
            )));
        }
    }
    Ok(tags)
}

/// The whole body, before anything is computed of it.
async fn gather(body: &mut dyn RequestBody, limit: u64) -> Result<Bytes> {
    let too_large = |length: &dyn std::fmt::Display| {
        Error::new(
            ErrorKind::TooLarge,
            format!("the manifest has {length} bytes; `hosted.max_manifest` allows {limit}"),
        )
    };
    if let Some(length) = body.length().filter(|length| *length > limit) {
        return Err(too_large(&length));
    }
    let Some(first) = body.chunk().await? else {
        return Ok(Bytes::new());
    };
    let mut all = BytesMut::from(first);
    loop {
        if all.len() as u64 > limit {
            return Err(too_large(&"more"));
        }
        match body.chunk().await? {
            Some(chunk) => all.extend_from_slice(&chunk),
            None => return Ok(all.freeze()),
        }
    }
}

/// How many tags one push may set. Clients set a handful.
const MAX_TAGS: usize = 100;

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAGS: HeaderName = HeaderName::from_static("oci-tag");
