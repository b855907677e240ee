//! An answer whose body is still on its way.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use url::Url;

use super::budget::Place;
use super::fault;
use crate::error::{Error, Result};
use crate::http::{ByteStream, HeaderMap, StatusCode, header};

/// A successful answer: 200, 206 or 304.
#[derive(Debug)]
pub struct Reply {
    /// 200, 206 or 304.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Where it came from, after redirects; without credentials.
    pub url: Url,
    /// The bytes as they are on the wire: no content coding is undone.
    ///
    /// It fails when the connection ends before the announced end, and when nothing arrives for the upstream's `timeout`.
    /// HTTP/1.1 has no way to see that a server would have sent *more* than it announced; HTTP/2 fails then too.
    pub body: ByteStream,
}

impl Reply {
    /// A header's text.
    pub fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What a body needs to know to say what went wrong with it.
#[derive(Debug)]
pub(super) struct BodyContext {
    /// Who sends it: ``upstream `x` ``.
    pub(super) source: String,
    pub(super) object: String,
    pub(super) stall: Duration,
    /// The body's place among the upstream's requests, until it has ended.
    pub(super) _place: Option<Place>,
}

/// The body of `response`, watched.
pub(super) fn body(response: reqwest::Response, context: BodyContext) -> ByteStream {
    if response.status() == StatusCode::NOT_MODIFIED {
        return ByteStream::once(Bytes::new());
    }
    let length = response.content_length();
    let state = Some((response, context, 0));
    let chunks = stream::unfold(state, move |state| async move {
        let (mut response, context, received) = state?;
        match next(&mut response, &context, received, length).await {
            Ok(None) => None,
            Ok(Some(bytes)) => {
                let received = received + bytes.len() as u64;
                Some((Ok(bytes), Some((response, context, received))))
            }
            Err(error) => Some((Err(error), None)),
        }
    });
    ByteStream::new(chunks, length)
}

async fn next(
    response: &mut reqwest::Response,
    context: &BodyContext,
    received: u64,
    length: Option<u64>,
) -> Result<Option<Bytes>> {
    let BodyContext {
        source,
        object,
        stall,
        ..
    } = context;
    let told = match tokio::time::timeout(*stall, response.chunk()).await {
        Err(_) => {
            return Err(Error::unavailable(format!(
                "{source} stopped in the middle of {object}: nothing for {stall:?} after {received} bytes"
            )));
        }
        Ok(Err(error)) => {
            let cause = fault::cause(&error);
            return Err(Error::unavailable(format!(
                "{source} broke off in the middle of {object} after {received} bytes: {cause}"
            ))
            .with_source(error));
        }
        Ok(Ok(told)) => told,
    };
    let received = received + told.as_ref().map_or(0, |bytes| bytes.len() as u64);
    // The transport checks this too; a body of the wrong length is too costly to rely on that alone.
    let wrong = length.is_some_and(|length| match told {
        None => received != length,
        Some(_) => received > length,
    });
    if wrong {
        return Err(Error::unavailable(format!(
            "{source} sent {received} bytes of {object} where it announced {}",
            length.unwrap_or_default()
        )));
    }
    Ok(told)
}
