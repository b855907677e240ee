//! The gateway: tenants and shared parts built from one configuration, swapped as a whole on reload.
//!
//! A reload builds a new gateway beside the old one; upstreams and stores whose configuration did not change move over
//! with all they hold. Requests in flight keep the gateway that they started with.

mod parts;
mod tenant;
mod upstreams;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::warn;

pub use self::tenant::{HostedPart, Tenant};
use crate::auth::{Authenticator, Identity};
use crate::cache::Cache;
use crate::clock::Clock;
use crate::config::{Action, Config};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::Metrics;
use crate::names::TenantPath;
use crate::net::Clients;
use crate::repository::proxy::{Proxy, ShrinkRule};
use crate::store::Places;

/// How often hosted folders are looked at for files that others put there.
const FOLDER_CHECK: Duration = Duration::from_secs(1);
/// How often gauges that change with time alone are written, and idle rate-limit keys forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(15);

/// Told `(done, total)` while hosted packages are read for the first time.
pub type Progress = Arc<dyn Fn(usize, usize) + Send + Sync>;

/// What outlives a reload: one per process.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Copies of upstream content.
    pub cache: Arc<Cache>,
    /// Connections to upstreams.
    pub clients: Arc<Clients>,
    /// All metrics.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
    /// The buckets of hosted stores.
    pub places: Arc<Places>,
}

/// One configuration, running.
#[derive(Debug)]
pub struct Gateway {
    config: Config,
    authenticator: Authenticator,
    tenants: BTreeMap<TenantPath, Arc<Tenant>>,
    upstreams: BTreeMap<Arc<str>, Arc<Proxy>>,
    shared: Shared,
    /// Background tasks; aborted when the gateway is dropped.
    tasks: std::sync::Mutex<JoinSet<()>>,
}

impl Gateway {
    /// Builds every part that `config` describes and starts its background work. `previous` lends what did not change.
    ///
    /// Must run inside the runtime that serves. Errors name the part that cannot be built; nothing is left running then.
    pub async fn build(
        config: Config,
        shared: &Shared,
        previous: Option<&Self>,
        progress: &Progress,
    ) -> Result<Arc<Self>> {
        let authenticator = Authenticator::open(&config.auth, &shared.clock)?;
        let mut upstreams = BTreeMap::new();
        for (name, upstream) in &config.upstreams {
            upstreams.insert(
                name.clone(),
                upstreams::open(upstream, &config, shared, previous).await?,
            );
        }
        let mut tenants = BTreeMap::new();
        for (path, tenant) in &config.tenants {
            let tenant =
                Tenant::build(tenant, &config, &upstreams, shared, previous, progress).await?;
            tenants.insert(path.clone(), Arc::new(tenant));
        }
        let gateway = Self {
            config,
            authenticator,
            tenants,
            upstreams,
            shared: shared.clone(),
            tasks: std::sync::Mutex::default(),
        };
        let gateway = Arc::new(gateway);
        gateway.start(previous);
        Ok(gateway)
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The tenant at exactly this path.
    pub fn tenant(&self, path: &str) -> Option<&Arc<Tenant>> {
        self.tenants.get(path)
    }

    /// All tenants in path order.
    pub fn tenants(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.tenants.values()
    }

    /// All upstreams in name order.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Proxy>> {
        self.upstreams.values()
    }

    /// The upstream of this name.
    pub fn upstream(&self, name: &str) -> Result<&Arc<Proxy>> {
        self.upstreams
            .get(name)
            .ok_or_else(|| Error::not_found(format!("upstream `{name:.120}` is not configured")))
    }

    /// Refreshes one upstream now and publishes the tenants that show it. Answers when they do.
    pub async fn refresh(&self, name: &str, rule: ShrinkRule) -> Result<()> {
        self.upstream(name)?.refresh(rule).await?;
        for tenant in self.tenants.values() {
            if tenant
                .charts()
                .members()
                .iter()
                .any(|member| **member.repository.label() == *name)
            {
                tenant.charts().publish().await?;
            }
        }
        Ok(())
    }

    /// Who sends the request; see [`Authenticator::authenticate`].
    pub async fn authenticate(&self, request: &crate::http::Request) -> Result<Identity> {
        self.authenticator.authenticate(request).await
    }

    /// The gate: the tenant at `path`, if `identity` may do `action` there and is within its rate.
    ///
    /// A tenant in which the identity may do nothing at all looks like one that does not exist.
    pub async fn admit(
        &self,
        path: &str,
        identity: &Identity,
        action: Action,
        address: Option<IpAddr>,
    ) -> Result<Arc<Tenant>> {
        let tenant = self.tenants.get(path);
        let Some(tenant) = tenant.filter(|tenant| tenant.is_known_to(identity)) else {
            return Err(self.absent(path, identity));
        };
        tenant.policy().authorize(identity, action)?;
        tenant
            .check_rate(identity, address)
            .inspect_err(|_| self.shared.metrics.rate_limited(tenant.path().label()))?;
        Ok(tenant.clone())
    }

    /// Whether every tenant has published an index.
    pub fn is_ready(&self) -> bool {
        self.tenants
            .values()
            .all(|tenant| tenant.charts().is_ready())
    }

    /// Waits until every tenant has published what its members have. Cancel-safe.
    pub async fn settled(&self) {
        for tenant in self.tenants.values() {
            tenant.charts().settled().await;
        }
    }

    /// Writes what is pending to disk. For the end of the process.
    pub async fn flush(&self) {
        for hosted in self
            .tenants
            .values()
            .filter_map(|tenant| tenant.hosted_part())
        {
            if let Err(error) = hosted.store.flush().await {
                warn!(error = %error.chain(), "cannot save the state of a hosted store; the next start reads it again: {error}");
            }
        }
    }

    /// All metrics in Prometheus text format.
    pub fn render_metrics(&self) -> Vec<u8> {
        self.upstreams
            .values()
            .for_each(|upstream| upstream.observe());
        self.shared.metrics.render()
    }

    /// The shared parts.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// What a caller is told about a tenant that is not there for him.
    fn absent(&self, path: &str, identity: &Identity) -> Error {
        // Where any tenant wants credentials, a stranger must not learn which tenants exist by the difference.
        let closed = self
            .tenants
            .values()
            .any(|tenant| !tenant.policy().allows(&Identity::Anonymous, Action::Pull));
        if *identity == Identity::Anonymous && closed {
            return Error::new(
                ErrorKind::Unauthenticated,
                format!("`/{path:.200}` needs credentials; send a user name and password"),
            );
        }
        Error::not_found(format!("tenant `/{path:.200}` does not exist"))
    }

    fn start(self: &Arc<Self>, previous: Option<&Self>) {
        let Ok(mut tasks) = self.tasks.lock() else {
            return;
        };
        for (name, upstream) in &self.upstreams {
            let moved = previous.and_then(|previous| previous.upstreams.get(name));
            if !moved.is_some_and(|moved| Arc::ptr_eq(moved, upstream)) {
                upstream.start();
            }
        }
        for tenant in self.tenants.values() {
            tasks.spawn(tenant.charts().clone().run());
            if let Some(hosted) = tenant.hosted_part() {
                // Ends with the gateway; what is pending then is written by `flush`.
                tasks.spawn(
                    hosted
                        .store
                        .clone()
                        .watch(FOLDER_CHECK, std::future::pending()),
                );
            }
        }
        let tenants: Vec<Arc<Tenant>> = self.tenants.values().cloned().collect();
        let metrics = self.shared.metrics.clone();
        tasks.spawn(async move {
            let mut ticks = tokio::time::interval(HOUSEKEEPING);
            loop {
                ticks.tick().await;
                tenants.iter().for_each(|tenant| tenant.housekeep(&metrics));
            }
        });
    }
}
