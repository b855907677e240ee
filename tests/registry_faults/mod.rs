//! Upstream registries of every kind and with every fault, seen from clients of the whole program.

/// Blobs: cut, wrong, elsewhere, in pieces, wanted by many.
mod blobs;
/// Who may see what: nothing leaks from one tenant, upstream or repository into another.
mod isolation;
/// Every kind of registry under its own names.
mod kinds;
/// Starting and serving with every upstream dead.
mod starts;
/// Tags: fresh, stale, moved, gone, refused, limited.
mod tags;

use serde_json::{Value, json};

use crate::registry_clients::Place;
use crate::support::fake::{FakeImage, RunningRegistry};
use crate::support::gateway::Gateway;
use crate::support::http::Reply;
use crate::support::registries::{mirror, oci};

/// A gateway with one upstream `hub` in tenant `acme`, which believes no tag without asking.
fn gateway(fake: &RunningRegistry) -> (Gateway, Place) {
    start(&always(fake))
}

/// The same with the upstream as it is configured.
fn start(hub: &Value) -> (Gateway, Place) {
    let gateway = Gateway::start(json!({
        "upstreams": {"hub": hub}, "tenants": {"acme": mirror(&["hub"])},
    }));
    let place = Place::of(gateway.http, "acme/hub");
    (gateway, place)
}

/// An upstream that is asked each time, and not waited for.
fn always(fake: &RunningRegistry) -> Value {
    let mut hub = oci(&fake.url());
    hub["tag_ttl"] = json!("0s");
    hub["list_ttl"] = json!("0s");
    hub["timeout"] = json!("700ms");
    hub
}

fn tag(place: &Place, name: &str, tag: &str) -> Reply {
    place.ask("GET", name, &format!("manifests/{tag}"))
}

fn blob(place: &Place, name: &str, digest: &str) -> Reply {
    place.ask("GET", name, &format!("blobs/{digest}"))
}

/// Fails unless `reply` is the image's manifest, unchanged.
#[track_caller]
fn assert_is(reply: &Reply, image: &FakeImage) {
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.body, image.manifest);
    assert_eq!(
        reply.header("docker-content-digest"),
        Some(image.digest.as_str())
    );
    assert!(reply.complete);
}

/// Fails unless `reply` says that nobody could say, and never that there is nothing.
#[track_caller]
fn assert_away(reply: &Reply) {
    let status = reply.status;
    assert!(
        matches!(status, 429 | 502..=504),
        "{status}: {}",
        reply.text()
    );
    let errors = reply.json();
    let code = errors["errors"][0]["code"].as_str().expect("a code");
    assert!(matches!(code, "UNKNOWN" | "TOOMANYREQUESTS"), "{code}");
}

/// Fails unless `reply` is the image's manifest, older than it should be, and says so.
#[track_caller]
fn assert_stale(reply: &Reply, image: &FakeImage) {
    assert_is(reply, image);
    assert_eq!(reply.header("x-cache"), Some("stale"));
    let warning = reply.header("warning").expect("a warning");
    assert!(warning.starts_with("299 "), "{warning}");
    assert!(
        reply
            .header("age")
            .is_some_and(|age| age.parse::<u64>().is_ok())
    );
}
