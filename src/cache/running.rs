//! Which fills are under way, so that those who want the same object share one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::fill::FillRequest;
use super::follow::State;
use crate::config::OnDigestMismatch;
use crate::digest::Digest;

/// The fills under way, by what was asked for and by the digest that they are held to.
#[derive(Debug)]
pub(crate) struct Running {
    seats: Mutex<Seats>,
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Seats {
    by_request: HashMap<Key, watch::Receiver<State>>,
    by_digest: HashMap<(Digest, Sharing), watch::Receiver<State>>,
}

/// Requests that may share everything, failures too: the same object of the same upstream under the same rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    name: String,
    expect: Option<Digest>,
    strict: bool,
}

/// What to do about a request.
#[derive(Debug)]
pub(crate) enum Place {
    /// Nobody fetches it: lead.
    Lead(Lead, watch::Receiver<State>),
    /// Somebody fetches it.
    Follow(watch::Receiver<State>),
    /// Somebody fetches these very bytes under another name: a success is as good, a failure says nothing.
    FollowOther(watch::Receiver<State>),
}

impl Default for Running {
    fn default() -> Self {
        Self {
            seats: Mutex::default(),
            count: watch::Sender::new(0),
        }
    }
}

impl Running {
    /// Finds or takes the seat of `request`.
    pub(crate) fn enter(self: &Arc<Self>, request: &FillRequest, sharing: Sharing) -> Place {
        let strict = request.on_mismatch == OnDigestMismatch::Reject;
        let key = Key {
            name: request.name.clone(),
            expect: request.expect,
            strict,
        };
        // Only a fill that ends with these bytes or not at all can stand for others.
        let only_one = strict && request.also_accept.is_empty();
        let digest = request
            .expect
            .filter(|_| only_one && request.sharing != Sharing::Nobody)
            .map(|digest| (digest, request.sharing));
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = seats.by_request.get(&key) {
            return Place::Follow(state.clone());
        }
        if sharing != Sharing::Nobody
            && let Some(state) = request
                .expect
                .and_then(|digest| seats.by_digest.get(&(digest, request.sharing)))
        {
            return Place::FollowOther(state.clone());
        }
        let (sender, state) = watch::channel(State::Starting);
        seats.by_request.insert(key.clone(), state.clone());
        if let Some(digest) = digest {
            seats
                .by_digest
                .entry(digest)
                .or_insert_with(|| state.clone());
        }
        self.count.send_modify(|count| *count += 1);
        let seat = Seat {
            running: Arc::clone(self),
            key,
            digest,
            state: state.clone(),
        };
        Place::Lead(
            Lead {
                _seat: seat,
                sender,
            },
            state,
        )
    }

    /// Something under way that is no fill, until it is dropped.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.count.send_modify(|count| *count += 1);
        Busy(Arc::clone(self))
    }

    /// How many fills are under way.
    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until none is.
    pub(crate) async fn idle(&self) {
        // The sender lives as long as `self`.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// See [`Running::busy`].
#[derive(Debug)]
pub(crate) struct Busy(Arc<Running>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.count.send_modify(|count| *count -= 1);
    }
}

/// With whom bytes of the same digest may be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// With the same request only: what others brought does not count, and what comes is for no others.
    Nobody,
    /// With others who say the same.
    Sharers,
    /// What anybody brought is as good, because the digest itself is from whoever may read the bytes; what comes is not for
    /// [`Sharing::Sharers`].
    Everybody,
}

/// The right to fetch. Dropping it, however that happens, frees the seat first and then tells readers that it is over.
#[derive(Debug)]
pub(crate) struct Lead {
    _seat: Seat,
    sender: watch::Sender<State>,
}

impl Lead {
    /// Tells all readers.
    pub(crate) fn publish(&self, state: State) {
        self.sender.send_replace(state);
    }
}

#[derive(Debug)]
struct Seat {
    running: Arc<Running>,
    key: Key,
    digest: Option<(Digest, Sharing)>,
    state: watch::Receiver<State>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self
            .running
            .seats
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        seats.by_request.remove(&self.key);
        if let Some(digest) = self.digest
            && let Some(state) = seats.by_digest.get(&digest)
            && state.same_channel(&self.state)
        {
            seats.by_digest.remove(&digest);
        }
        drop(seats);
        self.running.count.send_modify(|count| *count -= 1);
    }
}
