//! The socket of a fake: opened, closed so that clients are refused, opened again under the same port.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Background;
use super::wire::{self, Service};
use crate::support::port::Port;

/// A service behind a port of 127.0.0.1, on a thread of its own.
pub(super) struct Door<S> {
    /// Ours also while it is closed.
    port: Port,
    service: Arc<S>,
    /// `None`: clients are refused.
    accepting: Mutex<Option<JoinHandle<()>>>,
    runtime: Background,
}

impl<S: Service> Door<S> {
    /// Opens a free port.
    pub(super) fn open(service: S) -> Self {
        let door = Self {
            port: Port::reserve(),
            service: Arc::new(service),
            accepting: Mutex::default(),
            runtime: Background::new(),
        };
        door.reopen();
        door
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.port.address
    }

    pub(super) fn service(&self) -> &S {
        &self.service
    }

    /// Closes the port and every connection.
    pub(super) fn close(&self) {
        let mut accepting = self.accepting.lock().expect("no panic with it");
        if let Some(task) = accepting.take() {
            task.abort();
            // Awaiting it makes sure that the listener is gone.
            let _ = self.runtime.wait_for(task);
        }
    }

    /// Opens it, also again after [`Door::close`].
    pub(super) fn reopen(&self) {
        let mut accepting = self.accepting.lock().expect("no panic with it");
        if accepting.is_none() {
            let socket = self.port.socket();
            let listener: TcpListener = self
                .runtime
                .wait_for(async move { socket.listen(1024) })
                .expect("the port is ours");
            let task = wire::accept(listener, Arc::clone(&self.service));
            *accepting = Some(self.runtime.spawn(task));
        }
    }
}
