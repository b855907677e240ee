//! One gateway without a redis.

use std::time::Duration;

use serde_json::{Value, json};

use super::{noise, open, sha256, wait};
use crate::support::fake::package;
use crate::support::gateway::Gateway;
use crate::support::http::Call;
use crate::support::until;

fn upload(tenant: &str, version: &str) -> Call {
    Call::new("POST", &format!("/api/{tenant}/charts")).body(package("app", version, &[]))
}

#[test]
fn all_limits_of_a_tenant_count_and_uploads_for_themselves() {
    let gateway = Gateway::start(json!({"tenants": {"acme": open(&json!([
        {"requests": "4/d", "uploads": "2/d", "by": "address"},
        {"requests": "1000/s", "by": "tenant"},
    ]))}}));
    gateway.send(&upload("acme", "1.0.0")).expect(201);
    gateway.send(&upload("acme", "1.0.1")).expect(201);
    let refused = gateway.send(&upload("acme", "1.0.2"));
    assert!(wait(&refused) > 40_000, "{}", wait(&refused));
    let told = refused.json()["error"].to_string();
    assert!(
        told.contains("`127.0.0.1` may upload 2 times to `acme` in a day"),
        "{told}"
    );
    // Neither those that went through nor the one that was refused were requests.
    for _ in 0..4 {
        gateway.get("/acme/index.yaml").expect(200);
    }
    let refused = gateway.get("/acme/index.yaml");
    assert!(wait(&refused) > 20_000);
    assert!(
        refused.text().contains("may ask `acme` 4 times in a day"),
        "{}",
        refused.text()
    );
    let metrics = gateway.admin("/metrics").text();
    for line in [
        r#"chartgate_rate_limited_total{tenant="acme"} 2"#,
        r#"chartgate_limit_refusals_total{by="address",limit="requests"} 1"#,
        r#"chartgate_limit_refusals_total{by="address",limit="uploads"} 1"#,
        // One address of two limits, and the tenant.
        "chartgate_limit_keys 3",
    ] {
        assert!(metrics.contains(line), "no `{line}` in\n{metrics}");
    }
}

#[test]
fn an_answer_is_never_cut_and_its_debt_is_paid() {
    let gateway = Gateway::start(json!({"tenants": {
        "acme": open(&json!({"bytes": "100KiB/h", "by": "tenant"})),
    }}));
    let content = noise(300 << 10);
    let chart = package("big", "1.0.0", &[("files/noise", &content)]);
    let push = Call::new("POST", "/api/acme/charts").body(chart.clone());
    gateway.send(&push).expect(201);
    let path = "/acme/charts/big-1.0.0.tgz";
    for _ in 0..20 {
        // None of these has bytes.
        let head = gateway.send(&Call::new("HEAD", path)).expect(200);
        let tag = head.header("etag").expect("a tag").to_owned();
        gateway
            .send(&Call::get(path).header("If-None-Match", &tag))
            .expect(304);
    }
    let whole = gateway.get(path).expect(200);
    assert!(
        whole.complete && whole.body == chart,
        "not cut in the middle"
    );
    let refused = gateway.get(path);
    let debt = (chart.len() as u64 - (100 << 10)) * 3_600 / (100 << 10);
    assert!(
        (debt - 60..debt + 60).contains(&wait(&refused)),
        "{} for {debt}",
        wait(&refused)
    );
    assert!(
        refused
            .text()
            .contains("may take 100 KiB from `acme` in an hour"),
        "{}",
        refused.text()
    );
    wait(&gateway.send(&Call::new("HEAD", path)));
    // What is sent is another matter.
    gateway.send(&upload("acme", "1.0.0")).expect(201);
}

#[test]
fn a_push_that_has_begun_is_finished_and_the_next_waits() {
    let gateway = Gateway::start(json!({"tenants": {
        "acme": open(&json!({"upload_bytes": "1KiB/h", "by": "identity"})),
    }}));
    let layer = noise(5_000);
    let start = || Call::new("POST", "/v2/acme/app/blobs/uploads/").body("");
    let begun = gateway.send(&start()).expect(202);
    let place = begun.header("location").expect("a place").to_owned();
    let (first, second) = layer.split_at(2_500);
    gateway
        .send(&Call::new("PATCH", &place).body(first))
        .expect(202);
    gateway
        .send(&Call::new("PATCH", &place).body(second))
        .expect(202);
    let seal = format!("{place}?digest={}", sha256(&layer));
    gateway.send(&Call::new("PUT", &seal).body("")).expect(201);
    let blob = |bytes: &[u8]| json!({"mediaType": "application/vnd.example", "digest": sha256(bytes), "size": bytes.len()});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(&layer),
        "layers": [blob(&layer)],
    });
    let put = Call::new("PUT", "/v2/acme/app/manifests/v1")
        .header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
        .body(manifest.to_string());
    gateway.send(&put).expect(201);
    let refused = gateway.send(&start());
    assert!(wait(&refused) > 3_600, "{}", wait(&refused));
    assert_eq!(refused.json()["errors"][0]["code"], "TOOMANYREQUESTS");
    wait(&gateway.send(&upload("acme", "1.0.0")));
    gateway.get("/v2/acme/app/manifests/v1").expect(200);
}

#[test]
fn a_flood_of_passwords_does_not_reach_them() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let line = "ci:{SHA}JfOwpCDy5ASLqp0M24rdutzyYk8=\n";
    std::fs::write(folder.path().join("users"), line).expect("written");
    let gateway = Gateway::start_in(
        folder,
        json!({
            "auth": {"users_file": "users"},
            "limits": {"requests": "3/h"},
            "tenants": {"acme": {"hosted": {}, "access": {"rules": [{"subjects": "user:*", "actions": "pull"}]}}},
        }),
    );
    let wrong = |path: &str| Call::get(path).header("Authorization", "Basic Y2k6d3Jvbmc=");
    // The first by the chart routes, a registry's and the token server.
    gateway.send(&wrong("/acme/index.yaml")).expect(401);
    gateway.send(&wrong("/v2/")).expect(401);
    gateway
        .send(&wrong("/token?service=gateway.test"))
        .expect(401);
    for path in [
        "/acme/index.yaml",
        "/api/acme/charts",
        "/v2/",
        "/token",
        "/nobody/index.yaml",
    ] {
        let refused = gateway.send(&wrong(path));
        assert!(wait(&refused) > 600, "{path}");
        assert!(
            refused
                .text()
                .contains("may ask `this server` 3 times in an hour"),
            "{}",
            refused.text()
        );
    }
    // The right password does not help, and probes are not counted.
    wait(
        &gateway
            .send(&Call::get("/acme/index.yaml").header("Authorization", "Basic Y2k6cGFzczp3b3Jk")),
    );
    gateway.get("/health").expect(200);
    let metrics = gateway.admin("/metrics").text();
    assert!(
        metrics.contains(r#"chartgate_rate_limited_total{tenant="-"} 6"#),
        "{metrics}"
    );
}

#[test]
fn a_reload_forgives_nothing_that_did_not_change() {
    let mut config = json!({
        "limits": {"requests": "1000/s"},
        "tenants": {
            "acme": open(&json!([{"requests": "2/d"}, {"bytes": "1GiB/s"}])),
            "team/*": open(&json!({"requests": "2/d"})),
        },
    });
    let gateway = Gateway::start(config.clone());
    // The listeners that it was given.
    let file = gateway.folder().join("gateway.yaml");
    let whole: Value =
        serde_json::from_slice(&std::fs::read(file).expect("the file")).expect("JSON");
    for tenant in ["acme", "team/a"] {
        for status in [200, 200, 429] {
            gateway.get(&format!("/{tenant}/index.yaml")).expect(status);
        }
    }
    config = whole;
    config["tenants"]["other"] = open(&json!({"requests": "5/d"}));
    // One of its limits is another one now.
    config["tenants"]["acme"]["limits"][1]["bytes"] = json!("2GiB/s");
    gateway.configure(&config);
    gateway.signal("HUP");
    until("the new tenant", Duration::from_secs(20), || {
        (gateway.get("/other/index.yaml").status == 200).then_some(())
    });
    gateway.get("/acme/index.yaml").expect(429);
    gateway.get("/team/b/index.yaml").expect(429);
    config["tenants"]["acme"]["limits"] = json!({"requests": "3/d"});
    config["tenants"]["second"] = open(&json!([]));
    gateway.configure(&config);
    gateway.signal("HUP");
    until("the second tenant", Duration::from_secs(20), || {
        (gateway.get("/second/index.yaml").status == 200).then_some(())
    });
    for status in [200, 200, 200, 429] {
        gateway.get("/acme/index.yaml").expect(status);
    }
}
