//! What holds for every tier: memory, disk and redis. Then what is special about redis: whatever it does is a miss.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chartgate::cache::{Cache, FillRequest, FillSource, Held, Sharing, Status, Tier};
use chartgate::clock::Clock;
use chartgate::config::{self, OnDigestMismatch, Secret};
use chartgate::digest::Digest;
use chartgate::error::{Error, Result};
use chartgate::http::{Body, ByteStream};
use chartgate::metrics::Metrics;
use chartgate::upstream::Download;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::redis_server::{RedisServer, free_port};

struct World {
    cache: Arc<Cache>,
    metrics: Arc<Metrics>,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new(memory: u64, disk: u64, redis: Option<&str>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let config = config::Cache {
            memory,
            disk,
            redis: redis.map(|url| config::Redis {
                url: Secret::new(url),
                prefix: "test".to_owned(),
                max_object: MAX_OBJECT,
            }),
        };
        let metrics = Arc::new(Metrics::new());
        let dir_path = dir.path().to_owned();
        let cache = Cache::open(&config, dir_path, metrics.clone(), Clock::system()).await;
        Self {
            cache: cache.expect("the cache opens"),
            metrics,
            _dir: dir,
        }
    }

    async fn redis(url: &str) -> Self {
        Self::new(0, 0, Some(url)).await
    }

    fn tier(&self, name: &str) -> Arc<dyn Tier> {
        let tiers = self.cache.tiers();
        let tier = tiers.into_iter().find(|tier| tier.name() == name);
        tier.expect("a tier of this name")
    }

    fn counted(&self, tier: &str, result: &str) -> bool {
        let wanted =
            format!("chartgate_cache_requests_total{{result=\"{result}\",tier=\"{tier}\"}}");
        String::from_utf8_lossy(&self.metrics.render(&[])).contains(&wanted)
    }
}

const MAX_OBJECT: u64 = 200_000;

fn content(length: usize, seed: u8) -> Bytes {
    (0..length)
        .map(|n| (n as u8) ^ (n >> 8) as u8 ^ seed)
        .collect()
}

async fn get(tier: &dyn Tier, digest: &Digest) -> Option<Bytes> {
    match tier.get(digest).await? {
        Held::Bytes(bytes) => Some(bytes),
        Held::File(..) => unreachable!("short objects are bytes"),
    }
}

/// The suite. `world` has room for about 1 MB in this tier.
async fn behaves(world: &World, name: &str) {
    let tier = world.tier(name);
    assert_eq!(tier.name(), name);
    let (one, two) = (content(50_000, 1), content(100_000, 2));
    let (first, second) = (Digest::of(&one), Digest::of(&two));

    assert_eq!(get(&*tier, &first).await, None);
    assert!(world.counted(name, "miss"));
    tier.put(&first, one.clone()).await;
    tier.put(&second, two.clone()).await;
    assert_eq!(get(&*tier, &first).await, Some(one.clone()));
    assert_eq!(get(&*tier, &second).await, Some(two.clone()));
    assert!(world.counted(name, "hit"));

    // Putting twice changes nothing.
    tier.put(&first, one.clone()).await;
    assert_eq!(get(&*tier, &first).await, Some(one.clone()));

    tier.remove(&first).await;
    assert_eq!(get(&*tier, &first).await, None);
    assert_eq!(get(&*tier, &second).await, Some(two.clone()));
    tier.remove(&first).await;

    // Many at once.
    let many: Vec<Bytes> = (10..18).map(|seed| content(30_000, seed)).collect();
    let puts = many.iter().map(|bytes| {
        let (tier, bytes) = (Arc::clone(&tier), bytes.clone());
        tokio::spawn(async move { tier.put(&Digest::of(&bytes), bytes).await })
    });
    for put in puts.collect::<Vec<_>>() {
        put.await.expect("no panic");
    }
    for bytes in &many {
        assert_eq!(get(&*tier, &Digest::of(bytes)).await.as_ref(), Some(bytes));
    }

    // More than fits: the tier stays within its capacity and goes on working.
    for round in 0..40 {
        let bytes = content(90_000 + round, round as u8);
        tier.put(&Digest::of(&bytes), bytes).await;
    }
    let stats = tier.stats();
    assert!(stats.bytes <= stats.capacity, "{stats:?}");
    tier.remove(&second).await;
    tier.put(&second, two.clone()).await;

    // Larger than the tier takes: not kept, nothing else happens.
    let huge = content(3 << 20, 9);
    tier.put(&Digest::of(&huge), huge.clone()).await;
    assert!(tier.get(&Digest::of(&huge)).await.is_none());
}

#[tokio::test]
async fn memory_behaves() {
    behaves(&World::new(1 << 20, 0, None).await, "memory").await;
}

#[tokio::test]
async fn disk_behaves() {
    behaves(&World::new(0, 1 << 20, None).await, "disk").await;
}

#[tokio::test]
async fn redis_behaves() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    behaves(&World::redis(&server.url()).await, "redis").await;
}

#[tokio::test]
async fn a_redis_cluster_behaves() {
    let Some(server) = RedisServer::start(&["cluster-enabled yes"]) else {
        return;
    };
    server.command(&[b"CLUSTER", b"ADDSLOTSRANGE", b"0", b"16383"]);
    while !server
        .command(&[b"CLUSTER", b"INFO"])
        .contains("cluster_state:ok")
    {
        tokio::task::yield_now().await;
    }
    let url = format!("redis+cluster://127.0.0.1:{}", server.port());
    behaves(&World::redis(&url).await, "redis").await;
}

#[tokio::test]
async fn redis_behind_a_sentinel_behaves() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let monitor = format!("sentinel monitor mymaster 127.0.0.1 {} 1", server.port());
    let Some(sentinel) = RedisServer::start(&["--sentinel", &monitor]) else {
        return;
    };
    // The sentinel names a master only after it has spoken with it.
    while !sentinel
        .command(&[b"SENTINEL", b"MASTERS"])
        .contains("\r\nmaster\r\n")
    {
        tokio::task::yield_now().await;
    }
    let url = format!("redis+sentinel://127.0.0.1:{}/mymaster/0", sentinel.port());
    behaves(&World::redis(&url).await, "redis").await;
}

// ---- redis: whatever it does is a miss

struct Whole(Bytes, AtomicUsize);

#[async_trait]
impl FillSource for Whole {
    async fn open(&self, _: u64) -> Result<Download> {
        if self.1.fetch_add(1, Ordering::SeqCst) > 0 {
            return Err(Error::unavailable("asked too often"));
        }
        Ok(Download {
            length: None,
            body: ByteStream::once(self.0.clone()),
        })
    }
}

/// A fill through the cache gives the right bytes, whatever redis does.
async fn fills(world: &World, bytes: &Bytes) -> (Status, usize) {
    let request = FillRequest {
        name: format!("n/{}", Digest::of(bytes)),
        expect: Some(Digest::of(bytes)),
        also_accept: Vec::new(),
        on_mismatch: OnDigestMismatch::Reject,
        max_length: 1 << 30,
        negative_ttl: Duration::ZERO,
        sharing: Sharing::Everybody,
    };
    let source = Arc::new(Whole(bytes.clone(), AtomicUsize::new(0)));
    let object = world
        .cache
        .fill(request, source.clone())
        .await
        .expect("filled");
    let Body::Bytes(read) = object.body(0..u64::MAX).await.expect("body") else {
        unreachable!("short objects are bytes")
    };
    assert_eq!(read, bytes);
    world.cache.idle().await;
    (object.status(), source.1.load(Ordering::SeqCst))
}

/// Lets the breaker's pause pass without waiting for it.
async fn pass_the_pause() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn replicas_share_what_one_of_them_fetched() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let (one, two) = (
        World::new(1 << 20, 1 << 20, Some(&server.url())).await,
        World::new(1 << 20, 1 << 20, Some(&server.url())).await,
    );
    let bytes = content(60_000, 3);
    assert_eq!(fills(&one, &bytes).await, (Status::Miss, 1));
    assert_eq!(fills(&two, &bytes).await, (Status::Hit, 0));
    assert!(two.cache.holds(&Digest::of(&bytes)));
    let key = format!("test:blob:{}", Digest::of(&bytes).to_hex());
    assert!(server.command(&[b"TTL", key.as_bytes()]).starts_with(":60"));
}

#[tokio::test]
async fn other_bytes_in_redis_are_a_miss_and_are_removed() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let world = World::redis(&server.url()).await;
    let tier = world.tier("redis");
    let bytes = content(60_000, 4);
    let digest = Digest::of(&bytes);
    let key = format!("test:blob:{}", digest.to_hex());
    for wrong in [&bytes[..59_999], b"garbage", &content(60_000, 5)] {
        server.command(&[b"SET", key.as_bytes(), wrong]);
        assert_eq!(get(&*tier, &digest).await, None);
        assert!(
            server
                .command(&[b"EXISTS", key.as_bytes()])
                .starts_with(":0")
        );
    }
    assert!(world.counted("redis", "error"));
    // Another type, and something absurdly large.
    server.command(&[b"LPUSH", key.as_bytes(), b"x"]);
    assert_eq!(get(&*tier, &digest).await, None);
    server.command(&[b"DEL", key.as_bytes()]);
    server.command(&[b"SETRANGE", key.as_bytes(), b"50000000", b"x"]);
    assert_eq!(get(&*tier, &digest).await, None);
    assert_eq!(fills(&world, &bytes).await, (Status::Miss, 1));
    assert_eq!(get(&*tier, &digest).await, Some(bytes));
}

#[tokio::test]
async fn a_full_redis_still_answers_what_it_holds() {
    let Some(server) = RedisServer::start(&["maxmemory-policy noeviction"]) else {
        return;
    };
    let world = World::redis(&server.url()).await;
    let tier = world.tier("redis");
    let (held, refused) = (content(60_000, 6), content(60_000, 7));
    tier.put(&Digest::of(&held), held.clone()).await;
    server.command(&[b"CONFIG", b"SET", b"maxmemory", b"1"]);
    for _ in 0..5 {
        tier.put(&Digest::of(&refused), refused.clone()).await;
        assert_eq!(get(&*tier, &Digest::of(&refused)).await, None);
        assert_eq!(get(&*tier, &Digest::of(&held)).await, Some(held.clone()));
    }
    assert_eq!(fills(&world, &refused).await, (Status::Miss, 1));

    server.command(&[b"CONFIG", b"SET", b"maxmemory", b"0"]);
    pass_the_pause().await;
    tier.put(&Digest::of(&refused), refused.clone()).await;
    assert_eq!(get(&*tier, &Digest::of(&refused)).await, Some(refused));
}

#[tokio::test]
async fn redis_may_go_and_come_back() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let world = World::redis(&server.url()).await;
    let tier = world.tier("redis");
    let bytes = content(60_000, 8);
    tier.put(&Digest::of(&bytes), bytes.clone()).await;
    assert!(get(&*tier, &Digest::of(&bytes)).await.is_some());
    let port = server.port();
    drop(server);
    for _ in 0..5 {
        assert_eq!(get(&*tier, &Digest::of(&bytes)).await, None);
    }
    let other = content(60_001, 8);
    assert_eq!(fills(&world, &other).await, (Status::Miss, 1));

    let Some(_server) = RedisServer::start_on(port, &[]) else {
        return;
    };
    pass_the_pause().await;
    tier.put(&Digest::of(&bytes), bytes.clone()).await;
    assert_eq!(get(&*tier, &Digest::of(&bytes)).await, Some(bytes));
}

#[tokio::test]
async fn a_redis_that_hangs_is_a_miss_until_it_answers_again() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let world = World::redis(&server.url()).await;
    let tier = world.tier("redis");
    let bytes = content(60_000, 9);
    tier.put(&Digest::of(&bytes), bytes.clone()).await;
    server.signal("STOP");
    for _ in 0..10 {
        assert_eq!(get(&*tier, &Digest::of(&bytes)).await, None);
    }
    assert_eq!(fills(&world, &content(60_001, 9)).await, (Status::Miss, 1));
    server.signal("CONT");
    pass_the_pause().await;
    assert_eq!(get(&*tier, &Digest::of(&bytes)).await, Some(bytes));
}

#[tokio::test]
async fn a_server_that_talks_nonsense_costs_three_attempts() {
    let answers: [&'static [u8]; 6] = [
        b"",
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
        b"\xff\xfe\x00\x00garbage\r\n",
        b"$99999999999\r\nx",
        b"-ERR unknown\r\n-ERR unknown\r\n-ERR unknown\r\n-ERR unknown\r\n-ERR unknown\r\n",
        b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n:1\r\n*1000000000\r\n",
    ];
    for answer in answers {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("redis://{}/0", listener.local_addr().expect("bound"));
        let connections = Arc::new(AtomicUsize::new(0));
        let server = {
            let connections = Arc::clone(&connections);
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(async move {
                        let mut request = [0; 4096];
                        // Nothing to say: wait for ever, as a slow server would.
                        while let Ok(1..) = stream.read(&mut request).await {
                            if !answer.is_empty() && stream.write_all(answer).await.is_err() {
                                return;
                            }
                        }
                    });
                }
            })
        };
        let world = World::redis(&url).await;
        let tier = world.tier("redis");
        for seed in 0..20 {
            let bytes = content(1000, seed);
            assert_eq!(get(&*tier, &Digest::of(&bytes)).await, None);
        }
        let after = connections.load(Ordering::SeqCst);
        assert!(after <= 3, "{after} connections for {answer:?}");
        assert_eq!(fills(&world, &content(1000, 99)).await, (Status::Miss, 1));
        server.abort();
    }
}

#[tokio::test]
async fn a_redis_that_never_was_there_costs_nothing() {
    let world = World::redis(&format!("redis://127.0.0.1:{}/0", free_port())).await;
    for seed in 0..50 {
        assert_eq!(fills(&world, &content(1000, seed)).await, (Status::Miss, 1));
    }
}
