//! Removing links that nothing needs, before the bytes behind them: a crash never leaves a link without bytes.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::mark::{Bundle, Loose, Need, Repository};
use super::{LINK_GRACE, Removed, Rules, TenantShare, reach};
use crate::digest::Digest;
use crate::error::Result;
use crate::object::Existing;
use crate::oci;
use crate::store::registry::tags::PARALLEL;
use crate::store::registry::{RegistryStore, layout};

impl RegistryStore {
    /// Removes loose links, or counts them. What turns out to be in use is needed after all, and what that names too.
    pub(super) async fn unlink_all(
        &self,
        rules: &Rules,
        repositories: &[Repository],
        mut loose: Vec<Bundle>,
        needed: &mut BTreeMap<Digest, Need>,
        tenants: &mut [TenantShare],
        told: &(dyn Fn(Removed<'_>) + Send + Sync),
    ) -> Result<()> {
        while !loose.is_empty() {
            let mut batch = Vec::new();
            let mut size = 0;
            while size < BATCH
                && let Some(bundle) = loose.pop()
            {
                size += bundle.links.len();
                batch.push(bundle);
            }
            if rules.delete {
                self.unlink_batch(rules, repositories, &mut batch, needed, told)
                    .await?;
            }
            for bundle in &batch {
                let share = &mut tenants[repositories[bundle.repository].tenant];
                for link in &bundle.links {
                    match link.is_manifest {
                        true => share.loose_manifests.add(link.size),
                        false => share.loose_blobs.add(link.size),
                    }
                }
            }
        }
        Ok(())
    }

    /// Leaves in each bundle the links that were removed.
    async fn unlink_batch(
        &self,
        rules: &Rules,
        repositories: &[Repository],
        batch: &mut [Bundle],
        needed: &mut BTreeMap<Digest, Need>,
        told: &(dyn Fn(Removed<'_>) + Send + Sync),
    ) -> Result<()> {
        let links = batch.iter().flat_map(|bundle| &bundle.links);
        let contents: Vec<Digest> = links.map(|link| link.content).collect();
        let announcement = self.announce(&contents).await?;
        let mut is_any_gone = false;
        for bundle in batch.iter_mut() {
            let repository = &repositories[bundle.repository];
            let going = self.judge(rules, &repository.keys, bundle).await?;
            let kept = reach::needed(&bundle.nodes);
            let need = |is_linked| Need {
                repository: bundle.repository,
                is_linked,
            };
            for digest in reach::named(&bundle.nodes, &kept) {
                if let oci::Digest::Sha256(content) = digest {
                    needed.entry(content).or_insert(need(false));
                }
            }
            let links = std::mem::take(&mut bundle.links);
            for (link, goes) in links.into_iter().zip(going) {
                if goes && announcement.holds(self.clock.now()) {
                    self.unlink_one(&repository.keys, &link, bundle).await?;
                    let (tenant, name) = &repository.names;
                    told(Removed::Link {
                        tenant,
                        repository: name,
                        digest: &link.digest,
                    });
                    bundle.links.push(link);
                } else {
                    needed.insert(link.content, need(true));
                }
            }
            if !bundle.links.is_empty() {
                is_any_gone = true;
                self.unmark(repository).await?;
            }
        }
        if is_any_gone {
            // Others may believe for a while that the links are there. They heed the announcement until they look again.
            let belief = rules.belief.or(self.trust).unwrap_or_default();
            tokio::time::sleep(belief.min(LONGEST_BELIEF)).await;
        }
        self.withdraw(&announcement).await
    }

    /// Which links go, as everything is now that the announcement is there.
    async fn judge(
        &self,
        rules: &Rules,
        keys: &layout::Repo,
        bundle: &mut Bundle,
    ) -> Result<Vec<bool>> {
        let are_old: Vec<bool> = stream::iter(&bundle.links)
            .map(async |link| {
                let age = match link.is_manifest {
                    true => rules.grace,
                    false => LINK_GRACE.max(rules.grace),
                };
                self.is_old(&link.content, age).await
            })
            .buffered(PARALLEL)
            .try_collect()
            .await?;
        let tags = match bundle.links.iter().any(|link| link.is_manifest) {
            true => self.read_tags(keys).await?,
            false => Vec::new(),
        };
        let tagged: HashSet<oci::Digest> = tags.into_iter().map(|(_, digest)| digest).collect();
        for (link, is_old) in bundle.links.iter().zip(&are_old) {
            if link.is_manifest
                && (!is_old || tagged.contains(&link.digest))
                && let Some(node) = bundle.nodes.get_mut(&link.digest)
            {
                node.is_root = true;
            }
        }
        let kept = reach::needed(&bundle.nodes);
        let named = reach::named(&bundle.nodes, &kept);
        let going = bundle.links.iter().zip(are_old).map(|(link, is_old)| {
            let is_needed = match link.is_manifest {
                true => kept.contains(&link.digest),
                false => named.contains(&link.digest),
            };
            is_old && !is_needed
        });
        Ok(going.collect())
    }

    async fn unlink_one(&self, keys: &layout::Repo, link: &Loose, bundle: &Bundle) -> Result<()> {
        let node = bundle.nodes.get(&link.digest).filter(|_| link.is_manifest);
        if let Some(subject) = node.and_then(|node| node.subject) {
            let entry = keys.referrer(&subject, &link.digest);
            self.place.remove(&entry).await?;
        }
        self.place.remove(&keys.link(&link.digest)).await
    }

    /// Removes the mark of a repository without links; puts it back where one came meanwhile.
    pub(super) async fn unmark(&self, repository: &Repository) -> Result<()> {
        let (links, mark) = (repository.keys.links(), &repository.keys.mark);
        if !self.place.is_empty(&links).await? {
            return Ok(());
        }
        self.place.remove(mark).await?;
        if !self.place.is_empty(&links).await? {
            self.place
                .write(mark, Bytes::new(), Existing::Replace)
                .await?;
        }
        Ok(())
    }
}

/// How many links are announced at a time: for as many, others are waited for once.
const BATCH: usize = 2_000;
/// Longer than this no announcement is held: pushes wait for it.
const LONGEST_BELIEF: Duration = Duration::from_secs(60);
