//! The one place that turns errors into responses: a table per protocol.

use super::Route;
use crate::error::{Error, ErrorKind};
use crate::http::{Response, StatusCode, header};
use crate::oci::error::{About, answer, wire};

/// How errors look on a route.
#[derive(Clone, Copy, Debug)]
pub(super) enum Dialect<'a> {
    /// Plain text, for helm and people.
    Plain,
    /// ChartMuseum's `{"error": "…"}`.
    Museum,
    /// The same in ChartMuseum's own words, which scripts look for; `None` where the path meant nothing.
    Strict(Option<&'a Route>),
    /// The envelope of registries, with the codes of what the request was about.
    Registry(About),
}

/// Renders `error`. Internal causes stay inside; they were logged where the error was handled. `challenge` is the value of
/// `WWW-Authenticate`, should the answer be 401.
pub(super) fn render(
    error: &Error,
    dialect: Dialect<'_>,
    challenge: impl FnOnce() -> String,
) -> Response {
    let mut status = status(error.kind());
    let mut message = match error.kind() {
        ErrorKind::Internal => "internal error; the log has the cause under this request id",
        _ => error.message(),
    };
    if let Dialect::Strict(route) = dialect {
        (status, message) = imitate(error.kind(), route, status, message);
    }
    let mut response = match dialect {
        Dialect::Registry(about) => {
            let code;
            (status, code) = wire(error.kind(), about);
            answer(status, code, message)
        }
        Dialect::Plain => Response::text(status, message),
        Dialect::Strict(_) if status == StatusCode::PAYLOAD_TOO_LARGE => {
            Response::new(status, bytes::Bytes::copy_from_slice(message.as_bytes()))
                .with_header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
        }
        Dialect::Museum | Dialect::Strict(_) => {
            Response::json(status, &serde_json::json!({ "error": message }))
        }
    };
    if let Some(after) = error.retry_after() {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        response = response.with_header(header::RETRY_AFTER, seconds.max(1).to_string());
    }
    if status == StatusCode::UNAUTHORIZED {
        // helm never reacts to a challenge, but browsers, curl --anyauth and docker-like clients do.
        response = response.with_header(header::WWW_AUTHENTICATE, challenge());
    }
    match error.kind() {
        // RFC 9110 §15.5.6.
        ErrorKind::MethodNotAllowed(allowed) => response.with_header(header::ALLOW, allowed),
        ErrorKind::Unsupported if status == StatusCode::METHOD_NOT_ALLOWED => {
            response.with_header(header::ALLOW, "GET, HEAD")
        }
        // Nobody wants the rest of the body.
        ErrorKind::TooLarge => response.with_header(header::CONNECTION, "close"),
        _ => response,
    }
}

/// What ChartMuseum answers (spec: chartmuseum.md §1.4, §5).
fn imitate<'m>(
    kind: ErrorKind,
    route: Option<&Route>,
    status: StatusCode,
    message: &'m str,
) -> (StatusCode, &'m str) {
    match (kind, route) {
        // There is no 403.
        (ErrorKind::Unauthenticated | ErrorKind::Forbidden, _) => {
            (StatusCode::UNAUTHORIZED, "unauthorized")
        }
        (ErrorKind::TooLarge, _) => (status, "request too large"),
        (ErrorKind::NotFound, None) => (status, "not found"),
        (ErrorKind::NotFound, Some(Route::File { .. } | Route::OddFile { .. })) => {
            (status, "object not found")
        }
        (ErrorKind::Invalid, Some(Route::Upload { .. })) if message.starts_with("EOF: ") => {
            (status, "EOF")
        }
        (ErrorKind::Unsupported, Some(Route::OddFile { .. })) => {
            (StatusCode::INTERNAL_SERVER_ERROR, message)
        }
        (ErrorKind::Invalid, Some(Route::UploadProvenance { .. }))
            if message == "invalid provenance file" =>
        {
            (StatusCode::INTERNAL_SERVER_ERROR, message)
        }
        _ => (status, message),
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
        ErrorKind::OutOfOrder(_) => StatusCode::RANGE_NOT_SATISFIABLE,
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
    use crate::http::Body;

    fn challenge() -> String {
        "Basic realm=\"x\"".to_owned()
    }

    fn body(response: Response) -> String {
        let Body::Bytes(body) = response.body else {
            panic!("bytes")
        };
        String::from_utf8_lossy(&body).into_owned()
    }

    #[test]
    fn retry_after_is_rounded_up() {
        let error = Error::new(ErrorKind::RateLimited, "slow down")
            .with_retry_after(Duration::from_millis(1200));
        let response = render(&error, Dialect::Plain, challenge);
        assert_eq!(response.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers[header::RETRY_AFTER], "2");
    }

    #[test]
    fn internal_causes_stay_inside() {
        let error = Error::internal(
            "cannot write `/secret/place`",
            std::io::Error::other("disk"),
        );
        let response = render(&error, Dialect::Museum, challenge);
        assert!(!body(response).contains("secret"));
    }

    #[test]
    fn the_strict_service_uses_chartmuseums_words() {
        let tenant = String::new;
        let file = "x-1.tgz".to_owned();
        let routes = [
            Route::File {
                tenant: tenant(),
                file: crate::names::FileName::parse(&file).expect("a name"),
            },
            Route::UploadProvenance { tenant: tenant() },
            Route::Upload { tenant: tenant() },
        ];
        for (error, route, status, text) in [
            (
                Error::not_found("chart `x` is not there"),
                Some(&routes[0]),
                404,
                r#"{"error":"object not found"}"#,
            ),
            (
                Error::invalid("invalid provenance file"),
                Some(&routes[1]),
                500,
                r#"{"error":"invalid provenance file"}"#,
            ),
            (
                Error::invalid("invalid provenance file"),
                Some(&routes[2]),
                400,
                r#"{"error":"invalid provenance file"}"#,
            ),
            (
                Error::invalid("x is improperly formatted"),
                Some(&routes[1]),
                400,
                r#"{"error":"x is improperly formatted"}"#,
            ),
            (
                Error::new(ErrorKind::TooLarge, "22 bytes"),
                Some(&routes[2]),
                413,
                "request too large",
            ),
            (
                Error::new(ErrorKind::Forbidden, "you may not"),
                Some(&routes[2]),
                401,
                r#"{"error":"unauthorized"}"#,
            ),
            (
                Error::new(ErrorKind::Unauthenticated, "who?"),
                Some(&routes[2]),
                401,
                r#"{"error":"unauthorized"}"#,
            ),
            (
                Error::not_found("nothing is served here"),
                None,
                404,
                r#"{"error":"not found"}"#,
            ),
        ] {
            let response = render(&error, Dialect::Strict(route), challenge);
            assert_eq!(response.status.as_u16(), status, "{error}");
            let asks = response.headers.contains_key(header::WWW_AUTHENTICATE);
            assert_eq!(asks, status == 401);
            let closes = response.headers.contains_key(header::CONNECTION);
            assert_eq!(closes, status == 413);
            assert_eq!(body(response), text);
        }
    }
}
