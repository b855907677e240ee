//! The socket of a fake: opened, closed so that clients are refused, opened again under the same port.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

use super::Background;
use super::wire::{self, Service};

/// A service behind a port of 127.0.0.1, on a thread of its own.
pub(super) struct Door<S> {
    address: SocketAddr,
    service: Arc<S>,
    state: Mutex<State>,
    runtime: Background,
}

/// Whether clients get in.
enum State {
    Open(JoinHandle<()>),
    /// Bound and not listening: clients are refused, and nobody else gets the port.
    Closed(TcpSocket),
    Moving,
}

impl<S: Service> Door<S> {
    /// Opens a free port.
    pub(super) fn open(service: S) -> Self {
        let service = Arc::new(service);
        let runtime = Background::new();
        let listener = runtime
            .wait_for(TcpListener::bind("127.0.0.1:0"))
            .expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let accepting = runtime.spawn(wire::accept(listener, Arc::clone(&service)));
        Self {
            address,
            service,
            state: Mutex::new(State::Open(accepting)),
            runtime,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn service(&self) -> &S {
        &self.service
    }

    /// Closes the port and every connection. The port stays ours.
    pub(super) fn close(&self) {
        let mut state = self.state.lock().expect("no panic with it");
        if matches!(&*state, State::Open(_))
            && let State::Open(task) = std::mem::replace(&mut *state, State::Moving)
        {
            task.abort();
            // Awaiting it makes sure that the listener is gone.
            let _ = self.runtime.wait_for(task);
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.set_reuseaddr(true).expect("a plain socket");
            socket.bind(self.address).expect("the port we just had");
            *state = State::Closed(socket);
        }
    }

    /// Opens it again after [`Door::close`].
    pub(super) fn reopen(&self) {
        let mut state = self.state.lock().expect("no panic with it");
        if matches!(&*state, State::Closed(_))
            && let State::Closed(socket) = std::mem::replace(&mut *state, State::Moving)
        {
            let listener = self
                .runtime
                .wait_for(async move { socket.listen(1024) })
                .expect("the port is still ours");
            let task = wire::accept(listener, Arc::clone(&self.service));
            *state = State::Open(self.runtime.spawn(task));
        }
    }
}
