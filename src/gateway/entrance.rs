//! The gate and the addresses of registry requests.

use std::collections::HashSet;
use std::sync::Arc;

use super::locate::{Located, Place};
use super::{Ask, Gateway, Tenant};
use crate::auth::{About, Identity};
use crate::config::Action;
use crate::error::{Error, ErrorKind, Result};
use crate::limit::Meter;
use crate::names::TenantPath;

impl Gateway {
    /// Cuts a decoded path of scheme B (`/<tenant>/<upstream>/v2/<rest>`, the context path taken away) into its base and what
    /// follows `/v2/`. `None`: no configured prefix stands before a `v2`.
    pub fn cut_registry_path<'p>(&self, path: &'p str) -> Option<(&'p str, &'p str)> {
        self.addresses.cut(path)
    }

    /// What a request for the repository `name` is about.
    ///
    /// `base` is what stands before `/v2/` in the path (without slashes at its ends; empty for scheme A), `ns` the value of
    /// `?ns=`, `host` that of the `Host` header. Errors: `NotFound` where nothing is configured under these words, `Invalid`
    /// where the name is none. Callers hand a `NotFound` to [`Gateway::unlocated`] before they show it.
    pub fn locate(
        &self,
        base: &str,
        name: &str,
        ns: Option<&str>,
        host: Option<&str>,
    ) -> Result<Located> {
        self.addresses.locate(base, name, ns, host)
    }

    /// The tenant (and upstream) that `base` or `host` alone names, for pings and catalogs; `None`: the gateway as a whole.
    pub fn place(&self, base: &str, host: Option<&str>) -> Result<Option<Place>> {
        self.addresses.place(base, host)
    }

    /// The label of the tenant whose rules decide about `path`, for logs; `None`: there is none.
    pub fn label_of(&self, path: &str) -> Option<Arc<str>> {
        if let Some(tenant) = self.tenants.get(path) {
            return Some(tenant.label().clone());
        }
        let (_, name) = self.patterns.find(path)?;
        Some(name.label().clone())
    }

    /// What somebody is told about a name that belongs nowhere: the same as about one that he may not see.
    pub fn unlocated(&self, error: Error, identity: &Identity) -> Error {
        if error.kind() == ErrorKind::NotFound && self.hides("", identity) {
            return Error::new(
                ErrorKind::Unauthenticated,
                "credentials are needed to see whether there is such a repository",
            );
        }
        error
    }

    /// The gate for a registry request: as [`Gateway::admit`], but the tenant has no charts where it is one of a pattern's, so
    /// that none of their stores is opened for it.
    pub async fn admit_registry(&self, path: &str, ask: &Ask<'_>) -> Result<(Arc<Tenant>, Meter)> {
        let (rights, pattern, meter) = self.pass(path, ask).await?;
        let tenant = match pattern {
            Some((pattern, name)) => self.registries.instance(pattern, &name, &self.shared),
            None => rights.clone(),
        };
        Ok((tenant, meter))
    }

    /// Whether the rules of the tenant at `path` let `identity` do `action` to what `about` says. Takes nothing off its rate.
    pub fn permits(
        &self,
        path: &str,
        identity: &Identity,
        action: Action,
        about: About<'_>,
    ) -> bool {
        let found = match self.tenants.get(path) {
            Some(tenant) => Some(tenant),
            None => self.patterns.find(path).map(|(pattern, _)| &pattern.blank),
        };
        found.is_some_and(|tenant| tenant.policy().allows(identity, path, action, about))
    }

    /// Whether there is a tenant with a registry in which `identity` may do `action` to a repository called `name`, there or at
    /// one of its upstreams.
    pub fn permits_somewhere(&self, identity: &Identity, action: Action, name: &str) -> bool {
        self.with_registries().any(|tenant| {
            let path = tenant.path().as_str();
            let allows = |about| tenant.policy().allows(identity, path, action, about);
            let members = tenant.registry().into_iter().flat_map(|one| one.members());
            allows(About::Name(name))
                || members
                    .into_iter()
                    .any(|(upstream, _)| allows(About::Member { upstream, name }))
        })
    }

    /// All tenants with something for registry clients from which `identity` may pull: those with a key of their own, and those of
    /// patterns that somebody uses at this moment or that hold something. In path order. Errors: the store could not say.
    pub async fn registry_tenants(&self, identity: &Identity) -> Result<Vec<Arc<Tenant>>> {
        let exact = self.tenants.values().cloned();
        let mut all: Vec<_> = exact.chain(self.registries.instances()).collect();
        if let Some(store) = self.registries.store()
            && self.patterns.iter().next().is_some()
        {
            let known: HashSet<TenantPath> = all.iter().map(|one| one.path().clone()).collect();
            for path in store.tenants().await? {
                if !known.contains(&path)
                    && let Some((pattern, path)) = self.patterns.find(path.as_str())
                    && pattern.blank.registry().is_some()
                    && self.permits(path.as_str(), identity, Action::Pull, About::Tenant)
                {
                    all.push(self.registries.instance(pattern, &path, &self.shared));
                }
            }
        }
        all.retain(|tenant| {
            let path = tenant.path().as_str();
            tenant.registry().is_some()
                && tenant
                    .policy()
                    .allows(identity, path, Action::Pull, About::Tenant)
        });
        all.sort_by(|a, b| a.path().cmp(b.path()));
        Ok(all)
    }

    /// Whether `/v2/` may say at once that no credentials are needed: strangers may pull everything that `host` shows, and
    /// nobody may do more than strangers.
    ///
    /// Docker, podman and crane never send credentials to a host whose `/v2/` answered 200 without any.
    pub fn is_open(&self, host: Option<&str>) -> bool {
        let alike = |tenant: &Arc<Tenant>| tenant.policy().treats_all_alike(Action::Pull);
        let auth = &self.config.auth;
        let no_tokens = auth.jwt.is_empty() && auth.api_tokens.is_none();
        match self.addresses.place("", host) {
            Ok(Some(place)) => {
                let exact = self.tenants.get(place.tenant.as_str());
                let blank = || self.patterns.find(&place.tenant);
                no_tokens
                    && match exact {
                        Some(tenant) => alike(tenant),
                        None => blank().is_some_and(|(pattern, _)| alike(&pattern.blank)),
                    }
            }
            Ok(None) => no_tokens && self.with_registries().all(alike),
            Err(_) => false,
        }
    }

    /// Tenants with something for registry clients; those of a pattern are one.
    fn with_registries(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        let blanks = self.patterns.iter().map(|pattern| &pattern.blank);
        let all = self.tenants.values().chain(blanks);
        all.filter(|tenant| tenant.registry().is_some())
    }
}
