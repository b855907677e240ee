//! The open connections of one handler: counted, capped, and looked over for those that wait too long.
//!
//! One task looks at all connections now and then, instead of every request arming timers of its own: waiting costs a
//! request two stores. What is found waiting too long is cut.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::{Times, TurnedAway};
use crate::config::owner_of;

/// Every open connection of one handler.
#[derive(Debug)]
pub(super) struct Registry {
    open: Mutex<Open>,
    next: AtomicU64,
    max: usize,
    max_per_address: Option<usize>,
    refused: AtomicU64,
    none_open: Notify,
    /// The time of the last look, in milliseconds: the clock by which connections wait.
    now: Arc<AtomicU64>,
    times: Times,
}

#[derive(Debug, Default)]
struct Open {
    watches: HashMap<u64, Arc<Watch>>,
    /// How many of them each address has that was claimed.
    by_address: HashMap<IpAddr, usize>,
}

/// What is watched of one connection.
#[derive(Debug)]
pub(super) struct Watch {
    now: Arc<AtomicU64>,
    /// The last look before waiting for a request began, or [`BUSY`].
    waiting_since: AtomicU64,
    /// HTTP/2 connections are waited for by pingora once a request has come.
    http2: AtomicBool,
    requests: AtomicU32,
    cut: OnceLock<TurnedAway>,
    cut_now: Notify,
}

const BUSY: u64 = u64::MAX;

/// Bounds of the time between two looks; it is an eighth of the shortest time that is watched.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

impl Registry {
    pub(super) fn new(max: usize, max_per_address: Option<usize>, times: Times) -> Self {
        Self {
            open: Mutex::default(),
            next: AtomicU64::new(0),
            max,
            max_per_address,
            refused: AtomicU64::new(0),
            none_open: Notify::new(),
            now: Arc::new(AtomicU64::new(0)),
            times,
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many connections are open.
    pub(super) fn count(&self) -> usize {
        self.open().watches.len()
    }

    /// Lets a connection in, or refuses it because there are too many.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Entry> {
        let watch = Arc::new(Watch {
            waiting_since: AtomicU64::new(self.now.load(Ordering::Relaxed)),
            now: self.now.clone(),
            http2: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            cut: OnceLock::new(),
            cut_now: Notify::new(),
        });
        let mut open = self.open();
        if open.watches.len() >= self.max {
            drop(open);
            self.refuse(&format!(
                "{} connections are open, the most that are allowed",
                self.max
            ));
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        open.watches.insert(number, watch.clone());
        Some(Entry {
            registry: self.clone(),
            number,
            address: None,
            watch,
        })
    }

    fn refuse(&self, why: &str) {
        // The first, then every thousandth: an attack must not fill the log as well.
        if self
            .refused
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(1000)
        {
            tracing::warn!("{why}; refusing more");
        }
    }

    /// Resolves when no connection is open.
    pub(super) async fn none_open(&self) {
        loop {
            let mut ended = pin!(self.none_open.notified());
            ended.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Cuts every connection and says how many there were.
    pub(super) fn cut_all(&self) -> usize {
        let open = self.open();
        for watch in open.watches.values() {
            watch.cut(TurnedAway::End);
        }
        open.watches.len()
    }

    /// Looks at the connections for ever. Once drain has begun, those that wait for a request have [`Times::linger`] left:
    /// a request already on its way is answered instead of met by a closed connection.
    pub(super) async fn look_over(self: Arc<Self>, mut draining: watch::Receiver<bool>) {
        let start = Instant::now();
        let Times {
            head, idle, linger, ..
        } = self.times;
        let pause = |shortest: Duration| (shortest / 8).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        // An error means that the server has gone, and this task with it.
        while timeout(pause(head.min(idle)), draining.wait_for(|on| *on))
            .await
            .is_err()
        {
            self.look(start.elapsed(), None);
        }
        let drain_began = start.elapsed();
        loop {
            self.look(start.elapsed(), Some(drain_began));
            sleep(pause(linger)).await;
        }
    }

    fn look(&self, now: Duration, drain_began: Option<Duration>) {
        self.now.store(millis(now), Ordering::Relaxed);
        let waited = |since: u64| Duration::from_millis(millis(now).saturating_sub(since));
        for watch in self.open().watches.values() {
            let Some(since) = watch.waiting_since() else {
                continue;
            };
            let patience = match watch.is_reused() || watch.http2.load(Ordering::Relaxed) {
                true => self.times.idle,
                false => self.times.head,
            };
            let lingered = drain_began
                .is_some_and(|began| waited(since.max(millis(began))) >= self.times.linger);
            if waited(since) >= patience {
                let is_new = !watch.is_reused();
                watch.cut(if is_new {
                    TurnedAway::Slow
                } else {
                    TurnedAway::Idle
                });
            } else if lingered {
                watch.cut(TurnedAway::End);
            }
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(BUSY - 1)
}

impl Watch {
    /// A request is waited for.
    pub(super) fn wait(&self) {
        let now = self.now.load(Ordering::Relaxed);
        self.waiting_since.store(now, Ordering::Relaxed);
    }

    /// A request has come.
    pub(super) fn work(&self) {
        self.waiting_since.store(BUSY, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn speaks_http2(&self) {
        self.http2.store(true, Ordering::Relaxed);
    }

    /// Whether a request has come before.
    fn is_reused(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    fn waiting_since(&self) -> Option<u64> {
        let since = self.waiting_since.load(Ordering::Relaxed);
        (since != BUSY).then_some(since)
    }

    /// Ends the connection at once. The first reason counts.
    pub(super) fn cut(&self, why: TurnedAway) {
        let _ = self.cut.set(why);
        self.cut_now.notify_waiters();
    }

    /// Why it was cut, if it was.
    pub(super) fn why_cut(&self) -> Option<TurnedAway> {
        self.cut.get().copied()
    }

    /// Resolves when the connection is to end at once.
    pub(super) async fn is_cut(&self) {
        let mut now = pin!(self.cut_now.notified());
        now.as_mut().enable();
        if self.cut.get().is_none() {
            now.await;
        }
    }
}

/// One open connection; leaving it ends the watch.
#[derive(Debug)]
pub(super) struct Entry {
    registry: Arc<Registry>,
    number: u64,
    /// Whose connection it is, once that is known and counted.
    address: Option<IpAddr>,
    pub(super) watch: Arc<Watch>,
}

impl Entry {
    /// Counts the connection for this client; false where it has enough. At most once.
    pub(super) fn belongs_to(&mut self, client: IpAddr) -> bool {
        let Some(max) = self.registry.max_per_address else {
            return true;
        };
        let address = owner_of(client);
        let mut open = self.registry.open();
        let count = open.by_address.entry(address).or_default();
        let has_room = *count < max;
        if has_room {
            *count += 1;
            self.address = Some(address);
        }
        drop(open);
        if !has_room {
            self.registry.refuse(&format!(
                "`{address}` has {max} connections, the most that one address may have"
            ));
        }
        has_room
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut open = self.registry.open();
        open.watches.remove(&self.number);
        if let Some(address) = self.address
            && let Slot::Occupied(mut count) = open.by_address.entry(address)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        if open.watches.is_empty() {
            self.registry.none_open.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(max: usize) -> Arc<Registry> {
        let times = Times {
            head: Duration::from_secs(30),
            idle: Duration::from_secs(75),
            linger: Duration::from_secs(3),
            ..Times::default()
        };
        Arc::new(Registry::new(max, Some(2), times))
    }

    #[tokio::test]
    async fn connections_above_the_cap_are_refused_until_one_ends() {
        let registry = registry(2);
        let first = registry.enter().expect("room");
        let _second = registry.enter().expect("room");
        assert!(registry.enter().is_none());
        drop(first);
        assert!(registry.enter().is_some());
        assert_eq!(registry.count(), 1);
    }

    #[tokio::test]
    async fn one_address_has_its_share_and_gets_it_back() {
        let registry = registry(8);
        let enter = |address: &str| {
            let mut entry = registry.enter().expect("room");
            let address = address.parse().expect("an address");
            entry.belongs_to(address).then_some(entry)
        };
        let first = enter("2001:db8::1").expect("room");
        let _second = enter("2001:db8::2").expect("room");
        assert!(enter("2001:db8::3").is_none(), "the same /64");
        assert!(enter("2001:db8:0:1::1").is_some());
        assert_eq!(registry.count(), 2);
        drop(first);
        assert!(enter("2001:db8::3").is_some());
        assert_eq!(registry.open().by_address.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn silent_slow_and_idle_connections_are_cut_in_their_time() {
        let registry = registry(8);
        let (_draining, watch) = watch::channel(false);
        tokio::spawn(registry.clone().look_over(watch));
        let silent = registry.enter().expect("room");
        let idle = registry.enter().expect("room");
        idle.watch.work();
        idle.watch.wait();
        let busy = registry.enter().expect("room");
        busy.watch.work();
        let start = Instant::now();
        silent.watch.is_cut().await;
        let silent_for = start.elapsed().as_secs();
        assert!((30..33).contains(&silent_for), "{silent_for}");
        idle.watch.is_cut().await;
        let idle_for = start.elapsed().as_secs();
        assert!((75..79).contains(&idle_for), "{idle_for}");
        assert_eq!(silent.watch.why_cut(), Some(TurnedAway::Slow));
        assert_eq!(idle.watch.why_cut(), Some(TurnedAway::Idle));
        assert_eq!(busy.watch.why_cut(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn drain_leaves_waiting_connections_a_moment_and_busy_ones_alone() {
        let registry = registry(8);
        let (draining, watch) = watch::channel(false);
        tokio::spawn(registry.clone().look_over(watch));
        let idle = registry.enter().expect("room");
        let busy = registry.enter().expect("room");
        busy.watch.work();
        draining.send_replace(true);
        let start = Instant::now();
        idle.watch.is_cut().await;
        let lingered = start.elapsed();
        assert!(lingered >= Duration::from_secs(3), "{lingered:?}");
        assert!(lingered < Duration::from_secs(5), "{lingered:?}");
        assert_eq!(idle.watch.why_cut(), Some(TurnedAway::End));
        assert_eq!(busy.watch.why_cut(), None);
        drop((idle, busy));
        registry.none_open().await;
    }
}
