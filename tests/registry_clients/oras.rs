//! oras: artifacts of any kind, and what refers to them.

use serde_json::Value;

use super::Place;
use crate::support::clients::{Clients, Program};
use crate::support::image::Image;

const ORAS: Program = Program::Oras;
const SBOM: &str = "application/vnd.example.sbom";

/// Pushes an artifact, attaches to it, copies it with all that refers to it.
pub(crate) fn push(place: &Place, clients: &Clients) {
    let home = clients.home();
    std::fs::write(home.join("data.bin"), vec![7; 70_000]).expect("writable");
    std::fs::write(home.join("sbom.json"), r#"{"packages":[]}"#).expect("writable");
    std::fs::write(home.join("signature"), "signed").expect("writable");
    let at = |tag: &str| place.image("oras/thing", tag);
    let thing = at("1.0");
    clients.ok(
        ORAS,
        &[
            "push",
            "--plain-http",
            "--artifact-type=application/vnd.example.thing",
            "--annotation=org.example.note=one",
            &thing,
            "data.bin:application/vnd.example.data",
        ],
    );
    attach(clients, &thing, SBOM, "sbom.json");
    attach(
        clients,
        &thing,
        "application/vnd.example.signature",
        "signature",
    );
    clients.ok(ORAS, &["tag", "--plain-http", &thing, "1", "latest"]);
    let copy = place.image("oras/copies/thing", "1.0");
    clients.ok(
        ORAS,
        &[
            "cp",
            "--recursive",
            "--from-plain-http",
            "--to-plain-http",
            &thing,
            &copy,
        ],
    );
    Image::index(21, 20_000).write(&home.join("all"), "all");
    clients.ok(
        ORAS,
        &[
            "cp",
            "--from-oci-layout",
            "--to-plain-http",
            "all:all",
            &at("all"),
        ],
    );
    place.assert_holds("oras/thing", "all", &Image::index(21, 20_000));
}

fn attach(clients: &Clients, to: &str, kind: &str, file: &str) {
    let kind = format!("--artifact-type={kind}");
    clients.ok(ORAS, &["attach", "--plain-http", &kind, to, file]);
}

/// Lists, discovers and pulls what [`push`] left.
pub(crate) fn read(place: &Place, clients: &Clients) {
    let repository = place.repository("oras/thing");
    let tags = clients.ok(ORAS, &["repo", "tags", "--plain-http", &repository]);
    let tags: Vec<_> = tags
        .lines()
        // Where a registry has no API for it, oras leaves a tag for what refers to an image.
        .filter(|tag| !tag.starts_with("sha256-"))
        .collect();
    assert_eq!(tags, ["1", "1.0", "all", "latest"]);
    for repository in ["oras/thing", "oras/copies/thing"] {
        let thing = place.image(repository, "1.0");
        assert_eq!(
            referrers(clients, &thing, &[]),
            [SBOM, "application/vnd.example.signature"]
        );
        let only = format!("--artifact-type={SBOM}");
        assert_eq!(referrers(clients, &thing, &[&only]), [SBOM]);
        let pulled = clients.home().join("pulled");
        let _ = std::fs::remove_dir_all(&pulled);
        clients.ok(ORAS, &["pull", "--plain-http", "--output=pulled", &thing]);
        let bytes = std::fs::read(pulled.join("data.bin")).expect("a file");
        assert_eq!(bytes, vec![7; 70_000]);
    }
    let all = place.image("oras/thing", "all");
    let digest = clients.ok(ORAS, &["resolve", "--plain-http", &all]);
    assert_eq!(digest, Image::index(21, 20_000).digest);
    let manifest = clients.run(ORAS, &["manifest", "fetch", "--plain-http", &all]);
    assert_eq!(manifest.stdout, Image::index(21, 20_000).manifest);
}

/// The types of what refers to an image, sorted.
fn referrers(clients: &Clients, image: &str, more: &[&str]) -> Vec<String> {
    let mut arguments = vec!["discover", "--plain-http", "--format=json"];
    arguments.extend(more);
    arguments.push(image);
    let text = clients.ok(ORAS, &arguments);
    let found: Value = serde_json::from_str(&text).expect("oras prints JSON");
    let list = found["referrers"]
        .as_array()
        .or(found["manifests"].as_array());
    let mut kinds: Vec<_> = list
        .unwrap_or_else(|| panic!("no list in {text}"))
        .iter()
        .map(|one| one["artifactType"].as_str().expect("a type").to_owned())
        .collect();
    kinds.sort();
    kinds
}

/// Removes an artifact; what refers to it stays.
pub(crate) fn remove(place: &Place, clients: &Clients) {
    let thing = place.image("oras/thing", "1.0");
    let digest = clients.ok(ORAS, &["resolve", "--plain-http", &thing]);
    let pinned = place.pinned("oras/thing", &digest);
    clients.ok(
        ORAS,
        &["manifest", "delete", "--plain-http", "--force", &pinned],
    );
    clients.fails(ORAS, &["manifest", "fetch", "--plain-http", &thing]);
    let copy = place.image("oras/copies/thing", "1.0");
    assert_eq!(referrers(clients, &copy, &[]).len(), 2);
}
