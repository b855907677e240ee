//! The chart routes as HTTP: encodings, conditional requests, ranges, provenance, reserved names, rates.

use std::io::Read as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::fake::{FakeChart, FakeHelm, FakeUpstream, package};
use crate::support::gateway::Gateway;
use crate::support::http::{Call, Reply};
use crate::support::until;

fn upstream_of(fake: &FakeUpstream) -> Value {
    json!({"type": "helm", "url": fake.url(), "allow_private": true})
}

/// One tenant `t` with a hosted part in front of `fake`.
fn merged(fake: &FakeUpstream) -> Gateway {
    Gateway::start(json!({
        "upstreams": {"up": upstream_of(fake)},
        "tenants": {"t": {"hosted": {}, "charts": ["up"], "access": {"anonymous": ["pull", "push", "delete"]}}},
    }))
}

fn ask(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Reply {
    let call = headers.iter().fold(Call::get(path), |call, (name, value)| {
        call.header(name, value)
    });
    gateway.send(&call)
}

fn etag(reply: &Reply) -> String {
    reply.header("etag").expect("an ETag").to_owned()
}

#[test]
fn encoded_indexes_only_for_those_who_ask_and_with_tags_of_their_own() {
    let fake = FakeHelm::new()
        .chart("web", "1.0.0")
        .chart("web", "1.1.0")
        .run();
    let gateway = merged(&fake);
    let plain = gateway.get("/t/index.yaml").expect(200);
    assert_eq!(plain.header("content-encoding"), None);
    for coding in ["gzip", "zstd"] {
        // The first wish starts the preparation and is answered without it.
        let encoded = until("the prepared form", Duration::from_secs(10), || {
            let reply = ask(&gateway, "/t/index.yaml", &[("Accept-Encoding", coding)]).expect(200);
            (reply.header("content-encoding") == Some(coding)).then_some(reply)
        });
        let mut text = Vec::new();
        match coding {
            "gzip" => flate2::read::GzDecoder::new(&*encoded.body)
                .read_to_end(&mut text)
                .map(drop),
            _ => zstd::Decoder::new(&*encoded.body)
                .and_then(|mut body| body.read_to_end(&mut text).map(drop)),
        }
        .expect("a whole stream");
        assert_eq!(text, plain.body, "{coding}");
        assert_ne!(etag(&encoded), etag(&plain));
        let asked = [
            ("Accept-Encoding", coding),
            ("If-None-Match", &etag(&encoded)),
        ];
        ask(&gateway, "/t/index.yaml", &asked).expect(304);
    }
    let refused = ask(
        &gateway,
        "/t/index.yaml",
        &[("Accept-Encoding", "gzip;q=0, br")],
    )
    .expect(200);
    assert_eq!(refused.body, plain.body);
    let archive = ask(
        &gateway,
        "/t/charts/web-1.0.0.tgz",
        &[("Accept-Encoding", "gzip")],
    )
    .expect(200);
    assert_eq!(
        archive.header("content-encoding"),
        None,
        "archives are never encoded"
    );
}

#[test]
fn an_index_is_revalidated_until_it_changes() {
    let fake = FakeHelm::new().chart("web", "1.0.0").run();
    let gateway = merged(&fake);
    let before = gateway.get("/t/index.yaml").expect(200);
    let known = etag(&before);
    let modified = before.header("last-modified").expect("a date").to_owned();
    let unchanged = ask(&gateway, "/t/index.yaml", &[("If-None-Match", &known)]).expect(304);
    assert!(unchanged.body.is_empty());
    ask(
        &gateway,
        "/t/index.yaml",
        &[("If-Modified-Since", &modified)],
    )
    .expect(304);
    gateway
        .send(&Call::new("POST", "/api/t/charts").body(package("mine", "1.0.0", &[])))
        .expect(201);
    let after = ask(&gateway, "/t/index.yaml", &[("If-None-Match", &known)]).expect(200);
    assert_ne!(etag(&after), known);
    gateway
        .send(&Call::new("DELETE", "/api/t/charts/mine/1.0.0"))
        .expect(200);
    let again = gateway.get("/t/index.yaml").expect(200);
    assert_eq!(
        (etag(&again), again.body),
        (known, before.body),
        "the same content is the same bytes"
    );
}

#[test]
fn ranges_heads_and_tags_of_archives() {
    let fake = FakeHelm::new()
        .with(FakeChart::new("web", "1.0.0").size(50_000))
        .run();
    let gateway = merged(&fake);
    gateway
        .send(&Call::new("POST", "/api/t/charts").body(package(
            "mine",
            "1.0.0",
            &[("a", &[7; 9000])],
        )))
        .expect(201);
    for (path, cache) in [
        ("/t/charts/web-1.0.0.tgz", "hit"),
        ("/t/charts/mine-1.0.0.tgz", "hosted"),
    ] {
        gateway.get(path).expect(200);
        let whole = until("a held copy", Duration::from_secs(10), || {
            let reply = gateway.get(path).expect(200);
            (reply.header("x-cache") == Some(cache)).then_some(reply)
        });
        let length = whole.body.len();
        let head = gateway.send(&Call::new("HEAD", path)).expect(200);
        assert_eq!(
            head.header("content-length"),
            Some(length.to_string().as_str())
        );
        assert!(head.body.is_empty());
        let part = ask(&gateway, path, &[("Range", "bytes=10-19")]).expect(206);
        assert_eq!(part.body, whole.body[10..20]);
        assert_eq!(
            part.header("content-range"),
            Some(format!("bytes 10-19/{length}").as_str())
        );
        let tail = ask(&gateway, path, &[("Range", "bytes=-5")]).expect(206);
        assert_eq!(tail.body, whole.body[length - 5..]);
        let beyond = ask(&gateway, path, &[("Range", "bytes=99999999-")]).expect(416);
        assert_eq!(
            beyond.header("content-range"),
            Some(format!("bytes */{length}").as_str())
        );
        ask(
            &gateway,
            path,
            &[("Range", "bytes=0-1"), ("If-Range", "\"other\"")],
        )
        .expect(200);
        ask(&gateway, path, &[("If-None-Match", &etag(&whole))]).expect(304);
        // Clients join with an extra slash, and escape a plus or not.
        gateway.get(&path.replace("/t/", "//t//")).expect(200);
    }
}

#[test]
fn hosted_names_are_reserved_and_come_back_with_the_last_delete() {
    let fake = FakeHelm::new()
        .chart("web", "9.0.0")
        .chart("db", "1.0.0")
        .run();
    let gateway = merged(&fake);
    gateway
        .send(&Call::new("POST", "/api/t/charts").body(package("web", "1.0.0", &[])))
        .expect(201);
    let versions = |gateway: &Gateway| {
        gateway.index("t")["entries"]["web"]
            .as_array()
            .map(Vec::len)
    };
    assert_eq!(gateway.index("t")["entries"]["web"][0]["version"], "1.0.0");
    assert_eq!(
        versions(&gateway),
        Some(1),
        "no upstream version of a hosted name appears"
    );
    gateway.get("/t/charts/web-9.0.0.tgz").expect(404);
    gateway
        .send(&Call::new("DELETE", "/api/t/charts/web/1.0.0"))
        .expect(200);
    gateway.get("/t/charts/web-1.0.0.tgz").expect(404);
    assert_eq!(gateway.index("t")["entries"]["web"][0]["version"], "9.0.0");
    gateway.get("/t/charts/web-9.0.0.tgz").expect(200);
}

#[test]
fn a_rate_is_kept_per_tenant_and_told_with_429() {
    let one =
        |limits: Value| json!({"hosted": {}, "access": {"anonymous": ["pull"]}, "limits": limits});
    let gateway = Gateway::start(json!({
        "tenants": {
            "slow": one(json!({"requests": "3/h", "burst": 3, "by": "address"})),
            "fast": {"hosted": {}, "access": {"anonymous": ["pull"]}},
        },
    }));
    for _ in 0..3 {
        gateway.get("/slow/index.yaml").expect(200);
    }
    let refused = gateway.get("/slow/index.yaml").expect(429);
    let wait: u64 = refused
        .header("retry-after")
        .expect("when")
        .parse()
        .expect("seconds");
    assert!((1..=3600).contains(&wait), "{wait}");
    assert!(refused.text().contains("slow"), "{}", refused.text());
    gateway.get("/fast/index.yaml").expect(200);
    let metrics = gateway.admin("/metrics").expect(200).text();
    assert!(
        metrics.contains("chartgate_rate_limited_total{tenant=\"slow\"} 1"),
        "{metrics}"
    );
}
