//! Removing bytes that nobody needs, after the links to them are gone.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use super::mark::{Need, Repository};
use super::{Broken, Collected, Removed, Rules};
use crate::digest::Digest;
use crate::error::Result;
use crate::store::registry::doom::Announcement;
use crate::store::registry::tags::PARALLEL;
use crate::store::registry::{RegistryStore, layout};

/// A content that nobody needs.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    content: Digest,
    size: u64,
}

impl RegistryStore {
    /// Looks through all contents, and removes those that nobody needs and that are old.
    pub(super) async fn sweep(
        &self,
        rules: &Rules,
        repositories: &[Repository],
        needed: &BTreeMap<Digest, Need>,
        collected: &mut Collected,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
        told: &(dyn Fn(Removed<'_>) + Send + Sync),
    ) -> Result<()> {
        for first in 0..=u8::MAX {
            progress(u64::from(first), FOLDERS);
            let folder = layout::blob_folder(first);
            let objects = self.place.list(&folder).await?;
            let mut times: HashMap<Digest, (u64, Timestamp)> = HashMap::new();
            let mut marks: HashMap<Digest, Timestamp> = HashMap::new();
            for object in &objects {
                if let Some(content) = layout::read_blob(&object.name) {
                    times.insert(content, (object.stamp.size, object.stamp.modified));
                } else if let Some(content) = object
                    .name
                    .strip_suffix(".used")
                    .and_then(layout::read_blob)
                {
                    marks.insert(content, object.stamp.modified);
                }
            }
            let mut candidates = Vec::new();
            for (content, (size, modified)) in &times {
                collected.contents.add(*size);
                if needed.contains_key(content) {
                    continue;
                }
                let used = marks.get(content).copied().unwrap_or(*modified);
                match self.clock.since(used.max(*modified)) > rules.grace {
                    true => candidates.push(Candidate {
                        content: *content,
                        size: *size,
                    }),
                    false => collected.spared.add(*size),
                }
            }
            for batch in candidates.chunks(BATCH) {
                self.remove_batch(rules, batch, collected, told).await?;
            }
            for (content, used) in &marks {
                if !times.contains_key(content) && self.clock.since(*used) > rules.grace {
                    collected.strays += 1;
                    if rules.delete {
                        self.place.remove(&layout::blob_used(content)).await?;
                    }
                }
            }
            let absent = in_folder(needed, first)
                .filter(|(content, need)| need.is_linked && !times.contains_key(content));
            for (content, need) in absent {
                self.report_absent(content, &repositories[need.repository], collected)
                    .await?;
            }
        }
        progress(FOLDERS, FOLDERS);
        Ok(())
    }

    async fn remove_batch(
        &self,
        rules: &Rules,
        batch: &[Candidate],
        collected: &mut Collected,
        told: &(dyn Fn(Removed<'_>) + Send + Sync),
    ) -> Result<()> {
        if !rules.delete {
            batch
                .iter()
                .for_each(|candidate| collected.garbage.add(candidate.size));
            return Ok(());
        }
        let contents: Vec<Digest> = batch.iter().map(|candidate| candidate.content).collect();
        let announcement = self.announce(&contents).await?;
        let removed = stream::iter(batch)
            .map(async |candidate| {
                let is_gone = self
                    .remove_content(rules.grace, &candidate.content, &announcement)
                    .await?;
                if is_gone {
                    told(Removed::Content(&candidate.content));
                }
                Ok(is_gone)
            })
            .buffered(PARALLEL)
            .try_collect::<Vec<bool>>()
            .await?;
        self.withdraw(&announcement).await?;
        for (candidate, is_gone) in batch.iter().zip(removed) {
            match is_gone {
                true => collected.garbage.add(candidate.size),
                false => collected.spared.add(candidate.size),
            }
        }
        Ok(())
    }

    /// Removes bytes, unless they were used again before the announcement was there.
    async fn remove_content(
        &self,
        grace: Duration,
        content: &Digest,
        announcement: &Announcement,
    ) -> Result<bool> {
        if !self.is_old(content, grace).await? || !announcement.holds(self.clock.now()) {
            return Ok(false);
        }
        self.place.remove(&layout::blob(content)).await?;
        if self.place.is_remote() {
            self.place.remove(&layout::blob_used(content)).await?;
        }
        Ok(true)
    }

    /// Whether nobody has stored or used these bytes for longer than `age`, as the place has it now. Bytes that are gone are not
    /// old: whoever stores them again makes them young.
    pub(super) async fn is_old(&self, content: &Digest, age: Duration) -> Result<bool> {
        let Some(stamp) = self.place.stat(&layout::blob(content)).await? else {
            return Ok(false);
        };
        let used = match self.place.is_remote() {
            true => self.place.stat(&layout::blob_used(content)).await?,
            false => None,
        };
        let last = used.map_or(stamp.modified, |used| used.modified.max(stamp.modified));
        Ok(self.clock.since(last) > age)
    }

    /// Tells of a link without bytes, if it is still there and they still are not.
    async fn report_absent(
        &self,
        content: &Digest,
        repository: &Repository,
        collected: &mut Collected,
    ) -> Result<()> {
        if self.place.stat(&layout::blob(content)).await?.is_some() {
            return Ok(());
        }
        let (tenant, name) = &repository.names;
        collected.broken.push(Broken {
            tenant: tenant.clone(),
            repository: name.replace('+', "/"),
            message: format!("the bytes of `{content}` are gone; push it again"),
        });
        Ok(())
    }
}

/// The contents whose first byte is `first`.
fn in_folder(needed: &BTreeMap<Digest, Need>, first: u8) -> impl Iterator<Item = (&Digest, &Need)> {
    let lowest = |first: u8| {
        let mut bytes = [0; 32];
        bytes[0] = first;
        Digest::from_bytes(bytes)
    };
    let end = match first.checked_add(1) {
        Some(next) => Excluded(lowest(next)),
        None => Unbounded,
    };
    needed.range((Included(lowest(first)), end))
}

/// How many are announced at a time: a push that wants one of them waits for all of them.
const BATCH: usize = 500;
/// Folders of contents.
const FOLDERS: u64 = 256;
