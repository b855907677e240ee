//! One upstream registry, cached: tags believed for a while, everything else for ever.
//!
//! [`ProxyRegistry`] decides what is held, how old it may get and what is served while the upstream is away; the client
//! (`upstream::registry`) only asks and judges. Nothing is asked at start. Knows nothing about tenants.

use std::sync::Arc;

use async_trait::async_trait;

use super::{FoundManifest, Listed, NameRules, RegistryRepository};
use crate::cache::Cache;
use crate::clock::Clock;
use crate::config;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::Metrics;
use crate::oci::{Descriptor, Digest, Reference, RepoName, Tag};
use crate::repository::Artifact;
use crate::upstream::registry::Registry;

/// A cached upstream registry.
#[derive(Debug)]
pub struct ProxyRegistry {
    config: config::Upstream,
    oci: config::Oci,
    upstream: Arc<Registry>,
    cache: Arc<Cache>,
    metrics: Arc<Metrics>,
    clock: Clock,
    offline: bool,
    rules: NameRules,
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
        Ok(Arc::new(Self {
            rules: NameRules::new(&oci.include, &oci.exclude)?,
            config,
            oci,
            upstream,
            cache,
            metrics,
            clock,
            offline,
        }))
    }

    /// Starts revalidating tags that are in use before they expire. Ends when the proxy is dropped.
    pub fn start(self: &Arc<Self>) {}

    /// The configuration it was made from.
    pub fn config(&self) -> &config::Upstream {
        &self.config
    }

    /// The name in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.config.name
    }

    /// Writes the gauges that change with time alone.
    pub fn observe(&self) {}

    /// Forgets what is known about a repository, or about one tag or digest of it; the next request asks the upstream.
    /// Returns how many records went. Bytes stay until they are evicted: other repositories may have them too.
    pub fn purge(&self, name: &RepoName, reference: Option<&Reference>) -> Result<usize> {
        let _ = (name, reference);
        Err(Error::new(ErrorKind::Unsupported, "not yet"))
    }
}

#[async_trait]
impl RegistryRepository for ProxyRegistry {
    fn label(&self) -> &Arc<str> {
        &self.config.name
    }

    async fn manifest(&self, _: &RepoName, _: &Reference) -> Result<FoundManifest> {
        Err(Error::new(ErrorKind::Unsupported, "not yet"))
    }

    async fn blob(&self, _: &RepoName, _: &Digest) -> Result<Artifact> {
        Err(Error::new(ErrorKind::Unsupported, "not yet"))
    }

    async fn tags(&self, _: &RepoName) -> Result<Listed<Tag>> {
        Err(Error::new(ErrorKind::Unsupported, "not yet"))
    }

    async fn referrers(&self, _: &RepoName, _: &Digest) -> Result<Listed<Descriptor>> {
        Err(Error::new(ErrorKind::Unsupported, "not yet"))
    }

    async fn catalog(&self) -> Result<Vec<RepoName>> {
        Err(Error::new(ErrorKind::Unsupported, "not yet"))
    }

    fn links(&self, _: &RepoName, _: &Digest) -> bool {
        false
    }
}
