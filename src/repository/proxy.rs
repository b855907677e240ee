//! One upstream, cached: its last good index, kept through every fault, and its archives, filled on demand.
//!
//! The index is refreshed in the background and never on a request. What an upstream *says* (a new index, 404) replaces
//! what is held; what it merely *suffers* (5xx, 403, timeouts, garbage, a shrunken index) carries no information: the held
//! copy stays. Knows nothing about tenants.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};
use tokio::task::AbortHandle;
use tracing::{debug, error, info, warn};

use super::{Artifact, BrokenFile, ChartRepository, Content, Freshness, Origin};
use crate::cache::{self, Cache, FillRequest, FillSource, Object};
use crate::clock::Clock;
use crate::config;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Entry, SourceIndex, kept};
use crate::metrics::Metrics;
use crate::upstream::{Download, IndexReply, Upstream, Validators};

/// The largest archive that is fetched. Helm itself refuses charts that unpack to more than 100 MiB.
const MAX_ARCHIVE: u64 = 1 << 30;
/// The largest provenance file; real ones are about 1 KiB.
const MAX_PROVENANCE: u64 = 1 << 20;
/// How long "there is no such file" is believed.
const NEGATIVE_TTL: Duration = Duration::from_secs(300);
/// The first pause after a failed refresh; it doubles up to `refresh`.
const FIRST_BACKOFF: Duration = Duration::from_secs(5);

/// A cached upstream.
#[derive(Debug)]
pub struct Proxy {
    config: config::Upstream,
    upstream: Arc<dyn Upstream>,
    cache: Arc<Cache>,
    metrics: Arc<Metrics>,
    clock: Clock,
    offline: bool,
    state: ArcSwap<State>,
    changes: watch::Sender<u64>,
    settled: watch::Sender<bool>,
    /// Counts finished attempts, so that callers who waited for one do not start another.
    attempts: AtomicU64,
    /// Held during an attempt: one refresh at a time. Only refreshers wait on it, never a request.
    refreshing: Mutex<()>,
    /// Held while the index is written to disk: the newest state is written last.
    keeping: Mutex<()>,
    task: std::sync::Mutex<Option<AbortHandle>>,
}

/// What is known about the upstream's index.
#[derive(Clone, Debug, Default)]
struct State {
    /// What is shown: what the upstream last said, plus removed versions whose bytes are held. `None`: it was never reached.
    index: Option<Arc<SourceIndex>>,
    /// Files in a folder upstream that look like packages and are none.
    broken: Arc<[BrokenFile]>,
    validators: Option<Validators>,
    confirmed_at: Option<Timestamp>,
    failure: Option<Failure>,
}

#[derive(Clone, Debug)]
struct Failure {
    message: String,
    since: Timestamp,
    attempts: u32,
    retry_after: Option<Duration>,
}

/// The head of the kept document, a line of JSON; the index's own bytes follow.
#[derive(Debug, Serialize, Deserialize)]
struct KeptHead {
    /// Milliseconds since the epoch.
    confirmed_at: i64,
    validators: Option<Validators>,
}

/// One upstream's state, for the admin API.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The configured name.
    pub name: Arc<str>,
    /// `fresh`, `stale` or `unknown`.
    pub state: &'static str,
    /// Seconds since the upstream last confirmed its index.
    pub age_seconds: Option<u64>,
    /// The last failure, while it lasts.
    pub last_error: Option<String>,
    /// When that failure began.
    pub failing_since: Option<String>,
    /// Failed attempts in a row.
    pub failures: u32,
    /// Charts in the index shown.
    pub charts: usize,
    /// Versions in the index shown.
    pub versions: usize,
    /// Entries that were dropped.
    pub dropped: usize,
}

/// How a refresh treats an index that lost too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShrinkRule {
    /// Refuse it by `max_shrink`.
    Guard,
    /// An operator said that it is right.
    Accept,
}

impl Proxy {
    /// A proxy that shows what was kept of its upstream before; [`Proxy::start`] begins refreshing.
    pub async fn open(
        config: config::Upstream,
        upstream: Arc<dyn Upstream>,
        cache: Arc<Cache>,
        metrics: Arc<Metrics>,
        clock: Clock,
        offline: bool,
    ) -> Arc<Self> {
        let proxy = Self {
            state: ArcSwap::default(),
            changes: watch::Sender::new(0),
            settled: watch::Sender::new(false),
            attempts: AtomicU64::new(0),
            refreshing: Mutex::new(()),
            keeping: Mutex::new(()),
            task: std::sync::Mutex::new(None),
            config,
            upstream,
            cache,
            metrics,
            clock,
            offline,
        };
        proxy.load_kept().await;
        Arc::new(proxy)
    }

    /// The configuration it was made from.
    pub fn config(&self) -> &config::Upstream {
        &self.config
    }

    /// Starts the background refresh. It ends when the proxy is dropped.
    pub fn start(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        let task = tokio::spawn(async move {
            loop {
                let Some(proxy) = weak.upgrade() else { return };
                let pause = proxy.until_next_attempt();
                drop(proxy);
                tokio::time::sleep(pause).await;
                let Some(proxy) = weak.upgrade() else { return };
                // The outcome is in the state and in the log.
                let _ = proxy.refresh(ShrinkRule::Guard).await;
            }
        });
        if let Ok(mut slot) = self.task.lock() {
            *slot = Some(task.abort_handle());
        }
    }

    /// Asks the upstream now. Callers who come while an attempt runs share the next outcome.
    pub async fn refresh(self: &Arc<Self>, rule: ShrinkRule) -> Result<()> {
        let seen = self.attempts.load(Ordering::Acquire);
        let _one_at_a_time = self.refreshing.lock().await;
        if rule == ShrinkRule::Guard && self.attempts.load(Ordering::Acquire) != seen {
            return match &self.state.load().failure {
                None => Ok(()),
                Some(failure) => Err(Error::unavailable(failure.message.clone())),
            };
        }
        let outcome = if self.offline {
            Err(Error::unavailable(format!(
                "upstream `{}` is not asked, because chartgate runs offline",
                self.config.name
            )))
        } else {
            self.attempt(rule).await
        };
        if let Err(error) = &outcome {
            self.record_failure(error);
        }
        self.attempts.fetch_add(1, Ordering::AcqRel);
        self.settled.send_replace(true);
        outcome
    }

    /// State, age and counts for the admin API.
    pub fn status(&self) -> Status {
        let state = self.state.load();
        let age = state.confirmed_at.map(|at| self.clock.since(at));
        let index = state.index.as_deref();
        Status {
            name: self.config.name.clone(),
            state: match self.freshness() {
                Freshness::Fresh { .. } => "fresh",
                Freshness::Stale { .. } => "stale",
                Freshness::Unknown => "unknown",
            },
            age_seconds: age.map(|age| age.as_secs()),
            last_error: state
                .failure
                .as_ref()
                .map(|failure| failure.message.clone()),
            failing_since: state
                .failure
                .as_ref()
                .map(|failure| failure.since.to_string()),
            failures: state.failure.as_ref().map_or(0, |failure| failure.attempts),
            charts: index.map_or(0, |index| index.chart_count()),
            versions: index.map_or(0, |index| index.versions()),
            dropped: index.map_or(0, |index| index.report().dropped.total) + state.broken.len(),
        }
    }

    /// Writes the gauges that change with time alone.
    pub fn observe(&self) {
        if let Some(at) = self.state.load().confirmed_at {
            self.metrics
                .upstream_index_age(&self.config.name, self.clock.since(at));
        }
    }

    async fn attempt(self: &Arc<Self>, rule: ShrinkRule) -> Result<()> {
        let held = self.state.load_full();
        let validators = held
            .index
            .is_some()
            .then_some(held.validators.as_ref())
            .flatten();
        let (new, broken, validators) = match self
            .upstream
            .fetch_index(validators)
            .await
            .map_err(no_index)?
        {
            IndexReply::NotModified => {
                self.confirm(&held);
                return Ok(());
            }
            IndexReply::Entries {
                index,
                broken,
                validators,
            } => (
                index,
                broken.into_iter().map(BrokenFile::from).collect(),
                validators,
            ),
            IndexReply::Text {
                text,
                base,
                validators,
            } => {
                // An operator who accepts a loss accepts it against nothing held.
                let previous = held.index.clone().filter(|_| rule == ShrinkRule::Guard);
                let index =
                    blocking(move || SourceIndex::ingest(&text, &base, previous.as_deref()))
                        .await?
                        .map_err(|error| no_index(named(&self.config.name, error)))?;
                (Arc::new(index), Arc::default(), validators)
            }
        };
        if held
            .index
            .as_ref()
            .is_some_and(|index| index.same_text(&new))
        {
            self.confirm(&State {
                validators: Some(validators),
                ..(*held).clone()
            });
            return Ok(());
        }
        self.refuse_shrunken(&held, &new, rule)?;
        let index = self.with_removed(&held, new).await?;
        self.report(&index);
        info!(
            upstream.name = %self.config.name,
            charts = index.chart_count(),
            versions = index.versions(),
            dropped = index.report().dropped.total,
            "upstream `{}` has a new index: {} charts in {} versions",
            self.config.name,
            index.chart_count(),
            index.versions(),
        );
        self.confirm(&State {
            index: Some(index),
            broken,
            validators: Some(validators),
            confirmed_at: None,
            failure: None,
        });
        // Behind the answer: losing it to a crash costs one transfer.
        tokio::spawn(self.clone().keep());
        Ok(())
    }

    /// Stores `state` as confirmed now, and tells listeners if the index shown is another one.
    fn confirm(&self, state: &State) {
        let before = self.state.load_full();
        if let Some(failure) = &before.failure {
            info!(upstream.name = %self.config.name, "upstream `{}` answers again after {} failed attempts", self.config.name, failure.attempts);
        }
        let same = |before: &Arc<SourceIndex>| {
            state
                .index
                .as_ref()
                .is_some_and(|index| Arc::ptr_eq(index, before))
        };
        let changed = !before.index.as_ref().is_some_and(same);
        self.state.store(Arc::new(State {
            confirmed_at: Some(self.clock.now()),
            failure: None,
            ..state.clone()
        }));
        self.metrics
            .upstream_index_age(&self.config.name, Duration::ZERO);
        if changed {
            self.changes.send_modify(|generation| *generation += 1);
        }
    }

    fn record_failure(&self, error: &Error) {
        let state = self.state.load_full();
        let message = error.message().to_owned();
        let (since, attempts) = state
            .failure
            .as_ref()
            .map_or((self.clock.now(), 1), |failure| {
                (failure.since, failure.attempts + 1)
            });
        let held = match state.confirmed_at {
            Some(at) => format!("serving the copy from {at:.0}"),
            None => "nothing of it is held yet".to_owned(),
        };
        if attempts == 1
            || state
                .failure
                .as_ref()
                .is_some_and(|failure| failure.message != message)
        {
            warn!(upstream.name = %self.config.name, error = %error.chain(), "{message}; {held}");
        } else {
            debug!(upstream.name = %self.config.name, attempts, error = %error.chain(), "{message}; {held}");
        }
        let failure = Failure {
            message,
            since,
            attempts,
            retry_after: error.retry_after(),
        };
        self.state.store(Arc::new(State {
            failure: Some(failure),
            ..(*state).clone()
        }));
    }

    /// An index that lost most of its versions is more likely half of one than news.
    fn refuse_shrunken(
        &self,
        held: &State,
        new: &Arc<SourceIndex>,
        rule: ShrinkRule,
    ) -> Result<()> {
        let Some(previous) = held.index.as_ref().filter(|index| index.own_versions() > 0) else {
            return Ok(());
        };
        let (lost, total) = (new.lost_since(previous), previous.own_versions());
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of versions are far below 2^52"
        )]
        let share = lost as f64 / total as f64;
        if rule == ShrinkRule::Accept || share <= self.config.max_shrink {
            return Ok(());
        }
        Err(Error::unavailable(format!(
            "upstream `{name}` lost {lost} of {total} versions at once, more than `max_shrink` allows; if that is right, \
             POST /upstreams/{name}/refresh?force on the admin listener",
            name = self.config.name,
        )))
    }

    /// Adds versions that the upstream removed and whose bytes are still held, where configured.
    async fn with_removed(&self, held: &State, new: Arc<SourceIndex>) -> Result<Arc<SourceIndex>> {
        let Some(previous) = held.index.clone().filter(|_| self.config.keep_removed) else {
            return Ok(new);
        };
        let cache = self.cache.clone();
        let is_held = move |entry: &Entry| entry.digest.is_some_and(|digest| cache.holds(&digest));
        Ok(Arc::new(
            blocking(move || new.carry_over(&previous, is_held)).await?,
        ))
    }

    fn report(&self, index: &SourceIndex) {
        for (reason, entries) in &index.report().dropped.by_reason {
            self.metrics
                .index_dropped(&self.config.name, reason.label(), *entries);
        }
    }

    /// How long to wait before the next attempt: the rest of `refresh`, or a growing pause after failures.
    fn until_next_attempt(&self) -> Duration {
        let state = self.state.load();
        let pause = match (&state.failure, state.confirmed_at) {
            (Some(failure), _) => {
                let doubled =
                    FIRST_BACKOFF.saturating_mul(1 << (failure.attempts.saturating_sub(1)).min(16));
                failure
                    .retry_after
                    .unwrap_or(doubled)
                    .min(self.config.refresh.max(FIRST_BACKOFF))
            }
            (None, Some(at)) => self.config.refresh.saturating_sub(self.clock.since(at)),
            (None, None) => return Duration::ZERO,
        };
        // A start must not wait for a kept index to grow old, and replicas must not ask in step.
        if self.attempts.load(Ordering::Acquire) == 0 {
            Duration::ZERO
        } else {
            jittered(pause)
        }
    }

    /// Digests that duplicates of this version name in the same index: the bytes may be theirs.
    fn alternates(&self, entry: &Entry) -> Vec<Digest> {
        let index = self.index();
        index
            .get(&entry.name)
            .map(|chart| chart.alternates(entry.version.as_str()).to_vec())
            .unwrap_or_default()
    }

    fn document_name(&self) -> String {
        format!("index/{}", self.config.name)
    }

    /// Keeps what is shown, so that a restart with a dead upstream serves at once.
    async fn keep(self: Arc<Self>) {
        let _one_at_a_time = self.keeping.lock().await;
        let state = self.state.load_full();
        let (Some(index), Some(confirmed_at)) = (state.index.clone(), state.confirmed_at) else {
            return;
        };
        let validators = state.validators.clone();
        let document = blocking(move || {
            let head = KeptHead {
                confirmed_at: confirmed_at.as_millisecond(),
                validators,
            };
            let mut document = serde_json::to_vec(&head).unwrap_or_default();
            document.push(b'\n');
            document.extend_from_slice(&kept::to_bytes(&index));
            Bytes::from(document)
        })
        .await;
        let written = match document {
            Ok(document) => {
                self.cache
                    .put_document(&self.document_name(), document)
                    .await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            warn!(upstream.name = %self.config.name, error = %error.chain(),
                "cannot keep the index of upstream `{}` on disk; after a restart it has to be fetched again", self.config.name);
        }
    }

    async fn load_kept(&self) {
        let Some(document) = self.cache.get_document(&self.document_name()).await else {
            return;
        };
        match blocking(move || read_kept(&document))
            .await
            .and_then(|kept| kept)
        {
            Ok((head, index)) => {
                self.report(&index);
                self.state.store(Arc::new(State {
                    index: Some(Arc::new(index)),
                    validators: head.validators,
                    confirmed_at: Timestamp::from_millisecond(head.confirmed_at).ok(),
                    ..State::default()
                }));
                self.settled.send_replace(true);
            }
            Err(error) => warn!(upstream.name = %self.config.name, error = %error.chain(),
                "the kept index of upstream `{}` cannot be read and is fetched again", self.config.name),
        }
    }

    async fn fill(&self, request: FillRequest, url: &str, file: FileKind) -> Result<Artifact> {
        let source = Arc::new(Origins {
            upstream: self.upstream.clone(),
            metrics: self.metrics.clone(),
            url: url.to_owned(),
            file,
            offline: self.offline,
        });
        let object = self.cache.fill(request, source).await.inspect_err(|error| {
            if error.kind() != ErrorKind::NotFound {
                warn!(upstream.name = %self.config.name, error = %error.chain(), "cannot fetch `{url}`: {error}");
            }
        })?;
        Ok(artifact(object))
    }
}

#[async_trait]
impl ChartRepository for Proxy {
    fn label(&self) -> &Arc<str> {
        &self.config.name
    }

    fn index(&self) -> Arc<SourceIndex> {
        self.state.load().index.clone().unwrap_or_default()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn broken(&self) -> Vec<BrokenFile> {
        self.state.load().broken.to_vec()
    }

    fn freshness(&self) -> Freshness {
        let state = self.state.load();
        match (state.confirmed_at, &state.failure) {
            (None, _) => Freshness::Unknown,
            (Some(at), None) => Freshness::Fresh {
                age: self.clock.since(at),
            },
            (Some(at), Some(_)) => Freshness::Stale {
                age: self.clock.since(at),
            },
        }
    }

    fn failure(&self) -> Option<String> {
        self.state
            .load()
            .failure
            .as_ref()
            .map(|failure| failure.message.clone())
    }

    async fn settled(&self) {
        // The sender lives in `self`, so this ends only with the value being true.
        let _ = self.settled.subscribe().wait_for(|settled| *settled).await;
    }

    async fn archive(&self, entry: &Arc<Entry>) -> Result<Artifact> {
        if let Some(digest) = &entry.digest
            && let Some(object) = self.cache.get(digest).await
        {
            return Ok(artifact(object));
        }
        let mut failure = None;
        for url in &entry.urls {
            let request = FillRequest {
                name: format!("chart/{}/{url}", self.config.name),
                expect: entry.digest,
                also_accept: self.alternates(entry),
                on_mismatch: self.config.on_digest_mismatch,
                max_length: MAX_ARCHIVE,
                negative_ttl: NEGATIVE_TTL,
            };
            match self.fill(request, url, FileKind::Archive).await {
                Ok(artifact) => return Ok(artifact),
                Err(error) => failure = Some(prefer(failure, error)),
            }
        }
        Err(failure.unwrap_or_else(|| {
            Error::not_found(format!(
                "upstream `{}` names no URL for `{}`",
                self.config.name,
                entry.file_name()
            ))
        }))
    }

    async fn provenance(&self, entry: &Arc<Entry>) -> Result<Artifact> {
        let Some(url) = entry.urls.first() else {
            return Err(Error::not_found(format!(
                "`{}.prov` does not exist",
                entry.file_name()
            )));
        };
        // A provenance file belongs to one archive: under its digest it never goes stale.
        let version = entry
            .digest
            .map_or_else(|| url.to_string(), |digest| digest.to_hex());
        let request = FillRequest {
            name: format!("prov/{}/{version}/{url}", self.config.name),
            expect: None,
            also_accept: Vec::new(),
            on_mismatch: self.config.on_digest_mismatch,
            max_length: MAX_PROVENANCE,
            negative_ttl: NEGATIVE_TTL,
        };
        self.fill(request, url, FileKind::Provenance).await
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Ok(slot) = self.task.get_mut()
            && let Some(task) = slot.take()
        {
            task.abort();
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum FileKind {
    Archive,
    Provenance,
}

/// Where a fill gets its bytes.
#[derive(Debug)]
struct Origins {
    upstream: Arc<dyn Upstream>,
    metrics: Arc<Metrics>,
    url: String,
    file: FileKind,
    offline: bool,
}

#[async_trait]
impl FillSource for Origins {
    async fn open(&self, offset: u64) -> Result<Download> {
        if self.offline {
            return Err(Error::unavailable(format!(
                "`{}` is not held, and chartgate runs offline; start without `--offline` to fetch it",
                self.url
            )));
        }
        match self.file {
            FileKind::Archive => self.upstream.open(&self.url, offset).await,
            // Too small to resume: it starts again.
            FileKind::Provenance if offset > 0 => {
                Err(Error::unavailable(format!("`{}.prov` broke off", self.url)))
            }
            FileKind::Provenance => self.upstream.open_provenance(&self.url).await,
        }
    }

    fn mismatched(&self, actual: &Digest) {
        let name = self.upstream.name();
        self.metrics.digest_mismatch(name);
        error!(upstream.name = %name, artifact.digest = %actual,
            "upstream `{name}` sent other bytes for `{}` than its index promises", self.url);
    }
}

fn artifact(object: Object) -> Artifact {
    let origin = match object.status() {
        cache::Status::Hit => Origin::Hit,
        cache::Status::Miss => Origin::Miss,
    };
    let warning = (!object.is_verified())
        .then(|| "the bytes do not have the digest that the index names".to_owned());
    Artifact {
        digest: object.digest(),
        content: Content::Cached(object),
        origin,
        warning,
    }
}

/// Of several failures, the one that says most: a fact beats a fault that may pass.
fn prefer(first: Option<Error>, second: Error) -> Error {
    match first {
        Some(first) if first.kind() != ErrorKind::NotFound => first,
        _ => second,
    }
}

fn named(upstream: &str, error: Error) -> Error {
    Error::new(
        error.kind(),
        format!("upstream `{upstream}`: {}", error.message()),
    )
    .with_source(error)
}

/// An upstream without an index, or with one that is none, is as good as away: it says nothing about the charts held.
fn no_index(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::Invalid => {
            Error::unavailable(error.message().to_owned()).with_source(error)
        }
        _ => error,
    }
}

fn read_kept(document: &[u8]) -> Result<(KeptHead, SourceIndex)> {
    let torn = || Error::invalid("the kept document is torn");
    let end = memchr::memchr(b'\n', document).ok_or_else(torn)?;
    let head =
        serde_json::from_slice(&document[..end]).map_err(|error| torn().with_source(error))?;
    Ok((head, kept::from_bytes(&document[end + 1..])?))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("a background computation ended early", error))
}

/// Between 90 % and 110 % of `pause`.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness the pause is merely not jittered.
    let _ = getrandom::fill(&mut byte);
    pause.mul_f64(0.9 + f64::from(byte[0]) / 255.0 * 0.2)
}
