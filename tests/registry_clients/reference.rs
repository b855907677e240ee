//! The same against distribution, so that what the tests expect is what registries do.

use super::{Place, crane, everyday, oras, skopeo};
use crate::support::clients::{Clients, Program};
use crate::support::distribution::Distribution;

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
    everyday::podman_and_buildah(&place);
}

#[test]
fn helm_works_with_the_reference_registry() {
    let Some((_registry, place)) = distribution("") else {
        return;
    };
    everyday::helms(&place);
}

#[test]
fn docker_and_containerd_work_with_the_reference_registry() {
    let Some((_registry, place)) = distribution("") else {
        return;
    };
    everyday::daemons(&place);
}
