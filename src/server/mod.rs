//! The process's front: listeners, connections, drain and hand-over around one [`Handler`].
//!
//! The only home of pingora. A program binds first ([`Server::bind`], so that an address in use is told at once), builds what it
//! serves on the same runtime, then calls [`Server::run`]; signals ([`signals`]) or tests steer it through [`Control`].
//! Knows HTTP and nothing of tenants, charts or routes.

mod body;
mod connection;
mod control;
mod exchange;
mod forwarded;
mod group;
mod head;
mod listen;
mod manners;
mod proxy_protocol;
mod redirect;
mod registry;
mod respond;
mod run;
mod takeover;
mod tls;
mod turned_away;
#[doc(hidden)]
pub mod untrusted;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

pub use self::control::{Control, signals};
pub use self::run::{Server, runtime};
pub use self::turned_away::TurnedAway;
use crate::config::{self, ListenAddress};
use crate::http::{Request, RequestBody, Response, StatusCode};

/// Answers requests. One value serves the public listeners, another the admin listener.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. The body may be left unread; a panic becomes a 500.
    ///
    /// Cancelled only where its connection is cut: at the end of the grace period and by [`Control::stop`]. A client that
    /// leaves is noticed at the next read or write. Work that must end all the same belongs into a task of its own.
    async fn handle(&self, request: &Request, body: &mut dyn RequestBody) -> Response;

    /// Told once per request that [`Handler::handle`] answered, after the last byte: the place for metrics and the access
    /// log. Must not block. Requests that the server itself refuses (malformed heads) are not told: see [`Handler::refused`].
    fn finished(&self, request: &Request, outcome: &Outcome) {
        let _ = (request, outcome);
    }

    /// Told of every request that the server refused without asking, because its head is malformed or too large. `peer` is who is
    /// connected, `id` what the answer's `X-Request-Id` says. Must not block; anybody may cause as many as he likes.
    fn refused(&self, peer: Option<SocketAddr>, id: &str, status: StatusCode) {
        let _ = (peer, id, status);
    }

    /// Told once per connection that the server refused or cut, and per body that it gave up: the place for metrics. Must not
    /// block.
    fn turned_away(&self, why: TurnedAway) {
        let _ = why;
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The status that was sent, or would have been where the client left before.
    pub status: StatusCode,
    /// Body bytes handed to the connection.
    pub bytes_sent: u64,
    /// From the request's head to the last byte.
    pub duration: Duration,
    /// The answer did not leave whole: the client left or stalled, or the body failed.
    pub aborted: bool,
}

/// What the program does at the turning points of a server's life.
#[async_trait]
pub trait Hooks: Send + Sync + 'static {
    /// SIGHUP: reread the configuration. Certificates are reread besides. Failures are the hook's to log; serving goes on.
    async fn reload(&self) {}

    /// The last request has ended, or the grace period has: flush what must survive. Has 10 seconds.
    async fn shutdown(&self) {}
}

/// Hooks that do nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {}

/// How a server starts.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// Take the listening sockets over from the running process instead of binding them.
    pub upgrade: bool,
    /// The Unix socket over which listening sockets are handed to a successor; `None` switches hand-over off. Its folder
    /// must be closed to other users: whoever can connect could offer sockets.
    pub upgrade_socket: Option<PathBuf>,
    /// How patient the server is with clients.
    pub times: Times,
}

/// How patient the server is. The defaults are for production; tests shorten them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// For the whole head of a connection's first request. Default 30 s.
    pub head: Duration,
    /// For the whole head of the next request on a connection that had one. Default 75 s, above the 60 s that load balancers
    /// commonly keep theirs for.
    pub idle: Duration,
    /// For the next bytes of a request's body. Default 60 s; `read_timeout` of a configuration is shorter.
    pub read: Duration,
    /// For a client to read the next 256 KiB of an answer. Default 60 s.
    pub write: Duration,
    /// For the rest of an upload that was answered early, so that the answer arrives. Default 3 s.
    pub discard: Duration,
    /// For a request on an idle connection once drain has begun; at most a quarter of the grace period. Default 3 s.
    pub linger: Duration,
    /// Between two looks at the certificate files. Default 2 s.
    pub certificate_poll: Duration,
}

impl Times {
    /// As patient as the configuration says, and otherwise as always.
    pub fn of(config: &config::Server) -> Self {
        let defaults = Self::default();
        Self {
            head: config.read_timeout,
            read: config.read_timeout,
            write: config.write_timeout,
            // Between two requests a client may rest for longer.
            ..defaults
        }
    }
}

impl Default for Times {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(30),
            idle: Duration::from_secs(75),
            read: Duration::from_secs(60),
            write: Duration::from_secs(60),
            discard: Duration::from_secs(3),
            linger: Duration::from_secs(3),
            certificate_poll: Duration::from_secs(2),
        }
    }
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// Plain HTTP/1.1 and h2c.
    Http,
    /// TLS with HTTP/1.1 and HTTP/2.
    Https,
    /// The admin listener (plain).
    Admin,
}

/// A listener with the address it really has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundAddress {
    /// What it serves.
    pub surface: Surface,
    /// The address, with the port that the system chose where the configuration says 0.
    pub address: ListenAddress,
}

impl BoundAddress {
    /// The socket address; `None` for Unix sockets.
    pub fn socket(&self) -> Option<SocketAddr> {
        match &self.address {
            ListenAddress::Tcp(address) => Some(*address),
            ListenAddress::Unix(_) => None,
        }
    }
}

/// A URL: `http://127.0.0.1:8080`, `https://[::]:8443`, `unix:/run/chartgate.sock`.
impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.address, self.surface) {
            (ListenAddress::Unix(_), _) => self.address.fmt(f),
            (ListenAddress::Tcp(address), Surface::Https) => write!(f, "https://{address}"),
            (ListenAddress::Tcp(address), Surface::Http | Surface::Admin) => {
                write!(f, "http://{address}")
            }
        }
    }
}

/// Log filter directives that keep port scanners and broken clients out of the log; the user's own come after them.
///
/// pingora reports running out of file descriptors at error level under the first target; the connection cap prevents that, and
/// logs under our own name. Failed TLS handshakes are ours, at debug level.
pub const LOG_DIRECTIVES: &[&str] = &[
    "pingora_core=warn",
    "pingora_core::services::listening=off",
    "pingora_core::apps=off",
];
