//! The one connection to redis: the cache's tier and the limits that replicas share send over it.
//!
//! It is made at the first use and made anew after a failure, for all kinds of servers alike, so that nobody ever waits for a
//! reconnect that another one makes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::{Cmd, ErrorKind, ServerErrorKind, Value};

use super::target::{Connection, Target};
use crate::config;
use crate::error;

/// One connection, shared by all who speak to the server that `cache.redis` names. It outlives failures: a broken one is
/// replaced by the next use.
#[derive(Debug)]
pub struct RedisConnection {
    target: Target,
    prefix: String,
    connection: Mutex<Option<Connection>>,
    connecting: AtomicBool,
}

/// A Lua script that redis keeps by its SHA-1.
#[derive(Debug)]
pub struct Script {
    text: &'static str,
    hash: String,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// There is no connection yet; waiting for it would cost more than going on without.
    Connecting,
    /// What went wrong, for the log.
    Other(String),
}

impl RedisConnection {
    /// A connection to the server that `config` names, which is not dialled yet. Errors: the URL is not one of ours.
    pub fn new(config: &config::Redis) -> error::Result<Self> {
        Ok(Self {
            target: Target::parse(config.url.reveal())?,
            prefix: config.prefix.clone(),
            connection: Mutex::new(None),
            connecting: AtomicBool::new(false),
        })
    }

    /// What every key starts with (`cache.redis.prefix`).
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Sends one command. An answer that does not come within `timeout` takes the connection with it.
    pub(super) async fn send(&self, command: &Cmd, timeout: Duration) -> Result<Value, Failure> {
        let connection = self.lock().clone();
        let connection = match connection {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let answer = tokio::time::timeout(timeout, self.ask(connection, command)).await;
        answer
            .unwrap_or_else(|_| {
                self.forget();
                Err(Refusal::Other(silence(timeout)))
            })
            .map_err(Refusal::into_failure)
    }

    /// Runs `script` on `keys`, which must lie in one slot of a cluster, and returns the whole numbers that it answers.
    ///
    /// Never makes a connection: that is a failure, after which somebody may call [`RedisConnection::open`]. Nothing is waited for
    /// longer than `timeout`; a connection that was too slow once is kept, because others may have more time. Cancel-safe: a
    /// script that was sent runs to its end.
    pub async fn run(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[i64],
        timeout: Duration,
    ) -> Result<Vec<i64>, Failure> {
        let Some(connection) = self.lock().clone() else {
            return Err(Failure::Connecting);
        };
        let whole = async {
            let by_hash = invocation("EVALSHA", &script.hash, keys, arguments);
            match self.ask(connection.clone(), &by_hash).await {
                // A server that was restarted, flushed or failed over to has never seen it; sent whole, it is kept.
                Err(Refusal::UnknownScript) => {
                    let by_text = invocation("EVAL", script.text, keys, arguments);
                    self.ask(connection, &by_text).await
                }
                other => other,
            }
        };
        let answer = tokio::time::timeout(timeout, whole).await;
        let answer = answer.unwrap_or_else(|_| Err(Refusal::Other(silence(timeout))));
        let numbers = redis::from_redis_value(answer.map_err(Refusal::into_failure)?);
        numbers.map_err(|error| Failure::Other(error.to_string()))
    }

    /// Whether there is a connection, as far as is known.
    pub fn is_open(&self) -> bool {
        self.lock().is_some()
    }

    /// Makes a connection where there is none, for at most half a second.
    pub async fn open(&self) -> Result<(), Failure> {
        match self.is_open() {
            true => Ok(()),
            false => self.connect().await.map(|_| ()),
        }
    }

    /// Lets the next use make a new connection, in place of one that answers nobody.
    pub fn forget(&self) {
        *self.lock() = None;
    }

    /// Sends over `connection`, which is forgotten where it is broken.
    async fn ask(&self, mut connection: Connection, command: &Cmd) -> Result<Value, Refusal> {
        connection.send(command).await.map_err(|error| {
            if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) {
                return Refusal::UnknownScript;
            }
            if !is_an_answer(&error) {
                self.forget();
            }
            Refusal::Other(error.to_string())
        })
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

impl Script {
    /// A script by its text.
    pub fn new(text: &'static str) -> Self {
        let hash = redis::Script::new(text).get_hash().to_owned();
        Self { text, hash }
    }
}

/// Why a command has no result.
enum Refusal {
    /// The server does not hold a script with this hash.
    UnknownScript,
    Other(String),
}

impl Refusal {
    fn into_failure(self) -> Failure {
        Failure::Other(match self {
            Self::UnknownScript => "it forgets scripts at once".to_owned(),
            Self::Other(why) => why,
        })
    }
}

fn silence(timeout: Duration) -> String {
    format!("no answer within {} ms", timeout.as_millis())
}

/// Also when the request that connects is dropped.
struct Reset<'a>(&'a AtomicBool);

impl Drop for Reset<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn invocation(word: &str, script: &str, keys: &[String], arguments: &[i64]) -> Cmd {
    let mut command = redis::cmd(word);
    command.arg(script).arg(keys.len()).arg(keys).arg(arguments);
    command
}

/// Whether the server said no to this command, and the connection is sound. A former master that became a replica, or a
/// cluster that moved, is worth a new connection.
fn is_an_answer(error: &redis::RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => false,
        ErrorKind::Server(_) | ErrorKind::Extension => true,
        _ => false,
    }
}

pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Nobody waits for a write.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
