//! Configurations of gateways that are registries.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::stores::BUCKET;

/// An upstream of `type: oci` on this machine, which must answer soon.
pub(crate) fn oci(url: &str) -> Value {
    json!({"type": "oci", "url": url, "allow_private": true, "timeout": "5s"})
}

/// The same as the user that fakes know.
pub(crate) fn oci_as(url: &str, user: &str, password: &str) -> Value {
    let mut upstream = oci(url);
    upstream["auth"] = json!({"username": user, "password": password});
    upstream
}

/// A tenant that hosts, for everybody.
pub(crate) fn hosted() -> Value {
    json!({
        "hosted": {"overwrite": "allow", "delete": true},
        "access": {"anonymous": ["pull", "push", "delete"]},
    })
}

/// The store of MinIO's bucket.
pub(crate) fn minio(address: SocketAddr) -> Value {
    json!({
        "type": "s3", "bucket": BUCKET, "endpoint": format!("http://{address}"), "prefix": "registry",
        "access_key_id": "minio-user", "secret_access_key": "minio-password",
    })
}

/// A tenant that hosts for these users, and for nobody else.
pub(crate) fn hosted_for(users: &[&str]) -> Value {
    let subjects: Vec<_> = users.iter().map(|user| format!("user:{user}")).collect();
    let mut tenant = hosted();
    tenant["access"] = json!({
        "rules": [{"subjects": subjects, "actions": ["pull", "push", "delete"]}],
    });
    tenant
}

/// A tenant of these upstream registries, for everybody to read.
pub(crate) fn mirror(upstreams: &[&str]) -> Value {
    json!({"registries": upstreams, "access": {"anonymous": ["pull"]}})
}

/// A tenant that hosts, for everybody, before these upstream registries.
pub(crate) fn group(upstreams: &[&str]) -> Value {
    let mut tenant = hosted();
    tenant["registries"] = json!(upstreams);
    tenant
}
