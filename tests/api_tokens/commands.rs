//! `chartgate token` beside a running gateway.

use std::process::Stdio;

use super::*;

#[test]
fn what_the_commands_do_counts_without_a_restart() {
    let gateway = Gateway::start(config());
    let token = create(&gateway, "acme/*", "pull,push", &[]);
    get(&gateway, "/acme/a/index.yaml", &token).expect(200);
    get(&gateway, "/pub/index.yaml", &token).expect(200);
    let second = create(&gateway, "acme/b", "pull", &["--expires", "never"]);
    until_status(&gateway, "/acme/b/index.yaml", &second, 200);
    get(&gateway, "/acme/a/index.yaml", &second).expect(404);

    let listed: Value = serde_json::from_str(&ok(&gateway, &["list", "--json"])).expect("JSON");
    let tokens = listed["tokens"].as_array().expect("a list");
    assert_eq!(tokens.len(), 2);
    let first = tokens
        .iter()
        .find(|one| one["id"] == id(&token))
        .expect("listed");
    assert_eq!(first["name"], "ci");
    assert_eq!(first["state"], "active");
    assert_eq!(first["tenants"], json!(["acme/*"]));
    assert_eq!(first["actions"], json!(["pull", "push"]));
    assert!(
        first["last_used"].is_string() && first["expires"].is_string(),
        "{first}"
    );
    let other = tokens
        .iter()
        .find(|one| one["id"] == id(&second))
        .expect("listed");
    assert!(other["expires"].is_null(), "{other}");
    let table = ok(&gateway, &["list"]);
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(
        table.contains(id(&token)) && table.contains("never"),
        "{table}"
    );
    for text in [&token, &second] {
        let secret = &text[17..];
        assert!(!table.contains(secret) && !listed.to_string().contains(secret));
    }

    ok(&gateway, &["revoke", id(&token)]);
    until_status(&gateway, "/acme/a/index.yaml", &token, 401);
    get(&gateway, "/acme/b/index.yaml", &second).expect(200);
    // The one that was found somewhere.
    ok(&gateway, &["revoke", &second]);
    until_status(&gateway, "/acme/b/index.yaml", &second, 401);
    let again = command(&gateway, &["revoke", id(&token)]);
    assert_eq!(again.status.code(), Some(1));

    // Neither the log nor the audit log knows a secret.
    let audit = std::fs::read_to_string(gateway.folder().join("audit.log")).expect("a log");
    for text in [&token, &second] {
        assert!(!gateway.log().contains(&text[17..]) && !audit.contains(&text[17..]));
    }
    let lines = audited(&gateway);
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["route"].as_str(),
                line["object"]["reference"].as_str(),
                line["result"].as_str(),
            )
        })
        .collect();
    let (one, two) = (Some(id(&token)), Some(id(&second)));
    assert_eq!(
        told,
        [
            (Some("token_create"), one, Some("done")),
            (Some("token_create"), two, Some("done")),
            (Some("token_revoke"), one, Some("done")),
            (Some("token_revoke"), two, Some("done")),
            (Some("token_revoke"), None, Some("failed")),
        ]
    );
    assert!(
        lines
            .iter()
            .all(|line| line["who"]["kind"] == "operator" && line["action"] == "admin")
    );
}

#[test]
fn what_a_token_may_do_is_explained() {
    let gateway = Gateway::start(config());
    let token = create(&gateway, "acme/a", "pull,push", &["--names=app-*"]);
    let explain = |whom: &str, place: &str, action: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_chartgate"))
            .args(["explain", "--as", whom, place, action])
            .args(["--config", "gateway.yaml"])
            .current_dir(gateway.folder())
            .output()
            .expect("running the program");
        let told = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(told).expect("text"))
    };
    let whom = format!("token:{}", id(&token));
    for (place, action, words) in [
        (
            "acme/a/app-x",
            "push",
            "`ci` may push `app-x` in tenant `/acme/a`: the token says so",
        ),
        ("acme/a/other", "pull", "`ci` may not pull `other`"),
        ("acme/a/app-x", "delete", "`ci` may not delete `app-x`"),
        ("acme/b", "pull", "`ci` may not pull in tenant `/acme/b`"),
        ("pub", "pull", "everybody may"),
    ] {
        let (code, told) = explain(&whom, place, action);
        assert!(told.contains(words), "{place} {action}: {told}");
        assert_eq!(code, Some(0));
    }
    ok(&gateway, &["revoke", id(&token)]);
    let (code, told) = explain(&whom, "acme/a", "pull");
    assert_eq!(code, Some(64), "{told}");
    assert!(told.contains("there is no token"), "{told}");
}

#[test]
fn several_commands_at_once_all_count() {
    let gateway = Gateway::start(config());
    let start = |number: usize| {
        Command::new(env!("CARGO_BIN_EXE_chartgate"))
            .args([
                "token",
                "create",
                "--tenants=acme/a",
                "--actions=pull",
                "--config=gateway.yaml",
            ])
            .arg(format!("--name=n{number}"))
            .current_dir(gateway.folder())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("running the program")
    };
    let running: Vec<_> = (0..6).map(start).collect();
    for process in running {
        let output = process.wait_with_output().expect("ended");
        assert!(output.status.success());
        let token = String::from_utf8(output.stdout).expect("text");
        until_status(&gateway, "/acme/a/index.yaml", token.trim(), 200);
    }
    let listed: Value = serde_json::from_str(&ok(&gateway, &["list", "--json"])).expect("JSON");
    assert_eq!(listed["tokens"].as_array().map(Vec::len), Some(6));
}

#[test]
fn wrong_wishes_are_refused_with_a_reason() {
    let mut config = config();
    config["auth"]["api_tokens"] = json!({"max_age": "30d"});
    let gateway = Gateway::prepare(tempfile::tempdir().expect("a folder"), config.clone());
    for (arguments, code, word) in [
        (
            &["create", "--name=a b", "--tenants=a", "--actions=pull"][..],
            64,
            "name",
        ),
        (
            &["create", "--name=ci", "--tenants=a*", "--actions=pull"],
            64,
            "pattern",
        ),
        (
            &[
                "create",
                "--name=ci",
                "--tenants=a",
                "--actions=pull",
                "--names=a[",
            ],
            64,
            "pattern",
        ),
        (
            &["create", "--name=ci", "--tenants=a", "--actions=fly"],
            64,
            "`fly` is no action",
        ),
        (
            &[
                "create",
                "--name=ci",
                "--tenants=a",
                "--actions=pull",
                "--expires=31d",
            ],
            64,
            "max_age",
        ),
        (
            &[
                "create",
                "--name=ci",
                "--tenants=a",
                "--actions=pull",
                "--expires=never",
            ],
            64,
            "max_age",
        ),
        (&["revoke", "nobody"], 64, "is not the id"),
        (&["revoke", "0123456789ab"], 1, "there is no token"),
    ] {
        let output = command(&gateway, arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains(word), "{arguments:?}: {told}");
        assert!(output.stdout.is_empty());
    }
    assert!(!gateway.data().join("tokens").exists(), "nothing was made");

    config["auth"] = json!({});
    gateway.configure(&config);
    let output = command(&gateway, &["list"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("auth.api_tokens"));
}

/// Where a token comes back after its file was taken away, or was half written, it was not.
#[test]
fn a_killed_gateway_forgets_nothing() {
    let mut gateway = Gateway::start(config());
    let token = create(&gateway, "acme/a", "pull", &[]);
    let revoked = create(&gateway, "acme/a", "pull", &[]);
    until_status(&gateway, "/acme/a/index.yaml", &revoked, 200);
    ok(&gateway, &["revoke", id(&revoked)]);
    gateway.restart();
    get(&gateway, "/acme/a/index.yaml", &token).expect(200);
    get(&gateway, "/acme/a/index.yaml", &revoked).expect(401);
}
