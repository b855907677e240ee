//! A registry as one tenant sees it: repositories that are let in, by the names that clients use.

use std::sync::Arc;

use async_trait::async_trait;

use super::{FoundManifest, Listed, NameRules, RegistryRepository, Source};
use crate::error::{Error, Result};
use crate::oci::{Descriptor, Digest, Reference, RepoName, Tag};
use crate::repository::{Artifact, Origin};

/// `inner`, seen through rules. A repository that is kept out is absent for every question, whatever digest is asked for.
#[derive(Debug)]
pub struct RegistryView {
    inner: Arc<dyn RegistryRepository>,
    rules: NameRules,
    /// Other names of a repository that the upstream has, which count too.
    also_called: fn(&RepoName) -> Option<RepoName>,
}

impl RegistryView {
    /// `inner` seen through `rules`; `inner` itself where they let everything in. `also_called` gives the other name of a
    /// repository that has two.
    pub fn build(
        inner: Arc<dyn RegistryRepository>,
        rules: NameRules,
        also_called: fn(&RepoName) -> Option<RepoName>,
    ) -> Arc<dyn RegistryRepository> {
        if rules.is_identity() {
            return inner;
        }
        Arc::new(Self {
            inner,
            rules,
            also_called,
        })
    }

    fn lets_in(&self, name: &RepoName) -> bool {
        let other = (self.also_called)(name);
        self.rules.let_in([name].into_iter().chain(&other))
    }

    fn check(&self, name: &RepoName) -> Result<()> {
        match self.lets_in(name) {
            true => Ok(()),
            false => Err(Error::not_found(format!(
                "repository `{name}` of `{}` is kept out by `include` or `exclude`",
                self.inner.label()
            ))),
        }
    }
}

#[async_trait]
impl RegistryRepository for RegistryView {
    fn label(&self) -> &Arc<str> {
        self.inner.label()
    }

    async fn manifest(&self, name: &RepoName, reference: &Reference) -> Result<FoundManifest> {
        self.check(name)?;
        self.inner.manifest(name, reference).await
    }

    async fn blob(&self, name: &RepoName, digest: &Digest) -> Result<Artifact> {
        self.check(name)?;
        self.inner.blob(name, digest).await
    }

    async fn tags(&self, name: &RepoName) -> Result<Listed<Tag>> {
        self.check(name)?;
        self.inner.tags(name).await
    }

    async fn referrers(&self, name: &RepoName, digest: &Digest) -> Result<Listed<Descriptor>> {
        if self.lets_in(name) {
            return self.inner.referrers(name, digest).await;
        }
        Ok(Listed {
            items: Arc::default(),
            source: Source::of(Origin::Hit),
        })
    }

    async fn catalog(&self) -> Result<Vec<RepoName>> {
        let mut names = self.inner.catalog().await?;
        names.retain(|name| self.lets_in(name));
        Ok(names)
    }

    fn shows(&self, name: &RepoName) -> bool {
        self.lets_in(name) && self.inner.shows(name)
    }

    fn links(&self, name: &RepoName, digest: &Digest) -> bool {
        self.lets_in(name) && self.inner.links(name, digest)
    }
}

/// Docker Hub's own images have two names: `nginx` and `library/nginx`.
pub fn docker_library(name: &RepoName) -> Option<RepoName> {
    match name.as_str().strip_prefix("library/") {
        Some(short) if !short.contains('/') => RepoName::parse(short).ok(),
        Some(_) => None,
        None if name.is_single() => RepoName::parse(&format!("library/{name}")).ok(),
        None => None,
    }
}

/// For upstreams whose repositories have one name each.
pub fn one_name(_: &RepoName) -> Option<RepoName> {
    None
}
