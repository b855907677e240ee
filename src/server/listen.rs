//! Listening sockets: bound by us, so that the real address is known and a failure is a sentence; served by pingora.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{IntoRawFd as _, RawFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::manners::Opening;
use super::takeover::Inherited;
use super::tls::Identity;
use super::{BoundAddress, Surface};
use crate::config::{self, ListenAddress};
use crate::error::{Error, Result};

/// Unix sockets are for this user and group; a web server in front joins the group.
pub(super) const SOCKET_MODE: u32 = 0o660;

/// A listener that the configuration asks for.
struct Wanted {
    surface: Surface,
    address: ListenAddress,
    opening: Opening,
}

/// A listener with its socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) bound: BoundAddress,
    /// Where the socket is known by in a hand-over: the address as configured, and which of several equal ones it is.
    pub(super) name: String,
    pub(super) opening: Opening,
    pub(super) socket: Socket,
}

/// A socket on its way to pingora, which takes ownership by number.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
    /// Received from the predecessor.
    Inherited(RawFd),
}

impl Socket {
    /// Gives the socket away; whoever gets the number must close it.
    pub(super) fn into_raw(self) -> RawFd {
        match self {
            Self::Tcp(socket) => socket.into_raw_fd(),
            Self::Unix(socket) => socket.into_raw_fd(),
            Self::Inherited(fd) => fd,
        }
    }
}

/// Every listener of the configuration: taken from the predecessor where it had it, bound otherwise. Blocks.
pub(super) fn open(config: &config::Server, inherited: &mut Inherited) -> Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    let mut equal = HashMap::<String, usize>::new();
    for wanted in wanted(config)? {
        let text = wanted.address.to_string();
        let ordinal = equal.entry(text.clone()).or_default();
        let name = format!("{text}#{ordinal}");
        *ordinal += 1;
        let (address, socket) = match inherited.take(&name) {
            Some((address, fd)) => (address, Socket::Inherited(fd)),
            None => bind(&wanted.address)?,
        };
        listeners.push(Listener {
            bound: BoundAddress {
                surface: wanted.surface,
                address,
            },
            name,
            opening: wanted.opening,
            socket,
        });
    }
    Ok(listeners)
}

fn wanted(config: &config::Server) -> Result<Vec<Wanted>> {
    let plain = |surface| {
        move |address: &ListenAddress| Wanted {
            surface,
            address: address.clone(),
            opening: Opening {
                proxy_protocol: surface == Surface::Http && config.proxy_protocol.contains(address),
                identity: None,
                unix: matches!(address, ListenAddress::Unix(_)),
            },
        }
    };
    let mut wanted: Vec<_> = config.http.iter().map(plain(Surface::Http)).collect();
    for https in &config.https {
        wanted.push(Wanted {
            surface: Surface::Https,
            address: ListenAddress::Tcp(https.listen),
            opening: Opening {
                proxy_protocol: https.proxy_protocol,
                identity: Some(Identity::load(https)?),
                unix: false,
            },
        });
    }
    wanted.extend(config.admin.iter().map(plain(Surface::Admin)));
    Ok(wanted)
}

fn bind(address: &ListenAddress) -> Result<(ListenAddress, Socket)> {
    let failed = |err| cannot_listen(address, err);
    match address {
        ListenAddress::Tcp(tcp) => {
            let (real, socket) = bind_tcp(*tcp).map_err(failed)?;
            Ok((ListenAddress::Tcp(real), Socket::Tcp(socket)))
        }
        ListenAddress::Unix(path) => {
            let socket = bind_unix(path).map_err(failed)?;
            Ok((address.clone(), Socket::Unix(socket)))
        }
    }
}

fn bind_tcp(address: SocketAddr) -> std::io::Result<(SocketAddr, TcpListener)> {
    let socket = TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok((socket.local_addr()?, socket))
}

fn bind_unix(path: &Path) -> std::io::Result<UnixListener> {
    remove_stale(path)?;
    let socket = UnixListener::bind(path)?;
    socket.set_nonblocking(true)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(socket)
}

/// A socket file that nobody answers is what a killed process left; anything else at this path is not ours to remove.
fn remove_stale(path: &Path) -> std::io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => match UnixStream::connect(path) {
            Err(err) if err.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path),
            Ok(_) => Err(ErrorKind::AddrInUse.into()),
            Err(err) => Err(err),
        },
        Ok(_) => Err(ErrorKind::AlreadyExists.into()),
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(()),
        Err(err) => Err(err),
    }
}

fn cannot_listen(address: &ListenAddress, err: std::io::Error) -> Error {
    let advice = match err.kind() {
        ErrorKind::AddrInUse => {
            "another program listens there; stop it or choose another address".to_owned()
        }
        ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
        ErrorKind::AlreadyExists => "a file that is not a socket is in the way".to_owned(),
        ErrorKind::PermissionDenied => {
            "this user may not; choose a port above 1023 or another folder".to_owned()
        }
        _ => err.to_string(),
    };
    Error::internal(format!("cannot listen on `{address}`: {advice}"), err)
}
