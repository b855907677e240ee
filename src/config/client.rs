//! How an upstream is reached and how much it is asked; the reader of `upstreams.<name>.budget:`.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::section::{Section, Value};
use super::{Secret, units};

/// How an upstream is reached: everything that decides which connections may be shared.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Client {
    /// Egress proxy; absent: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` of the environment count.
    pub proxy: Option<Url>,
    /// PEM file of authorities trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Do not verify the server's certificate.
    pub insecure_skip_verify: bool,
    /// Client certificate and key, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Credentials; sent to the origin of the upstream's URL only.
    pub auth: Option<UpstreamAuth>,
    /// May dial loopback, link-local and private addresses. Default false.
    pub allow_private: bool,
    /// See [`super::Upstream::timeout`].
    pub timeout: Duration,
    /// How much it is asked.
    pub budget: Budget,
}

/// `upstreams.<name>.budget:`, of one replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// So many requests in any period of this length (`requests`). Default `None`: any.
    pub requests: Option<(u32, Duration)>,
    /// So many requests at a time, each until the last byte of its answer (`connections`). Default `None`: any.
    pub connections: Option<u32>,
}

/// `upstreams.<name>.auth:`
#[derive(Clone, Debug, PartialEq)]
pub enum UpstreamAuth {
    /// User name and password.
    Basic(String, Secret),
    /// A bearer token.
    Bearer(Secret),
}

/// Takes `budget` from the section of an upstream that is asked over HTTP.
pub(super) fn read_budget(section: &mut Section<'_>) -> Budget {
    let value = section.take("budget");
    value.as_ref().and_then(budget).unwrap_or_default()
}

fn budget(value: &Value<'_>) -> Option<Budget> {
    let mut section = value.section()?;
    let requests = section.take("requests");
    let connections = section.take("connections");
    let budget = Budget {
        requests: requests.and_then(|value| value.parsed(units::per_period)),
        connections: connections.and_then(|value| value.parsed(places)),
    };
    section.finish();
    Some(budget)
}

fn places(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number @ 1..=100_000) => Ok(number),
        _ => Err("write how many requests may be under way at a time, such as `16`".into()),
    }
}
