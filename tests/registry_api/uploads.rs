use serde_json::json;

use super::{
    assert_error, hosting, location, open_hosting, post, push_blob, sha256, sha512, with_query,
};
use crate::support::gateway::Gateway;
use crate::support::http::{Call, Reply};

const REPOSITORY: &str = "/v2/acme/app";
const UPLOADS: &str = "/v2/acme/app/blobs/uploads/";

#[track_caller]
fn start(gateway: &Gateway) -> String {
    let reply = gateway.send(&post(UPLOADS)).expect(202);
    assert_eq!(reply.header("range"), Some("0-0"));
    assert_eq!(reply.header("content-length"), Some("0"));
    let location = location(&reply);
    let id = reply.header("docker-upload-uuid").expect("a name");
    assert!(
        location.starts_with(UPLOADS) && location.contains(id),
        "{location}"
    );
    location
}

fn patch(location: &str, range: &str, bytes: &[u8]) -> Call {
    Call::new("PATCH", location)
        .header("Content-Type", "application/octet-stream")
        .header("Content-Range", range)
        .body(bytes)
}

#[track_caller]
fn assert_held(gateway: &Gateway, digest: &str, bytes: &[u8]) {
    let held = gateway
        .get(&format!("{REPOSITORY}/blobs/{digest}"))
        .expect(200);
    assert_eq!(held.body, bytes);
    assert_eq!(held.header("docker-content-digest"), Some(digest));
}

#[track_caller]
fn assert_created(reply: &Reply, digest: &str) {
    assert_eq!(reply.status, 201, "{}", reply.text());
    assert_eq!(location(reply), format!("{REPOSITORY}/blobs/{digest}"));
    assert_eq!(reply.header("docker-content-digest"), Some(digest));
}

/// end-4a and end-6, end-4b, end-4c
#[test]
fn in_one_piece() {
    let gateway = hosting();
    for bytes in [b"a blob".as_slice(), b"", b"{}"] {
        push_blob(&gateway, REPOSITORY, bytes);
        assert_held(&gateway, &sha256(bytes), bytes);
    }
    let bytes = b"all at once";
    for digest in [sha256(bytes), sha512(bytes)] {
        let call = Call::new("POST", &format!("{UPLOADS}?digest={digest}")).body(*bytes);
        assert_created(&gateway.send(&call), &digest);
        assert_held(&gateway, &digest, bytes);
    }
    let bytes = b"by the other algorithm";
    let started = gateway
        .send(&post(&format!("{UPLOADS}?digest-algorithm=sha512")))
        .expect(202);
    let put = with_query(&location(&started), &format!("digest={}", sha512(bytes)));
    let done = gateway.send(&Call::new("PUT", &put).body(*bytes));
    assert_created(&done, &sha512(bytes));
    let unknown = gateway.send(&post(&format!("{UPLOADS}?digest-algorithm=md5")));
    assert_error(&unknown, 400, "DIGEST_INVALID");
}

/// end-5, end-13: docker and podman send no length and no range.
#[test]
fn as_a_stream() {
    let gateway = hosting();
    let bytes: Vec<u8> = (0..200_000_u32)
        .map(|number| (number % 251) as u8)
        .collect();
    let location = start(&gateway);
    let sent = gateway
        .send(&Call::new("PATCH", &location).chunked(&bytes, 7_777))
        .expect(202);
    assert_eq!(sent.header("range"), Some("0-199999"));
    let location = super::location(&sent);
    let state = gateway.get(&with_query(&location, "digest=x")).expect(204);
    assert_eq!(state.header("range"), Some("0-199999"));
    assert_eq!(super::location(&state), location);
    let put = with_query(&location, &format!("digest={}", sha256(&bytes)));
    let done = gateway.send(&Call::new("PUT", &put).body(""));
    assert_created(&done, &sha256(&bytes));
    assert_held(&gateway, &sha256(&bytes), &bytes);
    assert_error(&gateway.get(&location), 404, "BLOB_UPLOAD_UNKNOWN");
}

/// end-5, end-6: pieces belong where the others end.
#[test]
fn in_order_only() {
    let gateway = hosting();
    let location = start(&gateway);
    assert_eq!(
        gateway.get(&location).expect(204).header("range"),
        Some("0-0")
    );
    let first = gateway.send(&patch(&location, "0-4", b"01234")).expect(202);
    assert_eq!(first.header("range"), Some("0-4"));
    for (range, bytes) in [
        ("0-4", b"01234".as_slice()),
        ("6-7", b"67"),
        ("3-5", b"345"),
    ] {
        let wrong = gateway.send(&patch(&location, range, bytes));
        assert_error(&wrong, 416, "BLOB_UPLOAD_INVALID");
        assert_eq!(wrong.header("range"), Some("0-4"));
        assert_eq!(super::location(&wrong), location);
    }
    assert_eq!(
        gateway.get(&location).expect(204).header("range"),
        Some("0-4")
    );
    gateway.send(&patch(&location, "5-7", b"567")).expect(202);
    let digest = sha256(b"0123456789");
    let put = with_query(&location, &format!("digest={digest}"));
    let last = |range: &str| {
        let call = Call::new("PUT", &put).header("Content-Range", range);
        gateway.send(&call.body("89"))
    };
    assert_error(&last("0-1"), 416, "BLOB_UPLOAD_INVALID");
    assert_eq!(
        gateway.get(&location).expect(204).header("range"),
        Some("0-7")
    );
    assert_error(&last("x"), 400, "BLOB_UPLOAD_INVALID");
    assert_created(&last("8-9"), &digest);
    assert_held(&gateway, &digest, b"0123456789");
}

/// end-14
#[test]
fn cancelled() {
    let gateway = hosting();
    let location = start(&gateway);
    gateway.send(&Call::new("DELETE", &location)).expect(204);
    for method in ["GET", "DELETE"] {
        let gone = gateway.send(&Call::new(method, &location));
        assert_error(&gone, 404, "BLOB_UPLOAD_UNKNOWN");
    }
    let gone = gateway.send(&Call::new("PATCH", &location).body("x"));
    assert_error(&gone, 404, "BLOB_UPLOAD_UNKNOWN");
    let never = gateway.get(&format!("{UPLOADS}never"));
    assert_error(&never, 404, "BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn with_a_wrong_name() {
    let gateway = hosting();
    let wrong = sha256(b"something else");
    let put = with_query(&start(&gateway), &format!("digest={wrong}"));
    let refused = gateway.send(&Call::new("PUT", &put).body("bytes"));
    assert_error(&refused, 400, "DIGEST_INVALID");
    let at_once = Call::new("POST", &format!("{UPLOADS}?digest={wrong}")).body("bytes");
    assert_error(&gateway.send(&at_once), 400, "DIGEST_INVALID");
    let absent = gateway.get(&format!("{REPOSITORY}/blobs/{wrong}"));
    assert_error(&absent, 404, "BLOB_UNKNOWN");
    let location = start(&gateway);
    for query in ["digest=sha256:x", "digest=md5:0", ""] {
        let put = with_query(&location, query);
        let refused = gateway.send(&Call::new("PUT", &put).body("bytes"));
        assert_error(&refused, 400, "DIGEST_INVALID");
    }
    // A name that is none says nothing about the bytes.
    gateway.get(&location).expect(204);
}

/// end-11
#[test]
fn mounted_where_it_may_be_read() {
    let mut secret = open_hosting();
    secret["access"] = json!({"anonymous": ["push"]});
    let gateway = Gateway::start(json!({
        "tenants": {"acme": open_hosting(), "other": open_hosting(), "secret": secret},
    }));
    let digest = push_blob(&gateway, "/v2/acme/base", b"shared");
    let far = push_blob(&gateway, "/v2/other/base", b"far away");
    let hidden = push_blob(&gateway, "/v2/secret/base", b"hidden");
    let mount = |repository: &str, query: &str| {
        gateway.send(&post(&format!("{repository}/blobs/uploads/?mount={query}")))
    };
    let mounted = mount(REPOSITORY, &format!("{digest}&from=acme/base&origin=x"));
    assert_created(&mounted, &digest);
    assert_held(&gateway, &digest, b"shared");
    // Without a place to take it from.
    mount("/v2/acme/third", &digest).expect(201);
    gateway
        .get(&format!("/v2/acme/third/blobs/{digest}"))
        .expect(200);
    // From another tenant, if it is named.
    mount("/v2/acme/fourth", &far).expect(202);
    mount("/v2/acme/fourth", &format!("{far}&from=other/base")).expect(201);
    let held = gateway
        .get(&format!("/v2/acme/fourth/blobs/{far}"))
        .expect(200);
    assert_eq!(held.body, b"far away");
    // What is not there, what may not be read and what means nothing look alike, and an upload begins.
    for query in [
        sha256(b"nowhere"),
        format!("{digest}&from=acme/nothing"),
        format!("{digest}&from=nobody/base"),
        format!("{digest}&from=NOT%20A%20NAME"),
        format!("{hidden}&from=secret/base"),
        hidden.clone(),
        "sha256:x".to_owned(),
    ] {
        let reply = mount("/v2/acme/fifth", &query).expect(202);
        assert!(location(&reply).starts_with("/v2/acme/fifth/blobs/uploads/"));
    }
    // Whoever may push but not pull learns nothing about what is there.
    mount("/v2/secret/app", &hidden).expect(202);
    mount("/v2/secret/app", &format!("{hidden}&from=secret/base")).expect(202);
}

#[test]
fn of_others_do_not_exist() {
    let gateway = hosting();
    let location = start(&gateway);
    let elsewhere = location.replace("/acme/app/", "/acme/other/");
    assert_error(&gateway.get(&elsewhere), 404, "BLOB_UPLOAD_UNKNOWN");
    gateway.get(&location).expect(204);
}
