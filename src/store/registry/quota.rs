//! How much a tenant holds, and how much it may.
//!
//! Each distinct content counts once, however many repositories show it. Nothing is counted before somebody wants to know:
//! then every link of the tenant is read once, and from then on changes made here are added. What others change in a bucket
//! is seen when it is counted anew.

use std::collections::HashMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use super::tags::PARALLEL;
use super::{HostedRegistry, layout};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

/// How much a tenant holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of all distinct contents.
    pub bytes: u64,
    /// How many those are.
    pub contents: u64,
}

/// What is counted; `None` before anybody wanted to know.
#[derive(Debug, Default)]
pub(super) struct Ledger(Option<Counted>);

#[derive(Debug)]
struct Counted {
    contents: HashMap<Digest, Content>,
    bytes: u64,
    at: Timestamp,
}

#[derive(Debug)]
struct Content {
    size: u64,
    links: u32,
}

impl HostedRegistry {
    /// How much the tenant holds, in all repositories. Reads every link if that was not done lately.
    pub async fn usage(&self) -> Result<Usage> {
        let mut ledger = self.tenant.ledger.lock().await;
        let counted = self.counted(&mut ledger).await?;
        Ok(Usage {
            bytes: counted.bytes,
            contents: counted.contents.len() as u64,
        })
    }

    /// Whether `size` more bytes fit, to be asked before an upload begins. Errors: `QuotaExceeded`.
    pub async fn check_room(&self, size: u64) -> Result<()> {
        let Some(quota) = self.settings.quota else {
            return Ok(());
        };
        let mut ledger = self.tenant.ledger.lock().await;
        let counted = self.counted(&mut ledger).await?;
        match counted.bytes.saturating_add(size) > quota {
            true => Err(self.full(quota, counted.bytes)),
            false => Ok(()),
        }
    }

    /// Counts a link that is going to be made. Errors: `QuotaExceeded`.
    pub(super) async fn count(&self, content: &Digest, size: u64) -> Result<()> {
        let mut ledger = self.tenant.ledger.lock().await;
        if self.settings.quota.is_none() && ledger.0.is_none() {
            return Ok(());
        }
        let quota = self.settings.quota;
        let counted = self.counted(&mut ledger).await?;
        if let Some(held) = counted.contents.get_mut(content) {
            held.links = held.links.saturating_add(1);
            return Ok(());
        }
        let bytes = counted.bytes.saturating_add(size);
        if let Some(quota) = quota
            && bytes > quota
        {
            return Err(self.full(quota, counted.bytes));
        }
        counted.bytes = bytes;
        counted
            .contents
            .insert(*content, Content { size, links: 1 });
        Ok(())
    }

    /// Takes back what was counted for a link that was not made.
    pub(super) async fn uncount(&self, content: &Digest) {
        self.tenant.ledger.lock().await.remove(content);
    }

    /// Removes a link and what it counts, so that nobody who counts meanwhile counts it twice or not at all.
    pub(super) async fn remove_link(&self, key: &str, content: Result<Digest>) -> Result<()> {
        let mut ledger = self.tenant.ledger.lock().await;
        self.store.place.remove(key).await?;
        if let Ok(content) = content {
            ledger.remove(&content);
        }
        Ok(())
    }

    async fn counted<'a>(&self, ledger: &'a mut Ledger) -> Result<&'a mut Counted> {
        let now = self.store.clock.now();
        let is_current = |counted: &Counted| {
            !self.store.place.is_remote() || self.store.clock.since(counted.at) < COUNT_AGAIN
        };
        let counted = match ledger.0.take().filter(is_current) {
            Some(counted) => counted,
            None => self.count_all(now).await?,
        };
        Ok(ledger.0.insert(counted))
    }

    async fn count_all(&self, at: Timestamp) -> Result<Counted> {
        let mut counted = Counted {
            contents: HashMap::new(),
            bytes: 0,
            at,
        };
        for name in self.catalog().await? {
            let keys = layout::Repo::new(&self.tenant.segment, &layout::repo_segment(&name));
            let repo = self.repo(&name);
            let objects = self.store.place.list(&keys.links()).await?;
            let digests: Vec<_> = objects
                .iter()
                .filter_map(|object| layout::read_digest(&object.name))
                .collect();
            let mut links = stream::iter(digests)
                .map(async |digest| self.find(&repo, &digest).await)
                .buffer_unordered(PARALLEL);
            while let Some(link) = links.try_next().await? {
                // Removed in between, or damaged.
                let Some((content, size)) =
                    link.and_then(|link| Some((link.content().ok()?, link.size)))
                else {
                    continue;
                };
                let mut is_new = false;
                let held = counted.contents.entry(content).or_insert_with(|| {
                    is_new = true;
                    Content { size, links: 0 }
                });
                held.links = held.links.saturating_add(1);
                if is_new {
                    counted.bytes = counted.bytes.saturating_add(size);
                }
            }
        }
        Ok(counted)
    }

    fn full(&self, quota: u64, held: u64) -> Error {
        Error::new(
            ErrorKind::QuotaExceeded,
            format!(
                "`{}` may hold {quota} bytes and holds {held}; delete what is not needed, or raise `quota`",
                self.tenant.path
            ),
        )
    }
}

impl Ledger {
    fn remove(&mut self, content: &Digest) {
        let Some(counted) = &mut self.0 else { return };
        let Some(held) = counted.contents.get_mut(content) else {
            return;
        };
        held.links = held.links.saturating_sub(1);
        if held.links == 0 {
            counted.bytes = counted.bytes.saturating_sub(held.size);
            counted.contents.remove(content);
        }
    }
}

/// After this long what others did in a bucket is counted too.
const COUNT_AGAIN: std::time::Duration = std::time::Duration::from_mins(10);
