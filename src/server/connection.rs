//! One connection from its first byte to its last: counted, asked who it is (PROXY protocol, TLS), recognised as HTTP/1.1 or
//! h2c, served by pingora, cut when it waits too long or the server ends.
//!
//! pingora's own look for the h2c preface waits for 24 bytes without a limit, so that `GET / HTTP/1.0` or silence hang;
//! [`Front`] looks first and tells pingora which protocol it is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use pingora::apps::{HttpServerOptions, ServerApp};
use pingora::protocols::l4::stream::Stream as PlainStream;
use pingora::protocols::{ALPN, GetSocketDigest as _, Stream};
use pingora::server::ShutdownWatch;
use tokio::io::AsyncReadExt as _;

use super::manners::{Manners, Opening};
use super::proxy_protocol;
use super::registry::{Entry, Registry, Watch};
use super::tls::{ClientCertificate, Shown};
use super::{Handler, Times, TurnedAway};

const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What all connections of one listener share.
pub(super) struct Front {
    pub(super) handler: Arc<dyn Handler>,
    pub(super) ids: Arc<RequestIds>,
    pub(super) times: Times,
    pub(super) manners: Arc<Manners>,
    pub(super) opening: Opening,
    registry: Arc<Registry>,
    http1: HttpServerOptions,
    http2: HttpServerOptions,
}

impl Front {
    pub(super) fn new(
        handler: Arc<dyn Handler>,
        ids: Arc<RequestIds>,
        registry: Arc<Registry>,
        times: Times,
        manners: Arc<Manners>,
        opening: Opening,
    ) -> Self {
        let options = |h2c| {
            let mut options = HttpServerOptions::default();
            options.h2c = h2c;
            options.h2_idle_timeout = Some(times.idle);
            options
        };
        Self {
            handler,
            ids,
            times,
            manners,
            opening,
            registry,
            http1: options(false),
            http2: options(true),
        }
    }

    /// What comes before the first request, in the order of the wire, and then the requests. The registry cuts whoever takes
    /// longer for the beginning than for a head. The error is why there are none.
    async fn serve(
        self: &Arc<Self>,
        entry: &mut Entry,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Result<(), TurnedAway> {
        let Ok(mut plain) = stream.into_any().downcast::<PlainStream>() else {
            return Ok(());
        };
        // 1. Who is there. A peer that has gone already has no address.
        let neighbour = address_of(&plain);
        if neighbour.is_none() && !self.opening.unix {
            return Ok(());
        }
        let trusted = &self.manners.trusted;
        let mut peer = neighbour;
        if self.opening.proxy_protocol {
            if !trusted.trusts(neighbour.map(|address| address.ip())) {
                tracing::debug!(client.address = ?neighbour, "a connection from no trusted proxy to a listener for these was closed");
                return Err(TurnedAway::Untrusted);
            }
            match proxy_protocol::read(&mut *plain).await {
                Ok(client) => peer = client.or(neighbour),
                Err(why) => {
                    tracing::debug!(client.address = ?neighbour, "a PROXY protocol header was not usable ({why:?}); the connection was closed");
                    return Err(TurnedAway::ProxyHeader);
                }
            }
        }
        // 2. Whether it has connections enough. A trusted proxy has those of all its clients.
        let trusted = trusted.trusts(peer.map(|address| address.ip()));
        if let Some(peer) = peer
            && !trusted
            && !entry.belongs_to(peer.ip())
        {
            return Err(TurnedAway::PerAddress);
        }
        // 3. TLS, or a look at which protocol it is.
        let (stream, h2c): (Stream, bool) = match &self.opening.identity {
            Some(identity) => match identity.accept(*plain).await {
                Ok(stream) => (Box::new(stream), false),
                Err(err) => {
                    tracing::debug!(client.address = ?peer, "a TLS handshake failed: {err}");
                    return Err(TurnedAway::Handshake);
                }
            },
            None => {
                let Some(h2c) = look_for_h2c(&mut plain).await else {
                    return Ok(());
                };
                (plain, h2c)
            }
        };
        // 4. Requests.
        if h2c || matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            entry.watch.speaks_http2();
        }
        let client = match certificate(&stream) {
            Some(ClientCertificate::Refused) => {
                tracing::debug!(client.address = ?peer, "a resumed TLS session had a client certificate that does not count any more");
                return Err(TurnedAway::Certificate);
            }
            Some(ClientCertificate::Verified(shown)) => Some(shown),
            None => None,
        };
        let connection = Connection {
            front: self.clone(),
            watch: entry.watch.clone(),
            peer,
            trusted,
            secure: self.opening.identity.is_some(),
            client,
            running: AtomicUsize::new(0),
            h2c,
        };
        Arc::new(connection).process_new(stream, shutdown).await;
        Ok(())
    }
}

#[async_trait]
impl ServerApp for Front {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let Some(mut entry) = self.registry.enter() else {
            self.handler.turned_away(TurnedAway::TooMany);
            return None;
        };
        let watch = entry.watch.clone();
        let refused = tokio::select! {
            biased;
            served = self.serve(&mut entry, stream, shutdown) => served.err(),
            () = watch.is_cut() => None,
        };
        if let Some(why) = refused.or(watch.why_cut()) {
            self.handler.turned_away(why);
        }
        None
    }
}

fn address_of(stream: &PlainStream) -> Option<SocketAddr> {
    let socket = stream.get_socket_digest()?;
    let address = socket.peer_addr()?.as_inet()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// What is known of the client's certificate, if it showed one.
fn certificate(stream: &Stream) -> Option<ClientCertificate> {
    let tls = stream.get_ssl_digest()?;
    tls.extension.get().cloned()
}

/// Reads until the preface is complete or impossible, and puts the bytes back. `None`: the peer left.
async fn look_for_h2c(plain: &mut PlainStream) -> Option<bool> {
    let mut seen = [0; H2_PREFACE.len()];
    let mut length = 0;
    while length < seen.len() && H2_PREFACE.starts_with(&seen[..length]) {
        match plain.read(&mut seen[length..]).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => length += read,
        }
    }
    plain.rewind(&seen[..length]);
    Some(seen == *H2_PREFACE)
}

/// What the requests of one connection share.
pub(super) struct Connection {
    pub(super) front: Arc<Front>,
    pub(super) watch: Arc<Watch>,
    /// The client, or the last proxy before us.
    pub(super) peer: Option<SocketAddr>,
    pub(super) secure: bool,
    /// The certificate that the client showed.
    client: Option<Arc<Shown>>,
    /// Whether what `peer` says about its client counts.
    pub(super) trusted: bool,
    running: AtomicUsize,
    h2c: bool,
}

/// Streams that one connection may have open at a time.
pub(super) const MAX_STREAMS: u32 = 100;
/// Requests of one connection that may run at a time, those of streams that are gone included.
const MAX_RUNNING: usize = 3 * MAX_STREAMS as usize;

/// One running request of a stream.
pub(super) struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    /// Counts a request of a stream that begins; `None`: so many run that the client cannot have meant it.
    ///
    /// A stream that the client resets makes room for the next at once, while its request may still run: without a limit of
    /// their own requests would pile up (CVE-2023-44487).
    pub(super) fn begin_stream(&self) -> Option<Running<'_>> {
        let before = self.running.fetch_add(1, Ordering::Relaxed);
        let running = Running(&self.running);
        (before < MAX_RUNNING).then_some(running)
    }

    /// The subject of the client's certificate.
    pub(super) fn subject(&self) -> Option<Arc<str>> {
        self.client.as_ref()?.subject()
    }

    /// Whether the client is still who it was when it came. Asked before each request; a connection whose client is not is cut,
    /// so that nobody keeps an identity by never leaving. What runs already ends as it began, as with users that are removed.
    pub(super) fn is_still_itself(&self) -> bool {
        let (Some(client), Some(identity)) = (&self.client, &self.front.opening.identity) else {
            return true;
        };
        let counts = identity.counts(client);
        if !counts {
            tracing::debug!(client.address = ?self.peer, "a client certificate does not count any more; its connection was closed");
            self.watch.cut(TurnedAway::Certificate);
        }
        counts
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
    pub(super) fn new() -> Self {
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
