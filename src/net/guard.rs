//! Which addresses may be dialled (`allow_private`).
//!
//! An index may name any URL and a server may redirect anywhere, so without this guard whoever writes an index could make
//! chartgate ask services inside the network, or a cloud's metadata service. Names are checked where they are resolved, so
//! the address that was checked is the address that is dialled and a name cannot change its mind in between; addresses
//! written in a URL never reach a resolver and are checked in the URL. Names that an egress proxy resolves are the proxy's.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Whether an address belongs to the public internet: not loopback, link-local, private, shared (CGNAT), unspecified,
/// multicast or reserved, and not one of these dressed up as IPv6 (mapped, NAT64, 6to4, ISATAP).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// A connection that was not made.
#[derive(Debug)]
pub(super) struct Refused {
    /// The host of the URL.
    pub(super) host: String,
    /// What it stands for.
    pub(super) address: IpAddr,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, address } = self;
        write!(f, "`{host}` is the private address {address}")
    }
}

impl std::error::Error for Refused {}

/// A name that the resolver does not know, or could not ask for.
#[derive(Debug)]
pub(super) struct Unresolved {
    host: String,
    source: io::Error,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` cannot be resolved", self.host)
    }
}

impl std::error::Error for Unresolved {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Refuses a URL whose host is written as a private address. Names pass: [`Resolver`] checks them.
pub(super) fn check(url: &Url) -> Result<(), Refused> {
    let address = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
        Some(Host::Domain(_)) | None => return Ok(()),
    };
    match is_public(address) {
        true => Ok(()),
        false => Err(Refused {
            host: url.host_str().unwrap_or_default().to_owned(),
            address,
        }),
    }
}

/// Who knows the addresses of names. One value for all clients of a process; tests have name servers that change their minds.
#[async_trait]
pub(super) trait NameServer: fmt::Debug + Send + Sync {
    /// The addresses of `host`, with port 0, as they are now. Nothing is remembered in between.
    async fn look_up(&self, host: &str) -> io::Result<Vec<SocketAddr>>;

    /// See [`is_public`]. A test has no address that is and that it may dial.
    fn is_public(&self, address: IpAddr) -> bool {
        is_public(address)
    }
}

/// The system's own resolver.
#[derive(Debug)]
pub(super) struct System;

#[async_trait]
impl NameServer for System {
    async fn look_up(&self, host: &str) -> io::Result<Vec<SocketAddr>> {
        // Port 0: the connector puts the URL's port in its place.
        Ok(tokio::net::lookup_host((host, 0)).await?.collect())
    }
}

/// What a name stands for, without the addresses that may not be dialled. Asked for every new connection: what it answers is what
/// is dialled.
#[derive(Debug)]
pub(super) struct Resolver {
    /// Who is asked.
    pub(super) names: Arc<dyn NameServer>,
    /// Private addresses pass.
    pub(super) allow_private: bool,
    /// Names that pass with any address: the operator's own egress proxies. Lower case.
    pub(super) exempt: Arc<[String]>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let unchecked = self.allow_private || self.exempt.contains(&host.to_ascii_lowercase());
        let names = Arc::clone(&self.names);
        Box::pin(async move {
            let found = names.look_up(&host).await;
            let found = found.map_err(|source| Unresolved {
                host: host.clone(),
                source,
            })?;
            let allowed = if unchecked {
                found
            } else {
                public_only(host, found, |address| names.is_public(address))?
            };
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Drops private addresses; fails when nothing else was there.
fn public_only(
    host: String,
    found: Vec<SocketAddr>,
    is_public: impl Fn(IpAddr) -> bool,
) -> Result<Vec<SocketAddr>, Refused> {
    let (allowed, refused): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|address| is_public(address.ip()));
    match (allowed.is_empty(), refused.first()) {
        (true, Some(address)) => Err(Refused {
            host,
            address: address.ip(),
        }),
        _ => Ok(allowed),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match a {
        0 | 10 | 127 => true,
        100 => (64..128).contains(&b),
        169 => b == 254,
        172 => (16..32).contains(&b),
        192 => b == 168 || (b == 0 && c == 0),
        198 => b == 18 || b == 19,
        // Multicast, reserved, broadcast.
        224.. => true,
        _ => false,
    };
    !special && address != AZURE_WIRE_SERVER
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let s = address.segments();
    // Addresses that carry an IPv4 address reach that address.
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        // Unspecified, loopback and the abandoned IPv4-compatible form.
        [0, 0, 0, 0, 0, 0, _, _] => false,
        // IPv4-mapped, and its translated twin of RFC 2765.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => {
            embedded(high, low)
        }
        // NAT64: the well-known prefix tells the address, the local-use one (RFC 8215) belongs to this network.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x64, 0xff9b, ..] => false,
        // 6to4.
        [0x2002, high, low, ..] => embedded(high, low),
        // Teredo hides a client and a relay; nobody serves charts there.
        [0x2001, 0, ..] => false,
        // Discard-only.
        [0x100, 0, 0, 0, ..] => false,
        // ISATAP.
        [.., 0 | 0x200, 0x5efe, high, low] => embedded(high, low) && is_global_unicast(s[0]),
        _ => is_global_unicast(s[0]),
    }
}

/// 2000::/3 is all that is handed out; this leaves out ULA, link-local, site-local and multicast.
fn is_global_unicast(first: u16) -> bool {
    first & 0xe000 == 0x2000
}

/// A metadata service that hides among public addresses; only its own virtual machines can reach it.
const AZURE_WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_in_every_dress() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::808:808",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2001::1",
            "2a00:1450::5efe:10.0.0.1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "5f00::1",
        ] {
            let address: IpAddr = text.parse().expect("an address");
            assert!(!is_public(address), "{text}");
        }
    }

    #[test]
    fn public_addresses() {
        for text in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "169.253.0.1",
            "192.0.66.1",
            "223.255.255.255",
            "2606:50c0:8000::153",
            "2001:4860:4860::8888",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            let address: IpAddr = text.parse().expect("an address");
            assert!(is_public(address), "{text}");
        }
    }

    #[test]
    fn addresses_in_urls_are_checked_in_every_notation() {
        for text in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://127.1:8080/x",
            "http://[::1]/",
            "http://[::ffff:7f00:1]/",
            "https://169.254.169.254/latest/meta-data",
        ] {
            let url = Url::parse(text).expect("a URL");
            assert!(check(&url).is_err(), "{text}");
        }
        for text in [
            "http://example.com/",
            "https://8.8.8.8/",
            "http://localhost/",
        ] {
            let url = Url::parse(text).expect("a URL");
            assert!(check(&url).is_ok(), "{text}: names are the resolver's");
        }
    }

    #[test]
    fn a_name_keeps_its_public_addresses_only() {
        let of = |texts: &[&str]| texts.iter().map(|t| t.parse().expect("address")).collect();
        let mixed = of(&["10.0.0.1:0", "8.8.8.8:0", "[::1]:0"]);
        let allowed = public_only("h".to_owned(), mixed, is_public).expect("one is left");
        assert_eq!(allowed, [SocketAddr::from(([8, 8, 8, 8], 0))]);
        let private = of(&["10.0.0.1:0", "[::1]:0"]);
        let refused = public_only("h".to_owned(), private, is_public).expect_err("none is left");
        assert_eq!(refused.to_string(), "`h` is the private address 10.0.0.1");
    }

    #[tokio::test]
    async fn localhost_is_refused_by_name_unless_allowed() {
        let name = || "localhost".parse::<Name>().expect("a name");
        let resolver = |allow_private, exempt: &[&str]| Resolver {
            names: Arc::new(System),
            allow_private,
            exempt: exempt.iter().map(|&host| host.to_owned()).collect(),
        };
        let refused = resolver(false, &[]).resolve(name()).await.err();
        assert!(refused.is_some_and(|error| error.is::<Refused>()));
        assert!(resolver(true, &[]).resolve(name()).await.is_ok());
        assert!(
            resolver(false, &["localhost"])
                .resolve(name())
                .await
                .is_ok()
        );
    }
}
