//! Collecting garbage: bytes that no repository shows, and links that nothing in their repository needs.
//!
//! First everything that is needed is marked ([`mark`]); then links go ([`unlink`]), then bytes ([`sweep`]). Tags, linked manifests, what
//! these name, and whatever is young stay. It runs while others push, in this process or elsewhere: see [`super::doom`].

mod mark;
mod reach;
mod sweep;
mod unlink;

use std::time::Duration;

use self::mark::Marked;
use super::RegistryStore;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::oci;

/// What is collected.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How old bytes without a link must be, since they were stored or last used. At least 2 h, the default.
    pub grace: Duration,
    /// Whether anything is removed; otherwise it is only counted.
    pub delete: bool,
    /// Whether manifests go that have no tag, are in no index that stays, and neither refer to nor are referred to by what stays.
    pub untagged: bool,
    /// How long other processes may believe what they knew of a repository. `None`: what `store.refresh` says.
    pub belief: Option<Duration>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            grace: MIN_GRACE,
            delete: false,
            untagged: false,
            belief: None,
        }
    }
}

/// How many, and how large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Objects.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// What a collection found in one tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantShare {
    /// The tenant as keys of the store write it: `+` for `/`, `_root` for the root tenant.
    pub tenant: String,
    /// Repositories.
    pub repositories: u64,
    /// Tags.
    pub tags: u64,
    /// Manifests, and their bytes.
    pub manifests: Tally,
    /// Links to blobs, and the bytes behind them. A blob in two repositories counts twice.
    pub blobs: Tally,
    /// Manifests that are not needed, and are or would be unlinked.
    pub loose_manifests: Tally,
    /// Links to blobs that no manifest of their repository needs, and that are or would be removed.
    pub loose_blobs: Tally,
}

/// Something that should not be. Never removed, because somebody should look.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Broken {
    /// The tenant, as in [`TenantShare`].
    pub tenant: String,
    /// The repository.
    pub repository: String,
    /// What is wrong.
    pub message: String,
}

/// What a collection found and did.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// By tenant.
    pub tenants: Vec<TenantShare>,
    /// All contents.
    pub contents: Tally,
    /// Contents that nobody needs and that are old enough: removed, or to be removed.
    pub garbage: Tally,
    /// Contents that nobody needs yet: too young to be judged, or used again meanwhile.
    pub spared: Tally,
    /// What processes left behind that died: uploads, temporary files, marks of bytes and of repositories that are not
    /// there.
    pub strays: u64,
    /// What somebody should look at.
    pub broken: Vec<Broken>,
}

/// Something that a collection has removed, a moment ago.
#[derive(Clone, Copy, Debug)]
pub enum Removed<'a> {
    /// A link: a repository does not show this manifest or blob any more.
    Link {
        /// The tenant, as in [`TenantShare`].
        tenant: &'a str,
        /// The repository, as keys of the store write it: `+` for `/`.
        repository: &'a str,
        /// What it showed.
        digest: &'a oci::Digest,
    },
    /// Bytes that no repository showed.
    Content(&'a Digest),
}

/// How far a collection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Repositories are read.
    Mark,
    /// Contents are looked through.
    Sweep,
}

impl RegistryStore {
    /// Finds, and with [`Rules::delete`] removes, what nobody needs. `progress` is told `(step, done, total)`.
    ///
    /// Nothing is removed that a tag, a manifest that stays or an upload under way needs, nor what is pushed meanwhile, here or on
    /// another machine. Errors stop it where it is; what is needed is always still there, and it may be run again. Cancel-safe in
    /// the same way.
    pub async fn collect(
        &self,
        rules: &Rules,
        progress: &(dyn Fn(Step, u64, u64) + Send + Sync),
    ) -> Result<Collected> {
        self.collect_and_tell(rules, progress, &|_| {}).await
    }

    /// The same; `told` hears of everything that was removed, one by one, also where the collection fails later.
    pub async fn collect_and_tell(
        &self,
        rules: &Rules,
        progress: &(dyn Fn(Step, u64, u64) + Send + Sync),
        told: &(dyn Fn(Removed<'_>) + Send + Sync),
    ) -> Result<Collected> {
        if rules.grace < MIN_GRACE {
            return Err(Error::invalid(
                "the grace period is at least 2h: a push takes its time",
            ));
        }
        let mut strays = 0;
        if rules.delete {
            strays += self.forget_announcements().await?;
            strays += self.uploads.reap().await as u64;
        }
        let Marked {
            mut tenants,
            mut needed,
            loose,
            mut broken,
            repositories,
            empty,
        } = self.mark(rules, progress).await?;
        for at in empty {
            strays += 1;
            if rules.delete {
                self.unmark(&repositories[at]).await?;
            }
        }
        self.unlink_all(rules, &repositories, loose, &mut needed, &mut tenants, told)
            .await?;
        let mut collected = Collected {
            tenants,
            strays,
            ..Collected::default()
        };
        let steps = |done, total| progress(Step::Sweep, done, total);
        self.sweep(rules, &repositories, &needed, &mut collected, &steps, told)
            .await?;
        collected.broken.append(&mut broken);
        collected.broken.sort();
        Ok(collected)
    }
}

/// The shortest grace: no request takes that long, and clocks of machines differ by less.
const MIN_GRACE: Duration = Duration::from_hours(2);

/// How old a link to a blob must be that no manifest needs: a client pushes blobs one after the other, each upload may take 24 h,
/// and the manifest comes last.
const LINK_GRACE: Duration = Duration::from_hours(26);

#[cfg(test)]
mod tests;
