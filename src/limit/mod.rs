//! How often somebody may ask, and how much he may take and send: the limits of a tenant.
//!
//! [`Limits::admit`] asks all of them: a request that one refuses takes nothing from the others. Requests and uploads are taken
//! from an allowance before they begin. Bytes are taken as they pass ([`Meter`]), also when there is no allowance left; whoever is
//! in debt begins nothing new. Allowances are kept in memory (`rate.rs`) and, where there is a redis, shared by all replicas
//! (`replicas.rs`). Knows no routes and no bodies' meaning.

mod key;
mod meter;
mod rate;
mod replicas;
mod tab;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::key::Key;
use self::meter::Count;
pub use self::meter::{Meter, Metered};
use self::rate::{Rate, Ticks};
use self::replicas::{Answer, Question, Tag};
pub use self::replicas::{Replicas, SCRIPT};
use crate::clock::Clock;
use crate::config::{Limit, LimitBy, Limited};
use crate::error::{Error, ErrorKind};

/// The limits of one tenant, or of all tenants of one pattern. Shared behind an `Arc`.
#[derive(Debug, Default)]
pub struct Limits {
    /// The narrowest first: a flood of one address takes nothing from its tenant's allowance.
    rates: Vec<Arc<Rate>>,
    shared: Option<(Arc<Replicas>, Tag)>,
    counts_uploads: bool,
}

/// What kind of request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// It reads, or changes something without sending much.
    Request,
    /// It begins to send a chart, a provenance file or a blob. Counts as an upload where uploads are limited, else as a request.
    Upload,
    /// It goes on with something that has begun, or ends it: a request, whose bytes count and are never refused.
    Piece,
}

/// A request over a limit.
#[derive(Debug)]
pub struct Refused {
    /// [`ErrorKind::RateLimited`], with the time to wait and a sentence that says which limit it was.
    pub error: Error,
    /// The limit for which the longest has to be waited.
    pub limit: Limit,
}

impl Limits {
    /// The limits of the tenant called `label`, shared with `replicas` where there are some. Those that `previous` has too go on
    /// where they are.
    pub fn new(
        limits: &[Limit],
        label: &str,
        replicas: Option<&Arc<Replicas>>,
        previous: Option<&Self>,
    ) -> Self {
        Self::build(
            limits,
            label,
            replicas,
            previous,
            &Ticks::Monotonic(Instant::now()),
        )
    }

    /// As [`Limits::new`], for this process alone and with time by `clock`, for tests.
    pub fn with_clock(limits: &[Limit], clock: Clock) -> Self {
        Self::build(limits, "", None, None, &Ticks::Clock(clock))
    }

    fn build(
        limits: &[Limit],
        label: &str,
        replicas: Option<&Arc<Replicas>>,
        previous: Option<&Self>,
        ticks: &Ticks,
    ) -> Self {
        let known = |limit: &Limit| {
            let mut rates = previous?.rates.iter();
            rates.find(|rate| rate.limit() == limit).cloned()
        };
        let rate = |limit: &Limit| {
            known(limit).unwrap_or_else(|| Arc::new(Rate::new(*limit, ticks.clone())))
        };
        let mut rates: Vec<_> = limits.iter().map(rate).collect();
        rates.sort_by_key(|rate| rate.limit().by);
        Self {
            rates,
            shared: replicas.map(|replicas| (replicas.clone(), Replicas::tag(label))),
            counts_uploads: limits.iter().any(|limit| limit.what == Limited::Uploads),
        }
    }

    /// Takes one request off all allowances that it counts against, and says where its bytes count. Errors: one of them is used up,
    /// or in debt; nothing was taken then. Waits for redis at most 20 ms. Cancel-safe: what was taken stays taken.
    pub async fn admit(&self, key: Key<'_>, demand: Demand) -> Result<Meter, Box<Refused>> {
        if self.rates.is_empty() {
            return Ok(Meter::none());
        }
        let questions = self.questions(&key, demand);
        check(&questions, &key)?;
        if let Some((replicas, tag)) = &self.shared {
            // A crowd shares allowances of this process, which mean nothing to others.
            let known = || questions.iter().filter(|question| !question.who.crowded);
            let known: Vec<_> = known().cloned().collect();
            if !known.is_empty()
                && !replicas.pass(tag, &known)
                && let Some(Answer::Refused(place, wait)) = replicas.ask(tag, &known).await
            {
                give_back(&questions);
                return Err(refused(&key, known[place].rate.limit(), wait));
            }
        }
        Ok(self.meter(&key))
    }

    /// As [`Limits::admit`] for requests, by what this process knows.
    pub fn admit_locally(&self, key: Key<'_>) -> Result<(), Box<Refused>> {
        check(&self.questions(&key, Demand::Request), &key)
    }

    /// Forgets clients whose allowance is full again. To be called about once a minute. Cost grows with the clients.
    pub fn sweep(&self) {
        self.rates.iter().for_each(|rate| rate.sweep());
    }

    /// How many clients are being counted, by each limit.
    pub fn clients(&self) -> usize {
        self.rates.iter().map(|rate| rate.clients()).sum()
    }

    /// What each limit that the request counts against is asked.
    fn questions<'a>(&'a self, key: &Key<'a>, demand: Demand) -> Vec<Question<'a>> {
        let is_upload = demand == Demand::Upload;
        let takes = |limit: &Limit| match limit.what {
            Limited::Requests => (!is_upload || !self.counts_uploads).then_some(true),
            Limited::Uploads => is_upload.then_some(true),
            Limited::Bytes => (demand == Demand::Request).then_some(false),
            Limited::UploadBytes => is_upload.then_some(false),
        };
        let question = |rate: &'a Arc<Rate>| {
            let client = key.client(rate.limit().by);
            Some(Question {
                takes: takes(rate.limit())?,
                who: rate.who(&client),
                rate,
                client,
            })
        };
        self.rates.iter().filter_map(question).collect()
    }

    fn meter(&self, key: &Key<'_>) -> Meter {
        let counts_bytes =
            |limit: &Limit| matches!(limit.what, Limited::Bytes | Limited::UploadBytes);
        let rates = self.rates.iter().filter(|rate| counts_bytes(rate.limit()));
        let count = |rate: &Arc<Rate>| {
            let client = key.client(rate.limit().by);
            let who = rate.who(&client);
            let shared = self.shared.as_ref().filter(|_| !who.crowded);
            Count {
                rate: rate.clone(),
                who,
                shared: shared.map(|(replicas, tag)| {
                    let name = Replicas::name(rate.limit(), &client);
                    (replicas.clone(), tag.clone(), name)
                }),
            }
        };
        Meter::new(rates.map(count).collect())
    }
}

/// Asks the limits of this process, which know of the others what redis said last.
fn check(questions: &[Question<'_>], key: &Key<'_>) -> Result<(), Box<Refused>> {
    for (place, question) in questions.iter().enumerate() {
        let (rate, who) = (question.rate, question.who);
        let asked = match question.takes {
            true => rate.take(who),
            false => rate.peek(who, 0),
        };
        let Err(mut wait) = asked else { continue };
        give_back(&questions[..place]);
        // Whoever waits as long as the first limit wants must not be refused by the next.
        let mut limit = rate.limit();
        for other in &questions[place + 1..] {
            let cost = if other.takes { other.rate.unit() } else { 0 };
            if let Err(longer) = other.rate.peek(other.who, cost)
                && longer > wait
            {
                (wait, limit) = (longer, other.rate.limit());
            }
        }
        return Err(refused(key, limit, wait));
    }
    Ok(())
}

fn give_back(questions: &[Question<'_>]) {
    for question in questions.iter().filter(|question| question.takes) {
        question.rate.give_back(question.who);
    }
}

fn refused(key: &Key<'_>, limit: &Limit, wait: Duration) -> Box<Refused> {
    // Retry-After counts whole seconds; one too early would be refused again.
    let wait = Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
        .max(Duration::from_secs(1));
    let (whom, tenant, amount) = (key.whom(limit.by), key.tenant, limit.amount);
    let period = period(limit.period);
    let may = match limit.what {
        Limited::Requests => format!("may ask `{tenant}` {amount} times in {period}"),
        Limited::Uploads => format!("may upload {amount} times to `{tenant}` in {period}"),
        Limited::Bytes => format!("may take {} from `{tenant}` in {period}", size(amount)),
        Limited::UploadBytes => format!("may send {} to `{tenant}` in {period}", size(amount)),
    };
    let message = format!("{whom} {may}; try again in {} s", wait.as_secs());
    Box::new(Refused {
        error: Error::new(ErrorKind::RateLimited, message).with_retry_after(wait),
        limit: *limit,
    })
}

fn period(period: Duration) -> String {
    match period.as_secs() {
        0 | 1 => "a second".to_owned(),
        60 => "a minute".to_owned(),
        3_600 => "an hour".to_owned(),
        86_400 => "a day".to_owned(),
        seconds => format!("{seconds} s"),
    }
}

/// As a configuration says it, where it is a round number.
fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let round = units
        .iter()
        .find(|(shift, _)| bytes.trailing_zeros() >= *shift);
    match round {
        Some((shift, unit)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} bytes"),
    }
}

impl Refused {
    /// What was limited and whose allowance it was, as metrics say it.
    pub fn labels(&self) -> (&'static str, &'static str) {
        let what = match self.limit.what {
            Limited::Requests => "requests",
            Limited::Bytes => "bytes",
            Limited::Uploads => "uploads",
            Limited::UploadBytes => "upload_bytes",
        };
        let by = match self.limit.by {
            LimitBy::Address => "address",
            LimitBy::Identity => "identity",
            LimitBy::Tenant => "tenant",
        };
        (what, by)
    }
}
