//! What upstreams are asked, through the whole program: clients before the background, stale before refused, never absent.

use std::time::Duration;

use serde_json::{Value, json};

use crate::oracle::{local, tenant};
use crate::registry_clients::Place;
use crate::support::fake::{FakeHelm, FakeRegistry, Spot, Target};
use crate::support::gateway::Gateway;
use crate::support::http::Reply;
use crate::support::registries::{mirror, oci};
use crate::support::until;

/// What the admin listener says about the one upstream of this kind.
fn shown(gateway: &Gateway, kind: &str) -> Value {
    gateway.admin("/upstreams").expect(200).json()[kind][0].clone()
}

#[track_caller]
fn assert_429(reply: &Reply) {
    assert_eq!(reply.status, 429, "{}", reply.text());
    let wait: u64 = reply
        .header("retry-after")
        .expect("when")
        .parse()
        .expect("seconds");
    assert!((1..=3_700).contains(&wait), "{wait}");
    let text = reply.text();
    assert!(
        text.contains("upstream `up`") && text.contains("the next request is possible in"),
        "{text}"
    );
}

#[test]
fn clients_have_the_last_requests_and_then_what_is_held() {
    let fake = FakeHelm::new()
        .chart("app", "1.0.0")
        .chart("web", "2.0.0")
        .chart("db", "3.0.0")
        .run();
    let mut up = local(&fake.url());
    up["refresh"] = json!("1s");
    up["budget"] = json!({"requests": "8/h", "connections": 2});
    let gateway = Gateway::start(json!({
        "upstreams": {"up": up}, "tenants": {"t": tenant(&["up"])},
    }));
    // Eight an hour, of which two are kept for clients.
    let stale = until("the background to stop", Duration::from_secs(60), || {
        let one = shown(&gateway, "upstreams");
        (one["state"] == "stale").then_some(one)
    });
    assert_eq!(fake.count("/index.yaml"), 6);
    assert_eq!(stale["budget"]["requests"]["remaining"], 2);
    assert_eq!(stale["budget"]["requests"]["limit"], 8);
    assert_eq!(stale["budget"]["connections"]["limit"], 2);
    let why = stale["last_error"].as_str().expect("why").to_owned();
    assert!(
        why.contains("left of the 8 requests of upstream `up`"),
        "{why}"
    );
    let index = gateway.get("/t/index.yaml").expect(200);
    assert_eq!(index.header("warning"), Some("110 - \"Response is Stale\""));

    for file in ["app-1.0.0.tgz", "web-2.0.0.tgz"] {
        gateway.get(&format!("/t/charts/{file}")).expect(200);
    }
    assert_429(&gateway.get("/t/charts/db-3.0.0.tgz"));
    gateway.get("/t/charts/app-1.0.0.tgz").expect(200);
    assert_eq!(fake.total(), 8);
    let metrics = gateway.admin("/metrics").expect(200).text();
    for line in [
        "chartgate_upstream_budget_remaining{upstream=\"up\"} 0",
        "chartgate_upstream_budget_limit{upstream=\"up\"} 8",
        "chartgate_upstream_held_back_total{for=\"client\",upstream=\"up\"} 1",
        "chartgate_upstream_connections{state=\"in_use\",upstream=\"up\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(!gateway.log().contains("panicked"));
}

#[test]
fn a_reload_with_another_budget_forgets_nothing() {
    let fake = FakeHelm::new()
        .chart("app", "1.0.0")
        .chart("web", "2.0.0")
        .run();
    let config = |limit: &str| {
        let mut up = local(&fake.url());
        up["refresh"] = json!("1h");
        up["budget"] = json!({"requests": limit});
        json!({"upstreams": {"up": up}, "tenants": {"t": tenant(&["up"])}})
    };
    let gateway = Gateway::start(config("20/h"));
    gateway.get("/t/charts/app-1.0.0.tgz").expect(200);
    let sent = fake.total();
    let mut next = config(&format!("{sent}/h"));
    next["server"] = json!({"http": gateway.http.to_string(), "admin": gateway.admin.to_string()});
    next["data_dir"] = json!(gateway.data());
    gateway.configure(&next);
    gateway.signal("HUP");
    until("the new budget", Duration::from_secs(30), || {
        let limit = &shown(&gateway, "upstreams")["budget"]["requests"]["limit"];
        (*limit == json!(sent)).then_some(())
    });
    assert_429(&gateway.get("/t/charts/web-2.0.0.tgz"));
}

#[test]
fn registries_keep_to_their_budget() {
    let mut fake = FakeRegistry::open();
    for number in 0..40 {
        fake = fake.image_of("a/b", &number.to_string(), 1_000);
    }
    let fake = fake.run();
    let mut up = oci(&fake.url());
    up["tag_ttl"] = json!("0s");
    up["budget"] = json!({"requests": "20/h"});
    let gateway = Gateway::start(json!({
        "upstreams": {"up": up}, "tenants": {"acme": mirror(&["up"])},
    }));
    let place = Place::of(gateway.http, "acme/up");
    let tag = |number: usize| place.ask("GET", "a/b", &format!("manifests/{number}"));
    // A HEAD and a GET each.
    for number in 0..10 {
        assert_eq!(tag(number).status, 200);
    }
    for number in 10..40 {
        let reply = tag(number);
        assert_429(&reply);
        assert_eq!(reply.json()["errors"][0]["code"], "TOOMANYREQUESTS");
    }
    let stale = tag(3);
    assert_eq!(stale.status, 200);
    assert_eq!(stale.header("x-cache"), Some("stale"));
    let warning = stale.header("warning").expect("it may be old");
    assert!(
        warning.contains("`upstreams.up.budget.requests`"),
        "{warning}"
    );
    assert_eq!(fake.count(Spot::All), 20);
    let one = shown(&gateway, "registries");
    assert_eq!(one["budget"]["requests"]["remaining"], 0, "{one}");
    assert_eq!(one["paused"], json!([]));
}

#[test]
fn a_crowd_never_sends_more_than_its_places() {
    let mut charts = FakeHelm::new();
    for number in 0..24 {
        charts = charts.chart("app", &format!("1.0.{number}"));
    }
    let fake = charts.run();
    let mut up = local(&fake.url());
    up["refresh"] = json!("1h");
    up["budget"] = json!({"connections": 4});
    let gateway = Gateway::start(json!({
        "upstreams": {"up": up}, "tenants": {"t": tenant(&["up"])},
    }));
    let hold = fake.hold(Target::Archives);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..24)
            .map(|number| {
                let gateway = &gateway;
                scope.spawn(move || gateway.get(&format!("/t/charts/app-1.0.{number}.tgz")))
            })
            .collect();
        until("all to wait", Duration::from_secs(30), || {
            let places = shown(&gateway, "upstreams")["budget"]["connections"].clone();
            (places["waiting"] == 20 && places["in_use"] == 4).then_some(())
        });
        assert_eq!(hold.arrived(), 4);
        hold.release();
        for (number, client) in clients.into_iter().enumerate() {
            let reply = client.join().expect("no panic").expect(200);
            assert_eq!(reply.body, fake.archive("app", &format!("1.0.{number}")));
        }
    });
    assert_eq!(fake.most_at_once(), 4);
}
