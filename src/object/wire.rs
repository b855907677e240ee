//! How opendal's requests travel: through `net`, tried again where that is safe, and with failures as our errors.
//!
//! Retries happen here and nowhere else, because only here is it known whether a request can have had an effect. Answers other
//! than downloads are read to their end within an attempt, so a listing page that breaks off is asked for again.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream::BoxStream;
use http::{Request, Response};
use opendal::raw::Operation;
use opendal::{Buffer, HttpBody, HttpTransport};
use tokio::time::Instant;

use super::place::Place;
use super::swift::Session;
use crate::error::{Error, Result};
use crate::http::{ByteStream, HeaderMap, HeaderValue, Method, StatusCode, header};
use crate::net::{Answer, Failure, Outgoing, Transport};

/// The transport of one place.
pub(super) struct Wire {
    pub(super) net: Arc<Transport>,
    pub(super) place: Arc<Place>,
    /// Swift's requests carry a token that has to be fetched.
    pub(super) session: Option<Session>,
}

/// Our error inside one of opendal's, to be found again.
#[derive(Debug)]
struct Carried(Mutex<Option<Error>>);

impl Wire {
    /// Sends a request of our own as often as it takes; the answer is one that [`Place::judge`] leaves to the protocol.
    pub(super) async fn ask(&self, request: Outgoing, is_download: bool) -> Result<Answer> {
        let end = Instant::now() + self.net.timeout();
        let mut attempt = 1;
        loop {
            let failure = match self.once(request.clone(), is_download).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let may_repeat = failure.undone || (failure.transient && is_repeatable(&request));
            let left = end.saturating_duration_since(Instant::now());
            let pause = may_repeat
                .then(|| self.net.pause(attempt, failure.error.retry_after(), left))
                .flatten();
            let Some(pause) = pause else {
                return Err(failure.error);
            };
            tracing::debug!(
                store = &*self.place.label,
                attempt,
                pause_ms = pause.as_millis(),
                "{}; trying again",
                failure.error
            );
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn once(&self, request: Outgoing, is_download: bool) -> Result<Answer, Failure> {
        let asked = request.headers.get(header::RANGE).cloned();
        let mut answer = match &self.session {
            Some(session) => session.send(&self.net, request).await?,
            None => self.net.send(request).await?,
        };
        if let Some(asked) = asked {
            self.check_range(&asked, &answer)
                .map_err(Failure::lasting)?;
        }
        if is_download && matches!(answer.status.as_u16(), 200 | 206) {
            return Ok(answer);
        }
        let body = whole(&mut answer.body).await.map_err(|error| Failure {
            error,
            transient: true,
            undone: false,
        })?;
        let judged = self
            .place
            .judge(answer.status, &answer.headers, &body, answer.retry_after);
        match judged {
            Some(failure) => Err(failure),
            None => {
                answer.body = ByteStream::once(body);
                Ok(answer)
            }
        }
    }

    /// What comes must be exactly what was asked for: some servers send everything, or what there is of it.
    fn check_range(&self, asked: &HeaderValue, answer: &Answer) -> Result<()> {
        let given = answer.headers.get(header::CONTENT_RANGE);
        let is_exact = || {
            let asked = asked.to_str().ok()?.strip_prefix("bytes=")?;
            let given = given?.to_str().ok()?.strip_prefix("bytes ")?;
            (given.split('/').next()? == asked).then_some(())
        };
        let label = &self.place.label;
        match answer.status.as_u16() {
            200 => Err(Error::unavailable(format!(
                "{label} sent a whole object where a range was asked for"
            ))),
            416 => Err(Error::invalid(format!(
                "a range does not lie within its object in {label}"
            ))),
            206 if is_exact().is_none() => Err(Error::invalid(format!(
                "a range does not lie within its object in {label}"
            ))),
            _ => Ok(()),
        }
    }
}

impl Wire {
    /// A successful answer to a listing must be one. The protocol's reader takes any XML for an empty listing, the page of a
    /// captive portal too, and an empty listing removes everything that is known.
    async fn listing(&self, mut answer: Answer) -> Result<Answer> {
        let body = whole(&mut answer.body).await?;
        if answer.status == StatusCode::OK && !is_listing(&body) {
            return Err(Error::unavailable(format!(
                "{} answered a listing with something else",
                self.place.label
            )));
        }
        answer.body = ByteStream::once(body);
        Ok(answer)
    }
}

impl HttpTransport for Wire {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let (parts, body) = request.into_parts();
        // Requests of credential chains go to other services, whose refusals mean something to the chain.
        let operation = parts.extensions.get::<Operation>().copied();
        let outgoing = Outgoing {
            method: parts.method.clone(),
            url: parts.uri.to_string(),
            headers: parts.headers,
            body: body.to_bytes(),
        };
        let answer = match operation {
            None => self
                .net
                .send(outgoing)
                .await
                .map_err(|failure| failure.error),
            Some(operation) => {
                let answer = self.ask(outgoing, operation == Operation::Read).await;
                match answer {
                    Ok(answer) if operation == Operation::List => self.listing(answer).await,
                    other => other,
                }
            }
        };
        let answer = answer.map_err(wrap)?;
        let mut response = Response::builder().status(answer.status);
        if let Some(headers) = response.headers_mut() {
            *headers = answer.headers;
        }
        let length = answer.body.length.filter(|_| parts.method != Method::HEAD);
        let body = HttpBody::new(Pieces(Mutex::new(answer.body.stream)), length);
        response
            .body(body)
            .map_err(|error| wrap(Error::internal("an answer cannot be passed on", error)))
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

/// `error` as one of opendal's.
fn wrap(error: Error) -> opendal::Error {
    opendal::Error::new(opendal::ErrorKind::Unexpected, error.message().to_owned())
        .set_source(Carried(Mutex::new(Some(error))))
}

/// The error of ours that `error` carries, if it is one of [`wrap`]'s.
pub(super) fn unwrap(error: &opendal::Error) -> Option<Error> {
    let first = std::error::Error::source(error);
    std::iter::successors(first, |cause| cause.source())
        .find_map(|cause| cause.downcast_ref::<Carried>())
        .and_then(|carried| {
            let mut slot = carried.0.lock().unwrap_or_else(PoisonError::into_inner);
            slot.take()
        })
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("see the message")
    }
}

impl std::error::Error for Carried {}

/// A body that opendal takes: it wants `Sync`, which a stream has no use for.
struct Pieces(Mutex<BoxStream<'static, Result<Bytes>>>);

impl Stream for Pieces {
    type Item = opendal::Result<Buffer>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let stream = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let next = stream.as_mut().poll_next(cx);
        next.map(|item| item.map(|piece| piece.map(Buffer::from).map_err(wrap)))
    }
}

/// Whether doing it twice is as good as doing it once.
fn is_repeatable(request: &Outgoing) -> bool {
    let query = request.url.split_once('?').map(|(_, query)| query);
    request.method != Method::POST && !is_conditional(&request.headers, query)
}

/// A write that succeeds only once: repeated after an answer got lost, it would call its own object somebody else's.
fn is_conditional(headers: &HeaderMap, query: Option<&str>) -> bool {
    headers.contains_key(header::IF_NONE_MATCH)
        || headers.contains_key("x-oss-forbid-overwrite")
        || headers.contains_key("x-cos-forbid-overwrite")
        || query.is_some_and(|query| query.contains("ifGenerationMatch="))
}

/// XML with the element of a listing (S3, OSS and COS; Azure), or JSON (Google, Swift).
fn is_listing(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let start = body.trim_ascii_start();
    let start = start.get(..MAX_START).unwrap_or(start);
    let has = |element: &[u8]| memchr::memmem::find(start, element).is_some();
    match start.first() {
        Some(b'<') => has(b"<ListBucketResult") || has(b"<EnumerationResults"),
        Some(b'{' | b'[') => true,
        _ => false,
    }
}

/// All of a body that is a service's message and not an object.
pub(super) async fn whole(body: &mut ByteStream) -> Result<Bytes> {
    let mut pieces = BytesMut::new();
    while let Some(piece) = body.next().await {
        pieces.extend_from_slice(&piece?);
        if pieces.len() > MAX_MESSAGE {
            return Err(Error::unavailable(
                "an object store sent a message without end",
            ));
        }
    }
    Ok(pieces.freeze())
}

/// Where the first element of a listing stands.
const MAX_START: usize = 1024;

/// A page of a listing has at most 10,000 names of 1 KiB.
const MAX_MESSAGE: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_a_portal_is_no_listing() {
        for listing in [
            "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"x\"><Name>b</Name></ListBucketResult>",
            "\u{feff}<?xml version=\"1.0\"?><EnumerationResults ContainerName=\"c\"/>",
            "{\"kind\": \"storage#objects\"}",
            " []",
        ] {
            assert!(is_listing(listing.as_bytes()), "{listing}");
        }
        for other in [
            "",
            "<!DOCTYPE html><html></html>",
            "<?xml version=\"1.0\"?><Error/>",
            "ok",
        ] {
            assert!(!is_listing(other.as_bytes()), "{other}");
        }
    }
}
