//! Ports of 127.0.0.1 that nobody else gets.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port that is ours as long as this lives, whether or not something listens there.
///
/// "Free a moment ago" is not enough: tests run side by side, and each asks for free ports. A socket that is bound and does
/// not listen keeps the port from everybody who asks for any, and leaves it to a server that asks for this very one, because
/// both share addresses (SO_REUSEADDR, as servers do by habit).
#[derive(Debug)]
pub(crate) struct Port {
    /// Where it is.
    pub(crate) address: SocketAddr,
    _socket: TcpSocket,
}

impl Port {
    /// A free one.
    pub(crate) fn reserve() -> Self {
        let socket = bound((Ipv4Addr::LOCALHOST, 0).into());
        Self {
            address: socket.local_addr().expect("a bound socket"),
            _socket: socket,
        }
    }

    /// A second socket there, which may listen. One at a time.
    pub(crate) fn socket(&self) -> TcpSocket {
        bound(self.address)
    }
}

fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("a plain socket");
    socket.bind(address).expect("a port that is free or ours");
    socket
}

#[test]
fn a_reserved_port_is_nobody_elses_and_can_be_listened_on_again_and_again() {
    let port = Port::reserve();
    for _ in 0..3 {
        std::net::TcpStream::connect(port.address).expect_err("nobody listens");
        let server = std::net::TcpListener::bind(port.address).expect("ours");
        let client = std::net::TcpStream::connect(port.address).expect("somebody listens");
        let accepted = server.accept().expect("a connection");
        for _ in 0..100 {
            assert_ne!(Port::reserve().address, port.address);
        }
        drop(server);
        // Also with connections that are not gone yet.
        drop(std::net::TcpListener::bind(port.address).expect("ours"));
        drop((client, accepted));
    }
}
