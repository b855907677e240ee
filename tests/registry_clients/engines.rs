//! podman and buildah: engines that keep images on disk themselves.

use super::Place;
use crate::support::clients::{Clients, Program};
use crate::support::image::Image;

/// Takes an image from a folder, pushes it, and an index of it.
pub(crate) fn push(program: Program, place: &Place, clients: &Clients) {
    let name = repository(program);
    Image::new(41, 80_000).write(&clients.home().join("one"), "1.0");
    let id = clients.ok(program, &["pull", "oci:one:1.0"]);
    let id = id.lines().next_back().expect("the image's id").to_owned();
    let at = format!("docker://{}", place.image(&name, "1.0"));
    clients.ok(program, &["push", "--digestfile=digest", &id, &at]);
    let digest = std::fs::read_to_string(clients.home().join("digest")).expect("a digest");
    assert_eq!(place.digest(&name, "1.0"), digest.trim());

    clients.ok(program, &["manifest", "create", "many"]);
    let image = format!("docker://{}", place.image(&name, "1.0"));
    clients.ok(program, &["manifest", "add", "many", &image]);
    let at = format!("docker://{}", place.image(&name, "many"));
    clients.ok(program, &["manifest", "push", "--all", "many", &at]);
    clients.ok(program, &["manifest", "rm", "many"]);
    let reply = place.ask("GET", &name, "manifests/many").expect(200);
    assert!(reply.text().contains(digest.trim()), "{}", reply.text());
    clients.ok(program, &["rmi", "--all", "--force"]);
}

/// Pulls by tag and by digest.
pub(crate) fn read(program: Program, place: &Place, clients: &Clients, digest: &str) {
    let name = repository(program);
    for image in [
        place.image(&name, "1.0"),
        place.pinned(&name, digest),
        place.image(&name, "many"),
    ] {
        clients.ok(program, &["pull", &image]);
        // No other copy may spare it the way.
        clients.ok(program, &["rmi", "--all", "--force"]);
    }
}

/// What is not there.
pub(crate) fn missing(program: Program, place: &Place, clients: &Clients) {
    let name = repository(program);
    let missing = place.image(&name, "no-such-tag");
    let error = clients.fails(program, &["pull", &missing]);
    assert!(error.contains("manifest unknown"), "{error}");
}

/// What [`push`] fills.
pub(crate) fn repository(program: Program) -> String {
    format!("{program:?}/app").to_lowercase()
}
