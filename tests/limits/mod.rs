//! Limits through the whole program, and those that replicas share through a real redis.

mod alone;
mod script;
mod sharing;
mod together;

use chartgate::oci::{Algorithm, Digest};
use serde_json::{Value, json};

use crate::support::http::Reply;

/// A tenant that everybody may do everything in, with these limits.
fn open(limits: &Value) -> Value {
    json!({
        "hosted": {"overwrite": "allow"},
        "access": {"anonymous": ["pull", "push", "delete"]},
        "limits": limits,
    })
}

/// The seconds to wait that a refusal tells.
#[track_caller]
fn wait(reply: &Reply) -> u64 {
    assert_eq!(reply.status, 429, "{}", reply.text());
    let seconds = reply.header("retry-after").expect("when to come back");
    seconds.parse().expect("whole seconds")
}

fn sha256(bytes: &[u8]) -> String {
    Digest::of(Algorithm::Sha256, bytes).to_string()
}

/// Bytes that no compression makes smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(byte).collect()
}
