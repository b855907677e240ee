//! A gateway whose upstreams are all dead: it starts, is ready, and serves what it holds.

use serde_json::json;

use super::{always, assert_away, assert_is, assert_stale, blob, tag};
use crate::registry_clients::Place;
use crate::support::fake::{FakeRegistry, Fault, Row, Spot};
use crate::support::gateway::Gateway;
use crate::support::port::Port;
use crate::support::registries::{hosted, mirror, oci};

#[test]
fn nothing_is_asked_at_the_start() {
    let fakes: Vec<_> = Row::ALL
        .into_iter()
        .map(|row| FakeRegistry::of(row).image("a/b", "1").run())
        .collect();
    let names: Vec<_> = (0..fakes.len())
        .map(|number| format!("up-{number}"))
        .collect();
    let upstreams: serde_json::Map<_, _> = names
        .iter()
        .zip(&fakes)
        .map(|(name, fake)| (name.clone(), oci(&fake.url())))
        .collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let gateway = Gateway::start(json!({
        "upstreams": upstreams, "tenants": {"acme": mirror(&names)},
    }));
    assert_eq!(gateway.admin("/readyz").status, 200);
    for fake in &fakes {
        assert_eq!(fake.count(Spot::All), 0);
    }
}

#[test]
fn a_gateway_starts_with_every_upstream_dead() {
    let dead = Port::reserve();
    let mut upstreams = json!({
        "refused": oci(&format!("http://{}", dead.address)),
        "unknown": oci("http://no-such-host.invalid"),
        "blackhole": oci("http://192.0.2.1"),
    });
    for name in ["refused", "unknown", "blackhole"] {
        upstreams[name]["timeout"] = json!("500ms");
    }
    let gateway = Gateway::start(json!({
        "upstreams": upstreams,
        "tenants": {"acme": mirror(&["refused", "unknown", "blackhole"]), "own": hosted()},
    }));
    assert_eq!(gateway.get("/v2/").status, 200);
    for name in ["refused", "unknown", "blackhole"] {
        let place = Place::of(gateway.http, &format!("acme/{name}"));
        assert_away(&tag(&place, "a/b", "1"));
    }
    assert_away(&tag(&Place::of(gateway.http, "acme"), "a/b", "1"));
    // One's own registry has nothing to do with it.
    let own = Place::of(gateway.http, "own");
    own.ask("GET", "a/b", "manifests/1").expect(404);
}

#[test]
fn what_is_held_is_served_after_a_restart_with_every_upstream_dead() {
    let fake = FakeRegistry::of(Row::DockerHub)
        .image("library/app", "1.0")
        .image("library/app", "2.0")
        .run();
    let image = fake.image("library/app", "1.0");
    let mut gateway = Gateway::start(json!({
        "upstreams": {"hub": always(&fake)},
        "tenants": {"acme": mirror(&["hub"])},
    }));
    let place = Place::of(gateway.http, "acme/hub");
    tag(&place, "library/app", "1.0").expect(200);
    blob(&place, "library/app", &image.layer).expect(200);
    let tags = place.ask("GET", "library/app", "tags/list").expect(200);
    let path = format!("referrers/{}", image.digest);
    place.ask("GET", "library/app", &path).expect(200);
    fake.fault(Spot::All, Fault::Close);
    gateway.stop();
    gateway.run();
    gateway.wait_ready();
    for name in ["acme/hub", "acme"] {
        let place = Place::of(gateway.http, name);
        assert_stale(&tag(&place, "library/app", "1.0"), &image);
        assert_is(&tag(&place, "library/app", &image.digest), &image);
        let layer = blob(&place, "library/app", &image.layer).expect(200);
        assert_eq!(layer.body, image.bytes);
        let again = place.ask("GET", "library/app", "tags/list").expect(200);
        assert_eq!(again.json()["tags"], tags.json()["tags"]);
        let path = format!("referrers/{}", image.digest);
        place.ask("GET", "library/app", &path).expect(200);
        // What was never pulled is not absent.
        assert_away(&tag(&place, "library/app", "2.0"));
    }
}

/// The same after a power cut in the middle of it all.
#[test]
fn what_is_held_is_served_after_a_power_cut() {
    let fake = FakeRegistry::open().image("a/b", "1").run();
    let image = fake.image("a/b", "1");
    let mut gateway = Gateway::start(json!({
        "upstreams": {"hub": always(&fake)},
        "tenants": {"acme": mirror(&["hub"])},
    }));
    let place = Place::of(gateway.http, "acme/hub");
    tag(&place, "a/b", "1").expect(200);
    blob(&place, "a/b", &image.layer).expect(200);
    gateway.restart();
    assert_is(&tag(&place, "a/b", "1"), &image);
    let layer = blob(&place, "a/b", &image.layer).expect(200);
    assert_eq!(layer.body, image.bytes);
}
