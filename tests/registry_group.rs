//! Tenants with registries through the whole program: order, reserved names, patterns, reloads, and what operators see.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::fake::{FakeImage, FakeRegistry, Fault, Row, RunningRegistry, Spot};
use crate::support::gateway::Gateway;
use crate::support::http::{Call, Reply};
use crate::support::until;

fn upstream(registry: &RunningRegistry) -> Value {
    json!({"type": "oci", "url": registry.url(), "allow_private": true})
}

/// Everybody may do everything.
fn open(mut tenant: Value) -> Value {
    tenant["access"] = json!({"anonymous": ["pull", "push", "delete"]});
    tenant
}

#[track_caller]
fn pulled(gateway: &Gateway, path: &str, image: &FakeImage) {
    let manifest = gateway.get(path).expect(200);
    assert_eq!(manifest.body, image.manifest, "{path}");
    assert_eq!(
        manifest.header("docker-content-digest"),
        Some(image.digest.as_str())
    );
}

/// Pushes an index of nothing, which needs no blobs.
#[track_caller]
fn push(gateway: &Gateway, path: &str) -> Reply {
    let text = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let call =
        Call::new("PUT", path).header("Content-Type", "application/vnd.oci.image.index.v1+json");
    gateway.send(&call.body(text))
}

fn digest_of(reply: &Reply) -> String {
    let digest = reply.header("docker-content-digest");
    digest.expect("a digest").to_owned()
}

#[test]
fn a_tenant_is_what_it_hosts_and_then_its_upstreams_in_order() {
    let (first, second) = (
        FakeRegistry::open()
            .image("o/both", "1")
            .image("o/mine", "1")
            .run(),
        FakeRegistry::open()
            .image("o/both", "1")
            .image("o/two", "1")
            .image("x/out", "1")
            .run(),
    );
    let gateway = Gateway::start(json!({
        "upstreams": {"first": upstream(&first), "second": upstream(&second)},
        "tenants": {"acme": open(json!({
            "hosted": true,
            "registries": ["first", {"upstream": "second", "exclude": ["x/*"]}],
        }))},
    }));
    pulled(
        &gateway,
        "/v2/acme/o/both/manifests/1",
        &first.image("o/both", "1"),
    );
    assert_eq!(second.count(Spot::All), 0);
    let two = second.image("o/two", "1");
    pulled(&gateway, "/v2/acme/o/two/manifests/1", &two);
    pulled(
        &gateway,
        "/v2/acme/second/o/both/manifests/1",
        &second.image("o/both", "1"),
    );
    // The blobs of a manifest come from where it came from.
    let asked = first.count(Spot::Blobs);
    let blob = gateway
        .get(&format!("/v2/acme/o/two/blobs/{}", two.layer))
        .expect(200);
    assert_eq!(blob.body, two.bytes);
    assert_eq!(first.count(Spot::Blobs), asked);
    // A filter of the tenant holds for every address of the upstream, also for known digests.
    let out = second.image("x/out", "1");
    for path in [
        "/v2/acme/x/out/manifests/1".to_owned(),
        "/v2/acme/second/x/out/manifests/1".to_owned(),
        format!("/v2/acme/second/x/out/blobs/{}", out.layer),
        "/acme/second/v2/x/out/tags/list".to_owned(),
    ] {
        gateway.get(&path).expect(404);
    }
    // Upstreams take no pushes; the same name in the tenant does, and is its own from then on.
    push(&gateway, "/v2/acme/first/o/mine/manifests/1").expect(405);
    let ours = digest_of(&push(&gateway, "/v2/acme/o/mine/manifests/2").expect(201));
    first.forget();
    let served = gateway.get("/v2/acme/o/mine/manifests/2").expect(200);
    assert_eq!(digest_of(&served), ours);
    gateway.get("/v2/acme/o/mine/manifests/1").expect(404);
    assert_eq!(
        first.count(Spot::All),
        0,
        "nobody is asked for a hosted name"
    );
    // What comes first cannot say, and nobody else has it.
    first.fault(Spot::All, Fault::Status(503));
    assert_eq!(gateway.get("/v2/acme/o/none/manifests/1").status, 502);
    pulled(
        &gateway,
        "/v2/acme/o/both/manifests/1",
        &first.image("o/both", "1"),
    );
}

#[test]
fn tenants_of_patterns_have_registries_of_their_own() {
    let hub = FakeRegistry::open().image("o/app", "1").run();
    let gateway = Gateway::start(json!({
        "upstreams": {"hub": upstream(&hub)},
        "tenants": {
            "team/*": open(json!({"hosted": true, "registries": ["hub"]})),
            "any/**": open(json!({"hosted": true})),
        },
    }));
    let image = hub.image("o/app", "1");
    pulled(&gateway, "/v2/team/a/hub/o/app/manifests/1", &image);
    pulled(&gateway, "/team/b/v2/o/app/manifests/1", &image);
    push(&gateway, "/v2/team/a/own/manifests/1").expect(201);
    gateway.get("/v2/team/a/own/manifests/1").expect(200);
    gateway.get("/v2/team/b/own/manifests/1").expect(404);
    let deep = push(&gateway, "/v2/any/x/own/manifests/1").expect(404);
    assert!(
        deep.text().contains("use `*` for each segment"),
        "{}",
        deep.text()
    );
    // A push of an image makes no tenant of charts.
    gateway.admin("/tenants/team/a/report").expect(404);
}

#[test]
fn a_tenant_of_registries_alone_is_ready_although_its_upstream_is_dead() {
    let dead = FakeRegistry::open().run();
    dead.fault(Spot::All, Fault::Close);
    let gateway = Gateway::start(json!({
        "upstreams": {"dead": upstream(&dead)},
        "tenants": {"acme": open(json!({"registries": ["dead"]}))},
    }));
    gateway.admin("/readyz").expect(200);
    assert_eq!(dead.count(Spot::All), 0, "nothing is asked at the start");
    assert_eq!(gateway.get("/v2/acme/dead/o/app/manifests/1").status, 502);
    assert!(
        gateway.index("acme")["entries"]
            .as_object()
            .expect("a mapping")
            .is_empty()
    );
}

#[test]
fn the_door_is_open_only_where_nobody_has_more_than_strangers() {
    let hub = FakeRegistry::open().image("o/app", "1").run();
    let config = |access: Value| {
        json!({
            "upstreams": {"hub": upstream(&hub)},
            "auth": {"users": {"ci": {"password": "s3cret-password"}}},
            "tenants": {"acme": {"registries": ["hub"], "access": access}},
        })
    };
    let open = Gateway::start(config(json!({"anonymous": ["pull"]})));
    open.get("/v2/").expect(200);
    let rules = json!([{"subjects": ["user:ci"], "actions": ["pull", "push"]}]);
    let closed = Gateway::start(config(json!({"anonymous": ["pull"], "rules": rules})));
    let refused = closed.get("/v2/").expect(401);
    assert!(
        refused
            .header("www-authenticate")
            .is_some_and(|text| text.starts_with("Bearer "))
    );
    // Whoever may see nothing cannot tell a tenant from none.
    let private = Gateway::start(config(json!({"rules": rules})));
    for path in [
        "/v2/acme/hub/o/app/manifests/1",
        "/v2/nobody/app/manifests/1",
        "/v2/app/manifests/1",
    ] {
        private.get(path).expect(401);
    }
    assert_eq!(hub.count(Spot::All), 0);
}

#[test]
fn a_reload_takes_registries_over_that_did_not_change() {
    let (kept, changed) = (
        FakeRegistry::open().image("o/app", "1").run(),
        FakeRegistry::open().image("o/app", "1").run(),
    );
    let config = |timeout: &str, tenant: &str| {
        let mut other = upstream(&changed);
        other["timeout"] = json!(timeout);
        json!({
            "upstreams": {"kept": upstream(&kept), "changed": other},
            "tenants": {tenant: open(json!({"hosted": true, "registries": ["kept", "changed"]}))},
        })
    };
    let mut gateway = Gateway::prepare(
        tempfile::tempdir().expect("a folder"),
        config("30s", "acme"),
    );
    gateway.run();
    gateway.wait_ready();
    for name in ["kept", "changed"] {
        gateway
            .get(&format!("/v2/acme/{name}/o/app/manifests/1"))
            .expect(200);
    }
    let state = |gateway: &Gateway, name: &str| {
        let list = gateway.admin("/upstreams").expect(200).json();
        let all = list["registries"].as_array().expect("a list").clone();
        let found = all.into_iter().find(|one| one["name"] == name);
        found.expect("listed")["state"]
            .as_str()
            .expect("a word")
            .to_owned()
    };
    assert_eq!(
        (state(&gateway, "kept"), state(&gateway, "changed")),
        ("ok".into(), "ok".into())
    );
    let mut next = config("29s", "other");
    for (key, address) in [("http", gateway.http), ("admin", gateway.admin)] {
        next["server"][key] = json!(address.to_string());
    }
    next["data_dir"] = json!(gateway.data());
    gateway.configure(&next);
    gateway.signal("HUP");
    until("the new configuration", Duration::from_secs(20), || {
        (gateway.get("/v2/other/kept/o/app/manifests/1").status == 200).then_some(())
    });
    assert_eq!(state(&gateway, "kept"), "ok", "with all it knows");
    assert_eq!(state(&gateway, "changed"), "unknown", "a new one");
    gateway.get("/v2/acme/kept/o/app/manifests/1").expect(404);
}

#[test]
fn operators_see_refresh_and_purge_registries() {
    let hub = FakeRegistry::open().image("o/app", "1").run();
    let gateway = Gateway::start(json!({
        "upstreams": {"hub": upstream(&hub)},
        "tenants": {"acme": open(json!({"registries": ["hub"]}))},
    }));
    let path = "/v2/acme/hub/o/app/manifests/1";
    let old = hub.image("o/app", "1");
    pulled(&gateway, path, &old);
    pulled(&gateway, path, &old);
    let new = hub.add("o/app", "1", 60_000);
    pulled(&gateway, path, &old);
    let admin = |method: &str, path: &str| Call::new(method, path).send(gateway.admin);
    let refreshed = admin("POST", "/upstreams/hub/refresh").expect(200).json();
    assert_eq!(refreshed["tags_asked_for"], 1, "{refreshed}");
    assert_eq!(refreshed["registry"]["tags"], 1, "{refreshed}");
    pulled(&gateway, path, &new);
    let newer = hub.add("o/app", "1", 70_000);
    let purged = admin(
        "DELETE",
        "/upstreams/hub/cache?repository=o/app&reference=1",
    );
    assert!(
        purged.expect(200).json()["forgotten"]
            .as_u64()
            .is_some_and(|gone| gone > 0)
    );
    pulled(&gateway, path, &newer);
    admin("DELETE", "/upstreams/hub/cache").expect(400);
    admin("DELETE", "/upstreams/hub/cache?repository=O").expect(400);
    admin("DELETE", "/upstreams/nope/cache?repository=o").expect(404);
    admin("GET", "/upstreams/hub/cache").expect(405);
    let metrics = gateway.admin("/metrics").expect(200).text();
    assert!(
        metrics.contains("chartgate_upstream_up{upstream=\"hub\"} 1"),
        "{metrics}"
    );
}

#[test]
fn check_connect_knocks_at_registries() {
    let (open_one, private) = (
        FakeRegistry::open().run(),
        FakeRegistry::of(Row::Plain).user("ci", "right").run(),
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    let with = |password: &str| {
        let mut one = upstream(&private);
        one["auth"] = json!({"username": "ci", "password": password});
        one
    };
    let config = json!({
        "data_dir": folder.path().join("data"),
        "upstreams": {"open": upstream(&open_one), "right": with("right"), "wrong": with("wrong"), "strange": upstream(&private)},
        "tenants": {"t": {"registries": ["open"]}},
    });
    std::fs::write(folder.path().join("gateway.yaml"), config.to_string()).expect("a file");
    let answer = Command::new(env!("CARGO_BIN_EXE_chartgate"))
        .args(["check", "--config", "gateway.yaml", "--connect"])
        .current_dir(folder.path())
        .output()
        .expect("it runs");
    let table = String::from_utf8_lossy(&answer.stdout).into_owned();
    let row = |name: &str| {
        let row = table.lines().find(|line| line.contains(name));
        row.unwrap_or_default().to_owned()
    };
    assert!(
        row("upstream open").contains("answers strangers"),
        "{table}"
    );
    assert!(
        row("upstream right").contains("takes the credentials"),
        "{table}"
    );
    assert!(row("upstream wrong").contains("failed"), "{table}");
    assert!(row("upstream strange").contains("strangers"), "{table}");
    assert_eq!(answer.status.code(), Some(1));
}
