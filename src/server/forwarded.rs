//! What trusted proxies say about a request's client: its address, and the scheme and host that it used.
//!
//! Each proxy appends the address that it saw, so the list is read from its right end: the first address that is not a
//! trusted proxy's is the client's, and what stands left of it was written by the client. Fields that proxies do not write
//! reach us as strangers sent them, which is why only the kind that the configuration names is read.

use std::net::{IpAddr, SocketAddr};

use http::HeaderName;

use crate::config::{ForwardedHeader, TrustedProxies};
use crate::http::{Authority, HeaderMap};

/// What is believed; `None`: nothing was said, the connection's own counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) address: Option<SocketAddr>,
    pub(super) secure: Option<bool>,
    pub(super) host: Option<String>,
}

/// One hop as the proxy after it describes it.
#[derive(Clone, Copy, Default)]
struct Hop<'a> {
    by_address: Option<&'a str>,
    scheme: Option<&'a str>,
    host: Option<&'a str>,
}

/// Reads the fields of a request whose sender is trusted.
pub(super) fn read(headers: &HeaderMap, kind: ForwardedHeader, trusted: &TrustedProxies) -> Client {
    let hops = match kind {
        ForwardedHeader::XForwarded => x_forwarded(headers),
        ForwardedHeader::Standard => forwarded(headers),
    };
    let mut client = Client::default();
    for hop in hops.iter().rev() {
        // What a hop says of scheme and host counts as far as the hops are trusted: the one that is farthest out wins.
        if let Some(scheme) = hop.scheme {
            client.secure = Some(scheme.eq_ignore_ascii_case("https"));
        }
        if let Some(host) = hop.host.filter(|host| Authority::parse(host).is_some()) {
            client.host = Some(host.to_owned());
        }
        // An unreadable or hidden address ends what is known; the nearest trusted one stands for it.
        let Some(address) = hop.by_address.and_then(parse_address) else {
            break;
        };
        client.address = Some(address);
        if !trusted.trusts(Some(address.ip())) {
            break;
        }
    }
    client
}

/// The three lists side by side. Where scheme or host have fewer entries than addresses, they are of the farthest trusted
/// hop that writes them, and the last entry is the only one that a stranger cannot have sent.
fn x_forwarded(headers: &HeaderMap) -> Vec<Hop<'_>> {
    let addresses = list(headers, &FOR);
    let schemes = list(headers, &PROTO);
    let hosts = list(headers, &HOST);
    let hops = addresses.len().max(1);
    (0..hops)
        .map(|at| Hop {
            by_address: addresses.get(at).copied(),
            scheme: beside(&schemes, at, hops),
            host: beside(&hosts, at, hops),
        })
        .collect()
}

/// The entry of hop `at`: a full list has one for each, any other only its last, which belongs to the last hop.
fn beside<'a>(list: &[&'a str], at: usize, hops: usize) -> Option<&'a str> {
    if list.len() == hops {
        return list.get(at).copied();
    }
    (at + 1 == hops).then(|| list.last().copied()).flatten()
}

/// The entries of all fields of this name, in order.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let fields = headers.get_all(name).into_iter();
    fields
        // An unreadable field is one unreadable entry: what stands left of it must not move to the right.
        .map(|value| value.to_str().unwrap_or("?"))
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .collect()
}

/// `for=192.0.2.60;proto=https;host=a, for="[2001:db8::1]:4711"` (RFC 7239 §4).
///
/// Commas part elements inside quotes too: no address, scheme or host has one, and a quote that a client opened would
/// swallow what the proxy appends.
fn forwarded(headers: &HeaderMap) -> Vec<Hop<'_>> {
    let fields = headers.get_all(&FORWARDED).into_iter();
    fields
        .map(|value| value.to_str().unwrap_or("?"))
        .flat_map(|text| text.split(','))
        .map(|element| {
            let mut hop = Hop::default();
            for pair in element.split(';') {
                let Some((name, value)) = pair.trim().split_once('=') else {
                    continue;
                };
                let value = value
                    .strip_prefix('"')
                    .and_then(|value| value.strip_suffix('"'))
                    .unwrap_or(value);
                // No address, scheme or host has an escape in it.
                match name.to_ascii_lowercase().as_str() {
                    "for" => hop.by_address = Some(value),
                    "proto" => hop.scheme = Some(value),
                    "host" => hop.host = Some(value),
                    _ => {}
                }
            }
            hop
        })
        .collect()
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`; port 0 where there is none.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let with_port: Option<SocketAddr> = text.parse().ok();
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let address = with_port.or_else(|| Some(SocketAddr::new(bare.parse::<IpAddr>().ok()?, 0)))?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Network;

    fn trusted() -> TrustedProxies {
        let networks = ["10.0.0.0/8", "2001:db8:1::/48"];
        let parse = |text: &&str| Network::parse(text).expect("a network");
        TrustedProxies {
            networks: networks.iter().map(parse).collect(),
            unix: false,
        }
    }

    fn with(fields: &[(&'static str, &str)], kind: ForwardedHeader) -> Client {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().expect("a value"));
        }
        read(&headers, kind, &trusted())
    }

    fn address_of(list: &[&str]) -> Option<String> {
        let fields: Vec<_> = list
            .iter()
            .map(|value| ("x-forwarded-for", *value))
            .collect();
        let client = with(&fields, ForwardedHeader::XForwarded);
        client.address.map(|address| address.to_string())
    }

    #[test]
    fn the_right_most_address_that_is_no_proxy_wins() {
        for (list, expected) in [
            (vec!["192.0.2.1"], Some("192.0.2.1:0")),
            (vec!["192.0.2.1, 10.0.0.5"], Some("192.0.2.1:0")),
            // What the client wrote itself is never reached.
            (
                vec!["10.0.0.9, 198.51.100.7, 192.0.2.1"],
                Some("192.0.2.1:0"),
            ),
            (
                vec!["127.0.0.1", "192.0.2.1, 10.0.0.5"],
                Some("192.0.2.1:0"),
            ),
            (vec!["10.0.0.4,10.0.0.5"], Some("10.0.0.4:0")),
            (vec!["192.0.2.1:4711"], Some("192.0.2.1:4711")),
            (vec!["2001:db8::7, 2001:db8:1::1"], Some("[2001:db8::7]:0")),
            (vec!["[2001:db8::7]:80"], Some("[2001:db8::7]:80")),
            (vec!["::ffff:192.0.2.1"], Some("192.0.2.1:0")),
            (vec!["198.51.100.7, unknown, 10.0.0.5"], Some("10.0.0.5:0")),
            (vec!["198.51.100.7, "], None),
            (vec!["unknown"], None),
            (vec!["1"], None),
            (vec![], None),
        ] {
            assert_eq!(address_of(&list).as_deref(), expected, "{list:?}");
        }
    }

    #[test]
    fn scheme_and_host_are_those_of_the_farthest_trusted_hop() {
        let read = |of: &str, proto: &str, host: &str| {
            let fields = [
                ("x-forwarded-for", of),
                ("x-forwarded-proto", proto),
                ("x-forwarded-host", host),
            ];
            let client = with(&fields, ForwardedHeader::XForwarded);
            (client.secure, client.host)
        };
        let https = (Some(true), Some("gw.example".to_owned()));
        assert_eq!(read("192.0.2.1", "https", "gw.example"), https);
        // A browser's edge ends TLS, the next proxy speaks plain HTTP to it.
        assert_eq!(
            read("192.0.2.1, 10.0.0.5", "https, http", "gw.example, inner"),
            https
        );
        // Entries that the client wrote itself do not count.
        assert_eq!(
            read("198.51.100.7, 192.0.2.1", "http, https", "evil, gw.example"),
            https
        );
        assert_eq!(read("192.0.2.1", "http, https", "evil, gw.example"), https);
        assert_eq!(read("192.0.2.1", "http", "a b"), (Some(false), None));
    }

    #[test]
    fn the_standard_field_says_the_same() {
        let read = |value: &str| {
            let client = with(&[("forwarded", value)], ForwardedHeader::Standard);
            (
                client.address.map(|a| a.to_string()),
                client.secure,
                client.host,
            )
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            read("For=\"[2001:db8::7]:4711\";Proto=https;host=\"gw.example:8443\""),
            (
                text("[2001:db8::7]:4711"),
                Some(true),
                text("gw.example:8443")
            )
        );
        assert_eq!(
            read("for=10.9.9.9;host=evil, for=192.0.2.1;host=gw, for=10.0.0.5;proto=http"),
            (text("192.0.2.1:0"), Some(false), text("gw"))
        );
        assert_eq!(
            read("for=198.51.100.7, for=_hidden, for=10.0.0.5").0,
            text("10.0.0.5:0")
        );
        assert_eq!(read("for=\"198.51.100.7, for=192.0.2.1\"").0, None);
    }

    #[test]
    fn only_the_configured_kind_is_read() {
        let fields = [
            ("x-forwarded-for", "192.0.2.1"),
            ("forwarded", "for=198.51.100.7"),
        ];
        for (kind, expected) in [
            (ForwardedHeader::XForwarded, "192.0.2.1:0"),
            (ForwardedHeader::Standard, "198.51.100.7:0"),
        ] {
            let address = with(&fields, kind).address.expect("an address");
            assert_eq!(address.to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn whatever_a_client_writes_before_it_is_never_believed(written in "[ -~]{0,60}") {
            let list = format!("{written}, 192.0.2.1, 10.0.0.5");
            let address = address_of(&[list.as_str()]);
            prop_assert_eq!(address.as_deref(), Some("192.0.2.1:0"));
        }
    }
}
