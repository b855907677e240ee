//! What stands before the gate: how often one address may ask at all, and the replicas that limits are shared with.

use std::net::IpAddr;
use std::sync::Arc;

use super::tenant::Before;
use super::{Gateway, Shared, Tenant};
use crate::auth::Identity;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::limit::{Key, Limits, Refused, Replicas};

/// How refusals before anybody knows the tenant are counted, as requests that have none are.
const NO_TENANT: &str = "-";

/// The limits of addresses (`limits`), and who shares those of tenants.
#[derive(Debug)]
pub(super) struct Doorway {
    /// Kept by this replica alone: a flood must not be able to busy redis, and what it may cost is this machine's.
    limits: Limits,
    replicas: Option<Arc<Replicas>>,
}

impl Doorway {
    /// What `config` says. `previous` lends what did not change.
    pub(super) fn build(config: &Config, shared: &Shared, previous: Option<&Self>) -> Self {
        let link = shared.cache.redis();
        let tenants = config.tenants.values().chain(config.patterns.values());
        let is_needed = tenants.into_iter().any(|tenant| !tenant.limits.is_empty());
        let replicas = match previous.and_then(|previous| previous.replicas.clone()) {
            None if is_needed => {
                link.map(|link| Replicas::new(link.clone(), shared.metrics.clone()))
            }
            known => known,
        };
        let known = previous.map(|previous| &previous.limits);
        Self {
            limits: Limits::new(&config.limits, NO_TENANT, None, known),
            replicas,
        }
    }

    /// What a tenant is built with; `tenant` is the same one of the gateway before.
    pub(super) fn before<'a>(&'a self, tenant: Option<&'a Arc<Tenant>>) -> Before<'a> {
        Before {
            tenant: tenant.map(AsRef::as_ref),
            replicas: self.replicas.as_ref(),
        }
    }

    /// Forgets clients that have not been seen for a while.
    pub(super) fn sweep(&self) {
        self.limits.sweep();
    }

    /// How many clients are being counted.
    pub(super) fn clients(&self) -> usize {
        self.limits.clients()
    }
}

impl Gateway {
    /// Whether a client at `address` may ask at all (`limits`). To be asked before anything that costs something, such as
    /// a password check; never of probes. Clients without an address come from this machine and are not counted.
    pub fn greet(&self, address: Option<IpAddr>) -> Result<()> {
        let key = Key {
            address,
            identity: &Identity::Anonymous,
            tenant: "this server",
        };
        if address.is_none() {
            return Ok(());
        }
        let greeted = self.doorway.limits.admit_locally(key);
        greeted.map_err(|refused| self.over(NO_TENANT, *refused))
    }

    /// Counts a refusal.
    pub(super) fn over(&self, tenant: &str, refused: Refused) -> Error {
        let metrics = &self.shared.metrics;
        metrics.rate_limited(tenant);
        let (limit, by) = refused.labels();
        metrics.limit_refusal(limit, by);
        refused.error
    }
}
