//! A running server with a [`Desk`] behind it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chartgate::config::{self, ForwardedHeader, ListenAddress, TrustedProxies};
use chartgate::error::Result;
use chartgate::server::{BoundAddress, Control, Hooks, Server, ServerOptions, Surface, Times};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::desk::Desk;
use super::raw::Raw;

pub(super) struct World {
    pub(super) desk: Arc<Desk>,
    pub(super) admin_desk: Arc<Desk>,
    pub(super) hooks: Arc<Counted>,
    pub(super) bound: Vec<BoundAddress>,
    pub(super) control: Control,
    pub(super) done: JoinHandle<Result<()>>,
}

/// Counts hook calls.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) reloaded: Semaphore,
    pub(super) shut_down: AtomicUsize,
}

#[async_trait]
impl Hooks for Counted {
    async fn reload(&self) {
        self.reloaded.add_permits(1);
    }

    async fn shutdown(&self) {
        self.shut_down.fetch_add(1, Ordering::SeqCst);
    }
}

/// One plain listener and an admin listener on ports of the system's choice.
pub(super) fn config() -> config::Server {
    config::Server {
        http: vec![any_port()],
        https: Vec::new(),
        admin: Some(any_port()),
        external_url: None,
        grace_period: Duration::from_secs(10),
        threads: 2,
        context_path: String::new(),
        read_timeout: Duration::from_secs(30),
        write_timeout: Duration::from_secs(60),
        redirect_http: None,
        trusted_proxies: TrustedProxies::default(),
        forwarded_header: ForwardedHeader::default(),
        proxy_protocol: Vec::new(),
        max_connections: None,
        max_connections_per_address: None,
        min_body_rate: 500,
    }
}

pub(super) fn any_port() -> ListenAddress {
    ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
}

impl World {
    pub(super) async fn run() -> Self {
        Self::with(&config(), ServerOptions::default()).await
    }

    pub(super) async fn with_times(change: impl FnOnce(&mut Times)) -> Self {
        let mut options = ServerOptions::default();
        change(&mut options.times);
        Self::with(&config(), options).await
    }

    pub(super) async fn with(config: &config::Server, options: ServerOptions) -> Self {
        let server = Server::bind(config, options).await.expect("bind");
        let desk = Arc::new(Desk::new());
        let admin_desk = Arc::new(Desk::new());
        let hooks = Arc::new(Counted {
            reloaded: Semaphore::new(0),
            shut_down: AtomicUsize::new(0),
        });
        Self {
            bound: server.bound().to_vec(),
            control: server.control(),
            done: tokio::spawn(server.run(desk.clone(), admin_desk.clone(), hooks.clone())),
            desk,
            admin_desk,
            hooks,
        }
    }

    pub(super) fn address(&self, surface: Surface) -> SocketAddr {
        let of_surface = |bound: &&BoundAddress| bound.surface == surface;
        let bound = self.bound.iter().find(of_surface).expect("a listener");
        bound.socket().expect("a TCP listener")
    }

    pub(super) fn http(&self) -> SocketAddr {
        self.address(Surface::Http)
    }

    pub(super) async fn connect(&self) -> Raw {
        Raw::connect(self.http()).await
    }

    /// Waits until a request is held.
    pub(super) async fn one_held(&self) {
        self.desk.waiting.acquire().await.expect("open").forget();
    }
}
