//! One upstream registry, cached: tags believed for a while, everything else for ever.
//!
//! [`ProxyRegistry`] decides what is held, how old it may get and what is served while the upstream is away; the client
//! (`upstream::registry`) only asks and judges. Nothing is asked at start. Manifests are in `manifests.rs`, which of them a tag
//! is in `tags.rs`, blobs in `blobs.rs`, lists in `lists.rs`. Knows nothing about tenants.

mod ahead;
mod blobs;
mod lists;
mod manifests;
mod place;
mod purge;
mod source;
mod state;
mod tags;
mod verdicts;

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use self::ahead::Ahead;
use self::lists::Lists;
use self::manifests::{Held, Shared};
use self::place::{Place, upstream_prefix};
use self::state::Outcome;
pub use self::state::{Allowed, Pause, RegistryStatus};
use self::verdicts::Verdicts;
use super::flight::Flights;
use super::{FoundManifest, Listed, NameRules, RegistryRepository, Source};
use crate::cache::Cache;
use crate::clock::Clock;
use crate::config;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::Metrics;
use crate::oci::{Descriptor, Digest, Reference, RepoName, Tag};
use crate::repository::{Artifact, Origin};
use crate::upstream::registry::Registry;

/// A cached upstream registry.
#[derive(Debug)]
pub struct ProxyRegistry {
    /// For work that goes on when the one who asked has left.
    this: Weak<Self>,
    config: config::Upstream,
    oci: config::Oci,
    upstream: Arc<Registry>,
    cache: Arc<Cache>,
    metrics: Arc<Metrics>,
    clock: Clock,
    offline: bool,
    rules: NameRules,
    manifests: Arc<Flights<Shared<Held>>>,
    sizes: Arc<Flights<Shared<Option<u64>>>>,
    lists: Arc<Flights<Shared<Bytes>>>,
    tag_lists: Lists<Tag>,
    referrer_lists: Lists<Descriptor>,
    verdicts: Verdicts,
    ahead: Ahead,
    /// Ranges that are passed through at the same time.
    passing: Arc<Semaphore>,
    outcome: Mutex<Outcome>,
    task: Mutex<Option<AbortHandle>>,
}

impl ProxyRegistry {
    /// The registry that `upstream` asks. Asks nobody; shows what was held before. [`ProxyRegistry::start`] begins the work in
    /// the background. Errors: the source is no registry, or a pattern is malformed.
    pub fn open(
        config: config::Upstream,
        upstream: Arc<Registry>,
        cache: Arc<Cache>,
        metrics: Arc<Metrics>,
        clock: Clock,
        offline: bool,
    ) -> Result<Arc<Self>> {
        let config::Source::Oci(oci) = &config.source else {
            return Err(Error::invalid(format!(
                "upstream `{}` is not a registry",
                config.name
            )));
        };
        let oci = (**oci).clone();
        let rules = NameRules::new(&oci.include, &oci.exclude)?;
        Ok(Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            manifests: Arc::default(),
            sizes: Arc::default(),
            lists: Arc::default(),
            tag_lists: Lists::new(lists::REMEMBERED),
            referrer_lists: Lists::new(lists::REMEMBERED),
            verdicts: Verdicts::new(clock.clone()),
            ahead: Ahead::new(clock.clone()),
            passing: Arc::new(Semaphore::new(PASSING)),
            outcome: Mutex::default(),
            task: Mutex::default(),
            rules,
            config,
            oci,
            upstream,
            cache,
            metrics,
            clock,
            offline,
        }))
    }

    /// The configuration it was made from.
    pub fn config(&self) -> &config::Upstream {
        &self.config
    }

    /// The name in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.config.name
    }

    /// The client of the upstream, for what it knows about health and allowance.
    pub fn upstream(&self) -> &Arc<Registry> {
        &self.upstream
    }

    /// Where `name` is at the upstream. Errors: `NotFound` where the rules keep it out, which looks like absence.
    fn place(&self, name: &RepoName) -> Result<Place> {
        let absent = || {
            Error::not_found(format!(
                "repository `{name}` does not exist in upstream `{}`",
                self.config.name
            ))
        };
        let repository = self.upstream.repository(name).map_err(|_| absent())?;
        // A repository may have several names, and is kept out by any of them.
        let is_out = !self.rules.is_identity()
            && !self
                .rules
                .let_in(self.upstream.names(&repository).iter().chain([name]));
        match is_out {
            true => Err(absent()),
            false => Ok(Place {
                upstream: Arc::clone(&self.config.name),
                repository,
            }),
        }
    }

    fn shared(&self) -> Arc<Self> {
        let this = self.this.upgrade();
        this.expect("`open` puts every proxy into an Arc, and somebody holds this one")
    }

    /// Waits for an answer that comes whether somebody waits or not; only a moment where something older may be shown instead.
    async fn patiently<T>(
        &self,
        has_older: bool,
        answer: impl Future<Output = Shared<T>>,
    ) -> Shared<T> {
        if !has_older {
            return answer.await;
        }
        let patience = PATIENCE.min(self.config.timeout / 2);
        let outcome = tokio::time::timeout(patience, answer).await;
        outcome.unwrap_or_else(|_| {
            Err(Arc::new(Error::unavailable(format!(
                "upstream `{}` has not answered within {patience:?}",
                self.config.name
            ))))
        })
    }

    /// Errors: the upstream is not to be asked.
    fn check_online(&self, what: &str) -> Result<()> {
        match self.offline {
            false => Ok(()),
            true => Err(Error::unavailable(format!(
                "`{what}` of upstream `{}` is not held, and chartgate runs offline; start without `--offline` to fetch it",
                self.config.name
            ))),
        }
    }
}

#[async_trait]
impl RegistryRepository for ProxyRegistry {
    fn label(&self) -> &Arc<str> {
        &self.config.name
    }

    async fn manifest(&self, name: &RepoName, reference: &Reference) -> Result<FoundManifest> {
        let place = self.place(name)?;
        match reference {
            Reference::Tag(tag) => self.by_tag(&place, tag).await,
            Reference::Digest(digest) => self.by_digest(&place, digest).await,
        }
    }

    async fn blob(&self, name: &RepoName, digest: &Digest) -> Result<Artifact> {
        self.blob_at(self.place(name)?, digest).await
    }

    async fn tags(&self, name: &RepoName) -> Result<Listed<Tag>> {
        self.tags_at(self.place(name)?).await
    }

    async fn referrers(&self, name: &RepoName, digest: &Digest) -> Result<Listed<Descriptor>> {
        match self.place(name) {
            Ok(place) => self.referrers_at(place, digest).await,
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Listed {
                items: Arc::new([]),
                source: Source::of(Origin::Hit),
            }),
            Err(error) => Err(error),
        }
    }

    async fn catalog(&self) -> Result<Vec<RepoName>> {
        let known = self.cache.names_below(&upstream_prefix(&self.config.name));
        let mut names: Vec<RepoName> = known
            .iter()
            .filter_map(|name| RepoName::parse(name.rsplit_once(':')?.0).ok())
            .filter_map(|repository| self.upstream.names(&repository).into_iter().next())
            .filter(|name| self.place(name).is_ok())
            .collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    fn shows(&self, name: &RepoName) -> bool {
        self.place(name).is_ok()
    }

    fn links(&self, name: &RepoName, digest: &Digest) -> bool {
        let link = |place: Place| self.cache.links().get(&place.link(digest));
        self.place(name).ok().and_then(link).is_some()
    }
}

impl Drop for ProxyRegistry {
    fn drop(&mut self) {
        if let Ok(slot) = self.task.get_mut()
            && let Some(task) = slot.take()
        {
            task.abort();
        }
    }
}

/// How long "there is no such thing" and "not for you" are believed (spec: `404_ttl`).
const NEGATIVE_TTL: Duration = Duration::from_secs(30);

/// How long an upstream is not asked again that could not say what has become of something that is held.
const FAILURE_TTL: Duration = Duration::from_secs(5);

/// How long an upstream that sent wrong bytes is not asked for them again.
const MISMATCH_TTL: Duration = Duration::from_mins(1);

/// How long somebody waits for whom something older is held.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ranges that are passed through at the same time, for each upstream; others wait for the whole.
const PASSING: usize = 16;
