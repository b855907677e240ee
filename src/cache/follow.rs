//! Reading an object while it arrives: readers follow the leader's file instead of opening a second upstream connection,
//! so a slow client never slows the fill and a fast one never waits for more than it needs.
//!
//! The leader publishes a [`State`]. The newest chunk is written but not published until the digest is known to be right:
//! a wrong body never arrives complete. A leader that dies drops the sending side, which readers see as an error.

use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::fill::Promise;
use super::pull::Pull;
use super::running::Reader;
use super::tier::Held;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, ErrorKind, Result};
use crate::http::FileReader;

/// How far a fill is.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// Nothing may be handed out yet.
    Starting,
    /// A long object arrives: `available` bytes of the file may be handed out.
    Arriving {
        /// The whole length, where it is known.
        length: Option<u64>,
        /// The growing file.
        file: Arc<File>,
        /// Never the newest chunk.
        available: u64,
    },
    /// The disk has no room: from here on every reader goes on with a transfer of its own.
    Diverted(Arc<Diversion>),
    /// Complete, and its digest is as it must be.
    Done {
        /// What the bytes have.
        digest: Digest,
        /// Whether it is one that the request accepts.
        verified: bool,
        /// Whether it was here before the fill started.
        hit: bool,
        /// The bytes.
        held: Held,
    },
    /// It failed.
    Failed(Arc<Error>),
}

impl State {
    /// The whole length, where it is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Arriving { length, .. } => *length,
            Self::Diverted(diversion) => diversion.length,
            Self::Done { held, .. } => Some(held.length()),
            Self::Starting | Self::Failed(_) => None,
        }
    }

    /// Whether a reader at `at` can do something now.
    fn concerns(&self, at: u64) -> bool {
        match self {
            Self::Starting => false,
            Self::Arriving { available, .. } => *available > at,
            Self::Diverted(_) | Self::Done { .. } | Self::Failed(_) => true,
        }
    }
}

/// One reader's view of a fill.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    state: watch::Receiver<State>,
    /// For as long as somebody may want to read.
    _reader: Reader,
    what: Arc<str>,
}

impl Follower {
    /// A reader of the fill of `what`.
    pub(crate) fn new(state: watch::Receiver<State>, reader: Reader, what: Arc<str>) -> Self {
        Self {
            state,
            _reader: reader,
            what,
        }
    }

    /// How far the fill is; `None` where it has ended.
    pub(crate) fn arrived(&self) -> Option<u64> {
        match &*self.state.borrow() {
            State::Starting => Some(0),
            State::Arriving { available, .. } => Some(*available),
            State::Diverted(diversion) => Some(diversion.at),
            State::Done { .. } | State::Failed(_) => None,
        }
    }

    /// Waits until there is something to hand out at offset `at`. Errors: the fill failed, or its task died.
    pub(crate) async fn wait(&mut self, at: u64) -> Result<State> {
        let state = self.state.wait_for(|state| state.concerns(at)).await;
        match state.as_deref() {
            Ok(State::Failed(error)) => Err(Error::shared(error)),
            Ok(state) => Ok(state.clone()),
            Err(_) => Err(Error::new(
                ErrorKind::Internal,
                format!(
                    "the transfer of `{}` stopped unexpectedly; ask again",
                    self.what
                ),
            )),
        }
    }
}

/// A place in an arriving object, and how to get further.
#[derive(Debug)]
pub(crate) struct Reading {
    follower: Follower,
    range: Range<u64>,
    reader: FileReader,
    own: Option<OwnTransfer>,
}

impl Reading {
    /// Reads `range`; its end may lie behind the end of the object.
    pub(crate) fn new(follower: Follower, range: Range<u64>) -> Self {
        Self {
            follower,
            range,
            reader: FileReader::default(),
            own: None,
        }
    }

    /// The next bytes of the range, `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.range.is_empty() {
            return Ok(None);
        }
        let chunk = match &mut self.own {
            Some(own) => own.next(&self.range).await?,
            None => self.follow().await?,
        };
        if let Some(chunk) = &chunk {
            self.range.start += chunk.len() as u64;
        }
        Ok(chunk)
    }

    async fn follow(&mut self) -> Result<Option<Bytes>> {
        let at = self.range.start;
        let (file, readable) = match self.follower.wait(at).await? {
            State::Arriving {
                file, available, ..
            } => (file, available),
            State::Done {
                held: Held::File(file, length),
                ..
            } => (file, length),
            State::Done {
                held: Held::Bytes(bytes),
                ..
            } => {
                let end = self.range.end.min(bytes.len() as u64);
                return Ok((at < end).then(|| bytes.slice(at as usize..end as usize)));
            }
            State::Diverted(diversion) => match &diversion.file {
                Some(file) if at < diversion.at => (Arc::clone(file), diversion.at),
                _ => {
                    let own = self.own.insert(OwnTransfer::start(&diversion));
                    return own.next(&self.range).await;
                }
            },
            // `wait` returns neither of them.
            State::Starting | State::Failed(_) => return Ok(None),
        };
        let end = self.range.end.min(readable);
        if at >= end {
            return Ok(None);
        }
        self.reader.read(&file, at..end).await.map(Some)
    }
}

/// Where a fill left the disk, with what is needed to go on without it.
#[derive(Debug)]
pub(crate) struct Diversion {
    /// Bytes of the file that are good.
    pub(crate) at: u64,
    /// The file, unless nothing was written.
    pub(crate) file: Option<Arc<File>>,
    /// The whole length, where it is known.
    pub(crate) length: Option<u64>,
    /// Over the first `at` bytes.
    pub(crate) hasher: Hasher,
    /// What the bytes must be.
    pub(crate) promise: Arc<Promise>,
    /// The leader's transfer and the bytes behind `at` that it has taken: for the first reader who comes there.
    pub(crate) rest: Mutex<Option<(Pull, Bytes)>>,
}

/// A transfer for one reader, checked as the leader would have.
#[derive(Debug)]
struct OwnTransfer {
    pull: Pull,
    promise: Arc<Promise>,
    hasher: Hasher,
    /// The newest chunk, held back, and the offset where it starts.
    newest: Bytes,
    at: u64,
    ended: bool,
}

impl OwnTransfer {
    fn start(diversion: &Diversion) -> Self {
        let taken = diversion
            .rest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let promise = Arc::clone(&diversion.promise);
        let (pull, newest) = taken.unwrap_or_else(|| {
            let source = Arc::clone(&promise.source);
            let pull = Pull::at(source, &promise.request, diversion.at, diversion.length);
            (pull, Bytes::new())
        });
        let mut hasher = diversion.hasher.clone();
        hasher.update(&newest);
        Self {
            pull,
            promise,
            hasher,
            newest,
            at: diversion.at,
            ended: false,
        }
    }

    /// The next bytes within `range`.
    async fn next(&mut self, range: &Range<u64>) -> Result<Option<Bytes>> {
        while !self.ended {
            let next = self.pull.next().await?;
            match &next {
                Some(bytes) => self.hasher.update(bytes),
                None => {
                    self.promise.judge(&self.hasher.clone().finish())?;
                    self.ended = true;
                }
            }
            let chunk = std::mem::replace(&mut self.newest, next.unwrap_or_default());
            let start = self.at;
            self.at += chunk.len() as u64;
            let wanted = range.start.max(start)..range.end.min(self.at);
            if !wanted.is_empty() {
                let part = (wanted.start - start) as usize..(wanted.end - start) as usize;
                return Ok(Some(chunk.slice(part)));
            }
        }
        Ok(None)
    }
}
