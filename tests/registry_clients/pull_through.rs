//! Images of a real registry, through the gateway.

use std::time::Duration;

use serde_json::json;

use super::{Place, containerd, crane, docker, engines, helm, oras, skopeo};
use crate::support::clients::{Clients, Program};
use crate::support::daemons::{Containerd, Docker};
use crate::support::distribution::Distribution;
use crate::support::gateway::Gateway;
use crate::support::image::Image;
use crate::support::registries::{mirror, oci, oci_as};
use crate::support::until;

const ALL: [Program; 7] = [
    Program::Crane,
    Program::Oras,
    Program::Skopeo,
    Program::Podman,
    Program::Buildah,
    Program::Helm3,
    Program::Helm4,
];

/// A gateway that asks each time, so that an upstream which is gone is noticed.
fn gateway(upstream: &Distribution) -> Gateway {
    let mut hub = oci(&upstream.url());
    hub["tag_ttl"] = json!("0s");
    hub["list_ttl"] = json!("0s");
    Gateway::start(json!({"upstreams": {"hub": hub}, "tenants": {"acme": mirror(&["hub"])}}))
}

#[test]
fn every_client_reads_the_same_and_still_does_when_the_registry_is_gone() {
    let (Some(upstream), Some(clients)) = (Distribution::start(), Clients::with(&ALL)) else {
        return;
    };
    let there = Place::of(upstream.address(), "");
    clients.plain_http(&[&there.address]);
    crane::push(&there, &clients);
    oras::push(&there, &clients);
    skopeo::push(&there, &clients);
    let mut digests = Vec::new();
    for program in [Program::Podman, Program::Buildah] {
        engines::push(program, &there, &clients);
        digests.push((program, there.digest(&engines::repository(program), "1.0")));
    }
    for program in [Program::Helm3, Program::Helm4] {
        helm::push(program, &there, &clients);
    }
    let mut gateway = gateway(&upstream);
    let place = Place::of(gateway.http, "acme/hub");
    clients.plain_http(&[&place.address]);
    let read = |clients: &Clients| {
        crane::read(&place, clients);
        oras::read(&place, clients);
        skopeo::read(&place, clients);
        for (program, digest) in &digests {
            engines::read(*program, &place, clients, digest);
        }
        for program in [Program::Helm3, Program::Helm4] {
            helm::read(program, &place, clients);
        }
    };
    read(&clients);
    crane::missing(&place, &clients);
    skopeo::missing(&place, &clients);
    engines::missing(Program::Podman, &place, &clients);
    helm::missing(Program::Helm4, &place, &clients);

    drop(upstream);
    read(&clients);
    let stale = place.ask("GET", "crane/app", "manifests/1.0").expect(200);
    assert_eq!(stale.header("x-cache"), Some("stale"));
    assert!(
        stale
            .header("warning")
            .is_some_and(|text| text.starts_with("299"))
    );
    // Nobody can say whether this exists.
    let unknown = place.ask("GET", "crane/app", "manifests/who-knows");
    assert!(matches!(unknown.status, 502..=504), "{}", unknown.status);

    gateway.restart();
    read(&clients);
}

#[test]
fn docker_and_containerd_pull_through() {
    let (Some(upstream), Some(clients)) = (Distribution::start(), Clients::with(&[Program::Crane]))
    else {
        return;
    };
    let image = Image::new(81, 60_000);
    image.write(&clients.home().join("one"), "1.0");
    let there = Place::of(upstream.address(), "");
    clients.ok(
        Program::Crane,
        &["push", "one", &there.image("some/app", "1.0")],
    );
    let gateway = gateway(&upstream);
    let place = Place::of(gateway.http, "acme/hub");
    let (Some(docker), Some(containerd)) = (Docker::start(&[], &[]), Containerd::start()) else {
        return;
    };
    let at = place.image("some/app", "1.0");
    docker.ok(&["pull", &at]);
    assert_eq!(docker::digest(&docker, &at), image.digest);
    drop(upstream);
    containerd::pull(&containerd, &at, &["--plain-http"]);
    assert_eq!(containerd.digest(&at), image.digest);
    docker.ok(&["rmi", "--force", &at]);
    docker.ok(&["pull", &place.pinned("some/app", &image.digest)]);
}

/// A tag that moved is seen; what it was is still there.
#[test]
fn tags_move_and_digests_stay() {
    let (Some(upstream), Some(clients)) = (Distribution::start(), Clients::with(&[Program::Crane]))
    else {
        return;
    };
    let images = [Image::new(91, 10_000), Image::index(92, 10_000)];
    let there = Place::of(upstream.address(), "");
    let gateway = gateway(&upstream);
    let place = Place::of(gateway.http, "acme/hub");
    for image in &images {
        let _ = std::fs::remove_dir_all(clients.home().join("image"));
        image.write(&clients.home().join("image"), "latest");
        clients.ok(
            Program::Crane,
            &["push", "image", &there.image("app", "latest")],
        );
        place.assert_holds("app", "latest", image);
        let digest = clients.ok(Program::Crane, &["digest", &place.image("app", "latest")]);
        assert_eq!(digest, image.digest);
    }
    place
        .ask("GET", "app", &format!("manifests/{}", images[0].digest))
        .expect(200);
    clients.ok(
        Program::Crane,
        &["delete", &there.pinned("app", &images[1].digest)],
    );
    // Removed there is removed here; the digest that somebody may have pinned stays.
    until("the tag to be gone", Duration::from_secs(10), || {
        (place.ask("GET", "app", "manifests/latest").status == 404).then_some(())
    });
    place
        .ask("GET", "app", &format!("manifests/{}", images[1].digest))
        .expect(200);
}

/// A registry that wants a login gets the gateway's, whoever asks.
#[test]
fn the_gateway_logs_in_where_its_clients_do_not() {
    let (Some(upstream), Some(clients)) = (
        Distribution::start_for("reader", "s3cret"),
        Clients::with(&[Program::Crane]),
    ) else {
        return;
    };
    let image = Image::new(95, 10_000);
    image.write(&clients.home().join("one"), "1.0");
    let there = Place::of(upstream.address(), "");
    let login = [
        "auth",
        "login",
        &there.address,
        "-u",
        "reader",
        "-p",
        "s3cret",
    ];
    clients.ok(Program::Crane, &login);
    clients.ok(
        Program::Crane,
        &["push", "one", &there.image("private/app", "1.0")],
    );
    clients.ok(Program::Crane, &["auth", "logout", &there.address]);
    clients.fails(
        Program::Crane,
        &["manifest", &there.image("private/app", "1.0")],
    );
    let gateway = Gateway::start(json!({
        "upstreams": {
            "known": oci_as(&upstream.url(), "reader", "s3cret"),
            "wrong": oci_as(&upstream.url(), "reader", "wrong"),
            "nobody": oci(&upstream.url()),
        },
        "tenants": {
            "acme": mirror(&["known"]), "b": mirror(&["wrong"]), "c": mirror(&["nobody"]),
        },
    }));
    let place = Place::of(gateway.http, "acme/known");
    place.assert_holds("private/app", "1.0", &image);
    // A wrong password is the operator's business, and no absence.
    let wrong = Place::of(gateway.http, "b/wrong");
    let reply = wrong.ask("GET", "private/app", "manifests/1.0");
    assert!(matches!(reply.status, 502..=504), "{}", reply.status);
    assert!(!reply.text().contains("wrong\""), "{}", reply.text());
    let nobody = Place::of(gateway.http, "c/nobody");
    let reply = nobody.ask("GET", "private/app", "manifests/1.0");
    assert!(matches!(reply.status, 404 | 502..=504), "{}", reply.status);
}
