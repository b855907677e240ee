//! How much one upstream is asked: requests within a window, and requests at a time.
//!
//! [`Budget`] knows three things: what the configuration allows, what the upstream itself says is left, and whether it asked to be
//! left alone. Requests for clients may use the last of it; work that nobody waits for asks [`Budget::spare`] first and yields while
//! a quarter or less is left. One budget serves both protocols, so it knows neither charts nor manifests.

mod allowance;
mod places;
mod requests;
mod state;
mod window;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

pub use self::allowance::Allowance;
pub(super) use self::places::Place;
use self::places::Places;
use self::requests::{Held, Requests};
pub use self::state::{Allowed, BudgetState, PlacesState, RequestsState};
use self::window::Mark;
use crate::clock::Clock;
use crate::config;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{HeaderMap, StatusCode};
use crate::metrics::Metrics;

/// What a request costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cost {
    /// One of the upstream's requests (default).
    #[default]
    Counted,
    /// One of the upstream's requests, if it is not refused: Docker Hub does not count what it answers 401 or 429.
    Served,
    /// The upstream does not count it; it still takes a place.
    Free,
    /// It goes to another server that is only needed on the way, such as a token server's.
    Outside,
}

/// What one upstream is asked. Shared by everything that asks it.
pub struct Budget {
    upstream: Arc<str>,
    rules: config::Budget,
    requests: Mutex<Requests>,
    places: Places,
    metrics: Arc<Metrics>,
    clock: Clock,
}

impl Budget {
    /// The budget of `upstream`. `before` is the one that it replaces after a change of the configuration: what was sent stays sent.
    pub(super) fn new(
        upstream: Arc<str>,
        rules: config::Budget,
        before: Option<&Self>,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        let before = before.map(|before| before.lock().clone());
        Self {
            places: Places::new(rules.connections),
            requests: Mutex::new(Requests::new(rules.requests, before)),
            upstream,
            rules,
            metrics,
            clock,
        }
    }

    pub(super) fn rules(&self) -> &config::Budget {
        &self.rules
    }

    /// Takes one request off. The charge must be told what came of it; dropping it counts as sent.
    ///
    /// Errors: `RateLimited` with the time to wait. Nothing was sent then (see [`is_held_back`]).
    pub(super) fn charge(self: &Arc<Self>, cost: Cost) -> Result<Option<Charge>> {
        if matches!(cost, Cost::Free | Cost::Outside) {
            return Ok(None);
        }
        match self.lock().take(&self.clock) {
            Ok(mark) => Ok(Some(Charge {
                budget: Arc::clone(self),
                mark,
                refunds: cost == Cost::Served,
                is_open: true,
            })),
            Err((held, wait)) => {
                self.metrics.upstream_held_back(&self.upstream, "client");
                Err(self.held_back(&held, wait))
            }
        }
    }

    /// A place for one request and its answer, waited for at most `patience`. Dropping the future gives up the wait.
    pub(super) async fn place(&self, cost: Cost, patience: Duration) -> Result<Option<Place>> {
        if cost == Cost::Outside {
            return Ok(None);
        }
        if let Some(place) = self.places.take_now() {
            return Ok(place);
        }
        let place = self.places.wait(patience).await;
        let result = if place.is_some() {
            "served"
        } else {
            "given_up"
        };
        self.metrics.upstream_wait(&self.upstream, result);
        place.map(Some).ok_or_else(|| {
            let upstream = &self.upstream;
            let text = format!(
                "upstream `{upstream}` is busy: none of its {} requests (`upstreams.{upstream}.budget.connections`) ended within {patience:?}",
                self.rules.connections.unwrap_or_default(),
            );
            held_back(text, Duration::from_secs(1))
        })
    }

    /// Whether work that nobody waits for may ask now: more than a quarter of the requests is left, and the upstream did not ask
    /// to be left alone. Errors: `RateLimited`; what is left is kept for clients.
    pub fn spare(&self) -> Result<()> {
        let outcome = self.spared();
        if outcome.is_err() {
            self.metrics
                .upstream_held_back(&self.upstream, "background");
        }
        outcome
    }

    fn spared(&self) -> Result<()> {
        let now = self.clock.now();
        let mut requests = self.lock();
        if let Some(wait) = requests.resting(&self.clock) {
            return Err(self.held_back(&Held::Rest, wait));
        }
        let upstream = &self.upstream;
        if let Some((left, limit, wait)) = requests.told_left(&self.clock)
            && left <= limit.map_or(0, reserve)
        {
            let text = format!(
                "upstream `{upstream}` says that little is left of what it allows, which is kept for clients"
            );
            return Err(held_back(text, wait.max(LOOK_AGAIN)));
        }
        if let Some(window) = &mut requests.window {
            let left = window.left(now);
            if left <= reserve(window.limit()) {
                let text = format!(
                    "a quarter or less is left of the {} requests of upstream `{upstream}` (`upstreams.{upstream}.budget.requests`), which is kept for clients",
                    window.limit()
                );
                return Err(held_back(text, window.next(now).max(LOOK_AGAIN)));
            }
        }
        Ok(())
    }

    /// How many requests may be under way for work that nobody waits for: half of the places, at least one.
    pub fn background_places(&self) -> usize {
        let all = self.rules.connections.unwrap_or(u32::MAX) / 2;
        usize::try_from(all.max(1)).unwrap_or(usize::MAX)
    }

    /// Whether a further request would have to wait for a place.
    pub fn is_busy(&self) -> bool {
        self.places.is_full()
    }

    /// Whether a tenth or less is left, of what the upstream says or of what is configured.
    pub fn is_low(&self) -> bool {
        let now = self.clock.now();
        let mut requests = self.lock();
        let told = requests.allowance();
        let told = told.is_some_and(|told| told.is_low() && told.counts(&self.clock));
        let window = requests.window.as_mut();
        told || window.is_some_and(|window| window.left(now) <= window.limit() / 10)
    }

    /// What the upstream last said about how much it allows.
    pub fn allowance(&self) -> Option<Allowance> {
        self.lock().allowance().cloned()
    }

    /// It wants to be left alone for so long, at most an hour.
    pub(super) fn rest(&self, period: Duration) {
        self.lock().rest(period.min(LONGEST_REST), &self.clock);
    }

    /// Reads what an answer says about what is left.
    pub(super) fn learn(&self, headers: &HeaderMap) {
        self.lock().learn(headers, &self.clock);
    }

    /// Writes the gauges.
    pub fn observe(&self) {
        let state = self.state();
        if let Some(requests) = &state.requests {
            self.metrics
                .upstream_budget(&self.upstream, requests.remaining, requests.limit);
        }
        if let Some(places) = &state.connections {
            self.metrics
                .upstream_places(&self.upstream, places.in_use, places.waiting);
        }
        if let Some(told) = self.allowance() {
            self.metrics
                .upstream_allowance(&self.upstream, told.remaining, told.limit);
        }
    }

    fn held_back(&self, held: &Held, wait: Duration) -> Error {
        let upstream = &self.upstream;
        let why = match held {
            Held::Rest => format!("upstream `{upstream}` asked to be left alone (429)"),
            Held::Told(allowance) => {
                let limit = allowance
                    .limit
                    .map_or_else(String::new, |limit| format!("{limit} "));
                format!("upstream `{upstream}` says that none of its {limit}requests is left")
            }
            Held::Spent(limit) => format!(
                "upstream `{upstream}` has been asked as often as it may be: {limit} times in {:?} (`upstreams.{upstream}.budget.requests`)",
                self.rules.requests.unwrap_or_default().1
            ),
        };
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let at = self.clock.now().checked_add(wait).unwrap_or(Timestamp::MAX);
        let at = at.strftime("%Y-%m-%dT%H:%M:%SZ");
        held_back(
            format!("{why}; the next request is possible in {seconds}s, at {at}"),
            wait,
        )
    }

    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request that was taken off.
pub(super) struct Charge {
    budget: Arc<Budget>,
    mark: Option<Mark>,
    refunds: bool,
    is_open: bool,
}

impl Charge {
    /// What was answered.
    pub(super) fn answered(mut self, status: StatusCode, headers: &HeaderMap) {
        self.is_open = false;
        let mut requests = self.budget.lock();
        requests.landed();
        requests.learn(headers, &self.budget.clock);
        let is_refused =
            status == StatusCode::UNAUTHORIZED || status == StatusCode::TOO_MANY_REQUESTS;
        if self.refunds && is_refused {
            requests.refund(self.mark);
        }
    }

    /// It did not get there.
    pub(super) fn undone(mut self) {
        self.is_open = false;
        self.budget.lock().forget(self.mark);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.is_open {
            self.budget.lock().landed();
        }
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("upstream", &self.upstream)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// Whether a request was not sent because of a budget: that says nothing about the upstream.
pub fn is_held_back(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<HeldBack>())
}

/// The mark of errors that are our own decision.
#[derive(Debug, thiserror::Error)]
#[error("it was not sent")]
struct HeldBack;

fn held_back(text: String, wait: Duration) -> Error {
    Error::new(ErrorKind::RateLimited, text)
        .with_source(HeldBack)
        .with_retry_after(wait)
}

/// What is kept for clients.
fn reserve(limit: u64) -> u64 {
    limit / 4
}

/// How soon work in the background looks again whether more is left.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// No upstream can switch itself off for longer.
const LONGEST_REST: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests;
