//! ChartMuseum's metrics of requests, under its names, for dashboards that exist (spec: `--enable-metrics`).
//!
//! Its labels `handler` and `host` are left out: the one is a constant, the other what clients like to send.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Metric, MetricFamily, MetricType, Summary};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// One answered request as ChartMuseum counts it.
#[derive(Clone, Copy, Debug)]
pub struct MuseumRequest<'a> {
    /// The status.
    pub code: u16,
    /// The method; one that is no method of HTTP must not get here, because clients could invent many.
    pub method: &'a str,
    /// The template of the route, such as `/:repo/index.yaml`. Never what the client asked for.
    pub url: &'a str,
    /// From the request's head to the last byte of the answer.
    pub took: Duration,
    /// Bytes of the request: head and announced body.
    pub request_bytes: u64,
    /// Bytes of the answer's body.
    pub response_bytes: u64,
}

#[derive(Debug)]
pub(super) struct MuseumMetrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    request_size: Sizes,
    response_size: Sizes,
}

impl MuseumMetrics {
    /// Declares them. Panics only if a name is taken.
    pub(super) fn register(registry: &Registry) -> Self {
        let labels = ["code", "method", "url"];
        let requests = Opts::new("chartmuseum_requests_total", "Requests answered");
        let duration = HistogramOpts::new(
            "chartmuseum_request_duration_seconds",
            "Time from a request's head to the end of its answer",
        );
        let this = Self {
            requests: IntCounterVec::new(requests, &labels).expect("a valid metric name"),
            duration: HistogramVec::new(duration, &labels).expect("a valid metric name"),
            request_size: Sizes::new("chartmuseum_request_size_bytes", "Bytes of requests"),
            response_size: Sizes::new("chartmuseum_response_size_bytes", "Bytes of answers"),
        };
        let collectors: [Box<dyn Collector>; 4] = [
            Box::new(this.requests.clone()),
            Box::new(this.duration.clone()),
            Box::new(this.request_size.clone()),
            Box::new(this.response_size.clone()),
        ];
        for collector in collectors {
            registry.register(collector).expect("a name of its own");
        }
        this
    }

    /// Counts one request. What was not found is not counted, nor what no route answers: neither has a template.
    pub(super) fn count(&self, request: &MuseumRequest<'_>) {
        if matches!(request.code, 404 | 405) {
            return;
        }
        let code = request.code.to_string();
        let labels = [code.as_str(), request.method, request.url];
        self.requests.with_label_values(&labels).inc();
        self.duration
            .with_label_values(&labels)
            .observe(request.took.as_secs_f64());
        self.request_size.add(request.request_bytes);
        self.response_size.add(request.response_bytes);
    }
}

/// A summary without quantiles: how many, and how much together.
#[derive(Clone, Debug)]
struct Sizes {
    desc: Desc,
    totals: Arc<Mutex<Totals>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    count: u64,
    sum: u64,
}

impl Sizes {
    fn new(name: &str, help: &str) -> Self {
        let desc = Desc::new(name.into(), help.into(), Vec::new(), HashMap::new());
        Self {
            desc: desc.expect("a valid metric name"),
            totals: Arc::default(),
        }
    }

    fn add(&self, bytes: u64) {
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        totals.count += 1;
        totals.sum = totals.sum.saturating_add(bytes);
    }
}

impl Collector for Sizes {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let totals = *self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        let mut summary = Summary::default();
        summary.set_sample_count(totals.count);
        #[expect(
            clippy::cast_precision_loss,
            reason = "beyond 2^53 bytes nobody counts single ones"
        )]
        summary.set_sample_sum(totals.sum as f64);
        let mut metric = Metric::default();
        metric.set_summary(summary);
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(MetricType::SUMMARY);
        family.set_metric(vec![metric]);
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    fn request(code: u16, url: &str) -> MuseumRequest<'_> {
        MuseumRequest {
            code,
            method: "GET",
            url,
            took: Duration::from_millis(20),
            request_bytes: 100,
            response_bytes: 2_000,
        }
    }

    #[test]
    fn they_appear_once_asked_for_and_leave_out_what_was_not_found() {
        let metrics = Metrics::new();
        let text = |metrics: &Metrics| String::from_utf8(metrics.render(&[])).expect("text");
        assert!(!text(&metrics).contains("chartmuseum_request"));
        metrics.museum_request(&request(200, "/:repo/index.yaml"));
        metrics.museum_request(&request(200, "/:repo/index.yaml"));
        metrics.museum_request(&request(401, "/api/:repo/charts"));
        metrics.museum_request(&request(404, "/:repo/charts/:filename"));
        metrics.museum_request(&request(405, "/:repo/index.yaml"));
        let text = text(&metrics);
        for line in [
            "chartmuseum_requests_total{code=\"200\",method=\"GET\",url=\"/:repo/index.yaml\"} 2",
            "chartmuseum_requests_total{code=\"401\",method=\"GET\",url=\"/api/:repo/charts\"} 1",
            "chartmuseum_request_duration_seconds_bucket{code=\"200\",method=\"GET\",url=\"/:repo/index.yaml\",le=\"0.025\"} 2",
            "chartmuseum_request_duration_seconds_count{code=\"200\",method=\"GET\",url=\"/:repo/index.yaml\"} 2",
            "# TYPE chartmuseum_request_size_bytes summary",
            "chartmuseum_request_size_bytes_sum 300",
            "chartmuseum_request_size_bytes_count 3",
            "# TYPE chartmuseum_response_size_bytes summary",
            "chartmuseum_response_size_bytes_sum 6000",
            "chartmuseum_response_size_bytes_count 3",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        assert!(
            !text.contains("filename") && !text.contains("405"),
            "{text}"
        );
    }
}
