use std::time::Duration;

use serde_json::json;

use super::{assert_error, hosting, push_image, sha256};
use crate::support::gateway::Gateway;
use crate::support::http::Call;
use crate::support::until;

/// Whatever is wrong, it is said in the envelope, as JSON, by something that is a registry.
#[test]
fn every_error_is_a_registrys() {
    let gateway = hosting();
    push_image(&gateway, "/v2/acme/app", "v1", b"layer");
    let digest = sha256(b"x");
    for (method, path, status, expected) in [
        ("GET", "/v2/acme/none/tags/list", 404, "NAME_UNKNOWN"),
        ("GET", "/v2/acme/none/manifests/latest", 404, "NAME_UNKNOWN"),
        (
            "GET",
            &format!("/v2/acme/none/manifests/{digest}"),
            404,
            "NAME_UNKNOWN",
        ),
        (
            "GET",
            "/v2/acme/app/manifests/latest",
            404,
            "MANIFEST_UNKNOWN",
        ),
        (
            "GET",
            &format!("/v2/acme/app/manifests/{digest}"),
            404,
            "MANIFEST_UNKNOWN",
        ),
        (
            "GET",
            "/v2/acme/app/manifests/.hidden",
            404,
            "MANIFEST_UNKNOWN",
        ),
        (
            "GET",
            "/v2/acme/app/manifests/sha256:baddigeststring",
            400,
            "DIGEST_INVALID",
        ),
        ("GET", "/v2/acme/app/blobs/latest", 400, "DIGEST_INVALID"),
        (
            "GET",
            &format!("/v2/acme/app/blobs/{digest}"),
            404,
            "BLOB_UNKNOWN",
        ),
        (
            "DELETE",
            &format!("/v2/acme/app/blobs/{digest}"),
            404,
            "BLOB_UNKNOWN",
        ),
        ("GET", "/v2/acme/App/tags/list", 400, "NAME_INVALID"),
        ("GET", "/v2/acme/a--b_/tags/list", 400, "NAME_INVALID"),
        ("GET", "/v2/acme//app/tags/list", 400, "NAME_INVALID"),
        ("GET", "/v2/acme/a%2Fb/tags/list", 400, "NAME_INVALID"),
        ("GET", "/v2/acme/../acme/app/tags/list", 400, "NAME_INVALID"),
        ("GET", "/v2/acme/a%252Fb/tags/list", 400, "NAME_INVALID"),
        ("GET", "/v2/nobody/app/tags/list", 404, "NAME_UNKNOWN"),
        ("GET", "/v2/acme", 404, "NAME_UNKNOWN"),
        ("GET", "/acme/v2/app", 404, "NAME_UNKNOWN"),
        (
            "GET",
            "/v2/acme/app/tags/list?ns=unknown.example",
            404,
            "NAME_UNKNOWN",
        ),
    ] {
        let reply = gateway.send(&Call::new(method, path));
        assert_error(&reply, status, expected);
        assert_eq!(
            reply.header("docker-distribution-api-version"),
            Some("registry/2.0"),
            "{path}"
        );
        let head = gateway.send(&Call::new("HEAD", path));
        if method == "GET" {
            assert_eq!((head.status, head.body.len()), (status, 0), "{path}");
        }
    }
    // Clients look for it in every answer below `/v2/`.
    for path in ["/v2/token", "/token"] {
        let token = gateway.get(path);
        let version = token.header("docker-distribution-api-version");
        assert_eq!(version, Some("registry/2.0"), "{path}");
    }
    // What is no registry's is not answered by one.
    let chart = gateway.get("/nobody/v2/app/tags/list");
    assert_eq!(chart.status, 404);
    assert_eq!(chart.header("docker-distribution-api-version"), None);
}

#[test]
fn messages_are_escaped_and_short() {
    let gateway = hosting();
    let path = format!("/v2/acme/%3Cscript%3E%22{}/tags/list", "x".repeat(900));
    let reply = gateway.get(&path);
    assert_error(&reply, 400, "NAME_INVALID");
    assert!(reply.body.len() < 600, "{}", reply.text());
    let long = format!("/v2/acme/{}/tags/list", "x".repeat(3000));
    assert_error(&gateway.get(&long), 400, "NAME_INVALID");
}

#[test]
fn other_methods() {
    let gateway = hosting();
    for (method, path, allowed) in [
        ("POST", "/v2/", "GET, HEAD"),
        ("PUT", "/v2/acme/app/tags/list", "GET, HEAD"),
        (
            "PATCH",
            "/v2/acme/app/manifests/x",
            "GET, HEAD, PUT, DELETE",
        ),
        ("PUT", "/v2/acme/app/blobs/x", "GET, HEAD, DELETE"),
        ("GET", "/v2/acme/app/blobs/uploads/", "POST"),
    ] {
        let reply = gateway.send(&Call::new(method, path).body(""));
        assert_error(&reply, 405, "UNSUPPORTED");
        assert_eq!(reply.header("allow"), Some(allowed), "{method} {path}");
    }
}

/// A tenant that hosts nothing, or lets nobody delete.
#[test]
fn what_a_tenant_does_not_do() {
    let gateway = Gateway::start(json!({
        "tenants": {"acme": {
            "hosted": {"delete": false},
            "access": {"anonymous": ["pull", "push", "delete"]},
        }},
    }));
    let (_, digest) = push_image(&gateway, "/v2/acme/app", "v1", b"layer");
    for what in [
        "manifests/v1".to_owned(),
        format!("manifests/{digest}"),
        format!("blobs/{}", sha256(b"layer")),
    ] {
        let reply = gateway.send(&Call::new("DELETE", &format!("/v2/acme/app/{what}")));
        assert_error(&reply, 405, "UNSUPPORTED");
    }
    gateway.get("/v2/acme/app/manifests/v1").expect(200);
}

#[test]
fn too_many_requests() {
    let gateway = Gateway::start(json!({
        "tenants": {"acme": {
            "hosted": {},
            "access": {"anonymous": ["pull"]},
            "limits": {"requests": "1/h", "burst": 1, "by": "tenant"},
        }},
    }));
    let path = "/v2/acme/app/tags/list";
    assert_error(&gateway.get(path), 404, "NAME_UNKNOWN");
    let limited = gateway.get(path);
    assert_error(&limited, 429, "TOOMANYREQUESTS");
    let wait: u64 = limited
        .header("retry-after")
        .expect("a time")
        .parse()
        .expect("seconds");
    assert!(wait > 60, "{wait}");
}

#[test]
fn metrics_know_the_routes() {
    let gateway = hosting();
    push_image(&gateway, "/v2/acme/app", "v1", b"layer");
    gateway.get("/v2/acme/app/manifests/v1").expect(200);
    gateway.get("/v2/acme/app/manifests/v2");
    gateway.get("/v2/nobody/app/manifests/v1");
    // A request is counted after its answer was sent.
    let lines = [
        r#"chartgate_requests_total{code="200",route="manifest",tenant="acme"} 1"#,
        r#"chartgate_requests_total{code="404",route="manifest",tenant="acme"} 1"#,
        r#"chartgate_requests_total{code="404",route="manifest",tenant="-"} 1"#,
        r#"chartgate_requests_total{code="201",route="manifest-push",tenant="acme"} 1"#,
        r#"chartgate_requests_total{code="201",route="blob-upload",tenant="acme"} 2"#,
        r#"chartgate_requests_total{code="202",route="blob-upload",tenant="acme"} 2"#,
    ];
    until("every request is counted", Duration::from_secs(10), || {
        let metrics = gateway.admin("/metrics").expect(200).text();
        lines
            .iter()
            .all(|line| metrics.contains(line))
            .then_some(())
    });
}
