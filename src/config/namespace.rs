//! Names of registries as clients say them: `?ns=`, `Host`, and the keys that they are compared with.

use url::Url;

/// Docker Hub's names; the host of its API first.
pub const DOCKER_HUB: [&str; 3] = ["registry-1.docker.io", "docker.io", "index.docker.io"];

/// `host` or `host:port` in lower case, without a port that is some scheme's own; `None` where it is neither.
///
/// A client does not say the scheme, so both default ports mean "the usual one".
pub fn normalized(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let host = without_port(&text);
    let port = &text[host.len()..];
    let is_host = !host.is_empty()
        && host.len() <= 253
        && (is_literal(host)
            || host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')));
    match port {
        _ if !is_host => None,
        "" | ":80" | ":443" => Some(host.to_owned()),
        _ => {
            let number: u16 = port.strip_prefix(':')?.parse().ok()?;
            Some(format!("{host}:{number}"))
        }
    }
}

/// The same of a URL.
pub fn of(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    match url.port() {
        // One that is written, and not the scheme's own.
        Some(port) => normalized(&format!("{host}:{port}")),
        None => normalized(host),
    }
}

/// `host:port` without the port; IPv6 addresses stand in brackets.
pub fn without_port(text: &str) -> &str {
    match text.rfind(']') {
        Some(end) => &text[..=end],
        None => text.split_once(':').map_or(text, |(host, _)| host),
    }
}

fn is_literal(host: &str) -> bool {
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_as_people_mean_them() {
        for (text, expected) in [
            ("docker.io", Some("docker.io")),
            ("Docker.IO:443", Some("docker.io")),
            ("h:80", Some("h")),
            ("h:05000", Some("h:5000")),
            ("localhost:5000", Some("localhost:5000")),
            ("[::1]:5000", Some("[::1]:5000")),
            ("[::1]", Some("[::1]")),
            ("", None),
            (":5000", None),
            ("h:", None),
            ("h:x", None),
            ("h:70000", None),
            ("h/x", None),
            ("http://h", None),
            ("a b", None),
            ("h%00", None),
            ("[x]:1", None),
        ] {
            assert_eq!(normalized(text).as_deref(), expected, "{text}");
        }
        let url = |text: &str| of(&Url::parse(text).expect(text));
        assert_eq!(url("https://GHCR.io/x").as_deref(), Some("ghcr.io"));
        assert_eq!(url("http://h:5000/").as_deref(), Some("h:5000"));
        assert_eq!(url("http://h:443/").as_deref(), Some("h"));
    }
}
