//! Tags: names that mean a manifest for now.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::HostedRegistry;
use super::repo::Repo;
use crate::error::{Error, ErrorKind, Result};
use crate::object::Existing;
use crate::oci::{Digest, RepoName, Tag};

/// What a tag means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TagValue {
    pub(super) digest: Digest,
    /// When it was pushed, for people.
    at: String,
}

impl TagValue {
    pub(super) fn new(digest: Digest, at: Timestamp) -> Self {
        Self {
            digest,
            at: at.to_string(),
        }
    }

    fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("texts are always JSON")
            .into()
    }
}

impl HostedRegistry {
    /// All tags, sorted by bytes. Errors: `NotFound` where there is no such repository.
    pub async fn tags(&self, name: &RepoName) -> Result<Arc<[Tag]>> {
        let repo = self.repo(name);
        let names = self.names(&repo).await?;
        if names.is_empty() && self.find(&repo, &super::repo::Mark).await?.is_none() {
            return Err(self.no_repository(name));
        }
        Ok(names)
    }

    pub(super) fn no_repository(&self, name: &RepoName) -> Error {
        let tenant = &self.tenant.path;
        Error::not_found(format!("repository `{name}` does not exist in `{tenant}`"))
    }

    /// What the tags mean now, as the place has it.
    pub(super) async fn current(
        &self,
        repo: &Repo,
        tags: &[Tag],
    ) -> Result<Vec<(Tag, Option<TagValue>)>> {
        stream::iter(tags.to_vec())
            .map(async |tag| Ok((tag.clone(), self.find(repo, &tag).await?)))
            .buffered(PARALLEL)
            .try_collect()
            .await
    }

    /// Makes all `tags` mean `digest`, or none of them as far as readers here see. The caller holds the repository's writer.
    ///
    /// Errors: `Conflict` where a tag is another manifest and tags do not change.
    pub(super) async fn point(&self, repo: &Repo, tags: &[Tag], digest: Digest) -> Result<()> {
        let now = self.store.clock.now();
        let value = TagValue::new(digest, now);
        let is_immutable = self.settings.immutable_tags;
        let before = match (tags, is_immutable) {
            ([], _) => return Ok(()),
            // One object is replaced as a whole, whatever it was.
            ([tag], false) => {
                let written = self
                    .write_item(repo, tag, value.to_bytes(), Existing::Replace)
                    .await;
                return repo.change(|state| match written {
                    Ok(()) => {
                        state.set(tag, value, now);
                        state.name(tag, true);
                        Ok(())
                    }
                    Err(error) => {
                        // It may have been written all the same.
                        state.forget(tag);
                        state.forget_names();
                        Err(error)
                    }
                });
            }
            _ => self.current(repo, tags).await?,
        };
        if is_immutable {
            self.check_immutable(&before, digest)?;
        }
        repo.change(|state| state.hold(before.iter().cloned()));
        let written = self.write_all(repo, &before, &value).await;
        if let Err((written, _)) = &written {
            self.take_back(repo, &before[..*written]).await;
        }
        repo.change(|state| {
            state.release();
            for tag in tags {
                match &written {
                    Ok(()) => {
                        state.set(tag, value.clone(), now);
                        state.name(tag, true);
                    }
                    Err(_) => {
                        state.forget(tag);
                        state.forget_names();
                    }
                }
            }
        });
        written.map_err(|(_, error)| error)
    }

    /// Errors: how many may have been written, and why not more.
    async fn write_all(
        &self,
        repo: &Repo,
        before: &[(Tag, Option<TagValue>)],
        value: &TagValue,
    ) -> Result<(), (usize, Error)> {
        for (at, (tag, old)) in before.iter().enumerate() {
            let existing = match (self.settings.immutable_tags, old) {
                // It is this manifest already.
                (true, Some(_)) => continue,
                // Another replica may be pushing it too.
                (true, None) => Existing::Refuse,
                (false, _) => Existing::Replace,
            };
            let written = self.write_item(repo, tag, value.to_bytes(), existing).await;
            match written {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    let found = self.find(repo, tag).await;
                    match found.map_err(|error| (at, error))? {
                        // By somebody else with the same intention, or by ourselves at a first try whose answer got lost.
                        Some(found) if found.digest == value.digest => {}
                        _ => return Err((at, immutable(tag))),
                    }
                }
                // Whose tag it is now is not known, where others may not be replaced.
                Err(error) if self.settings.immutable_tags => return Err((at, error)),
                Err(error) => return Err((at + 1, error)),
            }
        }
        Ok(())
    }

    /// Puts back what the tags meant, as far as the place lets us.
    async fn take_back(&self, repo: &Repo, before: &[(Tag, Option<TagValue>)]) {
        for (tag, old) in before {
            let undone = match old {
                Some(old) => {
                    self.write_item(repo, tag, old.to_bytes(), Existing::Replace)
                        .await
                }
                None => self.store.place.remove(&repo.keys.tag(tag)).await,
            };
            if let Err(error) = undone {
                tracing::warn!(
                    tenant.name = %self.tenant.path, repository = %repo.name, %tag, error = %error.chain(),
                    "a tag of a push that failed cannot be put back"
                );
            }
        }
    }

    pub(super) fn check_immutable(
        &self,
        tags: &[(Tag, Option<TagValue>)],
        digest: Digest,
    ) -> Result<()> {
        let other = tags.iter().find(|(_, value)| {
            let value = value.as_ref();
            value.is_some_and(|value| value.digest != digest)
        });
        other.map_or(Ok(()), |(tag, _)| Err(immutable(tag)))
    }
}

fn immutable(tag: &Tag) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("tag `{tag}` exists and tags of this tenant do not change; push under another tag"),
    )
}

/// How many small objects are asked for at a time.
pub(super) const PARALLEL: usize = 32;
