//! Failed logins: who has to wait, and how long.
//!
//! A wrong password is counted for its user at its address (a *pair*) and for the address as a whole. After some of them each
//! further one costs a pause, which doubles. Pairs are stopped first, addresses much later: a robot with an old password must not
//! lock out its neighbours, and nobody can lock a user out from another address. While somebody waits his passwords are not looked
//! at, right ones included: otherwise guessing would go on. Two cases are no guesses:
//!
//! - The same wrong password again. It tells its sender nothing, so it has a pause of its own and costs the pair nothing.
//! - A password that was right from this very address within the last hour. It is looked at through every pause, so that a robot
//!   with an old password does not stop those with the new one. Somebody who guesses beside them could recognise the right one by
//!   the answer; so no more than [`right::PROBES`] others are let past before it waits as well.
//!
//! Everything is counted before a password is looked at and taken back where it was right: guesses sent at the same time count
//! like guesses one after the other.

mod count;
mod right;
mod table;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::count::{Count, Rule};
use self::right::Rights;
use self::table::Table;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// How many pairs and addresses are counted; about 200 and 40 bytes each. Beyond, those with the fewest failures are forgotten.
const MAX_PAIRS: usize = 16_384;
const MAX_NETWORKS: usize = 65_536;
/// How many wrong passwords of a pair are recognised when they come again.
const KEPT: usize = 4;
/// An address may have this many times the failures of a pair.
const NEIGHBOURS: u32 = 10;
/// For pairs: after ten minutes one failure is forgiven; the longest pause.
const PAIR: (Duration, Duration) = (Duration::from_mins(10), Duration::from_mins(5));
/// The same for addresses: those behind one address have to share it.
const NETWORK: (Duration, Duration) = (Duration::from_secs(6), Duration::from_mins(1));

/// Counts failed logins, of all surfaces alike.
pub(super) struct Attempts {
    /// Everything is known by keyed hashes: nobody outside can choose what collides, and nothing can be read out of memory.
    hasher: RandomState,
    clock: Clock,
    pair: Rule,
    network: Rule,
    pairs: Mutex<Table<Pair>>,
    networks: Mutex<Table<Count>>,
    rights: Mutex<Rights>,
}

/// A password that may be looked at now. To be settled with [`Attempts::right`], [`Attempts::wrong`] or [`Attempts::undecided`];
/// one that is not (its client left) counts as wrong.
#[derive(Clone, Copy, Debug)]
#[must_use = "what is not settled counts as wrong"]
pub(super) struct Trial(Option<Sent>);

/// What was sent, and how it was let through.
#[derive(Clone, Copy, Debug)]
struct Sent {
    network: u64,
    pair: u64,
    credential: u64,
    way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It was right before; nothing was counted.
    Known,
    /// It was counted for the pair and the address.
    Counted,
    /// It is being looked at already, or was wrong before; nothing was counted for the pair.
    Again,
}

/// A user at an address.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    count: Count,
    /// The latest passwords that were looked at and are not known to be right.
    sent: [Again; KEPT],
    next: usize,
}

/// One of them.
#[derive(Clone, Copy, Debug, Default)]
struct Again {
    credential: u64,
    count: Count,
    /// Whether it was wrong; else it is being looked at.
    is_wrong: bool,
}

impl Attempts {
    /// `allowed` wrong passwords for each user at each address before the pauses begin.
    pub(super) fn new(allowed: u32, clock: Clock) -> Self {
        Self {
            hasher: RandomState::new(),
            clock,
            pair: Rule::new(allowed, PAIR),
            network: Rule::new(allowed.saturating_mul(NEIGHBOURS), NETWORK),
            pairs: Mutex::new(Table::new(MAX_PAIRS)),
            networks: Mutex::new(Table::new(MAX_NETWORKS)),
            rights: Mutex::default(),
        }
    }

    /// Whether this password may be looked at now. Errors: somebody has to wait ([`ErrorKind::RateLimited`]).
    ///
    /// Without an address (Unix sockets) everybody comes from the server in front, which knows the addresses: nobody waits.
    pub(super) fn begin(
        &self,
        address: Option<IpAddr>,
        name: &str,
        password: &str,
    ) -> Result<Trial> {
        let Some(address) = address else {
            return Ok(Trial(None));
        };
        let network = self.hasher.hash_one(network(address));
        let pair = self.hasher.hash_one((network, name));
        let credential = self.hasher.hash_one((pair, password));
        let now = self.now();
        let trial = |way| {
            Trial(Some(Sent {
                network,
                pair,
                credential,
                way,
            }))
        };
        if lock(&self.rights).knows(pair, credential, now) {
            return Ok(trial(Way::Known));
        }
        let waits = lock(&self.networks)
            .get(network)
            .and_then(|count| count.wait(&self.network, now));
        if let Some(wait) = waits {
            lock(&self.rights).probed(pair, credential, now);
            return Err(too_many(address, wait));
        }
        let outcome = {
            let mut pairs = lock(&self.pairs);
            let mut known = pairs.get(pair).copied().unwrap_or_default();
            let outcome = known.admit(credential, &self.pair, now);
            if outcome.is_ok() {
                pairs.insert(pair, known, now);
            }
            outcome
        };
        match outcome {
            Ok(way) => {
                if way == Way::Counted {
                    self.count_network(network, now);
                }
                Ok(trial(way))
            }
            Err(wait) => {
                lock(&self.rights).probed(pair, credential, now);
                Err(Error::new(
                    ErrorKind::RateLimited,
                    format!(
                        "too many wrong passwords were sent for this user from `{address}`; try again in {} s",
                        seconds(wait)
                    ),
                )
                .with_retry_after(Duration::from_secs(seconds(wait))))
            }
        }
    }

    /// The password was right.
    pub(super) fn right(&self, trial: Trial) {
        let Some(sent) = trial.0 else { return };
        let now = self.now();
        lock(&self.rights).keep(sent.pair, sent.credential, now);
        // One that is right again and again says nothing about who else sends guesses for its user from its address.
        if sent.way != Way::Known {
            lock(&self.pairs).remove(sent.pair);
        }
        if sent.way == Way::Counted {
            self.forgive_network(sent.network, now);
        }
    }

    /// The password was wrong.
    pub(super) fn wrong(&self, trial: Trial) {
        let Some(sent) = trial.0 else { return };
        let now = self.now();
        let mut pairs = lock(&self.pairs);
        let mut pair = pairs.get(sent.pair).copied().unwrap_or_default();
        if sent.way == Way::Known {
            // It was changed meanwhile.
            lock(&self.rights).forget(sent.pair);
            pair.count.add(&self.pair, now, sent.credential);
            pair.remember(sent.credential);
        }
        for again in &mut pair.sent {
            if again.credential == sent.credential {
                again.is_wrong = true;
            }
        }
        pairs.insert(sent.pair, pair, now);
        drop(pairs);
        if sent.way == Way::Known {
            self.count_network(sent.network, now);
        }
    }

    /// The password was not looked at after all.
    pub(super) fn undecided(&self, trial: Trial) {
        let Some(sent) = trial.0 else { return };
        if sent.way != Way::Counted {
            return;
        }
        let now = self.now();
        let mut pairs = lock(&self.pairs);
        if let Some(pair) = pairs.get_mut(sent.pair) {
            pair.count.take_back(&self.pair, now);
            pair.forget(sent.credential);
        }
        drop(pairs);
        self.forgive_network(sent.network, now);
    }

    /// Whether something else than a password, which nobody can guess and which costs work, may be looked at now. Errors: the
    /// address has to wait.
    pub(super) fn check(&self, address: Option<IpAddr>) -> Result<()> {
        let Some(address) = address else {
            return Ok(());
        };
        let key = self.hasher.hash_one(network(address));
        let now = self.now();
        let networks = lock(&self.networks);
        let wait = networks
            .get(key)
            .and_then(|count| count.wait(&self.network, now));
        drop(networks);
        wait.map_or(Ok(()), |wait| Err(too_many(address, wait)))
    }

    /// Something forged came from `address`.
    pub(super) fn forged(&self, address: Option<IpAddr>) {
        if let Some(address) = address {
            self.count_network(self.hasher.hash_one(network(address)), self.now());
        }
    }

    fn count_network(&self, network: u64, now: i64) {
        let mut networks = lock(&self.networks);
        let mut count = networks.get(network).copied().unwrap_or_default();
        count.add(&self.network, now, network);
        networks.insert(network, count, now);
    }

    fn forgive_network(&self, network: u64, now: i64) {
        if let Some(count) = lock(&self.networks).get_mut(network) {
            count.take_back(&self.network, now);
        }
    }

    /// In milliseconds since 1970.
    fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }
}

impl std::fmt::Debug for Attempts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempts")
            .field("pair", &self.pair)
            .finish_non_exhaustive()
    }
}

impl Pair {
    /// How the password is let through; else how long it waits, in milliseconds.
    fn admit(&mut self, credential: u64, rule: &Rule, now: i64) -> Result<Way, i64> {
        let mut sent = self.sent.iter_mut();
        if let Some(again) = sent.find(|again| again.credential == credential) {
            if let Some(wait) = again.count.wait(rule, now) {
                return Err(wait);
            }
            if again.is_wrong {
                again.count.add(rule, now, credential);
            }
            return Ok(Way::Again);
        }
        if let Some(wait) = self.count.wait(rule, now) {
            return Err(wait);
        }
        self.count.add(rule, now, credential);
        self.remember(credential);
        Ok(Way::Counted)
    }

    /// In the place of the oldest.
    fn remember(&mut self, credential: u64) {
        self.sent[self.next % KEPT] = Again {
            credential,
            ..Again::default()
        };
        self.next = (self.next + 1) % KEPT;
    }

    fn forget(&mut self, credential: u64) {
        for again in &mut self.sent {
            if again.credential == credential && !again.is_wrong {
                *again = Again::default();
            }
        }
    }
}

impl table::Row for Pair {
    fn clean_at(&self) -> i64 {
        let sent = self.sent.iter().map(|again| again.count.clean_at());
        sent.fold(self.count.clean_at(), i64::max)
    }
}

impl table::Row for Count {
    fn clean_at(&self) -> i64 {
        Self::clean_at(self)
    }
}

/// Whose address it is: IPv6 by its /64, which one customer has to herself; IPv4 in IPv6 as IPv4.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(prefix.into())
        }
    }
}

fn too_many(address: IpAddr, wait: i64) -> Error {
    let seconds = seconds(wait);
    Error::new(
        ErrorKind::RateLimited,
        format!(
            "`{address}` sent too many wrong passwords or forged tokens; try again in {seconds} s"
        ),
    )
    .with_retry_after(Duration::from_secs(seconds))
}

fn seconds(wait: i64) -> u64 {
    u64::try_from(wait).unwrap_or_default().div_ceil(1_000)
}

/// Nothing here panics half-way through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
