//! skopeo: copies between anything and anything.

use serde_json::Value;

use super::Place;
use crate::support::clients::{Clients, Program};
use crate::support::image::Image;

const SKOPEO: Program = Program::Skopeo;

/// Pushes an image and an index, and copies from place to place.
pub(crate) fn push(place: &Place, clients: &Clients) {
    let (one, all) = (Image::new(31, 80_000), Image::index(32, 20_000));
    one.write(&clients.home().join("one"), "1.0");
    all.write(&clients.home().join("all"), "all");
    let at = |name: &str, tag: &str| format!("docker://{}", place.image(name, tag));
    clients.ok(
        SKOPEO,
        &[
            "copy",
            "--preserve-digests",
            "oci:one:1.0",
            &at("skopeo/app", "1.0"),
        ],
    );
    clients.ok(
        SKOPEO,
        &[
            "copy",
            "--all",
            "--preserve-digests",
            "oci:all:all",
            &at("skopeo/app", "all"),
        ],
    );
    clients.ok(
        SKOPEO,
        &[
            "copy",
            "--all",
            "--preserve-digests",
            &at("skopeo/app", "all"),
            &at("skopeo/copies/app", "all"),
        ],
    );
    // Docker's own types, made from the same image.
    clients.ok(
        SKOPEO,
        &[
            "copy",
            "--format=v2s2",
            &at("skopeo/app", "1.0"),
            &at("skopeo/app", "docker"),
        ],
    );
    place.assert_holds("skopeo/app", "1.0", &one);
    place.assert_holds("skopeo/app", "all", &all);
    place.assert_holds("skopeo/copies/app", "all", &all);
}

/// Lists, inspects and pulls what [`push`] left.
pub(crate) fn read(place: &Place, clients: &Clients) {
    let one = Image::new(31, 80_000);
    let at = |tag: &str| format!("docker://{}", place.image("skopeo/app", tag));
    let repository = format!("docker://{}", place.repository("skopeo/app"));
    let listed = clients.ok(SKOPEO, &["list-tags", &repository]);
    let listed: Value = serde_json::from_str(&listed).expect("skopeo prints JSON");
    assert_eq!(listed["Tags"], serde_json::json!(["1.0", "all", "docker"]));
    let raw = clients
        .run(SKOPEO, &["inspect", "--raw", &at("1.0")])
        .stdout;
    assert_eq!(raw, one.manifest);
    let all = Image::index(32, 20_000);
    let raw = clients
        .run(SKOPEO, &["inspect", "--raw", &at("all")])
        .stdout;
    assert_eq!(raw, all.manifest);
    let shown = clients.ok(SKOPEO, &["inspect", &at("1.0")]);
    let shown: Value = serde_json::from_str(&shown).expect("skopeo prints JSON");
    assert_eq!(shown["Digest"], one.digest);
    assert_eq!(shown["Layers"], serde_json::json!([one.layer(0)]));
    let _ = std::fs::remove_dir_all(clients.home().join("copy"));
    clients.ok(
        SKOPEO,
        &["copy", "--preserve-digests", &at("1.0"), "dir:copy"],
    );
    let file = one.layer(0).replace("sha256:", "copy/");
    let bytes = std::fs::read(clients.home().join(file)).expect("a layer");
    assert_eq!(bytes, one.blobs[1]);
    clients.ok(SKOPEO, &["copy", &at("docker"), "dir:copy"]);
}

/// What is not there.
pub(crate) fn missing(place: &Place, clients: &Clients) {
    let at = |tag: &str| format!("docker://{}", place.image("skopeo/app", tag));
    let error = clients.fails(SKOPEO, &["inspect", &at("no-such-tag")]);
    assert!(error.contains("manifest unknown"), "{error}");
}

/// Removes what a tag is.
pub(crate) fn remove(place: &Place, clients: &Clients) {
    let at = format!("docker://{}", place.image("skopeo/app", "docker"));
    clients.ok(SKOPEO, &["delete", &at]);
    clients.fails(SKOPEO, &["inspect", &at]);
    place.assert_holds("skopeo/app", "1.0", &Image::new(31, 80_000));
}
