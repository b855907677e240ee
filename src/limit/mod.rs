//! How often somebody may ask: the rate of one tenant. The only home of the `governor` crate.
//!
//! GCRA: an allowance of `burst` requests that refills evenly at `requests` per `period`. One clock reading and one look
//! in a sharded map per request.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::auth::{Identity, network};
use crate::clock::Clock;
use crate::config::{LimitBy, Limits};
use crate::error::{Error, ErrorKind, Result};

/// More clients than this at once share their allowances, so that a flood of addresses cannot fill the memory: about
/// 64 bytes each.
const MAX_CLIENTS: usize = 100_000;
/// How many requests pass between two counts of the clients.
const COUNT_EVERY: usize = 1_024;

/// Counts the requests of one tenant, or of all tenants of one pattern. Shared behind an `Arc`.
pub struct Limiter {
    by: LimitBy,
    limits: Limits,
    clock: Ticks,
    rate: RateLimiter<u64, DashMapStateStore<u64>, Ticks, NoOpMiddleware<Duration>>,
    /// Clients are known by a keyed hash: nobody outside can choose a name that shares another one's allowance.
    hasher: RandomState,
    /// Counting the clients looks at every shard of the map, so it is done once in [`COUNT_EVERY`] requests.
    asked: AtomicUsize,
    crowded: AtomicBool,
}

/// Who asks, and where.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The client's address; absent on Unix sockets.
    pub address: Option<IpAddr>,
    /// The client's identity.
    pub identity: &'a Identity,
    /// The tenant's label.
    pub tenant: &'a str,
}

impl Limiter {
    /// A limiter with the machine's monotonic clock.
    pub fn new(limits: &Limits) -> Self {
        Self::build(limits, Ticks::Monotonic(Instant::now()))
    }

    /// A limiter that counts time by `clock`, for tests.
    pub fn with_clock(limits: &Limits, clock: Clock) -> Self {
        Self::build(limits, Ticks::Clock(clock))
    }

    fn build(limits: &Limits, clock: Ticks) -> Self {
        let refill = limits
            .period
            .checked_div(limits.requests)
            .filter(|refill| !refill.is_zero())
            .unwrap_or(Duration::from_nanos(1));
        let quota = Quota::with_period(refill)
            .expect("the refill is at least a nanosecond")
            .allow_burst(NonZeroU32::new(limits.burst).unwrap_or(NonZeroU32::MIN));
        Self {
            by: limits.by,
            limits: *limits,
            rate: RateLimiter::new(quota, DashMapStateStore::default(), clock.clone()),
            clock,
            hasher: RandomState::new(),
            asked: AtomicUsize::new(0),
            crowded: AtomicBool::new(false),
        }
    }

    /// Takes one request off the allowance. Over it: [`ErrorKind::RateLimited`] with the time to wait.
    pub fn check(&self, key: Key<'_>) -> Result<()> {
        let Err(refused) = self.rate.check_key(&self.client(key)) else {
            return Ok(());
        };
        // Retry-After counts whole seconds; one too early would be refused again.
        let wait = refused.wait_time_from(self.clock.now());
        let wait = Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
            .max(Duration::from_secs(1));
        let whom = match (self.by, key.identity.name(), key.address) {
            (LimitBy::Tenant, ..) => "everybody in this tenant together".to_owned(),
            (LimitBy::Identity, Some(name), _) => format!("`{name}`"),
            (_, _, Some(address)) => format!("`{address}`"),
            (_, _, None) => "this client".to_owned(),
        };
        Err(Error::new(
            ErrorKind::RateLimited,
            format!(
                "{whom} may ask `{}` {} times in {}; try again in {} s",
                key.tenant,
                self.limits.requests,
                period(self.limits.period),
                wait.as_secs()
            ),
        )
        .with_retry_after(wait))
    }

    /// Forgets clients whose allowance is full again. To be called about once a minute. Cost grows with the clients.
    pub fn sweep(&self) {
        self.rate.retain_recent();
        self.rate.shrink_to_fit();
        self.count();
    }

    /// How many clients are being counted.
    pub fn clients(&self) -> usize {
        self.rate.len()
    }

    fn client(&self, key: Key<'_>) -> u64 {
        let client = match (self.by, key.identity.name()) {
            (LimitBy::Tenant, _) => Client::Tenant(key.tenant),
            (LimitBy::Identity, Some(name)) => Client::Named(key.identity.kind(), name),
            (LimitBy::Identity, None) | (LimitBy::Address, _) => match key.address {
                Some(address) => Client::At(network(address)),
                None => Client::Unknown,
            },
        };
        let hash = self.hasher.hash_one(client);
        if self
            .asked
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(COUNT_EVERY)
        {
            self.count();
        }
        if self.crowded.load(Ordering::Relaxed) {
            // Until the next sweep a flood shares a few thousand allowances among itself.
            hash % 4_096
        } else {
            hash
        }
    }

    fn count(&self) {
        let crowded = self.rate.len() >= MAX_CLIENTS;
        self.crowded.store(crowded, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Whose allowance a request counts against.
#[derive(Hash)]
enum Client<'a> {
    /// Nobody knows where it comes from.
    Unknown,
    /// Everybody in one tenant; several share a limiter where they share a pattern.
    Tenant(&'a str),
    At(IpAddr),
    Named(&'static str, &'a str),
}

fn period(period: Duration) -> &'static str {
    match period.as_secs() {
        0 | 1 => "a second",
        2..=60 => "a minute",
        61..=3_600 => "an hour",
        _ => "a day",
    }
}

/// Time since some start.
#[derive(Clone, Debug)]
enum Ticks {
    /// Cannot be set back, unlike the wall clock.
    Monotonic(Instant),
    Clock(Clock),
}

impl governor::clock::Clock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        match self {
            Self::Monotonic(start) => start.elapsed(),
            Self::Clock(clock) => Duration::from_millis(
                u64::try_from(clock.now().as_millisecond()).unwrap_or_default(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn limits(requests: u32, seconds: u64, burst: u32, by: LimitBy) -> Limits {
        Limits {
            requests,
            period: Duration::from_secs(seconds),
            burst,
            by,
        }
    }

    fn user(name: &str) -> Identity {
        Identity::User { name: name.into() }
    }

    fn passes(limiter: &Limiter, address: &str, identity: &Identity) -> bool {
        limiter
            .check(Key {
                address: Some(address.parse().expect("an address")),
                identity,
                tenant: "acme",
            })
            .is_ok()
    }

    #[test]
    fn a_burst_passes_then_the_rate() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let limiter = Limiter::with_clock(&limits(60, 60, 3, LimitBy::Address), clock.clone());
        let anonymous = Identity::Anonymous;
        for _ in 0..3 {
            assert!(passes(&limiter, "10.0.0.1", &anonymous));
        }
        let error = limiter
            .check(Key {
                address: "10.0.0.1".parse().ok(),
                identity: &anonymous,
                tenant: "acme",
            })
            .expect_err("over it");
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
        assert_eq!(
            error.message(),
            "`10.0.0.1` may ask `acme` 60 times in a minute; try again in 1 s"
        );
        assert!(passes(&limiter, "10.0.0.2", &anonymous), "another address");
        clock.advance(Duration::from_secs(1));
        assert!(passes(&limiter, "10.0.0.1", &anonymous));
        assert!(!passes(&limiter, "10.0.0.1", &anonymous));
        clock.advance(Duration::from_secs(3_600));
        for _ in 0..3 {
            assert!(passes(&limiter, "10.0.0.1", &anonymous));
        }
        assert!(
            !passes(&limiter, "10.0.0.1", &anonymous),
            "no more than the burst"
        );
    }

    #[test]
    fn waiting_as_told_is_enough() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let limiter = Limiter::with_clock(&limits(7, 3_600, 2, LimitBy::Tenant), clock.clone());
        let identity = user("ci");
        let key = Key {
            address: None,
            identity: &identity,
            tenant: "/",
        };
        for _ in 0..20 {
            if let Err(error) = limiter.check(key) {
                clock.advance(error.retry_after().expect("a time"));
                limiter.check(key).expect("waited as told");
            }
        }
    }

    #[test]
    fn who_shares_an_allowance() {
        let one = |by| {
            Limiter::with_clock(
                &limits(1, 3_600, 1, by),
                Clock::manual(Timestamp::UNIX_EPOCH),
            )
        };
        let (a, b, anonymous) = (user("a"), user("b"), Identity::Anonymous);
        let certificate = Identity::Certificate {
            subject: "a".into(),
        };

        let by_address = one(LimitBy::Address);
        assert!(passes(&by_address, "2001:db8:0:1::1", &a));
        assert!(
            !passes(&by_address, "2001:db8:0:1:ffff::2", &b),
            "the same /64"
        );
        assert!(passes(&by_address, "2001:db8:0:2::1", &b), "another /64");
        assert!(passes(&by_address, "10.0.0.1", &a));
        assert!(!passes(&by_address, "::ffff:10.0.0.1", &a), "the same IPv4");

        let by_identity = one(LimitBy::Identity);
        assert!(passes(&by_identity, "10.0.0.1", &a));
        assert!(!passes(&by_identity, "10.0.0.2", &a), "the same user");
        assert!(passes(&by_identity, "10.0.0.1", &b));
        assert!(
            passes(&by_identity, "10.0.0.1", &certificate),
            "not the user of that name"
        );
        assert!(passes(&by_identity, "10.0.0.1", &anonymous));
        assert!(!passes(&by_identity, "10.0.0.1", &anonymous));
        assert!(passes(&by_identity, "10.0.0.2", &anonymous));

        let by_tenant = one(LimitBy::Tenant);
        assert!(passes(&by_tenant, "10.0.0.1", &a));
        assert!(!passes(&by_tenant, "10.0.0.2", &b));
    }

    #[test]
    fn clients_are_forgotten_and_floods_bounded() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let limiter = Limiter::with_clock(&limits(10, 1, 10, LimitBy::Identity), clock.clone());
        for number in 0..MAX_CLIENTS + 20_000 {
            passes(&limiter, "10.0.0.1", &user(&number.to_string()));
        }
        assert!(limiter.clients() <= MAX_CLIENTS + COUNT_EVERY + 4_096);
        clock.advance(Duration::from_secs(60));
        limiter.sweep();
        assert_eq!(limiter.clients(), 0);
    }

    #[test]
    fn extreme_rates_are_rates() {
        for limits in [
            limits(u32::MAX, 1, u32::MAX, LimitBy::Tenant),
            limits(1, 86_400, 1, LimitBy::Tenant),
            limits(0, 0, 0, LimitBy::Tenant),
        ] {
            let limiter = Limiter::new(&limits);
            assert!(passes(&limiter, "10.0.0.1", &Identity::Anonymous));
        }
    }
}
