//! What limits cost: the memory of 50,000 clients, and the time that a request waits for them.
//!
//! `cargo bench --bench limits`; with `REDIS=redis://127.0.0.1:6379/0` also for limits that replicas share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chartgate::auth::Identity;
use chartgate::cache::RedisConnection;
use chartgate::config::{self, Limit, LimitBy, Limited, Secret};
use chartgate::limit::{Demand, Key, Limits, Replicas};
use chartgate::metrics::Metrics;

const CLIENTS: usize = 50_000;
const ROUNDS: u32 = 200_000;

fn limit(what: Limited, by: LimitBy) -> Limit {
    Limit {
        what,
        amount: 1_000_000,
        period: Duration::from_secs(1),
        burst: 1_000_000,
        by,
    }
}

fn identities(count: usize) -> Vec<Identity> {
    let name = |number: usize| Identity::User {
        name: format!("user-{number}").into(),
    };
    (0..count).map(name).collect()
}

fn key(identity: &Identity, number: usize) -> Key<'_> {
    let low = u32::try_from(number).unwrap_or_default();
    Key {
        address: Some(std::net::Ipv4Addr::from(0x0a00_0000 + low).into()),
        identity,
        tenant: "acme",
    }
}

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("linux");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0_u64) * 4_096
}

async fn memory(what: &str, limits: &[Limit], replicas: Option<&Arc<Replicas>>) {
    let identities = identities(CLIENTS);
    let limits = Limits::new(limits, "acme", replicas, None);
    let before = resident();
    for (number, identity) in identities.iter().enumerate() {
        limits
            .admit(key(identity, number), Demand::Request)
            .await
            .expect("far below");
    }
    let grown = resident().saturating_sub(before);
    println!(
        "{what}: {} live keys in {:.1} MB",
        limits.clients(),
        grown as f64 / 1e6
    );
}

async fn time(what: &str, limits: &[Limit], replicas: Option<&Arc<Replicas>>, rounds: u32) {
    let identities = identities(100);
    let limits = Limits::new(limits, "acme", replicas, None);
    let start = Instant::now();
    for (number, identity) in (0..rounds as usize).zip(identities.iter().cycle()) {
        let admitted = limits.admit(key(identity, number % 100), Demand::Request);
        admitted.await.expect("far below");
    }
    let each = start.elapsed() / rounds;
    println!("{what}: {each:?} a request");
}

/// A redis that is shared with nobody.
fn replicas(url: &str) -> (Arc<RedisConnection>, Arc<Replicas>) {
    let config = config::Redis {
        url: Secret::new(url),
        prefix: format!("bench-{}", std::process::id()),
        max_object: 1,
    };
    let link = Arc::new(RedisConnection::new(&config).expect("a redis URL"));
    let replicas = Replicas::new(link.clone(), Arc::new(Metrics::new()));
    (link, replicas)
}

#[tokio::main]
async fn main() {
    let one = [limit(Limited::Requests, LimitBy::Identity)];
    let three = [
        limit(Limited::Requests, LimitBy::Identity),
        limit(Limited::Requests, LimitBy::Address),
        limit(Limited::Bytes, LimitBy::Identity),
    ];
    memory("one limit", &one, None).await;
    memory("three limits", &three, None).await;
    time("one limit", &one, None, ROUNDS).await;
    time("three limits", &three, None, ROUNDS).await;
    let Ok(url) = std::env::var("REDIS") else {
        println!("not run: limits that replicas share (set REDIS to a server that nobody needs)");
        return;
    };
    let (link, replicas) = replicas(&url);
    link.open().await.expect("a connection");
    memory("one shared limit", &one, Some(&replicas)).await;
    time("one shared limit, far below", &one, Some(&replicas), ROUNDS).await;
    let near = [Limit {
        burst: 19,
        ..one[0]
    }];
    time("one shared limit, asked", &near, Some(&replicas), 20_000).await;
}
