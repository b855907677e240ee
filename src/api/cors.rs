//! Scripts of other origins and the ChartMuseum API (`chartmuseum.cors_origin`).
//!
//! ChartMuseum sets one header, and only on answers that went well; a browser needs it on errors too, and asks before it
//! sends credentials or deletes.

use crate::http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};

const METHODS: &str = "GET, HEAD, POST, DELETE";
/// What a browser asks for by default, besides what needs no asking.
const HEADERS: &str = "Authorization, Content-Type, X-Request-Id";
/// How long a browser need not ask again; the longest that common ones accept is two hours.
const MAX_AGE: &str = "7200";

const EXPOSED: &str = "ETag, X-Request-Id";
const REQUESTED: HeaderName = header::ACCESS_CONTROL_REQUEST_HEADERS;

/// Lets scripts of `origin` read an answer.
pub(super) fn allow(response: Response, origin: &str) -> Response {
    response
        .with_header(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin)
        .with_header(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED)
}

/// `OPTIONS`: what a browser may send. It has no credentials yet, so nobody is asked for any.
pub(super) fn preflight(request: &Request) -> Response {
    let headers = request
        .headers
        .get(REQUESTED)
        .cloned()
        .unwrap_or(HeaderValue::from_static(HEADERS));
    Response::new(StatusCode::NO_CONTENT, "")
        .with_header(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS)
        .with_header(header::ACCESS_CONTROL_ALLOW_HEADERS, headers)
        .with_header(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE)
}
