//! Deleting. The bytes stay until they are swept; the very next look does not find them.

use std::sync::Arc;

use super::HostedRegistry;
use super::links::{detached, no_blob};
use super::manifests::no_manifest;
use super::repo::Repo;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::{Digest, Manifest, Reference, RepoName, Tag};

impl HostedRegistry {
    /// By tag: removes the tag. By digest: removes the manifest from the repository, all tags that mean it, and its entry among
    /// the referrers of its subject; what refers to it stays.
    ///
    /// Errors: `NotFound`; `Unsupported` where nothing may be deleted. Once it has begun it goes on to its end.
    pub async fn delete_manifest(
        self: &Arc<Self>,
        name: &RepoName,
        reference: &Reference,
    ) -> Result<()> {
        self.may_delete()?;
        let (this, repo) = (Arc::clone(self), self.repo(name));
        let reference = reference.clone();
        detached(async move {
            let _writer = repo.writer.lock().await;
            match &reference {
                Reference::Tag(tag) => match this.find(&repo, tag).await? {
                    Some(_) => this.remove_tags(&repo, std::slice::from_ref(tag)).await,
                    None => Err(no_manifest(&repo.name, &reference)),
                },
                Reference::Digest(digest) => this.remove_manifest(&repo, digest).await,
            }
        })
        .await
    }

    /// Removes a blob from the repository, and from no other one.
    ///
    /// Errors: `NotFound`, also for a manifest; `Unsupported` where nothing may be deleted.
    pub async fn delete_blob(self: &Arc<Self>, name: &RepoName, digest: &Digest) -> Result<()> {
        self.may_delete()?;
        let (this, repo, digest) = (Arc::clone(self), self.repo(name), *digest);
        detached(async move {
            let _writer = repo.writer.lock().await;
            match this.find(&repo, &digest).await? {
                Some(link) if link.kind().is_none() => this.unlink(&repo, &digest).await,
                _ => Err(no_blob(&repo.name, &digest)),
            }
        })
        .await
    }

    fn may_delete(&self) -> Result<()> {
        match self.deletes {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Unsupported,
                format!("deleting is switched off in `{}`", self.tenant.path),
            )),
        }
    }

    async fn remove_manifest(&self, repo: &Repo, digest: &Digest) -> Result<()> {
        let link = self.find(repo, digest).await?;
        let Some(link) = link.filter(|link| link.kind().is_some()) else {
            return Err(no_manifest(&repo.name, &Reference::Digest(*digest)));
        };
        // As they are now: others may have set some.
        repo.change(super::repo::State::forget_names);
        let names = self.names(repo).await?;
        let meanings = self.current(repo, &names).await?;
        let tags: Vec<Tag> = meanings
            .into_iter()
            .filter(|(_, value)| value.as_ref().is_some_and(|value| value.digest == *digest))
            .map(|(tag, _)| tag)
            .collect();
        self.remove_tags(repo, &tags).await?;
        // Its own words say what it refers to. If they are lost, so is the manifest, and the entry with it.
        let bytes = self.store.read_blob(&link.content()?, link.size).await;
        let media_type = link.kind().map(crate::oci::ManifestType::as_str);
        let limit = usize::try_from(link.size).unwrap_or(usize::MAX);
        let manifest = bytes.ok().flatten();
        let manifest = manifest.and_then(|bytes| Manifest::inspect(media_type, &bytes, limit).ok());
        if let Some(subject) = manifest.and_then(|manifest| manifest.subject) {
            let key = repo.keys.referrer(&subject.digest, digest);
            self.store.place.remove(&key).await?;
        }
        self.unlink(repo, digest).await
    }

    /// Removes tags. Readers see each of them as it is.
    async fn remove_tags(&self, repo: &Repo, tags: &[Tag]) -> Result<()> {
        for tag in tags {
            let removed = self.store.place.remove(&repo.keys.tag(tag)).await;
            repo.change(|state| {
                state.forget(tag);
                match removed {
                    Ok(()) => state.name(tag, false),
                    Err(_) => state.forget_names(),
                }
            });
            removed?;
        }
        Ok(())
    }

    async fn unlink(&self, repo: &Repo, digest: &Digest) -> Result<()> {
        let link = self.find(repo, digest).await?;
        let content = link.map_or_else(|| Err(no_blob(&repo.name, digest)), |link| link.content());
        let removed = self.remove_link(&repo.keys.link(digest), content).await;
        repo.change(|state| state.forget(digest));
        removed?;
        self.unmark_if_empty(repo).await
    }
}
