//! index.yaml: its document, URLs and forms, what is listed from folders that others have written, and `--gen-index`.

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::differences::{BROKEN_IS_NOT_SERVED, CANONICAL_URLS, SAME_VERSION_TWICE};
use super::packages::{Package, package, provenance};
use super::pair::Pair;
use super::program::Which;
use super::routing::fill;
use crate::support::corpus;
use crate::support::http::Call;

/// The document as a client reads it: strictly, unknown fields and duplicate keys are errors.
pub(crate) fn strict(bytes: &[u8]) -> Value {
    let index: Value =
        serde_yaml::from_slice(bytes).expect("an index in YAML, without duplicate keys");
    let known = [
        "serverInfo",
        "apiVersion",
        "generated",
        "entries",
        "publicKeys",
        "annotations",
    ];
    only(&index, &known);
    assert_eq!(index["apiVersion"], "v1");
    let time = index["generated"].as_str().expect("`generated`");
    time.parse::<jiff::Timestamp>().expect("a time");
    for (name, versions) in index["entries"].as_object().expect("`entries`") {
        for version in versions.as_array().expect("a list of versions") {
            only(
                version,
                &[
                    "name",
                    "home",
                    "sources",
                    "version",
                    "description",
                    "keywords",
                    "maintainers",
                    "icon",
                    "apiVersion",
                    "condition",
                    "tags",
                    "appVersion",
                    "deprecated",
                    "annotations",
                    "kubeVersion",
                    "dependencies",
                    "type",
                    "urls",
                    "created",
                    "removed",
                    "digest",
                ],
            );
            assert_eq!(version["name"], name.as_str());
            let created = version["created"].as_str().expect("`created`");
            created.parse::<jiff::Timestamp>().expect("a time");
            assert_eq!(version["urls"].as_array().map(Vec::len), Some(1));
            assert_eq!(version["digest"].as_str().map(str::len), Some(64));
        }
    }
    index
}

#[track_caller]
fn only(value: &Value, known: &[&str]) {
    for name in value.as_object().expect("a mapping").keys() {
        assert!(
            known.contains(&name.as_str()),
            "`{name}` would fail a strict reader"
        );
    }
}

#[test]
fn an_empty_index_is_a_whole_document() {
    let pair = Pair::start(&[]);
    let reply = pair.get("/index.yaml").expect(200);
    assert_eq!(reply.header("content-type"), Some("application/x-yaml"));
    let index = strict(&reply.body);
    assert_eq!(index["entries"], json!({}));
    assert_eq!(index["serverInfo"], json!({}));
}

#[test]
fn the_index_lists_what_is_in_the_folder() {
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
    let pair = Pair::on(
        |folder| {
            fill(folder, "");
            fill(folder, "deeper");
            let file = std::fs::File::open(folder.join("other-1.0.0.tgz")).expect("the package");
            file.set_modified(time).expect("setting its time");
        },
        &[],
    );
    let reply = pair.get("/index.yaml").expect(200);
    let index = strict(&reply.body);
    let entries = index["entries"].as_object().expect("a mapping");
    assert_eq!(entries.keys().collect::<Vec<_>>(), ["mychart", "other"]);
    let versions: Vec<_> = entries["mychart"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|version| &version["version"])
        .collect();
    assert_eq!(versions, ["0.2.0", "0.1.0"]);
    let other = &entries["other"][0];
    assert_eq!(other["created"], "2023-11-14T22:13:20.123456789Z");
    assert_eq!(other["digest"], corpus::sha256(&package("other", "1.0.0")));
    assert_eq!(other["urls"], json!(["charts/other-1.0.0.tgz"]));
    assert_eq!(
        other["maintainers"],
        json!([{"name": "someone", "email": "someone@example.com"}])
    );
}

#[test]
fn chart_urls_may_be_absolute() {
    for (flags, repo, expected) in [
        (
            vec!["--chart-url", "https://c.example.com"],
            "",
            "https://c.example.com/charts/mychart-0.1.0.tgz",
        ),
        (
            vec!["--chart-url", "https://c.example.com/", "--depth", "2"],
            "org1/repoa",
            "https://c.example.com/org1/repoa/charts/mychart-0.1.0.tgz",
        ),
        (
            vec![
                "--chart-url",
                "https://c.example.com/x",
                "--depth",
                "2",
                "--context-path",
                "/helm",
            ],
            "org1/repoa",
            "https://c.example.com/x/helm/org1/repoa/charts/mychart-0.1.0.tgz",
        ),
    ] {
        let pair = Pair::on(|folder| fill(folder, repo), &flags);
        let context = if flags.contains(&"/helm") {
            "/helm"
        } else {
            ""
        };
        let below = if repo.is_empty() {
            String::new()
        } else {
            format!("/{repo}")
        };
        let index = strict(
            &pair
                .get(&format!("{context}{below}/index.yaml"))
                .expect(200)
                .body,
        );
        assert_eq!(index["entries"]["mychart"][1]["urls"], json!([expected]));
        let version = pair
            .get(&format!("{context}/api{below}/charts/mychart/0.1.0"))
            .expect(200);
        assert_eq!(version.json()["urls"], json!([expected]));
        let push = Call::new("POST", &format!("{context}/api{below}/charts"));
        pair.send(&push.body(package("mychart", "0.3.0")))
            .expect(201);
        let index = strict(
            &pair
                .get(&format!("{context}{below}/index.yaml"))
                .expect(200)
                .body,
        );
        let url = expected.replace("0.1.0", "0.3.0");
        assert_eq!(index["entries"]["mychart"][0]["urls"], json!([url]));
    }
}

#[test]
fn the_index_may_be_json() {
    let pair = Pair::newer(|folder| fill(folder, ""), &["--json-index"]);
    let reply = pair.get("/index.yaml").expect(200);
    assert_eq!(reply.header("content-type"), Some("application/x-yaml"));
    let index: Value = serde_json::from_slice(&reply.body).expect("JSON");
    assert_eq!(index, strict(&reply.body));
    assert_eq!(
        index["entries"]["mychart"].as_array().map(Vec::len),
        Some(2)
    );
}

#[test]
fn a_folder_that_others_have_filled_is_served_as_it_is() {
    let fill = |folder: &Path| {
        let write = |file: &str, bytes: &[u8]| {
            std::fs::write(folder.join(file), bytes).expect("a file");
        };
        write("whatever.tgz", &package("odd", "1.0.0"));
        write("keda-2.14.3 copy.tgz", &package("spaced", "2.14.3"));
        write("UPPER-1.0.0.tgz", &package("UPPER", "1.0.0"));
        write("plus-1.0.0+b.1.tgz", &package("plus", "1.0.0+b.1"));
        write("v-v1.2.3.tgz", &package("v", "v1.2.3"));
        write("short-1.2.tgz", &package("short", "1.2"));
        write("naïve-1.0.0.tgz", &package("naive", "1.0.0"));
        write("broken-1.0.0.tgz", b"this is no gzip");
        write("empty-1.0.0.tgz", b"");
        write("notes.txt", b"notes");
        write("index.yaml", b"not ours");
        write("shouting-1.0.0.TGZ", &package("shouting", "1.0.0"));
        write("plus-1.0.0+b.1.tgz.prov", &provenance("plus", "1.0.0+b.1"));
        write("alone-1.0.0.tgz.prov", &provenance("alone", "1.0.0"));
        std::fs::create_dir(folder.join("folder-1.0.0.tgz")).expect("a folder");
    };
    let pair = Pair::on(fill, &[]);
    let before = listing(&pair.folder());
    let index = strict(
        &pair
            .get_unlike(&CANONICAL_URLS, "/index.yaml")
            .expect(200)
            .body,
    );
    let names: Vec<_> = index["entries"]
        .as_object()
        .expect("a mapping")
        .keys()
        .collect();
    assert_eq!(
        names,
        ["UPPER", "naive", "odd", "plus", "short", "spaced", "v"]
    );
    for (name, url) in [
        ("odd", "charts/odd-1.0.0.tgz"),
        ("plus", "charts/plus-1.0.0+b.1.tgz"),
        ("v", "charts/v-v1.2.3.tgz"),
        ("short", "charts/short-1.2.tgz"),
    ] {
        assert_eq!(index["entries"][name][0]["urls"], json!([url]));
        let path = format!("/{url}");
        pair.send_ours(&Call::get(&path)).expect(200);
    }
    for path in [
        "/charts/whatever.tgz",
        "/charts/plus-1.0.0+b.1.tgz",
        "/charts/v-v1.2.3.tgz",
        "/charts/short-1.2.tgz",
        "/charts/keda-2.14.3%20copy.tgz",
        "/charts/na%C3%AFve-1.0.0.tgz",
        "/charts/plus-1.0.0+b.1.tgz.prov",
        "/charts/alone-1.0.0.tgz.prov",
        "/api/charts/v/1.2.3",
        "/api/charts/short/1.2.0",
    ] {
        pair.get(path).expect(200);
    }
    pair.get_unlike(&BROKEN_IS_NOT_SERVED, "/charts/broken-1.0.0.tgz")
        .expect(404);
    for path in [
        "/charts/notes.txt",
        "/charts/index.yaml",
        "/charts/shouting-1.0.0.TGZ",
    ] {
        pair.get(path).expect(500);
    }
    pair.get("/charts/folder-1.0.0.tgz").expect(404);
    assert_eq!(
        listing(&pair.folder()),
        before,
        "nothing is renamed, added or touched"
    );
}

/// Names, sizes and times of everything directly in a folder, but for what is ours or ChartMuseum's own.
fn listing(folder: &Path) -> Vec<(String, u64, SystemTime)> {
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            let data = entry.metadata().expect("its metadata");
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, data.len(), data.modified().expect("its time"))
        })
        .filter(|(name, ..)| name != ".chartgate" && name != "index-cache.yaml")
        .collect();
    all.sort();
    all
}

#[test]
fn of_two_files_with_one_version_the_well_named_one_counts() {
    let pair = Pair::on(
        |folder| {
            let other = Package::new("twice", "1.0.0").file("extra", "x").build();
            std::fs::write(folder.join("aaa.tgz"), &other).expect("a package");
            std::fs::write(folder.join("twice-1.0.0.tgz"), package("twice", "1.0.0"))
                .expect("a package");
            std::fs::write(folder.join("zzz.tgz"), &other).expect("a package");
        },
        &[],
    );
    let reply = pair.send_unlike(&SAME_VERSION_TWICE, &Call::get("/index.yaml"));
    let index = strict(&reply.expect(200).body);
    assert_eq!(index["entries"]["twice"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        index["entries"]["twice"][0]["urls"],
        json!(["charts/twice-1.0.0.tgz"])
    );
}

#[test]
fn a_state_file_of_any_kind_does_no_harm() {
    for text in [
        "",
        "is this valid yaml? maybe. but it is no index",
        "apiVersion: v1\nentries:\n  gone:\n  - name: gone\n    version: 1.0.0\n    urls: [charts/gone-1.0.0.tgz]\ngenerated: \"2018-05-23T15:14:46-05:00\"\n",
        "{\"apiVersion\":\"v1\",\"entries\":{}}",
        "\u{0}\u{1}",
    ] {
        // ChartMuseum serves what such a file says, or dies of it.
        let folder = tempfile::tempdir().expect("a temporary folder");
        fill(folder.path(), "");
        std::fs::write(folder.path().join("index-cache.yaml"), text).expect("a file");
        let ours = super::program::Program::on_folder(&Which::Chartgate, folder.path(), &[]);
        let index = strict(&ours.get("/index.yaml").expect(200).body);
        let names: Vec<_> = index["entries"]
            .as_object()
            .expect("a mapping")
            .keys()
            .collect();
        assert_eq!(names, ["mychart", "other"], "{text:?}");
    }
}

#[test]
fn gen_index_prints_the_index_and_ends() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fill(folder.path(), "");
    let path = folder.path().to_str().expect("a UTF-8 path");
    let flags = [
        "--storage",
        "local",
        "--storage-local-rootdir",
        path,
        "--gen-index",
        "--port",
        "0",
    ];
    let mut printed = Vec::new();
    for which in std::iter::once(Which::Chartgate).chain(Which::rival()) {
        let output = which.run(&flags);
        assert_eq!(output.status.code(), Some(0), "{which:?}: {output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        // ChartMuseum's log goes to the same place.
        let at = ["apiVersion", "\"apiVersion", "{\"apiVersion"]
            .iter()
            .find_map(|start| {
                text.match_indices(start)
                    .find(|(at, _)| text[..*at].is_empty() || text[..*at].ends_with('\n'))
            })
            .map(|(at, _)| at)
            .expect("an index");
        printed.push(strict(&text.as_bytes()[at..])["entries"].clone());
    }
    assert_eq!(printed[0]["mychart"].as_array().map(Vec::len), Some(2));
    for other in &printed[1..] {
        assert_eq!(printed[0], *other);
    }
}
