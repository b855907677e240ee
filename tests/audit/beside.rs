use std::fs::File;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{PASSWORD, ci, config, line, lines, log_of};
use crate::support::files_below;
use crate::support::gateway::Gateway;
use crate::support::http::{Call, exchange};

#[test]
fn requests_that_are_none_have_a_line_and_a_count() {
    let mut gateway = Gateway::start(config());
    for head in [
        "GET /acme/index.yaml HTTP/1.1\r\n\r\n",
        "GET /acme/index.yaml HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET /acme/%00 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /acme/index.yaml HTTP/1.1\r\nHost: a\r\nNo colon\r\n\r\n",
    ] {
        let reply = exchange(gateway.http, head.as_bytes(), false);
        reply.expect("an answer").expect(400);
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a/".repeat(9_000));
    let reply = exchange(gateway.http, long.as_bytes(), false);
    reply.expect("an answer").expect(414);
    // Well-formed, and its path climbs: nobody gets as far as to be asked who he is.
    for _ in 0..5 {
        let climbs = Call::get("/v2/acme/../own/manifests/1").header("X-Request-Id", "climbs");
        gateway.send(&climbs).expect(400);
    }
    // What simply is not there is no such thing.
    gateway.get("/acme/charts/absent-1.0.0.tgz").expect(404);
    let metrics = gateway.admin("/metrics").text();
    let counted = "chartgate_requests_total{code=\"400\",route=\"none\",tenant=\"-\"} 4";
    assert!(metrics.contains(counted), "{metrics}");
    gateway.stop();
    let lines = lines(&gateway);
    assert!(lines.iter().all(|line| line["action"] == "request"
        && line["result"] == "denied"
        && line["who"]["kind"] == "unknown"
        && line["address"] == "127.0.0.1"));
    let times = |status: u64| -> Vec<u64> {
        let of = lines.iter().filter(|line| line["status"] == status);
        of.map(|line| line["repeated"].as_u64().unwrap_or(1))
            .collect()
    };
    assert_eq!(times(400), [1, 3 + 5], "{lines:#?}");
    assert_eq!(times(414), [1], "{lines:#?}");
    assert_eq!(lines.len(), 3, "{lines:#?}");
}

#[test]
fn a_reload_has_a_line_whatever_becomes_of_it() {
    let gateway = Gateway::start(config());
    let is_reload = |result: &'static str| {
        move |line: &Value| line["route"] == "reload" && line["result"] == result
    };
    gateway.signal("HUP");
    let found = line(&gateway, "the reload", is_reload("done"));
    assert_eq!(
        (
            &found["action"],
            &found["who"]["kind"],
            &found["object"]["name"]
        ),
        (&json!("admin"), &json!("operator"), &json!("gateway.yaml"))
    );
    let mut wrong = config();
    wrong["tenants"] = json!(7);
    gateway.configure(&wrong);
    gateway.signal("HUP");
    line(&gateway, "the failed reload", is_reload("failed"));
}

/// `chartgate gc` with the gateway's own configuration.
fn collect(gateway: &Gateway, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chartgate"))
        .args(["gc", "--config", "gateway.yaml"])
        .args(arguments)
        .current_dir(gateway.folder())
        .output()
        .expect("running the program")
}

/// An image that is pushed, removed and old; its digest.
fn forget_an_image(gateway: &Gateway) -> String {
    let manifest = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let image = Call::new("PUT", "/v2/acme/o/app/manifests/v1")
        .header("Content-Type", "application/vnd.oci.image.index.v1+json");
    let reply = gateway
        .send(&ci(image, PASSWORD).body(manifest))
        .expect(201);
    let digest = reply.header("docker-content-digest").expect("a digest");
    let digest = digest.to_owned();
    let path = format!("/v2/acme/o/app/manifests/{digest}");
    gateway
        .send(&ci(Call::new("DELETE", &path), PASSWORD))
        .expect(202);
    let then = SystemTime::now() - Duration::from_hours(72);
    for path in files_below(&gateway.data().join("hosted/v2")) {
        let file = File::options().write(true).open(&path).expect("a file");
        file.set_modified(then).expect("ours");
    }
    digest
}

#[test]
fn what_is_collected_has_lines_in_the_same_log() {
    let gateway = Gateway::start(config());
    let digest = forget_an_image(&gateway);
    // What is only counted changes nothing.
    assert!(collect(&gateway, &[]).status.success());
    let output = collect(&gateway, &["--delete"]);
    assert!(output.status.success(), "{output:?}");
    // The gateway goes on with the same file.
    gateway
        .send(&Call::new("DELETE", "/api/own/charts/web/1.0.0"))
        .expect(401);
    line(&gateway, "the denial", |line| line["result"] == "denied");
    let lines = lines(&gateway);
    let of_gc: Vec<&Value> = lines.iter().filter(|line| line["route"] == "gc").collect();
    assert_eq!(of_gc.len(), 2, "{lines:#?}");
    assert_eq!(of_gc[0]["action"], "delete");
    assert_eq!(of_gc[0]["object"]["kind"], "content");
    assert_eq!(of_gc[0]["digest"], digest.as_str());
    assert_eq!(of_gc[0]["who"]["kind"], "operator");
    assert_eq!(
        (&of_gc[1]["action"], &of_gc[1]["result"]),
        (&json!("admin"), &json!("done"))
    );
}

#[test]
fn nothing_is_collected_where_it_cannot_be_noted() {
    let gateway = Gateway::start(config());
    let digest = forget_an_image(&gateway);
    let bytes = || {
        let name = digest.strip_prefix("sha256:").expect("a digest");
        files_below(&gateway.data().join("hosted/v2/blobs"))
            .iter()
            .any(|path| path.ends_with(name))
    };
    assert!(bytes());
    let mut wrong = config();
    wrong["audit"]["file"] = json!("absent/audit.log");
    wrong["data_dir"] = json!(gateway.data());
    gateway.configure(&wrong);
    let output = collect(&gateway, &["--delete"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("absent/audit.log"), "{said}");
    assert!(bytes(), "it was removed without a trace");
    assert!(std::fs::read_to_string(log_of(&gateway)).is_ok_and(|text| !text.contains("\"gc\"")));
}
