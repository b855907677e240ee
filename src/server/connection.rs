//! One connection from its first byte to its last: counted, recognised as HTTP/1.1 or h2c, served by pingora, cut when it
//! waits too long or the server ends.
//!
//! pingora's own look for the h2c preface waits for 24 bytes without a limit, so that `GET / HTTP/1.0` or silence hang;
//! [`Front`] looks first and tells pingora which protocol it is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use pingora::apps::{HttpServerOptions, ServerApp};
use pingora::protocols::l4::stream::Stream as PlainStream;
use pingora::protocols::{ALPN, Stream};
use pingora::server::ShutdownWatch;
use tokio::io::AsyncReadExt as _;

use super::registry::{Registry, Watch};
use super::tls::ClientSubject;
use super::{Handler, Times};

const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What all connections of one handler share.
pub(super) struct Front {
    pub(super) handler: Arc<dyn Handler>,
    pub(super) ids: RequestIds,
    pub(super) times: Times,
    registry: Arc<Registry>,
    http1: HttpServerOptions,
    http2: HttpServerOptions,
}

impl Front {
    pub(super) fn new(handler: Arc<dyn Handler>, registry: Arc<Registry>, times: Times) -> Self {
        let options = |h2c| {
            let mut options = HttpServerOptions::default();
            options.h2c = h2c;
            options.h2_idle_timeout = Some(times.idle);
            options
        };
        Self {
            handler,
            ids: RequestIds::new(),
            times,
            registry,
            http1: options(false),
            http2: options(true),
        }
    }

    async fn serve(self: &Arc<Self>, watch: Arc<Watch>, stream: Stream, shutdown: &ShutdownWatch) {
        let (stream, h2c) = if stream.get_ssl_digest().is_some() {
            (stream, false)
        } else {
            let Some(found) = look_for_h2c(stream).await else {
                return;
            };
            found
        };
        if h2c || matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            watch.speaks_http2();
        }
        let connection = Arc::new(Connection::new(self.clone(), watch, &stream, h2c));
        connection.process_new(stream, shutdown).await;
    }
}

#[async_trait]
impl ServerApp for Front {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let entry = self.registry.enter()?;
        tokio::select! {
            biased;
            () = self.serve(entry.watch.clone(), stream, shutdown) => {}
            () = entry.watch.is_cut() => {}
        }
        None
    }
}

/// Reads until the preface is complete or impossible, and puts the bytes back. `None`: the peer left.
async fn look_for_h2c(stream: Stream) -> Option<(Stream, bool)> {
    let mut plain = stream.into_any().downcast::<PlainStream>().ok()?;
    let mut seen = [0; H2_PREFACE.len()];
    let mut length = 0;
    while length < seen.len() && H2_PREFACE.starts_with(&seen[..length]) {
        match plain.read(&mut seen[length..]).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => length += read,
        }
    }
    plain.rewind(&seen[..length]);
    Some((plain, seen == *H2_PREFACE))
}

/// What the requests of one connection share.
pub(super) struct Connection {
    pub(super) front: Arc<Front>,
    pub(super) watch: Arc<Watch>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) secure: bool,
    pub(super) subject: Option<Arc<str>>,
    h2c: bool,
}

impl Connection {
    fn new(front: Arc<Front>, watch: Arc<Watch>, stream: &Stream, h2c: bool) -> Self {
        let socket = stream.get_socket_digest();
        let peer = socket.and_then(|socket| socket.peer_addr()?.as_inet().copied());
        let subject = stream.get_ssl_digest().and_then(|tls| {
            let subject = tls.extension.get::<ClientSubject>()?;
            Some(subject.0.clone())
        });
        Self {
            front,
            watch,
            peer,
            secure: stream.get_ssl_digest().is_some(),
            subject,
            h2c,
        }
    }

    pub(super) fn options(&self) -> &HttpServerOptions {
        if self.h2c {
            &self.front.http2
        } else {
            &self.front.http1
        }
    }
}

/// Makes request ids: unique in this process by counting, between processes by a random start and prefix.
pub(super) struct RequestIds {
    prefix: u64,
    next: AtomicU64,
}

impl RequestIds {
    fn new() -> Self {
        // Without system randomness the time is unique enough for a log.
        let fallback = |_| jiff::Timestamp::now().as_nanosecond() as u64;
        Self {
            prefix: getrandom::u64().unwrap_or_else(fallback),
            next: AtomicU64::new(getrandom::u64().unwrap_or_else(fallback)),
        }
    }

    /// A version 4 UUID as RFC 9562 §4 writes it; ChartMuseum's are such.
    pub(super) fn make(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        // An odd factor maps counts one to one, so that neighbours look different.
        let count = count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(self.prefix & !0xf000 | 0x4000).to_be_bytes());
        // The lower 62 bits of the product are still one to one with those of the count.
        bytes[8..].copy_from_slice(&(count & (u64::MAX >> 2) | 1 << 63).to_be_bytes());
        let mut text = String::with_capacity(36);
        for (at, byte) in bytes.into_iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_random_uuids_and_differ() {
        let ids = RequestIds::new();
        let made: std::collections::HashSet<_> = (0..1000).map(|_| ids.make()).collect();
        assert_eq!(made.len(), 1000);
        for id in made {
            let parts: Vec<&str> = id.split('-').collect();
            let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
            assert!(id.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit()));
            assert!(parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']));
        }
    }
}
