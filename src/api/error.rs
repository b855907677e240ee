//! The one place that turns errors into responses: a table per protocol.

use crate::error::{Error, ErrorKind};
use crate::http::{Response, StatusCode, header};

/// How errors look on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Plain text, for helm and people.
    Plain,
    /// ChartMuseum's `{"error": "…"}`.
    Museum,
}

/// Renders `error`. Internal causes stay inside; they were logged where the error was handled.
pub(super) fn render(error: &Error, dialect: Dialect) -> Response {
    let status = status(error.kind());
    let message = match error.kind() {
        ErrorKind::Internal => "internal error; the log has the cause under this request id",
        _ => error.message(),
    };
    let mut response = match dialect {
        Dialect::Plain => Response::text(status, message),
        Dialect::Museum => Response::json(status, &serde_json::json!({ "error": message })),
    };
    if let Some(after) = error.retry_after() {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        response = response.with_header(header::RETRY_AFTER, seconds.max(1).to_string());
    }
    match error.kind() {
        // helm never reacts to a challenge, but browsers, curl --anyauth and docker-like clients do.
        ErrorKind::Unauthenticated => response.with_header(
            header::WWW_AUTHENTICATE,
            "Basic realm=\"chartgate\", charset=\"UTF-8\"",
        ),
        // RFC 9110 §15.5.6.
        ErrorKind::MethodNotAllowed(allowed) => response.with_header(header::ALLOW, allowed),
        _ => response,
    }
}

/// The status of each kind. 502 for everything that an upstream did, so that 5xx of our own stand out.
fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::NotFound | ErrorKind::UpstreamDenied => StatusCode::NOT_FOUND,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::QuotaExceeded => StatusCode::INSUFFICIENT_STORAGE,
        ErrorKind::UpstreamUnavailable
        | ErrorKind::UpstreamUnauthorized
        | ErrorKind::DigestMismatch => StatusCode::BAD_GATEWAY,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn retry_after_is_rounded_up() {
        let error = Error::new(ErrorKind::RateLimited, "slow down")
            .with_retry_after(Duration::from_millis(1200));
        let response = render(&error, Dialect::Plain);
        assert_eq!(response.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers[header::RETRY_AFTER], "2");
    }

    #[test]
    fn internal_causes_stay_inside() {
        let error = Error::internal(
            "cannot write `/secret/place`",
            std::io::Error::other("disk"),
        );
        let response = render(&error, Dialect::Museum);
        let crate::http::Body::Bytes(body) = response.body else {
            panic!("bytes")
        };
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
    }
}
