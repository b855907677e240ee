//! Looking at the place in the background, as long as the store lives.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::folder::Folder;
use super::place::Place;
use super::rescan::Depth;
use super::{Hosted, blocking};
use crate::error::{Error, Result};

impl Hosted {
    /// Keeps the index up to date with the place until `shutdown` completes, and saves the state from time to time and at the
    /// end.
    ///
    /// A folder is looked at thoroughly at once, then `every` so often and thoroughly every few minutes; where nobody has asked
    /// for a while ([`Hosted::note_use`]) seldom, and when somebody asks. A bucket is listed at
    /// once and then as often as `store.refresh` says (zero: no more); again soon after a listing that failed.
    pub async fn watch(self: Arc<Self>, every: Duration, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            () = shutdown => {}
            () = self.keep_looking(every) => {}
        }
        if let Err(error) = self.flush().await {
            tracing::warn!(tenant.name = %self.tenant, error = %error.chain(), "the state of the hosted store was not saved");
        }
    }

    async fn keep_looking(self: &Arc<Self>, every: Duration) {
        let mut looks = Schedule::new(&self.place, self.refresh);
        let (mut trouble, mut unsaved) = (Trouble::default(), Trouble::default());
        loop {
            let looked = match &self.place {
                _ if looks.is_due() => {
                    let looked = self.rescan(Depth::Files).await;
                    looks.note(&looked);
                    Some(looked)
                }
                Place::Folder(folder) => Some(self.glance(folder).await),
                Place::Bucket(_) => None,
            };
            if let Some(looked) = looked {
                trouble.tell(
                    looked,
                    |error| tracing::warn!(tenant.name = %self.tenant, %error, "the hosted store cannot be looked at; serving what is known"),
                    || tracing::info!(tenant.name = %self.tenant, "the hosted store can be looked at again"),
                );
            }
            if self.keeper.is_due() {
                unsaved.tell(
                    self.flush().await,
                    |error| tracing::warn!(tenant.name = %self.tenant, %error, "the state of the hosted store cannot be saved; the next start reads more"),
                    || tracing::info!(tenant.name = %self.tenant, "the state of the hosted store can be saved again"),
                );
            }
            self.interest.rest(every).await;
        }
    }

    /// The cheap look: lists names only if the folder's time says that they changed.
    async fn glance(self: &Arc<Self>, folder: &Arc<Folder>) -> Result<()> {
        let (this, folder) = (Arc::clone(self), Arc::clone(folder));
        let glanced = blocking(move || {
            let modified = folder
                .modified()
                .map_err(|error| Error::internal("the hosted folder cannot be looked at", error))?;
            let sightings = this.sightings();
            let unsettled: Vec<_> = sightings.unsettled.iter().cloned().collect();
            Ok((sightings.folder != Some(modified), unsettled))
        })
        .await;
        let (names_changed, unsettled) = glanced.inspect_err(|error| self.sight.failed(error))?;
        if names_changed {
            return self.rescan(Depth::Names).await;
        }
        if !unsettled.is_empty() {
            self.refresh(unsettled).await?;
        }
        self.note_complete();
        Ok(())
    }
}

/// When the next thorough look is due.
#[derive(Debug)]
struct Schedule {
    /// Zero: never again.
    every: Duration,
    next: Option<Instant>,
    failures: u32,
}

impl Schedule {
    fn new(place: &Place, refresh: Duration) -> Self {
        Self {
            every: match place {
                Place::Folder(_) => THOROUGH_EVERY,
                Place::Bucket(_) => refresh,
            },
            next: Some(Instant::now()),
            failures: 0,
        }
    }

    fn is_due(&self) -> bool {
        self.next.is_some_and(|at| Instant::now() >= at)
    }

    fn note(&mut self, looked: &Result<()>) {
        let wait = match looked {
            Ok(()) => {
                self.failures = 0;
                Some(self.every).filter(|every| !every.is_zero())
            }
            Err(error) => {
                let patience = FIRST_RETRY * (1 << self.failures.min(6));
                self.failures = self.failures.saturating_add(1);
                let asked = error.retry_after().unwrap_or_default();
                let most = if self.every.is_zero() {
                    THOROUGH_EVERY
                } else {
                    self.every
                };
                Some(patience.min(most).max(asked))
            }
        };
        self.next = wait.map(|wait| Instant::now() + wait);
    }
}

/// Says what goes wrong once when it starts and once when it ends, not every second.
#[derive(Debug, Default)]
struct Trouble(Option<String>);

impl Trouble {
    fn tell(&mut self, result: Result<()>, starts: impl FnOnce(&str), ends: impl FnOnce()) {
        let now = result.err().map(|error| error.chain());
        match &now {
            Some(error) if self.0.is_none() => starts(error),
            None if self.0.is_some() => ends(),
            Some(_) | None => {}
        }
        self.0 = now;
    }
}

/// A rewritten file shows in its own time only; this long it may go unnoticed unless somebody asks for it.
const THOROUGH_EVERY: Duration = Duration::from_secs(300);
/// How soon a listing that failed is tried again; then twice as long each time, up to the ordinary pause.
const FIRST_RETRY: Duration = Duration::from_secs(1);
