//! Registries over HTTP: what clients send and see at `/v2/` and its other addresses.

/// The four ways to address a repository, and how the answers are spelled.
mod addresses;
/// Errors: status, code, headers, bodies.
mod errors;
/// Every endpoint of a tenant that hosts.
mod hosted;
/// Who may do what, and what strangers learn.
mod rights;
/// Uploads in one piece, in many, out of order, and blobs that are there already.
mod uploads;
/// Images of upstreams.
mod upstreams;

use chartgate::oci::{Algorithm, Digest};
use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::http::{Call, Reply};

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A tenant `acme` that hosts for everybody.
fn hosting() -> Gateway {
    Gateway::start(json!({"tenants": {"acme": open_hosting()}}))
}

fn open_hosting() -> Value {
    json!({
        "hosted": {"overwrite": "allow", "delete": true},
        "access": {"anonymous": ["pull", "push", "delete"]},
    })
}

fn sha256(bytes: &[u8]) -> String {
    Digest::of(Algorithm::Sha256, bytes).to_string()
}

fn sha512(bytes: &[u8]) -> String {
    Digest::of(Algorithm::Sha512, bytes).to_string()
}

/// An image manifest of these blobs, and its digest.
fn image(config: &[u8], layers: &[&[u8]]) -> (Vec<u8>, String) {
    let layer = |bytes: &&[u8]| {
        json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": sha256(bytes),
            "size": bytes.len(),
        })
    };
    let document = json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": sha256(config),
            "size": config.len(),
        },
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    });
    let text = document.to_string().into_bytes();
    let digest = sha256(&text);
    (text, digest)
}

/// Pushes a blob in two requests, as most clients do; `repository` is what stands in front of `/blobs`.
#[track_caller]
fn push_blob(gateway: &Gateway, repository: &str, bytes: &[u8]) -> String {
    let digest = sha256(bytes);
    let started = post(&format!("{repository}/blobs/uploads/"));
    let location = location(&gateway.send(&started).expect(202));
    let put = with_query(&location, &format!("digest={digest}"));
    let done = gateway
        .send(&Call::new("PUT", &put).body(bytes))
        .expect(201);
    assert_eq!(done.header("docker-content-digest"), Some(digest.as_str()));
    digest
}

#[track_caller]
fn push_manifest(gateway: &Gateway, repository: &str, reference: &str, text: &[u8]) -> Reply {
    let path = format!("{repository}/manifests/{reference}");
    let put = Call::new("PUT", &path).header("Content-Type", IMAGE);
    gateway.send(&put.body(text)).expect(201)
}

/// Pushes an image of one layer under a tag; its manifest and digest.
#[track_caller]
fn push_image(gateway: &Gateway, repository: &str, tag: &str, layer: &[u8]) -> (Vec<u8>, String) {
    let (text, digest) = image(b"{}", &[layer]);
    push_blob(gateway, repository, b"{}");
    push_blob(gateway, repository, layer);
    push_manifest(gateway, repository, tag, &text);
    (text, digest)
}

fn post(path: &str) -> Call {
    Call::new("POST", path).body("")
}

#[track_caller]
fn location(reply: &Reply) -> String {
    let location = reply.header("location").expect("a Location");
    assert!(location.starts_with('/'), "{location} has a scheme or host");
    location.to_owned()
}

fn with_query(path: &str, query: &str) -> String {
    let separator = if path.contains('?') { '&' } else { '?' };
    format!("{path}{separator}{query}")
}

/// The first code of an error's envelope.
#[track_caller]
fn code(reply: &Reply) -> String {
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let error = &reply.json()["errors"][0];
    assert!(error["message"].is_string(), "{error}");
    error["code"].as_str().expect("a code").to_owned()
}

/// Fails the test unless the answer is this error.
#[track_caller]
fn assert_error(reply: &Reply, status: u16, expected: &str) {
    assert_eq!(
        (reply.status, code(reply).as_str()),
        (status, expected),
        "{}",
        reply.text()
    );
}
