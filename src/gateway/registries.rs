//! The registry side of one configuration: cached upstream registries, the hosted store, and what tenants make of them.
//!
//! Upstreams and the store move over on reload when nothing about them changed. Tenants of patterns are made at first use and
//! closed when nobody uses them; their members are those of the pattern. Nothing is asked at start.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::pattern::Pattern;
use super::slots::{Slot, Slots};
use super::{Gateway, Shared, Tenant};
use crate::config::{self, Config};
use crate::error::{Error, ErrorKind, Result};
use crate::names::{TenantPath, TenantPattern};
use crate::oci::RepoName;
use crate::repository::registry::view::{docker_library, one_name};
use crate::repository::registry::{
    HostedRegistryRepository, NameRules, ProxyRegistry, RegistryGroup, RegistryRepository,
    RegistryView, ReservesNames,
};
use crate::store::Parts;
use crate::store::registry::{HostedRegistry, RegistryStore};
use crate::upstream::registry::{Registry, Settings};

/// What a tenant has for registry clients. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TenantRegistry {
    /// Everything: hosted content first, then the upstreams in order.
    group: Arc<dyn RegistryRepository>,
    hosted: Option<HostedRegistryPart>,
    members: Arc<Members>,
}

/// The writable part.
#[derive(Clone, Debug)]
pub struct HostedRegistryPart {
    /// Where pushes go.
    pub store: Arc<HostedRegistry>,
    /// The rules for them.
    pub rules: config::Hosted,
}

/// The upstreams of a tenant, as it sees them.
#[derive(Debug, Default)]
struct Members {
    in_order: Vec<Arc<dyn RegistryRepository>>,
    by_name: BTreeMap<Arc<str>, Arc<dyn RegistryRepository>>,
}

/// What tenants are made of.
#[derive(Debug)]
pub(super) struct Registries {
    upstreams: BTreeMap<Arc<str>, Arc<ProxyRegistry>>,
    /// `None` where no tenant hosts anything.
    store: Option<Arc<RegistryStore>>,
    /// Tenants of patterns that are in use.
    instances: Slots<Instance>,
}

/// A tenant of a pattern.
#[derive(Debug)]
struct Instance(Arc<Tenant>);

impl Slot for Instance {
    fn is_needed(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl Registries {
    /// Opens every upstream of type `oci`, and the store where it is needed. `previous` lends what did not change.
    pub(super) async fn open(
        config: &Config,
        shared: &Shared,
        previous: Option<&Gateway>,
    ) -> Result<Self> {
        let mut upstreams = BTreeMap::new();
        for (name, upstream) in &config.upstreams {
            if let config::Source::Oci(oci) = &upstream.source {
                let proxy = open_upstream(upstream, oci, config, shared, previous)?;
                upstreams.insert(name.clone(), proxy);
            }
        }
        let mut tenants = config.tenants.values().chain(config.patterns.values());
        let hosts = !config.museum.strict && tenants.any(|tenant| tenant.hosted.is_some());
        let store = match previous.filter(|previous| previous.config.store == config.store) {
            _ if !hosts => None,
            Some(Gateway {
                registries: Self {
                    store: Some(store), ..
                },
                ..
            }) => Some(store.clone()),
            _ => Some(open_store(config, shared).await?),
        };
        Ok(Self {
            upstreams,
            store,
            instances: Slots::new(),
        })
    }

    /// Begins the background work of those that `previous` did not lend.
    pub(super) fn start(&self, previous: Option<&Self>) {
        for (name, upstream) in &self.upstreams {
            let before = previous.and_then(|previous| previous.upstreams.get(name));
            if !before.is_some_and(|before| Arc::ptr_eq(before, upstream)) {
                upstream.start();
            }
        }
    }

    /// All upstreams in name order.
    pub(super) fn upstreams(&self) -> impl Iterator<Item = &Arc<ProxyRegistry>> {
        self.upstreams.values()
    }

    pub(super) fn upstream(&self, name: &str) -> Option<&Arc<ProxyRegistry>> {
        self.upstreams.get(name)
    }

    /// The hosted store of all tenants.
    pub(super) fn store(&self) -> Option<&Arc<RegistryStore>> {
        self.store.as_ref()
    }

    /// What the tenant at `path` has for registry clients; `None`: nothing.
    pub(super) fn tenant(
        &self,
        path: &TenantPath,
        tenant: &config::Tenant,
        shared: &Shared,
    ) -> Result<Option<TenantRegistry>> {
        let hosted = self.hosted(path, tenant);
        if hosted.is_none() && tenant.registries.is_empty() {
            return Ok(None);
        }
        let members = Arc::new(self.members(path, tenant)?);
        Ok(Some(TenantRegistry::new(path, hosted, members, shared)))
    }

    /// What all tenants of `pattern` share: the upstreams. What is hosted is each one's own.
    pub(super) fn blank(
        &self,
        pattern: &TenantPattern,
        tenant: &config::Tenant,
        shared: &Shared,
    ) -> Result<Option<TenantRegistry>> {
        let hosts = tenant.hosted.is_some() && self.store.is_some();
        // Paths of any depth cannot be told from names of repositories.
        if pattern.depth().is_none() || (tenant.registries.is_empty() && !hosts) {
            return Ok(None);
        }
        let path = pattern.stand_in();
        let members = Arc::new(self.members(&path, tenant)?);
        Ok(Some(TenantRegistry::new(&path, None, members, shared)))
    }

    /// What the tenant at `path`, which fits `pattern`, has for registry clients.
    pub(super) fn of_pattern(
        &self,
        pattern: &Pattern,
        path: &TenantPath,
        shared: &Shared,
    ) -> Option<TenantRegistry> {
        let members = pattern.blank.registry()?.members.clone();
        let hosted = self.hosted(path, &pattern.config);
        Some(TenantRegistry::new(path, hosted, members, shared))
    }

    fn hosted(&self, path: &TenantPath, tenant: &config::Tenant) -> Option<HostedRegistryPart> {
        let (rules, store) = tenant.hosted.as_ref().zip(self.store.as_ref())?;
        Some(HostedRegistryPart {
            store: store.tenant(path, rules.registry.clone(), rules.delete),
            rules: rules.clone(),
        })
    }

    fn members(&self, path: &TenantPath, tenant: &config::Tenant) -> Result<Members> {
        let mut members = Members::default();
        for member in &tenant.registries {
            let view = self.view(path, member)?;
            members.in_order.push(view.clone());
            members.by_name.insert(member.upstream.clone(), view);
        }
        Ok(members)
    }

    /// One upstream as a tenant sees it.
    fn view(
        &self,
        path: &TenantPath,
        member: &config::RegistryMember,
    ) -> Result<Arc<dyn RegistryRepository>> {
        let Some(upstream) = self.upstreams.get(&member.upstream) else {
            // The configuration was checked; this is for callers who build one by hand.
            return Err(Error::invalid(format!(
                "tenant `{path}`: registry `{}` is not configured",
                member.upstream
            )));
        };
        let rules = NameRules::new(&member.include, &member.exclude)?;
        let config = upstream.config();
        let is_hub = match &config.source {
            config::Source::Oci(oci) => Settings::of(oci, &config.client).is_docker_hub(),
            config::Source::Helm(_) | config::Source::Dir(_) | config::Source::Bucket(_) => false,
        };
        let other_name = if is_hub { docker_library } else { one_name };
        Ok(RegistryView::build(upstream.clone(), rules, other_name))
    }

    /// The tenant at `path`, which fits `pattern`, for registry clients.
    pub(super) fn instance(
        &self,
        pattern: &Pattern,
        path: &TenantPath,
        shared: &Shared,
    ) -> Arc<Tenant> {
        let make = || {
            let registry = self.of_pattern(pattern, path, shared);
            let tenant = pattern.blank.for_registries(path.clone(), registry);
            Instance(Arc::new(tenant))
        };
        self.instances.take(path, make).0.clone()
    }

    /// Tenants of patterns that are in use.
    pub(super) fn instances(&self) -> Vec<Arc<Tenant>> {
        let slots = self.instances.all().into_iter();
        slots.map(|(_, instance)| instance.0.clone()).collect()
    }

    /// Closes what nobody needs.
    pub(super) fn look_over(&self) {
        self.instances.look_over();
    }
}

fn open_upstream(
    upstream: &config::Upstream,
    oci: &config::Oci,
    config: &Config,
    shared: &Shared,
    previous: Option<&Gateway>,
) -> Result<Arc<ProxyRegistry>> {
    if let Some(previous) = previous
        && previous.config.offline == config.offline
        && let Some(proxy) = previous.registries.upstream(&upstream.name)
        && proxy.config() == upstream
    {
        return Ok(proxy.clone());
    }
    let registry = Registry::new(
        upstream.name.clone(),
        Settings::of(oci, &upstream.client),
        &shared.clients,
        shared.metrics.clone(),
        shared.clock.clone(),
    )?;
    ProxyRegistry::open(
        upstream.clone(),
        Arc::new(registry),
        shared.cache.clone(),
        shared.metrics.clone(),
        shared.clock.clone(),
        config.offline,
    )
}

async fn open_store(config: &Config, shared: &Shared) -> Result<Arc<RegistryStore>> {
    let parts = Parts {
        state_dir: config.data_dir.join("cache").join("hosted"),
        clients: &shared.clients,
        clock: shared.clock.clone(),
        places: &shared.places,
    };
    RegistryStore::open(&config.store, parts).await
}

impl TenantRegistry {
    fn new(
        path: &TenantPath,
        hosted: Option<HostedRegistryPart>,
        members: Arc<Members>,
        shared: &Shared,
    ) -> Self {
        let repository = hosted.as_ref().map(|hosted| {
            let cache = shared.cache.clone();
            let repository = HostedRegistryRepository::new(hosted.store.clone(), cache);
            Arc::new(repository) as Arc<dyn ReservesNames>
        });
        let label = path.label().clone();
        let group = RegistryGroup::new(label, repository, members.in_order.clone());
        Self {
            group: Arc::new(group),
            hosted,
            members,
        }
    }

    /// What answers reads: one upstream, or the tenant as a whole. Errors: `member` is none of the tenant's upstreams.
    pub fn repository(&self, member: Option<&str>) -> Result<&Arc<dyn RegistryRepository>> {
        match member {
            None => Ok(&self.group),
            Some(name) => self.members.by_name.get(name).ok_or_else(|| {
                Error::not_found(format!("upstream `{name:.120}` is not used here"))
            }),
        }
    }

    /// Whether it is certain that there is no repository `name`: nobody but the store could have it, and it has not. Where an
    /// upstream could, its answers are about what was asked for. Errors: the store could not say.
    pub async fn lacks(&self, name: &RepoName) -> Result<bool> {
        match &self.hosted {
            Some(hosted) if self.members.in_order.is_empty() => Ok(!hosted.store.has(name).await?),
            _ => Ok(false),
        }
    }

    /// The upstreams by name, each as this tenant sees it.
    pub fn members(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<dyn RegistryRepository>)> {
        self.members.by_name.iter()
    }

    /// The upstreams in the order in which they are asked.
    pub fn in_order(&self) -> impl Iterator<Item = &Arc<dyn RegistryRepository>> {
        self.members.in_order.iter()
    }

    /// The part that takes pushes and deletions. Errors: `member` is an upstream, which takes none; nothing is hosted here.
    pub fn hosted(&self, member: Option<&str>) -> Result<&HostedRegistryPart> {
        if let Some(name) = member {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "`{name:.120}` is an upstream, and only shows what is there; push to a name that does not start with it"
                ),
            ));
        }
        self.hosted.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                "this tenant takes no pushes; set `hosted: {}` for it to change that",
            )
        })
    }
}
