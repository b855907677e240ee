//! The hosted registry, and real clients that push to it.

use serde_json::json;

use super::{Place, crane, everyday, oras, skopeo};
use crate::support::clients::{Clients, Program};
use crate::support::distribution::Distribution;
use crate::support::gateway::Gateway;
use crate::support::image::Image;
use crate::support::registries::{group, hosted, oci};

fn gateway() -> (Gateway, Place) {
    let gateway = Gateway::start(json!({"tenants": {"acme/team": hosted()}}));
    let place = Place::of(gateway.http, "acme/team");
    (gateway, place)
}

#[test]
fn crane_pushes_tags_copies_and_removes() {
    let Some(clients) = Clients::with(&[Program::Crane]) else {
        return;
    };
    let (mut gateway, place) = gateway();
    crane::push(&place, &clients);
    crane::read(&place, &clients);
    crane::missing(&place, &clients);
    // What was acknowledged is there after a power cut.
    gateway.restart();
    crane::read(&place, &clients);
    crane::remove(&place, &clients);
    assert_eq!(
        crane::catalog(&place, &clients),
        ["acme/team/crane/app", "acme/team/crane/copies/app"]
    );
}

#[test]
fn oras_attaches_discovers_and_copies() {
    let Some(clients) = Clients::with(&[Program::Oras]) else {
        return;
    };
    let (mut gateway, place) = gateway();
    oras::push(&place, &clients);
    oras::read(&place, &clients);
    gateway.restart();
    oras::read(&place, &clients);
    oras::remove(&place, &clients);
}

#[test]
fn skopeo_copies_and_removes() {
    let Some(clients) = Clients::with(&[Program::Skopeo]) else {
        return;
    };
    let (_gateway, place) = gateway();
    clients.plain_http(&[&place.address]);
    skopeo::push(&place, &clients);
    skopeo::read(&place, &clients);
    skopeo::missing(&place, &clients);
    skopeo::remove(&place, &clients);
}

#[test]
fn podman_and_buildah_push_and_pull() {
    let (_gateway, place) = gateway();
    everyday::podman_and_buildah(&place);
}

#[test]
fn helm_pushes_and_pulls_charts() {
    let (_gateway, place) = gateway();
    everyday::helms(&place);
}

#[test]
fn docker_and_containerd_push_and_pull() {
    let (_gateway, place) = gateway();
    everyday::daemons(&place);
}

/// Hosted content comes first and keeps its names to itself; everything else comes from the upstream; both are one registry.
#[test]
fn a_group_is_one_registry() {
    let (Some(upstream), Some(clients)) = (
        Distribution::start(),
        Clients::with(&[Program::Crane, Program::Skopeo]),
    ) else {
        return;
    };
    let (theirs, ours) = (Image::new(71, 20_000), Image::new(72, 21_000));
    for (image, name) in [(&theirs, "theirs"), (&ours, "ours")] {
        image.write(&clients.home().join(name), "1.0");
    }
    let there = Place::of(upstream.address(), "");
    let push = |image: &str, at: &str| clients.ok(Program::Crane, &["push", image, at]);
    push("theirs", &there.image("library/app", "1.0"));
    push("theirs", &there.image("library/app", "2.0"));
    push("theirs", &there.image("library/tool", "1.0"));
    let gateway = Gateway::start(json!({
        "upstreams": {"hub": oci(&upstream.url())},
        "tenants": {"acme": group(&["hub"])},
    }));
    let place = Place::of(gateway.http, "acme");
    place.assert_holds("library/app", "1.0", &theirs);
    push("ours", &place.image("library/app", "1.0"));
    place.assert_holds("library/app", "1.0", &ours);
    // A name that is hosted is hosted in whole.
    place.ask("GET", "library/app", "manifests/2.0").expect(404);
    let tags = place.ask("GET", "library/app", "tags/list").expect(200);
    assert_eq!(tags.json()["tags"], json!(["1.0"]));
    place.assert_holds("library/tool", "1.0", &theirs);
    // Its upstream is still there, by its own name.
    let hub = Place::of(gateway.http, "acme/hub");
    hub.assert_holds("library/app", "2.0", &theirs);
    // Nobody pushes to somebody else's registry.
    let error = clients.fails(
        Program::Crane,
        &["push", "ours", &hub.image("library/app", "3.0")],
    );
    assert!(
        error.contains("UNSUPPORTED") || error.contains("405"),
        "{error}"
    );
    clients.plain_http(&[&place.address]);
    let copy = format!("docker://{}", place.image("copies/tool", "1.0"));
    let tool = format!("docker://{}", place.image("library/tool", "1.0"));
    let arguments = ["copy", "--preserve-digests", &tool, &copy];
    clients.ok(Program::Skopeo, &arguments);
    place.assert_holds("copies/tool", "1.0", &theirs);
}
