//! A request's head: from pingora's to ours, or the reason to refuse it.
//!
//! pingora has parsed it and checked framing and duplicate hosts; here is what it leaves to the application: sizes, form of
//! the target, `Host`, CONNECT, both framings at once, control characters.

use http::{HeaderName, Version};
use percent_encoding::{CONTROLS, percent_encode};
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;

use super::connection::Connection;
use super::forwarded;
use crate::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use crate::oci::error::{self, Code};

/// The answer to a head that no handler sees.
pub(super) type Refusal = Box<Response>;

/// Longest request target, in bytes.
const MAX_TARGET: usize = 8 * 1024;
/// Largest head, in bytes. HTTP/2 has the same limit from pingora.
const MAX_HEAD: usize = 64 * 1024;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Reads the head that `session` holds. The error is the answer to give.
pub(super) fn read(session: &ServerSession, connection: &Connection) -> Result<Request, Refusal> {
    let head = session.req_header();
    if let ServerSession::H1(session) = session {
        check_http1(head, &session.get_headers_raw_bytes())?;
    }
    if head.method == Method::CONNECT {
        let refusal = refuse(
            StatusCode::METHOD_NOT_ALLOWED,
            "this is not a proxy: CONNECT is not answered",
        );
        return Err(Box::new(refusal.with_header(header::ALLOW, ALLOWED)));
    }
    let mut path = target(head)?;
    let query = path.find('?').map(|at| {
        let query = path.split_off(at + 1);
        path.truncate(at);
        query
    });
    if has_control(&path) {
        return Err(bad_path(&path, "the path has control characters"));
    }
    let manners = &connection.front.manners;
    let said = match connection.trusted {
        true => forwarded::read(&head.headers, manners.forwarded_header, &manners.trusted),
        false => forwarded::Client::default(),
    };
    Ok(Request {
        method: head.method.clone(),
        path,
        query,
        headers: head.headers.clone(),
        host: said.host.or_else(|| host(head)),
        secure: said.secure.unwrap_or(connection.secure),
        peer: said.address.or(connection.peer),
        certificate_subject: connection.subject(),
        id: request_id(&head.headers).map_or_else(|| connection.front.ids.make(), str::to_owned),
        account: Default::default(),
    })
}

/// `:authority` or that of an absolute target; it has been checked that `Host`, if there is one, agrees.
fn host(head: &RequestHeader) -> Option<String> {
    match head.uri.authority() {
        Some(authority) => Some(authority.as_str().to_owned()),
        None => Some(head.headers.get(header::HOST)?.to_str().ok()?.to_owned()),
    }
}

/// The answer to a head that pingora could not parse.
pub(super) fn unparsable(reason: &str) -> Refusal {
    // The reason quotes the target; one beyond 64 KiB is no URI any more.
    if reason.contains("invalid uri") && reason.len() > MAX_TARGET {
        return too_long();
    }
    if reason.contains("larger than") || reason.contains("too many headers") {
        return too_large();
    }
    bad("the request is malformed")
}

fn check_http1(head: &RequestHeader, raw: &[u8]) -> Result<(), Refusal> {
    if raw.len() > MAX_HEAD {
        return Err(match head.raw_path().len() > MAX_TARGET {
            true => too_long(),
            false => too_large(),
        });
    }
    match head.headers.get(header::HOST) {
        None if head.version == Version::HTTP_11 => {
            return Err(bad("the request has no Host header"));
        }
        Some(host) if !is_host(host.as_bytes()) => {
            return Err(bad("the Host header is not a host"));
        }
        _ => {}
    }
    // pingora has removed the length by now and would read the body as chunked (RFC 9112 §6.3 allows either); two framings
    // in one request are how requests are smuggled past whatever stands in front.
    if head.headers.contains_key(header::TRANSFER_ENCODING) && has_line(raw, b"content-length") {
        return Err(bad(
            "the request has both Content-Length and Transfer-Encoding",
        ));
    }
    // pingora looks at the last coding only. Others would be stored as if they were content, and servers disagree on
    // what more than one `chunked` means (RFC 9112 §6.1 forbids it).
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (!coding.as_bytes().eq_ignore_ascii_case(b"chunked") || codings.next().is_some())
    {
        return Err(bad(
            "the only transfer coding that is understood is `chunked`",
        ));
    }
    Ok(())
}

/// `host [":" port]` (RFC 9112 §3.2), by its characters; empty where the target has no authority.
fn is_host(host: &[u8]) -> bool {
    host.iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%:[]".contains(byte))
}

fn has_line(raw: &[u8], name: &[u8]) -> bool {
    raw.split(|byte| *byte == b'\n').any(|line| {
        let end = line.iter().position(|byte| *byte == b':');
        end.is_some_and(|end| line[..end].trim_ascii().eq_ignore_ascii_case(name))
    })
}

/// Path and query in origin form, percent-encoded.
fn target(head: &RequestHeader) -> Result<String, Refusal> {
    let raw = head.raw_path();
    if raw.len() > MAX_TARGET {
        return Err(too_long());
    }
    if !head.raw_path_is_utf8() {
        return Err(bad("the path is not valid UTF-8"));
    }
    let target = match raw {
        [b'/', ..] => raw,
        // Absolute form (RFC 9112 §3.2.2); that its host agrees with `Host` has been checked.
        _ if is_absolute(raw) => head
            .uri
            .path_and_query()
            .map_or(b"/".as_slice(), |path| path.as_str().as_bytes()),
        b"*" if head.method == Method::OPTIONS => {
            let answer = Response::new(StatusCode::NO_CONTENT, crate::http::Body::Empty);
            return Err(Box::new(answer.with_header(header::ALLOW, ALLOWED)));
        }
        _ => return Err(bad("the request target is neither a path nor a URL")),
    };
    match std::str::from_utf8(target) {
        Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(text.to_owned()),
        // Bytes beyond ASCII may come raw; handlers see one form only.
        Ok(_) | Err(_) => Ok(percent_encode(target, CONTROLS).to_string()),
    }
}

fn is_absolute(raw: &[u8]) -> bool {
    let starts = |scheme: &[u8]| {
        raw.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    starts(b"http://") || starts(b"https://")
}

/// Control characters, which pingora lets through in percent-encoded form only: no name has them, and file systems and
/// logs are better off without.
fn has_control(path: &str) -> bool {
    let bytes = path.as_bytes();
    memchr::memchr_iter(b'%', bytes).any(|at| match bytes.get(at + 1..at + 3) {
        Some([b'0' | b'1', _]) => true,
        Some([b'7', last]) => last.eq_ignore_ascii_case(&b'f'),
        _ => false,
    })
}

/// The client's id where it is fit for a log line and a header.
fn request_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let sane = (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    sane.then_some(id)
}

fn bad(reason: &str) -> Refusal {
    refuse(StatusCode::BAD_REQUEST, reason)
}

/// A path that no handler is to see. Clients of registries look for a code.
fn bad_path(path: &str, reason: &str) -> Refusal {
    match path.starts_with("/v2/") {
        true => {
            let answer = error::answer(StatusCode::BAD_REQUEST, Code::NameInvalid, reason);
            Box::new(error::marked(answer))
        }
        false => bad(reason),
    }
}

fn too_large() -> Refusal {
    refuse(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "the request's headers are too many or larger than 64 KiB",
    )
}

fn too_long() -> Refusal {
    refuse(
        StatusCode::URI_TOO_LONG,
        "the request's path is longer than 8 KiB",
    )
}

fn refuse(status: StatusCode, reason: &str) -> Refusal {
    Box::new(Response::text(status, reason))
}

const ALLOWED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, target: &str) -> RequestHeader {
        RequestHeader::build(method, target.as_bytes(), None).expect("head")
    }

    fn target_of(method: &str, text: &str) -> Result<String, u16> {
        target(&head(method, text)).map_err(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn targets_are_reduced_to_path_and_query() {
        for (sent, expected) in [
            ("/a/../b?c=d", "/a/../b?c=d"),
            ("/a%2Fb%20c", "/a%2Fb%20c"),
            ("http://gw.example/index.yaml?x", "/index.yaml?x"),
            ("HTTPS://gw.example", "/"),
            ("/f\u{fc}r", "/f%C3%BCr"),
        ] {
            assert_eq!(target_of("GET", sent).as_deref(), Ok(expected), "{sent}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        assert_eq!(target_of("GET", "gw.example:80"), Err(400));
        assert_eq!(target_of("GET", "*"), Err(400));
        assert_eq!(target_of("GET", "?a=b"), Err(400));
        assert_eq!(target_of("OPTIONS", "*"), Err(204));
        assert_eq!(
            target_of("GET", &format!("/{}", "a".repeat(MAX_TARGET))),
            Err(414)
        );
    }

    #[test]
    fn control_characters_are_found_in_encoded_form() {
        for path in ["/%00", "/a%0a", "/%1F", "/%7f", "/%7F"] {
            assert!(has_control(path), "{path}");
        }
        for path in ["/%20", "/%7e", "/100%", "/%", "/%2500"] {
            assert!(!has_control(path), "{path}");
        }
    }

    #[test]
    fn clients_of_registries_are_refused_in_their_own_way() {
        let version = "docker-distribution-api-version";
        let refused = bad_path("/v2/a%00/tags/list", "no");
        assert_eq!(refused.status, 400);
        assert_eq!(refused.headers["content-type"], "application/json");
        assert_eq!(refused.headers[version], "registry/2.0");
        let crate::http::Body::Bytes(text) = &refused.body else {
            panic!("{:?}", refused.body);
        };
        let expected = r#"{"errors":[{"code":"NAME_INVALID","message":"no"}]}"#;
        assert_eq!(&text[..], expected.as_bytes());
        let refused = bad_path("/charts/%00", "no");
        assert!(!refused.headers.contains_key(version));
    }

    #[test]
    fn the_host_is_the_targets_or_the_fields() {
        let with = |target: &str, field: Option<&str>| {
            let mut head = head("GET", target);
            if let Some(field) = field {
                head.insert_header("host", field).expect("a header");
            }
            host(&head)
        };
        assert_eq!(with("/v2/", Some("gw:5000")).as_deref(), Some("gw:5000"));
        assert_eq!(
            with("http://gw:5000/v2/", Some("gw:5000")).as_deref(),
            Some("gw:5000")
        );
        assert_eq!(with("/v2/", None), None);
    }

    #[test]
    fn ids_of_clients_are_kept_only_where_sane() {
        let with = |id: &str| {
            let value = id.parse().expect("header");
            HeaderMap::from_iter([(REQUEST_ID, value)])
        };
        assert_eq!(request_id(&with("a-1")), Some("a-1"));
        assert_eq!(request_id(&with("a b")), None);
        assert_eq!(request_id(&with(&"a".repeat(129))), None);
        assert_eq!(request_id(&HeaderMap::new()), None);
    }
}
