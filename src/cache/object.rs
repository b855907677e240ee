//! One immutable object that can be read, also while it is still arriving.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};

use super::follow::{Follower, Reading};
use super::tier::Held;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::http::{Body, ByteStream};

/// Bytes with a digest. Holds memory or an open file, so that eviction cannot break a reader.
#[derive(Clone, Debug)]
pub struct Object {
    pub(super) digest: Option<Digest>,
    pub(super) length: Option<u64>,
    pub(super) status: Status,
    pub(super) verified: bool,
    pub(super) data: Data,
}

/// Where the bytes are.
#[derive(Clone, Debug)]
pub(super) enum Data {
    Held(Held),
    Arriving(Follower),
}

/// Whether an object was here already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was.
    Hit,
    /// It was fetched for this request, or is arriving.
    Miss,
}

impl Object {
    /// A complete object.
    pub(super) fn held(digest: Digest, held: Held, status: Status, verified: bool) -> Self {
        Self {
            digest: Some(digest),
            length: Some(held.length()),
            status,
            verified,
            data: Data::Held(held),
        }
    }

    /// The bytes of `range`, clamped to the length; `0..u64::MAX` is everything.
    ///
    /// Returns when the first bytes are there: an error is a failure before anything was handed out. A failure after that
    /// is an error in the stream, which the receiver must not end cleanly.
    pub async fn body(&self, range: Range<u64>) -> Result<Body> {
        let range = range.start..range.end.min(self.length.unwrap_or(u64::MAX));
        if range.is_empty() {
            return Ok(Body::Empty);
        }
        match &self.data {
            Data::Held(Held::Bytes(bytes)) => Ok(Body::Bytes(
                bytes.slice(range.start as usize..range.end as usize),
            )),
            Data::Held(Held::File(file, _)) => file_body(Arc::clone(file), range).await,
            Data::Arriving(follower) => {
                let length = self.length.map(|_| range.end - range.start);
                let mut reading = Reading::new(follower.clone(), range);
                let Some(first) = reading.next().await? else {
                    return Ok(Body::Empty);
                };
                let rest = stream::try_unfold(reading, |mut reading| async move {
                    Ok(reading.next().await?.map(|chunk| (chunk, reading)))
                });
                let chunks = stream::iter([Ok(first)]).chain(rest);
                Ok(ByteStream::new(chunks, length).into())
            }
        }
    }

    /// The whole length; `None` only while an object of unknown length arrives.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// How many bytes from the start can be had without waiting, while the object is still arriving. `None`: all.
    pub fn arrived(&self) -> Option<u64> {
        match &self.data {
            Data::Held(_) => None,
            Data::Arriving(follower) => follower.arrived(),
        }
    }

    /// The digest that the bytes have, or without which they never arrive complete; `None` while it is unknown.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Whether it was here already.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Whether the bytes have (or arrive complete only with) a digest that was promised for them. `false` where none was
    /// promised, or where `on_digest_mismatch: serve` let other bytes pass.
    pub fn is_verified(&self) -> bool {
        self.verified
    }
}

async fn file_body(file: Arc<File>, range: Range<u64>) -> Result<Body> {
    let length = range.end - range.start;
    let first = read_at(Arc::clone(&file), range.clone()).await?;
    if first.len() as u64 == length {
        return Ok(Body::Bytes(first));
    }
    let starts = (range.start + first.len() as u64..range.end).step_by(CHUNK as usize);
    // Two reads at a time: one is sent while the next is read.
    let rest = stream::iter(starts)
        .map(move |at| read_at(Arc::clone(&file), at..range.end))
        .buffered(2);
    let chunks = stream::iter([Ok(first)]).chain(rest);
    Ok(ByteStream::new(chunks, Some(length)).into())
}

/// Reads the first bytes of `range`, at most one chunk, off the async threads. The file must have them.
pub(super) async fn read_at(file: Arc<File>, range: Range<u64>) -> Result<Bytes> {
    let read = tokio::task::spawn_blocking(move || {
        let mut chunk = vec![0; (range.end - range.start).min(CHUNK) as usize];
        file.read_exact_at(&mut chunk, range.start)?;
        Ok(Bytes::from(chunk))
    });
    let failed = |error: std::io::Error| Error::internal("a cached object cannot be read", error);
    read.await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
        .map_err(failed)
}

/// What is read at once.
const CHUNK: u64 = 256 * 1024;
