//! Tenants by pattern: made by the first upload, empty until then, and nothing remains of names that nobody uses.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::fake::{FakeChart, FakeHelm, FakeUpstream, package};
use crate::support::gateway::Gateway;
use crate::support::http::{Call, Reply};
use crate::support::tools::Helm;
use crate::support::until;

/// Everybody may do everything.
fn open(patterns: &[&str]) -> Value {
    let tenant = json!({"hosted": {}, "access": {"anonymous": ["pull", "push", "delete"]}});
    let tenants: serde_json::Map<_, _> = patterns
        .iter()
        .map(|pattern| ((*pattern).to_owned(), tenant.clone()))
        .collect();
    json!({ "tenants": tenants })
}

fn push(gateway: &Gateway, tenant: &str, name: &str, version: &str) -> Reply {
    let path = format!("/api/{tenant}/charts");
    gateway.send(&Call::new("POST", &path).body(package(name, version, &[])))
}

/// The names of the charts in a tenant's index, in order.
fn charts(gateway: &Gateway, tenant: &str) -> Vec<String> {
    let index = gateway.index(tenant);
    let entries = index["entries"].as_object().expect("entries");
    entries.keys().cloned().collect()
}

fn hosted(gateway: &Gateway) -> std::path::PathBuf {
    gateway.data().join("hosted")
}

fn children(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn an_unknown_tenant_is_empty_and_the_first_push_makes_it() {
    let gateway = Gateway::start(open(&["*", "org/**"]));
    for tenant in ["team", "org", "org/a", "org/a/b/c"] {
        let before = gateway.get(&format!("/{tenant}/index.yaml")).expect(200);
        assert_eq!(before.json()["entries"], json!({}), "{tenant}");
        assert_eq!(before.json()["apiVersion"], "v1");
        gateway
            .get(&format!("/{tenant}/charts/app-1.0.0.tgz"))
            .expect(404);
        push(&gateway, tenant, "app", "1.0.0").expect(201);
        let after = gateway.get(&format!("/{tenant}/index.yaml")).expect(200);
        assert!(after.json()["entries"]["app"].is_array(), "{tenant}");
        assert_ne!(before.header("etag"), after.header("etag"));
        let archive = gateway
            .get(&format!("/{tenant}/charts/app-1.0.0.tgz"))
            .expect(200);
        assert_eq!(archive.body, package("app", "1.0.0", &[]));
        assert!(
            hosted(&gateway)
                .join(tenant)
                .join("app-1.0.0.tgz")
                .is_file()
        );
    }
    // Each has its own charts.
    push(&gateway, "team", "more", "1.0.0").expect(201);
    assert_eq!(charts(&gateway, "team"), ["app", "more"]);
    assert_eq!(charts(&gateway, "org/a"), ["app"]);
    // What fits no pattern, or could be no tenant, is none.
    for path in [
        "/team/x/index.yaml",
        "/api/index.yaml",
        "/index.yaml",
        "/team/%20/index.yaml",
    ] {
        gateway.get(path).expect(404);
    }
    gateway
        .send(&Call::new("POST", "/api/team/x/charts").body(package("app", "1.0.0", &[])))
        .expect(404);
    // And the last deletion makes it an empty one again.
    gateway
        .send(&Call::new("DELETE", "/api/org/charts/app/1.0.0"))
        .expect(200);
    assert_eq!(gateway.index("org")["entries"], json!({}));
    push(&gateway, "org", "app", "1.0.0").expect(201);
    assert_eq!(charts(&gateway, "org"), ["app"]);
}

#[test]
fn what_was_pushed_survives_restart_and_reload() {
    let mut config = open(&["*"]);
    let mut gateway = Gateway::start(config.clone());
    push(&gateway, "a", "app", "1.0.0").expect(201);
    push(&gateway, "b", "app", "2.0.0").expect(201);
    let before = gateway.get("/a/index.yaml").expect(200);
    gateway.restart();
    let after = gateway.get("/a/index.yaml").expect(200);
    assert_eq!(after.body, before.body);
    assert_eq!(gateway.index("b")["entries"]["app"][0]["version"], "2.0.0");

    // A reload that changes nothing, one that changes the pattern, one that gives a tenant a key of its own, and back.
    let listeners = json!({"http": gateway.http.to_string(), "admin": gateway.admin.to_string()});
    let mut reload = |change: &dyn Fn(&mut Value)| {
        change(&mut config);
        config["server"] = listeners.clone();
        config["data_dir"] = json!(gateway.data());
        gateway.configure(&config);
        let reloads = || gateway.log().matches("reloaded `").count();
        let count = reloads();
        gateway.signal("HUP");
        until("the reload", Duration::from_secs(20), || {
            (reloads() > count).then_some(())
        });
        let index = |text: &str| serde_yaml::from_str::<Value>(text).expect("JSON or YAML");
        let current = || index(&gateway.get("/a/index.yaml").expect(200).text());
        let versions = current()["entries"]["app"].as_array().map_or(0, Vec::len);
        let next = format!("{}.0.0", versions + 1);
        push(&gateway, "a", "app", &next).expect(201);
        assert_eq!(current()["entries"]["app"][0]["version"], json!(next));
        (versions, gateway.get("/a/index.yaml").text())
    };
    assert_eq!(reload(&|_| {}).0, 1);
    let (versions, text) =
        reload(&|config| config["tenants"]["*"]["index"] = json!({"format": "yaml"}));
    assert_eq!(versions, 2);
    assert!(text.starts_with("\"apiVersion\""), "{text}");
    let own = |config: &mut Value| {
        config["tenants"]["*"]["index"] = json!({});
        config["tenants"]["a"] = config["tenants"]["*"].clone();
    };
    assert_eq!(reload(&own).0, 3);
    let back = |config: &mut Value| {
        config["tenants"]
            .as_object_mut()
            .expect("tenants")
            .remove("a");
    };
    assert_eq!(reload(&back).0, 4);
    assert_eq!(charts(&gateway, "b"), ["app"]);
}

#[test]
fn a_key_of_its_own_comes_before_patterns() {
    let config = json!({"tenants": {
        "**": {"hosted": {}, "access": {"anonymous": ["pull"]}},
        "*/*": {"hosted": {}, "access": {"anonymous": ["pull", "push"]}},
        "team/*": {"hosted": {"max_upload": "1B"}, "access": {"anonymous": ["pull", "push"]}},
        "team/core": {"hosted": {}, "access": {"anonymous": ["pull", "push"]}},
    }});
    let gateway = Gateway::start(config);
    push(&gateway, "team/core", "app", "1.0.0").expect(201);
    push(&gateway, "team/other", "app", "1.0.0").expect(413);
    push(&gateway, "x/y", "app", "1.0.0").expect(201);
    push(&gateway, "x", "app", "1.0.0").expect(401);
    push(&gateway, "x/y/z", "app", "1.0.0").expect(401);
    for tenant in ["x", "x/y/z", "team/other"] {
        assert_eq!(gateway.index(tenant)["entries"], json!({}), "{tenant}");
    }
    // Packages of a tenant below another one's folder are not its own.
    push(&gateway, "team/core", "inner", "1.0.0").expect(201);
    assert_eq!(gateway.index("team")["entries"], json!({}));
}

#[test]
fn permission_and_rate_are_decided_before_anything_is_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    // The SHA-1 of `pass:word`.
    std::fs::write(
        folder.path().join("users"),
        "ci:{SHA}JfOwpCDy5ASLqp0M24rdutzyYk8=\n",
    )
    .expect("written");
    let gateway = Gateway::start_in(
        folder,
        json!({
            "auth": {"users_file": "users"},
            "tenants": {
                "closed/*": {"hosted": {}, "access": {"rules": [{"subjects": "user:ci", "actions": ["pull", "push"]}]}},
                "rated/*": {
                    "hosted": {},
                    "access": {"anonymous": ["pull"]},
                    "limits": {"requests": "3/d", "burst": 3, "by": "address"},
                },
            },
        }),
    );
    for number in 0..20 {
        gateway
            .get(&format!("/closed/n{number}/index.yaml"))
            .expect(401);
        push(&gateway, &format!("closed/n{number}"), "app", "1.0.0").expect(401);
    }
    // New names do not buy a new allowance.
    for number in 0..20 {
        let status = if number < 3 { 200 } else { 429 };
        gateway
            .get(&format!("/rated/n{number}/index.yaml"))
            .expect(status);
    }
    assert!(!hosted(&gateway).join("closed").exists());
    let ci = |call: Call| call.header("Authorization", "Basic Y2k6cGFzczp3b3Jk");
    let upload = Call::new("POST", "/api/closed/n1/charts").body(package("app", "1.0.0", &[]));
    gateway.send(&ci(upload)).expect(201);
    gateway
        .send(&ci(Call::get("/closed/n1/index.yaml")))
        .expect(200);
    gateway.get("/closed/n1/index.yaml").expect(401);
    let metrics = gateway.admin("/metrics").text();
    assert!(metrics.contains("chartgate_rate_limited_total{tenant=\"rated/*\"} 17"));
}

#[test]
fn names_that_nobody_uses_leave_nothing_behind() {
    let gateway = Gateway::start(open(&["*"]));
    push(&gateway, "real", "app", "1.0.0").expect(201);
    let ask = |from: usize, to: usize| {
        for number in from..to {
            let reply = gateway.get(&format!("/name{number}/index.yaml"));
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
    };
    ask(0, 200);
    let before = gateway.resident();
    ask(200, 3_200);
    let grown = gateway.resident().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more for 3000 names");
    let folders = children(&hosted(&gateway));
    assert!(folders == ["real"], "{} folders", folders.len());
    let kept: Vec<_> = children(&gateway.data().join("cache/hosted"));
    assert!(kept.len() <= 2, "{kept:?}");
    // Folders with nothing in them are no more than names, and files are no tenants.
    for number in 0..200 {
        std::fs::create_dir(hosted(&gateway).join(format!("name{number}"))).expect("made");
    }
    std::fs::write(hosted(&gateway).join("name200"), "a file").expect("written");
    ask(0, 201);
    let counted = |metrics: &str| -> Option<u32> {
        let line = metrics.lines().find(|line| {
            [
                "chartgate_requests_total{",
                "tenant=\"*\"",
                "route=\"index\"",
                "code=\"200\"",
            ]
            .iter()
            .all(|part| line.contains(part))
        });
        line?.rsplit(' ').next()?.parse().ok()
    };
    // A request is counted when its answer has been sent, which its client may know a moment earlier.
    let metrics = until(
        "the requests to be counted",
        Duration::from_secs(20),
        || {
            let metrics = gateway.admin("/metrics").text();
            (counted(&metrics) >= Some(3_401)).then_some(metrics)
        },
    );
    assert_eq!(counted(&metrics), Some(3_401), "{metrics}");
    assert!(!metrics.contains("name1"), "{metrics}");
    assert!(metrics.contains("chartgate_index_versions{tenant=\"real\"} 1"));
    assert!(metrics.contains("chartmuseum_chart_versions_served_total{repo=\"real\"} 1"));
    // Refused uploads of unknown names leave nothing either.
    for number in 0..50 {
        let path = format!("/api/bad{number}/charts");
        gateway
            .send(&Call::new("POST", &path).body("no package"))
            .expect(400);
    }
    assert_eq!(charts(&gateway, "real"), ["app"]);
    let listed = gateway.admin("/tenants").expect(200).json();
    assert_eq!(
        listed["tenants"].as_array().map(Vec::len),
        Some(1),
        "{listed}"
    );
}

#[test]
fn operators_see_instances_and_files_of_others_appear() {
    let gateway = Gateway::start(open(&["*"]));
    gateway.admin("/tenants/later/report").expect(404);
    assert_eq!(gateway.index("later")["entries"], json!({}));
    let folder = hosted(&gateway).join("later");
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::write(folder.join("broken-1.0.0.tgz"), "no package").expect("written");
    std::fs::write(folder.join("app-1.0.0.tgz"), package("app", "1.0.0", &[])).expect("written");
    until(
        "the file of another program",
        Duration::from_secs(20),
        || (charts(&gateway, "later") == ["app"]).then_some(()),
    );
    let report = gateway.report("later");
    assert_eq!(report["dropped"][0]["chart"], "broken-1.0.0.tgz");
    assert_eq!(gateway.admin("/readyz").expect(200).text(), "ready\n");
}

fn upstream_of(fake: &FakeUpstream) -> Value {
    json!({"type": "helm", "url": fake.url(), "allow_private": true})
}

#[test]
fn upstreams_show_in_every_tenant_of_a_pattern() {
    let fake = FakeHelm::new()
        .chart("web", "1.0.0")
        .chart("db", "1.0.0")
        .run();
    let gateway = Gateway::start(json!({
        "upstreams": {"up": upstream_of(&fake)},
        "tenants": {
            "*": {"hosted": {}, "charts": ["up"], "access": {"anonymous": ["pull", "push"]}},
            "mirror/*": {"charts": [{"upstream": "up", "include": ["db"]}], "access": {"anonymous": ["pull", "push"]}},
        },
    }));
    assert_eq!(charts(&gateway, "a"), ["db", "web"]);
    assert_eq!(charts(&gateway, "b"), ["db", "web"]);
    // Hosted names are reserved, in the tenant that hosts them.
    push(&gateway, "a", "web", "9.0.0").expect(201);
    assert_eq!(gateway.index("a")["entries"]["web"][0]["version"], "9.0.0");
    assert_eq!(gateway.index("b")["entries"]["web"][0]["version"], "1.0.0");
    gateway.get("/a/charts/db-1.0.0.tgz").expect(200);
    assert_eq!(charts(&gateway, "mirror/x"), ["db"]);
    let refused = push(&gateway, "mirror/x", "web", "1.0.0");
    assert!(
        refused.status >= 400 && refused.text().contains("takes no uploads"),
        "{refused:?}"
    );
    // A refresh reaches all of them before it is answered.
    fake.add(FakeChart::new("new", "1.0.0"));
    gateway.refresh("up").expect(200);
    assert_eq!(charts(&gateway, "a"), ["db", "new", "web"]);
    assert_eq!(charts(&gateway, "c"), ["db", "new", "web"]);
}

#[test]
fn chart_urls_can_be_absolute() {
    let mut config = open(&["*", "one/two"]);
    for tenant in ["*", "one/two"] {
        config["tenants"][tenant]["index"] = json!({"url": "https://charts.example.com/base/"});
    }
    let gateway = Gateway::start(config);
    for tenant in ["one/two", "three"] {
        push(&gateway, tenant, "app", "1.0.0+b").expect(201);
        assert_eq!(
            gateway.index(tenant)["entries"]["app"][0]["urls"],
            json!([format!(
                "https://charts.example.com/base/{tenant}/charts/app-1.0.0+b.tgz"
            )])
        );
        gateway
            .get(&format!("/{tenant}/charts/app-1.0.0+b.tgz"))
            .expect(200);
    }
}

/// What `chartgate index` prints for a tenant of this configuration.
fn printed_index(config: &Value, tenant: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let charts = folder.path().join("data/hosted").join(tenant);
    std::fs::create_dir_all(&charts).expect("made");
    std::fs::write(charts.join("app-1.0.0.tgz"), package("app", "1.0.0", &[])).expect("written");
    std::fs::write(folder.path().join("gateway.yaml"), config.to_string()).expect("written");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_chartgate"))
        .args(["index", tenant, "--config", "gateway.yaml"])
        .current_dir(folder.path())
        .output()
        .expect("running the program");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_index_tells_the_context_path() {
    let url = json!({"url": "https://charts.example.com"});
    let mut config = open(&["*"]);
    config["tenants"]["*"]["index"] = url;
    let index = |config: &Value| -> Value {
        serde_yaml::from_str(&printed_index(config, "team")).expect("JSON or YAML")
    };
    let plain = index(&config);
    assert_eq!(plain.get("serverInfo"), None);
    let archive = |index: &Value| index["entries"]["app"][0]["urls"][0].clone();
    assert_eq!(
        archive(&plain),
        "https://charts.example.com/team/charts/app-1.0.0.tgz"
    );
    config["chartmuseum"] = json!({"strict": true});
    assert_eq!(index(&config)["serverInfo"], json!({}));
    for format in ["json", "yaml"] {
        config["server"] = json!({"context_path": "/helm"});
        config["tenants"]["*"]["index"]["format"] = json!(format);
        let index = index(&config);
        assert_eq!(index["serverInfo"], json!({"contextPath": "/helm"}));
        assert_eq!(
            archive(&index),
            "https://charts.example.com/helm/team/charts/app-1.0.0.tgz"
        );
    }
}

#[test]
fn requests_count_under_chartmuseums_names_where_that_is_on() {
    let count = |metrics: bool| {
        let mut config = open(&["*"]);
        config["chartmuseum"] = json!({ "metrics": metrics });
        let gateway = Gateway::start(config);
        push(&gateway, "team", "app", "1.0.0").expect(201);
        for path in [
            "/team/index.yaml",
            "/other/index.yaml",
            "/team/charts/app-1.0.0.tgz",
        ] {
            gateway.get(path).expect(200);
        }
        gateway.get("/team/charts/app-9.0.0.tgz").expect(404);
        gateway
            .send(&Call::new("PUT", "/team/index.yaml"))
            .expect(405);
        gateway.get("/nowhere").expect(404);
        // Counted after the last byte, which the client may have read already.
        until(
            "the requests to be counted",
            Duration::from_secs(10),
            || {
                let text = gateway.admin("/metrics").expect(200).text();
                let count = |words: &[&str]| {
                    let lines = text.lines().filter(|line| {
                        line.starts_with("chartgate_requests_total{")
                            && words.iter().all(|word| line.contains(word))
                    });
                    lines.count()
                };
                // One connection each, so the last need not be counted last.
                let all = count(&["\"none\"", "\"404\""]) == 1
                    && count(&["\"upload\"", "\"201\""]) == 1
                    // Of two tenants.
                    && count(&["\"index\"", "\"200\""]) == 2
                    && count(&["\"archive\"", "\"200\""]) == 1;
                all.then(|| text.clone())
            },
        )
    };
    assert!(!count(false).contains("chartmuseum_request"));
    let text = count(true);
    for line in [
        "chartmuseum_requests_total{code=\"200\",method=\"GET\",url=\"/:repo/index.yaml\"} 2",
        "chartmuseum_requests_total{code=\"200\",method=\"GET\",url=\"/:repo/charts/:filename\"} 1",
        "chartmuseum_requests_total{code=\"201\",method=\"POST\",url=\"/api/:repo/charts\"} 1",
        "chartmuseum_request_size_bytes_count 4",
        "chartmuseum_response_size_bytes_count 4",
        "chartmuseum_charts_served_total{repo=\"team\"} 1",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}\n{text}");
    }
    let counted = text
        .lines()
        .filter(|line| line.starts_with("chartmuseum_requests_total{"));
    assert_eq!(counted.count(), 3, "{text}");
}

#[test]
fn a_client_that_never_ends_its_request_is_left() {
    use std::io::{Read as _, Write as _};

    let mut config = open(&["*"]);
    config["server"] = json!({"read_timeout": "1s", "write_timeout": "1m"});
    let gateway = Gateway::start(config);
    for start in [
        "GET /team/index.yaml HT",
        "POST /api/team/charts HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 100\r\n\r\nhalf",
    ] {
        let mut stream = std::net::TcpStream::connect(gateway.http).expect("connected");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a socket option");
        stream.write_all(start.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        // Ends when the server does; the default would be 30 s.
        stream.read_to_end(&mut answer).expect(start);
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    }
}

#[test]
fn pushes_to_new_tenants_survive_each_other_readers_and_reloads() {
    const WRITERS: usize = 6;
    const VERSIONS: usize = 12;
    let mut config = open(&["*"]);
    let gateway = Gateway::start(config.clone());
    config["server"] =
        json!({"http": gateway.http.to_string(), "admin": gateway.admin.to_string()});
    config["data_dir"] = json!(gateway.data());
    let reloads = || gateway.log().matches("reloaded `").count();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let gateway = &gateway;
            scope.spawn(move || {
                // All write to one tenant that is new, and each to new ones of its own.
                for version in 0..VERSIONS {
                    let version = format!("{version}.{writer}.0");
                    push(gateway, "shared", "app", &version).expect(201);
                    let seen = gateway.index("shared").to_string();
                    assert!(
                        seen.contains(&format!("\"{version}\"")),
                        "{version} is not shown"
                    );
                    let own = format!("w{writer}-{version}");
                    push(gateway, &own, "app", &version).expect(201);
                    assert_eq!(charts(gateway, &own), ["app"]);
                }
            });
        }
        for reload in 1..=6 {
            // Every other one changes what indexes look like, so that none is taken over.
            config["tenants"]["*"]["index"] = json!({"keep": 100 * (reload % 2)});
            gateway.configure(&config);
            gateway.signal("HUP");
            until("the reload", Duration::from_secs(30), || {
                (reloads() >= reload).then_some(())
            });
        }
    });
    let index = gateway.index("shared");
    let versions = index["entries"]["app"].as_array().map_or(0, Vec::len);
    assert_eq!(versions, WRITERS * VERSIONS);
    let listed = gateway.admin("/tenants").expect(200).json();
    let ready = |line: &Value| line["ready"] == json!(true) && line["charts"] == json!(1);
    assert!(
        listed["tenants"]
            .as_array()
            .expect("tenants")
            .iter()
            .all(ready),
        "{listed}"
    );
}

/// Helm refuses unknown keys of an index that is not JSON, so the real ones have to read what is said of the server.
#[test]
fn real_helm_reads_an_index_that_tells_the_context_path() {
    let clients = [Helm::find("helm3"), Helm::find("helm4")];
    for (format, strict) in [("json", false), ("yaml", false), ("yaml", true)] {
        let mut config = open(&["*"]);
        config["tenants"]["*"]["index"] = json!({ "format": format });
        if strict {
            config["chartmuseum"] = json!({"strict": true});
        } else {
            config["server"] = json!({"context_path": "/helm"});
        }
        let text = printed_index(&config, "team");
        assert!(text.contains("serverInfo"), "{text}");
        let site = FakeHelm::new().index(text).run();
        for helm in clients.iter().flatten() {
            helm.ok(&["repo", "add", "gw", &site.url(), "--force-update"]);
            let found = helm.listing();
            assert!(
                found.contains(&("gw/app".to_owned(), "1.0.0".to_owned())),
                "{format}: {found:?}"
            );
        }
    }
}
