//! One limit on this machine. The only home of the `governor` crate, of which it uses the sharded store of states.
//!
//! GCRA: for each client the time until which its allowance is used up at the given rate. What may come at once is how far that
//! time may lie ahead of now. One clock reading and one look in a sharded map per question.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use governor::nanos::Nanos;
use governor::state::StateStore as _;
use governor::state::keyed::{DashMapStateStore, ShrinkableKeyedStateStore as _};

use super::key::Client;
use super::tab::Tab;
use crate::clock::Clock;
use crate::config::{Limit, Limited};

/// More clients than this at once share their allowances, so that a flood of addresses cannot fill the memory: about
/// 64 bytes each.
pub(super) const MAX_CLIENTS: usize = 100_000;
/// How many requests pass between two counts of the clients.
pub(super) const COUNT_EVERY: usize = 1_024;
/// How many allowances a flood shares among itself.
pub(super) const CROWD: u64 = 4_096;

/// One limit and how much of it every client has used.
pub(super) struct Rate {
    limit: Limit,
    /// What one request costs, in nanoseconds of the allowance.
    unit: u64,
    /// How far ahead of now a client's time may lie.
    room: u64,
    clock: Ticks,
    store: DashMapStateStore<u64>,
    /// Clients are known by a keyed hash: nobody outside can choose a name that shares another one's allowance.
    hasher: RandomState,
    /// Counting the clients looks at every shard of the map, so it is done once in [`COUNT_EVERY`] requests.
    asked: AtomicUsize,
    crowded: AtomicBool,
    /// What other replicas have not been told yet.
    pub(super) tab: Tab,
}

/// One client of a [`Rate`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Who {
    pub(super) id: u64,
    /// There are so many that this allowance is that of several.
    pub(super) crowded: bool,
}

impl Rate {
    pub(super) fn new(limit: Limit, clock: Ticks) -> Self {
        let unit = cost(&limit, 1);
        let room = match limit.what {
            // A burst of so many passes at once, however the single one was rounded.
            Limited::Requests | Limited::Uploads => unit.saturating_mul(limit.burst.max(1)),
            Limited::Bytes | Limited::UploadBytes => cost(&limit, limit.burst.max(1)),
        };
        Self {
            limit,
            unit,
            room,
            clock,
            store: DashMapStateStore::default(),
            hasher: RandomState::new(),
            asked: AtomicUsize::new(0),
            crowded: AtomicBool::new(false),
            tab: Tab::new(),
        }
    }

    pub(super) fn limit(&self) -> &Limit {
        &self.limit
    }

    /// Time since some start, which cannot be set back.
    pub(super) fn now(&self) -> u64 {
        self.clock.now()
    }

    pub(super) fn who(&self, client: &Client<'_>) -> Who {
        let id = self.hasher.hash_one(client);
        if self
            .asked
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(COUNT_EVERY)
        {
            self.count();
        }
        match self.crowded.load(Ordering::Relaxed) {
            // Until the next sweep a flood shares a few thousand allowances among itself.
            true => Who {
                id: id % CROWD,
                crowded: true,
            },
            false => Who { id, crowded: false },
        }
    }

    /// Takes one off the allowance. Errors: how long until there is one.
    pub(super) fn take(&self, who: Who) -> Result<(), Duration> {
        let (now, unit, room) = (self.now(), self.unit, self.room);
        self.store.measure_and_replace(&who.id, |until| {
            let until = ahead_of(until, now).saturating_add(unit);
            match until - now {
                ahead if ahead <= room => Ok(((), Nanos::new(until))),
                ahead => Err(Duration::from_nanos(ahead - room)),
            }
        })
    }

    /// Puts back what [`Rate::take`] took.
    pub(super) fn give_back(&self, who: Who) {
        self.set(who, |until| {
            until.map_or(0, |until| until.as_u64().saturating_sub(self.unit))
        });
    }

    /// Whether something may begin, without taking anything. Errors: how long until it may.
    pub(super) fn peek(&self, who: Who, cost: u64) -> Result<(), Duration> {
        match self.ahead(who).saturating_add(cost) {
            ahead if ahead <= self.room => Ok(()),
            ahead => Err(Duration::from_nanos(ahead - self.room)),
        }
    }

    /// What one request costs.
    pub(super) fn unit(&self) -> u64 {
        self.unit
    }

    /// Takes `amount`, also what is not there: the client is in debt then.
    pub(super) fn charge(&self, who: Who, amount: u64) {
        let (now, cost) = (self.now(), cost(&self.limit, amount));
        self.set(who, |until| ahead_of(until, now).saturating_add(cost));
    }

    /// Learns that as much as `ahead` is used up.
    pub(super) fn raise(&self, who: Who, ahead: Duration) {
        let ahead = u64::try_from(ahead.as_nanos()).unwrap_or(u64::MAX);
        let reached = self.now().saturating_add(ahead);
        self.set(who, |until| until.map_or(0, Nanos::as_u64).max(reached));
    }

    /// Less than half of what may come at once is used up.
    pub(super) fn is_far_below(&self, who: Who) -> bool {
        self.ahead(who) <= self.room / 2
    }

    /// Forgets clients whose allowance is full again. Cost grows with the clients.
    pub(super) fn sweep(&self) {
        self.store.retain_recent(Nanos::new(self.now()));
        self.store.shrink_to_fit();
        self.count();
        self.tab.sweep(self.now());
    }

    /// How many clients are being counted.
    pub(super) fn clients(&self) -> usize {
        self.store.len()
    }

    fn ahead(&self, who: Who) -> u64 {
        let now = self.now();
        let look = |until| Err::<((), Nanos), u64>(ahead_of(until, now) - now);
        self.store
            .measure_and_replace(&who.id, look)
            .err()
            .unwrap_or(0)
    }

    fn set(&self, who: Who, until: impl Fn(Option<Nanos>) -> u64) {
        let set = |old| Ok::<_, std::convert::Infallible>(((), Nanos::new(until(old))));
        let Ok(()) = self.store.measure_and_replace(&who.id, set);
    }

    fn count(&self) {
        let crowded = self.store.len() >= MAX_CLIENTS;
        self.crowded.store(crowded, Ordering::Relaxed);
    }
}

/// What `amount` costs, in nanoseconds of the allowance; rounded up, so that no rate is exceeded.
fn cost(limit: &Limit, amount: u64) -> u64 {
    let period = limit.period.as_nanos().max(1);
    let cost = u128::from(amount)
        .saturating_mul(period)
        .div_ceil(u128::from(limit.amount.max(1)));
    u64::try_from(cost).unwrap_or(u64::MAX / 4).max(1)
}

fn ahead_of(until: Option<Nanos>, now: u64) -> u64 {
    until.map_or(now, |until| until.as_u64().max(now))
}

/// Time since some start.
#[derive(Clone, Debug)]
pub(super) enum Ticks {
    /// Cannot be set back, unlike the wall clock.
    Monotonic(Instant),
    Clock(Clock),
}

impl Ticks {
    fn now(&self) -> u64 {
        let since = match self {
            Self::Monotonic(start) => start.elapsed(),
            Self::Clock(clock) => Duration::from_millis(
                u64::try_from(clock.now().as_millisecond()).unwrap_or_default(),
            ),
        };
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX / 2)
    }
}

impl std::fmt::Debug for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rate")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
