//! Questions under way: those who want the same answer at the same time share it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::error::{Error, ErrorKind, Result};

/// Questions under way, by what is asked. The work is done by a task of its own: one who leaves stops nothing.
#[derive(Debug)]
pub struct Flights<T> {
    running: Mutex<HashMap<String, watch::Receiver<Option<T>>>>,
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self {
            running: Mutex::default(),
        }
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// The outcome of `work`, or of the work for the same `key` that is under way already. Must be called inside the runtime.
    ///
    /// Errors: the task died. Cancel-safe.
    pub async fn join<W>(self: &Arc<Self>, key: &str, work: impl FnOnce() -> W) -> Result<T>
    where
        W: Future<Output = T> + Send + 'static,
    {
        let mut outcome = self.enter(key, work);
        let outcome = outcome.wait_for(Option::is_some).await;
        outcome
            .ok()
            .and_then(|outcome| outcome.clone())
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a question stopped unexpectedly"))
    }

    /// How many are under way.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn enter<W>(self: &Arc<Self>, key: &str, work: impl FnOnce() -> W) -> watch::Receiver<Option<T>>
    where
        W: Future<Output = T> + Send + 'static,
    {
        let mut running = self.lock();
        if let Some(outcome) = running.get(key) {
            return outcome.clone();
        }
        let (sender, outcome) = watch::channel(None);
        running.insert(key.to_owned(), outcome.clone());
        let seat = Seat {
            flights: Arc::clone(self),
            key: key.to_owned(),
        };
        let flight = Flight { seat, sender };
        let work = work();
        tokio::spawn(flight.run(work));
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Receiver<Option<T>>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One task. Before anybody hears how it ended, whoever comes asks anew: fields are dropped in this order.
struct Flight<T> {
    seat: Seat<T>,
    sender: watch::Sender<Option<T>>,
}

impl<T> Flight<T> {
    async fn run(self, work: impl Future<Output = T>) {
        let result = work.await;
        drop(self.seat);
        self.sender.send_replace(Some(result));
    }
}

/// Leaves the table, however the task ends.
struct Seat<T> {
    flights: Arc<Flights<T>>,
    key: String,
}

impl<T> Drop for Seat<T> {
    fn drop(&mut self) {
        let running = self.flights.running.lock();
        running
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn those_who_ask_at_the_same_time_share_one_answer() {
        let flights = Arc::new(Flights::<usize>::default());
        let runs = Arc::new(AtomicUsize::new(0));
        let go = Arc::new(tokio::sync::Semaphore::new(0));
        let ask = || {
            let (flights, runs, go) = (flights.clone(), runs.clone(), go.clone());
            tokio::spawn(async move {
                let work = || async move {
                    let _ = go.acquire().await.expect("open");
                    runs.fetch_add(1, Ordering::SeqCst)
                };
                flights.join("a", work).await
            })
        };
        let (first, second) = (ask(), ask());
        while flights.count() == 0 {
            tokio::task::yield_now().await;
        }
        first.abort();
        let third = ask();
        tokio::task::yield_now().await;
        go.add_permits(1);
        assert_eq!(second.await.expect("no panic").expect("an answer"), 0);
        assert_eq!(third.await.expect("no panic").expect("an answer"), 0);
        assert_eq!(flights.count(), 0);
        assert_eq!(ask().await.expect("no panic").expect("an answer"), 1);
    }

    #[tokio::test]
    async fn work_that_dies_is_an_error_and_leaves_no_trace() {
        let flights = Arc::new(Flights::<usize>::default());
        let dead = flights.join("a", || async { panic!("dead") }).await;
        assert_eq!(dead.expect_err("dead").kind(), ErrorKind::Internal);
        assert_eq!(flights.join("a", || async { 7 }).await.expect("alive"), 7);
    }
}
