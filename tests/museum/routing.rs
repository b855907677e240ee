//! Which path is which route: depths 0 to 3 and dynamic, both API prefixes, context paths, names that look like routes.

use std::path::Path;

use serde_json::json;

use super::differences::{EMPTY_SEGMENTS, HEAD_HAS_FIELDS, INFO, METRICS_WITHOUT_FLAG};
use super::packages::{package, provenance};
use super::pair::Pair;
use crate::support::http::Call;

/// `mychart` 0.1.0 with its provenance file, `mychart` 0.2.0 and `other` 1.0.0 below `folder/repo`.
pub(crate) fn fill(folder: &Path, repo: &str) {
    let folder = folder.join(repo);
    std::fs::create_dir_all(&folder).expect("a folder");
    for (name, version) in [
        ("mychart", "0.1.0"),
        ("mychart", "0.2.0"),
        ("other", "1.0.0"),
    ] {
        let file = folder.join(format!("{name}-{version}.tgz"));
        std::fs::write(file, package(name, version)).expect("a package");
    }
    let file = folder.join("mychart-0.1.0.tgz.prov");
    std::fs::write(file, provenance("mychart", "0.1.0")).expect("a provenance file");
}

#[test]
fn every_route_answers_at_depth_0() {
    every_route("", "0");
}

#[test]
fn every_route_answers_at_depth_1() {
    every_route("org", "1");
}

#[test]
fn every_route_answers_at_depth_2() {
    every_route("org/team", "2");
}

#[test]
fn every_route_answers_at_depth_3() {
    every_route("org/team/repo", "3");
}

fn every_route(repo: &str, depth: &str) {
    let pair = Pair::on(|folder| fill(folder, repo), &["--depth", depth]);
    let below = slashed(repo);
    for prefix in ["", &below] {
        pair.get(&format!("{prefix}/health")).expect(200);
        pair.get_unlike(&INFO, &format!("{prefix}/info"))
            .expect(200);
    }
    pair.get(&format!("{below}/index.yaml")).expect(200);
    pair.send(&Call::new("HEAD", &format!("{below}/index.yaml")))
        .expect(200);
    for (file, status) in [
        ("mychart-0.1.0.tgz", 200),
        ("mychart-0.1.0.tgz.prov", 200),
        ("fakechart-0.1.0.tgz", 404),
        ("fakechart-0.1.0.tgz.prov", 404),
        ("mychart-0.1.0.bad", 500),
        ("index-cache.yaml", 500),
        ("mychart-0.1.0", 500),
    ] {
        pair.get(&format!("{below}/charts/{file}")).expect(status);
    }
    for prefix in [format!("/api{below}"), format!("{below}/api")] {
        reads(&pair, &prefix);
        writes(&pair, &prefix);
    }
    let listed = pair.get(&format!("{below}/index.yaml")).expect(200);
    assert!(!listed.text().contains("pushed"), "{}", listed.text());
}

/// Every reading route below `prefix`.
fn reads(pair: &Pair, prefix: &str) {
    for (path, status) in [
        ("charts", 200),
        ("charts/mychart", 200),
        ("charts/fakechart", 404),
        ("charts/mychart/0.1.0", 200),
        ("charts/mychart/latest", 200),
        ("charts/mychart/0.1.1", 404),
        ("charts/fakechart/0.1.0", 404),
    ] {
        pair.get(&format!("{prefix}/{path}")).expect(status);
    }
    for (path, status) in [
        ("charts/mychart", 200),
        ("charts/mychart/0.1.0", 200),
        ("charts/mychart/0.1.1", 404),
        ("charts/fakechart", 404),
        ("charts/fakechart/0.1.0", 404),
    ] {
        pair.send(&Call::new("HEAD", &format!("{prefix}/{path}")))
            .expect(status);
    }
}

/// Push, push again, force, delete, delete again below `prefix`.
fn writes(pair: &Pair, prefix: &str) {
    let charts = format!("{prefix}/charts");
    let body = package("pushed", "1.0.0");
    pair.send(&Call::new("POST", &charts).body(body.clone()))
        .expect(201);
    pair.send(&Call::new("POST", &charts).body(body.clone()))
        .expect(409);
    pair.send(&Call::new("POST", &format!("{charts}?force")).body(body))
        .expect(201);
    let signed = provenance("pushed", "1.0.0");
    let prov = format!("{prefix}/prov");
    pair.send(&Call::new("POST", &prov).body(signed.clone()))
        .expect(201);
    pair.send(&Call::new("POST", &prov).body(signed))
        .expect(409);
    pair.get(&format!("{charts}/pushed/1.0.0")).expect(200);
    let delete = Call::new("DELETE", &format!("{charts}/pushed/1.0.0"));
    pair.send(&delete).expect(200);
    pair.get(&format!("{charts}/pushed")).expect(404);
}

#[test]
fn unknown_routes_and_methods_are_404_before_anything_else() {
    let flags = [
        "--depth",
        "1",
        "--basic-auth-user",
        "u",
        "--basic-auth-pass",
        "p",
    ];
    let pair = Pair::on(|folder| fill(folder, "org"), &flags);
    for path in [
        "/org/index.yaml/",
        "/org/index.yml",
        "/api/charts/a/b/c/d",
        "/api/org/charts/mychart/0.1.0/nothing",
        "/api/org/nothing",
        "/api/",
        "/org/charts",
        "/org/charts/a/mychart-0.1.0.tgz",
        "/a/b/c",
        "/x/y/index.yaml",
        "/static/index.html",
    ] {
        let reply = pair.get(path);
        assert_eq!(
            reply.expect(404).json(),
            json!({"error": "not found"}),
            "{path}"
        );
    }
    // One segment may be a repository, and its page needs a permission.
    for path in ["/api", "/readyz", "/org", "/org/"] {
        pair.get(path).expect(401);
    }
    for path in ["//index.yaml", "/api/org/charts/", "/org/charts/"] {
        pair.get_unlike(&EMPTY_SEGMENTS, path).expect(404);
    }
    for (method, path) in [
        ("PUT", "/org/index.yaml"),
        ("POST", "/org/index.yaml"),
        ("DELETE", "/org/charts/mychart-0.1.0.tgz"),
        ("HEAD", "/org/charts/mychart-0.1.0.tgz"),
        ("HEAD", "/health"),
        ("HEAD", "/"),
        ("PUT", "/api/org/charts"),
        ("PATCH", "/api/org/charts"),
        ("DELETE", "/api/org/charts"),
        ("DELETE", "/api/org/charts/mychart"),
        ("POST", "/api/org/charts/mychart"),
        ("GET", "/api/org/prov"),
        ("HEAD", "/api/org/charts"),
        ("OPTIONS", "/api/org/charts"),
    ] {
        // A body would be no business of theirs.
        let call = Call::new(method, path).header("Content-Length", "0");
        pair.send(&call).expect(404);
    }
}

#[test]
fn a_missing_repository_is_an_empty_one() {
    let pair = Pair::start(&["--depth", "2"]);
    let index = pair.get("/no/such/index.yaml").expect(200);
    assert!(index.text().contains("entries"), "{}", index.text());
    assert_eq!(pair.get("/api/no/such/charts").expect(200).text(), "{}");
    let missing = pair.get("/api/no/such/charts/x").expect(404);
    assert_eq!(missing.json(), json!({"error": "chart not found"}));
    let missing = pair.get("/no/such/charts/x-1.0.0.tgz").expect(404);
    assert_eq!(missing.json(), json!({"error": "object not found"}));
    let left: Vec<_> = std::fs::read_dir(pair.folder())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| name != ".chartgate")
        .collect();
    assert!(left.is_empty(), "reading left {left:?} behind");

    let push = Call::new("POST", "/api/no/such/charts").body(package("first", "0.1.0"));
    pair.send(&push).expect(201);
    pair.get("/no/such/charts/first-0.1.0.tgz").expect(200);
    pair.get("/api/no/such/charts/first").expect(200);
    assert_eq!(pair.stored(), ["no/such/first-0.1.0.tgz"]);
}

#[test]
fn repositories_may_be_called_as_routes_are() {
    let names = [
        "api", "charts", "health", "info", "metrics", "prov", "static",
    ];
    let pair = Pair::on(
        |folder| names.iter().for_each(|name| fill(folder, name)),
        &["--depth", "1"],
    );
    for name in names {
        let index = pair.get(&format!("/{name}/index.yaml")).expect(200);
        assert!(index.text().contains("mychart-0.1.0.tgz"), "{name}");
        pair.get(&format!("/{name}/charts/mychart-0.1.0.tgz"))
            .expect(200);
        pair.get(&format!("/api/{name}/charts")).expect(200);
        pair.get(&format!("/api/{name}/charts/mychart/0.1.0"))
            .expect(200);
    }
    // Two segments, and both mean something.
    pair.get("/api/charts/charts").expect(200);
    pair.get("/api/api/charts").expect(200);
    pair.get("/health").expect(200);
}

#[test]
fn names_of_repositories_are_free() {
    let names = [
        "UPPER",
        "with.dot",
        "under_score",
        "x-y",
        "1",
        "a+b",
        "ünï",
        "with space",
    ];
    let pair = Pair::on(
        |folder| names.iter().for_each(|name| fill(folder, name)),
        &["--depth", "1"],
    );
    for name in names {
        let encoded = percent(name);
        let index = pair.get(&format!("/{encoded}/index.yaml")).expect(200);
        assert!(index.text().contains("mychart-0.1.0.tgz"), "{name}");
        pair.get(&format!("/{encoded}/charts/mychart-0.1.0.tgz"))
            .expect(200);
        let push = Call::new("POST", &format!("/api/{encoded}/charts"));
        pair.send(&push.body(package("pushed", "1.0.0")))
            .expect(201);
    }
    assert_eq!(pair.stored().len(), names.len() * 5);
    // Plus is plus, and an escaped letter is that letter.
    pair.get("/a+b/charts/mychart-0.1.0.tgz").expect(200);
    pair.get("/%55PPER/index.yaml").expect(200);
    pair.get("/%55PPER/charts/mychart-0%2E1%2e0.tgz")
        .expect(200);
}

#[test]
fn dot_segments_lead_nowhere() {
    let pair = Pair::on(
        |folder| {
            fill(folder, "org/repo");
            std::fs::write(folder.join("secret-1.0.0.tgz"), "secret").expect("a file");
        },
        &["--depth", "2"],
    );
    for path in [
        "/org/../index.yaml",
        "/../../index.yaml",
        "/org/%2e%2e/index.yaml",
        "/org/./index.yaml",
        "/org/repo/charts/..%2f..%2fsecret-1.0.0.tgz",
        "/org/repo/charts/../../secret-1.0.0.tgz",
        "/..%2f/repo/index.yaml",
        "/api/org/%2e%2e/charts",
        "/api/../etc/charts",
        "/org/..%2f..%2f/charts/secret-1.0.0.tgz",
    ] {
        let reply = pair.send_ours(&Call::get(path)).expect(404);
        assert!(!reply.text().contains("secret"), "{path}");
    }
    for path in ["/api/org/%2e%2e/charts", "/api/..%2f/..%2f/charts"] {
        let push = Call::new("POST", path).body(package("escaped", "1.0.0"));
        pair.send_ours(&push).expect(404);
    }
    let outside = pair.folder().join("..");
    assert!(!outside.join("escaped-1.0.0.tgz").exists());
    assert!(!pair.folder().join("org/escaped-1.0.0.tgz").exists());
}

#[test]
fn a_context_path_is_before_everything() {
    for context in ["/helm/v1", "helm/v1/"] {
        let flags = ["--depth", "1", "--context-path", context];
        let pair = Pair::on(|folder| fill(folder, "org"), &flags);
        for path in [
            "/helm/v1/health",
            "/helm/v1/org/index.yaml",
            "/helm/v1/org/charts/mychart-0.1.0.tgz",
            "/helm/v1/api/org/charts",
            "/helm/v1/api/org/charts/mychart/latest",
            "/helm/v1/org/api/charts/mychart",
        ] {
            pair.get(path).expect(200);
        }
        for path in [
            "/health",
            "/info",
            "/org/index.yaml",
            "/api/org/charts",
            "/",
            "/helm",
        ] {
            let reply = pair.get(path).expect(404);
            assert_eq!(reply.json(), json!({"error": "not found"}), "{path}");
        }
        pair.send(&Call::new("POST", "/helm/v1/api/org/charts").body(package("new", "1.0.0")))
            .expect(201);
        let index = pair.get("/helm/v1/org/index.yaml").expect(200);
        let index: serde_json::Value = serde_yaml::from_slice(&index.body).expect("YAML");
        assert_eq!(index["serverInfo"], json!({"contextPath": "/helm/v1"}));
        assert_eq!(
            index["entries"]["new"][0]["urls"],
            json!(["charts/new-1.0.0.tgz"])
        );
        assert!(
            pair.send_ours(&Call::get("/helm/v1"))
                .expect(200)
                .header("content-type")
                .is_some_and(|kind| kind.starts_with("text/html"))
        );
    }
}

#[test]
fn dynamic_depth_takes_the_depth_of_the_request() {
    let pair = Pair::on(
        |folder| {
            ["", "a", "a/b", "a/b/c", "a/charts"]
                .iter()
                .for_each(|repo| fill(folder, repo))
        },
        &["--depth-dynamic"],
    );
    for repo in ["", "a", "a/b", "a/b/c"] {
        let below = slashed(repo);
        let index = pair.get(&format!("{below}/index.yaml")).expect(200);
        assert!(index.text().contains("mychart-0.2.0.tgz"), "{repo}");
        pair.get(&format!("{below}/charts/mychart-0.1.0.tgz"))
            .expect(200);
        reads(&pair, &format!("/api{below}"));
        writes(&pair, &format!("/api{below}"));
    }
    // The patterns are tried in order, whatever the method.
    for path in [
        "/api/a/charts/charts",
        "/api/charts/mychart/0.1.0",
        "/api/charts/charts/charts",
        "/api/a/b/charts/mychart/0.1.0",
        "/a/charts/index.yaml",
        "/a/charts/charts/mychart-0.1.0.tgz",
        "/x/health",
        "/a/api/charts",
        "/a/api/charts/mychart",
        "/a/b/api/charts",
        "/api/prov",
        "/some/where",
    ] {
        pair.get(path);
    }
    pair.get("/x/health").expect(404);
    pair.get("/a/api/charts").expect(404);
}

#[test]
fn a_disabled_feature_has_no_route() {
    let pair = Pair::on(|folder| fill(folder, ""), &["--disable-api"]);
    pair.get("/index.yaml").expect(200);
    pair.get("/charts/mychart-0.1.0.tgz").expect(200);
    for path in [
        "/api/charts",
        "/api/charts/mychart",
        "/api/charts/mychart/0.1.0",
    ] {
        let reply = pair.get(path).expect(404);
        assert_eq!(reply.json(), json!({"error": "not found"}));
    }
    pair.send(&Call::new("POST", "/api/charts").body(package("new", "1.0.0")))
        .expect(404);
    pair.send(&Call::new("POST", "/api/prov").body(provenance("new", "1.0.0")))
        .expect(404);
    pair.send(&Call::new("DELETE", "/api/charts/mychart/0.1.0"))
        .expect(404);
    pair.get_unlike(&METRICS_WITHOUT_FLAG, "/metrics")
        .expect(404);
    pair.get("/artifacthub-repo.yml").expect(404);
    assert_eq!(pair.stored().len(), 4);

    let pair = Pair::on(|folder| fill(folder, ""), &["--disable-delete"]);
    let delete = Call::new("DELETE", "/api/charts/mychart/0.1.0");
    let reply = pair.send(&delete).expect(404);
    assert_eq!(reply.json(), json!({"error": "not found"}));
    pair.send(&Call::new("POST", "/api/charts").body(package("new", "1.0.0")))
        .expect(201);
    assert_eq!(pair.stored().len(), 5);
}

#[test]
fn head_says_what_get_would() {
    let pair = Pair::on(|folder| fill(folder, ""), &[]);
    for path in [
        "/index.yaml",
        "/api/charts/mychart",
        "/api/charts/mychart/0.1.0",
    ] {
        let head = Call::new("HEAD", path);
        let reply = pair.send_unlike(&HEAD_HAS_FIELDS, &head).expect(200);
        assert!(reply.body.is_empty());
        let get = pair.get(path).expect(200);
        assert_eq!(reply.header("content-type"), get.header("content-type"));
    }
}

fn slashed(repo: &str) -> String {
    if repo.is_empty() {
        String::new()
    } else {
        format!("/{repo}")
    }
}

/// Everything but letters, digits and a few marks, escaped.
fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
