//! Several replicas in one process, each with a connection of its own to a real redis.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chartgate::auth::Identity;
use chartgate::cache::Cache;
use chartgate::clock::Clock;
use chartgate::config::{self, Limit, LimitBy, Limited, Secret};
use chartgate::http::{Method, Response, StatusCode};
use chartgate::limit::{Demand, Key, Limits, Meter, Replicas};
use chartgate::metrics::Metrics;

use crate::suites::redis_server::RedisServer;

/// So long that every question is answered, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// One process, as far as limits are concerned.
struct Replica {
    replicas: Arc<Replicas>,
    metrics: Arc<Metrics>,
    _cache: Arc<Cache>,
    _folder: tempfile::TempDir,
}

impl Replica {
    async fn new(server: &RedisServer) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = config::Cache {
            memory: 0,
            disk: 0,
            redis: Some(config::Redis {
                url: Secret::new(server.url()),
                prefix: "test".to_owned(),
                max_object: 1024,
            }),
        };
        let metrics = Arc::new(Metrics::new());
        let path = folder.path().to_owned();
        let cache = Cache::open(&config, path, metrics.clone(), Clock::system());
        let cache = cache.await.expect("the cache opens");
        let link = cache.redis().expect("a redis").clone();
        let replicas = Replicas::with_patience(link.clone(), metrics.clone(), PATIENCE);
        let start = Instant::now();
        while !link.is_open() {
            assert!(start.elapsed() < Duration::from_secs(20), "no connection");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self {
            replicas,
            metrics,
            _cache: cache,
            _folder: folder,
        }
    }

    fn limits(&self, limits: &[Limit]) -> Limits {
        Limits::new(limits, "acme", Some(&self.replicas), None)
    }

    /// How many requests were decided in this way.
    fn decided(&self, result: &str) -> u64 {
        let text = String::from_utf8(self.metrics.render(&[])).expect("text");
        let name = format!("chartgate_shared_limit_requests_total{{result=\"{result}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0, |number| number.parse().expect("a number"))
    }
}

fn limit(what: Limited, amount: u64, burst: u64, by: LimitBy) -> Limit {
    Limit {
        what,
        amount,
        period: Duration::from_secs(86_400),
        burst,
        by,
    }
}

fn key(identity: &Identity) -> Key<'_> {
    Key {
        address: "10.0.0.1".parse().ok(),
        identity,
        tenant: "acme",
    }
}

fn ci() -> Identity {
    Identity::User { name: "ci".into() }
}

async fn ask(limits: &Limits) -> Option<Meter> {
    let identity = ci();
    limits.admit(key(&identity), Demand::Request).await.ok()
}

async fn three(server: &RedisServer) -> [Replica; 3] {
    [
        Replica::new(server).await,
        Replica::new(server).await,
        Replica::new(server).await,
    ]
}

/// All replicas at once, `each` requests from each of four clients of each.
async fn flood(replicas: &[Replica], limits: &[Limit], each: usize) -> usize {
    let mut floods = tokio::task::JoinSet::new();
    for replica in replicas {
        let limits = Arc::new(replica.limits(limits));
        for _ in 0..4 {
            let limits = limits.clone();
            floods.spawn(async move {
                let mut passed = 0;
                for _ in 0..each {
                    passed += usize::from(ask(&limits).await.is_some());
                }
                passed
            });
        }
    }
    floods.join_all().await.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_together_keep_to_a_small_limit_exactly() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let replicas = three(&server).await;
    // A burst below 20 has no slack; 12 a day means that none comes back during the test.
    let small = [limit(Limited::Requests, 12, 12, LimitBy::Identity)];
    assert_eq!(flood(&replicas, &small, 20).await, 12);
    assert!(replicas.iter().all(|one| one.decided("alone") == 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_together_exceed_a_limit_by_no_more_than_their_slack() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let replicas = three(&server).await;
    let many = [
        limit(Limited::Requests, 400, 400, LimitBy::Identity),
        limit(Limited::Requests, 100_000, 100_000, LimitBy::Tenant),
    ];
    let passed = flood(&replicas, &many, 300).await;
    let most = 400 + 3 * (400 / 20);
    assert!((400..=most).contains(&passed), "{passed} of {most}");
    for replica in &replicas {
        assert!(
            replica.decided("ahead") > 0,
            "nobody waits far below the limit"
        );
        assert!(replica.decided("asked") > 0, "and near it everybody asks");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_replica_lets_through_the_others_know() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let [first, second, _] = three(&server).await;
    let all = [
        limit(Limited::Requests, 10, 10, LimitBy::Tenant),
        limit(Limited::Requests, 3, 3, LimitBy::Identity),
    ];
    let (here, there) = (first.limits(&all), second.limits(&all));
    for _ in 0..3 {
        assert!(ask(&here).await.is_some());
    }
    // Refused there by redis, which takes nothing from the tenant's allowance for it.
    let identity = ci();
    let refused = there
        .admit(key(&identity), Demand::Request)
        .await
        .expect_err("three");
    assert_eq!(refused.labels(), ("requests", "identity"));
    let wait = refused.error.retry_after().expect("a time").as_secs();
    assert!((28_700..=28_800).contains(&wait), "{wait}");
    for number in 0..20 {
        // From then on it is refused without a round trip.
        let asked = second.decided("asked");
        assert!(ask(&there).await.is_none(), "{number}");
        assert_eq!(second.decided("asked"), asked);
    }
    for number in 0..7 {
        let other = Identity::User {
            name: number.to_string().into(),
        };
        let passed = there.admit(key(&other), Demand::Request).await;
        assert!(
            passed.is_ok(),
            "ten of the tenant, of which three are gone: {number}"
        );
    }
    let other = Identity::User {
        name: "last".into(),
    };
    let refused = here
        .admit(key(&other), Demand::Request)
        .await
        .expect_err("ten");
    assert_eq!(refused.labels(), ("requests", "tenant"));

    // Whoever looks into redis sees no names, and every key goes by itself.
    let keys = server.command(&[b"KEYS", b"*"]);
    assert!(keys.contains("test:limit:{"), "{keys}");
    for name in ["ci", "acme", "10.0.0.1"] {
        assert!(!keys.contains(name), "{keys}");
    }
    for key in keys.lines().filter(|line| line.starts_with("test:")) {
        let ttl = server.command(&[b"PTTL", key.as_bytes()]);
        assert!(
            ttl.starts_with(':') && !ttl.starts_with(":-"),
            "{key}: {ttl}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_one_replica_sends_are_a_debt_at_the_others() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let [first, second, _] = three(&server).await;
    let all = [limit(Limited::Bytes, 1_000, 1_000, LimitBy::Identity)];
    let (here, there) = (first.limits(&all), second.limits(&all));
    let meter = ask(&here).await.expect("nothing was taken yet");
    drop(meter.outgoing(
        &Method::GET,
        Response::new(StatusCode::OK, bytes::Bytes::from(vec![0; 3_000])),
    ));
    let start = Instant::now();
    while ask(&there).await.is_some() {
        // What passes is told within a moment, and what redis said is believed for a second.
        assert!(start.elapsed() < Duration::from_secs(10), "nobody told");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let identity = ci();
    let refused = there
        .admit(key(&identity), Demand::Request)
        .await
        .expect_err("in debt");
    let wait = refused.error.retry_after().expect("a time").as_secs();
    assert!(
        (172_700..=172_800).contains(&wait),
        "2,000 bytes of debt: {wait}"
    );
    // A third one that has never seen the client asks before it believes that nothing is owed.
    let third = Replica::new(&server).await;
    assert!(ask(&third.limits(&all)).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_that_redis_forgot_is_sent_again() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let replica = Replica::new(&server).await;
    let limits = replica.limits(&[limit(Limited::Requests, 19, 19, LimitBy::Identity)]);
    for asked in 1..=6 {
        assert!(ask(&limits).await.is_some());
        assert_eq!(
            (replica.decided("asked"), replica.decided("alone")),
            (asked, 0)
        );
        let flushed = server.command(&[b"SCRIPT", b"FLUSH"]);
        assert!(flushed.starts_with("+OK"), "{flushed}");
    }
}
