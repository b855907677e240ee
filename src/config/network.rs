//! Networks of addresses, and which neighbours of ours are believed about their clients.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The addresses that share their first `prefix` bits. IPv4 in IPv6 form counts as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// Reads `10.0.0.0/8`, `2001:db8::/32` or a single address. The error says how to write one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let hint = || "write a network such as `10.0.0.0/8` or `2001:db8::/32`, or an address";
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| hint())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().ok().filter(|prefix| *prefix <= width)
            }
            Some(_) => None,
            None => Some(width),
        };
        let prefix: u32 = prefix.ok_or_else(hint)?;
        if bits(address) & !mask(width, prefix) != 0 {
            return Err(format!(
                "`{address}` has bits after the first {prefix}; write the network's first address"
            ));
        }
        Ok(Self { address, prefix })
    }

    /// Whether `address` is one of these.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let width = if self.address.is_ipv4() { 32 } else { 128 };
        address.is_ipv4() == self.address.is_ipv4()
            && (bits(address) ^ bits(self.address)) & mask(width, self.prefix) == 0
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The first `prefix` of `width` bits.
fn mask(width: u32, prefix: u32) -> u128 {
    let all = u128::MAX >> (128 - width);
    all & !all.checked_shr(prefix).unwrap_or(0)
}

/// The part of an address that one household or machine owns: all of an IPv4 address, the first 64 bits of an IPv6 address.
pub fn owner_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
    }
}

/// `server.trusted_proxies:`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Where they are.
    pub networks: Vec<Network>,
    /// Whoever connects to a Unix socket is one (`unix`).
    pub unix: bool,
}

impl TrustedProxies {
    /// Whether a neighbour at `address` (`None`: at the other end of a Unix socket) is believed.
    pub fn trusts(&self, address: Option<IpAddr>) -> bool {
        match address {
            Some(address) => self
                .networks
                .iter()
                .any(|network| network.contains(address)),
            None => self.unix,
        }
    }

    /// Whether nobody is believed.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }
}

/// Which header fields trusted proxies write; the others are passed on by them as strangers sent them, and never read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host` (default).
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Standard,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn networks_contain_what_shares_their_prefix() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.128/25", "192.0.2.129", "192.0.2.127"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
            ("::1", "::1", "::2"),
            ("10.0.0.0/8", "::ffff:10.1.1.1", "::10.1.1.1"),
            ("0.0.0.0/0", "203.0.113.1", "2001:db8::1"),
            ("::/0", "2001:db8::1", "203.0.113.1"),
        ] {
            let parsed = Network::parse(network).expect(network);
            assert!(parsed.contains(address(inside)), "{network} {inside}");
            assert!(!parsed.contains(address(outside)), "{network} {outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_told() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "::/129",
            "10.0.0.1/8",
            "a/8",
            "10.0.0.0/+8",
        ] {
            assert!(Network::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_household_has_64_bits_of_ipv6() {
        assert_eq!(
            owner_of(address("2001:db8:0:1:2:3:4:5")),
            address("2001:db8:0:1::")
        );
        assert_eq!(owner_of(address("::ffff:192.0.2.1")), address("192.0.2.1"));
    }
}
