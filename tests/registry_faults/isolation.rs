//! Who may see what: nothing leaks from one tenant, upstream or repository into another (spec: oci.md §7).

use std::fmt::Write as _;

use chartgate::auth::bcrypt_line;
use serde_json::{Value, json};

use super::{always, assert_away, assert_is, blob, start, tag};
use crate::registry_clients::Place;
use crate::support::clients::basic;
use crate::support::corpus::sha256;
use crate::support::fake::{FakeRegistry, Fault, Row, Spot};
use crate::support::gateway::Gateway;
use crate::support::http::{Call, Reply};
use crate::support::registries::{hosted, hosted_for, mirror, oci};

/// Tenants `a` of alice, `b` of bob, and `both` of both; nobody else may do anything.
fn two_tenants() -> Gateway {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut users = String::new();
    for user in ["alice", "bob"] {
        writeln!(users, "{}", bcrypt_line(user, user).expect("a line").trim()).expect("memory");
    }
    std::fs::write(folder.path().join("users"), users).expect("writable");
    Gateway::start_in(
        folder,
        json!({
            "auth": {"users_file": "users"},
            "tenants": {"a": hosted_for(&["alice"]), "b": hosted_for(&["bob"]), "both": hosted_for(&["alice", "bob"])},
        }),
    )
}

fn send(gateway: &Gateway, user: &str, method: &str, path: &str, body: Option<&[u8]>) -> Reply {
    let mut call = Call::new(method, path);
    if !user.is_empty() {
        call = call.header("Authorization", &basic(user, user));
    }
    if let Some(body) = body {
        call = call
            .header("Content-Type", "application/octet-stream")
            .body(body);
    }
    gateway.send(&call)
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256(bytes))
}

/// Pushes a blob and returns its digest.
#[track_caller]
fn push(gateway: &Gateway, user: &str, name: &str, bytes: &[u8]) -> String {
    let digest = digest(bytes);
    let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
    send(gateway, user, "POST", &path, Some(bytes)).expect(201);
    digest
}

/// §7.5: to know a digest is not to have a right to it.
#[test]
fn a_blob_of_another_tenant_is_neither_shown_nor_mounted() {
    let gateway = two_tenants();
    let bytes = b"alice's secret layer";
    let digest = push(&gateway, "alice", "a/app", bytes);
    let absent = self::digest(b"nobody's");
    for method in ["HEAD", "GET"] {
        for name in ["b/app", "b/other"] {
            let path = format!("/v2/{name}/blobs/{digest}");
            let hidden = send(&gateway, "bob", method, &path, None);
            let path = format!("/v2/{name}/blobs/{absent}");
            let nothing = send(&gateway, "bob", method, &path, None);
            assert_eq!(hidden.status, 404);
            assert_eq!(nothing.status, 404);
        }
        // Where he may not be at all, what exists looks like what does not.
        let hidden = send(
            &gateway,
            "bob",
            method,
            &format!("/v2/a/app/blobs/{digest}"),
            None,
        );
        let nothing = send(
            &gateway,
            "bob",
            method,
            &format!("/v2/a/none/blobs/{digest}"),
            None,
        );
        assert_eq!(hidden.status, nothing.status);
        assert!(
            matches!(hidden.status, 401 | 403 | 404),
            "{}",
            hidden.status
        );
    }
    for query in [
        format!("mount={digest}&from=a/app"),
        format!("mount={digest}"),
        format!("mount={digest}&from=b/other"),
        format!("mount={absent}&from=a/app"),
        format!("mount={absent}"),
    ] {
        let path = format!("/v2/b/app/blobs/uploads/?{query}");
        let reply = send(&gateway, "bob", "POST", &path, Some(b""));
        assert_eq!(reply.status, 202, "{query}");
    }
    // The same bytes, pushed by him, are his; and taking them away takes nothing from her.
    push(&gateway, "bob", "b/app", bytes);
    let path = format!("/v2/b/app/blobs/{digest}");
    assert_eq!(
        send(&gateway, "bob", "GET", &path, None).expect(200).body,
        bytes
    );
    send(&gateway, "bob", "DELETE", &path, None).expect(202);
    send(&gateway, "bob", "GET", &path, None).expect(404);
    let path = format!("/v2/a/app/blobs/{digest}");
    assert_eq!(
        send(&gateway, "alice", "GET", &path, None).expect(200).body,
        bytes
    );
    // What she may read she may mount, from one of her tenants into the other.
    let path = format!("/v2/both/app/blobs/uploads/?mount={digest}&from=a/app");
    send(&gateway, "alice", "POST", &path, Some(b"")).expect(201);
    let path = format!("/v2/both/else/blobs/uploads/?mount={digest}");
    send(&gateway, "bob", "POST", &path, Some(b"")).expect(201);
}

/// §7.5, within one tenant: a link belongs to one repository.
#[test]
fn a_blob_of_another_repository_is_not_shown() {
    let gateway = two_tenants();
    let digest = push(&gateway, "alice", "a/app", b"a layer");
    let path = format!("/v2/a/other/blobs/{digest}");
    send(&gateway, "alice", "HEAD", &path, None).expect(404);
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []});
    let manifest = manifest.to_string();
    let named = self::digest(manifest.as_bytes());
    let call = Call::new("PUT", "/v2/a/app/manifests/1")
        .header("Authorization", &basic("alice", "alice"))
        .header("Content-Type", "application/vnd.oci.image.index.v1+json")
        .body(manifest);
    gateway.send(&call).expect(201);
    for path in ["manifests", "blobs"] {
        let path = format!("/v2/a/other/{path}/{named}");
        send(&gateway, "alice", "GET", &path, None).expect(404);
    }
}

/// §7.5: what one upstream has is not shown for another that has not, nor for another repository of the same.
#[test]
fn a_blob_of_another_upstream_is_not_shown() {
    let secret = FakeRegistry::of(Row::Plain)
        .user("me", "s3cret")
        .image("acme/secret", "1")
        .private("acme/secret")
        .image("acme/open", "1")
        .run();
    let other = FakeRegistry::open().image("acme/app", "1").run();
    let image = secret.image("acme/secret", "1");
    let mut known = oci(&secret.url());
    known["auth"] = json!({"username": "me", "password": "s3cret"});
    let gateway = Gateway::start(json!({
        "upstreams": {"secret": known, "other": oci(&other.url()), "nobody": oci(&secret.url())},
        "tenants": {
            "a": mirror(&["secret"]), "b": mirror(&["other"]), "c": mirror(&["nobody"]),
        },
    }));
    let a = Place::of(gateway.http, "a/secret");
    assert_is(&tag(&a, "acme/secret", "1"), &image);
    blob(&a, "acme/secret", &image.layer).expect(200);
    for (place, name) in [
        (Place::of(gateway.http, "b/other"), "acme/app"),
        (Place::of(gateway.http, "b/other"), "acme/secret"),
        (Place::of(gateway.http, "c/nobody"), "acme/secret"),
        (Place::of(gateway.http, "c/nobody"), "acme/open"),
        (Place::of(gateway.http, "c"), "acme/open"),
        (a, "acme/open"),
    ] {
        for path in [
            format!("blobs/{}", image.layer),
            format!("blobs/{}", image.digest),
            format!("manifests/{}", image.digest),
        ] {
            for method in ["HEAD", "GET"] {
                let reply = place.ask(method, name, &path);
                assert_eq!(reply.status, 404, "{method} {} {path}", place.name(name));
            }
        }
    }
}

/// §7.5: a running fetch is shared among those who have a right to it, not with others.
#[test]
fn a_running_fetch_is_no_way_around() {
    let slow = FakeRegistry::open()
        .image_of("acme/app", "1", 2 << 20)
        .run();
    let other = FakeRegistry::open().image("acme/app", "1").run();
    let image = slow.image("acme/app", "1");
    let gateway = Gateway::start(json!({
        "upstreams": {"slow": oci(&slow.url()), "other": oci(&other.url())},
        "tenants": {"a": mirror(&["slow"]), "b": mirror(&["other"])},
    }));
    let (a, b) = (
        Place::of(gateway.http, "a/slow"),
        Place::of(gateway.http, "b/other"),
    );
    tag(&a, "acme/app", "1").expect(200);
    let hold = slow.hold(Spot::Blobs);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| blob(&a, "acme/app", &image.layer));
        crate::support::until("the fetch", std::time::Duration::from_secs(20), || {
            (hold.arrived() > 0).then_some(())
        });
        assert_eq!(blob(&b, "acme/app", &image.layer).status, 404);
        hold.release();
        let reply = reader.join().expect("a reader").expect(200);
        assert!(reply.body == image.bytes);
    });
    assert_eq!(blob(&b, "acme/app", &image.layer).status, 404);
}

/// §7.4: an upload is its starter's, in its repository, also after a restart.
#[test]
fn an_upload_belongs_to_who_began_it_where_he_began_it() {
    let mut gateway = two_tenants();
    let reply = send(
        &gateway,
        "alice",
        "POST",
        "/v2/both/app/blobs/uploads/",
        Some(b""),
    );
    let location = reply
        .expect(202)
        .header("location")
        .expect("where")
        .to_owned();
    send(&gateway, "alice", "PATCH", &location, Some(b"half ")).expect(202);
    let elsewhere = [
        location.replace("/v2/both/app/", "/v2/both/other/"),
        location.replace("/v2/both/app/", "/v2/a/app/"),
    ];
    for path in &elsewhere {
        for method in ["GET", "PATCH", "PUT", "DELETE"] {
            let body = matches!(method, "PATCH" | "PUT").then_some(b"evil".as_slice());
            let reply = send(&gateway, "alice", method, path, body);
            assert!(
                matches!(reply.status, 400 | 404),
                "{method} {path}: {}",
                reply.status
            );
        }
    }
    for method in ["GET", "PATCH", "DELETE"] {
        let body = (method == "PATCH").then_some(b"evil".as_slice());
        let reply = send(&gateway, "bob", method, &location, body);
        assert_eq!(reply.status, 404, "{method}");
    }
    gateway.restart();
    let reply = send(&gateway, "alice", "GET", &location, None).expect(204);
    assert_eq!(reply.header("range"), Some("0-4"));
    let whole = b"half and half";
    let mark = if location.contains('?') { '&' } else { '?' };
    let path = format!("{location}{mark}digest={}", digest(whole));
    send(&gateway, "alice", "PUT", &path, Some(b"and half")).expect(201);
    let path = format!("/v2/both/app/blobs/{}", digest(whole));
    assert_eq!(
        send(&gateway, "bob", "GET", &path, None).expect(200).body,
        whole
    );
}

/// §7.4: nobody can guess the name of an upload.
#[test]
fn names_of_uploads_are_random() {
    let gateway = Gateway::start(json!({"tenants": {"a": hosted()}}));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let reply = send(&gateway, "", "POST", "/v2/a/app/blobs/uploads/", Some(b""));
        let reply = reply.expect(202);
        let id = reply
            .header("docker-upload-uuid")
            .expect("a name")
            .to_owned();
        assert!(id.replace('-', "").len() >= 32, "{id}");
        assert!(seen.insert(id));
    }
}

/// §7.3: what is too large is refused, before it is stored.
#[test]
fn sizes_have_limits() {
    let mut tenant = hosted();
    tenant["hosted"]["max_manifest"] = json!("10KiB");
    tenant["hosted"]["max_blob"] = json!("20KiB");
    tenant["hosted"]["quota"] = json!("50KiB");
    let gateway = Gateway::start(json!({"tenants": {"a": tenant}}));
    let big = vec![b' '; 30_000];
    let path = format!("/v2/a/app/blobs/uploads/?digest={}", digest(&big));
    send(&gateway, "", "POST", &path, Some(&big)).expect(413);
    let call = Call::new("PUT", "/v2/a/app/manifests/1")
        .header("Content-Type", "application/vnd.oci.image.index.v1+json")
        .body(big.clone());
    gateway.send(&call).expect(413);
    // In pieces, too.
    let reply = send(&gateway, "", "POST", "/v2/a/app/blobs/uploads/", Some(b""));
    let location = reply
        .expect(202)
        .header("location")
        .expect("where")
        .to_owned();
    send(&gateway, "", "PATCH", &location, Some(&big[..15_000])).expect(202);
    send(&gateway, "", "PATCH", &location, Some(&big[..15_000])).expect(413);
    let mut refused = 0;
    for number in 0..6_u8 {
        let bytes = vec![number; 15_000];
        let path = format!("/v2/a/app/blobs/uploads/?digest={}", digest(&bytes));
        let reply = send(&gateway, "", "POST", &path, Some(&bytes));
        match reply.status {
            201 => assert_eq!(refused, 0),
            413 | 403 | 507 => refused += 1,
            other => panic!("{other}: {}", reply.text()),
        }
    }
    assert!(refused >= 2, "{refused}");
}

/// §7.1 and §7.10: an upstream's 200 must be a manifest of a known type; its pages and errors are not relayed.
#[test]
fn what_an_upstream_says_is_not_relayed() {
    let page = b"<html><script>alert(1)</script></html>".to_vec();
    for fault in [
        Fault::Html,
        Fault::Body(page.clone()),
        Fault::Body(br#"{"schemaVersion":2}"#.to_vec()),
        Fault::Body(br#"{"hello":"world"}"#.to_vec()),
        Fault::Answer(
            500,
            vec![("Content-Type".to_owned(), "text/html".to_owned())],
            page.clone(),
        ),
        Fault::Answer(
            404,
            vec![("Content-Type".to_owned(), "text/html".to_owned())],
            page.clone(),
        ),
    ] {
        let fake = FakeRegistry::open().image("a/b", "1").run();
        let (_gateway, place) = start(&always(&fake));
        let image = fake.image("a/b", "1");
        fake.fault(Spot::All, fault.clone());
        for path in [
            "manifests/1",
            &format!("blobs/{}", image.layer),
            "tags/list",
        ] {
            let reply = place.ask("GET", "a/b", path);
            assert!(
                !reply.text().contains("<script"),
                "{fault:?} {path}: {}",
                reply.text()
            );
            assert_ne!(reply.header("content-type"), Some("text/html"));
            if path.starts_with("manifests") {
                assert_ne!(reply.status, 200, "{fault:?}");
            }
        }
    }
}

/// §7.10: names come back escaped, as JSON.
#[test]
fn names_in_errors_are_escaped() {
    let gateway = Gateway::start(json!({"tenants": {"a": hosted()}}));
    for path in [
        "/v2/a/app/manifests/%22%3E%3Cscript%3E",
        "/v2/a/%3Cb%3E/tags/list",
        "/v2/a/app/blobs/sha256:%22%7D",
        "/v2/a/app/tags/list?n=%22%3C",
    ] {
        let reply = gateway.get(path);
        assert!(
            (400..500).contains(&reply.status),
            "{path}: {}",
            reply.status
        );
        let kind = reply.header("content-type").unwrap_or_default().to_owned();
        assert!(kind.starts_with("application/json"), "{path}: {kind}");
        assert!(
            reply.json()["errors"][0]["code"].is_string(),
            "{}",
            reply.text()
        );
    }
}

/// §7.2: long and crooked paths are refused quickly; nothing outside the data folder is ever read.
#[test]
fn paths_are_bounded_and_never_files() {
    let gateway = Gateway::start(json!({"tenants": {"a": hosted()}}));
    let long = format!("/v2/a/{}/tags/list", "x/".repeat(1_500));
    let reply = gateway.get(&long);
    assert!((400..500).contains(&reply.status), "{}", reply.status);
    let upper = digest(b"x").to_uppercase().replace("SHA256", "sha256");
    for path in [
        "/v2/a/../../etc/passwd/manifests/1".to_owned(),
        "/v2/a/%2e%2e/%2e%2e/etc/passwd/manifests/1".to_owned(),
        "/v2/a/..%2f..%2fetc/manifests/1".to_owned(),
        "/v2/a/app/manifests/..".to_owned(),
        "/v2/a/app/manifests/%00".to_owned(),
        "/v2/a/app/manifests/%2e%2e%2f%2e%2e%2fusers".to_owned(),
        "/v2/a/app/blobs/sha256:../../../../etc/passwd".to_owned(),
        "/v2/a/app/blobs/uploads/../../../../etc/passwd".to_owned(),
        format!("/v2/a/app/blobs/{upper}"),
    ] {
        let reply = gateway.get(&path);
        assert!(
            (400..500).contains(&reply.status),
            "{path}: {}",
            reply.status
        );
        assert!(!reply.text().contains("root:"), "{path}");
    }
}

/// §7.8: what clients say about themselves stays here.
#[test]
fn headers_of_clients_are_not_forwarded() {
    let fake = FakeRegistry::of(Row::Plain).image("a/b", "1").run();
    let (gateway, _) = start(&always(&fake));
    let image = fake.image("a/b", "1");
    for path in [
        "manifests/1".to_owned(),
        format!("blobs/{}", image.layer),
        "tags/list".to_owned(),
    ] {
        let call = Call::get(&format!("/v2/acme/hub/a/b/{path}"))
            .header("Authorization", "Basic Og==")
            .header("Cookie", "session=s3cret")
            .header("X-Forwarded-For", "203.0.113.9")
            .header("X-Forwarded-Host", "evil.test")
            .header("User-Agent", "a client of its own");
        gateway.send(&call).expect(200);
    }
    for asked in fake.asked(Spot::All) {
        assert_eq!(asked.head.header("cookie"), None);
        assert_ne!(asked.head.header("authorization"), Some("Basic Og=="));
        for name in ["x-forwarded-for", "x-forwarded-host", "forwarded"] {
            assert_eq!(asked.head.header(name), None, "{name}");
        }
        assert_ne!(asked.head.header("user-agent"), Some("a client of its own"));
    }
}

/// §7.6: credentials go to the registry and to whom it may be trusted with, not to whom it names.
#[test]
fn credentials_are_not_sent_where_a_challenge_points() {
    let thief = FakeRegistry::of(Row::Plain).image("a/b", "1").run();
    // Another port is another host, unless the operator says otherwise.
    let realm = format!("http://localhost:{}/token", thief.address().port());
    let fake = FakeRegistry::of(Row::Plain)
        .user("me", "s3cret")
        .image("a/b", "1")
        .private("a/b")
        .realm(&realm)
        .run();
    let mut hub = always(&fake);
    hub["auth"] = json!({"username": "me", "password": "s3cret"});
    let (_gateway, place) = start(&hub);
    let reply = tag(&place, "a/b", "1");
    assert_ne!(reply.status, 200);
    for asked in thief.asked(Spot::All) {
        assert_eq!(asked.head.header("authorization"), None, "{asked:?}");
    }
}

/// §7.7: addresses that only this machine can reach are not dialled for an upstream that is not allowed to be there.
#[test]
fn private_addresses_are_not_dialled() {
    let fake = FakeRegistry::open().image("a/b", "1").run();
    let mut hub = always(&fake);
    hub["allow_private"] = Value::Bool(false);
    let (_gateway, place) = start(&hub);
    let reply = tag(&place, "a/b", "1");
    assert_away(&reply);
    assert_eq!(fake.count(Spot::All), 0);
}

/// §4 C: `?ns=` chooses among what is configured; it is never dialled.
#[test]
fn a_namespace_is_never_dialled() {
    let other = FakeRegistry::open().image("a/b", "1").run();
    let fake = FakeRegistry::open().image("a/b", "1").run();
    let mut hub = always(&fake);
    hub["hosts"] = json!(["docker.io"]);
    let gateway = Gateway::start(json!({
        "upstreams": {"hub": hub}, "tenants": {"acme": mirror(&["hub"])},
        "registry": {"default_tenant": "acme"},
    }));
    for ns in [
        "docker.io",
        "DOCKER.IO",
        "docker.io:443",
        "index.docker.io",
        "registry-1.docker.io",
    ] {
        let reply = gateway
            .get(&format!("/v2/a/b/manifests/1?ns={ns}"))
            .expect(200);
        assert_eq!(reply.header("oci-namespace"), Some(ns));
    }
    let unknown = other.address();
    for ns in [
        unknown.to_string(),
        "quay.io".to_owned(),
        "docker.io.evil.test".to_owned(),
    ] {
        let reply = gateway
            .get(&format!("/v2/a/b/manifests/1?ns={ns}"))
            .expect(404);
        assert!(reply.text().contains("NAME_UNKNOWN"), "{}", reply.text());
    }
    assert_eq!(other.count(Spot::All), 0);
}
