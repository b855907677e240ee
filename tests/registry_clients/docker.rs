//! Docker's own daemon.

use super::Place;
use crate::support::daemons::Docker;
use crate::support::image::Image;

/// Pulls an image that is at `place`, pushes it under another name, and pulls that.
pub(crate) fn everyday(docker: &Docker, place: &Place, from: &str, image: &Image) {
    let original = place.image(from, "1.0");
    docker.ok(&["pull", &original]);
    assert_eq!(digest(docker, &original), image.digest);
    let copy = place.image("docker/copy", "2.0");
    docker.ok(&["tag", &original, &copy]);
    let pushed = docker.ok(&["push", &copy]);
    let digest = place.digest("docker/copy", "2.0");
    assert!(pushed.contains(&digest), "{pushed}");
    docker.ok(&["rmi", "--force", &original, &copy]);
    docker.ok(&["pull", &copy]);
    docker.ok(&["rmi", "--force", &copy]);
    docker.ok(&["pull", &place.pinned("docker/copy", &digest)]);
    let missing = place.image("docker/copy", "no-such-tag");
    let error = docker.fails(&["pull", &missing]);
    assert!(
        error.contains("manifest unknown") || error.contains("not found"),
        "{error}"
    );
}

/// The digest that docker remembers for an image.
pub(crate) fn digest(docker: &Docker, image: &str) -> String {
    let text = docker.ok(&["inspect", "--format={{index .RepoDigests 0}}", image]);
    let (_, digest) = text.split_once('@').expect("name@digest");
    digest.to_owned()
}
