//! chartgate's own API tokens through the whole program: commands, admin API, clients, replicas.

mod admin;
mod clients;
mod commands;
mod replicas;
mod requests;

use std::process::{Command, Output};
use std::time::Duration;

use chartgate::base64;
use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::http::{Call, Reply};
use crate::support::until;

/// What a second is on a machine that does other things, too.
const A_SECOND: Duration = Duration::from_secs(10);

/// `acme/a` and `acme/b` for nobody but holders of tokens, `pub` for everybody to read.
fn config() -> Value {
    json!({
        "auth": {"api_tokens": true},
        "audit": {"file": "audit.log"},
        "tenants": {
            "acme/a": {"hosted": {"delete": true}},
            "acme/b": {"hosted": true},
            "pub": {"hosted": true, "access": {"anonymous": "pull"}},
        },
    })
}

/// `chartgate token …` with the configuration of a gateway.
fn command(gateway: &Gateway, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chartgate"))
        .arg("token")
        .args(arguments)
        .args(["--config", "gateway.yaml"])
        .current_dir(gateway.folder())
        .output()
        .expect("running the program")
}

/// What a command prints that ends well.
#[track_caller]
fn ok(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = command(gateway, arguments);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {told}");
    String::from_utf8(output.stdout).expect("text")
}

/// A new token.
#[track_caller]
fn create(gateway: &Gateway, tenants: &str, actions: &str, more: &[&str]) -> String {
    let mut arguments = vec![
        "create",
        "--name=ci",
        "--tenants",
        tenants,
        "--actions",
        actions,
    ];
    arguments.extend(more);
    let token = ok(gateway, &arguments);
    let token = token.strip_suffix('\n').expect("a line");
    assert!(
        token.starts_with("cgt_") && !token.contains('\n'),
        "{token}"
    );
    token.to_owned()
}

/// The id in a token.
fn id(token: &str) -> &str {
    &token[4..16]
}

fn bearer(call: Call, token: &str) -> Call {
    call.header("Authorization", &format!("Bearer {token}"))
}

fn basic(call: Call, user: &str, token: &str) -> Call {
    let text = base64::encode(format!("{user}:{token}").as_bytes());
    call.header("Authorization", &format!("Basic {text}"))
}

/// The answer to `GET path` by the holder of a token.
#[track_caller]
fn get(gateway: &Gateway, path: &str, token: &str) -> Reply {
    bearer(Call::get(path), token).send(gateway.http)
}

/// Waits until the holder of a token is answered so.
#[track_caller]
fn until_status(gateway: &Gateway, path: &str, token: &str, status: u16) {
    until(&format!("{status} for {path}"), A_SECOND, || {
        (get(gateway, path, token).status == status).then_some(())
    });
}

/// The lines of the audit log about tokens.
fn audited(gateway: &Gateway) -> Vec<Value> {
    let text = std::fs::read_to_string(gateway.folder().join("audit.log")).unwrap_or_default();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines
        .filter(|line| {
            line["route"]
                .as_str()
                .is_some_and(|route| route.starts_with("token_"))
        })
        .collect()
}
