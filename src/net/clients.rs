//! A pool: one client, with its connections, for every distinct way of reaching a server.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::budget::Budget;
use super::guard::{NameServer, Resolver, System};
use super::proxies::{EnvironmentProxies, Proxies};
use super::retry::{Backoff, Retries};
use super::tls;
use crate::clock::Clock;
use crate::config;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::metrics::Metrics;

/// Connections that upstreams share. Cheap to clone; clones are the same pool.
///
/// Keep one per process and hand it on at a reload, so that what did not change keeps its connections. Certificate files are
/// read anew for every [`Client`](super::Client), so a reload sees new ones.
#[derive(Clone)]
pub struct Clients {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Mutex<HashMap<Key, Weak<reqwest::Client>>>,
    budgets: Mutex<HashMap<Asked, Weak<Budget>>>,
    proxies: EnvironmentProxies,
    backoff: Backoff,
    names: Arc<dyn NameServer>,
}

/// An upstream: its name, and where it is.
type Asked = (Arc<str>, String);

/// Everything that decides whether two upstreams may use the same connection.
///
/// `allow_private` is part of it: a connection that one upstream may have must not serve another that may not.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    authorities: Option<Digest>,
    identity: Option<Digest>,
    verify: bool,
    proxies: String,
    allow_private: bool,
}

impl Clients {
    /// An empty pool with the default rules of retrying and this process' proxy variables.
    pub fn new() -> Self {
        Self::with(Retries::default(), EnvironmentProxies::of_process())
    }

    /// An empty pool.
    pub fn with(retries: Retries, proxies: EnvironmentProxies) -> Self {
        Self::asking(Arc::new(System), retries, proxies)
    }

    /// The same with names from somewhere else than the system.
    pub(super) fn asking(
        names: Arc<dyn NameServer>,
        retries: Retries,
        proxies: EnvironmentProxies,
    ) -> Self {
        tls::install_provider();
        Self {
            inner: Arc::new(Inner {
                pool: Mutex::default(),
                budgets: Mutex::default(),
                proxies,
                backoff: Backoff::new(retries),
                names,
            }),
        }
    }

    pub(super) fn backoff(&self) -> &Backoff {
        &self.inner.backoff
    }

    /// The budget of `upstream` at `origin`: the one that is in use, or one with other rules that knows what was sent under it.
    pub(super) fn budget(
        &self,
        upstream: &Arc<str>,
        origin: &url::Origin,
        rules: config::Budget,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Arc<Budget> {
        let mut budgets = self
            .inner
            .budgets
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let key = (Arc::clone(upstream), origin.ascii_serialization());
        let before = budgets.get(&key).and_then(Weak::upgrade);
        if let Some(before) = &before
            && *before.rules() == rules
        {
            return Arc::clone(before);
        }
        let name = Arc::clone(upstream);
        let budget = Budget::new(name, rules, before.as_deref(), metrics, clock);
        let budget = Arc::new(budget);
        budgets.retain(|_, held| held.strong_count() > 0);
        budgets.insert(key, Arc::downgrade(&budget));
        budget
    }

    pub(super) fn proxies(&self, config: &config::Client) -> Proxies {
        match &config.proxy {
            Some(url) => Proxies::Configured(url.clone()),
            None => Proxies::Environment(self.inner.proxies.clone()),
        }
    }

    /// The client for `config`, with or without its client certificate.
    pub(super) fn client(
        &self,
        config: &config::Client,
        identity: Option<&Identity>,
    ) -> Result<Arc<reqwest::Client>> {
        self.client_through(&self.proxies(config), config, identity)
    }

    /// A client that uses no proxy and may dial any address.
    pub(super) fn direct(&self) -> Result<Arc<reqwest::Client>> {
        let config = config::Client {
            allow_private: true,
            ..config::Client::default()
        };
        let proxies = Proxies::Environment(EnvironmentProxies::none());
        self.client_through(&proxies, &config, None)
    }

    fn client_through(
        &self,
        proxies: &Proxies,
        config: &config::Client,
        identity: Option<&Identity>,
    ) -> Result<Arc<reqwest::Client>> {
        let authorities = match &config.ca_file {
            Some(path) => Some((path, read("tls.ca_file", path)?)),
            None => None,
        };
        let key = Key {
            authorities: authorities.as_ref().map(|(_, pem)| Digest::of(pem)),
            identity: identity.map(|identity| identity.digest),
            verify: !config.insecure_skip_verify,
            proxies: proxies.key(),
            allow_private: config.allow_private,
        };
        let mut pool = self
            .inner
            .pool
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = pool.get(&key).and_then(Weak::upgrade) {
            return Ok(client);
        }
        let authorities = match authorities {
            Some((path, pem)) => tls::authorities(path, &pem)?,
            None => Vec::new(),
        };
        let build = || -> Result<reqwest::ClientBuilder> {
            let mut builder = reqwest::Client::builder()
                .user_agent(concat!("chartgate/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_idle_timeout(IDLE_TIMEOUT)
                .tls_danger_accept_invalid_certs(config.insecure_skip_verify)
                .dns_resolver(Arc::new(Resolver {
                    names: Arc::clone(&self.inner.names),
                    allow_private: config.allow_private,
                    exempt: proxies.hosts().into(),
                }))
                .no_proxy();
            for proxy in proxies.build()? {
                builder = builder.proxy(proxy);
            }
            if let Some(identity) = identity {
                builder = builder.identity(identity.inner.clone());
            }
            Ok(builder)
        };
        let client = match build()?.tls_certs_merge(authorities).build() {
            Ok(client) => client,
            // A machine without any authority can still use plain http, so this is no reason not to start.
            Err(error) if config.ca_file.is_none() => {
                tracing::warn!(
                    error = %Error::internal("no client", error).chain(),
                    "no certificate authorities were found on this system; https upstreams need `tls.ca_file`"
                );
                build()?.tls_certs_only([]).build().map_err(unbuildable)?
            }
            Err(error) => return Err(unbuildable(error)),
        };
        let client = Arc::new(client);
        pool.retain(|_, held| held.strong_count() > 0);
        pool.insert(key, Arc::downgrade(&client));
        Ok(client)
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clients")
    }
}

/// A client certificate with its key.
pub(super) struct Identity {
    inner: reqwest::Identity,
    digest: Digest,
}

impl Identity {
    /// Reads `tls.cert_file` and `tls.key_file`.
    pub(super) fn read(config: &config::Client) -> Result<Option<Self>> {
        let Some((certificate_path, key_path)) = &config.identity else {
            return Ok(None);
        };
        let certificate = read("tls.cert_file", certificate_path)?;
        let key = read("tls.key_file", key_path)?;
        Ok(Some(Self {
            inner: tls::identity(certificate_path, &certificate, &key)?,
            digest: Digest::of(&[certificate, key].concat()),
        }))
    }
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        Error::invalid(format!("`{key}` `{}` cannot be read", path.display())).with_source(error)
    })
}

fn unbuildable(error: reqwest::Error) -> Error {
    Error::invalid("no HTTP client can be made with this `tls` and `proxy` section")
        .with_source(error)
}

/// For one connection, all addresses of a name together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Below the idle time after which common servers hang up, so that we seldom send on a connection that is about to close.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_share_connections_only_when_they_may() {
        let clients = Clients::with(Retries::never(), EnvironmentProxies::none());
        let plain = config::Client::default();
        let first = clients.client(&plain, None).expect("a client");
        let auth = config::Client {
            auth: Some(config::UpstreamAuth::Bearer(config::Secret::new("x"))),
            timeout: Duration::from_secs(1),
            ..plain.clone()
        };
        let same = clients.client(&auth, None).expect("a client");
        assert!(Arc::ptr_eq(&first, &same), "credentials are per request");

        let proxy = url::Url::parse("http://proxy:3128").expect("a URL");
        for other in [
            config::Client {
                allow_private: true,
                ..plain.clone()
            },
            config::Client {
                insecure_skip_verify: true,
                ..plain.clone()
            },
            config::Client {
                proxy: Some(proxy),
                ..plain
            },
        ] {
            let other = clients.client(&other, None).expect("a client");
            assert!(!Arc::ptr_eq(&first, &other));
        }
    }

    #[test]
    fn what_nobody_uses_is_let_go() {
        let clients = Clients::with(Retries::never(), EnvironmentProxies::none());
        let private = config::Client {
            allow_private: true,
            ..config::Client::default()
        };
        drop(clients.client(&private, None));
        let _kept = clients.client(&config::Client::default(), None);
        assert_eq!(clients.inner.pool.lock().expect("no panic").len(), 1);
    }
}
