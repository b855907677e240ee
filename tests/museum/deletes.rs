//! DELETE: literal versions, provenance files, what is not there.

use serde_json::json;

use super::differences::*;
use super::packages::{package, provenance};
use super::pair::Pair;
use super::routing::fill;
use crate::support::http::Call;

fn delete(path: &str) -> Call {
    Call::new("DELETE", path)
}

#[test]
fn a_version_goes_with_its_provenance_file() {
    let pair = Pair::on(|folder| fill(folder, ""), &[]);
    let reply = pair.send(&delete("/api/charts/mychart/0.1.0")).expect(200);
    assert_eq!(reply.json(), json!({"deleted": true}));
    assert_eq!(pair.stored(), ["mychart-0.2.0.tgz", "other-1.0.0.tgz"]);
    pair.get("/charts/mychart-0.1.0.tgz").expect(404);
    pair.get("/charts/mychart-0.1.0.tgz.prov").expect(404);
    pair.get("/api/charts/mychart/0.1.0").expect(404);
    let list = pair.get("/api/charts/mychart").expect(200).json();
    assert_eq!(list.as_array().map(Vec::len), Some(1));
    pair.send(&delete("/api/charts/mychart/0.2.0")).expect(200);
    pair.get("/api/charts/mychart").expect(404);
    let index = pair.get("/index.yaml").expect(200);
    assert!(!index.text().contains("mychart"), "{}", index.text());
    pair.send(&delete("/api/charts/other/1.0.0")).expect(200);
    assert_eq!(pair.get("/api/charts").expect(200).text(), "{}");
    // What went may come back.
    pair.send(&Call::new("POST", "/api/charts").body(package("other", "1.0.0")))
        .expect(201);
    pair.get("/api/charts/other/1.0.0").expect(200);
}

#[test]
fn only_the_very_version_is_deleted() {
    let pair = Pair::on(
        |folder| {
            fill(folder, "");
            let file = folder.join("vee-v1.0.0.tgz");
            std::fs::write(file, package("vee", "v1.0.0")).expect("a package");
            let file = folder.join("odd.tgz");
            std::fs::write(file, package("strange", "1.0.0")).expect("a package");
        },
        &[],
    );
    for path in [
        "/api/charts/mychart/latest",
        "/api/charts/mychart/%5E0.1",
        "/api/charts/mychart/0.1",
        "/api/charts/mychart/9.9.9",
        "/api/charts/nothing/1.0.0",
        "/api/charts/vee/1.0.0",
    ] {
        let reply = pair
            .send_unlike(&MISSING_TO_DELETE, &delete(path))
            .expect(404);
        let error = reply.json()["error"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(!error.is_empty() && !error.contains("/tmp"), "{error}");
    }
    assert_eq!(pair.stored().len(), 6);
    pair.send(&delete("/api/charts/vee/v1.0.0")).expect(200);
    assert_eq!(pair.stored().len(), 5);
    let odd = delete("/api/charts/strange/1.0.0");
    pair.send_unlike(&DELETED_BY_VERSION, &odd).expect(200);
    assert!(!pair.folder().join("odd.tgz").exists());
}

#[test]
fn a_provenance_file_alone_is_not_a_version() {
    let pair = Pair::start(&[]);
    pair.send(&Call::new("POST", "/api/prov").body(provenance("lone", "1.0.0")))
        .expect(201);
    pair.send_unlike(&MISSING_TO_DELETE, &delete("/api/charts/lone/1.0.0"))
        .expect(404);
}

#[test]
fn build_metadata_is_deleted_as_it_is_written() {
    let pair = Pair::start(&[]);
    for version in ["1.0.0+a", "1.0.0+b", "1.0.0"] {
        pair.send(&Call::new("POST", "/api/charts").body(package("plus", version)))
            .expect(201);
    }
    pair.send(&delete("/api/charts/plus/1.0.0+a")).expect(200);
    pair.send(&delete("/api/charts/plus/1.0.0%2Bb")).expect(200);
    assert_eq!(pair.stored(), ["plus-1.0.0.tgz"]);
}
