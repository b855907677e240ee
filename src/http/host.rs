//! Which host a request was sent to, read strictly: it ends up in URLs that clients send passwords to.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

/// Longest name of a host (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;

/// `host [":" port]` of a request (RFC 9112 §3.2), where it could be an address that somebody dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    name: &'a str,
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads it. `None` for everything that is no DNS name, IPv4 address or IPv6 address in brackets with an optional port from
    /// 1 to 65535: user names, escapes, empty names.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let end = rest.find(']')?;
                rest[..end].parse::<Ipv6Addr>().ok()?;
                // Brackets belong to the name wherever it is written.
                let (name, after) = text.split_at(end + 2);
                (name, after)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                let (name, after) = text.split_at(end);
                if !is_name(name) {
                    return None;
                }
                (name, after)
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            None => return None,
            // `host:` is the same as `host` (RFC 3986 §3.2.3).
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok().filter(|port| *port != 0)?)
            }
            Some(_) => return None,
        };
        Some(Self { name, port })
    }

    /// The host in lower case, without the port; an IPv6 address with its brackets.
    pub fn host(&self) -> Cow<'a, str> {
        if self.name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.name.to_ascii_lowercase().into()
        } else {
            self.name.into()
        }
    }

    /// The port, where one is written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The same without a port that a URL of `scheme` has anyway.
    #[must_use]
    pub fn without_default_port(self, scheme: &str) -> Self {
        let default = match scheme {
            "https" => 443,
            "http" => 80,
            _ => return self,
        };
        Self {
            port: self.port.filter(|port| *port != default),
            ..self
        }
    }
}

/// In lower case.
impl fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host())?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Labels of letters, digits, `-` and `_`; IPv4 addresses look like them.
fn is_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= MAX_NAME
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_and_without_port() {
        for (text, host, port) in [
            ("gw.example", "gw.example", None),
            ("GW.Example:5000", "gw.example", Some(5000)),
            ("gw", "gw", None),
            ("gw.example.", "gw.example.", None),
            ("gw.example:", "gw.example", None),
            ("my_gw:65535", "my_gw", Some(65535)),
            ("10.1.2.3:80", "10.1.2.3", Some(80)),
            ("[::1]", "[::1]", None),
            ("[2001:DB8::1]:8443", "[2001:db8::1]", Some(8443)),
        ] {
            let authority = Authority::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(
                (&*authority.host(), authority.port()),
                (host, port),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_host() {
        for text in [
            "",
            ":80",
            "a:b",
            "a:0",
            "a:65536",
            "a:-1",
            "a:+80",
            "a:80:80",
            "user@gw",
            "a b",
            "a..b",
            "a/b",
            "a\"b",
            "a,b",
            "a%20b",
            "gw$1",
            "[::1",
            "::1",
            "[::1]x",
            "[gw]",
            "[fe80::1%eth0]",
            "f\u{fc}r.example",
            &"a".repeat(64),
            &"a.".repeat(130),
        ] {
            assert_eq!(Authority::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_port_that_goes_without_saying() {
        for (text, scheme, expected) in [
            ("gw:443", "https", "gw"),
            ("gw:443", "http", "gw:443"),
            ("gw:80", "http", "gw"),
            ("[::1]:80", "http", "[::1]"),
            ("GW:8443", "https", "gw:8443"),
        ] {
            let authority = Authority::parse(text).expect("a host");
            assert_eq!(authority.without_default_port(scheme).to_string(), expected);
        }
    }
}
