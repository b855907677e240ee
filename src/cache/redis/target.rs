//! Where redis is: one server, behind sentinels, or a cluster, as the URL says.

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionAddr, RedisResult, TlsMode, Value};

use super::connection::{CONNECT_TIMEOUT, WRITE_TIMEOUT};
use super::server_url::{Parts, unusable};
use crate::error::Result;

#[derive(Clone)]
pub(super) enum Connection {
    Node(MultiplexedConnection),
    Cluster(Box<ClusterConnection>),
}

impl Connection {
    pub(super) async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
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
pub(super) enum Target {
    Node(Box<Client>),
    Sentinel(Box<tokio::sync::Mutex<SentinelClient>>),
    Cluster(Box<ClusterClient>),
}

impl Target {
    /// `redis[s]://`, `redis[s]+sentinel://[user:password@]host[:port][,…]/<master>[/<db>]`,
    /// `redis[s]+cluster://[user:password@]host[:port][,…]`.
    pub(super) fn parse(url: &str) -> Result<Self> {
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

    pub(super) async fn connect(&self) -> RedisResult<Connection> {
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
