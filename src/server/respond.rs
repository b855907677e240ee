//! A response onto the wire: framing by length, method and version; an answer that breaks off never ends cleanly.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Version, response};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::http::{
    Body, ByteStream, HeaderName, HeaderValue, Method, Response, StatusCode, header,
};

/// Large bodies are handed over in pieces of this size, each with its own time, so that slow readers are told from stalled ones.
const PIECE: usize = 256 * 1024;
/// What is gathered to learn the length of a body for a client that can take no other form of it.
const GATHER: usize = 16 << 20;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER: HeaderValue = HeaderValue::from_static("chartgate");
const CHUNKED: HeaderValue = HeaderValue::from_static("chunked");

/// What the framing and the headers of an answer depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) version: Version,
    pub(super) id: &'a str,
    /// How long the client may read nothing at all.
    pub(super) patience: Duration,
}

/// How writing an answer went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub(super) status: StatusCode,
    pub(super) bytes: u64,
    /// The answer left whole, so that the connection may go on.
    pub(super) complete: bool,
}

/// Writes `response`. A failure is not an error here: the client has gone, or is to
/// notice that the answer broke off.
pub(super) async fn write(
    session: &mut ServerSession,
    asked: Asked<'_>,
    response: Response,
) -> Written {
    let Response {
        status,
        headers,
        body,
    } = known_length(asked, response).await;
    let mut written = Written {
        status,
        bytes: 0,
        complete: false,
    };
    let bodiless = *asked.method == Method::HEAD
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = status;
    parts.headers = headers;
    frame(&mut parts, &body, bodiless, asked.version);
    parts.headers.insert(header::SERVER, SERVER);
    if let Ok(id) = HeaderValue::from_str(asked.id) {
        parts.headers.insert(REQUEST_ID, id);
    }
    session.set_write_timeout(Some(asked.patience));
    let head = Box::new(ResponseHeader::from(parts));
    let head = within(asked.patience, session.write_response_header(head)).await;
    let sent = match (head, body) {
        (Ok(Ok(())), _) if bodiless => Ok(()),
        (Ok(Ok(())), Body::Empty) => Ok(()),
        (Ok(Ok(())), Body::Bytes(bytes)) => write_bytes(session, bytes, &mut written.bytes).await,
        (Ok(Ok(())), Body::Rope(pieces, length)) => {
            write_rope(session, &pieces, length, &mut written.bytes).await
        }
        (Ok(Ok(())), Body::Stream(stream)) => {
            write_stream(session, stream, &mut written.bytes).await
        }
        (Ok(Err(_)) | Err(_), _) => Err(Broken),
    };
    written.complete = sent.is_ok() && end(session, asked.patience).await.is_ok();
    if !written.complete {
        // HTTP/1.1 closes short of the length or without the last chunk, HTTP/2 resets the stream.
        let _ = timeout(asked.patience, session.shutdown()).await;
    }
    written
}

/// Whether the handler asks for the connection to end after this answer.
pub(super) fn closes(response: &Response) -> bool {
    response
        .headers
        .get(header::CONNECTION)
        .is_some_and(|value| value == "close")
}

/// The answer cannot be completed.
struct Broken;

async fn write_bytes(
    session: &mut ServerSession,
    mut bytes: Bytes,
    sent: &mut u64,
) -> Result<(), Broken> {
    while !bytes.is_empty() {
        let piece = bytes.split_to(bytes.len().min(PIECE));
        let length = piece.len() as u64;
        session
            .write_response_body(piece, false)
            .await
            .map_err(|_| Broken)?;
        *sent += length;
    }
    Ok(())
}

async fn write_rope(
    session: &mut ServerSession,
    pieces: &[Bytes],
    length: u64,
    sent: &mut u64,
) -> Result<(), Broken> {
    for piece in pieces {
        write_bytes(session, piece.clone(), sent).await?;
    }
    if *sent == length { Ok(()) } else { Err(Broken) }
}

async fn write_stream(
    session: &mut ServerSession,
    mut stream: ByteStream,
    sent: &mut u64,
) -> Result<(), Broken> {
    let length = stream.length;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|err| {
            tracing::warn!("an answer broke off: {}", err.chain());
            Broken
        })?;
        if length.is_some_and(|length| *sent + chunk.len() as u64 > length) {
            return Err(Broken);
        }
        write_bytes(session, chunk, sent).await?;
    }
    match length {
        Some(length) if *sent != length => Err(Broken),
        _ => Ok(()),
    }
}

async fn end(session: &mut ServerSession, patience: Duration) -> Result<(), Broken> {
    let ended = match session {
        ServerSession::H1(session) => within(patience, session.finish_body())
            .await
            .map(|done| done.map(drop)),
        ServerSession::H2(session) => Ok(session.finish()),
        ServerSession::Subrequest(_) | ServerSession::Custom(_) => Ok(Ok(())),
    };
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Broken),
    }
}

/// A timeout that asks the clock only if the work is not done at once, as writing into a socket's buffer mostly is.
async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut work = pin!(work);
    match futures_util::poll!(&mut work) {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => timeout(limit, work).await,
    }
}

/// `Content-Length` where it is known, else chunked; `Date` and `Connection` are pingora's.
fn frame(parts: &mut response::Parts, body: &Body, bodiless: bool, version: Version) {
    let headers = &mut parts.headers;
    headers.remove(header::CONNECTION);
    headers.remove(header::TRANSFER_ENCODING);
    if parts.status == StatusCode::NO_CONTENT {
        headers.remove(header::CONTENT_LENGTH);
        return;
    }
    if bodiless && matches!(body, Body::Empty) {
        // HEAD and 304 may name the length that GET would have; of an empty body there is nothing to say in a 304, and a
        // handler that answered HEAD without opening the object has set the length itself.
        let unset = !headers.contains_key(header::CONTENT_LENGTH);
        if unset && parts.status != StatusCode::NOT_MODIFIED {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
        }
        return;
    }
    match body.length() {
        Some(length) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        None => {
            headers.remove(header::CONTENT_LENGTH);
            if version == Version::HTTP_11 && !bodiless {
                headers.insert(header::TRANSFER_ENCODING, CHUNKED);
            }
        }
    }
}

/// To an HTTP/1.0 client a body without length ends with the connection, and a break looks like the end. It is gathered
/// first; what is too large for that is refused.
async fn known_length(asked: Asked<'_>, mut response: Response) -> Response {
    let wanted = asked.version == Version::HTTP_10 && *asked.method != Method::HEAD;
    let stream = match &mut response.body {
        Body::Stream(stream) if wanted && stream.length.is_none() => stream,
        _ => return response,
    };
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(err) => return Response::text(StatusCode::BAD_GATEWAY, err.message()),
        };
        if bytes.len() + chunk.len() > GATHER {
            let reason =
                "this answer has no known length, which HTTP/1.0 cannot carry safely; use HTTP/1.1";
            return Response::text(StatusCode::HTTP_VERSION_NOT_SUPPORTED, reason);
        }
        bytes.extend_from_slice(&chunk);
    }
    response.body = Body::Bytes(bytes.freeze());
    response
}
