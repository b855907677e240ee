//! What a listener expects of those who connect, and whom it believes.

use std::sync::Arc;

use super::redirect::ToTls;
use super::tls::Identity;
use crate::config::{self, ForwardedHeader, TrustedProxies};

/// Rules of all listeners of one handler. The default believes nobody and limits nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Manners {
    pub(super) trusted: TrustedProxies,
    pub(super) forwarded_header: ForwardedHeader,
    /// Where plain TCP listeners send their clients.
    pub(super) redirect: Option<ToTls>,
    /// Connections that may be open at a time.
    pub(super) max_connections: Option<usize>,
    pub(super) max_connections_per_address: Option<usize>,
    /// Bytes per second on average, after a first wait; 0: any.
    pub(super) min_body_rate: u64,
}

impl Manners {
    /// What the configuration says; `tls_port` is the real one of the first TLS listener.
    pub(super) fn of(config: &config::Server, tls_port: Option<u16>) -> Self {
        Self {
            trusted: config.trusted_proxies.clone(),
            forwarded_header: config.forwarded_header,
            redirect: ToTls::of(config, tls_port),
            max_connections: config.max_connections,
            max_connections_per_address: config.max_connections_per_address,
            min_body_rate: config.min_body_rate,
        }
    }
}

/// How connections of one listener begin.
#[derive(Clone, Debug)]
pub(super) struct Opening {
    /// With a PROXY protocol header.
    pub(super) proxy_protocol: bool,
    /// With a TLS handshake.
    pub(super) identity: Option<Arc<Identity>>,
    /// On a Unix socket, whose peers have no address.
    pub(super) unix: bool,
}

impl Opening {
    /// Whether clients may be sent to TLS from here: a Unix socket is a proxy's.
    pub(super) fn is_plain_tcp(&self) -> bool {
        self.identity.is_none() && !self.unix
    }
}
