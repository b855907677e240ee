//! The same against distribution, so that what the tests expect is what registries do.

use super::{Place, containerd, crane, docker, engines, helm, oras, skopeo};
use crate::support::clients::{Clients, Program};
use crate::support::daemons::{Containerd, Docker};
use crate::support::distribution::Distribution;
use crate::support::image::Image;

fn distribution(below: &str) -> Option<(Distribution, Place)> {
    let registry = Distribution::start()?;
    let place = Place::of(registry.address(), below);
    Some((registry, place))
}

#[test]
fn crane_works_with_the_reference_registry() {
    let Some((_registry, place)) = distribution("") else {
        return;
    };
    let Some(clients) = Clients::with(&[Program::Crane]) else {
        return;
    };
    crane::push(&place, &clients);
    crane::read(&place, &clients);
    crane::missing(&place, &clients);
    crane::remove(&place, &clients);
    assert_eq!(
        crane::catalog(&place, &clients),
        ["crane/app", "crane/copies/app"]
    );
}

#[test]
fn oras_works_with_the_reference_registry() {
    let Some((_registry, place)) = distribution("some/where") else {
        return;
    };
    let Some(clients) = Clients::with(&[Program::Oras]) else {
        return;
    };
    oras::push(&place, &clients);
    oras::read(&place, &clients);
    oras::remove(&place, &clients);
}

#[test]
fn skopeo_works_with_the_reference_registry() {
    let Some((_registry, place)) = distribution("") else {
        return;
    };
    let Some(clients) = Clients::with(&[Program::Skopeo]) else {
        return;
    };
    clients.plain_http(&[&place.address]);
    skopeo::push(&place, &clients);
    skopeo::read(&place, &clients);
    skopeo::missing(&place, &clients);
    skopeo::remove(&place, &clients);
}

#[test]
fn podman_and_buildah_work_with_the_reference_registry() {
    let Some((_registry, place)) = distribution("") else {
        return;
    };
    for program in [Program::Podman, Program::Buildah] {
        let Some(clients) = Clients::with(&[program]) else {
            return;
        };
        clients.plain_http(&[&place.address]);
        engines::push(program, &place, &clients);
        let digest = place.digest(&engines::repository(program), "1.0");
        engines::read(program, &place, &clients, &digest);
        engines::missing(program, &place, &clients);
    }
}

#[test]
fn helm_works_with_the_reference_registry() {
    let Some((_registry, place)) = distribution("") else {
        return;
    };
    for program in [Program::Helm3, Program::Helm4] {
        let Some(clients) = Clients::with(&[program]) else {
            return;
        };
        helm::push(program, &place, &clients);
        helm::read(program, &place, &clients);
        helm::missing(program, &place, &clients);
    }
}

#[test]
fn docker_and_containerd_work_with_the_reference_registry() {
    let Some((_registry, place)) = distribution("") else {
        return;
    };
    let Some(clients) = Clients::with(&[Program::Crane]) else {
        return;
    };
    let image = Image::new(51, 60_000);
    image.write(&clients.home().join("one"), "1.0");
    let at = place.image("some/app", "1.0");
    clients.ok(Program::Crane, &["push", "one", &at]);
    let Some(docker) = Docker::start(&[], &[]) else {
        return;
    };
    docker::everyday(&docker, &place, "some/app", &image);
    drop(docker);
    let Some(containerd) = Containerd::start() else {
        return;
    };
    containerd::everyday(&containerd, &place, "some/app", &image);
}
