//! The redis tier: small objects that replicas share. The only home of the `redis` crate in the cache.
//!
//! Redis is never the truth and never needed: slow, full, away or lying is a miss. Every answer is checked against its
//! digest; timeouts are short; a server that keeps failing is left alone for a while (`breaker.rs`). The connection is made
//! at the first use and made anew after a failure, for all kinds of servers alike, so that nobody ever waits for a reconnect.
//! Keys are `<prefix>:blob:<64 hex>`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionAddr, RedisResult, TlsMode, Value};

use super::breaker::Breaker;
use super::server_url::{Parts, unusable};
use super::tier::{Held, Tier, TierStats};
use crate::config;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::metrics::Metrics;

/// Small objects in a redis server, behind sentinels, or in a cluster.
#[derive(Debug)]
pub(crate) struct Redis {
    link: Link,
    prefix: String,
    max_object: u64,
    /// A full server refuses writes and still answers reads.
    reads: Breaker,
    writes: Breaker,
    metrics: Arc<Metrics>,
}

impl Redis {
    /// A tier on the server that `config` names; connects at the first use. Errors: the URL is not one of ours.
    pub(crate) fn new(config: &config::Redis, metrics: Arc<Metrics>) -> Result<Self> {
        let target = Target::parse(config.url.reveal())?;
        Ok(Self {
            link: Link {
                target,
                connection: Mutex::new(None),
                connecting: AtomicBool::new(false),
            },
            prefix: config.prefix.clone(),
            max_object: config.max_object,
            reads: Breaker::default(),
            writes: Breaker::default(),
            metrics,
        })
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
        format!("{}:blob:{}", self.prefix, digest.to_hex())
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

/// One connection, shared by all requests.
#[derive(Debug)]
struct Link {
    target: Target,
    connection: Mutex<Option<Connection>>,
    connecting: AtomicBool,
}

enum Failure {
    /// Another request is making the connection; waiting for it would cost more than a miss.
    Connecting,
    Other(String),
}

impl Link {
    async fn send(&self, command: &Cmd, timeout: Duration) -> Result<Value, Failure> {
        let connection = self.lock().clone();
        let mut connection = match connection {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let answer = match tokio::time::timeout(timeout, connection.send(command)).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) if is_an_answer(&error) => {
                return Err(Failure::Other(error.to_string()));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} ms", timeout.as_millis()),
        };
        *self.lock() = None;
        Err(Failure::Other(answer))
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        if self.connecting.swap(true, Ordering::AcqRel) {
            return Err(Failure::Connecting);
        }
        let _reset = Reset(&self.connecting);
        match tokio::time::timeout(CONNECT_TIMEOUT, self.target.connect()).await {
            Ok(Ok(connection)) => {
                *self.lock() = Some(connection.clone());
                Ok(connection)
            }
            Ok(Err(error)) => Err(Failure::Other(error.to_string())),
            Err(_) => Err(Failure::Other(format!(
                "no connection within {} ms",
                CONNECT_TIMEOUT.as_millis()
            ))),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Connection>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Also when the request that connects is dropped.
struct Reset<'a>(&'a AtomicBool);

impl Drop for Reset<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Whether the server said no to this command, and the connection is sound. A former master that became a replica, or a
/// cluster that moved, is worth a new connection.
fn is_an_answer(error: &redis::RedisError) -> bool {
    use redis::{ErrorKind, ServerErrorKind};
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => false,
        ErrorKind::Server(_) | ErrorKind::Extension => true,
        _ => false,
    }
}

#[derive(Clone)]
enum Connection {
    Node(MultiplexedConnection),
    Cluster(Box<ClusterConnection>),
}

impl Connection {
    async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Node(node) => node.req_packed_command(command).await,
            Self::Cluster(cluster) => cluster.req_packed_command(command).await,
        }
        .and_then(Value::extract_error)
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

/// Where to connect. Its `Debug` shows no password.
enum Target {
    Node(Box<Client>),
    Sentinel(Box<tokio::sync::Mutex<SentinelClient>>),
    Cluster(Box<ClusterClient>),
}

impl Target {
    /// `redis[s]://`, `redis[s]+sentinel://[user:password@]host[:port][,…]/<master>[/<db>]`,
    /// `redis[s]+cluster://[user:password@]host[:port][,…]`.
    fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| unusable("it has no scheme"))?;
        let refused = |error: redis::RedisError| unusable(&error.to_string());
        match scheme {
            "redis" | "rediss" => Ok(Self::Node(Box::new(Client::open(url).map_err(refused)?))),
            "redis+sentinel" | "rediss+sentinel" => {
                let parts = Parts::parse(rest, scheme.starts_with("rediss"), 26379)?;
                let (master, database) = parts.path.split_once('/').unwrap_or((&parts.path, "0"));
                if master.is_empty() {
                    return Err(unusable("the master's name is missing after the sentinels"));
                }
                let database = database
                    .parse()
                    .map_err(|_| unusable("the database is not a number"))?;
                let mut builder =
                    SentinelClientBuilder::new(nodes(&parts), master, SentinelServerType::Master)
                        .map_err(refused)?
                        .set_client_to_redis_db(database);
                if parts.tls {
                    builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
                }
                if let Some(user) = parts.user {
                    builder = builder.set_client_to_redis_username(user);
                }
                if let Some(password) = parts.password {
                    builder = builder.set_client_to_redis_password(password);
                }
                let client = builder.build().map_err(refused)?;
                Ok(Self::Sentinel(Box::new(tokio::sync::Mutex::new(client))))
            }
            "redis+cluster" | "rediss+cluster" => {
                let parts = Parts::parse(rest, scheme.starts_with("rediss"), 6379)?;
                let mut builder = ClusterClientBuilder::new(nodes(&parts))
                    .retries(1)
                    .connection_timeout(CONNECT_TIMEOUT)
                    .response_timeout(WRITE_TIMEOUT);
                if let Some(user) = parts.user {
                    builder = builder.username(user);
                }
                if let Some(password) = parts.password {
                    builder = builder.password(password);
                }
                Ok(Self::Cluster(Box::new(builder.build().map_err(refused)?)))
            }
            _ => Err(unusable(
                "its scheme is none of redis, rediss, redis+sentinel and redis+cluster",
            )),
        }
    }

    async fn connect(&self) -> RedisResult<Connection> {
        // The timeouts are ours, around every call; the library's own would end a slow one twice.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        match self {
            Self::Node(client) => {
                let node = client.get_multiplexed_async_connection_with_config(&config);
                Ok(Connection::Node(node.await?))
            }
            Self::Sentinel(client) => {
                let mut client = client.lock().await;
                let node = client.get_async_connection_with_config(&config);
                Ok(Connection::Node(node.await?))
            }
            Self::Cluster(client) => {
                let cluster = client.get_async_connection().await?;
                Ok(Connection::Cluster(Box::new(cluster)))
            }
        }
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Node(_) => "Node",
            Self::Sentinel(_) => "Sentinel",
            Self::Cluster(_) => "Cluster",
        })
    }
}

/// The servers of a URL, as the library wants them.
fn nodes(parts: &Parts) -> impl Iterator<Item = ConnectionAddr> {
    parts.nodes.iter().map(|(host, port)| match parts.tls {
        true => ConnectionAddr::TcpTls {
            host: host.clone(),
            port: *port,
            insecure: false,
            tls_params: None,
        },
        false => ConnectionAddr::Tcp(host.clone(), *port),
    })
}

/// A miss must not cost more than asking an upstream would.
const READ_TIMEOUT: Duration = Duration::from_millis(250);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Nobody waits for a write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// What nobody wrote again for a week leaves a server that evicts nothing by itself.
const EXPIRES_AFTER: Duration = Duration::from_hours(7 * 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_scheme_is_taken_and_others_are_refused() {
        for url in [
            "redis://127.0.0.1:6379/0",
            "rediss://:secret@cache.example.com",
            "redis+sentinel://a:26379,b/mymaster/1",
            "redis+cluster://:secret@a,b:7000",
            "rediss+cluster://a",
        ] {
            assert!(Target::parse(url).is_ok(), "{url}");
        }
        for url in [
            "",
            "http://a",
            "redis+sentinel://a",
            "redis+sentinel://a/m/x",
            "redis+cluster://a:99999",
            "redis+cluster://",
        ] {
            let error = Target::parse(url).err().map(|error| error.to_string());
            assert!(
                error.is_some_and(|text| text.contains("cache.redis.url")),
                "{url}"
            );
        }
    }

    #[test]
    fn a_refused_url_does_not_show_its_password() {
        let error = Target::parse("redis+cluster://:hunter2@:1").err();
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
