//! What clients of one kind do every day, the same against every registry that takes pushes.

use super::{Place, containerd, docker, engines, helm};
use crate::support::clients::{Clients, Program};
use crate::support::daemons::{Containerd, Docker};
use crate::support::image::Image;

/// podman and buildah push, pull, and are told what is missing.
pub(super) fn podman_and_buildah(place: &Place) {
    for program in [Program::Podman, Program::Buildah] {
        let Some(clients) = Clients::with(&[program]) else {
            return;
        };
        clients.plain_http(&[&place.address]);
        engines::push(program, place, &clients);
        let digest = place.digest(&engines::repository(program), "1.0");
        engines::read(program, place, &clients, &digest);
        engines::missing(program, place, &clients);
    }
}

/// Both helms push, pull, and are told what is missing.
pub(super) fn helms(place: &Place) {
    for program in [Program::Helm3, Program::Helm4] {
        let Some(clients) = Clients::with(&[program]) else {
            return;
        };
        helm::push(program, place, &clients);
        helm::read(program, place, &clients);
        helm::missing(program, place, &clients);
    }
}

/// The daemons of docker and containerd pull what crane pushed, and push it on.
pub(super) fn daemons(place: &Place) {
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
    docker::everyday(&docker, place, "some/app", &image);
    drop(docker);
    let Some(containerd) = Containerd::start() else {
        return;
    };
    containerd::everyday(&containerd, place, "some/app", &image);
}
