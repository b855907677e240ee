//! Every way to be somebody, through the whole program.

mod clients;
mod jwks;
mod logins;

use serde_json::{Value, json};

use crate::support::http::{Call, Reply};

/// Who issues the tokens of these tests.
const ISSUER: &str = "https://issuer.example.com";

/// An `auth.jwt` entry whose keys are at `url`.
fn issuer(url: &str) -> Value {
    json!({"issuer": ISSUER, "audience": "chartgate", "jwks_url": url})
}

/// A configuration with these issuers. `acme` is for jobs of `acme/*`, service accounts of `build` and projects of `acme`.
fn config(issuers: &Value) -> Value {
    json!({
        "auth": {"jwt": issuers},
        "tenants": {"acme": {
            "hosted": {"delete": true},
            "access": {"rules": [{
                "subjects": [
                    "claim:repository=acme/*",
                    "claim:project_path=acme/*",
                    "claim:kubernetes.io.namespace=build",
                ],
                "actions": ["pull", "push", "delete"],
            }]},
        }},
    })
}

/// A question for the index of `acme` by the holder of a token.
fn index(token: &str) -> Call {
    bearer(Call::get("/acme/index.yaml"), token)
}

fn bearer(call: Call, token: &str) -> Call {
    call.header("Authorization", &format!("Bearer {token}"))
}

fn basic(call: Call, user: &str, password: &str) -> Call {
    call.header(
        "Authorization",
        &crate::support::clients::basic(user, password),
    )
}

/// How often logins failed on a surface for a reason, as the metrics have it.
fn failed(metrics: &Reply, surface: &str, reason: &str) -> u64 {
    let name =
        format!("chartgate_logins_failed_total{{reason=\"{reason}\",surface=\"{surface}\"}} ");
    let text = metrics.text();
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |value| value.parse().expect("a number"))
}
