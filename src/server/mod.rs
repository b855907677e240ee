//! The process's front: listeners, connections, drain and hand-over around one [`Handler`].
//!
//! The only home of pingora. A program binds first ([`Server::bind`], so that an address in use is told at once), builds what it
//! serves on the same runtime, then calls [`Server::run`]; signals ([`signals`]) or tests steer it through [`Control`].
//! Knows HTTP and nothing of tenants, charts or routes.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::config;
use crate::error::Result;
use crate::http::{Request, RequestBody, Response, StatusCode};

/// Answers requests. One value serves the public listeners, another the admin listener.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. The body may be left unread; a panic becomes a 500. Dropped when the connection is cut by the
    /// end of the grace period, and only then: a client that leaves is noticed at the next read or write.
    async fn handle(&self, request: &Request, body: &mut dyn RequestBody) -> Response;

    /// Told once per answered request, after its last byte: the place for metrics and the access log. Must not block.
    fn finished(&self, request: &Request, outcome: &Outcome) {
        let _ = (request, outcome);
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The status that was sent (or would have been, where the client left before).
    pub status: StatusCode,
    /// Body bytes handed to the connection.
    pub bytes_sent: u64,
    /// From the request's head to the last byte.
    pub duration: Duration,
    /// The answer did not arrive whole: the client left or stalled, or the body failed.
    pub aborted: bool,
}

/// What the program does at the turning points of a server's life.
#[async_trait]
pub trait Hooks: Send + Sync + 'static {
    /// SIGHUP: reread the configuration. Certificates are reread besides. Errors are the hook's to log; serving goes on.
    async fn reload(&self) {}

    /// The last request has ended (or the grace period has): flush what must survive. Has 10 seconds.
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
    /// The Unix socket over which listening sockets are handed to a successor; `None` switches hand-over off.
    pub upgrade_socket: Option<PathBuf>,
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
    pub address: config::ListenAddress,
}

impl BoundAddress {
    /// The socket address; `None` for Unix sockets.
    pub fn socket(&self) -> Option<SocketAddr> {
        match &self.address {
            config::ListenAddress::Tcp(address) => Some(*address),
            config::ListenAddress::Unix(_) => None,
        }
    }
}

/// A URL: `http://127.0.0.1:8080`, `https://[::]:8443`, `unix:/run/chartgate.sock`.
impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.address, self.surface) {
            (config::ListenAddress::Unix(_), _) => self.address.fmt(f),
            (config::ListenAddress::Tcp(address), Surface::Https) => write!(f, "https://{address}"),
            (config::ListenAddress::Tcp(address), Surface::Http | Surface::Admin) => {
                write!(f, "http://{address}")
            }
        }
    }
}

/// Steers a server from outside; cheap to clone. Fed by signals in production, by tests directly.
#[derive(Clone, Debug)]
pub struct Control {}

impl Control {
    /// Whether the server has stopped accepting and waits for requests in flight: not ready any more.
    pub fn draining(&self) -> bool {
        todo!()
    }

    /// Stop accepting, let requests in flight end, then return from [`Server::run`] (SIGTERM).
    pub fn drain(&self) {
        todo!()
    }

    /// Cut every connection and return from [`Server::run`] (SIGINT).
    pub fn stop(&self) {
        todo!()
    }

    /// Reread certificates and call [`Hooks::reload`] (SIGHUP).
    pub fn reload(&self) {
        todo!()
    }

    /// Hand the listening sockets to a successor, then drain (SIGQUIT).
    pub fn hand_over(&self) {
        todo!()
    }
}

/// Bound listeners, not yet accepting: the system queues connections meanwhile.
#[derive(Debug)]
pub struct Server {}

impl Server {
    /// Binds every listener and reads certificates, or takes the sockets over ([`ServerOptions::upgrade`]).
    /// Errors name the address or file. Needs a tokio runtime.
    pub async fn bind(config: &config::Server, options: ServerOptions) -> Result<Self> {
        let _ = (config, options);
        todo!()
    }

    /// Every listener with its real address, in the order of the configuration.
    pub fn bound(&self) -> &[BoundAddress] {
        todo!()
    }

    /// The handle that steers this server; give it to the readiness endpoint and to [`signals`].
    pub fn control(&self) -> Control {
        todo!()
    }

    /// Accepts and serves until [`Control::drain`] or [`Control::stop`]; returns when the last connection has ended, at the
    /// latest after the grace period. Dropping the future stops accepting but does not wait for connections.
    pub async fn run(
        self,
        public: Arc<dyn Handler>,
        admin: Arc<dyn Handler>,
        hooks: Arc<dyn Hooks>,
    ) -> Result<()> {
        let _ = (public, admin, hooks);
        todo!()
    }
}

/// Turns SIGTERM, SIGINT, SIGHUP and SIGQUIT into calls of `control` for the rest of the process's life.
/// Must be called on a tokio runtime, once.
pub fn signals(control: Control) -> Result<()> {
    let _ = control;
    todo!()
}

/// The runtime that a program should serve on: `config.threads` workers.
pub fn runtime(config: &config::Server) -> Result<tokio::runtime::Runtime> {
    let _ = config;
    todo!()
}

/// Log filter directives that keep port scanners and broken clients out of the log; put them before the user's own.
pub const LOG_DIRECTIVES: &[&str] = &["pingora_core::services::listening=off", "pingora_core=warn"];
