//! One immutable object that can be read, also while it is still arriving.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};

use super::follow::{Follower, Reading};
use super::memory::Memory;
use super::tier::Held;
use crate::digest::Digest;
use crate::error::Result;
use crate::http::{Body, ByteStream, FileReader};

/// Bytes with a digest. Holds memory or an open file, so that eviction cannot break a reader.
#[derive(Clone, Debug)]
pub struct Object {
    pub(super) digest: Option<Digest>,
    pub(super) length: Option<u64>,
    pub(super) status: Status,
    pub(super) verified: bool,
    pub(super) data: Data,
    /// Where the bytes of a file may be too.
    pub(super) memory: Option<Arc<Memory>>,
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
            memory: None,
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
            Data::Held(Held::File(file, length)) => match self.in_memory(file, *length).await {
                Some(bytes) => Ok(Body::Bytes(
                    bytes.slice(range.start as usize..range.end as usize),
                )),
                None => file_body(Arc::clone(file), range).await,
            },
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

    async fn in_memory(&self, file: &Arc<File>, length: u64) -> Option<Bytes> {
        let (Some(memory), Some(digest)) = (&self.memory, &self.digest) else {
            return None;
        };
        memory.long(digest, file, length).await
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

/// The first piece is read before an answer starts: a file that cannot be read is an error, not an answer that breaks off.
async fn file_body(file: Arc<File>, range: Range<u64>) -> Result<Body> {
    let mut reader = FileReader::default();
    let length = range.end - range.start;
    let first = reader.read(&file, range.clone()).await?;
    let rest = range.start + first.len() as u64..range.end;
    if rest.is_empty() {
        return Ok(Body::Bytes(first));
    }
    let rest = ByteStream::of_file(reader, file, rest);
    let chunks = stream::iter([Ok(first)]).chain(rest.stream);
    Ok(ByteStream::new(chunks, Some(length)).into())
}
