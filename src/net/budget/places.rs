//! Requests at a time: who comes first is served first.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of one upstream; without a limit there are always enough.
#[derive(Debug)]
pub(super) struct Places {
    all: Option<(Arc<Semaphore>, usize)>,
    waiting: AtomicUsize,
}

/// A request that is under way, until the last byte of its answer.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(limit: Option<u32>) -> Self {
        let all = limit.map(|limit| {
            let limit = usize::try_from(limit).unwrap_or(Semaphore::MAX_PERMITS);
            let limit = limit.clamp(1, Semaphore::MAX_PERMITS);
            (Arc::new(Semaphore::new(limit)), limit)
        });
        Self {
            all,
            waiting: AtomicUsize::new(0),
        }
    }

    /// A place, where one is free and nobody waits for it. `Some(None)`: none is needed.
    pub(super) fn take_now(&self) -> Option<Option<Place>> {
        let Some((places, _)) = &self.all else {
            return Some(None);
        };
        let permit = Arc::clone(places).try_acquire_owned().ok()?;
        Some(Some(Place { _permit: permit }))
    }

    /// A place, once those who came before have had theirs. `None`: none became free in time.
    pub(super) async fn wait(&self, patience: Duration) -> Option<Place> {
        let (places, _) = self.all.as_ref()?;
        let _waiting = Waiting::begin(&self.waiting);
        let permit = tokio::time::timeout(patience, Arc::clone(places).acquire_owned());
        // It is never closed.
        let permit = permit.await.ok()?.ok()?;
        Some(Place { _permit: permit })
    }

    pub(super) fn is_full(&self) -> bool {
        let places = self.all.as_ref();
        places.is_some_and(|(places, _)| places.available_permits() == 0)
    }

    /// The limit, places in use, and requests that wait for one. `None`: there is no limit.
    pub(super) fn count(&self) -> Option<(usize, usize, usize)> {
        let (places, limit) = self.all.as_ref()?;
        let in_use = limit.saturating_sub(places.available_permits());
        Some((*limit, in_use, self.waiting.load(Ordering::Relaxed)))
    }
}

/// Counts also those who leave.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
