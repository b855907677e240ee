use serde_json::json;

use super::{assert_error, sha256};
use crate::support::fake::{FakeRegistry, Fault, Row, RunningRegistry, Spot};
use crate::support::gateway::Gateway;
use crate::support::http::Call;

fn mirror(hub: &RunningRegistry) -> Gateway {
    Gateway::start(json!({
        "upstreams": {"hub": {"type": "oci", "url": hub.url(), "allow_private": true, "timeout": "5s"}},
        "tenants": {"acme": {"registries": ["hub"], "access": {"anonymous": ["pull"]}}},
    }))
}

/// containerd: HEAD by tag, GET by digest, GET of blobs; the second pull asks nobody.
#[test]
fn a_pull_is_fetched_once() {
    let hub = FakeRegistry::of(Row::DockerHub)
        .image("library/nginx", "1.25")
        .run();
    let gateway = mirror(&hub);
    let image = hub.image("library/nginx", "1.25");
    let repository = "/v2/acme/hub/library/nginx";
    for round in ["miss", "hit"] {
        hub.forget();
        let head = Call::new("HEAD", &format!("{repository}/manifests/1.25"));
        let head = gateway.send(&head).expect(200);
        assert_eq!(
            head.header("docker-content-digest"),
            Some(image.digest.as_str())
        );
        assert_eq!(
            head.header("content-length"),
            Some(image.manifest.len().to_string().as_str())
        );
        let manifest = gateway
            .get(&format!("{repository}/manifests/{}", image.digest))
            .expect(200);
        assert_eq!(manifest.body, image.manifest);
        assert_eq!(manifest.header("x-cache"), Some("hit"));
        let path = format!("{repository}/blobs/{}", image.layer);
        let head = gateway.send(&Call::new("HEAD", &path)).expect(200);
        assert_eq!(head.header("content-length"), Some("50000"));
        let layer = gateway.get(&path).expect(200);
        assert_eq!(layer.body, image.bytes);
        assert_eq!(layer.header("x-cache"), Some(round));
        assert_eq!(
            layer.header("docker-content-digest"),
            Some(image.layer.as_str())
        );
        if round == "hit" {
            assert_eq!(hub.count(Spot::All), 0, "{:?}", hub.asked(Spot::All));
        }
    }
    let part = Call::get(&format!("{repository}/blobs/{}", image.layer));
    let part = gateway
        .send(&part.header("Range", "bytes=10-19"))
        .expect(206);
    assert_eq!(part.body, image.bytes[10..20]);
}

/// A failure of an upstream is never an absence, and what is held is served with a warning.
#[test]
fn an_upstream_that_is_away() {
    let hub = FakeRegistry::open().image("app", "v1").run();
    let gateway = Gateway::start(json!({
        "upstreams": {"hub": {
            "type": "oci", "url": hub.url(), "allow_private": true, "timeout": "5s", "tag_ttl": "0s",
        }},
        "tenants": {"acme": {"registries": ["hub"], "access": {"anonymous": ["pull"]}}},
    }));
    let image = hub.image("app", "v1");
    gateway.get("/v2/acme/hub/app/manifests/v1").expect(200);
    hub.fault(Spot::All, Fault::Status(503));
    let held = gateway.get("/v2/acme/hub/app/manifests/v1").expect(200);
    assert_eq!(held.body, image.manifest);
    assert_eq!(held.header("x-cache"), Some("stale"));
    assert!(
        held.header("warning")
            .is_some_and(|text| text.starts_with("299 - \""))
    );
    assert!(held.header("age").is_some());
    for path in [
        "/v2/acme/hub/app/manifests/v2".to_owned(),
        "/v2/acme/hub/nothing/manifests/v1".to_owned(),
        format!("/v2/acme/hub/app/blobs/{}", sha256(b"never seen")),
        "/v2/acme/hub/app/tags/list".to_owned(),
    ] {
        let reply = gateway.get(&path);
        assert_error(&reply, 502, "UNKNOWN");
    }
}

#[test]
fn what_an_upstream_does_not_have() {
    let hub = FakeRegistry::open().image("app", "v1").run();
    let gateway = mirror(&hub);
    for (path, code) in [
        (
            "/v2/acme/hub/app/manifests/v2".to_owned(),
            "MANIFEST_UNKNOWN",
        ),
        (
            format!("/v2/acme/hub/app/manifests/{}", sha256(b"x")),
            "MANIFEST_UNKNOWN",
        ),
        (
            format!("/v2/acme/hub/app/blobs/{}", sha256(b"x")),
            "BLOB_UNKNOWN",
        ),
        ("/v2/acme/hub/nothing/tags/list".to_owned(), "NAME_UNKNOWN"),
    ] {
        assert_error(&gateway.get(&path), 404, code);
        assert_eq!(gateway.send(&Call::new("HEAD", &path)).status, 404);
    }
    let none = gateway
        .get(&format!("/v2/acme/hub/app/referrers/{}", sha256(b"x")))
        .expect(200);
    assert_eq!(none.json()["manifests"], json!([]));
}
