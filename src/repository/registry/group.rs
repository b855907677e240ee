//! Ordered registries seen as one: what is hosted first, then upstreams.
//!
//! One name has one source. A name that the tenant hosts is never looked for at an upstream, so nobody can take its place by
//! pushing it there (dependency confusion); a tag that came from one upstream does not silently become another's while that one
//! is away. Digests mean the same everywhere, so they are asked for first where they are known to be.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;

use super::elsewhere::Elsewhere;
use super::memory::Memory;
use super::{FoundManifest, Listed, RegistryRepository, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::oci::{Descriptor, Digest, Reference, RepoName, Tag};
use crate::repository::{Artifact, Origin};

/// The hosted part of a group, which reserves its names.
#[async_trait]
pub trait ReservesNames: RegistryRepository {
    /// Whether there is such a repository. Errors: the store could not say; then nobody else is asked.
    async fn has(&self, name: &RepoName) -> Result<bool>;
}

/// Members in order of precedence.
#[derive(Debug)]
pub struct RegistryGroup {
    label: Arc<str>,
    hosted: Option<Arc<dyn ReservesNames>>,
    members: Vec<Arc<dyn RegistryRepository>>,
    /// Which member answered for a tag or a repository last, by position.
    answered: Memory<u32>,
}

/// A member's answer, on its way.
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// What some members said when none of them had it.
#[derive(Debug, Default)]
struct Refusals {
    /// Nobody knows better: not a word about the object.
    unknown: Option<Error>,
    /// It is not there, or not for us.
    absent: Option<Error>,
}

impl Refusals {
    fn note(&mut self, error: Error) {
        let place = match error.is_absence() {
            true => &mut self.absent,
            false => &mut self.unknown,
        };
        // The first member is the one that should have had it.
        place.get_or_insert(error);
    }

    /// Absent only if everybody says so.
    fn into_error(self, nobody: impl FnOnce() -> Error) -> Error {
        self.unknown.or(self.absent).unwrap_or_else(nobody)
    }
}

impl RegistryGroup {
    /// The tenant called `label`, made of what it hosts and of `members`.
    pub fn new(
        label: Arc<str>,
        hosted: Option<Arc<dyn ReservesNames>>,
        members: Vec<Arc<dyn RegistryRepository>>,
    ) -> Self {
        Self {
            label,
            hosted,
            members,
            answered: Memory::new(REMEMBERED),
        }
    }

    /// The hosted part, if the name is its own.
    async fn reserved(&self, name: &RepoName) -> Result<Option<&Arc<dyn ReservesNames>>> {
        match &self.hosted {
            Some(hosted) if hosted.has(name).await? => Ok(Some(hosted)),
            _ => Ok(None),
        }
    }

    /// All members: those first that are known to have `digest`, then the one that answered for the repository last.
    fn likely(&self, name: &RepoName, digest: &Digest) -> Vec<usize> {
        let last = self.answered.get(name.as_str());
        let rank = |position: &usize| {
            let links = self.members[*position].links(name, digest);
            let is_last = last.is_some_and(|last| last as usize == *position);
            (!links, !is_last)
        };
        let mut order: Vec<usize> = (0..self.members.len()).collect();
        // Stable: the order of the configuration decides among equals.
        order.sort_by_key(rank);
        order
    }

    fn remember(&self, key: &str, position: usize) {
        self.answered
            .put(key, u32::try_from(position).unwrap_or(u32::MAX));
    }

    /// Asks members in their order. The one that answered for `key` before is believed when it cannot say: its object is not
    /// to become another one's meanwhile.
    async fn in_order<'a, T>(
        &'a self,
        name: &RepoName,
        key: &str,
        ask: impl Fn(&'a dyn RegistryRepository) -> Answer<'a, T>,
    ) -> Result<T> {
        let before = self.answered.get(key);
        let mut refusals = Refusals::default();
        for (position, member) in self.members.iter().enumerate() {
            match ask(&**member).await {
                Ok(found) => {
                    self.remember(key, position);
                    self.remember(name.as_str(), position);
                    return Ok(found);
                }
                Err(error) if before.is_some_and(|before| before as usize == position) => {
                    if !error.is_absence() {
                        return Err(error);
                    }
                    refusals.note(error);
                }
                Err(error) => refusals.note(error),
            }
        }
        Err(refusals.into_error(|| self.absent(name)))
    }

    /// Asks for a digest wherever it may be.
    async fn anywhere<'a, T>(
        &'a self,
        name: &RepoName,
        digest: &Digest,
        ask: impl Fn(&'a dyn RegistryRepository) -> Answer<'a, T>,
    ) -> Result<(T, usize)> {
        let mut refusals = Refusals::default();
        for position in self.likely(name, digest) {
            match ask(&*self.members[position]).await {
                Ok(found) => return Ok((found, position)),
                Err(error) => refusals.note(error),
            }
        }
        Err(refusals.into_error(|| self.absent(name)))
    }

    /// What is hosted after all: that there is no such repository may be believed for a moment, in which another replica can have
    /// taken a push. So nobody is told that something is not there before the store was asked for it.
    async fn else_hosted<'a, T>(
        &'a self,
        found: Result<T>,
        ask: impl FnOnce(&'a dyn ReservesNames) -> Answer<'a, T>,
    ) -> Result<T> {
        match (found, &self.hosted) {
            (Err(error), Some(hosted)) => match ask(&**hosted).await {
                Err(other) if other.kind() == ErrorKind::NotFound => Err(error),
                answer => answer,
            },
            (found, _) => found,
        }
    }

    /// A blob of the member at `position`. Where its bytes are only promised, others that have them stand by.
    fn or_elsewhere(
        &self,
        found: Artifact,
        position: usize,
        name: &RepoName,
        digest: &Digest,
    ) -> Artifact {
        let others = self.members.iter().enumerate();
        let others = others
            .filter(|(other, member)| *other != position && member.links(name, digest))
            .map(|(_, member)| Arc::clone(member));
        Elsewhere::stand_by(found, others.collect(), name, digest)
    }

    fn absent(&self, name: &RepoName) -> Error {
        Error::not_found(format!(
            "repository `{name}` does not exist in `{}`",
            self.label
        ))
    }
}

#[async_trait]
impl RegistryRepository for RegistryGroup {
    fn label(&self) -> &Arc<str> {
        &self.label
    }

    async fn manifest(&self, name: &RepoName, reference: &Reference) -> Result<FoundManifest> {
        if let Some(hosted) = self.reserved(name).await? {
            return hosted.manifest(name, reference).await;
        }
        let found = match reference {
            Reference::Tag(tag) => {
                let key = format!("{name}:{tag}");
                self.in_order(name, &key, |member| member.manifest(name, reference))
                    .await
            }
            Reference::Digest(digest) => {
                let found = self
                    .anywhere(name, digest, |member| member.manifest(name, reference))
                    .await;
                found.map(|(found, position)| {
                    self.remember(name.as_str(), position);
                    found
                })
            }
        };
        self.else_hosted(found, |hosted| hosted.manifest(name, reference))
            .await
    }

    async fn blob(&self, name: &RepoName, digest: &Digest) -> Result<Artifact> {
        if let Some(hosted) = self.reserved(name).await? {
            return hosted.blob(name, digest).await;
        }
        let found = self
            .anywhere(name, digest, |member| member.blob(name, digest))
            .await
            .map(|(found, position)| self.or_elsewhere(found, position, name, digest));
        self.else_hosted(found, |hosted| hosted.blob(name, digest))
            .await
    }

    /// The list of the first member that has the repository: a union would name tags whose manifests come from elsewhere.
    async fn tags(&self, name: &RepoName) -> Result<Listed<Tag>> {
        if let Some(hosted) = self.reserved(name).await? {
            return hosted.tags(name).await;
        }
        let found = self
            .in_order(name, name.as_str(), |member| member.tags(name))
            .await;
        self.else_hosted(found, |hosted| hosted.tags(name)).await
    }

    async fn referrers(&self, name: &RepoName, digest: &Digest) -> Result<Listed<Descriptor>> {
        if let Some(hosted) = self.reserved(name).await? {
            return hosted.referrers(name, digest).await;
        }
        let last = self.answered.get(name.as_str());
        let mut refusals = Refusals::default();
        let mut nothing = None;
        for position in self.likely(name, digest) {
            let member = &self.members[position];
            let answer = member.referrers(name, digest).await;
            let is_its_own =
                last.is_some_and(|last| last as usize == position) || member.links(name, digest);
            match answer {
                // Nobody else may say what belongs to this one's manifest.
                answer if is_its_own => return answer,
                Ok(found) if !found.items.is_empty() => return Ok(found),
                Ok(found) => {
                    nothing.get_or_insert(found);
                }
                Err(error) => refusals.note(error),
            }
        }
        if let Some(error) = refusals.unknown {
            return Err(error);
        }
        Ok(nothing.unwrap_or_else(|| Listed {
            items: Arc::default(),
            source: Source::of(Origin::Hosted),
        }))
    }

    async fn catalog(&self) -> Result<Vec<RepoName>> {
        let mut names = BTreeSet::new();
        if let Some(hosted) = &self.hosted {
            names.extend(hosted.catalog().await?);
        }
        for member in &self.members {
            names.extend(member.catalog().await?);
        }
        Ok(names.into_iter().collect())
    }

    fn links(&self, name: &RepoName, digest: &Digest) -> bool {
        let hosted = self.hosted.as_ref();
        hosted.is_some_and(|hosted| hosted.links(name, digest))
            || self.members.iter().any(|one| one.links(name, digest))
    }
}

/// How many tags and repositories a group remembers, about 100 bytes each.
const REMEMBERED: usize = 20_000;

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
