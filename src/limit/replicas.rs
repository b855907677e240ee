//! Limits that replicas share through redis.
//!
//! Each replica counts for itself too, and learns from every answer how much all together have used. What it lets through
//! while a client is far below its limit (less than half of the burst is used) it notes and tells 50 ms later; nearer to the
//! limit, and once its notes reach the *slack* (a twentieth of the burst), it asks first: one script, one round trip for all
//! limits of a request. What was noted is taken in redis whether or not it is there.
//!
//! Invariant: over any time, `n` replicas together let through at most `burst + rate × time + n × slack` requests of one client;
//! with a burst below 20 the slack is 0 and every request is asked for. While redis cannot be asked, each replica keeps the
//! limit for itself, and what it notes then is not told later: a request is never counted twice.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::key::Client;
use super::rate::{Rate, Who};
use crate::cache::{Breaker, RedisConnection, RedisFailure, Script};
use crate::config::{Limit, Limited};
use crate::digest::Digest;
use crate::metrics::Metrics;

/// The script; documented in its text.
pub const SCRIPT: &str = include_str!("gcra.lua");

/// How long a request waits for redis.
const PATIENCE: Duration = Duration::from_millis(20);
/// How long nobody is told what was noted.
const TELL_EVERY: Duration = Duration::from_millis(50);
/// How long telling may take; nobody waits for it.
const TELL_PATIENCE: Duration = Duration::from_millis(250);
/// How many clients one script is told about.
const TELL_AT_ONCE: usize = 64;
/// A key of the limits of one tenant lies in the same slot of a cluster as its others.
const TAG: usize = 16;

/// The other replicas, as this one knows them: through redis.
#[derive(Debug)]
pub struct Replicas {
    link: Arc<RedisConnection>,
    script: Script,
    breaker: Breaker,
    metrics: Arc<Metrics>,
    patience: Duration,
    noted: Mutex<Vec<Noted>>,
    wake: Arc<Notify>,
}

/// A client of whom there is something to be told.
struct Noted {
    tag: Tag,
    rate: Arc<Rate>,
    who: Who,
    name: Name,
}

/// What the keys of a tenant's limits have in common.
pub(super) type Tag = Arc<str>;

/// What stands for a client in keys: the beginning of a digest, so that no name is told.
pub(super) type Name = u128;

/// What one limit is asked.
#[derive(Clone)]
pub(super) struct Question<'a> {
    pub(super) rate: &'a Arc<Rate>,
    pub(super) who: Who,
    pub(super) client: Client<'a>,
    /// Whether one is taken; else it is asked whether the client is in debt.
    pub(super) takes: bool,
}

/// What redis said.
pub(super) enum Answer {
    Allowed,
    Refused {
        /// The question at this place has the longest to be waited for, and how long.
        place: usize,
        wait: Duration,
        /// How much of each limit is used up.
        used: Vec<Duration>,
    },
}

impl Replicas {
    /// Shares limits over `link`. Must run inside the runtime that serves.
    pub fn new(link: Arc<RedisConnection>, metrics: Arc<Metrics>) -> Arc<Self> {
        Self::with_patience(link, metrics, PATIENCE)
    }

    /// As [`Replicas::new`], where a request waits this long for redis: for tests of what is counted, on machines that are busy.
    pub fn with_patience(
        link: Arc<RedisConnection>,
        metrics: Arc<Metrics>,
        patience: Duration,
    ) -> Arc<Self> {
        let this = Arc::new(Self {
            link,
            script: Script::new(SCRIPT),
            breaker: Breaker::default(),
            metrics,
            patience,
            noted: Mutex::default(),
            wake: Arc::default(),
        });
        this.connect();
        tokio::spawn(tell(Arc::downgrade(&this), this.wake.clone()));
        this
    }

    /// What the keys of `tenant`'s limits have in common.
    pub(super) fn tag(tenant: &str) -> Tag {
        Digest::of(tenant.as_bytes()).to_hex()[..TAG].into()
    }

    /// What stands for `client`. Another limit counts for itself, also one of another size: replicas with different
    /// configurations would not understand each other's numbers.
    pub(super) fn name(limit: &Limit, client: &Client<'_>) -> Name {
        let text = format!("{limit:?}\n{}", client.spelling());
        let hex = Digest::of(text.as_bytes()).to_hex();
        Name::from_str_radix(&hex[..32], 16).unwrap_or_default()
    }

    /// Notes that `amount` passed.
    pub(super) fn note(
        self: &Arc<Self>,
        tag: &Tag,
        rate: &Arc<Rate>,
        who: Who,
        name: Name,
        amount: u64,
    ) {
        if rate.tab.note(who.id, amount, u64::MAX) == Some(true) {
            self.remember(tag, rate, who, name);
        }
    }

    /// Lets a request pass that is far below all its limits, and notes it. `false`: redis is to be asked.
    pub(super) fn pass(&self, tag: &Tag, questions: &[Question<'_>]) -> bool {
        for (place, question) in questions.iter().enumerate() {
            let Question {
                rate, who, takes, ..
            } = question;
            let far = rate.is_far_below(*who);
            let fits = match takes {
                true if far => rate.tab.note(who.id, 1, slack(rate)),
                false if far && rate.tab.is_fresh(who.id, rate.now()) => Some(false),
                _ => None,
            };
            match fits {
                Some(true) => self.remember(tag, rate, *who, question.name()),
                Some(false) => {}
                None => {
                    for other in questions[..place].iter().filter(|other| other.takes) {
                        other.rate.tab.strike(other.who.id, 1);
                    }
                    return false;
                }
            }
        }
        self.metrics.shared_limit("ahead");
        true
    }

    /// Asks redis about all limits of a request, and tells it what was noted. `None`: it cannot say. Cancel-safe.
    pub(super) async fn ask(
        self: &Arc<Self>,
        tag: &Tag,
        questions: &[Question<'_>],
    ) -> Option<Answer> {
        let mut letter = Letter::new(self, tag, questions.len());
        for question in questions {
            letter.add(question);
        }
        let answer = self.send(letter, self.patience).await;
        self.metrics
            .shared_limit(if answer.is_some() { "asked" } else { "alone" });
        let (allowed, aheads) = answer?;
        if allowed {
            return Some(Answer::Allowed);
        }
        let waits = questions.iter().zip(&aheads).map(|(question, ahead)| {
            let (asked, room) = (asked(question), room(question.rate.limit()));
            ahead.saturating_add(asked).saturating_sub(room)
        });
        // One of them is above zero, or the script would have allowed it.
        let (place, wait) = waits.enumerate().max_by_key(|(_, wait)| *wait)?;
        Some(Answer::Refused {
            place,
            wait: duration(wait),
            used: aheads.into_iter().map(duration).collect(),
        })
    }

    /// Whether all were allowed, and how much of each is used up, in microseconds.
    async fn send(
        self: &Arc<Self>,
        letter: Letter<'_>,
        patience: Duration,
    ) -> Option<(bool, Vec<i64>)> {
        if !self.link.is_open() {
            self.connect();
            return None;
        }
        if !self.breaker.admits() {
            return None;
        }
        let answer = self
            .link
            .run(&self.script, &letter.keys, &letter.arguments, patience);
        let answer = match answer.await {
            Ok(numbers) if numbers.len() == letter.keys.len() + 1 => Ok(numbers),
            Ok(_) => Err(RedisFailure::Other(
                "an answer of another length".to_owned(),
            )),
            Err(failure) => Err(failure),
        };
        match answer {
            Ok(numbers) => {
                self.works();
                letter.arrived(&numbers[1..]);
                Some((numbers[0] == 1, numbers[1..].to_vec()))
            }
            Err(RedisFailure::Connecting) => None,
            Err(RedisFailure::Other(why)) => {
                self.fails(&why);
                None
            }
        }
    }

    fn connect(self: &Arc<Self>) {
        if self.breaker.admits() {
            let this = Arc::clone(self);
            tokio::spawn(async move {
                match this.link.open().await {
                    Ok(()) => this.works(),
                    Err(RedisFailure::Connecting) => {}
                    Err(RedisFailure::Other(why)) => this.fails(&why),
                }
            });
        }
    }

    fn works(&self) {
        if self.breaker.succeeded() {
            tracing::info!("redis answers again; limits are shared with the other replicas");
        }
    }

    fn fails(&self, why: &str) {
        if self.breaker.failed() {
            tracing::warn!(error = %why, "redis does not answer in time; limits are kept by this replica alone until it does");
            // It may answer nobody any more, on a connection that looks sound.
            self.link.forget();
        }
    }

    fn remember(&self, tag: &Tag, rate: &Arc<Rate>, who: Who, name: Name) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.push(Noted {
            tag: tag.clone(),
            rate: rate.clone(),
            who,
            name,
        });
        if noted.len() == 1 {
            self.wake.notify_one();
        }
    }

    fn take_noted(&self) -> Vec<Noted> {
        std::mem::take(&mut self.noted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

/// Tells redis what was noted, for as long as anybody notes.
async fn tell(replicas: Weak<Replicas>, wake: Arc<Notify>) {
    loop {
        wake.notified().await;
        tokio::time::sleep(TELL_EVERY).await;
        let Some(replicas) = replicas.upgrade() else {
            return;
        };
        let mut noted = replicas.take_noted();
        noted.sort_by(|a, b| a.tag.cmp(&b.tag));
        for alike in noted.chunk_by(|a, b| a.tag == b.tag) {
            for some in alike.chunks(TELL_AT_ONCE) {
                let mut letter = Letter::new(&replicas, &some[0].tag, some.len());
                for noted in some {
                    letter.owes(&noted.rate, noted.who, noted.name);
                }
                if !letter.keys.is_empty() {
                    replicas.send(letter, TELL_PATIENCE).await;
                }
            }
        }
    }
}

impl Question<'_> {
    fn name(&self) -> Name {
        Replicas::name(self.rate.limit(), &self.client)
    }
}

/// What one script is called with. Dropped before it arrived, what it says is not under way any more.
struct Letter<'a> {
    prefix: &'a str,
    tag: &'a str,
    keys: Vec<String>,
    arguments: Vec<i64>,
    under_way: Vec<(Arc<Rate>, Who, u64)>,
}

impl<'a> Letter<'a> {
    fn new(replicas: &'a Replicas, tag: &'a str, room: usize) -> Self {
        let mut arguments = Vec::with_capacity(1 + 4 * room);
        // The server's time: replicas need not agree about theirs.
        arguments.push(0);
        Self {
            prefix: replicas.link.prefix(),
            tag,
            keys: Vec::with_capacity(room),
            arguments,
            under_way: Vec::with_capacity(room),
        }
    }

    /// A question, with what was noted of its client.
    fn add(&mut self, question: &Question<'_>) {
        let amount = question.rate.tab.take(question.who.id);
        self.push(question.rate, question.who, question.name(), amount);
        let limit = question.rate.limit();
        self.arguments
            .extend([asked(question), room(limit), most(limit)]);
    }

    /// What was noted of a client, if there still is anything.
    fn owes(&mut self, rate: &Arc<Rate>, who: Who, name: Name) {
        let amount = rate.tab.take(who.id);
        if amount > 0 {
            self.push(rate, who, name, amount);
            self.arguments.extend([0, -1, most(rate.limit())]);
        }
    }

    fn push(&mut self, rate: &Arc<Rate>, who: Who, name: Name, amount: u64) {
        let (prefix, tag) = (self.prefix, self.tag);
        self.keys
            .push(format!("{prefix}:limit:{{{tag}}}:{name:032x}"));
        self.arguments.push(micros(rate.limit(), amount));
        self.under_way.push((rate.clone(), who, amount));
    }

    /// Redis said how much is used up.
    fn arrived(mut self, aheads: &[i64]) {
        for ((rate, who, amount), ahead) in self.under_way.drain(..).zip(aheads) {
            rate.raise(who, duration(*ahead));
            rate.tab.settle(who.id, amount, Some(rate.now()));
        }
    }
}

impl Drop for Letter<'_> {
    fn drop(&mut self) {
        for (rate, who, amount) in self.under_way.drain(..) {
            rate.tab.settle(who.id, amount, None);
        }
    }
}

/// How much of one client may be noted.
fn slack(rate: &Rate) -> u64 {
    rate.limit().burst / 20
}

fn asked(question: &Question<'_>) -> i64 {
    match question.takes {
        true => micros(question.rate.limit(), 1),
        false => 0,
    }
}

/// What `amount` costs, in microseconds of the allowance, rounded up.
fn micros(limit: &Limit, amount: u64) -> i64 {
    let period = limit.period.as_micros().max(1);
    let cost = u128::from(amount)
        .saturating_mul(period)
        .div_ceil(u128::from(limit.amount.max(1)));
    // A double counts every microsecond up to 2^53, of which the time of day needs a fifth.
    i64::try_from(cost).unwrap_or(LONGEST).min(LONGEST)
}

fn duration(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// How far ahead of now the time of a client may lie.
fn room(limit: &Limit) -> i64 {
    match limit.what {
        Limited::Requests | Limited::Uploads => micros(limit, 1)
            .saturating_mul(i64::try_from(limit.burst.max(1)).unwrap_or(LONGEST))
            .min(LONGEST),
        Limited::Bytes | Limited::UploadBytes => micros(limit, limit.burst.max(1)),
    }
}

/// How far ahead it is believed to lie: debts of bytes have no end, more than twice the burst of requests cannot be.
fn most(limit: &Limit) -> i64 {
    match limit.what {
        Limited::Requests | Limited::Uploads => room(limit).saturating_mul(2),
        Limited::Bytes | Limited::UploadBytes => -1,
    }
}

/// About 30 years.
const LONGEST: i64 = 1_000_000_000_000_000;

impl std::fmt::Debug for Noted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Noted")
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}
