//! The redis tier: small objects that replicas share. This folder is the only home of the `redis` crate.
//!
//! Redis is never the truth and never needed: slow, full, away or lying is a miss. Every answer is checked against its
//! digest; timeouts are short; a server that keeps failing is left alone for a while (`breaker.rs`). The connection
//! (`connection.rs`) is one for all who speak to the server. Keys are `<prefix>:blob:<64 hex>`.

mod connection;
mod server_url;
mod target;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::{Cmd, Value};

use self::connection::WRITE_TIMEOUT;
pub use self::connection::{Failure, RedisConnection, Script};
use super::breaker::Breaker;
use super::tier::{Held, Tier, TierStats};
use crate::config;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::metrics::Metrics;

/// Small objects in a redis server, behind sentinels, or in a cluster.
#[derive(Debug)]
pub(crate) struct Redis {
    link: Arc<RedisConnection>,
    max_object: u64,
    /// A full server refuses writes and still answers reads.
    reads: Breaker,
    writes: Breaker,
    metrics: Arc<Metrics>,
}

impl Redis {
    /// A tier on the server that `config` names; connects at the first use. Errors: the URL is not one of ours.
    pub(crate) fn new(config: &config::Redis, metrics: Arc<Metrics>) -> Result<Self> {
        Ok(Self {
            link: Arc::new(RedisConnection::new(config)?),
            max_object: config.max_object,
            reads: Breaker::default(),
            writes: Breaker::default(),
            metrics,
        })
    }

    /// What it speaks to the server over, for others to share.
    pub(crate) fn connection(&self) -> &Arc<RedisConnection> {
        &self.link
    }

    /// Whether the server answers, for an operator who asks. Errors say what it did instead.
    pub(crate) async fn probe(&self) -> Result<()> {
        let answer = self.link.send(&redis::cmd("PING"), READ_TIMEOUT).await;
        answer.map(|_| ()).map_err(|failure| {
            let why = match failure {
                Failure::Connecting => "it is being connected to".to_owned(),
                Failure::Other(why) => why,
            };
            Error::unavailable(format!("redis does not answer: {why}"))
        })
    }

    fn key(&self, digest: &Digest) -> String {
        format!("{}:blob:{}", self.link.prefix(), digest.to_hex())
    }

    async fn read(&self, digest: &Digest) -> Answer {
        if !self.reads.admits() {
            return Answer::Missing;
        }
        // A range, so that a server which holds something absurd cannot send more than an object may have.
        let mut command = redis::cmd("GETRANGE");
        command.arg(self.key(digest)).arg(0).arg(self.max_object);
        let value = self
            .attempt(&self.reads, "read from", &command, READ_TIMEOUT)
            .await;
        let bytes = match value {
            Ok(Value::Nil) => return Answer::Missing,
            Ok(Value::BulkString(bytes)) => bytes,
            Ok(_) | Err(NoAnswer) => return Answer::Useless,
        };
        if bytes.is_empty() || bytes.len() as u64 > self.max_object {
            return Answer::Missing;
        }
        if Digest::of(&bytes) != *digest {
            tracing::warn!(%digest, "redis holds other bytes under a digest; they are removed");
            self.drop_key(digest).await;
            return Answer::Useless;
        }
        Answer::Found(bytes.into())
    }

    async fn drop_key(&self, digest: &Digest) {
        let mut command = redis::cmd("UNLINK");
        command.arg(self.key(digest));
        let _ = self
            .attempt(&self.writes, "write to", &command, WRITE_TIMEOUT)
            .await;
    }

    /// Sends one command and tells the breaker how it went.
    async fn attempt(
        &self,
        breaker: &Breaker,
        what: &str,
        command: &Cmd,
        timeout: Duration,
    ) -> Result<Value, NoAnswer> {
        let failure = match self.link.send(command, timeout).await {
            Ok(value) => {
                if breaker.succeeded() {
                    tracing::info!("redis works again");
                }
                return Ok(value);
            }
            Err(Failure::Connecting) => return Err(NoAnswer),
            Err(Failure::Other(failure)) => failure,
        };
        if breaker.failed() {
            tracing::warn!(error = %failure, "cannot {what} redis; going on without it");
        } else {
            tracing::debug!(error = %failure, "cannot {what} redis");
        }
        Err(NoAnswer)
    }
}

/// No answer that could be used.
struct NoAnswer;

enum Answer {
    Found(Bytes),
    Missing,
    Useless,
}

#[async_trait]
impl Tier for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn get(&self, digest: &Digest) -> Option<Held> {
        let (result, held) = match self.read(digest).await {
            Answer::Found(bytes) => ("hit", Some(Held::Bytes(bytes))),
            Answer::Missing => ("miss", None),
            Answer::Useless => ("error", None),
        };
        self.metrics.cache_request("redis", result);
        held
    }

    async fn put(&self, digest: &Digest, bytes: Bytes) {
        let length = bytes.len() as u64;
        if length == 0 || length > self.max_object || !self.writes.admits() {
            return;
        }
        let mut command = redis::cmd("SET");
        command
            .arg(self.key(digest))
            .arg(&bytes[..])
            .arg("EX")
            .arg(EXPIRES_AFTER.as_secs());
        let _ = self
            .attempt(&self.writes, "write to", &command, WRITE_TIMEOUT)
            .await;
    }

    async fn remove(&self, digest: &Digest) {
        if self.writes.admits() {
            self.drop_key(digest).await;
        }
    }

    fn stats(&self) -> TierStats {
        TierStats::default()
    }
}

/// A miss must not cost more than asking an upstream would.
const READ_TIMEOUT: Duration = Duration::from_millis(250);

/// What nobody wrote again for a week leaves a server that evicts nothing by itself.
const EXPIRES_AFTER: Duration = Duration::from_hours(7 * 24);
