//! One upstream transfer that survives cuts: it goes on where it was, as long as the object is still the same one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;

use super::fill::{FillRequest, FillSource};
use crate::error::{Error, ErrorKind, Result};
use crate::http::ByteStream;

/// A transfer and how far it came.
pub(crate) struct Pull {
    source: Arc<dyn FillSource>,
    what: Arc<str>,
    /// Without a length or a digest nobody would notice that the rest belongs to another object.
    resumable: bool,
    max_length: u64,
    length: Option<u64>,
    at: u64,
    body: Option<ByteStream>,
    /// Taken from the body by [`Pull::batch`] and not yet looked at.
    ready: Option<Option<Result<Bytes>>>,
    failures: u32,
    /// How long the next attempt waits.
    pause: Duration,
    /// Where the last failure happened.
    failed_at: u64,
}

impl Pull {
    /// Asks the source for the whole object. The first answer counts: a refusal is an error at once.
    pub(crate) async fn open(source: Arc<dyn FillSource>, request: &FillRequest) -> Result<Self> {
        let mut pull = Self::at(source, request, 0, None);
        let download = pull.source.open(0).await?;
        pull.length = download.length;
        pull.body = Some(download.body);
        pull.check_length()?;
        Ok(pull)
    }

    /// The rest of an object from `at` on; asks at the first [`Pull::next`].
    pub(crate) fn at(
        source: Arc<dyn FillSource>,
        request: &FillRequest,
        at: u64,
        length: Option<u64>,
    ) -> Self {
        Self {
            source,
            what: request.name.as_str().into(),
            resumable: request.expect.is_some(),
            max_length: request.max_length,
            length,
            at,
            body: None,
            ready: None,
            failures: 0,
            pause: Duration::ZERO,
            failed_at: at,
        }
    }

    /// The length of the whole object, where it is known.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// The next bytes, or `None` at the true end. Errors: the source failed for good, or sent more than it may.
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let item = match (self.ready.take(), &mut self.body) {
                (Some(item), _) => item,
                (None, Some(body)) => body.next().await,
                (None, None) => {
                    self.reopen().await?;
                    continue;
                }
            };
            match item {
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => return self.took(bytes).map(Some),
                Some(Err(error)) => self.cut(error)?,
                None => match self.length {
                    Some(length) if length > self.at => self.cut(Error::unavailable(format!(
                        "`{}` ended after {} of {length} bytes",
                        self.what, self.at
                    )))?,
                    _ => return Ok(None),
                },
            }
        }
    }

    /// As [`Pull::next`], together with what else has arrived already, up to about `limit` bytes.
    pub(crate) async fn batch(&mut self, limit: usize) -> Result<Option<Bytes>> {
        let Some(first) = self.next().await? else {
            return Ok(None);
        };
        let mut joined = BytesMut::new();
        while joined.len().max(first.len()) < limit && self.ready.is_none() {
            let Some(body) = &mut self.body else { break };
            match body.next().now_or_never() {
                Some(Some(Ok(bytes))) => {
                    let bytes = self.took(bytes)?;
                    if joined.is_empty() {
                        joined.reserve(limit + bytes.len());
                        joined.extend_from_slice(&first);
                    }
                    joined.extend_from_slice(&bytes);
                }
                Some(other) => self.ready = Some(other),
                None => break,
            }
        }
        Ok(Some(if joined.is_empty() {
            first
        } else {
            joined.freeze()
        }))
    }

    fn took(&mut self, bytes: Bytes) -> Result<Bytes> {
        self.at += bytes.len() as u64;
        if self.length.is_some_and(|length| self.at > length) {
            return Err(Error::unavailable(format!(
                "`{}` is longer than the {} bytes that were announced",
                self.what,
                self.length.unwrap_or_default()
            )));
        }
        if self.at > self.max_length {
            return Err(self.too_large());
        }
        Ok(bytes)
    }

    /// Decides whether a failure is worth another try; the next [`Pull::next`] makes it.
    fn cut(&mut self, error: Error) -> Result<()> {
        self.body = None;
        if self.at - self.failed_at >= PROGRESS {
            self.failures = 0;
        }
        self.failed_at = self.at;
        self.failures += 1;
        self.pause = pause(self.failures).max(error.retry_after().unwrap_or_default());
        let resumable = self.resumable || self.length.is_some() || self.at == 0;
        let worth_it = self.failures <= TRIES && self.pause <= LONGEST_PAUSE;
        if !(resumable && error.is_transient() && worth_it) {
            return Err(error);
        }
        tracing::info!(
            name = %self.what, offset = self.at, error = %error.chain(),
            "a transfer was cut; it is resumed"
        );
        Ok(())
    }

    async fn reopen(&mut self) -> Result<()> {
        tokio::time::sleep(self.pause).await;
        match self.source.open(self.at).await {
            Ok(download) => {
                if let (Some(before), Some(now)) = (self.length, download.length)
                    && before != now
                {
                    return Err(Error::unavailable(format!(
                        "`{}` changed while it was fetched: it had {before} bytes and has {now} now",
                        self.what
                    )));
                }
                self.length = self.length.or(download.length);
                self.body = Some(download.body);
                self.check_length()
            }
            Err(error) => self.cut(error),
        }
    }

    fn check_length(&self) -> Result<()> {
        match self.length {
            Some(length) if length > self.max_length => Err(self.too_large()),
            _ => Ok(()),
        }
    }

    fn too_large(&self) -> Error {
        Error::new(
            ErrorKind::TooLarge,
            format!(
                "`{}` is longer than the {} bytes that are allowed",
                self.what, self.max_length
            ),
        )
    }
}

impl fmt::Debug for Pull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pull")
            .field("what", &self.what)
            .field("at", &self.at)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// 100 ms, doubled with every failure, less up to half of it by chance: those cut together do not come back together.
fn pause(failures: u32) -> Duration {
    let whole = 100_u64 << failures.saturating_sub(1).min(6);
    let mut random = [0_u8; 8];
    // Without random numbers everybody waits the whole time, which is right too.
    let _ = getrandom::fill(&mut random);
    Duration::from_millis(whole - u64::from_le_bytes(random) % (whole / 2))
}

/// Failures in a row after which a transfer is given up.
const TRIES: u32 = 4;

/// A source that wants to be left alone for longer has failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Bytes between two failures after which they are not "in a row" (1 MiB): a long transfer may be cut more often.
const PROGRESS: u64 = 1 << 20;
