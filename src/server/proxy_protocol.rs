//! The PROXY protocol, versions 1 and 2: the header before the first byte of a connection in which a load balancer says who
//! its client is.
//!
//! Read from trusted neighbours only, and always expected from them: a connection without it is not served. The header is
//! bounded here; how long it may take is the caller's to watch.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Longest line of version 1, with its line end.
const MAX_LINE: usize = 107;
/// Most bytes that version 2 may have after its fixed part: addresses and what else the sender knows, such as certificates.
const MAX_REST: usize = 4096;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Why a connection is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It does not begin with a header, or with one that contradicts the specification.
    Malformed,
    /// The header is larger than any sender has reason for.
    TooLarge,
    /// The connection ended.
    Ended,
}

/// Reads exactly the header. `None`: the sender speaks for itself (health checks), or of a client without an IP address.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, Unreadable> {
    // The shortest line of version 1, `PROXY UNKNOWN` with its line end, is longer than this.
    let mut start = [0; SIGNATURE.len()];
    fill(stream, &mut start).await?;
    if start == *SIGNATURE {
        return read_binary(stream).await;
    }
    if !start.starts_with(b"PROXY ") {
        return Err(Unreadable::Malformed);
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() == MAX_LINE {
            return Err(Unreadable::TooLarge);
        }
        let mut byte = [0];
        fill(stream, &mut byte).await?;
        line.extend(byte);
    }
    let line = line.strip_suffix(b"\r\n").unwrap_or(&line);
    let line = std::str::from_utf8(line).map_err(|_| Unreadable::Malformed)?;
    parse_line(line).ok_or(Unreadable::Malformed)
}

/// `PROXY TCP4 <source> <destination> <source port> <destination port>`; outer `None`: malformed.
fn parse_line(line: &str) -> Option<Option<SocketAddr>> {
    let mut words = line.strip_prefix("PROXY ")?.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let mut address = || -> Option<IpAddr> {
        let word = words.next()?;
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let source = address()?;
    address()?;
    let mut port = || -> Option<u16> {
        let word = words.next()?;
        word.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then_some(())?;
        word.parse().ok()
    };
    let source_port = port()?;
    port()?;
    words
        .next()
        .is_none()
        .then_some(Some(SocketAddr::new(source, source_port)))
}

async fn read_binary(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, Unreadable> {
    let mut fixed = [0; 4];
    fill(stream, &mut fixed).await?;
    let [version_and_command, family, high, low] = fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_REST {
        return Err(Unreadable::TooLarge);
    }
    let mut rest = vec![0; length];
    fill(stream, &mut rest).await?;
    match version_and_command {
        LOCAL => Ok(None),
        PROXY => parse_addresses(family, &rest).ok_or(Unreadable::Malformed),
        _ => Err(Unreadable::Malformed),
    }
}

/// The source of the addresses that `rest` begins with; outer `None`: they are cut short.
fn parse_addresses(family: u8, rest: &[u8]) -> Option<Option<SocketAddr>> {
    let port = |at: usize| Some(u16::from_be_bytes(rest.get(at..at + 2)?.try_into().ok()?));
    match family >> 4 {
        INET => {
            let source: [u8; 4] = rest.get(..4)?.try_into().ok()?;
            rest.get(..12)?;
            Some(Some(SocketAddr::new(source.into(), port(8)?)))
        }
        INET6 => {
            let source: [u8; 16] = rest.get(..16)?.try_into().ok()?;
            rest.get(..36)?;
            Some(Some(SocketAddr::new(source.into(), port(32)?)))
        }
        UNSPECIFIED | UNIX => Some(None),
        _ => None,
    }
}

async fn fill(stream: &mut (impl AsyncRead + Unpin), bytes: &mut [u8]) -> Result<(), Unreadable> {
    match stream.read_exact(bytes).await {
        Ok(_) => Ok(()),
        Err(_) => Err(Unreadable::Ended),
    }
}

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0;
const INET: u8 = 1;
const INET6: u8 = 2;
const UNIX: u8 = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a header says, and what is left after it.
    fn read_all(mut bytes: &[u8]) -> (Result<Option<SocketAddr>, Unreadable>, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let read = runtime.expect("a runtime").block_on(read(&mut bytes));
        (read, bytes.len())
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [SIGNATURE, [command, family].as_slice(), &length, rest].concat()
    }

    #[test]
    fn lines_say_who_the_client_is() {
        for (line, expected) in [
            (
                "PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n",
                Some("192.0.2.1:4711"),
            ),
            (
                "PROXY TCP6 2001:db8::1 ::1 1 65535\r\n",
                Some("[2001:db8::1]:1"),
            ),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ::1 1 2\r\n", None),
        ] {
            let expected = expected.map(|text| text.parse().expect("an address"));
            assert_eq!(
                read_all(format!("{line}GET").as_bytes()),
                (Ok(expected), 3),
                "{line}"
            );
        }
    }

    #[test]
    fn binary_headers_say_who_the_client_is() {
        let v4 = [192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x67, 1, 187];
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        (v6[15], v6[33]) = (1, 7);
        let more = [v4.as_slice(), &[4, 0, 2, 0, 0]].concat();
        for (header, expected) in [
            (binary(PROXY, 0x11, &v4), Some("192.0.2.1:4711")),
            (binary(PROXY, 0x11, &more), Some("192.0.2.1:4711")),
            (binary(PROXY, 0x21, &v6), Some("[2001:db8::1]:7")),
            (binary(LOCAL, 0, &[]), None),
            (binary(LOCAL, 0x11, &v4), None),
            (binary(PROXY, 0x31, &[0; 216]), None),
            (binary(PROXY, 0, &[]), None),
        ] {
            let expected = expected.map(|text| text.parse().expect("an address"));
            let bytes = [header.as_slice(), b"GET"].concat();
            assert_eq!(read_all(&bytes), (Ok(expected), 3), "{header:?}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for line in [
            "GET / HTTP/1.1\r\n",
            "proxy TCP4 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1  10.0.0.1 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 65536 2\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 +1 2\r\n",
            "PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 2\n\r\n",
        ] {
            assert_eq!(
                read_all(line.as_bytes()).0,
                Err(Unreadable::Malformed),
                "{line}"
            );
        }
        let endless = format!("PROXY UNKNOWN {}", "a".repeat(200));
        assert_eq!(read_all(endless.as_bytes()).0, Err(Unreadable::TooLarge));
        for header in [
            binary(0x22, 0x11, &[0; 12]),
            binary(0x11, 0x11, &[0; 12]),
            binary(PROXY, 0x41, &[0; 12]),
            binary(PROXY, 0x11, &[0; 11]),
            binary(PROXY, 0x21, &[0; 35]),
        ] {
            assert_eq!(
                read_all(&header).0,
                Err(Unreadable::Malformed),
                "{header:?}"
            );
        }
        assert_eq!(
            read_all(&binary(PROXY, 0x11, &[0; 4097])).0,
            Err(Unreadable::TooLarge)
        );
        let whole = binary(PROXY, 0x11, &[0; 12]);
        assert_eq!(read_all(&whole[..20]).0, Err(Unreadable::Ended));
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>) {
            let _ = read_all(&bytes);
            let _ = read_all(&[b"PROXY ".as_slice(), &bytes].concat());
            let _ = read_all(&[SIGNATURE.as_slice(), &bytes].concat());
        }
    }
}
