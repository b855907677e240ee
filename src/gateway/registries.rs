//! The registry side of tenants: who answers below `/v2/`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::locate::{Located, Place};
use super::{Gateway, Tenant};
use crate::auth::Identity;
use crate::config::{self, Action};
use crate::error::{Error, ErrorKind, Result};
use crate::repository::registry::RegistryRepository;

/// What a tenant has for registry clients.
#[derive(Clone, Debug)]
pub struct TenantRegistry {
    /// Everything: hosted content first, then the upstreams in order.
    group: Arc<dyn RegistryRepository>,
    hosted: Option<HostedRegistryPart>,
    /// One upstream each, as this tenant sees it, by name.
    members: Arc<BTreeMap<Arc<str>, Arc<dyn RegistryRepository>>>,
}

/// The writable part.
#[derive(Clone, Debug)]
pub struct HostedRegistryPart {
    /// The rules for it.
    pub rules: config::Hosted,
}

impl TenantRegistry {
    /// What answers reads: one upstream, or the tenant as a whole. Errors: `member` is none of the tenant's upstreams.
    pub fn repository(&self, member: Option<&str>) -> Result<&Arc<dyn RegistryRepository>> {
        match member {
            None => Ok(&self.group),
            Some(name) => self.members.get(name).ok_or_else(|| {
                Error::not_found(format!("upstream `{name:.120}` is not used here"))
            }),
        }
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

    /// The gate for a registry request: as [`Gateway::admit`], but no chart store is opened for it.
    pub async fn admit_registry(
        &self,
        path: &str,
        identity: &Identity,
        action: Action,
        address: Option<IpAddr>,
    ) -> Result<Arc<Tenant>> {
        self.admit(path, identity, action, address).await
    }

    /// The tenant (and upstream) that `base` or `host` alone names, for pings and catalogs; `None`: the gateway as a whole.
    pub fn place(&self, base: &str, host: Option<&str>) -> Result<Option<Place>> {
        self.addresses.place(base, host)
    }
}
