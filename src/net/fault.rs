//! From what a server or a connection did to an [`Error`]: the one place that decides.

use std::time::Duration;

use url::Url;

use super::guard::{Refused, Unresolved};
use super::tls;
use crate::error::{Error, ErrorKind};
use crate::http::StatusCode;

/// A request that failed, and whether to try again.
#[derive(Debug)]
pub struct Failure {
    /// What happened.
    pub error: Error,
    /// The same request may succeed within seconds.
    pub transient: bool,
    /// It certainly had no effect, so that even a request that must not be done twice may be sent again.
    pub undone: bool,
}

impl Failure {
    /// A failure that another attempt does not mend.
    pub fn lasting(error: Error) -> Self {
        Self {
            error,
            transient: false,
            undone: false,
        }
    }
}

/// What an answer other than success means: 404 and 410 are facts, 401 is about credentials, 429 about us, the rest tells nothing.
pub(super) fn status(
    upstream: &str,
    object: &str,
    status: StatusCode,
    retry_after: Option<Duration>,
) -> Failure {
    let code = status.as_u16();
    let answered = format!("upstream `{upstream}` answered {code} for {object}");
    let (kind, message) = match code {
        404 | 410 => (ErrorKind::NotFound, answered),
        401 => (
            ErrorKind::UpstreamUnauthorized,
            format!("{answered}; check `upstreams.{upstream}.auth`"),
        ),
        429 => (ErrorKind::RateLimited, answered),
        407 => (
            ErrorKind::UpstreamUnavailable,
            format!(
                "the egress proxy of upstream `{upstream}` wants credentials (407) for {object}"
            ),
        ),
        _ => (ErrorKind::UpstreamUnavailable, answered),
    };
    let mut error = Error::new(kind, message);
    if let Some(after) = retry_after {
        error = error.with_retry_after(after);
    }
    Failure {
        error,
        transient: matches!(code, 429 | 502 | 503 | 504),
        undone: false,
    }
}

/// A request that got no answer.
pub(super) fn transport(upstream: &str, object: &str, url: &Url, error: reqwest::Error) -> Failure {
    // The library's own text repeats the URL, whose query may be a credential.
    let error = error.without_url();
    let place = place(url);
    if let Some(refused) = tls::chain(&error).find_map(|cause| cause.downcast_ref::<Refused>()) {
        return Failure::lasting(refusal(upstream, object, refused));
    }
    let complaint = tls::complaint(&error);
    let transient = complaint.is_none();
    let message = match complaint {
        Some(complaint) => {
            format!("upstream `{upstream}` is not trusted at `{place}`: {complaint}")
        }
        None => {
            let cause = cause(&error);
            format!("upstream `{upstream}` cannot be reached at `{place}` for {object}: {cause}")
        }
    };
    Failure {
        error: Error::unavailable(message).with_source(error),
        transient,
        undone: false,
    }
}

/// A connection that our own guard did not allow.
pub(super) fn refusal(upstream: &str, object: &str, refused: &Refused) -> Error {
    Error::unavailable(format!(
        "upstream `{upstream}` leads to a private address for {object}: {refused}; set `upstreams.{upstream}.allow_private: true` if that is intended"
    ))
}

/// The cause in a few words that may be shown.
pub(super) fn cause(error: &reqwest::Error) -> String {
    use std::io::ErrorKind as Io;
    for cause in tls::chain(error) {
        if let Some(unresolved) = cause.downcast_ref::<Unresolved>() {
            return unresolved.to_string();
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            match io.kind() {
                Io::ConnectionRefused => return "connection refused".to_owned(),
                Io::ConnectionReset | Io::BrokenPipe => return "connection reset".to_owned(),
                Io::HostUnreachable | Io::NetworkUnreachable => {
                    return "network unreachable".to_owned();
                }
                Io::TimedOut => return "connection timed out".to_owned(),
                Io::UnexpectedEof => return "connection closed too early".to_owned(),
                _ => {}
            }
        }
    }
    if error.is_timeout() {
        return "connection timed out".to_owned();
    }
    let innermost = tls::chain(error).last().map(ToString::to_string);
    match innermost.as_deref() {
        Some(
            "connection closed before message completed"
            | "end of file before message length reached",
        ) => "connection closed too early".to_owned(),
        Some(text) => text.to_owned(),
        None => "unknown cause".to_owned(),
    }
}

/// `host` or `host:port`, as the URL has it.
pub(super) fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// What a request is about: the last segment of its path. Never the query, which may be a credential.
pub(super) fn object(url: &Url) -> String {
    let name = url
        .path_segments()
        .and_then(|mut segments| segments.rfind(|segment| !segment.is_empty()))
        .unwrap_or("/");
    match name.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_facts_credentials_or_nothing() {
        let kind = |code: u16| {
            let code = StatusCode::from_u16(code).expect("a status");
            let failure = status("u", "index.yaml", code, None);
            assert!(failure.error.message().contains("`u`"));
            (failure.error.kind(), failure.transient)
        };
        assert_eq!(kind(404), (ErrorKind::NotFound, false));
        assert_eq!(kind(410), (ErrorKind::NotFound, false));
        assert_eq!(kind(401), (ErrorKind::UpstreamUnauthorized, false));
        for code in [204, 400, 403, 405, 407, 416, 418, 500, 501] {
            assert_eq!(
                kind(code),
                (ErrorKind::UpstreamUnavailable, false),
                "{code}"
            );
        }
        assert_eq!(kind(429), (ErrorKind::RateLimited, true));
        for code in [502, 503, 504] {
            assert_eq!(kind(code), (ErrorKind::UpstreamUnavailable, true), "{code}");
        }
    }

    #[test]
    fn objects_are_named_without_their_query() {
        let name = |text: &str| object(&Url::parse(text).expect("a URL"));
        assert_eq!(
            name("https://h/a/b-1.0.0%20c.tgz?sig=secret"),
            "b-1.0.0%20c.tgz"
        );
        assert_eq!(name("https://h"), "/");
        assert_eq!(name("https://h/a/"), "a");
    }
}
