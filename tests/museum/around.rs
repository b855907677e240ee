//! Around the charts: welcome page and templates, artifacthub-repo.yml, health, info, metrics, CORS, request ids.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::differences::*;
use super::packages::package;
use super::pair::Pair;
use super::routing::fill;
use crate::support::http::{Call, Reply};

#[test]
fn health_and_info_need_nothing() {
    let pair = Pair::start(&["--basic-auth-user", "u", "--basic-auth-pass", "p"]);
    let reply = pair.get("/health").expect(200);
    assert_eq!(reply.json(), json!({"healthy": true}));
    let reply = pair.get_unlike(&INFO, "/info").expect(200).json();
    assert_eq!(reply["version"], "0.16.5", "no leading v");
}

#[test]
fn requests_keep_the_name_that_they_were_given() {
    let pair = Pair::on(|folder| fill(folder, ""), &[]);
    for path in [
        "/index.yaml",
        "/api/charts",
        "/charts/none-1.0.0.tgz",
        "/nothing",
        "/health",
    ] {
        let call = Call::get(path).header("X-Request-Id", "my-own-id");
        let reply = pair.send(&call);
        assert_eq!(reply.header("x-request-id"), Some("my-own-id"), "{path}");
    }
    let ids: BTreeSet<_> = (0..5)
        .filter_map(|_| {
            pair.get("/index.yaml")
                .header("x-request-id")
                .map(str::to_owned)
        })
        .collect();
    assert_eq!(ids.len(), 5);
    assert!(ids.iter().all(|id| id.len() >= 16), "{ids:?}");
}

#[test]
fn the_root_says_hello() {
    let pair = Pair::start(&["--depth", "1"]);
    // A page of our own; any path of as many segments as a repository has is the page, too.
    for path in ["/", "/org1", "/index.yaml"] {
        let reply = pair.get_unlike(&WELCOME_PAGE, path).expect(200);
        assert!(kind(&reply).starts_with("text/html"), "{path}");
        assert!(!reply.body.is_empty());
    }
}

fn kind(reply: &Reply) -> &str {
    reply.header("content-type").unwrap_or_default()
}

#[test]
fn the_operators_own_page_takes_its_place() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("index.html"), "<h1>charts</h1>\n").expect("a page");
    let files = folder.path().join("static");
    std::fs::create_dir_all(files.join("deep")).expect("a folder");
    for (name, text) in [
        ("main.css", "b { color: red }"),
        ("deep/a.js", "1"),
        ("logo.svg", "<svg/>"),
        ("a.txt", "text"),
        ("blob.bin", "\u{1}"),
    ] {
        std::fs::write(files.join(name), text).expect("a file");
    }
    std::fs::write(folder.path().join("secret"), "secret").expect("a file");
    let path = folder.path().to_str().expect("a UTF-8 path");
    let pair = Pair::newer(|folder| fill(folder, ""), &["--web-template-path", path]);
    let reply = pair.get("/").expect(200);
    assert_eq!(reply.text(), "<h1>charts</h1>\n");
    assert_eq!(kind(&reply), "text/html; charset=utf-8");
    for (file, expected) in [
        ("main.css", "text/css"),
        ("logo.svg", "image/svg+xml"),
        ("a.txt", "text/plain"),
    ] {
        let reply = pair.get(&format!("/static/{file}")).expect(200);
        assert!(kind(&reply).starts_with(expected), "{file}: {reply:?}");
        assert!(reply.header("last-modified").is_some(), "{file}");
    }
    let script = pair
        .get_unlike(&TYPE_OF_SCRIPTS, "/static/deep/a.js")
        .expect(200);
    assert!(kind(&script).contains("javascript"), "{script:?}");
    let part = Call::get("/static/main.css").header("Range", "bytes=0-3");
    assert_eq!(pair.send(&part).expect(206).text(), "b { ");
    pair.get("/static/none.css").expect(404);
    for path in [
        "/static/../secret",
        "/static/..%2fsecret",
        "/static/%2e%2e/secret",
        "/static/deep/../../secret",
    ] {
        let reply = pair.send_ours(&Call::get(path)).expect(404);
        assert!(!reply.text().contains("secret"));
    }
    pair.get("/index.yaml").expect(200);

    // A folder without pages is as none.
    let empty = tempfile::tempdir().expect("a temporary folder");
    let path = empty.path().to_str().expect("a UTF-8 path");
    let pair = Pair::newer(|_| (), &["--web-template-path", path]);
    pair.get_unlike(&WELCOME_PAGE, "/").expect(200);
}

/// The file as Artifact Hub reads it.
fn hub_id(reply: &Reply) -> serde_json::Value {
    serde_yaml::from_slice(&reply.body).expect("YAML")
}

#[test]
fn artifact_hub_finds_its_file() {
    let pair = Pair::newer(
        |folder| fill(folder, "org1"),
        &["--depth", "1", "--artifact-hub-repo-id", "org1=ref-id"],
    );
    let reply = pair.get("/org1/artifacthub-repo.yml").expect(200);
    assert_eq!(hub_id(&reply), json!({"repositoryID": "ref-id"}));
    assert_eq!(kind(&reply), "application/x-yaml");
    let reply = pair.get("/org2/artifacthub-repo.yml").expect(404);
    assert_eq!(
        reply.json(),
        json!({"error": "Artifact Hub repository ID not found"})
    );

    let flags = ["--artifact-hub-repo-id", "1234"];
    let pair = Pair::newer(|_| (), &flags);
    let reply = pair.get("/artifacthub-repo.yml").expect(200);
    assert_eq!(hub_id(&reply), json!({"repositoryID": "1234"}));

    let flags = [
        "--depth",
        "2",
        "--artifact-hub-repo-id",
        "a/b=one",
        "--artifact-hub-repo-id",
        "c/d=two",
    ];
    let pair = Pair::newer(|_| (), &flags);
    for (path, id) in [("a/b", "one"), ("c/d", "two")] {
        let reply = pair.get(&format!("/{path}/artifacthub-repo.yml"));
        assert_eq!(hub_id(&reply), json!({"repositoryID": id}));
    }
    pair.get("/artifacthub-repo.yml").expect(404);
    pair.get("/e/f/artifacthub-repo.yml").expect(404);
}

#[test]
fn other_sites_may_read_the_api_where_the_operator_says_so() {
    let flags = [
        "--cors-alloworigin",
        "https://ui.example.com",
        "--basic-auth-user",
        "u",
        "--basic-auth-pass",
        "p",
    ];
    let pair = Pair::on(|folder| fill(folder, ""), &flags);
    let allowed = |reply: &Reply| {
        reply
            .header("access-control-allow-origin")
            .map(str::to_owned)
    };
    let mine = |call: Call| call.header("Authorization", "Basic dTpw");
    let ours = Some("https://ui.example.com".to_owned());
    for path in [
        "/api/charts",
        "/api/charts/mychart/0.1.0",
        "/api/charts/none",
    ] {
        assert_eq!(allowed(&pair.send(&mine(Call::get(path)))), ours, "{path}");
    }
    let push = mine(Call::new("POST", "/api/charts").body(package("new", "1.0.0")));
    assert_eq!(allowed(&pair.send(&push).expect(201)), ours);
    assert_eq!(allowed(&pair.send(&mine(Call::get("/index.yaml")))), None);
    // A page can read why it was refused, and ask first.
    let refused = pair.send_unlike(&CORS_ON_ERRORS, &Call::get("/api/charts"));
    assert_eq!(allowed(&refused.expect(401)), ours);
    let ask = Call::new("OPTIONS", "/api/charts")
        .header("Origin", "https://ui.example.com")
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "authorization");
    let reply = pair.send_unlike(&CORS_PREFLIGHT, &ask);
    assert!((200..300).contains(&reply.status), "{reply:?}");
    assert_eq!(allowed(&reply), ours);
    let methods = reply
        .header("access-control-allow-methods")
        .unwrap_or_default();
    assert!(methods.contains("POST"), "{reply:?}");

    let pair = Pair::on(|folder| fill(folder, ""), &[]);
    assert_eq!(allowed(&pair.get("/api/charts")), None);
}

#[test]
fn metrics_have_chartmuseums_names() {
    let flags = [
        "--enable-metrics",
        "--depth",
        "1",
        "--basic-auth-user",
        "u",
        "--basic-auth-pass",
        "p",
    ];
    let pair = Pair::newer(|folder| fill(folder, "a"), &flags);
    let mine = |call: Call| call.header("Authorization", "Basic dTpw");
    pair.send(&mine(Call::get("/a/index.yaml"))).expect(200);
    pair.send(&mine(Call::get("/api/a/charts/mychart")))
        .expect(200);
    pair.send(&mine(Call::get("/api/a/charts/none")))
        .expect(404);
    pair.send(&mine(Call::get("/bad-url/x/y/z"))).expect(404);
    let push = Call::new("POST", "/api/a/charts").body(package("new", "1.0.0"));
    pair.send(&mine(push)).expect(201);
    pair.send(&mine(Call::get("/a/index.yaml"))).expect(200);
    // A request is counted when its answer is on its way; the counts of the last ones may come a moment later.
    crate::support::until(
        "the last requests to be counted",
        Duration::from_secs(5),
        || {
            let text = pair.send_ours(&Call::get("/metrics")).text();
            let count = |words: &[&str]| {
                let mut lines = text.lines();
                lines.any(|line| {
                    line.starts_with("chartmuseum_requests_total{")
                        && words.iter().all(|word| line.contains(word))
                })
            };
            let counted = count(&["/:repo/index.yaml", "} 2"]) && count(&["code=\"201\""]);
            counted.then_some(())
        },
    );
    // Neither below a repository nor guarded.
    let reply = pair.get_unlike(&METRICS_TEXT, "/metrics").expect(200);
    assert!(kind(&reply).starts_with("text/plain"), "{reply:?}");
    let text = reply.text();
    for line in [
        "# TYPE chartmuseum_charts_served_total gauge",
        "# TYPE chartmuseum_chart_versions_served_total gauge",
        "# TYPE chartmuseum_requests_total counter",
        "# TYPE chartmuseum_request_duration_seconds histogram",
        "# TYPE chartmuseum_request_size_bytes summary",
        "# TYPE chartmuseum_response_size_bytes summary",
        "chartmuseum_charts_served_total{repo=\"a\"} 3",
        "chartmuseum_chart_versions_served_total{repo=\"a\"} 4",
    ] {
        assert!(
            text.lines().any(|have| have == line),
            "no line {line:?} in\n{text}"
        );
    }
    assert!(!text.contains("bad-url"), "{text}");
    let requests: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("chartmuseum_requests_total{"))
        .collect();
    let has = |words: &[&str]| {
        requests
            .iter()
            .any(|line| words.iter().all(|word| line.contains(word)))
    };
    assert!(
        has(&["code=\"200\"", "method=\"GET\"", "/:repo/index.yaml", "} 2"]),
        "{requests:#?}"
    );
    assert!(has(&["code=\"201\"", "method=\"POST\""]), "{requests:#?}");
    assert!(!has(&["code=\"404\""]), "{requests:#?}");
    assert!(
        text.contains("chartmuseum_request_duration_seconds_bucket{"),
        "{text}"
    );
    assert!(
        text.contains("chartmuseum_response_size_bytes_sum "),
        "{text}"
    );

    let flags = ["--enable-metrics", "--context-path", "/helm"];
    let pair = Pair::newer(|folder| fill(folder, ""), &flags);
    pair.get("/helm/index.yaml").expect(200);
    let text = pair
        .get_unlike(&METRICS_TEXT, "/metrics")
        .expect(200)
        .text();
    assert!(
        text.contains("chartmuseum_charts_served_total{repo=\"\"} 2"),
        "{text}"
    );
    pair.get("/helm/metrics").expect(404);
}

#[test]
fn metrics_are_off_unless_asked_for() {
    let pair = Pair::start(&[]);
    pair.get_unlike(&METRICS_WITHOUT_FLAG, "/metrics")
        .expect(404);
    pair.get_unlike(&METRICS_SLASH, "/metrics/").expect(404);
}
