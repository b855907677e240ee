//! Who refers to a manifest.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::repo::{Repo, Seen};
use super::tags::PARALLEL;
use super::{HostedRegistry, layout};
use crate::error::{Error, Result};
use crate::object::Existing;
use crate::oci::{Descriptor, Digest, Manifest, RepoName, referrers};

impl HostedRegistry {
    /// All manifests with this subject, sorted by digest, whether or not there is a manifest `subject`. Never `NotFound`.
    ///
    /// What an index under the fallback tag lists (distribution-spec, "Referrers Tag Schema") belongs to it, as far as this
    /// repository holds it: clients write such an index to registries that do not know referrers, and it is copied from there.
    pub async fn referrers(&self, name: &RepoName, subject: &Digest) -> Result<Arc<[Descriptor]>> {
        let repo = self.repo(name);
        for _ in 0..MAX_LOOKS {
            let edits = {
                let state = repo.state();
                let known = state.referrers.get(subject);
                if let Some(known) = known.filter(|known| self.store.believes(known.at)) {
                    return Ok(Arc::clone(&known.value));
                }
                state.edits()
            };
            let at = self.store.clock.now();
            let (found, bytes) = self.find_referrers(&repo, subject).await?;
            let mut state = repo.state();
            if state.edits() == edits {
                if bytes <= MAX_REMEMBERED {
                    if state.referrers.len() >= MAX_SUBJECTS {
                        state.referrers.clear();
                    }
                    let value = Arc::clone(&found);
                    state.referrers.insert(*subject, Seen { value, at });
                }
                return Ok(found);
            }
        }
        let (found, _) = self.find_referrers(&repo, subject).await?;
        Ok(found)
    }

    /// The list, and how large its descriptors are.
    async fn find_referrers(
        &self,
        repo: &Repo,
        subject: &Digest,
    ) -> Result<(Arc<[Descriptor]>, usize)> {
        let objects = self.store.place.list(&repo.keys.referrers(subject)).await?;
        let digests = objects
            .iter()
            .filter_map(|object| layout::read_digest(&object.name));
        let own: Vec<(Descriptor, usize)> = stream::iter(digests.collect::<Vec<_>>())
            .map(async |digest| self.read_referrer(repo, subject, &digest).await)
            .buffered(PARALLEL)
            .try_filter_map(async |found| Ok(found))
            .try_collect()
            .await?;
        let mut bytes: usize = own.iter().map(|(_, bytes)| bytes).sum();
        let own = own.into_iter().map(|(descriptor, _)| descriptor).collect();
        let (fallback, size) = self.fallback(repo, subject).await?;
        bytes += size;
        let mut all = referrers::merge([own, fallback]);
        all.sort_by_key(|referrer| referrer.digest);
        Ok((all.into(), bytes))
    }

    async fn read_referrer(
        &self,
        repo: &Repo,
        subject: &Digest,
        referrer: &Digest,
    ) -> Result<Option<(Descriptor, usize)>> {
        let key = repo.keys.referrer(subject, referrer);
        let Some((bytes, _)) = self.store.place.read(&key, MAX_DESCRIPTOR).await? else {
            return Ok(None);
        };
        let descriptor = serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("`{key}` is damaged; remove it and push `{referrer}` again");
            Error::internal(message, error)
        })?;
        Ok(Some((descriptor, bytes.len())))
    }

    /// What the index under the fallback tag lists and this repository holds.
    async fn fallback(&self, repo: &Repo, subject: &Digest) -> Result<(Vec<Descriptor>, usize)> {
        let nothing = (Vec::new(), 0);
        let Some(tag) = self.look(repo, &referrers::fallback_tag(subject)).await? else {
            return Ok(nothing);
        };
        let Some(index) = self.linked_manifest(repo, &tag.digest).await? else {
            return Ok(nothing);
        };
        if !index.media_type.is_index() {
            return Ok(nothing);
        }
        // It was read as a manifest when it was pushed.
        let listed = referrers::read(&index.bytes).unwrap_or_default();
        let held: Vec<_> = stream::iter(listed)
            .map(async |descriptor| {
                let link = self.look(repo, &descriptor.digest).await?;
                let is_manifest = link.is_some_and(|link| link.kind().is_some());
                Ok::<_, Error>(is_manifest.then_some(descriptor))
            })
            .buffered(PARALLEL)
            .try_filter_map(async |found| Ok(found))
            .try_collect()
            .await?;
        Ok((held, index.bytes.len()))
    }

    /// Takes note that `manifest` refers to its subject. The caller holds the repository's writer.
    pub(super) async fn add_referrer(
        &self,
        repo: &Repo,
        manifest: &Manifest,
        digest: Digest,
        size: u64,
    ) -> Result<()> {
        let Some(subject) = &manifest.subject else {
            return Ok(());
        };
        let descriptor = referrers::describe(manifest, digest, size);
        let bytes = serde_json::to_vec(&descriptor)
            .map_err(|error| Error::internal("a descriptor cannot be written", error))?;
        let key = repo.keys.referrer(&subject.digest, &digest);
        self.store
            .place
            .write(&key, Bytes::from(bytes), Existing::Replace)
            .await
            .map(drop)
    }
}

/// The largest descriptor, in bytes: its annotations are those of a manifest, and may be written longer here.
const MAX_DESCRIPTOR: u64 = 64 << 20;
/// Lists that are larger are read again for each question, in bytes.
const MAX_REMEMBERED: usize = 256 << 10;
const MAX_SUBJECTS: usize = 1000;
const MAX_LOOKS: usize = 4;
