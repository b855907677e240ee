//! What operators are shown.

use serde::Serialize;

use super::Budget;

/// A budget as the admin API shows it; empty where nothing is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BudgetState {
    /// Requests within a window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestsState>,
    /// Requests at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<PlacesState>,
}

/// `budget.requests`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestsState {
    /// Requests per window.
    pub limit: u64,
    /// The window.
    pub window_seconds: u64,
    /// Requests that may be sent now.
    pub remaining: u64,
    /// When the next may be sent; 0: now.
    pub next_seconds: u64,
    /// Whether work in the background may use what is left.
    pub spare: bool,
}

/// `budget.connections`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlacesState {
    /// Requests at a time.
    pub limit: usize,
    /// Requests under way.
    pub in_use: usize,
    /// Requests that wait for a place.
    pub waiting: usize,
}

/// How much an upstream allows, as it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Allowed {
    /// Requests per window.
    pub limit: Option<u64>,
    /// Requests left in it.
    pub remaining: u64,
    /// The window.
    pub window_seconds: Option<u64>,
    /// Whether so little is left that tags are believed for longer.
    pub low: bool,
}

impl Budget {
    /// What is configured, and what is left of it.
    pub fn state(&self) -> BudgetState {
        let now = self.clock.now();
        let spare = self.spared().is_ok();
        let connections = self
            .places
            .count()
            .map(|(limit, in_use, waiting)| PlacesState {
                limit,
                in_use,
                waiting,
            });
        let mut requests = self.lock();
        let period = self.rules.requests.unwrap_or_default().1;
        let requests = requests.window.as_mut().map(|window| {
            let next = window.next(now);
            RequestsState {
                limit: window.limit(),
                window_seconds: period.as_secs(),
                remaining: window.left(now),
                next_seconds: next.as_secs() + u64::from(next.subsec_nanos() > 0),
                spare,
            }
        });
        BudgetState {
            requests,
            connections,
        }
    }

    /// What the upstream last said about how much it allows.
    pub fn allowed(&self) -> Option<Allowed> {
        let low = self.is_low();
        self.allowance().map(|allowance| Allowed {
            limit: allowance.limit,
            remaining: allowance.remaining,
            window_seconds: allowance.window.map(|window| window.as_secs()),
            low,
        })
    }
}
