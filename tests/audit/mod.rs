//! The audit log through the whole program: what has a line, what has none, what no line may say.

/// What is noted besides requests, and of requests that are none.
mod beside;
/// Logs that cannot be written, or not as fast as they grow.
mod trouble;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::fake::package;
use crate::support::gateway::Gateway;
use crate::support::http::Call;
use crate::support::until;

/// A tenant that everybody may read and `ci` may change, one that is `ci`'s alone and one that he may only read.
fn config() -> Value {
    let ci = |actions: &[&str]| json!([{"subjects": ["user:ci"], "actions": actions}]);
    json!({
        "auth": {"users": {"ci": {"password": PASSWORD}, "eve": {"password": "another-secret"}}, "attempts": 100},
        "audit": {"file": "audit.log"},
        "upstreams": {"hub": {"type": "oci", "url": "http://127.0.0.1:9/", "allow_private": true}},
        "tenants": {
            "acme": {"hosted": true, "access": {"anonymous": ["pull"], "rules": ci(&["pull", "push", "delete"])}},
            "own": {"hosted": true, "access": {"rules": ci(&["pull"])}},
        },
    })
}

const PASSWORD: &str = "opensesame-7f3c";

/// `ci` with this password.
fn ci(call: Call, password: &str) -> Call {
    let credentials = chartgate::base64::encode(format!("ci:{password}").as_bytes());
    call.header("Authorization", &format!("Basic {credentials}"))
}

fn log_of(gateway: &Gateway) -> PathBuf {
    gateway.folder().join("audit.log")
}

/// The lines of the log so far.
fn lines(gateway: &Gateway) -> Vec<Value> {
    let text = std::fs::read_to_string(log_of(gateway)).expect("an audit log");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Waits for the one line that `is` it.
#[track_caller]
fn line(gateway: &Gateway, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    until(what, Duration::from_secs(10), || {
        let mut found = lines(gateway);
        found.retain(&is);
        assert!(found.len() <= 1, "{found:#?}");
        found.pop()
    })
}

#[test]
fn who_changes_something_has_a_line() {
    let gateway = Gateway::start(config());
    let chart = package("web", "1.2.3", &[]);
    let pushed = Call::new("POST", "/api/acme/charts").header("X-Request-Id", "push-1");
    let reply = gateway.send(&ci(pushed, PASSWORD).body(chart.clone()));
    reply.expect(201);
    let found = line(&gateway, "the push", |line| line["request_id"] == "push-1");
    assert_eq!(found["action"], "push");
    assert_eq!(found["route"], "upload");
    assert_eq!(found["tenant"], "acme");
    assert_eq!(found["who"], json!({"kind": "user", "name": "ci"}));
    assert_eq!(
        found["object"],
        json!({"kind": "chart", "name": "web", "reference": "1.2.3"})
    );
    let index = gateway.index("acme");
    let digest = index["entries"]["web"][0]["digest"].as_str();
    assert_eq!(
        found["digest"],
        format!("sha256:{}", digest.expect("a digest"))
    );
    assert_eq!(found["address"], "127.0.0.1");
    assert_eq!(
        (&found["result"], &found["status"]),
        (&json!("done"), &json!(201))
    );
    assert!(found.get("error").is_none());

    // The same again is allowed to him and not done.
    let again = Call::new("POST", "/api/acme/charts").header("X-Request-Id", "push-2");
    gateway.send(&ci(again, PASSWORD).body(chart)).expect(409);
    let found = line(&gateway, "the conflict", |line| {
        line["request_id"] == "push-2"
    });
    assert_eq!(
        (&found["result"], &found["error"]),
        (&json!("failed"), &json!("conflict"))
    );
    assert_eq!(
        found["object"],
        json!({"kind": "chart", "name": "web", "reference": "1.2.3"})
    );

    let manifest = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let image = Call::new("PUT", "/v2/acme/o/app/manifests/v1")
        .header("Content-Type", "application/vnd.oci.image.index.v1+json")
        .header("X-Request-Id", "push-3");
    let reply = gateway
        .send(&ci(image, PASSWORD).body(manifest))
        .expect(201);
    let found = line(&gateway, "the image", |line| line["request_id"] == "push-3");
    assert_eq!(
        found["object"],
        json!({"kind": "repository", "name": "o/app", "reference": "v1"})
    );
    assert_eq!(
        found["digest"],
        reply.header("docker-content-digest").expect("a digest")
    );

    let deleted = Call::new("DELETE", "/api/acme/charts/web/1.2.3").header("X-Request-Id", "del-1");
    gateway.send(&ci(deleted, PASSWORD)).expect(200);
    let found = line(&gateway, "the deletion", |line| {
        line["request_id"] == "del-1"
    });
    assert_eq!(
        (&found["action"], &found["result"]),
        (&json!("delete"), &json!("done"))
    );
    assert_eq!(found["object"]["reference"], "1.2.3");

    Call::new("POST", "/upstreams/hub/refresh")
        .header("X-Request-Id", "admin-1")
        .body("")
        .send(gateway.admin)
        .expect(200);
    let found = line(&gateway, "the operator", |line| {
        line["request_id"] == "admin-1"
    });
    assert_eq!(
        (&found["action"], &found["route"], &found["who"]["kind"]),
        (&json!("admin"), &json!("refresh"), &json!("operator"))
    );
    assert_eq!(found["object"]["name"], "hub");

    // What only reads has none.
    gateway.get("/acme/index.yaml").expect(200);
    gateway.admin("/upstreams").expect(200);
    assert_eq!(lines(&gateway).len(), 5);
}

#[test]
fn who_is_refused_has_a_line_and_those_who_go_on_are_counted() {
    let mut gateway = Gateway::start(config());
    let mut expected = Vec::new();
    let mut denied = |call: Call, id: &str, status: u16, error: &str, tenant: Option<&str>| {
        let reply = gateway.send(&call.header("X-Request-Id", id));
        reply.expect(status);
        expected.push((
            id.to_owned(),
            u64::from(status),
            error.to_owned(),
            tenant.map(str::to_owned),
        ));
    };
    // Nobody, somebody with a wrong password, somebody who may read only, and somebody to whom it looks absent.
    denied(
        Call::new("POST", "/api/acme/charts").body("x"),
        "nobody",
        401,
        "unauthenticated",
        Some("acme"),
    );
    denied(
        ci(Call::get("/acme/index.yaml"), "wrong-guess-91"),
        "wrong",
        401,
        "unauthenticated",
        None,
    );
    denied(
        ci(Call::new("POST", "/api/own/charts").body("x"), PASSWORD),
        "reader",
        403,
        "forbidden",
        Some("own"),
    );
    let eve = "Basic ZXZlOmFub3RoZXItc2VjcmV0";
    denied(
        Call::get("/own/index.yaml").header("Authorization", eve),
        "hidden",
        404,
        "not_found",
        Some("own"),
    );
    denied(
        // A push, because another pull would count as the same.
        Call::new("PUT", "/v2/own/o/app/manifests/v1")
            .header("Authorization", eve)
            .body("x"),
        "hidden-image",
        404,
        "not_found",
        Some("own"),
    );
    denied(
        ci(Call::get("/token?service=x"), "wrong-guess-91"),
        "token",
        401,
        "unauthenticated",
        None,
    );
    // What does not exist is no refusal, and the first question of every registry client is none either.
    let absent = Call::get("/nowhere/index.yaml").header("Authorization", eve);
    gateway.send(&absent).expect(404);
    gateway.get("/v2/").expect(401);
    for _ in 0..20 {
        gateway
            .send(&ci(Call::get("/acme/index.yaml"), "wrong-guess-92"))
            .expect(401);
    }
    gateway.stop();
    let lines = lines(&gateway);
    for (id, status, error, tenant) in &expected[..] {
        // Two that count as the same may have one line between them; these do not.
        let found: Vec<&Value> = lines
            .iter()
            .filter(|line| line["request_id"] == id.as_str() && line.get("repeated").is_none())
            .collect();
        assert_eq!(found.len(), 1, "{id}: {lines:#?}");
        assert_eq!(found[0]["result"], "denied", "{id}");
        assert_eq!(found[0]["status"], *status, "{id}");
        assert_eq!(found[0]["error"], error.as_str(), "{id}");
        assert_eq!(found[0]["tenant"].as_str(), tenant.as_deref(), "{id}");
    }
    let repeated: Vec<u64> = lines
        .iter()
        .filter_map(|line| line["repeated"].as_u64())
        .collect();
    assert_eq!(repeated, [20], "{lines:#?}");
    assert_eq!(lines.len(), expected.len() + 1, "{lines:#?}");
    let text = std::fs::read_to_string(log_of(&gateway)).expect("a log");
    for secret in [PASSWORD, "wrong-guess", "another-secret", "Basic", "ZXZl"] {
        assert!(!text.contains(secret), "`{secret}` is in the log:\n{text}");
    }
}

#[test]
fn names_from_outside_forge_no_line() {
    let mut gateway = Gateway::start(config());
    for path in [
        "/acme/charts/a%0a%7B%22action%22:%22push%22%7D.tgz",
        "/api/own/charts/a%0A%22,%22result%22:%22done/1%E2%80%A8",
        "/v2/own/o%0a/app/manifests/v1",
        "/own%E2%80%AE/index.yaml",
    ] {
        let call = Call::new("DELETE", path).header("X-Request-Id", "x\",\"result\":\"done");
        gateway.send(&call);
        gateway.send(&Call::get(path));
    }
    gateway.stop();
    let text = std::fs::read_to_string(log_of(&gateway)).expect("a log");
    assert!(!text.is_empty());
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(value["result"], "denied", "{line}");
        assert!(line.bytes().all(|b| matches!(b, b' '..=b'~')), "{line}");
    }
}

#[test]
fn a_log_that_was_moved_away_is_begun_again_on_a_signal() {
    let gateway = Gateway::start(config());
    gateway
        .send(&Call::new("POST", "/api/acme/charts").body("x"))
        .expect(401);
    line(&gateway, "a line", |line| line["tenant"] == "acme");
    let moved = gateway.folder().join("moved.log");
    std::fs::rename(log_of(&gateway), &moved).expect("a rename");
    gateway.signal("HUP");
    gateway
        .send(&Call::new("DELETE", "/api/own/charts/web/1.0.0"))
        .expect(401);
    until("a new file", Duration::from_secs(10), || {
        log_of(&gateway).exists().then_some(())
    });
    line(&gateway, "a line", |line| line["tenant"] == "own");
    assert_eq!(
        std::fs::read_to_string(moved)
            .expect("a log")
            .lines()
            .count(),
        1
    );
}

#[test]
fn a_log_that_cannot_be_opened_keeps_the_gateway_from_starting() {
    let mut wrong = config();
    wrong["audit"]["file"] = json!("absent/audit.log");
    let mut gateway = Gateway::prepare(tempfile::tempdir().expect("a folder"), wrong);
    gateway.run();
    assert_ne!(gateway.wait_exit(), Some(0));
    gateway.wait_log(&["absent/audit.log"]);
}
