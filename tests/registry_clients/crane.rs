//! crane, and with it everything that is built on its library: kaniko, ko, Flux.

use super::Place;
use crate::support::clients::{Clients, Program};
use crate::support::image::Image;

const CRANE: Program = Program::Crane;

/// Pushes an image and an index, tags, copies.
pub(crate) fn push(place: &Place, clients: &Clients) {
    let (one, all) = (Image::new(11, 90_000), Image::index(12, 30_000));
    one.write(&clients.home().join("one"), "1.0");
    all.write(&clients.home().join("all"), "all");
    let at = |tag: &str| place.image("crane/app", tag);
    clients.ok(CRANE, &["push", "one", &at("1.0")]);
    clients.ok(CRANE, &["push", "all", &at("all")]);
    clients.ok(CRANE, &["tag", &at("1.0"), "2.0"]);
    // Mounts the layers.
    let copy = place.image("crane/copies/app", "1.0");
    clients.ok(CRANE, &["copy", &at("1.0"), &copy]);
    place.assert_holds("crane/app", "1.0", &one);
    place.assert_holds("crane/app", "2.0", &one);
    place.assert_holds("crane/app", "all", &all);
    place.assert_holds("crane/copies/app", "1.0", &one);
    let appended = place.image("crane/app", "grown");
    std::fs::write(clients.home().join("more.tar"), vec![0; 10_240]).expect("writable");
    clients.ok(
        CRANE,
        &[
            "append",
            "-b",
            &at("1.0"),
            "-f",
            "more.tar",
            "-t",
            &appended,
        ],
    );
}

/// Lists, and reads what [`push`] left.
pub(crate) fn read(place: &Place, clients: &Clients) {
    let (one, all) = (Image::new(11, 90_000), Image::index(12, 30_000));
    let repository = place.repository("crane/app");
    let tags = clients.ok(CRANE, &["ls", &repository]);
    let tags: Vec<_> = tags.lines().collect();
    assert_eq!(tags, ["1.0", "2.0", "all", "grown"]);
    for (tag, image) in [("1.0", &one), ("2.0", &one), ("all", &all)] {
        let at = place.image("crane/app", tag);
        assert_eq!(clients.ok(CRANE, &["digest", &at]), image.digest);
        let manifest = clients.run(CRANE, &["manifest", &at]).stdout;
        assert_eq!(manifest, image.manifest);
        clients.ok(CRANE, &["validate", "--remote", &at]);
    }
    let pinned = place.pinned("crane/app", &one.digest);
    clients.ok(CRANE, &["pull", "--format=oci", &pinned, "pulled"]);
    let layer = one.layer(0);
    let file = format!(
        "pulled/blobs/sha256/{}",
        layer.trim_start_matches("sha256:")
    );
    let bytes = std::fs::read(clients.home().join(file)).expect("a layer");
    assert_eq!(bytes, one.blobs[1]);
    let pinned = place.pinned("crane/app", &layer);
    assert_eq!(clients.run(CRANE, &["blob", &pinned]).stdout, one.blobs[1]);
    let arm = place.image("crane/app", "all");
    let config = clients.ok(CRANE, &["config", "--platform=linux/arm64", &arm]);
    assert!(config.contains(r#""architecture":"arm64""#), "{config}");
}

/// What is not there.
pub(crate) fn missing(place: &Place, clients: &Clients) {
    let missing = place.image("crane/app", "no-such-tag");
    let error = clients.fails(CRANE, &["manifest", &missing]);
    assert!(error.contains("MANIFEST_UNKNOWN"), "{error}");
}

/// Removes a tag's manifest: it is gone at once, with all its tags, and nothing else is.
pub(crate) fn remove(place: &Place, clients: &Clients) {
    let one = Image::new(11, 90_000);
    let pinned = place.pinned("crane/app", &one.digest);
    clients.ok(CRANE, &["delete", &pinned]);
    let gone = place.image("crane/app", "1.0");
    let error = clients.fails(CRANE, &["manifest", &gone]);
    assert!(error.contains("MANIFEST_UNKNOWN"), "{error}");
    let tags = clients.ok(CRANE, &["ls", &place.repository("crane/app")]);
    assert_eq!(tags.lines().collect::<Vec<_>>(), ["all", "grown"]);
    place.assert_holds("crane/copies/app", "1.0", &one);
}

/// The repositories that there are.
pub(crate) fn catalog(place: &Place, clients: &Clients) -> Vec<String> {
    let text = clients.ok(CRANE, &["catalog", &place.address]);
    text.lines().map(str::to_owned).collect()
}
