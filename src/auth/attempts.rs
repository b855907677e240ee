//! Failed logins: how many one address has, and how long it waits when they are used up.
//!
//! GCRA as in `limit`, but asked before a password is looked at and counted only after it was wrong. While an address waits, its
//! passwords are not looked at, right ones included: otherwise guessing would go on.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// In milliseconds.
const MINUTE: i64 = 60_000;
/// How many addresses are counted each on its own; beyond, they share [`SHARED`] allowances. About 20 bytes each.
const MAX_ADDRESSES: usize = 65_536;
const SHARED: u64 = 4_096;

/// Counts failed logins by address.
pub(super) struct Attempts {
    /// How many in a minute.
    allowed: i64,
    /// Addresses are known by a keyed hash: nobody outside can choose one that shares another one's allowance.
    hasher: RandomState,
    clock: Clock,
    /// When the allowance of an address is full again, in milliseconds since 1970.
    full_at: Mutex<HashMap<u64, i64>>,
}

impl Attempts {
    /// `allowed` failures a minute for each address.
    pub(super) fn new(allowed: u32, clock: Clock) -> Self {
        Self {
            allowed: i64::from(allowed.max(1)),
            hasher: RandomState::new(),
            clock,
            full_at: Mutex::default(),
        }
    }

    /// Errors: the address has to wait ([`ErrorKind::RateLimited`]). On Unix sockets nobody has: everybody comes from the server
    /// in front, which knows the addresses.
    pub(super) fn check(&self, peer: Option<SocketAddr>) -> Result<()> {
        let Some(peer) = peer else { return Ok(()) };
        let now = self.now();
        let key = self.key(peer);
        let full_at = {
            let addresses = self.lock();
            let Some(full_at) = addresses.get(&place(key, addresses.len())) else {
                return Ok(());
            };
            *full_at
        };
        // A clock that was set back must not lock anybody out for longer than one that was not.
        let used = (full_at - now).min(MINUTE);
        let wait = used + self.interval() - MINUTE;
        if wait <= 0 {
            return Ok(());
        }
        // Whoever waits together shall not come back together.
        let spread = i64::try_from(key % 3_000).unwrap_or_default();
        let seconds = u64::try_from(wait + spread)
            .unwrap_or_default()
            .div_ceil(1_000);
        Err(Error::new(
            ErrorKind::RateLimited,
            format!(
                "`{}` sent too many wrong passwords; try again in {seconds} s",
                peer.ip()
            ),
        )
        .with_retry_after(Duration::from_secs(seconds)))
    }

    /// Takes note that a login from `peer` failed.
    pub(super) fn failed(&self, peer: Option<SocketAddr>) {
        let Some(peer) = peer else { return };
        let now = self.now();
        let key = self.key(peer);
        let mut addresses = self.lock();
        if addresses.len() >= MAX_ADDRESSES {
            addresses.retain(|_, full_at| *full_at > now);
        }
        let place = place(key, addresses.len());
        let full_at = addresses.entry(place).or_insert(now);
        *full_at = (*full_at).clamp(now, now + MINUTE) + self.interval();
    }

    /// In which time one attempt comes back.
    fn interval(&self) -> i64 {
        (MINUTE / self.allowed).max(1)
    }

    fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    fn key(&self, peer: SocketAddr) -> u64 {
        self.hasher.hash_one(network(peer.ip()))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, i64>> {
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Attempts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempts")
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}

/// Where an address is counted: a flood shares a few thousand allowances among itself.
fn place(key: u64, addresses: usize) -> u64 {
    if addresses >= MAX_ADDRESSES {
        key % SHARED
    } else {
        key
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

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn peer(text: &str) -> Option<SocketAddr> {
        Some(SocketAddr::new(text.parse().expect("an address"), 1))
    }

    fn attempts(allowed: u32) -> (Attempts, Clock) {
        let clock = Clock::manual(Timestamp::from_second(1_800_000_000).expect("a time"));
        (Attempts::new(allowed, clock.clone()), clock)
    }

    #[test]
    fn only_failures_count_and_waiting_as_told_is_enough() {
        let (attempts, clock) = attempts(3);
        for _ in 0..100 {
            attempts
                .check(peer("10.0.0.1"))
                .expect("nothing failed yet");
        }
        for _ in 0..3 {
            attempts
                .check(peer("10.0.0.1"))
                .expect("within the allowance");
            attempts.failed(peer("10.0.0.1"));
        }
        let error = attempts.check(peer("10.0.0.1")).expect_err("used up");
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        let wait = error.retry_after().expect("a time");
        assert!((20..=23).contains(&wait.as_secs()), "{wait:?}");
        attempts.check(peer("10.0.0.2")).expect("another address");
        attempts.check(None).expect("a Unix socket");
        clock.advance(wait);
        attempts.check(peer("10.0.0.1")).expect("waited as told");
        attempts.failed(peer("10.0.0.1"));
        attempts
            .check(peer("10.0.0.1"))
            .expect_err("one came back, and it is used");
        clock.advance(Duration::from_secs(60));
        for _ in 0..3 {
            attempts.check(peer("10.0.0.1")).expect("all came back");
            attempts.failed(peer("10.0.0.1"));
        }
    }

    #[test]
    fn neighbours_share() {
        let (attempts, _) = attempts(1);
        attempts.failed(peer("2001:db8:0:1::1"));
        attempts
            .check(peer("2001:db8:0:1:ffff::2"))
            .expect_err("the same /64");
        attempts
            .check(peer("2001:db8:0:2::1"))
            .expect("another /64");
        attempts.failed(peer("10.0.0.1"));
        attempts
            .check(peer("::ffff:10.0.0.1"))
            .expect_err("the same IPv4");
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let clock = Clock::manual(Timestamp::from_second(1_800_000_000).expect("a time"));
        let attempts = Attempts::new(1, clock);
        attempts.failed(peer("10.0.0.1"));
        let key = attempts.key(peer("10.0.0.1").expect("one"));
        attempts.lock().insert(key, i64::MAX / 2);
        let error = attempts.check(peer("10.0.0.1")).expect_err("waits");
        assert!(error.retry_after().expect("a time") <= Duration::from_secs(63));
        attempts.failed(peer("10.0.0.1"));
        let kept = attempts.lock()[&key];
        assert!(kept <= attempts.now() + 2 * MINUTE, "{kept}");
    }

    #[test]
    fn floods_are_bounded_and_forgotten() {
        let (attempts, clock) = attempts(30);
        for number in 0..u32::try_from(MAX_ADDRESSES).expect("few") + 20_000 {
            attempts.failed(Some(SocketAddr::new(IpAddr::V4(number.into()), 1)));
        }
        let most = MAX_ADDRESSES + usize::try_from(SHARED).expect("few");
        assert!(attempts.lock().len() <= most);
        clock.advance(Duration::from_secs(180));
        attempts.failed(peer("10.0.0.1"));
        assert_eq!(attempts.lock().len(), 1);
    }
}
