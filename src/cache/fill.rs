//! Coalesced fills: many readers, one upstream transfer.
//!
//! The leader is a task of its own: a client that leaves stops nothing. Short objects are checked before their first byte
//! is handed out; long ones go through a hasher into a temporary file that readers follow (`follow.rs`), and become an
//! object of the disk tier when their digest is right. Knows nothing about tenants, HTTP routes or charts.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use super::Cache;
use super::disk::Disk;
use super::follow::{Diversion, State};
use super::pull::Pull;
use super::running::{Lead, Sharing};
use super::temporary::Temporary;
use super::tier::{Held, SMALL, Tier as _};
use crate::config::OnDigestMismatch;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, ErrorKind, Result};
use crate::upstream::Download;

/// What to fetch and what to make of it.
#[derive(Clone, Debug)]
pub struct FillRequest {
    /// What it is, e.g. `chart/<upstream>/<url>`: for coalescing, the ledger, logs and messages. Holds no secrets.
    pub name: String,
    /// The digest that the bytes must have, where it is known.
    pub expect: Option<Digest>,
    /// Other digests that are as good.
    pub also_accept: Vec<Digest>,
    /// What happens to bytes with any other digest.
    pub on_mismatch: OnDigestMismatch,
    /// Longer objects are refused with `TooLarge`. Bytes.
    pub max_length: u64,
    /// How long `NotFound` is remembered; also how long bytes with a wrong digest are served without asking again, where
    /// `on_mismatch` lets them pass.
    pub negative_ttl: Duration,
    /// Whose bytes are as good as those of the source.
    pub sharing: Sharing,
}

/// Where a fill gets its bytes.
#[async_trait]
pub trait FillSource: Send + Sync {
    /// Starts the transfer at `offset`; above 0 only after a cut, and then only if the object is still the same one.
    ///
    /// `NotFound` at offset 0 is taken as a fact and remembered; every other error carries no information. Transient errors
    /// of the body, and of `open` above offset 0, are tried again a few times.
    async fn open(&self, offset: u64) -> Result<Download>;

    /// Told when the bytes did not have a digest that was promised; for metrics and reports.
    fn mismatched(&self, _actual: &Digest) {}

    /// Told when all bytes have come and are as they must be, before anybody gets the last of them.
    fn completed(&self, _digest: &Digest, _length: u64) {}

    /// Told when the transfer has failed for good.
    fn failed(&self, _error: &Error) {}
}

/// What the bytes must be, and where they come from.
pub(crate) struct Promise {
    pub(crate) request: FillRequest,
    pub(crate) source: Arc<dyn FillSource>,
}

impl Promise {
    /// Whether `actual` is what was promised; `Ok(false)`: it is not, and may pass all the same.
    pub(crate) fn judge(&self, actual: &Digest) -> Result<bool> {
        let request = &self.request;
        let Some(expected) = request.expect else {
            return Ok(false);
        };
        if expected == *actual || request.also_accept.contains(actual) {
            return Ok(true);
        }
        self.source.mismatched(actual);
        tracing::warn!(name = %request.name, %expected, %actual, "bytes with another digest than promised");
        match request.on_mismatch {
            OnDigestMismatch::Serve => Ok(false),
            OnDigestMismatch::Reject => Err(Error::new(
                ErrorKind::DigestMismatch,
                format!(
                    "`{}` has the digest `{actual}` instead of `{expected}`; its upstream must repair the file or its index",
                    request.name
                ),
            )),
        }
    }

    /// The digest of bytes that arrive complete, where that is certain before they do.
    pub(crate) fn certain(&self) -> Option<Digest> {
        let request = &self.request;
        let only_one =
            request.also_accept.is_empty() && request.on_mismatch == OnDigestMismatch::Reject;
        request.expect.filter(|_| only_one)
    }

    /// Whether bytes arrive complete only with a promised digest.
    pub(crate) fn is_strict(&self) -> bool {
        self.request.expect.is_some() && self.request.on_mismatch == OnDigestMismatch::Reject
    }
}

impl fmt::Debug for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.request, f)
    }
}

/// The one that fetches.
#[derive(Debug)]
pub(crate) struct Leader {
    /// Before the cache in drop order: the seat is free before anybody can see the leader as dead.
    pub(crate) lead: Lead,
    pub(crate) cache: Arc<Cache>,
    pub(crate) promise: Arc<Promise>,
}

impl Leader {
    /// Fetches, publishing every step; ends when the object is kept or the fill has failed.
    pub(crate) async fn run(self) {
        if let Err(error) = self.fetch().await {
            tracing::debug!(name = %self.request().name, error = %error.chain(), "a fill failed");
            self.promise.source.failed(&error);
            self.lead.publish(State::Failed(Arc::new(error)));
        }
    }

    async fn fetch(&self) -> Result<()> {
        // Another leader may have finished between the look-up and this one's start.
        if let Some((digest, held)) = self.cache.find_again(self.request()).await {
            self.lead.publish(State::Done {
                digest,
                verified: self.request().expect.is_some(),
                hit: true,
                held,
            });
            return Ok(());
        }
        let source = Arc::clone(&self.promise.source);
        let mut pull = match Pull::open(source, self.request()).await {
            Ok(pull) => pull,
            Err(error) => {
                if error.kind() == ErrorKind::NotFound {
                    let request = self.request();
                    self.cache.names.absent(&request.name, request.negative_ttl);
                }
                return Err(error);
            }
        };
        let mut head = Vec::new();
        if pull.length().is_none_or(|length| length <= SMALL) {
            head.reserve(pull.length().unwrap_or(0) as usize);
            while head.len() as u64 <= SMALL {
                match pull.next().await? {
                    Some(bytes) => head.extend_from_slice(&bytes),
                    None => return self.finish_short(head.into_boxed_slice().into()).await,
                }
            }
        }
        self.fetch_long(pull, head.into()).await
    }

    async fn finish_short(&self, bytes: Bytes) -> Result<()> {
        let digest = Digest::of(&bytes);
        let verified = self.promise.judge(&digest)?;
        let cache = &self.cache;
        self.complete(digest, bytes.len() as u64);
        cache.memory.put(&digest, bytes.clone()).await;
        self.publish_done(digest, verified, Held::Bytes(bytes.clone()));
        cache.disk.put(&digest, bytes.clone()).await;
        let shared = self.request().sharing != Sharing::Nobody;
        if let (true, Some(redis)) = (verified && shared, &cache.redis) {
            redis.put(&digest, bytes).await;
        }
        Ok(())
    }

    async fn fetch_long(&self, mut pull: Pull, head: Bytes) -> Result<()> {
        let mut spool = Spool::default();
        let outcome = self.spool(&mut pull, head, &mut spool).await;
        let outcome = match outcome {
            Ok(None) => self.finish_long(&mut spool).await,
            Ok(Some(newest)) => {
                self.divert(&spool, pull, newest);
                Ok(())
            }
            Err(error) => Err(error),
        };
        // What did not become an object is gone before anybody hears how it ended.
        spool.discard().await;
        outcome
    }

    /// Writes everything that comes into the spool. `Some`: the disk took all but these newest bytes.
    async fn spool(
        &self,
        pull: &mut Pull,
        head: Bytes,
        spool: &mut Spool,
    ) -> Result<Option<Bytes>> {
        let length = pull.length();
        let disk = &self.cache.disk;
        let mut last_read = Instant::now();
        let mut chunk = Some(head).filter(|head| !head.is_empty());
        if chunk.is_none() {
            chunk = pull.batch(BATCH).await?;
        }
        while let Some(bytes) = chunk {
            if self.lead.is_read() {
                last_read = Instant::now();
            } else if self.is_hopeless(last_read, length, spool.length()) && self.lead.give_up() {
                return Err(Error::unavailable(format!(
                    "nobody waits for `{}` any more",
                    self.request().name
                )));
            }
            // A file that cannot become an object must not push out others first.
            let fits = length.is_none_or(|length| length <= disk.capacity());
            let create = fits.then(|| Arc::clone(disk));
            if let Err(error) = spool.append(create, bytes.clone()).await? {
                tracing::warn!(
                    name = %self.request().name, %error,
                    "a transfer cannot be kept on disk; it is passed through"
                );
                return Ok(Some(bytes));
            }
            if let Some(temporary) = &spool.temporary {
                self.lead.publish(State::Arriving {
                    length,
                    file: Arc::clone(temporary.file()),
                    available: temporary.length() - bytes.len() as u64,
                });
            }
            chunk = pull.batch(BATCH).await?;
        }
        Ok(None)
    }

    /// Whether a transfer that nobody has read since `last_read` costs more than it is worth.
    fn is_hopeless(&self, last_read: Instant, length: Option<u64>, arrived: u64) -> bool {
        let patience = &self.cache.patience;
        length.is_some_and(|length| length > patience.above && arrived < length / 2)
            && last_read.elapsed() >= patience.period
    }

    async fn finish_long(&self, spool: &mut Spool) -> Result<()> {
        let digest = spool.hasher.clone().finish();
        let verified = self.promise.judge(&digest)?;
        let Some(temporary) = spool.temporary.take() else {
            // `Pull` reports an end before the announced length as a cut, so something was written.
            return Ok(());
        };
        let held = Held::File(Arc::clone(temporary.file()), temporary.length());
        self.complete(digest, temporary.length());
        // Readers need not wait until gigabytes are durable.
        self.publish_done(digest, verified, held);
        let kept = tokio::task::spawn_blocking(move || temporary.commit(digest)).await;
        if let Ok(Err(error)) = kept {
            tracing::warn!(name = %self.request().name, %digest, %error, "an object could not be kept on disk");
        }
        Ok(())
    }

    /// Records what came, before anybody can have all of it.
    fn complete(&self, digest: Digest, length: u64) {
        let request = self.request();
        match (self.promise.certain(), request.sharing) {
            // A link says what is held; a name would only crowd out others.
            (Some(_), Sharing::Nobody | Sharing::Sharers) => {
                self.cache.names.forget(&request.name);
            }
            _ => self.cache.names.held(&request.name, digest),
        }
        self.cache.note_sharing(request.sharing, &digest);
        self.promise.source.completed(&digest, length);
    }

    fn divert(&self, spool: &Spool, pull: Pull, newest: Bytes) {
        let written = spool.temporary.as_ref();
        self.lead.publish(State::Diverted(Arc::new(Diversion {
            at: written.map_or(0, Temporary::length),
            file: written.map(|temporary| Arc::clone(temporary.file())),
            length: pull.length(),
            hasher: spool.hasher.clone(),
            promise: Arc::clone(&self.promise),
            rest: std::sync::Mutex::new(Some((pull, newest))),
        })));
    }

    fn publish_done(&self, digest: Digest, verified: bool, held: Held) {
        self.lead.publish(State::Done {
            digest,
            verified,
            hit: false,
            held,
        });
    }

    fn request(&self) -> &FillRequest {
        &self.promise.request
    }
}

/// When a transfer is given up that nobody reads: others are for those who come later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Nobody has read for so long.
    pub(crate) period: Duration,
    /// It is longer than this, in bytes, and less than half of it has come.
    pub(crate) above: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(30),
            above: 256 << 20,
        }
    }
}

/// The file of a long object and the hash of what is in it.
#[derive(Debug, Default)]
struct Spool {
    temporary: Option<Temporary>,
    hasher: Hasher,
}

impl Spool {
    /// Writes and hashes `bytes` on the blocking pool. The inner error: they are not in the file, the ones before are.
    async fn append(&mut self, disk: Option<Arc<Disk>>, bytes: Bytes) -> Result<io::Result<()>> {
        let mut spool = std::mem::take(self);
        let write = move || {
            let written = spool.append_now(disk, &bytes);
            (spool, written)
        };
        let (spool, written) = tokio::task::spawn_blocking(write)
            .await
            .map_err(|error| Error::internal("writing a cached object failed", error))?;
        *self = spool;
        Ok(written)
    }

    /// Removes the file.
    async fn discard(self) {
        let _ = tokio::task::spawn_blocking(move || self.temporary.map(Temporary::discard)).await;
    }

    fn length(&self) -> u64 {
        self.temporary.as_ref().map_or(0, Temporary::length)
    }

    fn append_now(&mut self, disk: Option<Arc<Disk>>, bytes: &[u8]) -> io::Result<()> {
        let temporary = match &mut self.temporary {
            Some(temporary) => temporary,
            None => {
                let disk = disk.ok_or(io::ErrorKind::QuotaExceeded)?;
                self.temporary.insert(Temporary::create(disk)?)
            }
        };
        temporary.append(bytes)?;
        self.hasher.update(bytes);
        Ok(())
    }
}

/// What is written at once, about.
const BATCH: usize = 256 * 1024;
