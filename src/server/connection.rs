//! One connection from its first byte to its last: counted, capped, recognised as HTTP/1.1 or h2c, cut when the server ends.
//!
//! pingora's own look for the h2c preface waits for 24 bytes without a limit, so that `GET / HTTP/1.0` or silence hang;
//! [`Front`] looks first and tells pingora which protocol it is.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerOptions, ServerApp};
use pingora::protocols::l4::stream::Stream as PlainStream;
use pingora::protocols::{ALPN, Stream};
use pingora::server::ShutdownWatch;
use tokio::io::AsyncReadExt as _;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::tls::ClientSubject;
use super::{Handler, Times};

const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What all connections of one handler share.
pub(super) struct Front {
    pub(super) handler: Arc<dyn Handler>,
    pub(super) ids: RequestIds,
    pub(super) times: Times,
    tracker: Arc<Tracker>,
    kill: watch::Receiver<bool>,
    http1: HttpServerOptions,
    http2: HttpServerOptions,
}

impl Front {
    pub(super) fn new(
        handler: Arc<dyn Handler>,
        tracker: Arc<Tracker>,
        kill: watch::Receiver<bool>,
        times: Times,
    ) -> Self {
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
            tracker,
            kill,
            http1: options(false),
            http2: options(true),
        }
    }

    /// Resolves when every connection is to be cut.
    pub(super) async fn killed(&self) {
        let mut kill = self.kill.clone();
        let _ = kill.wait_for(|kill| *kill).await;
    }

    /// Waits for something a client sends: at most `limit`, and once drain has begun at most [`Times::linger`] more, so that
    /// a request already on its way is answered instead of met by a closed connection.
    pub(super) async fn patiently<T>(
        &self,
        shutdown: &ShutdownWatch,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = pin!(timeout(limit, work));
        let mut watch = shutdown.clone();
        // `wait_for` yields a guard that must not cross an await.
        let draining = async move {
            let _ = watch.wait_for(|draining| *draining).await;
        };
        tokio::select! {
            biased;
            done = &mut work => done.ok(),
            () = draining => timeout(self.times.linger, work).await.ok()?.ok(),
        }
    }

    async fn serve(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) {
        let (stream, h2c) = if stream.get_ssl_digest().is_some() {
            (stream, false)
        } else {
            let looked = self
                .patiently(shutdown, self.times.head, look_for_h2c(stream))
                .await;
            let Some(Some(found)) = looked else { return };
            found
        };
        let http2 = h2c || matches!(stream.selected_alpn_proto(), Some(ALPN::H2));
        let connection = Arc::new(Connection::new(self.clone(), &stream, h2c));
        let served = connection.process_new(stream, shutdown);
        tokio::select! {
            biased;
            _ = served => {}
            () = connection.unused(), if http2 => {}
        }
    }
}

#[async_trait]
impl ServerApp for Front {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let _open = self.tracker.enter()?;
        tokio::select! {
            biased;
            () = self.killed() => {}
            () = self.serve(stream, shutdown) => {}
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
    pub(super) peer: Option<SocketAddr>,
    pub(super) subject: Option<Arc<str>>,
    h2c: bool,
    requests: AtomicU32,
}

impl Connection {
    fn new(front: Arc<Front>, stream: &Stream, h2c: bool) -> Self {
        let socket = stream.get_socket_digest();
        let peer = socket.and_then(|socket| socket.peer_addr()?.as_inet().copied());
        let subject = stream.get_ssl_digest().and_then(|tls| {
            let subject = tls.extension.get::<ClientSubject>()?;
            Some(subject.0.clone())
        });
        Self {
            front,
            peer,
            subject,
            h2c,
            requests: AtomicU32::new(0),
        }
    }

    pub(super) fn options(&self) -> &HttpServerOptions {
        if self.h2c {
            &self.front.http2
        } else {
            &self.front.http1
        }
    }

    /// Whether this is the connection's first request; counts it.
    pub(super) fn count_request(&self) -> bool {
        self.requests.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Whether a request came before.
    pub(super) fn is_reused(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    /// Resolves for an HTTP/2 connection that sends no request: pingora's idle time starts only after the preface.
    async fn unused(&self) {
        sleep(self.front.times.idle).await;
        if self.is_reused() {
            std::future::pending::<()>().await;
        }
    }
}

/// Counts open connections and refuses those above the cap.
#[derive(Debug)]
pub(super) struct Tracker {
    open: AtomicUsize,
    max: usize,
    ended: Notify,
    refused: AtomicU64,
}

impl Tracker {
    pub(super) fn new(max: usize) -> Self {
        Self {
            open: AtomicUsize::new(0),
            max,
            ended: Notify::new(),
            refused: AtomicU64::new(0),
        }
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Resolves when no connection is open.
    pub(super) async fn none_open(&self) {
        loop {
            let mut ended = pin!(self.ended.notified());
            ended.as_mut().enable();
            if self.open() == 0 {
                return;
            }
            ended.await;
        }
    }

    fn enter(self: &Arc<Self>) -> Option<Open> {
        let open = Open(self.clone());
        if self.open.fetch_add(1, Ordering::SeqCst) < self.max {
            return Some(open);
        }
        let refused = self.refused.fetch_add(1, Ordering::Relaxed);
        // The first, then every thousandth: an attack must not fill the log as well.
        if refused.is_multiple_of(1000) {
            tracing::warn!(
                "{} connections are open, the most that the limit of open files allows; refusing more",
                self.max
            );
        }
        None
    }
}

/// One open connection.
struct Open(Arc<Tracker>);

impl Drop for Open {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.ended.notify_waiters();
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

    /// 32 hexadecimal digits.
    pub(super) fn make(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        // An odd factor maps counts one to one, so that neighbours look different.
        let both =
            u128::from(self.prefix) << 64 | u128::from(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let digit = |at: u32| char::from(DIGITS[(both >> (124 - 4 * at)) as usize & 15]);
        (0..32).map(digit).collect()
    }
}
