//! The audit log: one line of JSON for every push, deletion, denied request and action of an operator.
//!
//! [`Audit::record`] never blocks: lines are written by a thread behind a bounded queue. What does not fit is counted, in the log
//! itself and in a metric. Knows identities, but neither routes nor how an answer is worded.

mod event;
mod repeats;
mod sink;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

pub(crate) use self::event::cut;
pub use self::event::{Event, Object, Outcome, Who, error_word};
use self::repeats::Repeats;
use self::sink::Sink;
use self::writer::Writer;
use crate::clock::Clock;
use crate::config::{self, AuditPlace};
use crate::error::{Error, Result};
use crate::metrics::Metrics;

/// How many events may wait; each has less than 4 KiB.
const QUEUE: usize = 8_192;
/// How long [`Audit::close`] waits for lines to be written, and [`Audit::record_patiently`] for room.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks for room.
const ROOM_LOOK: Duration = Duration::from_millis(2);

/// The audit log of a process. Shared behind an `Arc`.
#[derive(Debug)]
pub struct Audit(Option<Open>);

#[derive(Debug)]
struct Open {
    queue: SyncSender<Message>,
    desk: Arc<Desk>,
    /// Disconnected when the thread has ended.
    ended: Mutex<Receiver<()>>,
}

/// What the thread is sent.
enum Message {
    Event(Box<Event>),
    /// Look at what else is to be done.
    Wake,
}

/// What both sides know.
#[derive(Debug)]
struct Desk {
    repeats: Mutex<Repeats>,
    /// Lines that are missing and were not told yet.
    lost: AtomicU64,
    /// Lines that are missing, told or not.
    missing: AtomicU64,
    reopen: AtomicBool,
    closing: AtomicBool,
    metrics: Arc<Metrics>,
    clock: Clock,
}

impl Audit {
    /// One that writes nothing.
    pub fn off() -> Self {
        Self(None)
    }

    /// Opens what `audit:` names and starts the thread. Errors: the file cannot be opened. Blocking.
    pub fn open(
        config: Option<&config::Audit>,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Self> {
        match config {
            Some(config) => Self::with_room(config, QUEUE, metrics, clock),
            None => Ok(Self::off()),
        }
    }

    fn with_room(
        config: &config::Audit,
        room: usize,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Self> {
        let sink = Sink::open(config).map_err(|cause| {
            let place = match &config.place {
                AuditPlace::Stdout => "standard output".into(),
                AuditPlace::File(path) => path.display().to_string(),
            };
            Error::internal(
                format!("cannot open the audit log `{place}`: {cause}; set `audit.file` to a place that can be written"),
                cause,
            )
        })?;
        let desk = Arc::new(Desk {
            repeats: Mutex::default(),
            lost: AtomicU64::new(0),
            missing: AtomicU64::new(0),
            reopen: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            metrics,
            clock,
        });
        let (queue, waiting) = sync_channel(room);
        let (end, ended) = sync_channel(1);
        let writer = Writer {
            queue: waiting,
            sink,
            desk: desk.clone(),
            failed: None,
        };
        std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || {
                // Dropped when the thread ends, however it does.
                let _end: SyncSender<()> = end;
                writer.run();
            })
            .map_err(|cause| Error::internal("cannot start the thread of the audit log", cause))?;
        Ok(Self(Some(Open {
            queue,
            desk,
            ended: Mutex::new(ended),
        })))
    }

    /// Whether anything is written at all, so that nobody gathers what nobody reads.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The time, for an event.
    pub fn now(&self) -> Timestamp {
        self.0
            .as_ref()
            .map_or(Timestamp::UNIX_EPOCH, |open| open.desk.clock.now())
    }

    /// Takes one event. Never blocks on the file: where the queue is full, the event is counted as lost. Of denials that are alike
    /// the first is written at once and how many followed once a minute.
    pub fn record(&self, event: Event) {
        let Some(open) = &self.0 else { return };
        if event.result == Outcome::Denied && !open.desk.repeats().admit(&event) {
            return;
        }
        match open.queue.try_send(Message::Event(Box::new(event))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => open.desk.lose(1),
        }
    }

    /// The same for commands, which change more at a time than the queue holds and for whom nobody waits: waits for room, for five
    /// seconds at most. Blocking; not for requests.
    #[expect(
        clippy::disallowed_methods,
        reason = "commands have a thread of their own, and the queue tells nobody of room"
    )]
    pub fn record_patiently(&self, event: Event) {
        let Some(open) = &self.0 else { return };
        let end = Instant::now() + PATIENCE;
        let mut message = Message::Event(Box::new(event));
        while let Err(refused) = open.queue.try_send(message) {
            match refused {
                TrySendError::Full(back) if Instant::now() < end => {
                    message = back;
                    std::thread::sleep(ROOM_LOOK);
                }
                TrySendError::Full(_) | TrySendError::Disconnected(_) => {
                    open.desk.lose(1);
                    return;
                }
            }
        }
    }

    /// How many lines are missing so far.
    pub fn missing(&self) -> u64 {
        let missing = |open: &Open| open.desk.missing.load(Ordering::Acquire);
        self.0.as_ref().map_or(0, missing)
    }

    /// Opens the file anew before the next line (SIGHUP): somebody has moved it away.
    pub fn reopen(&self) {
        if let Some(open) = &self.0 {
            open.desk.reopen.store(true, Ordering::Release);
            open.wake();
        }
    }

    /// Writes what waits and ends the thread. Blocking, for five seconds at most: a reader of standard output who does not read
    /// must not keep the process alive. Events that come later are lost.
    pub fn close(&self) {
        let Some(open) = &self.0 else { return };
        open.desk.closing.store(true, Ordering::Release);
        open.wake();
        let ended = open.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            tracing::error!("the audit log could not be written in time; its last lines are lost");
        }
    }
}

impl Open {
    /// Where the queue is full, the thread is awake.
    fn wake(&self) {
        let _ = self.queue.try_send(Message::Wake);
    }
}

impl Desk {
    fn repeats(&self) -> MutexGuard<'_, Repeats> {
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose(&self, lines: u64) {
        if lines > 0 {
            self.lost.fetch_add(lines, Ordering::AcqRel);
            self.missing.fetch_add(lines, Ordering::AcqRel);
            self.metrics.audit_lines("lost", lines);
        }
    }
}
