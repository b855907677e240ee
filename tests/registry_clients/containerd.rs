//! containerd, as Kubernetes uses it.

use super::Place;
use crate::support::daemons::Containerd;
use crate::support::image::Image;

/// Pulls by tag and by digest, pushes under another name.
pub(crate) fn everyday(containerd: &Containerd, place: &Place, from: &str, image: &Image) {
    let original = place.image(from, "1.0");
    pull(containerd, &original, &["--plain-http"]);
    assert_eq!(containerd.digest(&original), image.digest);
    let copy = place.image("containerd/copy", "2.0");
    containerd.ok(&["images", "push", "--plain-http", &copy, &original]);
    assert_eq!(place.digest("containerd/copy", "2.0"), image.digest);
    let pinned = place.pinned("containerd/copy", &image.digest);
    containerd.ok(&["images", "rm", &original]);
    pull(containerd, &pinned, &["--plain-http"]);
    assert_eq!(containerd.digest(&pinned), image.digest);
}

/// Pulls and unpacks an image.
pub(crate) fn pull(containerd: &Containerd, image: &str, more: &[&str]) {
    let mut arguments = vec!["images", "pull", "--snapshotter=native"];
    arguments.extend(more);
    arguments.push(image);
    containerd.ok(&arguments);
}
