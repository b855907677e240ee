//! The listeners of one handler, each served by a pingora service: they start, drain and end together.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use pingora::listeners::{L4BufferSettings, ListenerConfig, TcpSocketOptions};
use pingora::protocols::TcpKeepalive;
use pingora::server::{Fds, ListenFds};
use pingora::services::Service as _;
use pingora::services::listening::Service;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::connection::{Front, RequestIds};
use super::listen::{self, Listener};
use super::manners::Manners;
use super::registry::Registry;
use super::takeover::Offer;
use super::{Handler, Times};
use crate::config::ListenAddress;
use crate::error::{Error, ErrorKind};

/// A running service with what steers it. Dropping it cuts its connections.
pub(super) struct Group {
    service: JoinSet<()>,
    shutdown: watch::Sender<bool>,
    pub(super) registry: Arc<Registry>,
    look_over: AbortHandle,
    pub(super) offers: Vec<Offer>,
}

impl Group {
    pub(super) fn start(
        handler: &Arc<dyn Handler>,
        listeners: Vec<Listener>,
        most_connections: usize,
        times: Times,
        manners: Manners,
    ) -> Self {
        let (shutdown, draining) = watch::channel(false);
        let max = manners.max_connections.unwrap_or(usize::MAX);
        let max = max.min(most_connections);
        let per_address = manners.max_connections_per_address;
        let registry = Arc::new(Registry::new(max, per_address, times));
        let ids = Arc::new(RequestIds::new());
        let manners = Arc::new(manners);
        let mut services = Vec::new();
        let mut table = Fds::new();
        let mut offers = Vec::new();
        for (index, listener) in listeners.into_iter().enumerate() {
            // pingora finds the socket by this text, and wants the path of a Unix socket to be it.
            let (key, endpoint) = match &listener.bound.address {
                ListenAddress::Tcp(_) => {
                    let key = index.to_string();
                    let endpoint = ListenerConfig::tcp(key.as_str());
                    (key, endpoint.tcp_socket_options(socket_options()))
                }
                ListenAddress::Unix(path) => {
                    let key = path.to_string_lossy().into_owned();
                    let mode = Permissions::from_mode(listen::SOCKET_MODE);
                    (key.clone(), ListenerConfig::uds(key).permissions(mode))
                }
            };
            // TLS and what may come before it are the front's, so that handshakes are counted and watched.
            let front = Front::new(
                handler.clone(),
                ids.clone(),
                registry.clone(),
                times,
                manners.clone(),
                listener.opening,
            );
            let mut service = Service::new("http".to_owned(), front);
            let buffers = L4BufferSettings::new(READ_BUFFER, WRITE_BUFFER);
            service.add_listener(endpoint.l4_buffer(buffers));
            let fd = listener.socket.into_raw();
            table.add(key, fd);
            services.push(service);
            offers.push(Offer {
                name: listener.name,
                bound: listener.bound,
                fd,
            });
        }
        let look_over = registry.clone().look_over(shutdown.subscribe());
        let look_over = tokio::spawn(look_over).abort_handle();
        let mut tasks = JoinSet::new();
        let sockets: ListenFds = Arc::new(table.into());
        for mut service in services {
            let (sockets, draining) = (sockets.clone(), draining.clone());
            tasks.spawn(async move {
                service
                    .start_service(Some(sockets), draining, ACCEPT_TASKS)
                    .await;
            });
        }
        Self {
            service: tasks,
            shutdown,
            registry,
            look_over,
            offers,
        }
    }

    /// Resolves only if the listeners end by themselves, which they do by panicking alone.
    pub(super) async fn failed(&mut self) -> Error {
        match self.service.join_next().await {
            Some(Err(err)) => Error::internal("a listener could not be served", err),
            Some(Ok(())) => Error::new(ErrorKind::Internal, "the listeners stopped by themselves"),
            None => std::future::pending().await,
        }
    }

    /// Stops accepting, tells connections, waits until they have ended.
    pub(super) async fn drain(&mut self, at_most: Duration) {
        self.shutdown.send_replace(true);
        let ended = async {
            while self.service.join_next().await.is_some() {}
            // A connection accepted in the last instant may not have reached its handler yet.
            tokio::time::sleep(SETTLE_TIME).await;
            self.registry.none_open().await;
        };
        let _ = tokio::time::timeout(at_most, ended).await;
    }

    /// Cuts what is left and says how many connections that were.
    pub(super) fn cut(&mut self) -> usize {
        self.shutdown.send_replace(true);
        self.service.abort_all();
        self.look_over.abort();
        self.registry.cut_all()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.cut();
    }
}

/// A peer that vanished, or reads nothing for the user timeout, loses its connection whatever the protocol above waits for.
fn socket_options() -> TcpSocketOptions {
    let mut options = TcpSocketOptions::default();
    options.tcp_keepalive = Some(TcpKeepalive {
        idle: Duration::from_secs(60),
        interval: Duration::from_secs(15),
        count: 4,
        #[cfg(target_os = "linux")]
        user_timeout: Duration::from_secs(90),
    });
    options
}

/// Request heads fit; bodies are read past the buffer.
const READ_BUFFER: usize = 8 * 1024;
/// Head and a small body leave in one system call; larger ones bypass the buffer.
const WRITE_BUFFER: usize = 64 * 1024;
const ACCEPT_TASKS: usize = 1;
const SETTLE_TIME: Duration = Duration::from_millis(50);
