//! The process: commands and exit codes, reload, drain, hand-over, what it says when it cannot start.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::fake::{FakeHelm, Fault, package};
use crate::support::gateway::Gateway;
use crate::support::http::Call;
use crate::support::until;

fn hosted(path: &str) -> Value {
    json!({"tenants": {path: {"hosted": {}, "access": {"anonymous": ["pull", "push", "delete"]}}}})
}

fn chartgate(folder: &std::path::Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chartgate"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("HTTP_PROXY")
        .output()
        .expect("starting the program")
}

#[test]
fn wrong_usage_and_wrong_configurations_end_with_64() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    assert_eq!(
        chartgate(folder.path(), &["serve", "--nonsense"])
            .status
            .code(),
        Some(64)
    );
    assert_eq!(chartgate(folder.path(), &["--help"]).status.code(), Some(0));
    assert_eq!(
        chartgate(folder.path(), &["--version"]).status.code(),
        Some(0)
    );
    let file = folder.path().join("gateway.yaml");
    std::fs::write(
        &file,
        "tenants:\n  acme: {hostedd: {}}\n  x: {charts: [nobody]}\n",
    )
    .expect("a file");
    let answer = chartgate(folder.path(), &["check", "--config", "gateway.yaml"]);
    assert_eq!(answer.status.code(), Some(64));
    let text = String::from_utf8_lossy(&answer.stderr).into_owned();
    assert!(
        text.contains("tenants.acme.hostedd") && text.contains("`hosted`"),
        "{text}"
    );
    assert!(
        text.contains("tenants.x.charts[0]") && text.contains("nobody"),
        "{text}"
    );
    assert_eq!(
        chartgate(folder.path(), &["serve", "--config", "gateway.yaml"])
            .status
            .code(),
        Some(64)
    );
    assert_eq!(
        chartgate(folder.path(), &["serve", "--config", "missing.yaml"])
            .status
            .code(),
        Some(64)
    );
}

#[test]
fn an_address_in_use_is_told_with_exit_code_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = json!({"server": {"http": address}, "tenants": {"t": {"hosted": {}}}});
    std::fs::write(folder.path().join("gateway.yaml"), config.to_string()).expect("a file");
    let answer = chartgate(
        folder.path(),
        &["serve", "--config", "gateway.yaml", "--data-dir", "data"],
    );
    assert_eq!(answer.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&answer.stderr).contains(&address));
}

#[test]
fn a_reload_swaps_tenants_and_keeps_the_old_ones_on_any_mistake() {
    let mut gateway = Gateway::start(hosted("one"));
    gateway
        .send(&Call::new("POST", "/api/one/charts").body(package("web", "1.0.0", &[])))
        .expect(201);
    let file = gateway.folder().join("gateway.yaml");
    let good: Value =
        serde_json::from_slice(&std::fs::read(&file).expect("the file")).expect("JSON");

    let mut bad = good.clone();
    bad["tenants"]["two"] = json!({"chartss": []});
    gateway.configure(&bad);
    gateway.signal("HUP");
    gateway.wait_log(&["tenants.two.chartss"]);
    gateway.get("/one/index.yaml").expect(200);
    gateway.get("/two/index.yaml").expect(404);

    let mut better = good;
    better["tenants"]["two"] = json!({"hosted": {}, "access": {"anonymous": ["pull"]}});
    gateway.configure(&better);
    gateway.signal("HUP");
    until("the new tenant", Duration::from_secs(10), || {
        (gateway.get("/two/index.yaml").status == 200).then_some(())
    });
    assert_eq!(
        gateway.index("one")["entries"]["web"][0]["version"],
        "1.0.0"
    );
    gateway.wait_alive();
}

#[test]
fn term_lets_a_running_download_finish_and_ends_with_0() {
    let upstream = FakeHelm::new().chart("slow", "1.0.0").run();
    let config = json!({
        "upstreams": {"up": {"type": "helm", "url": upstream.url(), "allow_private": true}},
        "tenants": {"t": {"charts": ["up"], "access": {"anonymous": ["pull"]}}},
    });
    let mut gateway = Gateway::start(config);
    let hold = upstream.hold(crate::support::fake::Target::Archives);
    let address = gateway.http;
    let download = std::thread::spawn(move || Call::get("/t/charts/slow-1.0.0.tgz").send(address));
    until("the fill to start", Duration::from_secs(10), || {
        (hold.arrived() > 0).then_some(())
    });
    gateway.signal("TERM");
    until("the listener to close", Duration::from_secs(10), || {
        Call::get("/health")
            .try_send(address)
            .is_err()
            .then_some(())
    });
    hold.release();
    let reply = download.join().expect("the client").expect(200);
    assert_eq!(reply.body, upstream.archive("slow", "1.0.0"));
    assert_eq!(gateway.wait_exit(), Some(0));
}

#[test]
fn a_successor_takes_the_sockets_over_and_no_request_fails() {
    let mut gateway = Gateway::start(hosted("t"));
    gateway
        .send(&Call::new("POST", "/api/t/charts").body(package("web", "1.0.0", &[])))
        .expect(201);
    let address = gateway.http;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let client = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            let mut answered = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                Call::get("/t/charts/web-1.0.0.tgz")
                    .send(address)
                    .expect(200);
                answered += 1;
            }
            answered
        })
    };
    let mut successor = gateway.successor();
    gateway.signal("QUIT");
    assert_eq!(gateway.wait_exit(), Some(0));
    successor.wait_ready();
    gateway.get("/t/charts/web-1.0.0.tgz").expect(200);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(client.join().expect("no request failed") > 0);
}

#[test]
fn index_and_explain_say_what_is_served_beside_a_running_gateway() {
    let first = FakeHelm::new()
        .chart("web", "1.0.0")
        .chart("db", "2.0.0")
        .run();
    let second = FakeHelm::new()
        .with(crate::support::fake::FakeChart::new("web", "1.0.0").content("other bytes"))
        .chart("web", "1.1.0-dev")
        .run();
    let upstream = |url: String| json!({"type": "helm", "url": url, "allow_private": true});
    let config = json!({
        "upstreams": {"first": upstream(first.url()), "second": upstream(second.url())},
        "tenants": {"t": {
            "hosted": {},
            "charts": ["first", {"upstream": "second", "versions": ">=1.0.0"}],
            "access": {"anonymous": ["pull", "push"]},
        }},
    });
    let gateway = Gateway::start(config);
    gateway
        .send(&Call::new("POST", "/api/t/charts").body(package("db", "9.0.0", &[])))
        .expect(201);
    let served = gateway.get("/t/index.yaml").expect(200).body;

    let printed = chartgate(
        gateway.folder(),
        &["index", "t", "--config", "gateway.yaml"],
    );
    assert!(
        printed.status.success(),
        "{}",
        String::from_utf8_lossy(&printed.stderr)
    );
    assert_eq!(
        printed.stdout, served,
        "the command prints the bytes that are served"
    );

    let explain = |arguments: &[&str]| {
        let all = [&["explain", "t"], arguments, &["--config", "gateway.yaml"]].concat();
        let answer = chartgate(gateway.folder(), &all);
        assert!(
            answer.status.success(),
            "{}",
            String::from_utf8_lossy(&answer.stderr)
        );
        String::from_utf8_lossy(&answer.stdout).into_owned()
    };
    let web = explain(&["web"]);
    assert!(web.contains("web 1.0.0 from `first`"), "{web}");
    assert!(
        web.contains("also in `second`") && web.contains("a conflict"),
        "{web}"
    );
    assert!(
        web.contains("web 1.1.0-dev from `second` is hidden"),
        "{web}"
    );
    let db = explain(&["db", "2.0.0"]);
    assert!(
        db.contains("db 2.0.0 from `first` is hidden") && db.contains("reserved"),
        "{db}"
    );
    let unknown = chartgate(
        gateway.folder(),
        &["explain", "nobody", "web", "--config", "gateway.yaml"],
    );
    assert_eq!(unknown.status.code(), Some(64));
}

#[test]
fn explain_tells_who_answers_for_an_image() {
    let upstream = |port: u16, exclude: &str| {
        let url = format!("http://127.0.0.1:{port}");
        json!({"type": "oci", "url": url, "allow_private": true, "exclude": [exclude]})
    };
    let gateway = Gateway::start(json!({
        "upstreams": {"hub": upstream(1, "evil/**"), "quay": upstream(2, "team/**")},
        "tenants": {"t": {
            "hosted": {},
            "registries": ["hub", "quay"],
            "access": {"anonymous": ["pull", "push"]},
        }},
    }));
    let blob = "/v2/t/team/app/blobs/uploads/";
    let digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let put = Call::new("POST", &format!("{blob}?digest={digest}")).body("{}");
    gateway.send(&put).expect(201);
    let explain = |what: &str| {
        let arguments = ["explain", "t", what, "--config", "gateway.yaml"];
        let answer = chartgate(gateway.folder(), &arguments);
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        (answer.status.success(), text)
    };
    for (what, words) in [
        (
            "team/app:1",
            "reserved, and no upstream is asked\n  there is no `1`",
        ),
        (
            "team/other:1",
            "1. upstream `hub` is asked for `team/other`\n  2. upstream `quay` is not asked: `include` or `exclude`",
        ),
        (
            "nginx",
            "nginx is not hosted in `t`\n  1. upstream `hub` is asked for `nginx`\n  2. upstream `quay` is asked",
        ),
        (
            "quay/nginx",
            "one upstream, and nobody else is asked\n  upstream `quay` is asked for `nginx`",
        ),
        ("hub/evil/x", "upstream `hub` is not asked"),
    ] {
        let (is_good, text) = explain(what);
        assert!(is_good && text.contains(words), "{what}: {text}");
    }
    assert!(!explain("No-Such").0);
}

#[test]
fn check_connect_tells_which_upstream_does_not_answer() {
    let good = FakeHelm::new().chart("web", "1.0.0").run();
    let bad = FakeHelm::new().chart("web", "1.0.0").run();
    bad.fail_index(Fault::Status(403));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let upstream = |url: String| json!({"type": "helm", "url": url, "allow_private": true});
    let config = json!({
        "data_dir": folder.path().join("data"),
        "upstreams": {"good": upstream(good.url()), "bad": upstream(bad.url())},
        "tenants": {"t": {"charts": ["good", "bad"]}},
    });
    std::fs::write(folder.path().join("gateway.yaml"), config.to_string()).expect("a file");
    let answer = chartgate(
        folder.path(),
        &["check", "--config", "gateway.yaml", "--connect"],
    );
    assert_eq!(answer.status.code(), Some(1));
    let table = String::from_utf8_lossy(&answer.stdout).into_owned();
    let row = |name: &str| {
        table
            .lines()
            .find(|line| line.contains(name))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(row("upstream good").contains("ok"), "{table}");
    assert!(
        row("upstream bad").contains("failed") && row("upstream bad").contains("403"),
        "{table}"
    );
}

#[test]
fn passwd_prints_a_line_that_logs_in() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut child = Command::new(env!("CARGO_BIN_EXE_chartgate"))
        .args(["passwd", "ci"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("starting the program");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(b"secret\n")
        .expect("writing");
    let line = child.wait_with_output().expect("its answer").stdout;
    assert!(
        line.starts_with(b"ci:$2"),
        "{}",
        String::from_utf8_lossy(&line)
    );
    std::fs::write(folder.path().join("htpasswd"), line).expect("a file");
    let config = json!({
        "auth": {"users_file": "htpasswd"},
        "tenants": {"t": {"hosted": {}, "access": {"rules": [{"subjects": ["user:ci"], "actions": ["pull"]}]}}},
    });
    let gateway = Gateway::start_in(folder, config);
    let ask = |credentials: &str| {
        gateway.send(&Call::get("/t/index.yaml").header("Authorization", credentials))
    };
    ask("Basic Y2k6c2VjcmV0").expect(200);
    ask("Basic Y2k6d3Jvbmc=").expect(401);
    gateway.get("/t/index.yaml").expect(401);
    gateway.get("/unknown/index.yaml").expect(401);
}
