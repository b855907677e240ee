//! How large an upload may be, and how many files a repository and versions a chart may have.

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::differences::*;
use super::packages::{Package, package, provenance};
use super::pair::Pair;
use crate::support::http::Call;

fn post(path: &str) -> Call {
    Call::new("POST", path)
}

#[test]
fn a_body_that_is_too_large_is_refused_as_text() {
    let pair = Pair::start(&["--max-upload-size", "1000"]);
    let small = Package::of("name: small\nversion: 1.0.0\n").build();
    assert!(small.len() < 500);
    let large = Package::of("name: large\nversion: 1.0.0\n")
        .file(
            "noise",
            (0..4000_u32)
                .map(|n| ((n * n * 31) >> 3) as u8)
                .collect::<Vec<_>>(),
        )
        .build();
    assert!(large.len() > 1000);
    let signed = "-----BEGIN PGP SIGNED MESSAGE-----\n\nname: x\nversion: 1.0.0\n".to_owned()
        + &"x".repeat(1000);
    pair.send(&post("/api/charts").body(small)).expect(201);
    for call in [
        post("/api/charts").body(large.clone()),
        post("/api/charts").form(&[("chart", "a", &large)]),
        post("/api/charts").chunked(&large, 200),
        post("/api/prov").body(signed),
    ] {
        let reply = pair.send(&call).expect(413);
        assert_eq!(reply.text(), "request too large");
        assert_eq!(
            reply.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
    }
    assert_eq!(pair.stored(), ["small-1.0.0.tgz"]);
}

#[test]
fn a_full_repository_takes_no_more_files() {
    let pair = Pair::start(&[
        "--max-storage-objects",
        "2",
        "--disable-statefiles",
        "--allow-overwrite",
    ]);
    let full = json!({"error": "repo has reached storage limit"});
    pair.send(&post("/api/charts").body(package("one", "1.0.0")))
        .expect(201);
    pair.send(&post("/api/prov").body(provenance("one", "1.0.0")))
        .expect(201);
    let reply = pair.send(&post("/api/charts").body(package("two", "1.0.0")));
    assert_eq!(reply.expect(507).json(), full);
    let reply = pair.send(&post("/api/prov").body(provenance("two", "1.0.0")));
    assert_eq!(reply.expect(507).json(), full);
    // What replaces a file adds none.
    pair.send(&post("/api/charts").body(package("one", "1.0.0")))
        .expect(201);
    pair.send(&post("/api/prov").body(provenance("one", "1.0.0")))
        .expect(201);
    assert_eq!(pair.stored(), ["one-1.0.0.tgz", "one-1.0.0.tgz.prov"]);
    let chart = package("two", "1.0.0");
    let reply = pair.send_unlike(
        &FULL_FOR_FORMS,
        &post("/api/charts").form(&[("chart", "a", &chart)]),
    );
    assert_eq!(reply.expect(507).json(), full);
}

#[test]
fn room_is_made_by_deleting() {
    let pair = Pair::start(&["--max-storage-objects", "1", "--disable-statefiles"]);
    pair.send(&post("/api/charts").body(package("one", "1.0.0")))
        .expect(201);
    pair.send(&post("/api/charts").body(package("two", "1.0.0")))
        .expect(507);
    // It is full, but that is not why this one is refused.
    let reply = pair
        .send(&post("/api/charts").body(package("one", "1.0.0")))
        .expect(409);
    assert_eq!(reply.json(), json!({"error": "file already exists"}));
    pair.send(&post("/api/charts?force").body(package("one", "1.0.0")))
        .expect(201);
    pair.send(&Call::new("DELETE", "/api/charts/one/1.0.0"))
        .expect(200);
    pair.send(&post("/api/charts").body(package("two", "1.0.0")))
        .expect(201);
}

/// Three versions of one chart, an hour apart, and one of another whose name begins alike.
fn aged(folder: &Path) {
    for (age, name, version) in [
        (3, "aged", "0.9.0"),
        (2, "aged", "0.2.0"),
        (1, "aged", "0.3.0"),
        (4, "aged-more", "1.0.0"),
    ] {
        let file = folder.join(format!("{name}-{version}.tgz"));
        std::fs::write(&file, package(name, version)).expect("a package");
        let time = SystemTime::now() - Duration::from_secs(3600 * age);
        let file = std::fs::File::open(file).expect("the package");
        file.set_modified(time).expect("setting its time");
    }
}

#[test]
fn of_too_many_versions_the_oldest_goes() {
    let pair = Pair::newer(aged, &["--per-chart-limit", "3"]);
    pair.send(&post("/api/charts").body(package("aged", "0.4.0")))
        .expect(201);
    assert_eq!(
        pair.stored(),
        [
            "aged-0.2.0.tgz",
            "aged-0.3.0.tgz",
            "aged-0.4.0.tgz",
            "aged-more-1.0.0.tgz"
        ],
        "the oldest file went, not the lowest version"
    );
    pair.get("/api/charts/aged/0.9.0").expect(404);
    pair.get("/api/charts/aged/0.4.0").expect(200);
    pair.get("/api/charts/aged-more/1.0.0").expect(200);
    let chart = package("aged", "0.5.0");
    pair.send(&post("/api/charts").form(&[("chart", "a", &chart)]))
        .expect(201);
    assert_eq!(
        pair.stored(),
        [
            "aged-0.3.0.tgz",
            "aged-0.4.0.tgz",
            "aged-0.5.0.tgz",
            "aged-more-1.0.0.tgz"
        ]
    );
}

#[test]
fn a_push_at_the_limit_loses_nothing_else() {
    // Overwriting evicts nothing.
    let pair = Pair::newer(aged, &["--per-chart-limit", "3"]);
    pair.send_unlike(
        &EVICTION_LOSES,
        &post("/api/charts?force").body(package("aged", "0.9.0")),
    )
    .expect(201);
    let ours = super::pair::stored(&pair.folder());
    assert_eq!(ours.len(), 4, "{ours:?}");
    let list = pair
        .send_ours(&Call::get("/api/charts/aged"))
        .expect(200)
        .json();
    assert_eq!(list.as_array().map(Vec::len), Some(3));
    drop(pair);

    // A refused push evicts nothing, and a form with its provenance file is one version.
    let pair = Pair::newer(aged, &["--per-chart-limit", "3"]);
    pair.send(&post("/api/charts").body("this is nonsense"))
        .expect(400);
    pair.send(&post("/api/charts").body(package("aged", "0.3.0")))
        .expect(409);
    assert_eq!(super::pair::stored(&pair.folder()).len(), 4);
    let chart = package("aged", "0.4.0");
    let prov = provenance("aged", "0.4.0");
    let form = post("/api/charts").form(&[("chart", "a", &chart), ("prov", "b", &prov)]);
    pair.send_unlike(&EVICTION_LOSES, &form).expect(201);
    assert_eq!(
        super::pair::stored(&pair.folder()),
        [
            "aged-0.2.0.tgz",
            "aged-0.3.0.tgz",
            "aged-0.4.0.tgz",
            "aged-0.4.0.tgz.prov",
            "aged-more-1.0.0.tgz"
        ]
    );
    // The provenance file goes with its version.
    for version in ["0.5.0", "0.6.0", "0.7.0"] {
        pair.send_ours(&post("/api/charts").body(package("aged", version)))
            .expect(201);
    }
    assert_eq!(
        super::pair::stored(&pair.folder()),
        [
            "aged-0.5.0.tgz",
            "aged-0.6.0.tgz",
            "aged-0.7.0.tgz",
            "aged-more-1.0.0.tgz"
        ]
    );
}
