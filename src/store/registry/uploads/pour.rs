//! A request body on its way into a spool file: written, hashed and synced while the rest of it still arrives.

use std::sync::Arc;

use bytes::Bytes;

use super::lane::Lane;
use super::session::Writer;
use crate::error::{Error, ErrorKind, Result};
use crate::http::RequestBody;

/// How much may be added.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// What the client announced (`Content-Range`), else `None`.
    pub(super) announced: Option<u64>,
    /// The largest blob.
    pub(super) largest: u64,
    /// How long the spool file may get before the tenant's quota is used up.
    pub(super) quota: u64,
}

/// How an append ended that was not as it should be.
#[derive(Debug)]
pub(super) enum Broken {
    /// The client left, or the connection broke: what arrived counts.
    Body(Error),
    /// What arrived must not count.
    Refused(Error),
    /// The disk failed: what counts is what the file has.
    Disk(Error),
}

/// Adds a body at the end of the spool file.
///
/// Reading, writing, hashing and write-back of earlier bytes go side by side, each a batch behind the one before; memory is
/// bounded by three batches. Dropping the future leaves what was started to its end, and the file consistent.
pub(super) async fn pour(
    writer: &Arc<Writer>,
    body: &mut dyn RequestBody,
    bounds: Bounds,
) -> Result<(), Broken> {
    let start = writer.session.length();
    let mut lanes = Lanes::default();
    let mut at = start;
    let end = loop {
        let (batch, end) = gather(body).await;
        let length: u64 = batch.iter().map(|piece| piece.len() as u64).sum();
        if let Err(error) = bounds.check(at - start + length, at + length) {
            lanes.end().await.map_err(Broken::Disk)?;
            return Err(Broken::Refused(error));
        }
        if length > 0 {
            let added = lanes.add(writer, at, batch).await;
            added.map_err(Broken::Disk)?;
            at += length;
        }
        if let Some(end) = end {
            break end;
        }
    };
    lanes.end().await.map_err(Broken::Disk)?;
    end.map_err(Broken::Body)?;
    match bounds.announced {
        Some(announced) if announced != at - start => {
            Err(Broken::Refused(wrong_length(announced, at - start)))
        }
        _ => Ok(()),
    }
}

/// The next bytes, and how the body ended if it did.
async fn gather(body: &mut dyn RequestBody) -> (Vec<Bytes>, Option<Result<()>>) {
    let (mut batch, mut length) = (Vec::new(), 0);
    while length < BATCH {
        match body.chunk().await {
            Ok(Some(chunk)) => {
                length += chunk.len();
                batch.push(chunk);
            }
            Ok(None) => return (batch, Some(Ok(()))),
            Err(error) => return (batch, Some(Err(error))),
        }
    }
    (batch, None)
}

/// What goes on beside the reading.
#[derive(Debug, Default)]
struct Lanes {
    write: Lane,
    hash: Lane,
    sync: Lane,
    unsynced: u64,
}

impl Lanes {
    async fn add(&mut self, writer: &Arc<Writer>, at: u64, batch: Vec<Bytes>) -> Result<()> {
        let batch: Arc<[Bytes]> = batch.into();
        let (to_write, to_hash) = (Arc::clone(writer), Arc::clone(writer));
        self.unsynced += batch.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let pieces = Arc::clone(&batch);
        self.write.next(move || to_write.add(&pieces)).await?;
        let hash = move || {
            to_hash.hash(at, &batch);
            Ok(())
        };
        self.hash.next(hash).await?;
        // Bytes that the disk has already are not waited for at the end.
        if self.unsynced >= SYNC_EVERY && !self.sync.is_busy() {
            self.unsynced = 0;
            let writer = Arc::clone(writer);
            self.sync.next(move || writer.sync()).await?;
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<()> {
        let (write, hash) = (self.write.end().await, self.hash.end().await);
        let sync = self.sync.end().await;
        write.and(hash).and(sync)
    }
}

impl Bounds {
    fn check(&self, added: u64, length: u64) -> Result<()> {
        if let Some(announced) = self.announced
            && added > announced
        {
            return Err(wrong_length(announced, added));
        }
        if length > self.largest {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "the blob is larger than {} bytes; `hosted.max_blob` is the limit",
                    self.largest
                ),
            ));
        }
        if length > self.quota {
            return Err(Error::new(
                ErrorKind::QuotaExceeded,
                "the quota of this tenant is used up; delete something, or raise `hosted.quota`",
            ));
        }
        Ok(())
    }
}

/// `Content-Range` and the body disagree.
pub(super) fn wrong_length(announced: u64, came: u64) -> Error {
    Error::invalid(format!(
        "the range has {announced} bytes, and the body {came} or more"
    ))
}

/// How much is written and hashed at once.
const BATCH: usize = 1 << 20;

/// After how much the disk is asked to begin.
const SYNC_EVERY: u64 = 16 << 20;
