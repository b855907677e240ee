//! Rules about names of charts and repositories, through the whole program.

/// Helm and crane as a user who may see some names only.
mod clients;
/// Every route, for every kind of caller and name, against a table.
mod table;
/// What lists show, and that they cost nothing more.
mod views;

use std::path::Path;

use chartgate::base64;
use chartgate::oci::{Algorithm, Digest};
use serde_json::{Value, json};

use crate::support::fake::{FakeRegistry, FakeUpstream, RunningRegistry, package};
use crate::support::gateway::Gateway;
use crate::support::http::{Call, Reply};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An upstream of charts, one of images, and a gateway in front of them with a tenant `acme`:
/// `all` may do everything, `reader` pull everything, `pusher` only push `app-*`, `hubber` only pull what is named after `hub`;
/// `team`, `twin` and `job`, who has somebody else's token, may pull `app-*` and change `app-web*`; `token`, which is one of ours,
/// may pull `app-*`; `outsider` nothing.
struct World {
    gateway: Gateway,
    /// Those who show a token.
    bearers: [(&'static str, String); 2],
    hub: RunningRegistry,
    _charts: FakeUpstream,
}

fn world() -> World {
    let charts = crate::support::fake::FakeHelm::new()
        .chart("app-up", "1.0.0")
        .chart("secret-up", "1.0.0")
        .run();
    let hub = FakeRegistry::open()
        .image("app-hub", "v1")
        .image("secret-hub", "v1")
        .run();
    let users = [
        "all", "reader", "pusher", "hubber", "team", "twin", "outsider",
    ];
    let users: serde_json::Map<_, _> = users
        .iter()
        .map(|user| ((*user).to_owned(), json!({"password": password(user)})))
        .collect();
    let rules = json!([
        {"subjects": "user:all", "actions": ["pull", "push", "delete"]},
        {"subjects": "user:reader", "actions": "pull"},
        {"subjects": "user:pusher", "actions": "push", "names": "app-*"},
        {"subjects": "user:hubber", "actions": "pull", "names": "hub/**"},
        {"subjects": TEAM, "actions": "pull", "names": ["app-*"]},
        {"subjects": TEAM, "actions": ["push", "delete"], "names": ["app-web*"]},
    ]);
    let folder = tempfile::tempdir().expect("a folder");
    let job = job(folder.path());
    let issuer = json!({
        "name": "corp",
        "public_key_file": "tokens.pem",
        "audience": "charts",
        "subject_claim": "sub",
    });
    let gateway = Gateway::start_in(
        folder,
        json!({
            "auth": {"users": users, "jwt": issuer, "api_tokens": true},
            "upstreams": {
                "up": {"type": "helm", "url": charts.url(), "allow_private": true},
                "hub": {"type": "oci", "url": hub.url(), "allow_private": true},
            },
            "tenants": {
                "acme": {
                    "hosted": {"overwrite": "allow"},
                    "charts": ["up"],
                    "registries": ["hub"],
                    "access": {"rules": rules},
                },
            },
        }),
    );
    let wish =
        json!({"name": "token", "tenants": ["acme"], "actions": ["pull"], "names": ["app-*"]});
    let made = Call::new("POST", "/tokens")
        .header("Content-Type", "application/json")
        .body(wish.to_string())
        .send(gateway.admin)
        .expect(201);
    let token = made.json()["token"].as_str().expect("a token").to_owned();
    let world = World {
        gateway,
        bearers: [("job", job), ("token", token)],
        hub,
        _charts: charts,
    };
    for name in HOSTED {
        world.push_chart("all", name, "1.0.0").expect(201);
        world.push_image("all", name, "v1");
    }
    world
}

const TEAM: [&str; 3] = ["user:team", "user:twin", "user:corp:job"];

/// A token of somebody else's for `job`, and the key that it is signed for.
fn job(folder: &Path) -> String {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    std::fs::write(folder.join("tokens.pem"), pair.public_key_pem()).expect("written");
    let key = jsonwebtoken::EncodingKey::from_ed_pem(pair.serialize_pem().as_bytes());
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
    let end = jiff::Timestamp::now().as_second() + 3_600;
    let claims = json!({"aud": "charts", "sub": "job", "exp": end});
    jsonwebtoken::encode(&header, &claims, &key.expect("a key")).expect("signed")
}

/// What `all` has pushed.
const HOSTED: [&str; 3] = ["app-web", "app-api", "secret"];

fn password(user: &str) -> String {
    format!("the password of {user}")
}

fn sha256(bytes: &[u8]) -> String {
    Digest::of(Algorithm::Sha256, bytes).to_string()
}

/// The one blob of each repository, another one in each.
fn blob(name: &str) -> Vec<u8> {
    format!("a blob of {name}").into_bytes()
}

/// The manifest under `tag`: an index of nothing, which needs no blobs.
fn manifest(name: &str, tag: &str) -> Vec<u8> {
    let document = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [],
        "annotations": {"name": name, "tag": tag},
    });
    document.to_string().into_bytes()
}

impl World {
    /// Sends `call` as `user`; `anonymous` shows nothing.
    #[track_caller]
    fn as_(&self, user: &str, call: Call) -> Reply {
        let bearer = self.bearers.iter().find(|(name, _)| *name == user);
        let call = if user == "anonymous" {
            call
        } else if let Some((_, token)) = bearer {
            call.header("Authorization", &format!("Bearer {token}"))
        } else {
            let text = base64::encode(format!("{user}:{}", password(user)).as_bytes());
            call.header("Authorization", &format!("Basic {text}"))
        };
        self.gateway.send(&call)
    }

    #[track_caller]
    fn get(&self, user: &str, path: &str) -> Reply {
        self.as_(user, Call::get(path))
    }

    fn push_chart(&self, user: &str, name: &str, version: &str) -> Reply {
        let call = Call::new("POST", "/api/acme/charts");
        self.as_(user, call.body(package(name, version, &[])))
    }

    fn put_manifest(&self, user: &str, name: &str, tag: &str) -> Reply {
        let path = format!("/v2/acme/{name}/manifests/{tag}");
        let call = Call::new("PUT", &path).header("Content-Type", INDEX);
        self.as_(user, call.body(manifest(name, tag)))
    }

    #[track_caller]
    fn push_image(&self, user: &str, name: &str, tag: &str) {
        let bytes = blob(name);
        let path = format!("/v2/acme/{name}/blobs/uploads/?digest={}", sha256(&bytes));
        self.as_(user, Call::new("POST", &path).body(bytes))
            .expect(201);
        self.put_manifest(user, name, tag).expect(201);
    }
}

/// The names in a JSON list or the keys of an object, in order.
fn names(value: &Value) -> Vec<String> {
    match value {
        Value::Array(all) => all
            .iter()
            .map(|one| one.as_str().expect("a name").to_owned())
            .collect(),
        Value::Object(all) => all.keys().cloned().collect(),
        other => panic!("no names: {other}"),
    }
}
