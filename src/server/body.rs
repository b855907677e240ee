//! Request bodies: read as the handler asks, `100 Continue` at the first read, the unread rest thrown away.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Version;
use pingora::protocols::http::ServerSession;
use tokio::time::{Instant, timeout};

use crate::error::{Error, Result};
use crate::http::{RequestBody, header};

/// How much of an unread body is read after the answer, so that the answer arrives: closing a connection with unread bytes
/// resets it, and the reset destroys what is on its way.
const DISCARD_BYTES: usize = 1 << 30;
/// Up to this length an unread body is worth reading to keep the connection.
const KEEP_LENGTH: u64 = 1 << 20;

/// The body of the request that a session has read the head of.
pub(super) struct Incoming<'a> {
    session: &'a mut ServerSession,
    patience: Duration,
    pace: Pace,
    length: Option<u64>,
    wants_continue: bool,
    broken: bool,
    slow: bool,
}

/// How fast a body comes, by the time that we waited for it: a handler that takes its time is not the client's fault.
struct Pace {
    min_rate: u64,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    fn is_too_slow(&self, patience: Duration) -> bool {
        let beyond = self.waited.saturating_sub(patience);
        beyond.as_millis() * u128::from(self.min_rate) > u128::from(self.bytes) * 1000
    }
}

/// What is left of a body once the handler has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing: the next request may follow.
    None,
    /// A bounded rest that is read, after which the next request may follow.
    Short,
    /// A rest that may be long, or that the client may never send: the connection ends.
    Long,
    /// Reading failed: nothing more comes.
    Broken,
}

impl<'a> Incoming<'a> {
    /// `patience` is for the next bytes, `min_rate` (bytes per second, 0: any) for all of them after a first such wait.
    pub(super) fn new(session: &'a mut ServerSession, patience: Duration, min_rate: u64) -> Self {
        let version = session.req_header().version;
        let headers = &session.req_header().headers;
        let value = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let announced = value(header::CONTENT_LENGTH).and_then(|text| text.trim().parse().ok());
        let wants_continue =
            value(header::EXPECT).is_some_and(|text| text.eq_ignore_ascii_case("100-continue"));
        let empty = match session {
            ServerSession::H1(session) => session.is_body_empty(),
            ServerSession::H2(session) => session.is_body_empty(),
            ServerSession::Subrequest(_) | ServerSession::Custom(_) => true,
        };
        Self {
            wants_continue: wants_continue && !empty && version == Version::HTTP_11,
            length: if empty { Some(0) } else { announced },
            session,
            patience,
            pace: Pace {
                min_rate,
                waited: Duration::ZERO,
                bytes: 0,
            },
            broken: false,
            slow: false,
        }
    }

    /// Whether it was given up because it came too slowly.
    pub(super) fn is_slow(&self) -> bool {
        self.slow
    }

    /// What the handler left unread.
    pub(super) fn rest(self) -> Rest {
        let done = is_done(self.session);
        match self.length {
            _ if self.broken => Rest::Broken,
            _ if done => Rest::None,
            // The client was never told to go on, and may take the answer as the end of it.
            _ if self.wants_continue => Rest::Long,
            Some(length) if length <= KEEP_LENGTH => Rest::Short,
            _ => Rest::Long,
        }
    }

    async fn read(&mut self) -> Result<Option<Bytes>> {
        if std::mem::take(&mut self.wants_continue) {
            self.session
                .write_continue_response()
                .await
                .map_err(|err| gone(err.to_string()))?;
        }
        // pingora's own read timeout works for HTTP/1.1 only.
        let began = Instant::now();
        match timeout(self.patience, self.session.read_request_body()).await {
            Ok(Ok(Some(chunk))) => {
                self.pace.waited += began.elapsed();
                self.pace.bytes += chunk.len() as u64;
                if self.pace.is_too_slow(self.patience) {
                    self.slow = true;
                    return Err(Error::invalid(format!(
                        "the client sends its request body slower than {} bytes per second",
                        self.pace.min_rate
                    )));
                }
                Ok(Some(chunk))
            }
            Ok(Ok(None)) => Ok(None),
            Ok(Err(err)) => Err(gone(err.to_string())),
            Err(_) => {
                self.slow = true;
                Err(Error::invalid(format!(
                    "the client sent nothing of its request body for {:?}",
                    self.patience
                )))
            }
        }
    }
}

#[async_trait]
impl RequestBody for Incoming<'_> {
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        if self.broken {
            return Err(gone("an earlier read failed".to_owned()));
        }
        loop {
            match self.read().await {
                Ok(Some(chunk)) if chunk.is_empty() => {}
                Ok(chunk) => return Ok(chunk),
                Err(err) => {
                    self.broken = true;
                    return Err(err);
                }
            }
        }
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}

/// Reads and drops what is left of a request body. False: the client is still sending, or has gone.
pub(super) async fn discard(session: &mut ServerSession, at_most: Duration) -> bool {
    let all = async {
        let mut bytes = 0;
        while bytes < DISCARD_BYTES {
            match session.read_request_body().await {
                Ok(Some(chunk)) => bytes += chunk.len(),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
        false
    };
    timeout(at_most, all).await.unwrap_or(false)
}

fn is_done(session: &mut ServerSession) -> bool {
    match session {
        ServerSession::H1(session) => session.is_body_done(),
        ServerSession::H2(session) => session.is_body_done(),
        ServerSession::Subrequest(_) | ServerSession::Custom(_) => true,
    }
}

fn gone(cause: String) -> Error {
    Error::invalid("the request body ended before it was complete").with_source(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_comes_after_the_first_wait_must_keep_the_pace() {
        let slow = |seconds, bytes, min_rate| {
            let waited = Duration::from_secs(seconds);
            let pace = Pace {
                min_rate,
                waited,
                bytes,
            };
            pace.is_too_slow(Duration::from_secs(30))
        };
        assert!(!slow(30, 0, 500));
        assert!(slow(31, 499, 500));
        assert!(!slow(31, 500, 500));
        assert!(slow(3630, 1_799_999, 500));
        assert!(!slow(3630, 1_800_000, 500));
        assert!(!slow(1_000_000, 1, 0));
    }
}
