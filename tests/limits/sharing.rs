//! Three gateways behind one limit, and a redis that is killed, stopped and forgetful.

use std::time::{Duration, Instant};

use serde_json::json;

use super::open;
use crate::suites::redis_server::RedisServer;
use crate::support::gateway::Gateway;
use crate::support::until;

/// Starts a gateway and waits until it shares its limits.
fn gateway(url: &str) -> Gateway {
    let gateway = Gateway::start(json!({
        "cache": {"redis": {"url": url}},
        "tenants": {
            "acme": open(&json!([{"requests": "30/d", "by": "tenant"}, {"bytes": "1GiB/s", "by": "tenant"}])),
            "second": open(&json!({"requests": "15/d", "by": "tenant"})),
            // Every request asks: the burst is too small for a slack.
            "probe": open(&json!({"requests": "1000000/s", "burst": 19, "by": "tenant"})),
        },
    }));
    shares(&gateway);
    gateway
}

fn shares(gateway: &Gateway) {
    let before = decided(gateway, "asked");
    until("a limit that is shared", Duration::from_secs(60), || {
        gateway.get("/probe/index.yaml").expect(200);
        (decided(gateway, "asked") > before).then_some(())
    });
}

fn decided(gateway: &Gateway, result: &str) -> u64 {
    let metrics = gateway.admin("/metrics").text();
    let name = format!("chartgate_shared_limit_requests_total{{result=\"{result}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |number| number.parse().expect("a number"))
}

/// One request to each in turn, until each has had so many; how many were answered.
fn flood(gateways: &[Gateway], tenant: &str, each: usize) -> usize {
    let mut passed = 0;
    for _ in 0..each {
        for gateway in gateways {
            let status = gateway.get(&format!("/{tenant}/index.yaml")).status;
            assert!(matches!(status, 200 | 429), "{status}");
            passed += usize::from(status == 200);
        }
    }
    passed
}

#[test]
fn three_gateways_share_one_limit_and_go_on_without_redis() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let (url, port) = (server.url(), server.port());
    let gateways: Vec<_> = (0..3).map(|_| gateway(&url)).collect();
    let alone =
        |gateways: &[Gateway]| -> u64 { gateways.iter().map(|one| decided(one, "alone")).sum() };
    let before = alone(&gateways);
    let passed = flood(&gateways, "acme", 20);
    // A twentieth of the burst for each replica, and what redis was too slow for.
    let most = 30 + 3 + usize::try_from(alone(&gateways) - before).expect("few");
    assert!((30..=most).contains(&passed), "{passed} of {most}");
    assert!(most < 60, "redis was asked hardly ever");

    // Killed in the middle of a flood: each keeps to the limit for itself, and nobody gets an error.
    let passed = flood(&gateways, "second", 2);
    assert_eq!(passed, 6);
    drop(server);
    let start = Instant::now();
    let passed = flood(&gateways, "second", 20);
    assert!((9..=45 - 6).contains(&passed), "{passed}");
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "nobody waits for it"
    );
    for gateway in &gateways {
        gateway.wait_log(&["limits are kept by this replica alone"]);
    }

    // It comes back, and so does the sharing, by itself.
    let server = until("redis on its port", Duration::from_secs(20), || {
        RedisServer::start_on(port, &[])
    });
    for gateway in &gateways {
        shares(gateway);
        gateway.wait_log(&["redis answers again"]);
    }
    drop(server);
    let log = gateways[0].log();
    let told = log.matches("limits are kept by this replica alone").count();
    assert!(told <= 2, "it is told once for each time: {log}");
}

#[test]
fn a_redis_that_stands_still_costs_no_request_more_than_a_moment() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let gateway = gateway(&server.url());
    server.signal("STOP");
    let (start, before) = (Instant::now(), decided(&gateway, "alone"));
    for _ in 0..50 {
        gateway.get("/probe/index.yaml").expect(200);
    }
    // 20 ms for each of the first, until it is left alone; the rest is the machine's.
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert!(decided(&gateway, "alone") > before);
    gateway.wait_log(&["limits are kept by this replica alone"]);
    server.signal("CONT");
    shares(&gateway);
}
