//! One tenant: an expression over repositories, and who may use it.

use std::sync::Arc;

use tokio::task::AbortHandle;

use super::holdings::Held;
use super::pattern::Pattern;
use super::registries::TenantRegistry;
use super::{Shared, Upstreams};
use crate::auth::{About, Identity, Policy, Sight};
use crate::config::{self, Action, Callers, Config};
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Selection, ServerInfo, Style, charts_url};
use crate::limit::{Limits, Replicas};
use crate::metrics::TenantGauges;
use crate::names::{FileName, TenantPath, TenantPattern};
use crate::repository::curated::Curated;
use crate::repository::group::GroupMember;
use crate::repository::hosted::HostedRepository;
use crate::repository::{Artifact, ChartRepository, Group};
use crate::store::Hosted;

/// One endpoint: an expression over repositories, and who may use it.
#[derive(Debug)]
pub struct Tenant {
    path: TenantPath,
    /// What metrics call it while it holds nothing, where it is one of a pattern's.
    stand_in: Option<Arc<str>>,
    charts: Arc<Group>,
    hosted: Option<HostedPart>,
    registry: Option<TenantRegistry>,
    /// Keeps the hosted store open.
    held: Option<Held>,
    rights: Rights,
    /// Publishes the index when a member changed; ends with the tenant. Absent where the index is another one's.
    _publisher: Option<AbortOnDrop>,
}

/// The writable part of a tenant.
#[derive(Clone, Debug)]
pub struct HostedPart {
    /// Where uploads go.
    pub store: Arc<Hosted>,
    /// What is there, to be read.
    pub repository: Arc<HostedRepository>,
    /// The rules for them.
    pub rules: config::Hosted,
}

/// Who may do what, how often and how much.
#[derive(Clone, Debug)]
struct Rights {
    policy: Arc<Policy>,
    limits: Arc<Limits>,
}

/// What a tenant finds where it is built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before<'a> {
    /// It, or its pattern, in the gateway before this one, whose limits go on where they did not change.
    pub(super) tenant: Option<&'a Tenant>,
    /// Who else counts against its limits.
    pub(super) replicas: Option<&'a Arc<Replicas>>,
}

/// A task that nobody needs any more when this is gone.
#[derive(Debug)]
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Tenant {
    /// The tenant at `config.path`, which starts to publish what its members show.
    pub(super) fn build(
        config: &config::Tenant,
        held: Option<Held>,
        registry: Option<TenantRegistry>,
        upstreams: &Upstreams,
        whole: &Config,
        shared: &Shared,
        before: &Before<'_>,
    ) -> Result<Self> {
        let members = upstream_members(config, upstreams)?;
        let rights = Rights::of(config, config.path.label(), whole, before)?;
        let path = config.path.clone();
        Ok(Self {
            registry,
            ..Self::assemble(path, config, held, members, rights, whole, shared)
        })
    }

    /// What all tenants of a pattern share: it hosts nothing.
    pub(super) fn blank(
        pattern: &TenantPattern,
        config: &config::Tenant,
        registry: Option<TenantRegistry>,
        upstreams: &Upstreams,
        whole: &Config,
        shared: &Shared,
        before: &Before<'_>,
    ) -> Result<Self> {
        let members = upstream_members(config, upstreams)?;
        let path = pattern.stand_in();
        let rights = Rights::of(config, path.label(), whole, before)?;
        Ok(Self {
            registry,
            ..Self::assemble(path, config, None, members, rights, whole, shared)
        })
    }

    /// One of a pattern's tenants, with an index of its own.
    pub(super) fn of_pattern(
        pattern: &Pattern,
        path: TenantPath,
        held: &Held,
        whole: &Config,
        shared: &Shared,
    ) -> Self {
        let members = pattern.blank.charts.members().to_vec();
        let rights = pattern.blank.rights.clone();
        let held = Some(held.clone());
        let stand_in = Some(pattern.blank.path.label().clone());
        Self {
            stand_in,
            ..Self::assemble(path, &pattern.config, held, members, rights, whole, shared)
        }
    }

    /// This blank tenant as the one at `path`, where nothing is hosted yet.
    pub(super) fn under(&self, path: TenantPath, hosted: Option<(HostedPart, Held)>) -> Self {
        let (hosted, held) = hosted.unzip();
        Self {
            path,
            stand_in: Some(self.path.label().clone()),
            charts: self.charts.clone(),
            hosted,
            registry: None,
            held,
            rights: self.rights.clone(),
            _publisher: None,
        }
    }

    /// This blank tenant as the one at `path`, for registry clients.
    pub(super) fn for_registries(
        &self,
        path: TenantPath,
        registry: Option<TenantRegistry>,
    ) -> Self {
        Self {
            registry,
            ..self.under(path, None)
        }
    }

    fn assemble(
        path: TenantPath,
        config: &config::Tenant,
        held: Option<Held>,
        mut members: Vec<GroupMember>,
        rights: Rights,
        whole: &Config,
        shared: &Shared,
    ) -> Self {
        if let Some(held) = &held {
            let hosted = GroupMember {
                repository: held.repository.clone(),
                reserves_names: true,
            };
            members.insert(0, hosted);
        }
        let style = style(&config.index, &path, whole);
        let charts = Group::new(path.clone(), members, style, shared.clock.clone());
        if let Some(held) = &held {
            held.is_shown_by(&charts);
        }
        let publisher = tokio::spawn(charts.clone().run()).abort_handle();
        let hosted = held.as_ref().zip(config.hosted.as_ref());
        Self {
            hosted: hosted.map(|(held, rules)| HostedPart {
                store: held.store.clone(),
                repository: held.repository.clone(),
                rules: rules.clone(),
            }),
            path,
            stand_in: None,
            charts,
            registry: None,
            held,
            rights,
            _publisher: Some(AbortOnDrop(publisher)),
        }
    }

    /// Where it lives.
    pub fn path(&self) -> &TenantPath {
        &self.path
    }

    /// What metrics call it: its path, or that of its pattern while it holds nothing, because anybody may ask for any name.
    pub fn label(&self) -> &Arc<str> {
        self.stand_in
            .as_ref()
            .filter(|_| self.is_vacant())
            .unwrap_or(self.path.label())
    }

    /// Whether nothing is hosted here, as far as is known.
    pub(super) fn is_vacant(&self) -> bool {
        self.held.as_ref().is_none_or(Held::is_vacant)
    }

    /// Its charts: all members merged.
    pub fn charts(&self) -> &Arc<Group> {
        &self.charts
    }

    /// Takes note that somebody uses it.
    pub(super) fn note_use(&self) {
        if let Some(held) = &self.held {
            held.store.note_use();
        }
    }

    /// Makes the next read show what was stored or removed here, whichever configuration answers it.
    ///
    /// To be awaited after each write, before it is acknowledged.
    pub async fn publish(&self) -> Result<()> {
        match &self.held {
            Some(held) => held.publish().await,
            None => self.charts.publish().await,
        }
    }

    /// Its access rules.
    pub fn policy(&self) -> &Policy {
        &self.rights.policy
    }

    /// To what in it `identity` may do `action`.
    pub fn sight(&self, identity: &Identity, action: Action) -> Sight {
        self.policy().sight(identity, self.path.as_str(), action)
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

    /// What it has for registry clients. `None`: neither `registries` nor `hosted` is set for it.
    pub fn registry(&self) -> Option<&TenantRegistry> {
        self.registry.as_ref()
    }

    /// How often and how much.
    pub(super) fn limits(&self) -> &Limits {
        &self.rights.limits
    }

    /// A hosted file by its stored name, whether or not the index shows it.
    pub async fn stored_file(&self, file: &FileName) -> Result<Artifact> {
        self.hosted()?.repository.file(file).await
    }

    /// Whether `identity` may do anything in the tenant at `path`: this one, or one of its pattern.
    pub(super) fn is_known_to(&self, identity: &Identity, path: &str) -> bool {
        [Action::Pull, Action::Push, Action::Delete, Action::Admin]
            .into_iter()
            .any(|action| {
                self.rights
                    .policy
                    .allows(identity, path, action, About::Tenant)
            })
    }

    /// What its gauges say now; `None` before there is an index.
    pub(super) fn gauges(&self) -> Option<TenantGauges> {
        let snapshot = self.charts.has_settled().then(|| self.charts.snapshot())?;
        Some(TenantGauges {
            label: self.path.label().clone(),
            repository: self.path.clone(),
            versions: snapshot.versions(),
            hosted: self.hosted.as_ref().map(|hosted| {
                let index = hosted.store.index();
                (index.chart_count(), index.versions())
            }),
        })
    }
}

impl Rights {
    /// Of the tenant, or the pattern, with this label.
    fn of(
        config: &config::Tenant,
        label: &str,
        whole: &Config,
        before: &Before<'_>,
    ) -> Result<Self> {
        let previous = before.tenant.map(Tenant::limits);
        let limits = Limits::new(&config.limits, label, before.replicas, previous);
        Ok(Self {
            policy: Arc::new(Policy::new(&config.access, &Callers::of(whole))?),
            limits: Arc::new(limits),
        })
    }
}

fn upstream_members(config: &config::Tenant, upstreams: &Upstreams) -> Result<Vec<GroupMember>> {
    let member = |member: &config::Member| {
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
        Ok(GroupMember {
            repository: Curated::build(proxy, selection),
            reserves_names: false,
        })
    };
    config.charts.iter().map(member).collect()
}

/// How the index of the tenant at `path` looks.
fn style(index: &config::Index, path: &TenantPath, whole: &Config) -> Style {
    let context_path = whole.server.context_path.as_str();
    Style {
        format: index.format,
        fields: index.fields,
        keep: index.keep,
        charts_url: index
            .url
            .as_ref()
            .map(|url| charts_url(url, context_path, path)),
        server_info: match context_path {
            "" if whole.museum.strict => ServerInfo::Empty,
            "" => ServerInfo::Absent,
            path => ServerInfo::ContextPath(path.into()),
        },
    }
}
