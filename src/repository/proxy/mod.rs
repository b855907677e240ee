//! One upstream, cached: its last good index, kept through every fault, and its archives, filled on demand.
//!
//! The index is refreshed in the background and never on a request. What an upstream *says* (a new index, 404) replaces
//! what is held; what it merely *suffers* (5xx, 403, timeouts, garbage, a shrunken index) carries no information: the held
//! copy stays. Knows nothing about tenants.

mod files;
mod kept;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{Mutex, watch};
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

use super::{Artifact, BrokenFile, ChartRepository, Freshness};
use crate::cache::Cache;
use crate::clock::Clock;
use crate::config;
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Entry, SourceIndex};
use crate::metrics::Metrics;
use crate::net::{Allowed, BudgetState};
use crate::upstream::{IndexReply, Upstream, Validators};

/// The longest `Retry-After` that is honoured.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// However short `refresh` is, an upstream is not asked without a pause.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
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
    /// What it last said about how much it still allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowance: Option<Allowed>,
    /// How much it may be asked, and what is left of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetState>,
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
                proxy.poll().await;
            }
        });
        if let Ok(mut slot) = self.task.lock() {
            *slot = Some(task.abort_handle());
        }
    }

    /// One round of the background: asks the upstream, unless what may be asked of it is kept for clients. What is held is served
    /// meanwhile, as old as it is; where nothing is, clients wait for this. The outcome is in the state and in the log.
    async fn poll(self: &Arc<Self>) {
        let is_held = self.state.load().index.is_some();
        let spare = match self.upstream.budget() {
            Some(budget) if is_held && !self.offline => budget.spare(),
            _ => Ok(()),
        };
        match spare {
            Ok(()) => drop(self.refresh(ShrinkRule::Guard).await),
            Err(error) => {
                let _one_at_a_time = self.refreshing.lock().await;
                self.finish(&Err(error));
            }
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
        self.finish(&outcome);
        outcome
    }

    /// Notes how an attempt ended.
    fn finish(&self, outcome: &Result<()>) {
        if let Err(error) = outcome {
            self.record_failure(error);
        }
        self.attempts.fetch_add(1, Ordering::AcqRel);
        self.settled.send_replace(true);
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
            allowance: self.upstream.budget().and_then(|budget| budget.allowed()),
            budget: self.upstream.budget().map(|budget| budget.state()),
        }
    }

    /// Writes the gauges that change with time alone.
    pub fn observe(&self) {
        if let Some(at) = self.state.load().confirmed_at {
            self.metrics
                .upstream_index_age(&self.config.name, self.clock.since(at));
        }
        if let Some(budget) = self.upstream.budget() {
            budget.observe();
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
            (Some(failure), _) => backoff(failure, self.config.refresh),
            (None, Some(at)) => self.config.refresh.saturating_sub(self.clock.since(at)),
            (None, None) => return Duration::ZERO,
        };
        // A start must not wait for a kept index to grow old, and replicas must not ask in step.
        if self.attempts.load(Ordering::Acquire) == 0 {
            Duration::ZERO
        } else {
            jittered(pause.max(SHORTEST_PAUSE))
        }
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
        self.fetch_archive(entry).await
    }

    async fn provenance(&self, entry: &Arc<Entry>) -> Result<Artifact> {
        self.fetch_provenance(entry).await
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

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("a background computation ended early", error))
}

/// The pause after a failure: what the upstream asked for, within reason, else one that doubles up to `refresh`.
fn backoff(failure: &Failure, refresh: Duration) -> Duration {
    let doublings = failure.attempts.saturating_sub(1).min(16);
    let doubled = FIRST_BACKOFF.saturating_mul(1 << doublings);
    match failure.retry_after {
        Some(after) => after.min(LONGEST_WAIT),
        None => doubled.min(refresh.max(FIRST_BACKOFF)),
    }
}

/// Between 90 % and 110 % of `pause`.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness the pause is merely not jittered.
    let _ = getrandom::fill(&mut byte);
    pause.mul_f64(0.9 + f64::from(byte[0]) / 255.0 * 0.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(attempts: u32, retry_after: Option<u64>) -> u64 {
        let failure = Failure {
            message: String::new(),
            since: Timestamp::UNIX_EPOCH,
            attempts,
            retry_after: retry_after.map(Duration::from_secs),
        };
        backoff(&failure, Duration::from_secs(300)).as_secs()
    }

    #[test]
    fn pauses_double_up_to_the_refresh_interval() {
        let pauses: Vec<u64> = (1..=8).map(|attempts| pause(attempts, None)).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(pause(u32::MAX, None), 300);
    }

    #[test]
    fn an_upstream_that_says_when_is_asked_then() {
        assert_eq!(pause(1, Some(1)), 1);
        assert_eq!(pause(1, Some(1200)), 1200);
        assert_eq!(pause(1, Some(1_000_000)), 3600);
    }
}
