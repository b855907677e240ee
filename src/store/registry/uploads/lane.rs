//! Blocking work in steps, one after the other, beside whoever gives it out.

use tokio::task::JoinHandle;

use crate::error::{Error, Result};

/// Runs one step at a time on the blocking pool; between two steps it holds no thread, so that a slow client costs none.
#[derive(Debug, Default)]
pub(super) struct Lane(Option<JoinHandle<Result<()>>>);

impl Lane {
    /// Waits for the step before, and starts the next one. Errors are those of the step before.
    ///
    /// Steps that were started run to their end even if the caller goes away.
    pub(super) async fn next(
        &mut self,
        step: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<()> {
        self.end().await?;
        self.0 = Some(tokio::task::spawn_blocking(step));
        Ok(())
    }

    /// Whether a step is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.0.as_ref().is_some_and(|step| !step.is_finished())
    }

    /// Waits for the last step.
    pub(super) async fn end(&mut self) -> Result<()> {
        match self.0.take() {
            None => Ok(()),
            Some(step) => step
                .await
                .map_err(|error| Error::internal("work on an upload ended early", error))?,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn steps_run_in_order_and_an_error_is_told_once() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut lane = Lane::default();
        for number in 0..20 {
            let seen = Arc::clone(&seen);
            let step = move || {
                seen.lock().expect("unpoisoned").push(number);
                Ok(())
            };
            lane.next(step).await.expect("fine");
        }
        lane.next(|| Err(Error::invalid("no"))).await.expect("fine");
        assert!(lane.next(|| Ok(())).await.is_err());
        assert!(lane.end().await.is_ok());
        assert_eq!(
            *seen.lock().expect("unpoisoned"),
            (0..20).collect::<Vec<_>>()
        );
    }
}
