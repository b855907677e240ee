//! Where a client of a registry gets its token: on the very host that it speaks to.
//!
//! Clients refuse a token server on another host or with less than their own encryption, and some keep one server for each host.
//! So realm and service follow from the request, never from the tenant or upstream.

use crate::config::{self, Config};
use crate::http::{Authority, Request};

/// The route of the token endpoint below the context path.
const TOKEN: &str = "/token";
/// What tokens are made for where a request does not say to which host it goes.
const NAMELESS: &str = "chartgate";

/// How this service is seen from outside.
#[derive(Debug)]
pub(super) struct Realm {
    /// Scheme and host of `server.external_url`.
    external: Option<(String, String)>,
    context: String,
    /// Names of `registry.hosts`; `*.` and the rest for patterns.
    hosts: Vec<String>,
}

/// What a challenge names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The URL of the token endpoint.
    pub(super) realm: String,
    /// The name of this service: host, and port where it is not the scheme's own.
    pub(super) service: String,
}

impl Realm {
    pub(super) fn of(config: &Config) -> Self {
        Self::new(
            &config.server,
            config.registry.hosts.keys().cloned().collect(),
        )
    }

    fn new(server: &config::Server, hosts: Vec<String>) -> Self {
        let external = server.external_url.as_ref().and_then(|url| {
            let host = url.host_str()?;
            let authority = match url.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            };
            Some((url.scheme().to_owned(), authority))
        });
        Self {
            external,
            context: server.context_path.clone(),
            hosts,
        }
    }

    /// Where the sender of `request` gets tokens.
    pub(super) fn place(&self, request: &Request) -> Place {
        let context = if below(&request.path, &self.context) {
            self.context.as_str()
        } else {
            ""
        };
        match (request.authority(), &self.external) {
            (Some(host), _) => {
                let scheme = self.scheme(request, host);
                let host = host.without_default_port(scheme);
                Place {
                    realm: format!("{scheme}://{host}{context}{TOKEN}"),
                    service: host.to_string(),
                }
            }
            (None, Some((scheme, host))) => Place {
                realm: format!("{scheme}://{host}{context}{TOKEN}"),
                service: host.clone(),
            },
            // HTTP/1.0, or a host that cannot be one. No client that knows tokens sends either.
            (None, None) => Place {
                realm: format!("{context}{TOKEN}"),
                service: NAMELESS.to_owned(),
            },
        }
    }

    /// The scheme that the client used: behind a server that ends TLS, the connection does not say.
    fn scheme<'a>(&'a self, request: &Request, host: Authority<'_>) -> &'a str {
        if request.secure {
            return "https";
        }
        let Some((scheme, external)) = &self.external else {
            return "http";
        };
        let name = host.host();
        let is_external = Authority::parse(external).is_some_and(|known| known.host() == name);
        if is_external || self.hosts.iter().any(|known| fits(known, &name)) {
            scheme
        } else {
            "http"
        }
    }
}

/// Whether `path` is the context path or below it.
fn below(path: &str, context: &str) -> bool {
    path.strip_prefix(context)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether `name` is the virtual host `known`, or one of its pattern.
fn fits(known: &str, name: &str) -> bool {
    match known.strip_prefix('*') {
        Some(rest) => name.len() > rest.len() && name.ends_with(rest),
        None => name == known,
    }
}
