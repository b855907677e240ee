//! How an upstream registry is doing, for operators.

use std::sync::{Arc, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use super::ProxyRegistry;
use super::place::upstream_prefix;
use crate::error::{Error, Result};
pub use crate::net::Allowed;
use crate::net::BudgetState;
use crate::upstream::registry::Lane;

/// One upstream registry's state, for the admin API.
#[derive(Clone, Debug, Serialize)]
pub struct RegistryStatus {
    /// The configured name.
    pub name: Arc<str>,
    /// `ok`, `failing` (the last question was not answered), `offline`, or `unknown` (nobody asked yet).
    pub state: &'static str,
    /// The last failure, while it lasts.
    pub last_error: Option<String>,
    /// When that failure began.
    pub failing_since: Option<String>,
    /// Failed questions in a row.
    pub failures: u32,
    /// Kinds of requests that are held back, because the upstream failed or asked for it.
    pub paused: Vec<Pause>,
    /// What the upstream last said about how much it still allows.
    pub allowance: Option<Allowed>,
    /// How much it may be asked, and what is left of that.
    pub budget: BudgetState,
    /// Tags that are known.
    pub tags: usize,
    /// Repositories of which a tag is known.
    pub repositories: usize,
    /// Questions under way.
    pub asking: usize,
}

/// A kind of request that is held back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pause {
    /// `heads`, `manifests`, `blobs`, `lists` or `tokens`.
    pub requests: &'static str,
    /// For how long still.
    pub seconds: u64,
}

/// How the last question went.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    answered: bool,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Failure {
    message: String,
    since: Timestamp,
    failures: u32,
}

impl ProxyRegistry {
    /// How the upstream is doing. Looks at every name that is known: for operators.
    pub fn state(&self) -> RegistryStatus {
        let tags = self.cache.names_below(&upstream_prefix(&self.config.name));
        let mut repositories: Vec<_> = tags
            .iter()
            .filter_map(|name| Some(name.rsplit_once(':')?.0))
            .collect();
        repositories.sort_unstable();
        repositories.dedup();
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let failure = outcome.failure.as_ref();
        let lanes = LANES.iter();
        let paused = lanes.filter_map(|(lane, requests)| {
            let left = self.upstream.paused(*lane)?;
            Some(Pause {
                requests,
                seconds: left.as_secs().max(1),
            })
        });
        RegistryStatus {
            name: Arc::clone(&self.config.name),
            state: match (self.offline, failure, outcome.answered) {
                (true, ..) => "offline",
                (false, Some(_), _) => "failing",
                (false, None, true) => "ok",
                (false, None, false) => "unknown",
            },
            last_error: failure.map(|failure| failure.message.clone()),
            failing_since: failure.map(|failure| failure.since.to_string()),
            failures: failure.map_or(0, |failure| failure.failures),
            paused: paused.collect(),
            allowance: self.upstream.budget().allowed(),
            budget: self.upstream.budget().state(),
            repositories: repositories.len(),
            tags: tags.len(),
            asking: self.manifests.count() + self.sizes.count() + self.lists.count(),
        }
    }

    /// Whether the upstream may be asked little more, by its own word or by its budget: tags are believed for longer then.
    pub fn is_low(&self) -> bool {
        self.upstream.budget().is_low()
    }

    /// Remembers how a question went, and passes it on. An answer is an answer, also one that says no.
    pub(super) fn noted<T>(&self, outcome: Result<T>) -> Result<T> {
        let failure = outcome.as_ref().err().filter(|error| is_failure(error));
        let mut known = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        match failure {
            None => {
                if let Some(failure) = known.failure.take() {
                    tracing::info!(upstream.name = %self.config.name, "upstream `{}` answers again after {} failures", self.config.name, failure.failures);
                }
                known.answered = true;
            }
            Some(error) => {
                let message = error.message().to_owned();
                match &mut known.failure {
                    Some(failure) => {
                        failure.failures = failure.failures.saturating_add(1);
                        failure.message = message;
                    }
                    None => {
                        tracing::warn!(upstream.name = %self.config.name, error = %error.chain(), "{message}");
                        known.failure = Some(Failure {
                            message,
                            since: self.clock.now(),
                            failures: 1,
                        });
                    }
                }
            }
        }
        outcome
    }
}

fn is_failure(error: &Error) -> bool {
    use crate::error::ErrorKind::{
        Internal, RateLimited, UpstreamUnauthorized, UpstreamUnavailable,
    };
    matches!(
        error.kind(),
        Internal | RateLimited | UpstreamUnauthorized | UpstreamUnavailable
    )
}

const LANES: [(Lane, &str); 5] = [
    (Lane::Heads, "heads"),
    (Lane::Manifests, "manifests"),
    (Lane::Blobs, "blobs"),
    (Lane::Lists, "lists"),
    (Lane::Tokens, "tokens"),
];
