//! Passwords that wait to be verified, which takes a thread a good while.
//!
//! The same credentials are computed once for all who sent them. Networks take turns: somebody who comes with many passwords
//! waits behind himself, and a newcomer behind two of each other network. Nobody waits for longer than [`PATIENCE`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

/// How many verifications may wait before clients are told to come back, and how many of one network: a company behind one
/// address logs in anew after a restart, all at once.
const PLACES: usize = 1_024;
const SHARE: usize = 64;
/// How many of one network stand in line with those of others.
const TURNS: usize = 2;
/// How long one waits for a thread. Clients give up after 30 s or later.
const PATIENCE: Duration = Duration::from_secs(10);

/// The name of the user whose password it is; `None`: it is wrong.
pub(super) type Verdict = Option<Arc<str>>;

/// Those who wait. Shared by the computations that it starts.
pub(super) struct Queue {
    /// Threads that may compute hashes at the same time: one less than there are cores leaves the others their work.
    threads: Semaphore,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// By credentials. What becomes of them: nothing yet, turned away, a verdict.
    flights: HashMap<Digest, watch::Receiver<Option<Landing>>>,
    networks: HashMap<IpAddr, Network>,
}

#[derive(Clone)]
enum Landing {
    Verified(Verdict),
    TurnedAway,
}

struct Network {
    places: usize,
    turns: Arc<Semaphore>,
}

impl Queue {
    pub(super) fn new() -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Arc::new(Self {
            threads: Semaphore::new(cores.saturating_sub(1).max(1)),
            waiting: Mutex::default(),
        })
    }

    /// What `compute` says about the credentials with this digest, sent from `network`. Errors: too many wait already
    /// ([`ErrorKind::RateLimited`]). Cancel-safe: what was begun goes on for others who sent the same, and keeps its place.
    pub(super) async fn verify(
        self: &Arc<Self>,
        credentials: Digest,
        network: Option<IpAddr>,
        compute: impl FnOnce() -> Verdict + Send + 'static,
    ) -> Result<Verdict> {
        let mut landing = self.board(credentials, network, compute)?;
        let landed = landing.wait_for(Option::is_some).await;
        match landed.as_deref() {
            Ok(Some(Landing::Verified(verdict))) => Ok(verdict.clone()),
            Ok(_) => Err(busy()),
            Err(_) => Err(Error::new(
                ErrorKind::Internal,
                "a password could not be verified",
            )),
        }
    }

    /// Joins the computation that is under way, or starts one.
    fn board(
        self: &Arc<Self>,
        credentials: Digest,
        network: Option<IpAddr>,
        compute: impl FnOnce() -> Verdict + Send + 'static,
    ) -> Result<watch::Receiver<Option<Landing>>> {
        let mut waiting = self.waiting();
        if let Some(landing) = waiting.flights.get(&credentials) {
            return Ok(landing.clone());
        }
        if waiting.flights.len() >= PLACES {
            return Err(busy());
        }
        let turns = match network {
            // Behind a Unix socket nobody can be told from another.
            None => None,
            Some(network) => {
                let network = waiting.networks.entry(network).or_insert_with(|| Network {
                    places: 0,
                    turns: Arc::new(Semaphore::new(TURNS)),
                });
                if network.places >= SHARE {
                    return Err(busy());
                }
                network.places += 1;
                Some(Arc::clone(&network.turns))
            }
        };
        let (landed, landing) = watch::channel(None);
        waiting.flights.insert(credentials, landing.clone());
        drop(waiting);
        let place = Place {
            queue: Arc::clone(self),
            credentials,
            network,
        };
        tokio::spawn(async move {
            let came = place.compute(turns, compute).await;
            // First: whoever comes after the verdict finds it remembered, or computes anew.
            drop(place);
            let _ = landed.send(Some(came));
        });
        Ok(landing)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nothing is computed any more.
    #[cfg(test)]
    pub(super) fn close(&self) {
        self.threads.close();
    }

    /// Nothing is computed while this is held.
    #[cfg(test)]
    pub(super) fn hold(&self) -> tokio::sync::SemaphorePermit<'_> {
        let threads = u32::try_from(self.threads.available_permits()).expect("few");
        self.threads.try_acquire_many(threads).expect("idle")
    }

    /// How many computations wait or run.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting().flights.len()
    }
}

/// One place among those who wait, given back when it is dropped.
struct Place {
    queue: Arc<Queue>,
    credentials: Digest,
    network: Option<IpAddr>,
}

impl Place {
    async fn compute(
        &self,
        turns: Option<Arc<Semaphore>>,
        compute: impl FnOnce() -> Verdict + Send + 'static,
    ) -> Landing {
        let wait = async {
            let turn = match &turns {
                Some(turns) => Some(turns.acquire().await.ok()?),
                None => None,
            };
            Some((turn, self.queue.threads.acquire().await.ok()?))
        };
        let Ok(Some(_held_until_done)) = tokio::time::timeout(PATIENCE, wait).await else {
            return Landing::TurnedAway;
        };
        match tokio::task::spawn_blocking(compute).await {
            Ok(verdict) => Landing::Verified(verdict),
            Err(_) => Landing::TurnedAway,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.queue.waiting();
        waiting.flights.remove(&self.credentials);
        if let Some(address) = self.network
            && let Some(network) = waiting.networks.get_mut(&address)
        {
            network.places -= 1;
            if network.places == 0 {
                waiting.networks.remove(&address);
            }
        }
    }
}

fn busy() -> Error {
    Error::new(
        ErrorKind::RateLimited,
        "too many passwords are being verified; try again",
    )
    .with_retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn id(number: usize) -> Digest {
        Digest::of(&number.to_le_bytes())
    }

    fn from(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[tokio::test]
    async fn the_same_credentials_are_computed_once() {
        let queue = Queue::new();
        let computed = Arc::new(AtomicUsize::new(0));
        let held = queue.hold();
        let all = (0..100).map(|number| {
            let computed = Arc::clone(&computed);
            // From everywhere: who joins needs no place.
            queue.verify(id(1), from(number), move || {
                computed.fetch_add(1, Ordering::SeqCst);
                Some("ci".into())
            })
        });
        let all = futures_util::future::join_all(all);
        let release = async {
            while queue.len() == 0 {
                tokio::task::yield_now().await;
            }
            drop(held);
        };
        let (all, ()) = tokio::join!(all, release);
        assert!(
            all.iter()
                .all(|one| matches!(one, Ok(Some(name)) if **name == *"ci"))
        );
        assert_eq!(computed.load(Ordering::SeqCst), 1);
        assert_eq!(queue.len(), 0);
        assert!(queue.waiting().networks.is_empty());
        // Nothing of it is kept: the next one computes anew.
        let again = queue.verify(id(1), from(1), || None).await;
        assert_eq!(again.expect("computed"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_has_its_share_and_nobody_waits_for_ever() {
        let queue = Queue::new();
        let _held = queue.hold();
        let mut waiting = Vec::new();
        for number in 0..SHARE {
            let landing = queue.board(id(number), from(1), || None);
            waiting.push(landing.expect("a place"));
        }
        let error = queue.board(id(SHARE), from(1), || None).map(|_| ());
        let error = error.expect_err("its share is used up");
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert!(error.retry_after().is_some());
        for number in SHARE..PLACES {
            let network = u8::try_from(number / SHARE + 1).expect("few");
            let landing = queue.board(id(number), from(network), || None);
            waiting.push(landing.expect("a place"));
        }
        assert!(queue.board(id(PLACES), from(200), || None).is_err());
        assert!(queue.board(id(PLACES), None, || None).is_err());
        // The clock moves by itself while everybody waits.
        for mut landing in waiting {
            let landed = landing.wait_for(Option::is_some).await.expect("an answer");
            assert!(matches!(&*landed, Some(Landing::TurnedAway)));
        }
        assert_eq!(queue.len(), 0);
    }

    #[tokio::test]
    async fn a_newcomer_waits_behind_two_of_a_network() {
        let queue = Queue::new();
        let held = queue.hold();
        let done = Arc::new(Mutex::new(Vec::new()));
        let mut all = Vec::new();
        let note = |who: u8| {
            let done = Arc::clone(&done);
            move || {
                done.lock().expect("no panic").push(who);
                None
            }
        };
        for number in 0..SHARE {
            let landing = queue.board(id(number), from(1), note(1));
            all.push(landing.expect("a place"));
        }
        // Until both of its turns stand in line.
        while queue.waiting().networks[&from(1).expect("one")]
            .turns
            .available_permits()
            > 0
        {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        let landing = queue.board(id(1_000), from(2), note(2));
        all.push(landing.expect("a place"));
        while queue.waiting().networks[&from(2).expect("one")]
            .turns
            .available_permits()
            == TURNS
        {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        drop(held);
        for mut landing in all {
            let _ = landing.wait_for(Option::is_some).await.expect("an answer");
        }
        let done = done.lock().expect("no panic");
        let place = done.iter().position(|who| *who == 2).expect("computed");
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        assert!(place <= TURNS + threads, "{done:?}");
    }
}
