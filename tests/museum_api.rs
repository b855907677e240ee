//! The ChartMuseum API of native tenants: merged with upstreams, at any depth, below both prefixes.

use serde_json::{Value, json};

use crate::oracle::local;
use crate::support::fake::{FakeChart, FakeHelm, FakeUpstream, package};
use crate::support::gateway::Gateway;
use crate::support::http::{Call, Reply};

/// A tenant that takes everything from everybody, merged with these upstreams.
fn open(upstreams: &[&str]) -> Value {
    json!({
        "hosted": {}, "charts": upstreams,
        "access": {"anonymous": ["pull", "push", "delete"]},
    })
}

fn upstream() -> FakeUpstream {
    let values = b"# the colour of things\ncolour: on\nmode: 0644\nquoted: \"on\"\n".as_slice();
    let chart = package("web", "2.1.0", &[]);
    let odd = FakeChart::new("odd", "1.0.0").archive(archive_with(values));
    FakeHelm::new()
        .chart("web", "1.0.0")
        .with(FakeChart::new("web", "2.1.0").archive(chart))
        .chart("web", "3.0.0-rc.1")
        .chart("db", "0.1.0")
        .with(odd)
        .run()
}

/// `odd` 1.0.0 with these values, no templates, and a dependency with values of its own before them.
fn archive_with(values: &[u8]) -> Vec<u8> {
    let files: [(&str, &[u8]); 3] = [
        (
            "odd/Chart.yaml",
            b"apiVersion: v2\nname: odd\nversion: 1.0.0\n",
        ),
        ("odd/charts/sub/values.yaml", b"wrong: true\n"),
        ("odd/values.yaml", values),
    ];
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(encoder);
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, content)
            .expect("memory takes it");
    }
    let encoder = tar.into_inner().expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// A gateway with the tenants `deep/er` (merged, everybody may write), `read` (upstream only) and the root (hosted).
fn gateway(site: &FakeUpstream, museum: &Value) -> Gateway {
    let mut read = open(&["site"]);
    read["hosted"] = json!(false);
    read["index"] =
        json!({"url": "https://charts.example.com", "format": "yaml", "fields": "slim"});
    Gateway::start(json!({
        "upstreams": {"site": local(&site.url())},
        "tenants": {"deep/er": open(&["site"]), "read": read, "/": open(&[])},
        "chartmuseum": museum,
    }))
}

#[track_caller]
fn error(reply: Reply, status: u16) -> String {
    let reply = reply.expect(status);
    let json = reply.json();
    assert_eq!(
        json.as_object().map(serde_json::Map::len),
        Some(1),
        "{json}"
    );
    json["error"].as_str().expect("a text").to_owned()
}

#[test]
fn the_api_shows_what_the_merged_index_shows() {
    let site = upstream();
    let gateway = gateway(&site, &json!({}));
    let upload = Call::new("POST", "/api/deep/er/charts").body(package("own", "0.1.0+b.1", &[]));
    assert_eq!(
        gateway.send(&upload).expect(201).json(),
        json!({"saved": true})
    );

    let index = gateway.get("/deep/er/index.yaml").expect(200).json();
    let names: Vec<&String> = index["entries"]
        .as_object()
        .expect("charts")
        .keys()
        .collect();
    assert_eq!(names, ["db", "odd", "own", "web"]);
    for prefix in ["/api/deep/er", "/deep/er/api"] {
        let all = gateway.get(&format!("{prefix}/charts")).expect(200);
        assert_eq!(
            all.header("content-type"),
            Some("application/json; charset=utf-8")
        );
        assert_eq!(all.json(), index["entries"]);
        for (query, expected) in [
            ("limit=1", &["db"][..]),
            ("offset=1&limit=2", &["odd", "own"]),
            ("offset=2", &["own", "web"]),
            ("offset=9", &[]),
        ] {
            let page = gateway
                .get(&format!("{prefix}/charts?{query}"))
                .expect(200)
                .json();
            let names: Vec<&String> = page.as_object().expect("a map").keys().collect();
            assert_eq!(names, expected, "{query}");
            for name in names {
                assert_eq!(page[name], index["entries"][name]);
            }
        }
        let web = gateway
            .get(&format!("{prefix}/charts/web"))
            .expect(200)
            .json();
        assert_eq!(web, index["entries"]["web"]);
        for (wanted, position) in [
            ("latest", 1),
            ("2.1.0", 1),
            ("%5E1", 2),
            ("~2.1", 1),
            ("3.0.0-rc.1", 0),
            ("%3E=3-0", 0),
            ("^1", 2),
        ] {
            let path = format!("{prefix}/charts/web/{wanted}");
            let one = gateway.get(&path).expect(200).json();
            assert_eq!(one, web[position], "{wanted}");
            let head = gateway.send(&Call::new("HEAD", &path)).expect(200);
            assert!(head.body.is_empty());
        }
        let one = gateway
            .get(&format!("{prefix}/charts/own/0.1.0+b.1"))
            .expect(200)
            .json();
        assert_eq!(one["urls"], json!(["charts/own-0.1.0+b.1.tgz"]));
        for (path, text) in [
            ("none", "chart not found"),
            ("none/1.0.0", "no chart name found"),
            ("web/9", "no chart version found for web-9"),
            ("web/junk", "improper constraint: junk"),
            ("web/9/values", "no chart version found for web-9"),
            ("none/latest/templates", "no chart name found"),
        ] {
            let path = format!("{prefix}/charts/{path}");
            assert_eq!(error(gateway.get(&path), 404), text, "{path}");
            gateway.send(&Call::new("HEAD", &path)).expect(404);
        }
        for (query, text) in [
            ("offset=-1", "offset is not a valid non-negative integer"),
            ("offset=", "offset is not a valid non-negative integer"),
            (
                "limit=0&offset=x",
                "offset is not a valid non-negative integer",
            ),
            ("limit=0", "limit is not a valid positive integer"),
            ("limit=1.5", "limit is not a valid positive integer"),
        ] {
            let reply = gateway.get(&format!("{prefix}/charts?{query}"));
            assert_eq!(error(reply, 400), text, "{query}");
        }
    }
}

#[test]
fn an_index_of_another_form_changes_nothing_but_the_urls() {
    let site = upstream();
    let gateway = gateway(&site, &json!({}));
    let plain = gateway.get("/api/deep/er/charts").expect(200).json();
    let mut own = gateway.get("/api/read/charts").expect(200).json();
    for versions in own.as_object_mut().expect("charts").values_mut() {
        for version in versions.as_array_mut().expect("versions") {
            let url = version["urls"][0].as_str().expect("a URL");
            let relative = url
                .strip_prefix("https://charts.example.com/read/")
                .unwrap_or_else(|| panic!("{url} is not below the configured address"));
            version["urls"] = json!([relative]);
        }
    }
    assert_eq!(own, plain);
    let page = gateway
        .get("/api/read/charts?offset=1&limit=1")
        .expect(200)
        .json();
    assert_eq!(
        page.as_object().expect("a map").keys().collect::<Vec<_>>(),
        ["odd"]
    );
    // ChartMuseum cannot do this once URLs are absolute.
    let values = gateway
        .get("/api/read/charts/web/latest/values")
        .expect(200);
    assert_eq!(values.text(), "colour: blue\n");
}

#[test]
fn templates_and_values_of_hosted_and_of_proxied_charts() {
    let site = upstream();
    let gateway = gateway(&site, &json!({}));
    let upload = Call::new("POST", "/api/charts").body(package("own", "0.1.0", &[]));
    gateway.send(&upload).expect(201);
    for path in ["/api/charts/own/latest", "/api/deep/er/charts/web/%5E2"] {
        let templates = gateway.get(&format!("{path}/templates")).expect(200).json();
        assert_eq!(templates["values"], json!({"colour": "blue"}));
        let list = templates["templates"].as_array().expect("a list");
        assert_eq!(list.len(), 1);
        assert_eq!(list[0]["name"], "templates/configmap.yaml");
        // `apiVersion: v1` in base64.
        let data = list[0]["data"].as_str().expect("base64");
        assert!(data.starts_with("YXBpVmVyc2lvbjogdjEK"), "{data}");
    }
    // Read through the cache: verified, and fetched once.
    let archive = "/charts/web-2.1.0.tgz";
    assert_eq!(site.count(archive), 1);
    gateway.get("/deep/er/charts/web-2.1.0.tgz").expect(200);
    assert_eq!(site.count(archive), 1);

    let values = gateway
        .get("/deep/er/api/charts/odd/1.0.0/values")
        .expect(200);
    assert_eq!(values.header("content-type"), Some("application/yaml"));
    assert_eq!(
        values.text(),
        "# the colour of things\ncolour: on\nmode: 0644\nquoted: \"on\"\n"
    );
    let templates = gateway
        .get("/api/deep/er/charts/odd/1.0.0/templates")
        .expect(200);
    assert_eq!(
        templates.json(),
        json!({"templates": null, "values": {"colour": true, "mode": 420, "quoted": "on"}})
    );
}

#[test]
fn a_chart_that_cannot_be_fetched_or_read_is_told_so() {
    let site = upstream();
    site.add(FakeChart::new("broken", "1.0.0").archive(&b"not a package at all"[..]));
    let gateway = gateway(&site, &json!({}));
    let text = error(gateway.get("/api/deep/er/charts/broken/1.0.0/values"), 501);
    assert!(
        text.contains("broken-1.0.0.tgz") && text.contains("gzip"),
        "{text}"
    );
    site.fail_archives(crate::support::fake::Fault::Status(503));
    error(gateway.get("/api/deep/er/charts/db/0.1.0/values"), 502);
    site.heal();
}

#[test]
fn unchanged_answers_are_not_sent_again() {
    let site = upstream();
    let gateway = gateway(&site, &json!({}));
    for path in [
        "",
        "/web",
        "/web/latest",
        "/web/latest/values",
        "/web/latest/templates",
    ] {
        let path = format!("/api/deep/er/charts{path}");
        let first = gateway.get(&path).expect(200);
        let etag = first.header("etag").expect("a tag").to_owned();
        let again = Call::get(&path).header("If-None-Match", &etag);
        assert!(gateway.send(&again).expect(304).body.is_empty());
        // A push changes the list of charts, and of the chart that it is about.
        let upload = Call::new("POST", "/api/deep/er/charts").body(package("web", "9.0.0", &[]));
        gateway.send(&upload).expect(201);
        let changed = gateway.send(&again).expect(200);
        assert_ne!(changed.header("etag"), Some(&*etag));
        let delete = Call::new("DELETE", "/deep/er/api/charts/web/9.0.0").body("");
        assert_eq!(
            gateway.send(&delete).expect(200).json(),
            json!({"deleted": true})
        );
        gateway.send(&again).expect(304);
    }
}

#[test]
fn forms_have_their_own_fields_besides_the_usual_ones() {
    let site = upstream();
    let museum = json!({"chart_field": "package", "provenance_field": "signature"});
    let gateway = gateway(&site, &museum);
    let prov = |version: &str| {
        format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nname: own\nversion: {version}\n"
        )
    };
    let send =
        |parts: &[(&str, &str, &[u8])]| gateway.send(&Call::new("POST", "/api/charts").form(parts));
    let pack = |version: &str| package("own", version, &[]);
    send(&[("package", "/tmp/own.tgz", &pack("1.0.0"))]).expect(201);
    gateway.get("/api/charts/own/1.0.0").expect(200);
    send(&[("chart", "C:\\own.tgz", &pack("1.0.1"))]).expect(201);
    send(&[
        ("signature", "own.prov", prov("1.0.2").as_bytes()),
        ("other", "x", b"passed over"),
        ("package", "own.tgz", &pack("1.0.2")),
    ])
    .expect(201);
    gateway.get("/charts/own-1.0.2.tgz.prov").expect(200);
    send(&[("signature", "own.prov", prov("1.0.1").as_bytes())]).expect(201);
    gateway.get("/charts/own-1.0.1.tgz.prov").expect(200);

    let again = send(&[("prov", "own.prov", prov("1.0.1").as_bytes())]);
    assert_eq!(error(again, 409), "chart already exists");
    let again = send(&[("chart", "own.tgz", &pack("1.0.0"))]);
    assert_eq!(error(again, 409), "chart already exists");
    let raw = gateway.send(&Call::new("POST", "/api/charts").body(pack("1.0.0")));
    assert_eq!(error(raw, 409), "file already exists");
    let nothing = "no package or provenance file found in form fields package and signature";
    assert_eq!(error(send(&[("other", "x", b"x")]), 400), nothing);
    assert_eq!(error(send(&[]), 400), nothing);
    let no_name = send(&[("chart", "", &pack("2.0.0"))]);
    assert_eq!(error(no_name, 400), nothing);
    let no_boundary =
        Call::new("POST", "/api/charts").header("Content-Type", "multipart/form-data");
    assert_eq!(
        error(gateway.send(&no_boundary.body(pack("2.0.0"))), 400),
        nothing
    );
    let two = send(&[
        ("chart", "a", &pack("2.0.0")),
        ("package", "b", &pack("2.0.1")),
    ]);
    assert!(error(two, 400).contains("one chart at a time"));
    // Of two parts of one name the first counts.
    send(&[
        ("chart", "a", &pack("3.0.0")),
        ("chart", "b", &pack("3.0.1")),
    ])
    .expect(201);
    gateway.get("/api/charts/own/3.0.0").expect(200);
    assert_eq!(
        error(gateway.get("/api/charts/own/3.0.1"), 404),
        "no chart version found for own-3.0.1"
    );
}

#[test]
fn uploads_above_the_limit_end_the_connection() {
    let site = upstream();
    let mut small = open(&[]);
    small["hosted"] = json!({"max_upload": "4KiB"});
    let gateway = Gateway::start(json!({
        "upstreams": {"site": local(&site.url())}, "tenants": {"t": small},
    }));
    for path in ["/api/t/charts", "/t/api/prov"] {
        let announced = Call::new("POST", path).body(vec![b'x'; 4097]);
        let reply = gateway.send(&announced);
        assert_eq!(reply.header("connection"), Some("close"));
        assert!(error(reply, 413).contains("4097 bytes"));
        let chunk = "x".repeat(5000);
        let chunked = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{chunk}\r\n0\r\n\r\n",
            chunk.len()
        );
        let reply = crate::support::http::exchange(gateway.http, chunked.as_bytes(), false);
        let reply = reply.expect("an answer");
        assert_eq!(reply.header("connection"), Some("close"));
        error(reply, 413);
    }
    // The whole body counts, with what a form puts around its parts.
    let part = vec![b'x'; 4000];
    let form = Call::new("POST", "/api/t/charts").form(&[("chart", "x", &part)]);
    error(gateway.send(&form), 413);
}

#[test]
fn scripts_of_another_origin_may_use_the_api_and_nothing_else() {
    let site = upstream();
    let gateway = gateway(&site, &json!({"cors_origin": "https://ui.example.com"}));
    let origin = |reply: &Reply| {
        reply
            .header("access-control-allow-origin")
            .map(str::to_owned)
    };
    let allowed = Some("https://ui.example.com".to_owned());
    for (path, status) in [
        ("/api/deep/er/charts", 200),
        ("/deep/er/api/charts/none", 404),
        ("/api/nobody/charts", 404),
        ("/api/nonsense", 404),
    ] {
        assert_eq!(origin(&gateway.get(path).expect(status)), allowed, "{path}");
    }
    for path in [
        "/deep/er/index.yaml",
        "/health",
        "/deep/er/charts/db-0.1.0.tgz",
    ] {
        assert_eq!(origin(&gateway.get(path).expect(200)), None, "{path}");
    }
    let preflight = Call::new("OPTIONS", "/api/deep/er/charts/web/1.0.0")
        .header("Origin", "https://ui.example.com")
        .header("Access-Control-Request-Method", "DELETE")
        .header("Access-Control-Request-Headers", "authorization,x-mine");
    let reply = gateway.send(&preflight).expect(204);
    assert_eq!(origin(&reply), allowed);
    assert!(
        reply
            .header("access-control-allow-methods")
            .is_some_and(|m| m.contains("DELETE"))
    );
    assert_eq!(
        reply.header("access-control-allow-headers"),
        Some("authorization,x-mine")
    );
    gateway
        .send(&Call::new("OPTIONS", "/deep/er/index.yaml"))
        .expect(405);
}

#[test]
fn pages_and_ids_of_the_operator() {
    let site = upstream();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("static")).expect("made");
    std::fs::write(folder.path().join("index.html"), "<h1>{{ ours }}</h1>").expect("written");
    std::fs::write(folder.path().join("static/a.css"), "0123456789").expect("written");
    let museum = json!({
        "web_folder": folder.path(), "metrics": true,
        "artifact_hub": {"deep/er": "00000000-1234-1234-1234-1234567890ab", "/": "42"},
    });
    let gateway = gateway(&site, &museum);
    let page = gateway.get("/").expect(200);
    assert_eq!(page.text(), "<h1>{{ ours }}</h1>");
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    gateway.wait_log(&["index.html", "Go template"]);

    let style = gateway.get("/static/a.css").expect(200);
    assert_eq!(style.text(), "0123456789");
    assert_eq!(
        style.header("content-type"),
        Some("text/css; charset=utf-8")
    );
    let modified = style.header("last-modified").expect("a time").to_owned();
    let again = Call::get("/static/a.css").header("If-Modified-Since", &modified);
    gateway.send(&again).expect(304);
    let part = gateway.send(&Call::get("/static/a.css").header("Range", "bytes=2-4"));
    assert_eq!(part.expect(206).text(), "234");
    gateway
        .send(&Call::get("/static/a.css").header("Range", "bytes=99-"))
        .expect(416);
    for path in [
        "/static/none",
        "/static/",
        "/static/../index.html",
        "/static/..%2findex.html",
        "/static/.%2e/index.html",
    ] {
        let reply = gateway.get(path);
        assert!(
            matches!(reply.status, 400 | 404),
            "{path}: {}",
            reply.status
        );
        assert!(!reply.text().contains("ours"));
    }

    let id = gateway.get("/deep/er/artifacthub-repo.yml").expect(200);
    assert_eq!(
        id.text(),
        "repositoryID: 00000000-1234-1234-1234-1234567890ab\n"
    );
    assert_eq!(id.header("content-type"), Some("application/x-yaml"));
    assert_eq!(
        gateway.get("/artifacthub-repo.yml").expect(200).text(),
        "repositoryID: \"42\"\n"
    );
    gateway.get("/read/artifacthub-repo.yml").expect(404);
    let metrics = gateway.get("/metrics").expect(200).text();
    assert!(
        metrics.contains("chartgate_requests_total"),
        "{metrics:.200}"
    );
}

#[test]
fn without_the_api_charts_are_still_served() {
    let site = upstream();
    let gateway = gateway(&site, &json!({"api": false}));
    for path in ["/api/deep/er/charts", "/deep/er/api/charts/web/latest"] {
        assert!(error(gateway.get(path), 404).contains("chartmuseum.api"));
    }
    let upload = Call::new("POST", "/api/deep/er/charts").body(package("own", "1.0.0", &[]));
    gateway.send(&upload).expect(404);
    gateway.get("/deep/er/index.yaml").expect(200);
    gateway.get("/deep/er/charts/db-0.1.0.tgz").expect(200);
    gateway.get("/metrics").expect(404);
    gateway.get("/artifacthub-repo.yml").expect(404);
}

#[test]
fn reading_and_writing_need_their_own_permissions() {
    let site = upstream();
    let mut guarded = open(&["site"]);
    guarded["access"] = json!({"anonymous": ["pull"]});
    let mut closed = open(&["site"]);
    closed["access"] = json!({});
    let gateway = Gateway::start(json!({
        "upstreams": {"site": local(&site.url())},
        "tenants": {"guarded": guarded, "closed": closed},
    }));
    gateway.get("/api/guarded/charts").expect(200);
    let upload = |tenant: &str| {
        Call::new("POST", &format!("/api/{tenant}/charts")).body(package("own", "1.0.0", &[]))
    };
    for call in [
        upload("guarded"),
        upload("closed"),
        Call::new("DELETE", "/api/guarded/charts/web/1.0.0").body(""),
        Call::get("/api/closed/charts"),
        Call::get("/closed/api/charts/web/latest/values"),
        Call::get("/api/closed/charts/web/latest/templates"),
    ] {
        let reply = gateway.send(&call);
        assert!(reply.header("www-authenticate").is_some(), "{call:?}");
        error(reply, 401);
    }
    assert_eq!(site.count("/charts/web-2.1.0.tgz"), 0);
}

#[test]
fn the_strict_service_speaks_as_chartmuseum() {
    let gateway = Gateway::start(json!({
        "server": {"context_path": "/helm"},
        "chartmuseum": {"strict": true},
        "tenants": {"*": {
            "hosted": {"max_upload": "8KiB", "delete": false},
            "access": {"anonymous": ["pull", "push"]},
        }},
    }));
    let say = |method: &str, path: &str| gateway.send(&Call::new(method, path).body(""));
    // A repository may have any name, and is empty before the first push.
    for repository in ["org", "api", "charts", "health"] {
        let all = gateway.get(&format!("/helm/api/{repository}/charts"));
        assert_eq!(all.expect(200).json(), json!({}));
        gateway
            .get(&format!("/helm/{repository}/index.yaml"))
            .expect(200);
    }
    let upload = Call::new("POST", "/helm/org/api/charts").body(package("own", "1.0.0", &[]));
    gateway.send(&upload).expect(201);
    let archive = gateway.get("/helm/org/charts/own-1.0.0.tgz").expect(200);
    assert_eq!(archive.header("content-type"), Some("application/x-tar"));
    let one = gateway
        .get("/helm/api/org/charts/own/latest")
        .expect(200)
        .json();
    assert_eq!(one["urls"], json!(["charts/own-1.0.0.tgz"]));
    assert_eq!(
        gateway.get("/helm/org/info").expect(200).json()["version"],
        "0.16.5"
    );
    let page = gateway.get("/helm/org/").expect(200);
    assert!(
        page.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/html"))
    );

    for (method, path) in [
        ("GET", "/org/index.yaml"),
        ("GET", "/helm/a/b/index.yaml"),
        ("GET", "/helm/org/%2e%2e/index.yaml"),
        ("GET", "/helm/org//index.yaml"),
        ("PUT", "/helm/org/index.yaml"),
        ("OPTIONS", "/helm/api/org/charts"),
        ("DELETE", "/helm/api/org/charts/own/1.0.0"),
        ("GET", "/helm/api/org/prov"),
        ("GET", "/helm/metrics/x"),
    ] {
        assert_eq!(
            error(say(method, path), 404),
            "not found",
            "{method} {path}"
        );
    }
    assert_eq!(
        error(gateway.get("/helm/org/charts/none-1.tgz"), 404),
        "object not found"
    );
    assert_eq!(
        error(gateway.get("/helm/org/charts/own.zip"), 500),
        "unsupported file extension"
    );
    let junk = Call::new("POST", "/helm/api/org/prov").body("junk");
    assert_eq!(error(gateway.send(&junk), 500), "invalid provenance file");
    assert_eq!(error(say("POST", "/helm/api/org/charts"), 400), "EOF");
    let large = gateway.send(&Call::new("POST", "/helm/api/org/charts").body(vec![0; 9000]));
    assert_eq!((large.status, &*large.text()), (413, "request too large"));
    assert_eq!(
        large.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(large.header("connection"), Some("close"));
}

#[test]
fn the_strict_service_knows_no_403() {
    let gateway = Gateway::start(json!({
        "chartmuseum": {"strict": true, "artifact_hub": {"": "7"}},
        "tenants": {"*": {"hosted": {}, "access": {"anonymous": ["pull"]}}},
    }));
    let upload = Call::new("POST", "/api/org/charts").body(package("own", "1.0.0", &[]));
    let reply = gateway.send(&upload);
    assert!(reply.header("www-authenticate").is_some());
    assert_eq!(error(reply, 401), "unauthorized");
    // Where nobody needs credentials, nobody looks at them.
    let wrong = |path: &str| Call::get(path).header("Authorization", "Basic eDp5");
    for path in [
        "/",
        "/org",
        "/org/index.yaml",
        "/api/org/charts",
        "/artifacthub-repo.yml",
    ] {
        gateway.send(&wrong(path)).expect(200);
    }
}
