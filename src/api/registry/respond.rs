//! What all answers of a registry have in common.

use crate::error::{Error, Result};
use crate::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use crate::oci::Digest;
use crate::oci::error::About;
use crate::repository::Origin;
use crate::repository::registry::Source;

/// The digest of what the answer has or made.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// `X-Cache: hit | miss | stale | hosted` (contract/http.md).
const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// Clients may be told so much in all (distribution-spec, "Warnings").
const MAX_WARNING: usize = 1024;

/// A request that is answered with an error, and what that is about: the same failure has other codes for other objects.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) about: About,
    /// Whether the credentials themselves are what is wrong.
    pub(super) unknown_caller: bool,
    /// Instead of the status that belongs to the kind of the error.
    pub(super) status: Option<StatusCode>,
}

impl Failure {
    pub(super) fn new(about: About, error: Error) -> Self {
        Self {
            error,
            about,
            unknown_caller: false,
            status: None,
        }
    }

    /// Nobody whom we know.
    pub(super) fn unknown_caller(error: Error) -> Self {
        Self {
            unknown_caller: true,
            ..Self::new(About::Repository, error)
        }
    }

    /// A query with more in it than one request may ask for (distribution-spec, "Pushing Manifests with Tags").
    pub(super) fn too_many(message: impl Into<String>) -> Self {
        Self {
            status: Some(StatusCode::URI_TOO_LONG),
            ..Self::new(About::Manifest, Error::invalid(message))
        }
    }

    /// A path or name that is none.
    pub(super) fn name(message: impl Into<String>) -> Self {
        Self::new(About::Repository, Error::invalid(message))
    }
}

/// Says what a failure is about.
pub(super) trait AboutExt<T> {
    fn about(self, about: About) -> Result<T, Failure>;
}

impl<T> AboutExt<T> for Result<T> {
    fn about(self, about: About) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(about, error))
    }
}

/// Says how the answer came about: `X-Cache`, `Age`, `Warning`.
pub(super) fn with_source(response: Response, source: &Source) -> Response {
    let response = match source.age {
        Some(age) => response.with_header(header::AGE, age.as_secs()),
        None => response,
    };
    match &source.stale {
        Some(text) => with_warning(response.with_header(X_CACHE, STALE), text),
        None => with_origin(response, source.origin),
    }
}

/// Says where the bytes came from.
pub(super) fn with_origin(response: Response, origin: Origin) -> Response {
    response.with_header(X_CACHE, HeaderValue::from_static(origin.as_str()))
}

/// `Warning: 299 - "…"`, which podman and containerd show to people.
pub(super) fn with_warning(response: Response, text: &str) -> Response {
    let mut value = String::with_capacity(text.len() + 9);
    value.push_str("299 - \"");
    for c in text.chars().take(MAX_WARNING) {
        match c {
            '"' | '\\' => value.extend(['\\', c]),
            // A field holds no others for certain.
            ' '..='~' => value.push(c),
            _ => value.push('?'),
        }
    }
    value.push('"');
    response.with_header(header::WARNING, value)
}

/// `ETag` and `Docker-Content-Digest`, and the tag for conditions. A digest is the strongest tag there is.
pub(super) struct Tagged(String);

impl Tagged {
    pub(super) fn of(digest: &Digest) -> Self {
        Self(format!("\"{digest}\""))
    }

    /// With its quotes.
    pub(super) fn etag(&self) -> &str {
        &self.0
    }

    pub(super) fn describe(&self, response: Response) -> Response {
        response
            .with_header(CONTENT_DIGEST, &self.0[1..self.0.len() - 1])
            .with_header(header::ETAG, self.etag())
    }
}

const STALE: HeaderValue = HeaderValue::from_static("stale");

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn empty() -> Response {
        Response::new(StatusCode::OK, crate::http::Body::Empty)
    }

    #[test]
    fn sources() {
        let held = with_source(empty(), &Source::of(Origin::Hosted));
        assert_eq!(held.headers["x-cache"], "hosted");
        assert!(!held.headers.contains_key("age") && !held.headers.contains_key("warning"));
        let old = Source {
            origin: Origin::Hit,
            age: Some(Duration::from_millis(61_900)),
            stale: Some("upstream `hub` answered 503 \"busy\\\"\r\n\u{e4}".into()),
        };
        let old = with_source(empty(), &old);
        assert_eq!(old.headers["x-cache"], "stale");
        assert_eq!(old.headers["age"], "61");
        assert_eq!(
            old.headers["warning"],
            r#"299 - "upstream `hub` answered 503 \"busy\\\"???""#
        );
    }

    #[test]
    fn warnings_are_short() {
        let response = with_warning(empty(), &"\"".repeat(9000));
        assert!(response.headers["warning"].len() < 4096);
    }
}
