//! The gateway: tenants and shared parts built from one configuration, swapped as a whole on reload.
//!
//! A reload builds a new gateway beside the old one; upstreams and stores whose configuration did not change move over
//! with all they hold. Requests in flight keep the gateway that they started with.

mod doorway;
mod entrance;
mod holdings;
mod instances;
mod locate;
mod parts;
mod pattern;
mod registries;
pub mod rights;
mod slots;
mod tenant;
mod upstreams;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::doorway::Doorway;
use self::holdings::{Held, Holdings};
use self::instances::Instances;
use self::locate::Addresses;
pub use self::locate::{Located, Place, Selected};
use self::pattern::{Pattern, Patterns};
use self::registries::Registries;
pub use self::registries::{HostedRegistryPart, TenantRegistry};
pub use self::tenant::{HostedPart, Tenant};
use crate::audit::Audit;
use crate::auth::{About, Authenticator, Identity};
use crate::cache::Cache;
use crate::clock::Clock;
use crate::config::{self, Action, Config};
use crate::error::{Error, ErrorKind, Result};
use crate::limit::{Demand, Key, Meter};
use crate::metrics::Metrics;
use crate::names::TenantPath;
use crate::net::Clients;
use crate::repository::proxy::{Proxy, ShrinkRule};
use crate::repository::registry::ProxyRegistry;
use crate::store::Places;
use crate::store::registry::RegistryStore;

/// How often what nobody needs any more is forgotten: idle rate-limit keys, tenants of patterns that hold nothing.
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
    /// Who did what.
    pub audit: Arc<Audit>,
    /// One permit for each archive that is unpacked for a client, and so a bound on the memory that this takes.
    pub unpacking: Arc<Semaphore>,
}

/// Upstreams by name.
type Upstreams = BTreeMap<Arc<str>, Arc<Proxy>>;

/// One configuration, running.
#[derive(Debug)]
pub struct Gateway {
    config: Config,
    authenticator: Authenticator,
    doorway: Doorway,
    upstreams: Upstreams,
    registries: Registries,
    /// Those with a key of their own.
    tenants: BTreeMap<TenantPath, Arc<Tenant>>,
    patterns: Patterns,
    addresses: Addresses,
    instances: Instances,
    holdings: Arc<Holdings>,
    shared: Shared,
    /// Background tasks; aborted when the gateway is dropped.
    tasks: std::sync::Mutex<JoinSet<()>>,
}

/// Who wants what of a tenant, as far as the gate has to know.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Who asks.
    pub identity: &'a Identity,
    /// Where he is; absent on Unix sockets.
    pub address: Option<IpAddr>,
    /// What he wants to do.
    pub action: Action,
    /// To what in the tenant.
    pub about: About<'a>,
    /// What it costs him.
    pub demand: Demand,
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
        let mut authenticator =
            Authenticator::build(&config, &shared.clock, &shared.clients, &shared.metrics)?;
        if let Some(previous) = previous {
            authenticator.take_over(&previous.authenticator);
        }
        let mut upstreams = BTreeMap::new();
        for (name, upstream) in &config.upstreams {
            if matches!(upstream.source, config::Source::Oci(_)) {
                continue;
            }
            let proxy = upstreams::open(upstream, &config, shared, previous).await?;
            upstreams.insert(name.clone(), proxy);
        }
        let registries = Registries::open(&config, shared, previous).await?;
        let doorway = Doorway::build(&config, shared, previous.map(|previous| &previous.doorway));
        let holdings = previous
            .filter(|previous| previous.config.store == config.store)
            .map_or_else(|| Arc::new(Holdings::new()), |old| old.holdings.clone());
        let mut tenants = BTreeMap::new();
        for (path, tenant) in &config.tenants {
            let held = match &tenant.hosted {
                Some(_) => Some(Held::open(&holdings, path, &config, shared, progress).await?),
                None => None,
            };
            let registry = registries.tenant(path, tenant, shared)?;
            let old = previous.and_then(|previous| previous.tenants.get(path));
            let before = doorway.before(old);
            let tenant =
                Tenant::build(tenant, held, registry, &upstreams, &config, shared, &before)?;
            if tenant.charts().members().is_empty() {
                // Nobody is to wait for an index that is empty.
                tenant.charts().publish().await?;
            }
            tenants.insert(path.clone(), Arc::new(tenant));
        }
        let mut patterns = Vec::new();
        for (pattern, tenant) in &config.patterns {
            let registry = registries.blank(pattern, tenant, shared)?;
            let old = previous.and_then(|previous| previous.patterns.blank(pattern));
            let before = doorway.before(old);
            let blank = Tenant::blank(
                pattern, tenant, registry, &upstreams, &config, shared, &before,
            )?;
            if tenant.charts.is_empty() {
                // Nobody is to wait for an index that is empty.
                blank.charts().publish().await?;
            }
            patterns.push(Arc::new(Pattern {
                pattern: pattern.clone(),
                config: tenant.clone(),
                blank: Arc::new(blank),
            }));
        }
        let gateway = Self {
            patterns: Patterns::new(patterns, config.museum.strict),
            addresses: Addresses::of(&config),
            config,
            authenticator,
            doorway,
            upstreams,
            registries,
            tenants,
            instances: Instances::new(),
            holdings,
            shared: shared.clone(),
            tasks: std::sync::Mutex::default(),
        };
        if let Some(previous) = previous {
            gateway.adopt(previous);
        }
        let gateway = Arc::new(gateway);
        gateway.start(previous);
        Ok(gateway)
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The tenant at exactly this path, also one of a pattern's, for operators: nobody's permission is asked.
    ///
    /// Errors: there is none, or one of a pattern's that holds nothing; its store cannot be opened.
    pub async fn tenant(&self, path: &str) -> Result<Arc<Tenant>> {
        if let Some(tenant) = self.tenants.get(path) {
            return Ok(tenant.clone());
        }
        let absent = || Error::not_found(format!("tenant `/{path:.200}` does not exist"));
        let (pattern, name) = self.patterns.find(path).ok_or_else(absent)?;
        let tenant = self.instance(pattern, &name, Action::Pull).await?;
        // What could not be listed has no index that could be shown, which is another answer than absence.
        let is_known = !tenant.is_vacant() || !tenant.charts().is_ready();
        if is_known || pattern.config.hosted.is_none() {
            Ok(tenant)
        } else {
            Err(absent())
        }
    }

    /// All tenants with a key of their own, in path order.
    pub fn tenants(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.tenants.values()
    }

    /// All tenants: those with a key of their own, and those of patterns that hold something and have been asked for since the
    /// start. In path order.
    pub fn open_tenants(&self) -> Vec<Arc<Tenant>> {
        let mut all: Vec<_> = self.tenants.values().cloned().collect();
        all.extend(self.instances.tenants());
        all.sort_by(|a, b| a.path().cmp(b.path()));
        all
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

    /// All upstream registries in name order.
    pub fn upstream_registries(&self) -> impl Iterator<Item = &Arc<ProxyRegistry>> {
        self.registries.upstreams()
    }

    /// The upstream registry of this name.
    pub fn upstream_registry(&self, name: &str) -> Option<&Arc<ProxyRegistry>> {
        self.registries.upstream(name)
    }

    /// The store of everything that was pushed; `None` where nothing is hosted.
    pub fn registry_store(&self) -> Option<&Arc<RegistryStore>> {
        self.registries.store()
    }

    /// Refreshes one upstream now and publishes the tenants that show it. Answers when they do.
    pub async fn refresh(&self, name: &str, rule: ShrinkRule) -> Result<()> {
        self.upstream(name)?.refresh(rule).await?;
        let blanks = self.patterns.iter().map(|pattern| pattern.blank.clone());
        for tenant in self.open_tenants().into_iter().chain(blanks) {
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

    /// Who can be somebody, for what only registries need.
    pub fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Who sends the request; see [`Authenticator::authenticate`].
    pub async fn authenticate(&self, request: &crate::http::Request) -> Result<Identity> {
        self.authenticator.authenticate(request).await
    }

    /// `WWW-Authenticate` of a 401 about `action` in the tenant at `path`; see [`Authenticator::challenge`].
    pub fn challenge(&self, path: &str, action: Action) -> String {
        self.authenticator.challenge(path, action)
    }

    /// The gate: the tenant at `path`, if the rules allow what is asked there and it is within the limits, and where the bytes that
    /// pass count against them.
    ///
    /// A tenant in which the identity may do nothing at all looks like one that does not exist. A tenant of a pattern is looked
    /// at after that, so that nothing is opened for those who may not use it. Cancel-safe.
    pub async fn admit(&self, path: &str, ask: &Ask<'_>) -> Result<(Arc<Tenant>, Meter)> {
        let (rights, pattern, meter) = self.pass(path, ask).await?;
        let tenant = match pattern {
            Some((pattern, name)) => self.instance(pattern, &name, ask.action).await?,
            None => rights.clone(),
        };
        tenant.note_use();
        Ok((tenant, meter))
    }

    /// The decision of the gate: whose rules and limits counted, the pattern, where `path` fits one, and where bytes count.
    async fn pass(
        &self,
        path: &str,
        ask: &Ask<'_>,
    ) -> Result<(&Arc<Tenant>, Option<(&Arc<Pattern>, TenantPath)>, Meter)> {
        let identity = ask.identity;
        let exact = self.tenants.get(path);
        let pattern = match exact {
            Some(_) => None,
            None => self.patterns.find(path),
        };
        let rights = exact.or(pattern.as_ref().map(|(pattern, _)| &pattern.blank));
        let Some(rights) = rights.filter(|tenant| tenant.is_known_to(identity, path)) else {
            return Err(self.absent(path, identity));
        };
        let name = pattern.as_ref().map_or(rights.path(), |(_, name)| name);
        rights
            .policy()
            .authorize(identity, name.as_str(), ask.action, ask.about)?;
        let key = Key {
            address: ask.address,
            identity,
            tenant: name.label(),
        };
        let admitted = rights.limits().admit(key, ask.demand).await;
        let meter = admitted.map_err(|refused| self.over(rights.path().label(), *refused))?;
        Ok((rights, pattern, meter))
    }

    /// The gate of what belongs to no repository in the ChartMuseum service, such as its welcome page: the one tenant's rules
    /// for the root decide.
    pub fn admit_visitor(&self, identity: &Identity, action: Action) -> Result<()> {
        let blanks = self.patterns.iter().map(|pattern| &pattern.blank);
        match self.tenants.values().chain(blanks).next() {
            Some(tenant) => tenant
                .policy()
                .authorize(identity, "", action, About::Tenant),
            None => Err(self.absent("", identity)),
        }
    }

    /// Whether every tenant has published an index. Those of patterns are ready when the gateway listens.
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
        for (_, holding) in self.holdings.all() {
            holding.flush().await;
        }
    }

    /// All metrics in Prometheus text format.
    pub fn render_metrics(&self) -> Vec<u8> {
        self.upstreams
            .values()
            .for_each(|upstream| upstream.observe());
        for upstream in self.registries.upstreams() {
            upstream.upstream().budget().observe();
        }
        let blanks = self.patterns.iter().map(|pattern| &pattern.blank);
        let limited = self.tenants.values().chain(blanks);
        let keys: usize = limited.map(|tenant| tenant.limits().clients()).sum();
        let keys = keys + self.doorway.clients();
        self.shared.metrics.limit_keys(keys);
        let gauges: Vec<_> = self
            .open_tenants()
            .iter()
            .filter_map(|tenant| tenant.gauges())
            .collect();
        self.shared.metrics.render(&gauges)
    }

    /// The shared parts.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// What a caller is told about a tenant that is not there for him.
    fn absent(&self, path: &str, identity: &Identity) -> Error {
        if self.hides(path, identity) {
            return Error::new(
                ErrorKind::Unauthenticated,
                format!("`/{path:.200}` needs credentials; send a user name and password"),
            );
        }
        Error::not_found(format!("tenant `/{path:.200}` does not exist"))
    }

    /// Whether `identity` could see more with other credentials, at `path` or elsewhere.
    ///
    /// Where any tenant wants credentials, a stranger must not learn which tenants exist by the difference.
    fn hides(&self, path: &str, identity: &Identity) -> bool {
        let blanks = self.patterns.iter().map(|pattern| &pattern.blank);
        let is_closed = |tenant: &Arc<Tenant>| {
            !tenant
                .policy()
                .allows(&Identity::Anonymous, path, Action::Pull, About::Tenant)
        };
        identity.may_have_more() && self.tenants.values().chain(blanks).any(is_closed)
    }

    fn start(self: &Arc<Self>, previous: Option<&Self>) {
        self.registries
            .start(previous.map(|previous| &previous.registries));
        for (name, upstream) in &self.upstreams {
            let moved = previous.and_then(|previous| previous.upstreams.get(name));
            if !moved.is_some_and(|moved| Arc::ptr_eq(moved, upstream)) {
                upstream.start();
            }
        }
        let Ok(mut tasks) = self.tasks.lock() else {
            return;
        };
        // Holding itself, it would never end.
        let this = Arc::downgrade(self);
        tasks.spawn(async move {
            let mut ticks = tokio::time::interval(HOUSEKEEPING);
            loop {
                ticks.tick().await;
                let Some(this) = this.upgrade() else { return };
                this.housekeep();
            }
        });
    }

    /// Forgets what nobody needs any more.
    fn housekeep(&self) {
        let blanks = self.patterns.iter().map(|pattern| &pattern.blank);
        self.tenants
            .values()
            .chain(blanks)
            .for_each(|tenant| tenant.limits().sweep());
        self.doorway.sweep();
        // In this order: the stores of the first are free then.
        self.instances.look_over();
        self.registries.look_over();
        self.holdings.look_over();
    }
}
