//! The levers of a running server, and the signals that pull them.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};

use crate::error::{Error, Result};

/// Steers a server from outside; cheap to clone. Fed by signals in production, by tests directly.
#[derive(Clone, Debug)]
pub struct Control(Arc<Levers>);

#[derive(Debug)]
struct Levers {
    phase: watch::Sender<Phase>,
    reload: Notify,
    hand_over: Notify,
}

/// How far a server's life has come. Only ever moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    Draining,
    Stopping,
}

impl Control {
    pub(super) fn new() -> Self {
        Self(Arc::new(Levers {
            phase: watch::Sender::new(Phase::Serving),
            reload: Notify::new(),
            hand_over: Notify::new(),
        }))
    }

    /// Whether the server has stopped accepting and waits for requests in flight: not ready any more.
    pub fn draining(&self) -> bool {
        *self.0.phase.borrow() != Phase::Serving
    }

    /// Stop accepting, let requests in flight end, then return from [`super::Server::run`] (SIGTERM).
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Cut every connection and return from [`super::Server::run`] (SIGINT).
    pub fn stop(&self) {
        self.advance(Phase::Stopping);
    }

    /// Reread certificates and call [`super::Hooks::reload`] (SIGHUP). Calls during a reload become one more.
    pub fn reload(&self) {
        self.0.reload.notify_one();
    }

    /// Hand the listening sockets to a successor, then drain (SIGQUIT). Serving goes on where no successor takes them.
    pub fn hand_over(&self) {
        self.0.hand_over.notify_one();
    }

    fn advance(&self, to: Phase) {
        self.0.phase.send_if_modified(|phase| {
            let later = *phase < to;
            if later {
                *phase = to;
            }
            later
        });
    }

    /// Waits until the server's life has come at least this far.
    pub(super) async fn reached(&self, phase: Phase) {
        let mut watch = self.0.phase.subscribe();
        // An error means that the sender is gone, and `self` holds it.
        let _ = watch.wait_for(|now| *now >= phase).await;
    }

    pub(super) async fn reload_wanted(&self) {
        self.0.reload.notified().await;
    }

    pub(super) async fn hand_over_wanted(&self) {
        self.0.hand_over.notified().await;
    }
}

/// Turns SIGTERM, SIGINT, SIGHUP and SIGQUIT into calls of `control` for the rest of the process's life; a second SIGTERM
/// stops at once. Must be called on a tokio runtime, once.
pub fn signals(control: Control) -> Result<()> {
    let listen = |kind, name: &str| {
        signal(kind).map_err(|err| Error::internal(format!("cannot listen for {name}"), err))
    };
    let mut terminate = listen(SignalKind::terminate(), "SIGTERM")?;
    let mut interrupt = listen(SignalKind::interrupt(), "SIGINT")?;
    let mut hangup = listen(SignalKind::hangup(), "SIGHUP")?;
    let mut quit = listen(SignalKind::quit(), "SIGQUIT")?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => match control.draining() {
                    false => control.drain(),
                    true => control.stop(),
                },
                _ = interrupt.recv() => control.stop(),
                _ = hangup.recv() => control.reload(),
                _ = quit.recv() => control.hand_over(),
            }
        }
    });
    Ok(())
}
