//! URLs that name several servers, which general URL parsers refuse: `[user:password@]host[:port][,…][/path]`.

use crate::error::{Error, Result};

/// The pieces of a URL behind its scheme.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Whether the servers speak TLS.
    pub(crate) tls: bool,
    /// The decoded user.
    pub(crate) user: Option<String>,
    /// The decoded password.
    pub(crate) password: Option<String>,
    /// Hosts and ports.
    pub(crate) nodes: Vec<(String, u16)>,
    /// What follows the first slash, without one at its end.
    pub(crate) path: String,
}

impl Parts {
    /// Reads what follows `://`.
    pub(crate) fn parse(text: &str, tls: bool, default_port: u16) -> Result<Self> {
        let (authority, path) = text.split_once('/').unwrap_or((text, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        let (user, password) = match credentials {
            Some(credentials) => {
                let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
                (decode(user)?, decode(password)?)
            }
            None => (None, None),
        };
        let nodes = hosts
            .split(',')
            .map(|host| address(host, default_port))
            .collect::<Result<_>>()?;
        Ok(Self {
            tls,
            user,
            password,
            nodes,
            path: path.trim_end_matches('/').to_owned(),
        })
    }
}

/// A URL that cannot be used. It may hold a password and stays out of the message.
pub(crate) fn unusable(why: &str) -> Error {
    Error::invalid(format!(
        "`cache.redis.url` cannot be used: {why}; write e.g. redis://host:6379/0"
    ))
}

fn decode(text: &str) -> Result<Option<String>> {
    let decoded = percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| unusable("its user or password is not UTF-8"))?;
    Ok((!decoded.is_empty()).then(|| decoded.into_owned()))
}

fn address(text: &str, default_port: u16) -> Result<(String, u16)> {
    // A colon inside brackets belongs to an IPv6 address.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let port = port
                .parse()
                .map_err(|_| unusable("a port is not a number below 65536"))?;
            (host, port)
        }
        _ => (text, default_port),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(unusable("a host is missing"));
    }
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_hosts_with_credentials_and_a_path() {
        let parts = Parts::parse("me:p%40ss@a:1,b,[::1]:3/mymaster/2/", false, 6379);
        let parts = parts.expect("a URL");
        assert_eq!(parts.user.as_deref(), Some("me"));
        assert_eq!(parts.password.as_deref(), Some("p@ss"));
        assert_eq!(parts.path, "mymaster/2");
        let node = |host: &str, port| (host.to_owned(), port);
        assert_eq!(parts.nodes, [node("a", 1), node("b", 6379), node("::1", 3)]);
    }
}
