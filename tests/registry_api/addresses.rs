use serde_json::json;

use super::{INDEX, assert_error, location, open_hosting, post, push_image, sha256, with_query};
use crate::support::fake::{FakeRegistry, Row, RunningRegistry};
use crate::support::gateway::Gateway;
use crate::support::http::Call;

/// `acme` hosts and shows `hub` (Docker Hub's names), `quay` (a registry with a port); it may be left out of names.
fn world() -> (Gateway, RunningRegistry, RunningRegistry) {
    let hub = FakeRegistry::of(Row::DockerHub)
        .image("library/nginx", "1.25")
        .run();
    let quay = FakeRegistry::open()
        .image("org/tool", "v1")
        .image("app", "up")
        .run();
    let mut acme = open_hosting();
    acme["registries"] = json!(["hub", "quay"]);
    let gateway = Gateway::start(json!({
        "upstreams": {
            "hub": {"type": "oci", "url": hub.url(), "allow_private": true, "hosts": ["docker.io", "index.docker.io"]},
            "quay": {"type": "oci", "url": quay.url(), "allow_private": true, "hosts": ["quay.example:5000"]},
        },
        "tenants": {"acme": acme, "other": open_hosting()},
        "registry": {
            "default_tenant": "acme",
            "hosts": {"hub.gw.test": "acme/hub", "acme.gw.test": {"tenant": "acme"}},
        },
    }));
    (gateway, hub, quay)
}

/// Where clients look for one image: path up to the call, the query, the host.
const NGINX: [(&str, &str, &str); 11] = [
    // A: docker, helm, crane, podman with a location, k3s with a rewrite, hosts.toml with override_path.
    ("/v2/acme/hub/library/nginx", "", "gw.test"),
    ("/v2/acme/hub/library/nginx", "ns=docker.io", "gw.test"),
    ("/v2/acme/docker.io/library/nginx", "", "gw.test"),
    ("/v2/hub/library/nginx", "", "gw.test"),
    // B: docker's registry-mirrors; hosts.toml with a path.
    ("/acme/hub/v2/library/nginx", "", "gw.test"),
    ("/acme/hub/v2/library/nginx", "ns=docker.io", "gw.test"),
    ("/acme/v2/hub/library/nginx", "", "gw.test"),
    // C: hosts.toml without a path, `_default`.
    ("/v2/library/nginx", "ns=docker.io", "gw.test"),
    ("/v2/library/nginx", "ns=INDEX.docker.io:443", "gw.test"),
    ("/acme/v2/library/nginx", "ns=docker.io", "gw.test"),
    // D
    ("/v2/library/nginx", "", "hub.gw.test"),
];

fn call(method: &str, path: &str, query: &str, host: &str) -> Call {
    let target = if query.is_empty() {
        path.to_owned()
    } else {
        with_query(path, query)
    };
    Call::to(host, method, &target)
}

#[test]
fn one_image_by_every_address() {
    let (gateway, hub, _quay) = world();
    let image = hub.image("library/nginx", "1.25");
    for (path, query, host) in NGINX {
        let get = |what: &str| {
            let reply = gateway.send(&call("GET", &format!("{path}/{what}"), query, host));
            assert_eq!(
                reply.status,
                200,
                "{path} {query} {host} {what}: {}",
                reply.text()
            );
            reply
        };
        let manifest = get("manifests/1.25");
        assert_eq!(manifest.body, image.manifest);
        let by_ns = query.starts_with("ns=") && !path.contains("hub");
        let shown = by_ns.then(|| query.trim_start_matches("ns="));
        assert_eq!(manifest.header("oci-namespace"), shown, "{path} {query}");
        assert_eq!(
            get(&format!("manifests/{}", image.digest)).body,
            image.manifest
        );
        assert_eq!(get(&format!("blobs/{}", image.layer)).body, image.bytes);
        let tags = get("tags/list").json();
        // As the client calls it.
        let name = path.split_once("/v2/").expect("a name").1;
        assert_eq!(tags, json!({"name": name, "tags": ["1.25"]}), "{path}");
        let referrers = get(&format!("referrers/{}", image.digest));
        assert_eq!(referrers.header("content-type"), Some(INDEX));
        // Nothing is pushed to an upstream.
        for (method, what) in [
            ("POST", "blobs/uploads/".to_owned()),
            ("PUT", "manifests/x".to_owned()),
            ("DELETE", "manifests/1.25".to_owned()),
            ("DELETE", format!("blobs/{}", image.layer)),
        ] {
            let refused =
                gateway.send(&call(method, &format!("{path}/{what}"), query, host).body(""));
            assert_error(&refused, 405, "UNSUPPORTED");
        }
    }
}

/// Every address of a repository that may be written: what the client is told to do next is written the same way.
#[test]
fn pushes_by_every_address() {
    let (gateway, _hub, _quay) = world();
    for (number, (path, query, host)) in [
        ("/v2/acme/team/app", "", "gw.test"),
        ("/v2/team/app", "", "gw.test"),
        ("/acme/v2/team/app", "", "gw.test"),
        ("/v2/team/app", "", "acme.gw.test"),
        // A client that says our own name.
        ("/v2/acme/team/app", "ns=gw.test", "gw.test"),
    ]
    .into_iter()
    .enumerate()
    {
        let bytes = format!("blob {number}").into_bytes();
        let digest = sha256(&bytes);
        let started =
            gateway.send(&call("POST", &format!("{path}/blobs/uploads/"), query, host).body(""));
        assert_eq!(started.status, 202, "{path} {query}: {}", started.text());
        let place = location(&started);
        assert!(
            place.starts_with(&format!("{path}/blobs/uploads/")),
            "{place}"
        );
        assert!(place.ends_with(query), "{place}");
        let target = with_query(&place, &format!("digest={digest}"));
        let put = Call::to(host, "PUT", &target).body(bytes.clone());
        let done = gateway.send(&put).expect(201);
        let place = location(&done);
        assert!(
            place.starts_with(&format!("{path}/blobs/{digest}")),
            "{place}"
        );
        assert_eq!(
            gateway
                .send(&Call::to(host, "GET", &place))
                .expect(200)
                .body,
            bytes
        );
        // It is the same repository.
        let same = format!("/v2/acme/team/app/blobs/{digest}");
        assert_eq!(
            gateway
                .send(&Call::to("gw.test", "GET", &same))
                .expect(200)
                .body,
            bytes
        );
    }
}

#[test]
fn pages_keep_the_address() {
    let (gateway, _hub, quay) = world();
    for tag in ["v2", "v3"] {
        quay.add("org/tool", tag, 10);
    }
    for (path, query) in [
        ("/v2/acme/quay/org/tool", ""),
        ("/acme/quay/v2/org/tool", ""),
        ("/v2/org/tool", "ns=quay.example%3A5000"),
        ("/v2/acme/quay.example_5000/org/tool", ""),
    ] {
        let mut target = with_query(&format!("{path}/tags/list"), "n=2");
        if !query.is_empty() {
            target = with_query(&target, query);
        }
        let mut tags = Vec::new();
        loop {
            let page = gateway.get(&target).expect(200);
            tags.extend(page.json()["tags"].as_array().expect("a list").clone());
            let Some(link) = page.header("link") else {
                break;
            };
            let next = link.strip_prefix('<').and_then(|rest| rest.split_once('>'));
            target = next.expect("a target").0.to_owned();
            assert!(
                target.starts_with(path) && target.contains(query),
                "{target}"
            );
        }
        assert_eq!(tags, ["v1", "v2", "v3"], "{path}");
    }
}

/// The tenant as a whole: what it hosts comes first and keeps its names.
#[test]
fn the_tenant_as_a_whole() {
    let (gateway, _hub, quay) = world();
    let upstream = quay.image("app", "up");
    let found = gateway.get("/v2/acme/app/manifests/up").expect(200);
    assert_eq!(found.body, upstream.manifest);
    let (own, _) = push_image(&gateway, "/v2/acme/app", "v1", b"ours");
    assert_eq!(
        gateway.get("/v2/acme/app/manifests/v1").expect(200).body,
        own
    );
    // Nobody else's tags appear under a name of ours.
    assert_error(
        &gateway.get("/v2/acme/app/manifests/up"),
        404,
        "MANIFEST_UNKNOWN",
    );
    assert_eq!(
        gateway.get("/v2/acme/app/tags/list").expect(200).json()["tags"],
        json!(["v1"])
    );
    // Where the upstream is named, it is asked.
    assert_eq!(
        gateway
            .get("/v2/acme/quay/app/manifests/up")
            .expect(200)
            .body,
        upstream.manifest
    );
    let catalog = gateway.get("/v2/_catalog").expect(200).json();
    assert_eq!(
        catalog,
        json!({"repositories": ["acme/app", "acme/quay/app"]})
    );
}

#[test]
fn what_nobody_configured_is_nowhere() {
    let (gateway, hub, quay) = world();
    for (path, host) in [
        ("/v2/library/nginx/tags/list?ns=ghcr.io", "gw.test"),
        ("/v2/library/nginx/tags/list?ns=127.0.0.1:1", "gw.test"),
        ("/v2/library/nginx/tags/list?ns=http://docker.io", "gw.test"),
        ("/v2/other/hub/library/nginx/tags/list", "gw.test"),
        ("/other/v2/library/nginx/tags/list?ns=docker.io", "gw.test"),
    ] {
        let reply = gateway.send(&Call::to(host, "GET", path));
        assert_error(&reply, 404, "NAME_UNKNOWN");
    }
    let asked =
        hub.count(crate::support::fake::Spot::All) + quay.count(crate::support::fake::Spot::All);
    assert_eq!(asked, 0, "nobody was to be asked");
    assert_eq!(post("/v2/x").line(), "POST /v2/x");
}
