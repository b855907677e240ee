//! Which fills are under way, so that those who want the same object share one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

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
    by_request: HashMap<Key, View>,
    by_digest: HashMap<(Digest, Sharing), View>,
}

/// A fill under way, seen by those who may join it.
#[derive(Clone, Debug)]
struct View {
    state: watch::Receiver<State>,
    readers: Weak<()>,
}

/// Somebody who reads, or is about to: while there is one, nothing is given up.
pub(crate) type Reader = Arc<()>;

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
    Lead(Lead, watch::Receiver<State>, Reader),
    /// Somebody fetches it.
    Follow(watch::Receiver<State>, Reader),
    /// Somebody fetches these very bytes under another name: a success is as good, a failure says nothing.
    FollowOther(watch::Receiver<State>, Reader),
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
        // Whoever leads has one of the readers' marks, so that there is one as long as the seat is taken.
        let join = |view: &View| Some((view.state.clone(), view.readers.upgrade()?));
        if let Some((state, reader)) = seats.by_request.get(&key).and_then(join) {
            return Place::Follow(state, reader);
        }
        if sharing != Sharing::Nobody
            && let Some(digest) = request.expect
            && let Some(view) = seats.by_digest.get(&(digest, request.sharing))
            && let Some((state, reader)) = join(view)
        {
            return Place::FollowOther(state, reader);
        }
        let (sender, state) = watch::channel(State::Starting);
        let readers = Reader::default();
        let view = View {
            state: state.clone(),
            readers: Arc::downgrade(&readers),
        };
        if let Some(digest) = digest {
            seats
                .by_digest
                .entry(digest)
                .or_insert_with(|| view.clone());
        }
        seats.by_request.insert(key.clone(), view);
        self.count.send_modify(|count| *count += 1);
        let seat = Seat {
            running: Arc::clone(self),
            key,
            digest,
            state: state.clone(),
        };
        let reader = Arc::clone(&readers);
        let lead = Lead {
            seat,
            readers,
            sender,
        };
        Place::Lead(lead, state, reader)
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
    /// With others who say the same, who may also have what [`Sharing::Sharers`] brought. An index names any digest it likes: that
    /// opens nothing that came with [`Sharing::Nobody`].
    Charts,
    /// What anybody brought is as good, because the digest itself is from whoever may read the bytes; what comes is not for
    /// [`Sharing::Sharers`].
    Everybody,
}

/// The right to fetch. Dropping it, however that happens, frees the seat first and then tells readers that it is over.
#[derive(Debug)]
pub(crate) struct Lead {
    seat: Seat,
    readers: Reader,
    sender: watch::Sender<State>,
}

impl Lead {
    /// Tells all readers.
    pub(crate) fn publish(&self, state: State) {
        self.sender.send_replace(state);
    }

    /// Whether somebody reads, or is about to.
    pub(crate) fn is_read(&self) -> bool {
        Arc::strong_count(&self.readers) > 1
    }

    /// Frees the seat if nobody reads. `true`: it is free, and nobody will ever see what becomes of this fill.
    pub(crate) fn give_up(&self) -> bool {
        // Readers come under this lock.
        let mut seats = self.seat.lock();
        let nobody = !self.is_read();
        if nobody {
            self.seat.free(&mut seats);
        }
        nobody
    }
}

#[derive(Debug)]
struct Seat {
    running: Arc<Running>,
    key: Key,
    digest: Option<(Digest, Sharing)>,
    state: watch::Receiver<State>,
}

impl Seat {
    fn lock(&self) -> MutexGuard<'_, Seats> {
        let seats = self.running.seats.lock();
        seats.unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes this fill out of the tables, and leaves one alone that has come after it.
    fn free(&self, seats: &mut Seats) {
        let is_this =
            |view: Option<&View>| view.is_some_and(|view| view.state.same_channel(&self.state));
        if is_this(seats.by_request.get(&self.key)) {
            seats.by_request.remove(&self.key);
        }
        if let Some(digest) = &self.digest
            && is_this(seats.by_digest.get(digest))
        {
            seats.by_digest.remove(digest);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.free(&mut self.lock());
        self.running.count.send_modify(|count| *count -= 1);
    }
}
