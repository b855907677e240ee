//! Handing listening sockets to a successor process, so that an upgrade refuses no connection (Linux).
//!
//! The successor listens on a Unix socket, the predecessor connects and sends its sockets with their names, serves a little
//! longer and drains. Both sides accept from the same queue meanwhile, so no connection is lost, whoever is slower.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::Path;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use pingora::server::Fds;

use super::BoundAddress;
use crate::config::ListenAddress;
use crate::error::{Error, Result};

/// pingora sends names separated by spaces; `=` separates ours from the real address.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'=').add(b'%');

/// What one transfer can carry: the constants of pingora's transfer protocol, the names with some room to spare.
const MAX_SOCKETS: usize = 32;
const MAX_NAMES: usize = 2000;

/// How often a side waits for the other, each time about six seconds.
const PATIENCE: usize = 10;

/// A socket that is being served, as it is offered to a successor.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) name: String,
    pub(super) bound: BoundAddress,
    /// Open while the service that owns it accepts.
    pub(super) fd: RawFd,
}

/// Sockets received from a predecessor and not yet claimed.
#[derive(Debug, Default)]
pub(super) struct Inherited(HashMap<String, (ListenAddress, RawFd)>);

impl Inherited {
    /// Waits for a predecessor to send its sockets, up to a minute. Blocks.
    pub(super) fn receive(path: &Path) -> Result<Self> {
        check_folder(path)?;
        let text = path.to_string_lossy().into_owned();
        let mut fds = Fds::new();
        for attempt in 1.. {
            match fds.get_from_sock(text.as_str()) {
                Ok(()) => break,
                Err(err) if attempt >= PATIENCE => {
                    let problem = format!(
                        "no running process handed its sockets over through `{text}`; send it SIGQUIT, or start without --upgrade"
                    );
                    return Err(Error::internal(problem, err.to_string()));
                }
                Err(_) => tracing::info!(
                    "waiting for the running process to hand its sockets over through `{text}`"
                ),
            }
        }
        let (names, fds) = fds.serialize();
        let sockets = names.iter().zip(fds);
        Ok(Self(
            sockets.filter_map(|(name, fd)| decode(name, fd)).collect(),
        ))
    }

    /// The socket of this name with the address it is bound to.
    pub(super) fn take(&mut self, name: &str) -> Option<(ListenAddress, RawFd)> {
        self.0.remove(name)
    }

    /// Closes what the configuration no longer has: an open socket that nobody accepts from swallows connections.
    pub(super) fn close_unclaimed(self) {
        let mut rest = Fds::new();
        for (name, (_, fd)) in self.0 {
            tracing::warn!(
                "the listener `{name}` of the previous process is not configured any more; closing it"
            );
            rest.add(name, fd);
        }
        rest.close_unclaimed(&std::collections::HashSet::new());
    }
}

/// Sends the sockets to the successor that waits at `path`, or will within a minute. Blocks.
pub(super) fn send(offers: &[Offer], path: &Path) -> Result<()> {
    let mut fds = Fds::new();
    let mut length = 0;
    for offer in offers {
        let name = encode(offer);
        length += name.len() + 1;
        fds.add(name, offer.fd);
    }
    if offers.len() > MAX_SOCKETS || length > MAX_NAMES {
        return Err(Error::invalid(
            "there are too many listeners, or too long addresses, to hand over; restart instead",
        ));
    }
    check_folder(path)?;
    let text = path.to_string_lossy().into_owned();
    let mut attempt = 1;
    loop {
        match fds.send_to_sock(text.as_str()) {
            Ok(_) => return Ok(()),
            Err(err) if attempt >= PATIENCE => {
                let problem = format!("no successor waits at `{text}`; start it with --upgrade");
                return Err(Error::internal(problem, err.to_string()));
            }
            Err(_) => attempt += 1,
        }
    }
}

/// pingora's transfer panics where it cannot make the socket file.
fn check_folder(path: &Path) -> Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let length = path.as_os_str().len();
    if folder.is_some_and(|folder| !folder.is_dir()) || length > 100 {
        let text = path.display();
        return Err(Error::invalid(format!(
            "`{text}` cannot be a socket: its folder is missing, or the path is longer than 100 bytes"
        )));
    }
    Ok(())
}

fn encode(offer: &Offer) -> String {
    let real = offer.bound.address.to_string();
    let escape = |text| utf8_percent_encode(text, ESCAPED);
    format!("{}={}", escape(&offer.name), escape(&real))
}

fn decode(text: &str, fd: RawFd) -> Option<(String, (ListenAddress, RawFd))> {
    let (name, real) = text.split_once('=')?;
    let unescape = |text| {
        let text = percent_decode_str(text).decode_utf8().ok()?;
        Some(text.into_owned())
    };
    let real = unescape(real)?;
    let address = match real.strip_prefix("unix:") {
        Some(path) => ListenAddress::Unix(path.into()),
        None => ListenAddress::Tcp(real.parse::<SocketAddr>().ok()?),
    };
    Some((unescape(name)?, (address, fd)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Surface;

    #[test]
    fn names_and_real_addresses_survive_the_transfer() {
        for (name, address) in [
            (
                "127.0.0.1:0#1",
                ListenAddress::Tcp("127.0.0.1:41234".parse().expect("address")),
            ),
            (
                "[::]:80#0",
                ListenAddress::Tcp("[::]:80".parse().expect("address")),
            ),
            ("unix:/a b/c=d%#0", ListenAddress::Unix("/a b/c=d%".into())),
        ] {
            let offer = Offer {
                name: name.to_owned(),
                bound: BoundAddress {
                    surface: Surface::Http,
                    address: address.clone(),
                },
                fd: 7,
            };
            let text = encode(&offer);
            assert!(!text.contains(' '), "{text}");
            assert_eq!(decode(&text, 7), Some((name.to_owned(), (address, 7))));
        }
    }

    #[test]
    fn a_missing_folder_is_an_error_not_a_panic() {
        let error =
            Inherited::receive(Path::new("/nonexistent/upgrade.sock")).expect_err("no folder");
        assert!(error.message().contains("its folder is missing"), "{error}");
    }
}
