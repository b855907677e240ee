//! Every metric, declared once with its help text, base unit and bounded labels (contract/http.md).
//!
//! The only home of the `prometheus` crate. Components call the verbs here and never see a registry.

mod museum;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::{
    Encoder as _, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use self::museum::MuseumMetrics;
pub use self::museum::MuseumRequest;
use crate::names::TenantPath;

/// What the gauges of one tenant say.
#[derive(Clone, Debug)]
pub struct TenantGauges {
    /// The tenant's label: `/` for the root.
    pub label: Arc<str>,
    /// Its path: empty for the root, as ChartMuseum's labels have it.
    pub repository: TenantPath,
    /// Versions in its index.
    pub versions: usize,
    /// Charts and versions that it hosts, where it takes uploads.
    pub hosted: Option<(usize, usize)>,
}

/// All metrics of one process. Shared behind an `Arc`; there is no global registry.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    cache_requests: IntCounterVec,
    cache_bytes: IntGaugeVec,
    upstream_requests: IntCounterVec,
    upstream_index_age: GaugeVec,
    upstream_up: IntGaugeVec,
    upstream_allowance: IntGaugeVec,
    upstream_allowance_limit: IntGaugeVec,
    upstream_budget: IntGaugeVec,
    upstream_budget_limit: IntGaugeVec,
    upstream_held_back: IntCounterVec,
    upstream_places: IntGaugeVec,
    upstream_waits: IntCounterVec,
    index_versions: IntGaugeVec,
    index_dropped: IntGaugeVec,
    digest_mismatch: IntCounterVec,
    rate_limited: IntCounterVec,
    limit_refusals: IntCounterVec,
    limit_keys: IntGaugeVec,
    shared_limits: IntCounterVec,
    turned_away: IntCounterVec,
    audit_lines: IntCounterVec,
    logins_failed: IntCounterVec,
    museum_charts: IntGaugeVec,
    museum_versions: IntGaugeVec,
    /// Declared when somebody counts with them.
    museum: OnceLock<MuseumMetrics>,
    /// Held while gauges of tenants are set anew and read.
    rendering: Mutex<()>,
}

impl Metrics {
    /// Declares every metric. Panics only if two declarations here clash.
    pub fn new() -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let metric =
                IntCounterVec::new(Opts::new(name, help), labels).expect("a valid metric name");
            registry
                .register(Box::new(metric.clone()))
                .expect("a name of its own");
            metric
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            let metric =
                IntGaugeVec::new(Opts::new(name, help), labels).expect("a valid metric name");
            registry
                .register(Box::new(metric.clone()))
                .expect("a name of its own");
            metric
        };
        let request_duration = HistogramVec::new(
            HistogramOpts::new(
                "chartgate_request_duration_seconds",
                "Time from a request's head to the end of its answer",
            )
            .buckets(vec![
                0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
                30.0,
            ]),
            &["route"],
        )
        .expect("a valid metric name");
        let upstream_index_age = GaugeVec::new(
            Opts::new(
                "chartgate_upstream_index_age_seconds",
                "Time since the upstream last confirmed its index",
            ),
            &["upstream"],
        )
        .expect("a valid metric name");
        registry
            .register(Box::new(request_duration.clone()))
            .expect("a name of its own");
        registry
            .register(Box::new(upstream_index_age.clone()))
            .expect("a name of its own");
        Self {
            requests: counter(
                "chartgate_requests_total",
                "Requests answered",
                &["tenant", "route", "code"],
            ),
            cache_requests: counter(
                "chartgate_cache_requests_total",
                "Cache look-ups by tier and result",
                &["tier", "result"],
            ),
            cache_bytes: gauge(
                "chartgate_cache_bytes",
                "Bytes held by a cache tier",
                &["tier"],
            ),
            upstream_requests: counter(
                "chartgate_upstream_requests_total",
                "Answers of an upstream by status code, or `error` where none came",
                &["upstream", "code"],
            ),
            upstream_up: gauge(
                "chartgate_upstream_up",
                "1 if the last request to the upstream was answered",
                &["upstream"],
            ),
            upstream_allowance: gauge(
                "chartgate_upstream_allowance_remaining",
                "Requests that the upstream still allows in its window, as it last said",
                &["upstream"],
            ),
            upstream_allowance_limit: gauge(
                "chartgate_upstream_allowance_limit",
                "Requests that the upstream allows per window, as it last said",
                &["upstream"],
            ),
            upstream_budget: gauge(
                "chartgate_upstream_budget_remaining",
                "Requests that the upstream may still be sent in the window of its budget",
                &["upstream"],
            ),
            upstream_budget_limit: gauge(
                "chartgate_upstream_budget_limit",
                "Requests that the upstream may be sent per window of its budget",
                &["upstream"],
            ),
            upstream_held_back: counter(
                "chartgate_upstream_held_back_total",
                "Requests that an upstream was not sent to keep its budget or its own limit, by who wanted them",
                &["upstream", "for"],
            ),
            upstream_places: gauge(
                "chartgate_upstream_connections",
                "Requests under way to an upstream whose number is limited, and those that wait for their turn",
                &["upstream", "state"],
            ),
            upstream_waits: counter(
                "chartgate_upstream_waits_total",
                "Requests that had to wait because as many were under way to the upstream as may be, by how that ended",
                &["upstream", "result"],
            ),
            index_versions: gauge(
                "chartgate_index_versions",
                "Chart versions in a tenant's merged index",
                &["tenant"],
            ),
            index_dropped: gauge(
                "chartgate_index_entries_dropped_total",
                "Entries of an upstream's current index that no client could use, by reason",
                &["upstream", "reason"],
            ),
            digest_mismatch: counter(
                "chartgate_digest_mismatch_total",
                "Archives whose bytes did not have the digest that the index names",
                &["upstream"],
            ),
            rate_limited: counter(
                "chartgate_rate_limited_total",
                "Requests refused with 429",
                &["tenant"],
            ),
            limit_refusals: counter(
                "chartgate_limit_refusals_total",
                "Requests refused with 429, by what was limited and whose allowance was used up",
                &["limit", "by"],
            ),
            limit_keys: gauge(
                "chartgate_limit_keys",
                "Clients whose allowance is not full, summed over all limits, and those swept soon",
                &[],
            ),
            shared_limits: counter(
                "chartgate_shared_limit_requests_total",
                "Requests to tenants whose limits replicas share: `ahead` passed far below them, `asked` asked redis, `alone` were decided without it",
                &["result"],
            ),
            turned_away: counter(
                "chartgate_connections_turned_away_total",
                "Connections that were refused or cut, and request bodies that were given up, by reason",
                &["reason"],
            ),
            audit_lines: counter(
                "chartgate_audit_lines_total",
                "Lines for the audit log, by what became of them",
                &["result"],
            ),
            logins_failed: counter(
                "chartgate_logins_failed_total",
                "Credentials that were not accepted: on the chart routes (charts), below /v2/ (registry), at the token endpoint (token)",
                &["surface", "reason"],
            ),
            museum_charts: gauge(
                "chartmuseum_charts_served_total",
                "Hosted charts by repository",
                &["repo"],
            ),
            museum_versions: gauge(
                "chartmuseum_chart_versions_served_total",
                "Hosted chart versions by repository",
                &["repo"],
            ),
            request_duration,
            upstream_index_age,
            registry,
            museum: OnceLock::new(),
            rendering: Mutex::new(()),
        }
    }

    /// Counts one answered request.
    pub fn request(&self, tenant: &str, route: &str, code: u16, took: Duration) {
        self.requests
            .with_label_values(&[tenant, route, &code.to_string()])
            .inc();
        self.request_duration
            .with_label_values(&[route])
            .observe(took.as_secs_f64());
    }

    /// Counts one answered request in ChartMuseum's metrics, which are shown from then on.
    pub fn museum_request(&self, request: &MuseumRequest<'_>) {
        self.museum
            .get_or_init(|| MuseumMetrics::register(&self.registry))
            .count(request);
    }

    /// Counts one look-up in a cache tier (`memory`, `disk`, `redis`) with its result (`hit`, `miss`, `error`).
    pub fn cache_request(&self, tier: &str, result: &str) {
        self.cache_requests.with_label_values(&[tier, result]).inc();
    }

    /// Sets how much a cache tier holds.
    pub fn cache_bytes(&self, tier: &str, bytes: u64) {
        self.cache_bytes
            .with_label_values(&[tier])
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Counts one answer of an upstream; `None`: there was none.
    pub fn upstream_request(&self, upstream: &str, code: Option<u16>) {
        let label = code.map_or_else(|| "error".to_owned(), |code| code.to_string());
        self.upstream_requests
            .with_label_values(&[upstream, &label])
            .inc();
        self.upstream_up
            .with_label_values(&[upstream])
            .set(i64::from(code.is_some_and(|code| code < 500)));
    }

    /// Sets the age of an upstream's index.
    pub fn upstream_index_age(&self, upstream: &str, age: Duration) {
        self.upstream_index_age
            .with_label_values(&[upstream])
            .set(age.as_secs_f64());
    }

    /// Sets how much an upstream allows.
    pub fn upstream_allowance(&self, upstream: &str, remaining: u64, limit: Option<u64>) {
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.upstream_allowance
            .with_label_values(&[upstream])
            .set(count(remaining));
        if let Some(limit) = limit {
            self.upstream_allowance_limit
                .with_label_values(&[upstream])
                .set(count(limit));
        }
    }

    /// Sets how much is left of the budget for an upstream.
    pub fn upstream_budget(&self, upstream: &str, remaining: u64, limit: u64) {
        let set = |gauge: &IntGaugeVec, number: u64| {
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            gauge.with_label_values(&[upstream]).set(number);
        };
        set(&self.upstream_budget, remaining);
        set(&self.upstream_budget_limit, limit);
    }

    /// Counts a request that an upstream was not sent, wanted for a `client` or for work in the `background`.
    pub fn upstream_held_back(&self, upstream: &str, wanted_for: &str) {
        self.upstream_held_back
            .with_label_values(&[upstream, wanted_for])
            .inc();
    }

    /// Sets how many requests are under way to an upstream, and how many wait for their turn.
    pub fn upstream_places(&self, upstream: &str, in_use: usize, waiting: usize) {
        for (state, number) in [("in_use", in_use), ("waiting", waiting)] {
            self.upstream_places
                .with_label_values(&[upstream, state])
                .set(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }

    /// Counts a request that had to wait for its turn and was `served` or `given_up`.
    pub fn upstream_wait(&self, upstream: &str, result: &str) {
        self.upstream_waits
            .with_label_values(&[upstream, result])
            .inc();
    }

    /// Sets how many entries of an upstream were dropped for one reason.
    pub fn index_dropped(&self, upstream: &str, reason: &str, entries: usize) {
        self.index_dropped
            .with_label_values(&[upstream, reason])
            .set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// Counts bytes that were not what the index promised.
    pub fn digest_mismatch(&self, upstream: &str) {
        self.digest_mismatch.with_label_values(&[upstream]).inc();
    }

    /// Counts a request refused with 429.
    pub fn rate_limited(&self, tenant: &str) {
        self.rate_limited.with_label_values(&[tenant]).inc();
    }

    /// Counts what kind of limit refused a request (`requests`, `bytes`, ...), and `by` whom it counts.
    pub fn limit_refusal(&self, limit: &str, by: &str) {
        self.limit_refusals.with_label_values(&[limit, by]).inc();
    }

    /// Sets how many clients are being counted.
    pub fn limit_keys(&self, keys: usize) {
        let none: [&str; 0] = [];
        self.limit_keys
            .with_label_values(&none)
            .set(i64::try_from(keys).unwrap_or(i64::MAX));
    }

    /// Counts how a request was decided whose limits replicas share: `ahead`, `asked` or `alone`.
    pub fn shared_limit(&self, result: &str) {
        self.shared_limits.with_label_values(&[result]).inc();
    }

    /// Counts a connection that was refused or cut, or a request body that was given up, for this reason.
    pub fn turned_away(&self, reason: &str) {
        self.turned_away.with_label_values(&[reason]).inc();
    }

    /// Counts lines of the audit log that were `written`, or `lost` because it could not be written in time.
    pub fn audit_lines(&self, result: &str, lines: u64) {
        self.audit_lines.with_label_values(&[result]).inc_by(lines);
    }

    /// Counts credentials that were not accepted, and why: `wrong`, `malformed`, `ended` (genuine once), `unknown_key`, `paused`
    /// (too many wrong ones before), `unavailable` (nobody knows just now) or `error`.
    pub fn login_failed(&self, surface: &str, reason: &str) {
        let labels = [surface, reason];
        self.logins_failed.with_label_values(&labels).inc();
    }

    /// All metrics in Prometheus text format, with what tenants show at this moment.
    pub fn render(&self, tenants: &[TenantGauges]) -> Vec<u8> {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let _one_at_a_time = self
            .rendering
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Tenants come and go; only those that are there have a series.
        self.index_versions.reset();
        self.museum_charts.reset();
        self.museum_versions.reset();
        for tenant in tenants {
            self.index_versions
                .with_label_values(&[&tenant.label])
                .set(count(tenant.versions));
            if let Some((charts, versions)) = tenant.hosted {
                let repository = [tenant.repository.as_str()];
                self.museum_charts
                    .with_label_values(&repository)
                    .set(count(charts));
                self.museum_versions
                    .with_label_values(&repository)
                    .set(count(versions));
            }
        }
        let mut text = Vec::new();
        // Encoding into memory fails only for metrics without a name, and `new` declares none.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
