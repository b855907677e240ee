//! Plain listeners that send their clients to TLS (`server.redirect_http`).

use http::header::{HeaderValue, LOCATION};

use crate::config::{self, Redirect};
use crate::http::{Request, Response, StatusCode};

/// Where clients are sent, and what is answered all the same.
#[derive(Clone, Debug)]
pub(super) struct ToTls {
    target: Target,
    /// For probes, which speak to the process and not to the service.
    health: String,
}

#[derive(Clone, Debug)]
enum Target {
    /// The request's host at this port.
    Port(u16),
    /// `https://host[:port]`
    Origin(String),
}

impl ToTls {
    /// What the configuration asks for; `port` is the real one of the first TLS listener.
    pub(super) fn of(config: &config::Server, port: Option<u16>) -> Option<Self> {
        let target = match config.redirect_http.as_ref()? {
            Redirect::SameHost => Target::Port(port?),
            Redirect::To(url) => Target::Origin(url.as_str().trim_end_matches('/').to_owned()),
        };
        Some(Self {
            target,
            health: format!("{}/health", config.context_path),
        })
    }

    /// The answer for a request that came without TLS. 308 keeps method and body, so that clients may repeat a push.
    /// `None`: it is answered where it is.
    ///
    /// Challenges of certificate authorities are redirected as everything else: nothing here answers them, and the
    /// authorities follow.
    pub(super) fn answer(&self, request: &Request) -> Option<Response> {
        if request.secure || request.path == self.health {
            return None;
        }
        let origin = match &self.target {
            Target::Origin(origin) => Some(origin.clone()),
            Target::Port(port) => request.authority().map(|authority| match port {
                443 => format!("https://{}", authority.host()),
                port => format!("https://{}:{port}", authority.host()),
            }),
        };
        let location = origin.and_then(|origin| {
            let query = request.query.as_deref();
            let (mark, query) = query.map_or(("", ""), |query| ("?", query));
            HeaderValue::try_from(format!("{origin}{}{mark}{query}", request.path)).ok()
        });
        Some(match location {
            Some(location) => {
                let text = "this is served over TLS only";
                Response::text(StatusCode::PERMANENT_REDIRECT, text).with_header(LOCATION, location)
            }
            None => Response::text(
                StatusCode::BAD_REQUEST,
                "this is served over TLS only, and the request names no host to go to",
            ),
        })
    }
}
