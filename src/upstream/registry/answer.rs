//! From an answer that is no success to an error: the one place that decides what it says about the object.

use std::fmt;
use std::time::Duration;

use url::Url;

use super::auth::Pass;
use crate::error::{Error, ErrorKind};
use crate::net::Response;

/// As whom a request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// Without any.
    Nobody,
    /// With a token: the upstream has identified us, if only as a stranger.
    Token,
    /// With the credentials themselves.
    Credentials,
}

impl Identity {
    pub(super) fn of(pass: Option<&Pass>) -> Self {
        match pass {
            None => Self::Nobody,
            Some(pass) if pass.is_token() => Self::Token,
            Some(_) => Self::Credentials,
        }
    }
}

/// What a request is about, in words: the path behind `v2/`, without queries, which may be credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object(String);

impl Object {
    pub(super) fn of(url: &Url) -> Self {
        let path = url.path();
        let words = path.split_once("/v2/").map_or(path, |(_, words)| words);
        Self(words.chars().take(200).collect())
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

/// The error that `answer` is.
pub(super) fn refusal(
    upstream: &str,
    answer: &Response,
    identity: Identity,
    object: &Object,
    retry_after: Option<Duration>,
) -> Error {
    let code = answer.status.as_u16();
    let answered = format!("upstream `{upstream}` answered {code} for {object}");
    let counts = matches!(code, 404 | 410) && is_registry(answer);
    if !answer.at_home && !counts {
        // The place that holds the bytes, not the registry: what it says is about a signed URL.
        let host = answer.url.host_str().unwrap_or_default();
        return Error::unavailable(format!("{answered} from `{host}`, where it sent us"));
    }
    let kind = match (code, identity) {
        (404 | 410, _) => ErrorKind::NotFound,
        (401 | 403, Identity::Token) | (403, Identity::Credentials) => ErrorKind::UpstreamDenied,
        (401, Identity::Nobody | Identity::Credentials) => ErrorKind::UpstreamUnauthorized,
        (429, _) => ErrorKind::RateLimited,
        // 403 for a stranger who was not asked for a name: a firewall more often than a registry.
        _ => ErrorKind::UpstreamUnavailable,
    };
    let message = match kind {
        ErrorKind::UpstreamUnauthorized => {
            format!("{answered}; check `upstreams.{upstream}.auth`")
        }
        ErrorKind::UpstreamDenied => {
            format!(
                "{answered}: it is not there, or not for the user in `upstreams.{upstream}.auth`"
            )
        }
        _ => answered,
    };
    let error = Error::new(kind, message);
    match retry_after {
        Some(after) => error.with_retry_after(after),
        None => error,
    }
}

/// Whether a registry answered: some are only a front that redirects to others (registry.k8s.io), whose word counts.
fn is_registry(answer: &Response) -> bool {
    answer
        .headers
        .contains_key("docker-distribution-api-version")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{ByteStream, HeaderMap, HeaderValue, StatusCode};

    fn kind(code: u16, identity: Identity, at_home: bool) -> ErrorKind {
        kind_with(code, identity, at_home, HeaderMap::new())
    }

    fn kind_with(code: u16, identity: Identity, at_home: bool, headers: HeaderMap) -> ErrorKind {
        let url = Url::parse("https://h/x/v2/a/b/manifests/latest?sig=secret").expect("a URL");
        let object = Object::of(&url);
        let answer = Response {
            status: StatusCode::from_u16(code).expect("a status"),
            headers,
            url,
            at_home,
            body: ByteStream::once(bytes::Bytes::new()),
        };
        let error = refusal("hub", &answer, identity, &object, None);
        assert!(error.message().contains("`hub` answered"), "{error}");
        assert!(
            error.message().contains("`a/b/manifests/latest`"),
            "{error}"
        );
        assert!(!error.message().contains("secret"), "{error}");
        error.kind()
    }

    #[test]
    fn statuses_are_facts_about_credentials_or_nothing() {
        use Identity::{Credentials, Nobody, Token};
        for identity in [Nobody, Token, Credentials] {
            assert_eq!(kind(404, identity, true), ErrorKind::NotFound);
            assert_eq!(kind(429, identity, true), ErrorKind::RateLimited);
            for code in [400, 402, 405, 418, 500, 503] {
                assert_eq!(kind(code, identity, true), ErrorKind::UpstreamUnavailable);
            }
            for code in [401, 403, 404, 429, 500] {
                assert_eq!(kind(code, identity, false), ErrorKind::UpstreamUnavailable);
            }
        }
        assert_eq!(kind(401, Token, true), ErrorKind::UpstreamDenied);
        assert_eq!(kind(403, Token, true), ErrorKind::UpstreamDenied);
        assert_eq!(kind(403, Credentials, true), ErrorKind::UpstreamDenied);
        assert_eq!(
            kind(401, Credentials, true),
            ErrorKind::UpstreamUnauthorized
        );
        assert_eq!(kind(401, Nobody, true), ErrorKind::UpstreamUnauthorized);
        assert_eq!(kind(403, Nobody, true), ErrorKind::UpstreamUnavailable);
    }

    #[test]
    fn a_front_that_redirects_to_registries_has_their_word() {
        let version = HeaderValue::from_static("registry/2.0");
        let headers = HeaderMap::from_iter(
            [("docker-distribution-api-version", version)]
                .map(|(name, value)| (crate::http::HeaderName::from_static(name), value)),
        );
        let kind = |code| kind_with(code, Identity::Nobody, false, headers.clone());
        assert_eq!(kind(404), ErrorKind::NotFound);
        for code in [401, 403, 429, 500] {
            assert_eq!(kind(code), ErrorKind::UpstreamUnavailable);
        }
    }
}
