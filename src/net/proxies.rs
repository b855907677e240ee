//! Egress proxies: the configured one, or those of the environment.
//!
//! With a proxy, names of upstreams are resolved by the proxy and not here: which addresses they may stand for is then the
//! proxy's rule. Addresses written in URLs are still checked.

use reqwest::{NoProxy, Proxy};
use url::Url;

use crate::error::{Error, Result};

/// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capitals or not.
///
/// As with Go's clients, loopback destinations never go through them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentProxies {
    https: Option<String>,
    http: Option<String>,
    no_proxy: String,
}

impl EnvironmentProxies {
    /// Reads the variables through `variable`.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |name: &str| {
            [name.to_owned(), name.to_ascii_lowercase()]
                .into_iter()
                .find_map(|name| variable(&name).filter(|value| !value.trim().is_empty()))
        };
        let all = either("ALL_PROXY");
        Self {
            https: either("HTTPS_PROXY").or_else(|| all.clone()),
            http: either("HTTP_PROXY").or(all),
            no_proxy: either("NO_PROXY").unwrap_or_default(),
        }
    }

    /// The variables of this process.
    pub fn of_process() -> Self {
        Self::read(|name| std::env::var(name).ok())
    }

    /// No proxies.
    pub fn none() -> Self {
        Self::default()
    }
}

/// The proxies of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proxies {
    /// The upstream's own `proxy`, for everything.
    Configured(Url),
    /// Whatever the environment says.
    Environment(EnvironmentProxies),
}

impl Proxies {
    /// A text that is the same for the same proxies; holds passwords.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Configured(url) => url.to_string(),
            Self::Environment(proxies) => format!("{proxies:?}"),
        }
    }

    /// The proxies' hosts, in lower case.
    pub(super) fn hosts(&self) -> Vec<String> {
        let urls = match self {
            Self::Configured(url) => vec![Some(url.clone())],
            Self::Environment(proxies) => [&proxies.https, &proxies.http]
                .into_iter()
                .flatten()
                .map(|text| parse(text).ok())
                .collect(),
        };
        urls.into_iter()
            .flatten()
            .filter_map(|url| url.host_str().map(str::to_ascii_lowercase))
            .collect()
    }

    /// In the client library's terms.
    pub(super) fn build(&self) -> Result<Vec<Proxy>> {
        match self {
            Self::Configured(url) => {
                let proxy = Proxy::all(url.clone()).map_err(|error| unusable("proxy", error))?;
                Ok(vec![proxy])
            }
            Self::Environment(proxies) => {
                let exceptions = format!("{},{LOOPBACK}", proxies.no_proxy);
                let exceptions = NoProxy::from_string(&exceptions);
                let mut built = Vec::new();
                if let Some(text) = &proxies.https {
                    let proxy = parse(text).and_then(|url| {
                        Proxy::https(url).map_err(|e| unusable("HTTPS_PROXY", e))
                    })?;
                    built.push(proxy.no_proxy(exceptions.clone()));
                }
                if let Some(text) = &proxies.http {
                    let proxy = parse(text)
                        .and_then(|url| Proxy::http(url).map_err(|e| unusable("HTTP_PROXY", e)))?;
                    built.push(proxy.no_proxy(exceptions));
                }
                Ok(built)
            }
        }
    }
}

/// As everywhere, a proxy without a scheme is an http one.
fn parse(text: &str) -> Result<Url> {
    let text = text.trim();
    let text = match text.contains("://") {
        true => text.to_owned(),
        false => format!("http://{text}"),
    };
    Url::parse(&text).map_err(|error| unusable("HTTPS_PROXY or HTTP_PROXY", error))
}

fn unusable(name: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::invalid(format!("`{name}` is not the URL of an http or https proxy")).with_source(error)
}

const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> EnvironmentProxies {
        EnvironmentProxies::read(|name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn both_spellings_count_and_capitals_win() {
        let proxies = environment(&[
            ("https_proxy", "http://low:1"),
            ("HTTPS_PROXY", "http://High:2"),
            ("ALL_PROXY", "all:3"),
            ("NO_PROXY", ""),
        ]);
        let proxies = Proxies::Environment(proxies);
        assert_eq!(proxies.hosts(), ["high", "all"]);
        assert_eq!(proxies.build().expect("proxies").len(), 2);
    }

    #[test]
    fn nonsense_is_named() {
        let proxies = Proxies::Environment(environment(&[("HTTP_PROXY", "http://:x:")]));
        let error = proxies.build().expect_err("not a URL");
        assert!(error.message().contains("HTTP_PROXY"), "{error}");
    }
}
