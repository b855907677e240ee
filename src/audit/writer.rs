//! The thread that writes: takes events from the queue, says how many are missing, ends when it is told to.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use super::event::{Event, gap};
use super::sink::Sink;
use super::{Desk, Message};

/// How often denials that stood long enough are looked for, and how long a gap may be untold.
const TICK: Duration = Duration::from_secs(5);
/// How many events are taken before they are handed to the system.
const BATCH: usize = 256;
/// How long a place that failed is left alone.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    pub(super) queue: Receiver<Message>,
    pub(super) sink: Sink,
    pub(super) desk: Arc<Desk>,
    /// When the place failed; nothing is tried for a moment then.
    pub(super) failed: Option<Instant>,
}

/// What is in the queue now.
enum Next {
    More,
    /// Nothing, for now.
    Later,
    /// Nobody is left who could put something in.
    Never,
}

impl Writer {
    /// Runs until [`super::Audit::close`] or until nobody can record any more.
    pub(super) fn run(mut self) {
        let mut swept = Instant::now();
        loop {
            let (events, next) = self.take();
            if self.desk.reopen.swap(false, Ordering::AcqRel) {
                self.sink.reopen();
                self.failed = None;
            }
            let ending = match next {
                Next::More => false,
                Next::Later => self.desk.closing.load(Ordering::Acquire),
                Next::Never => true,
            };
            let counts = if ending {
                self.desk.repeats().all(self.desk.clock.now())
            } else if swept.elapsed() >= TICK {
                swept = Instant::now();
                self.desk.repeats().expired(self.desk.clock.now())
            } else {
                Vec::new()
            };
            self.write(events.iter().chain(&counts), ending);
            if ending {
                if let Err(error) = self.sink.sync() {
                    tracing::error!("the audit log could not be ended well: {error}");
                }
                return;
            }
        }
    }

    /// The next events, at most [`BATCH`]. Waits a while for the first.
    fn take(&self) -> (Vec<Event>, Next) {
        let mut events = Vec::new();
        match self.queue.recv_timeout(TICK) {
            Ok(Message::Event(event)) => events.push(*event),
            Ok(Message::Wake) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return (events, Next::Never),
        }
        while events.len() < BATCH {
            match self.queue.try_recv() {
                Ok(Message::Event(event)) => events.push(*event),
                Ok(Message::Wake) => {}
                Err(TryRecvError::Empty) => return (events, Next::Later),
                Err(TryRecvError::Disconnected) => return (events, Next::Never),
            }
        }
        (events, Next::More)
    }

    fn write<'e>(&mut self, events: impl Iterator<Item = &'e Event>, ending: bool) {
        let lines: Vec<Vec<u8>> = events.map(Event::render).collect();
        let count = lines.len() as u64;
        let resting = self.failed.is_some_and(|since| since.elapsed() < PAUSE);
        if resting && !ending {
            self.desk.lose(count);
            return;
        }
        let lost = self.desk.lost.swap(0, Ordering::AcqRel);
        if lost == 0 && lines.is_empty() {
            return;
        }
        match self.put(&lines, lost) {
            Ok(()) => {
                self.desk.metrics.audit_lines("written", count);
                if lost > 0 {
                    tracing::error!(
                        "{lost} lines of the audit log are missing: it could not be written in time"
                    );
                }
                if self.failed.take().is_some() {
                    tracing::info!("the audit log is written again");
                }
            }
            Err(error) => {
                // The gap is told when lines can be written again; it is in the metric already.
                self.desk.lost.fetch_add(lost, Ordering::AcqRel);
                self.desk.lose(count);
                if self.failed.replace(Instant::now()).is_none() {
                    tracing::error!(
                        "the audit log cannot be written, its lines are lost until it can: {error}"
                    );
                }
            }
        }
    }

    fn put(&mut self, lines: &[Vec<u8>], lost: u64) -> std::io::Result<()> {
        if lost > 0 {
            self.sink.line(&gap(self.desk.clock.now(), lost))?;
        }
        for line in lines {
            self.sink.line(line)?;
        }
        self.sink.flush()
    }
}
