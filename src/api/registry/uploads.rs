//! `…/blobs/uploads/`: blobs on their way in. Which bytes are where is the store's to know; here are the words for it.

use super::respond::{AboutExt as _, CONTENT_DIGEST, Failure};
use super::{Visit, mount};
use crate::auth::Identity;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::HostedRegistryPart;
use crate::http::{Body, HeaderName, Request, RequestBody, Response, StatusCode, header};
use crate::oci::error::{About, Code, envelope};
use crate::oci::{Algorithm, Digest};
use crate::store::registry::UploadId;

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// `POST`: begins an upload, or takes a whole blob (`?digest=`), or shows one that is here already (`?mount=`).
pub(super) async fn start(
    visit: &Visit<'_>,
    hosted: &HostedRegistryPart,
    body: &mut dyn RequestBody,
) -> Result<Response, Failure> {
    let Query {
        digest,
        algorithm,
        mount,
        from,
    } = Query::of(visit.request);
    let (store, name) = (&hosted.store, &visit.located.name);
    // What cannot be mounted is uploaded; that is never an error, and a digest that is none cannot be mounted.
    if let Some(wanted) = mount.and_then(|text| text.parse().ok())
        && mount::try_mount(visit, store, &wanted, from.as_deref()).await
    {
        return Ok(created(visit, &wanted));
    }
    if let Some(text) = digest {
        let digest: Digest = text.parse().about(About::Digest)?;
        let subject = subject(visit.identity);
        store
            .put_whole(name, &subject, &digest, body)
            .await
            .about(About::Upload)?;
        return Ok(created(visit, &digest));
    }
    let algorithm = algorithm.map(|text| text.parse::<Algorithm>());
    let algorithm = algorithm.transpose().about(About::Digest)?;
    let id = store
        .start_upload(name, &subject(visit.identity), algorithm)
        .await
        .about(About::Upload)?;
    Ok(under_way(visit, StatusCode::ACCEPTED, id, 0))
}

/// `PATCH`: the next piece; without `Content-Range` it goes to the end.
pub(super) async fn append(
    visit: &Visit<'_>,
    hosted: &HostedRegistryPart,
    id: &str,
    body: &mut dyn RequestBody,
) -> Result<Response, Failure> {
    let id: UploadId = id.parse().about(About::Upload)?;
    let range = content_range(visit.request).about(About::Upload)?;
    let appended = hosted
        .store
        .append(
            &visit.located.name,
            &id,
            &subject(visit.identity),
            range,
            body,
        )
        .await;
    match appended {
        Ok(length) => Ok(under_way(visit, StatusCode::ACCEPTED, id, length)),
        Err(error) => out_of_order(visit, id, error),
    }
}

/// `PUT ?digest=`: the last piece, if any, and the name that all of it must have.
pub(super) async fn finish(
    visit: &Visit<'_>,
    hosted: &HostedRegistryPart,
    id: &str,
    body: &mut dyn RequestBody,
) -> Result<Response, Failure> {
    let id: UploadId = id.parse().about(About::Upload)?;
    let digest = Query::of(visit.request).digest;
    let digest: Digest = digest
        .ok_or_else(|| Error::invalid("an upload ends with its digest; add `?digest=` to the PUT"))
        .and_then(|text| text.parse())
        .about(About::Digest)?;
    let range = content_range(visit.request).about(About::Upload)?;
    let finished = hosted
        .store
        .finish(
            &visit.located.name,
            &id,
            &subject(visit.identity),
            &digest,
            range,
            body,
        )
        .await;
    match finished {
        Ok(_) => Ok(created(visit, &digest)),
        Err(error) => out_of_order(visit, id, error),
    }
}

/// `GET`: where to go on.
pub(super) async fn status(
    visit: &Visit<'_>,
    hosted: &HostedRegistryPart,
    id: &str,
) -> Result<Response, Failure> {
    let id: UploadId = id.parse().about(About::Upload)?;
    let length = hosted
        .store
        .upload_status(&visit.located.name, &id, &subject(visit.identity))
        .await
        .about(About::Upload)?;
    Ok(under_way(visit, StatusCode::NO_CONTENT, id, length))
}

/// `DELETE`: forgets it.
pub(super) async fn cancel(
    visit: &Visit<'_>,
    hosted: &HostedRegistryPart,
    id: &str,
) -> Result<Response, Failure> {
    let id: UploadId = id.parse().about(About::Upload)?;
    hosted
        .store
        .cancel(&visit.located.name, &id, &subject(visit.identity))
        .await
        .about(About::Upload)?;
    Ok(Response::new(StatusCode::NO_CONTENT, Body::Empty))
}

/// 201 with the blob's place.
fn created(visit: &Visit<'_>, digest: &Digest) -> Response {
    Response::new(StatusCode::CREATED, Body::Empty)
        .with_header(header::LOCATION, visit.route.spelling.blob(digest))
        .with_header(CONTENT_DIGEST, digest.to_string())
}

/// Where the upload is and how much of it has arrived.
fn under_way(visit: &Visit<'_>, status: StatusCode, id: UploadId, length: u64) -> Response {
    located(visit, Response::new(status, Body::Empty), id, length)
}

fn located(visit: &Visit<'_>, response: Response, id: UploadId, length: u64) -> Response {
    // Of nothing there is no last byte; clients expect this all the same.
    let range = format!("0-{}", length.saturating_sub(1));
    response
        .with_header(header::LOCATION, visit.route.spelling.upload(id))
        .with_header(header::RANGE, range)
        .with_header(UPLOAD_ID, id.to_string())
}

/// 416 for a piece that does not begin where the others end, with the place where it should; anything else stays an error.
fn out_of_order(visit: &Visit<'_>, id: UploadId, error: Error) -> Result<Response, Failure> {
    let ErrorKind::OutOfOrder(length) = error.kind() else {
        return Err(Failure::new(About::Upload, error));
    };
    let text = envelope(Code::BlobUploadInvalid, error.message());
    let response = Response::new(StatusCode::RANGE_NOT_SATISFIABLE, text)
        .with_header(header::CONTENT_TYPE, "application/json");
    Ok(located(visit, response, id, length))
}

/// To whom an upload belongs: kinds of callers may have the same names.
fn subject(identity: &Identity) -> String {
    let name = match identity {
        // Several may have one name.
        Identity::ApiToken(token) => token.id().as_str(),
        other => other.name().map_or("", AsRef::as_ref),
    };
    format!("{}:{name}", identity.kind())
}

/// The first and last byte that `Content-Range` names: `0-99`; what HTTP itself would write (`bytes 0-99/*`) counts too.
fn content_range(request: &Request) -> Result<Option<(u64, u64)>> {
    let Some(value) = request.headers.get(header::CONTENT_RANGE) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    let range = text
        .strip_prefix("bytes")
        .map_or(text, |rest| rest.trim_start_matches(['=', ' ']));
    let range = range.split_once('/').map_or(range, |(range, _)| range);
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten()
    };
    let ends = range.split_once('-');
    ends.and_then(|(first, last)| Some((number(first)?, number(last)?)))
        .map(Some)
        .ok_or_else(|| {
            Error::invalid(format!(
                "`Content-Range: {text:.80}` is not of the form `<first>-<last>`"
            ))
        })
}

/// What a `POST` or `PUT` says in its query.
#[derive(Debug, Default)]
struct Query {
    digest: Option<String>,
    algorithm: Option<String>,
    mount: Option<String>,
    from: Option<String>,
}

impl Query {
    fn of(request: &Request) -> Self {
        let mut query = Self::default();
        for (key, value) in request.query_pairs() {
            let place = match &*key {
                "digest" => &mut query.digest,
                "digest-algorithm" => &mut query.algorithm,
                "mount" => &mut query.mount,
                "from" => &mut query.from,
                _ => continue,
            };
            place.get_or_insert_with(|| value.into_owned());
        }
        query
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{HeaderMap, HeaderValue, Method};

    fn request(query: Option<&str>, range: Option<&str>) -> Request {
        let range = range.map(|text| HeaderValue::from_str(text).expect("a field"));
        Request {
            method: Method::PATCH,
            path: "/v2/x".into(),
            query: query.map(str::to_owned),
            headers: range
                .map(|value| (header::CONTENT_RANGE, value))
                .into_iter()
                .collect::<HeaderMap>(),
            host: None,
            secure: false,
            peer: None,
            certificate_subject: None,
            id: "test".into(),
            account: std::sync::OnceLock::new(),
        }
    }

    #[test]
    fn pieces_say_where_they_belong() {
        for (text, expected) in [
            (None, Some(None)),
            (Some("0-99"), Some(Some((0, 99)))),
            (Some("100-100"), Some(Some((100, 100)))),
            (Some("bytes 5-9/*"), Some(Some((5, 9)))),
            (Some("bytes=5-9/10"), Some(Some((5, 9)))),
            (Some(""), None),
            (Some("5"), None),
            (Some("-5"), None),
            (Some("5-"), None),
            (Some("a-b"), None),
            (Some("+1-2"), None),
            (Some("0-99999999999999999999"), None),
        ] {
            assert_eq!(
                content_range(&request(None, text)).ok(),
                expected,
                "{text:?}"
            );
        }
    }

    #[test]
    fn queries_are_decoded_and_the_first_word_counts() {
        let query = Query::of(&request(
            Some("mount=sha256%3A00&from=a%2Fb&origin=x&digest=one&digest=two&_state=y"),
            None,
        ));
        assert_eq!(query.mount.as_deref(), Some("sha256:00"));
        assert_eq!(query.from.as_deref(), Some("a/b"));
        assert_eq!(query.digest.as_deref(), Some("one"));
        assert_eq!(query.algorithm, None);
    }

    #[test]
    fn callers_of_different_kinds_are_never_the_same() {
        let user = Identity::User {
            name: "CN=ci".into(),
        };
        let certificate = Identity::Certificate {
            subject: "CN=ci".into(),
        };
        assert_ne!(subject(&user), subject(&certificate));
        assert_eq!(subject(&Identity::Anonymous), "anonymous:");
    }
}
