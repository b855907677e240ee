//! Ordered members seen as one repository: the merged index, published before anyone asks.
//!
//! A merge happens when a member changed, never on a request. [`Group::publish`] is also called by an upload before it is
//! acknowledged, so that the next read anywhere on this replica shows it. Knows nothing about HTTP routes or identities.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::sync::{Notify, OnceCell, watch};
use tokio::task::JoinSet;
use tracing::{debug, error};

use super::views::{Remembered, Views};
use super::{Artifact, ChartRepository, Freshness};
use crate::auth::Sight;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::http::HeaderValue;
use crate::http::conditional::http_date;
use crate::http::encoding::Coding;
use crate::index::{Member, Snapshot, Style};
use crate::names::{FileName, TenantPath};

/// How long a publish waits for the next one before it spends time on one contiguous body and compressed variants.
const QUIET: Duration = Duration::from_millis(250);

/// Members in order of precedence, and what they publish together.
#[derive(Debug)]
pub struct Group {
    tenant: TenantPath,
    members: Vec<GroupMember>,
    style: Style,
    published: ArcSwap<Published>,
    /// Every member has an index or has failed to get one, and that is published: it is no half of an index.
    settled: watch::Sender<bool>,
    /// Serialises merges; held for computation only.
    merging: std::sync::Mutex<()>,
    changed: Notify,
    gzip_wanted: AtomicBool,
    zstd_wanted: AtomicBool,
    clock: Clock,
}

/// One member of a group.
#[derive(Clone, Debug)]
pub struct GroupMember {
    /// The repository.
    pub repository: Arc<dyn ChartRepository>,
    /// Names that it has never come from later members (hosted content).
    pub reserves_names: bool,
}

/// A published index with its prepared compressed forms.
#[derive(Debug)]
pub struct Published {
    /// The index.
    pub snapshot: Arc<Snapshot>,
    /// When its text changed, for `Last-Modified`.
    pub last_modified: HeaderValue,
    gzip: OnceCell<Bytes>,
    zstd: OnceCell<Bytes>,
    /// What those are shown who may not see all of it.
    views: Views,
    /// It is such a view itself.
    part: Option<Part>,
}

/// What a view has besides.
#[derive(Debug)]
struct Part {
    /// The index that it was cut from will stay for a while.
    is_quiet: bool,
    /// Somebody has asked for these compressed forms.
    gzip_wanted: AtomicBool,
    zstd_wanted: AtomicBool,
}

impl Published {
    fn new(snapshot: Snapshot) -> Self {
        Self {
            last_modified: last_modified(&snapshot),
            snapshot: Arc::new(snapshot),
            gzip: OnceCell::new(),
            zstd: OnceCell::new(),
            views: Views::default(),
            part: None,
        }
    }

    /// `snapshot` with the compressed forms of its predecessor, where the text is the same.
    fn after(previous: &Self, snapshot: Snapshot) -> Self {
        let views = Views::after(&previous.views);
        if snapshot.etag() != previous.snapshot.etag() {
            return Self {
                views,
                ..Self::new(snapshot)
            };
        }
        Self {
            last_modified: last_modified(&snapshot),
            snapshot: Arc::new(snapshot),
            gzip: previous.gzip.clone(),
            zstd: previous.zstd.clone(),
            views,
            part: None,
        }
    }

    /// What `sight` shows of it, after what it showed `before`. Takes time that grows with the index.
    pub(super) fn part(&self, sight: &Sight, before: Option<&Remembered>, now: Timestamp) -> Self {
        let last = before.map(|before| (&*before.etag, before.modified));
        let snapshot = self.snapshot.part(|name| sight.shows(name), last, now);
        let same = before.filter(|before| *before.etag == *snapshot.etag());
        let form = |form: &Option<Bytes>| OnceCell::new_with(form.clone());
        Self {
            gzip: same.map_or_else(OnceCell::new, |same| form(&same.gzip)),
            zstd: same.map_or_else(OnceCell::new, |same| form(&same.zstd)),
            part: Some(Part {
                is_quiet: self.snapshot.contiguous().is_some(),
                gzip_wanted: AtomicBool::new(false),
                zstd_wanted: AtomicBool::new(false),
            }),
            ..Self::new(snapshot)
        }
    }

    /// What a later part with the same content takes over.
    pub(super) fn remembered(&self) -> Remembered {
        Remembered {
            etag: self.snapshot.etag().into(),
            modified: self.snapshot.modified(),
            gzip: self.gzip.get().cloned(),
            zstd: self.zstd.get().cloned(),
        }
    }

    fn slot(&self, coding: Coding) -> &OnceCell<Bytes> {
        match coding {
            Coding::Gzip => &self.gzip,
            Coding::Zstd => &self.zstd,
        }
    }
}

fn last_modified(snapshot: &Snapshot) -> HeaderValue {
    HeaderValue::try_from(http_date(snapshot.modified())).expect("a date is visible ASCII")
}

impl Group {
    /// A group that has published nothing yet. [`Group::run`] keeps it current.
    pub fn new(
        tenant: TenantPath,
        members: Vec<GroupMember>,
        style: Style,
        clock: Clock,
    ) -> Arc<Self> {
        let empty = Snapshot::merge(&[], &style, None, clock.now());
        Arc::new(Self {
            tenant,
            members,
            style,
            published: ArcSwap::from_pointee(Published::new(empty)),
            settled: watch::Sender::new(false),
            merging: std::sync::Mutex::new(()),
            changed: Notify::new(),
            gzip_wanted: AtomicBool::new(false),
            zstd_wanted: AtomicBool::new(false),
            clock,
        })
    }

    /// Follows its members: publishes first when all have settled, then whenever one changed. Runs until dropped.
    pub async fn run(self: Arc<Self>) {
        let mut followers = JoinSet::new();
        for member in &self.members {
            let mut changes = member.repository.changes();
            let group = self.clone();
            followers.spawn(async move {
                while changes.changed().await.is_ok() {
                    group.changed.notify_one();
                }
            });
        }
        for member in &self.members {
            member.repository.settled().await;
        }
        loop {
            if let Err(failure) = self.publish().await {
                error!(tenant.name = %self.tenant, error = %failure.chain(), "cannot publish the index of `{}`", self.tenant);
            }
            // Someone may be uploading hundreds of charts: the expensive forms wait until it is quiet.
            while tokio::time::timeout(QUIET, self.changed.notified())
                .await
                .is_ok()
            {
                let _ = self.publish().await;
            }
            self.prepare().await;
            self.changed.notified().await;
        }
    }

    /// Merges what members show now and makes it visible. Done when it returns: the next read sees it.
    pub async fn publish(self: &Arc<Self>) -> Result<()> {
        let group = self.clone();
        tokio::task::spawn_blocking(move || group.merge())
            .await
            .map_err(|failure| {
                Error::internal(
                    format!("merging the index of `{}` ended early", self.tenant),
                    failure,
                )
            })
    }

    /// The current index.
    pub fn published(&self) -> Arc<Published> {
        self.published.load_full()
    }

    /// What `sight` shows of the current index, ready like that. Made at the first request for it, then held as long as the
    /// index is and there is room. Cancel-safe. Errors: our own fault.
    pub async fn seen(&self, sight: &Sight) -> Result<Arc<Published>> {
        let whole = self.published();
        match sight {
            Sight::Everything => Ok(whole),
            Sight::Names(_) | Sight::Nothing => whole.views.part(&whole, sight, &self.clock).await,
        }
    }

    /// The current index's snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.load().snapshot.clone()
    }

    /// Whether an index has been published: all members have settled, and at least one of them has an index.
    pub fn is_ready(&self) -> bool {
        *self.settled.borrow() && self.freshness() != Freshness::Unknown
    }

    /// Whether every member has an index or has failed to get one, and the result is published.
    pub fn has_settled(&self) -> bool {
        *self.settled.borrow()
    }

    /// Waits until every member has an index or has failed to get one, and the result is published. Cancel-safe.
    pub async fn settled(&self) {
        // The sender lives in `self`, so this ends only with the value being true.
        let _ = self.settled.subscribe().wait_for(|settled| *settled).await;
    }

    /// A compressed form, if it is prepared. The first wish for one starts its preparation.
    pub fn variant(self: &Arc<Self>, published: &Arc<Published>, coding: Coding) -> Option<Bytes> {
        if let Some(bytes) = published.slot(coding).get() {
            return Some(bytes.clone());
        }
        let wanted = match (&published.part, coding) {
            // It would be compressed anew with every upload.
            (Some(part), _) if !part.is_quiet => return None,
            (Some(part), Coding::Gzip) => &part.gzip_wanted,
            (Some(part), Coding::Zstd) => &part.zstd_wanted,
            (None, Coding::Gzip) => &self.gzip_wanted,
            (None, Coding::Zstd) => &self.zstd_wanted,
        };
        if !wanted.swap(true, Ordering::Relaxed) {
            let (group, published) = (self.clone(), published.clone());
            tokio::spawn(async move { group.compress(&published, coding).await });
        }
        None
    }

    /// The members in order of precedence.
    pub fn members(&self) -> &[GroupMember] {
        &self.members
    }

    /// The freshness of the stalest member; unknown only where no member was ever reached, or one that reserves names was not.
    pub fn freshness(&self) -> Freshness {
        if self.is_blind() {
            return Freshness::Unknown;
        }
        let (mut age, mut stale, mut known) = (Duration::ZERO, false, self.members.is_empty());
        for member in &self.members {
            match member.repository.freshness() {
                Freshness::Fresh { age: other } => (age, known) = (age.max(other), true),
                Freshness::Stale { age: other } => {
                    (age, known, stale) = (age.max(other), true, true)
                }
                // The rest is a copy that lacks something.
                Freshness::Unknown => stale = true,
            }
        }
        match (known, stale) {
            (false, _) => Freshness::Unknown,
            (true, true) => Freshness::Stale { age },
            (true, false) => Freshness::Fresh { age },
        }
    }

    /// Whether a member that reserves names does not know them yet. Another member's chart of such a name must not be served,
    /// so until then nothing of the others is.
    fn is_blind(&self) -> bool {
        self.members.iter().any(|member| {
            member.reserves_names && member.repository.freshness() == Freshness::Unknown
        })
    }

    /// Members whose index was never learned, each with the reason.
    pub fn unknown_members(&self) -> Vec<String> {
        let unknown = self
            .members
            .iter()
            .filter(|member| member.repository.freshness() == Freshness::Unknown);
        unknown
            .map(|member| {
                let never =
                    || format!("upstream `{}` was not asked yet", member.repository.label());
                member.repository.failure().unwrap_or_else(never)
            })
            .collect()
    }

    /// The archive or provenance file that the merged index calls `file`.
    pub async fn file(&self, file: &FileName) -> Result<Artifact> {
        self.file_in(&self.snapshot(), file).await
    }

    /// The archive or provenance file that `snapshot`, an index of this group or a part of one, calls `file`.
    pub async fn file_in(&self, snapshot: &Snapshot, file: &FileName) -> Result<Artifact> {
        let found = snapshot.find(file.archive()).and_then(|found| {
            let member = self.members.get(found.member)?;
            Some((member.repository.clone(), found.entry.clone()))
        });
        let Some((repository, entry)) = found else {
            return Err(Error::not_found(format!(
                "chart `{file}` does not exist in `{}`",
                self.tenant
            )));
        };
        if file.is_provenance() {
            repository.provenance(&entry).await
        } else {
            repository.archive(&entry).await
        }
    }

    fn merge(&self) {
        let _one_at_a_time = self.one_at_a_time();
        let is_blind = self.is_blind();
        let members: Vec<Member> = self
            .members
            .iter()
            .map(|member| Member {
                label: member.repository.label().clone(),
                index: match is_blind && !member.reserves_names {
                    true => Arc::default(),
                    false => member.repository.index(),
                },
                reserves_names: member.reserves_names,
            })
            .collect();
        let previous = self.snapshot();
        let snapshot = Snapshot::merge(&members, &self.style, Some(&previous), self.clock.now());
        // Also with the same text: a version may come from another place now.
        let published = Published::after(&self.published(), snapshot);
        if published.snapshot.etag() != previous.etag() {
            debug!(tenant.name = %self.tenant, versions = published.snapshot.versions(), "published the index of `{}`", self.tenant);
        }
        self.published.store(Arc::new(published));
        // Here and not in `run`, so that whoever publishes (a refresh by hand) sees the tenant ready when he is answered.
        let whole = |member: &GroupMember| member.repository.settled().now_or_never().is_some();
        if self.members.iter().all(whole) {
            self.settled
                .send_if_modified(|settled| !std::mem::replace(settled, true));
        }
    }

    /// The turn to replace what is published. It guards nothing that a panic could have left half done.
    fn one_at_a_time(&self) -> MutexGuard<'_, ()> {
        self.merging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One contiguous body and the compressed forms that somebody has asked for before.
    async fn prepare(self: &Arc<Self>) {
        let before = self.published();
        if before.snapshot.contiguous().is_none() {
            let group = self.clone();
            let _ = tokio::task::spawn_blocking(move || {
                let _one_at_a_time = group.one_at_a_time();
                let current = group.snapshot();
                let compact = Published::after(&group.published(), current.compact());
                group.published.store(Arc::new(compact));
            })
            .await;
        }
        let published = self.published();
        if self.gzip_wanted.load(Ordering::Relaxed) {
            self.compress(&published, Coding::Gzip).await;
        }
        if self.zstd_wanted.load(Ordering::Relaxed) {
            self.compress(&published, Coding::Zstd).await;
        }
    }

    async fn compress(&self, published: &Arc<Published>, coding: Coding) {
        let snapshot = published.snapshot.clone();
        let work = move || coding.encode(&snapshot.body().into_pieces());
        let prepared = published
            .slot(coding)
            .get_or_try_init(|| async {
                tokio::task::spawn_blocking(work).await.map_err(|failure| {
                    Error::internal("compressing an index ended early", failure)
                })?
            })
            .await;
        if let Err(failure) = prepared {
            error!(tenant.name = %self.tenant, error = %failure.chain(), "cannot compress the index of `{}`", self.tenant);
        }
    }
}
