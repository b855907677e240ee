//! Looking at the folder in the background, as long as the store lives.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::rescan::Depth;
use super::{Hosted, blocking};
use crate::error::{Error, Result};

impl Hosted {
    /// Keeps the index up to date with the folder until `shutdown` completes: a thorough look at once, then a look `every` so
    /// often and a thorough one every few minutes. Saves the state from time to time and at the end.
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
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut thorough = Instant::now();
        let mut trouble = None;
        loop {
            ticks.tick().await;
            let result = if Instant::now() >= thorough {
                thorough = Instant::now() + THOROUGH_EVERY;
                self.rescan(Depth::Files).await
            } else {
                self.glance().await
            };
            let result = match result {
                Ok(()) if self.keeper.is_due() => self.flush().await,
                other => other,
            };
            // One line when it starts to fail and one when it ends, not one a second.
            let now = result.err().map(|error| error.chain());
            if now != trouble {
                match &now {
                    Some(error) => {
                        tracing::warn!(tenant.name = %self.tenant, %error, "the hosted folder cannot be looked at; serving what is known");
                    }
                    None => {
                        tracing::info!(tenant.name = %self.tenant, "the hosted folder can be looked at again");
                    }
                }
                trouble = now;
            }
        }
    }

    /// The cheap look: lists names only if the folder's time says that they changed.
    async fn glance(self: &Arc<Self>) -> Result<()> {
        let this = Arc::clone(self);
        let (names_changed, unsettled) = blocking(move || {
            let modified = this
                .folder
                .modified()
                .map_err(|error| Error::internal("the hosted folder cannot be looked at", error))?;
            let sightings = this.sightings();
            let unsettled: Vec<_> = sightings.unsettled.iter().cloned().collect();
            Ok((sightings.folder != Some(modified), unsettled))
        })
        .await?;
        if names_changed {
            return self.rescan(Depth::Names).await;
        }
        if unsettled.is_empty() {
            return Ok(());
        }
        self.refresh(unsettled).await
    }
}

/// A rewritten file shows in its own time only; this long it may go unnoticed unless somebody asks for it.
const THOROUGH_EVERY: Duration = Duration::from_secs(300);
