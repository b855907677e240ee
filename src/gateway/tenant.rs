//! One tenant: an expression over repositories, and who may use it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Gateway, Progress, Shared, parts};
use crate::auth::{Identity, Policy};
use crate::cache::Cache;
use crate::config::{self, Action, Config};
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Fields, Format, Selection, Style};
use crate::limit::{Key, Limiter};
use crate::metrics::Metrics;
use crate::names::{FileName, TenantPath};
use crate::repository::curated::Curated;
use crate::repository::group::GroupMember;
use crate::repository::hosted::HostedRepository;
use crate::repository::proxy::Proxy;
use crate::repository::{Artifact, ChartRepository, Group};
use crate::store::Hosted;

/// One endpoint: an expression over repositories, and who may use it.
#[derive(Debug)]
pub struct Tenant {
    path: TenantPath,
    charts: Arc<Group>,
    hosted: Option<HostedPart>,
    policy: Policy,
    limiter: Option<Limiter>,
    cache: Arc<Cache>,
}

/// The writable part of a tenant.
#[derive(Clone, Debug)]
pub struct HostedPart {
    /// Where uploads go.
    pub store: Arc<Hosted>,
    /// The rules for them.
    pub rules: config::Hosted,
}

impl Tenant {
    pub(super) async fn build(
        config: &config::Tenant,
        whole: &Config,
        upstreams: &BTreeMap<Arc<str>, Arc<Proxy>>,
        shared: &Shared,
        previous: Option<&Gateway>,
        progress: &Progress,
    ) -> Result<Self> {
        let mut members = Vec::new();
        let hosted = match &config.hosted {
            Some(rules) => {
                let store =
                    parts::open_store(&config.path, whole, shared, previous, progress).await?;
                let repository =
                    Arc::new(HostedRepository::new(store.clone(), shared.cache.clone()));
                members.push(GroupMember {
                    repository,
                    reserves_names: true,
                });
                Some(HostedPart {
                    store,
                    rules: rules.clone(),
                })
            }
            None => None,
        };
        for member in &config.charts {
            let Some(proxy) = upstreams.get(&member.upstream) else {
                // The configuration was checked; this is for callers who build one by hand.
                return Err(Error::invalid(format!(
                    "tenant `{}`: upstream `{}` is not configured",
                    config.path, member.upstream
                )));
            };
            let selection =
                Selection::new(&member.include, &member.exclude, member.versions.as_deref())?;
            let proxy: Arc<dyn ChartRepository> = proxy.clone();
            members.push(GroupMember {
                repository: Curated::build(proxy, selection),
                reserves_names: false,
            });
        }
        Ok(Self {
            charts: Group::new(
                config.path.clone(),
                members,
                style(config.index),
                shared.clock.clone(),
                shared.metrics.clone(),
            ),
            path: config.path.clone(),
            hosted,
            policy: Policy::new(&config.access),
            limiter: config.limits.as_ref().map(Limiter::new),
            cache: shared.cache.clone(),
        })
    }

    /// Where it lives.
    pub fn path(&self) -> &TenantPath {
        &self.path
    }

    /// Its charts: all members merged.
    pub fn charts(&self) -> &Arc<Group> {
        &self.charts
    }

    /// Its access rules.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The part that takes uploads. Errors: this tenant hosts nothing.
    pub fn hosted(&self) -> Result<&HostedPart> {
        self.hosted.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!(
                    "tenant `{}` takes no uploads; set `hosted: {{}}` for it to change that",
                    self.path
                ),
            )
        })
    }

    /// The part that takes uploads, where there is one.
    pub(super) fn hosted_part(&self) -> Option<&HostedPart> {
        self.hosted.as_ref()
    }

    /// Errors: over its rate.
    pub(super) fn check_rate(&self, identity: &Identity, address: Option<IpAddr>) -> Result<()> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        limiter.check(Key {
            address,
            identity,
            tenant: self.path.label(),
        })
    }

    /// A hosted file by its stored name, whether or not the index shows it.
    pub async fn stored_file(&self, file: &FileName) -> Result<Artifact> {
        HostedRepository::file(&self.hosted()?.store, &self.cache, file).await
    }

    /// Whether `identity` may do anything here.
    pub(super) fn is_known_to(&self, identity: &Identity) -> bool {
        [Action::Pull, Action::Push, Action::Delete, Action::Admin]
            .into_iter()
            .any(|action| self.policy.allows(identity, action))
    }

    pub(super) fn housekeep(&self, metrics: &Metrics) {
        if let Some(limiter) = &self.limiter {
            limiter.sweep();
        }
        if let Some(hosted) = &self.hosted {
            let index = hosted.store.index();
            metrics.hosted(self.path.as_str(), index.chart_count(), index.versions());
        }
    }
}

/// The configuration's words for how an index looks, in the index's own.
fn style(index: config::Index) -> Style {
    Style {
        format: match index.format {
            config::IndexFormat::Json => Format::Json,
            config::IndexFormat::Yaml => Format::Yaml,
        },
        fields: match index.fields {
            config::IndexFields::Full => Fields::Full,
            config::IndexFields::Slim => Fields::Slim,
        },
        keep: index.keep,
    }
}
