//! Every kind of registry, each under the names that it has in the world, with and without credentials.

use std::net::SocketAddr;

use serde_json::json;

use super::{assert_is, blob, tag};
use crate::registry_clients::Place;
use crate::support::fake::{Authority, FakeProxy, FakeRegistry, Row, RunningRegistry, Spot};
use crate::support::gateway::Gateway;
use crate::support::registries::mirror;

const TAGS: [&str; 5] = ["1.0", "1.1", "2.0", "edge", "latest"];
const PASSWORD: &str = "p\u{e4}ss:word";

/// A registry of the world: what it is called, where its tokens come from, where its blobs are.
struct Kind {
    row: Row,
    host: &'static str,
    realm: Option<&'static str>,
    blobs: &'static str,
    user: &'static str,
}

const fn kind(row: Row, host: &'static str, user: &'static str) -> Kind {
    Kind {
        row,
        host,
        realm: None,
        blobs: "blobs.cdn.test",
        user,
    }
}

const KINDS: [Kind; 13] = [
    kind(Row::Plain, "registry.example.com", "me"),
    Kind {
        realm: Some("https://auth.docker.io/token"),
        blobs: "production.cloudflare.docker.com",
        ..kind(Row::DockerHub, "registry-1.docker.io", "me")
    },
    kind(Row::Ghcr, "ghcr.io", "me"),
    kind(Row::Quay, "quay.io", "acme+robot"),
    kind(
        Row::Ecr,
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com",
        "AWS",
    ),
    kind(Row::EcrPublic, "public.ecr.aws", "AWS"),
    kind(Row::Gar, "europe-docker.pkg.dev", "_json_key"),
    kind(
        Row::Acr,
        "acme.azurecr.io",
        "00000000-0000-0000-0000-000000000000",
    ),
    kind(Row::Harbor, "harbor.example.com", "robot$acme+ci"),
    kind(Row::QingCloud, "dockerhub.qingcloud.com", "me"),
    kind(Row::Nexus, "nexus.example.com", "me"),
    kind(Row::Artifactory, "acme.jfrog.io", "me"),
    kind(Row::RedHat, "registry.access.redhat.com", "me"),
];

impl Kind {
    fn name(&self) -> String {
        format!("{:?}", self.row).to_lowercase()
    }

    fn hosts(&self) -> Vec<String> {
        let mut hosts = vec![self.host.to_owned(), self.blobs.to_owned()];
        hosts.extend(
            self.realm
                .and_then(|realm| Some(realm.split('/').nth(2)?.to_owned())),
        );
        hosts
    }

    fn run(&self, authority: &Authority) -> RunningRegistry {
        let mut fake = FakeRegistry::of(self.row).user(self.user, PASSWORD);
        for tag in TAGS {
            fake = fake.image("library/app", tag);
        }
        fake = fake.image("acme/secret", "1.0").private("acme/secret");
        if let Some(realm) = self.realm {
            fake = fake.realm(realm);
        }
        let hosts = self.hosts();
        let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
        let fake = fake.tls(authority, &hosts).run();
        // The place of blobs is a port of its own; behind names it is the same listener.
        fake.known_as(
            &format!("https://{}", self.host),
            &format!("https://{}", self.blobs),
        );
        fake
    }
}

/// All kinds behind one gateway, `with` or without the gateway's credentials at each of them.
struct World {
    gateway: Gateway,
    fakes: Vec<(&'static Kind, RunningRegistry, FakeProxy)>,
    _folder: tempfile::TempDir,
}

fn world(known: bool) -> World {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ca = authority.write(folder.path());
    let mut upstreams = serde_json::Map::new();
    let mut fakes = Vec::new();
    for kind in &KINDS {
        let fake = kind.run(&authority);
        let hosts: Vec<String> = kind
            .hosts()
            .iter()
            .map(|host| format!("{host}:443"))
            .collect();
        let hosts: Vec<(&str, SocketAddr)> = hosts
            .iter()
            .map(|host| (host.as_str(), fake.address()))
            .collect();
        let proxy = FakeProxy::run(&hosts);
        let mut upstream = json!({
            "type": "oci", "url": format!("https://{}", kind.host), "proxy": proxy.url(),
            "tls": {"ca_file": ca}, "timeout": "5s",
        });
        if known {
            upstream["auth"] = json!({"username": kind.user, "password": PASSWORD});
        }
        upstreams.insert(kind.name(), upstream);
        fakes.push((kind, fake, proxy));
    }
    let names: Vec<String> = KINDS.iter().map(Kind::name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let gateway = Gateway::start(json!({
        "upstreams": upstreams, "tenants": {"acme": mirror(&names)},
    }));
    World {
        gateway,
        fakes,
        _folder: folder,
    }
}

impl World {
    fn place(&self, kind: &Kind) -> Place {
        Place::of(self.gateway.http, &format!("acme/{}", kind.name()))
    }
}

/// Everything that a pull asks for, and lists.
#[track_caller]
fn pull(place: &Place, fake: &RunningRegistry, name: &str, kind: &Kind) {
    let row = kind.row;
    let image = fake.image(name, "1.0");
    let head = place.ask("HEAD", name, "manifests/1.0");
    assert_eq!(head.status, 200, "{row:?}");
    let length = image.manifest.len().to_string();
    assert_eq!(
        head.header("content-length"),
        Some(length.as_str()),
        "{row:?}"
    );
    assert_is(&tag(place, name, "1.0"), &image);
    assert_is(&tag(place, name, &image.digest), &image);
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    assert_eq!(head.header("content-type"), Some(media_type), "{row:?}");
    let head = place.ask("HEAD", name, &format!("blobs/{}", image.layer));
    assert_eq!(head.status, 200, "{row:?}");
    for _ in 0..2 {
        let whole = blob(place, name, &image.layer).expect(200);
        assert_eq!(whole.body, image.bytes, "{row:?}");
    }
}

#[test]
fn everybody_pulls_what_is_public_from_every_kind() {
    let world = world(false);
    for (kind, fake, _) in &world.fakes {
        let place = world.place(kind);
        if kind.row == Row::Ecr {
            // Nobody is anonymous there: the gateway's operator is to blame, and nothing is absent.
            super::assert_away(&tag(&place, "library/app", "1.0"));
            continue;
        }
        pull(&place, fake, "library/app", kind);
        let tags = place.ask("GET", "library/app", "tags/list").expect(200);
        assert_eq!(tags.json()["tags"], json!(TAGS), "{:?}", kind.row);
        let digest = fake.image("library/app", "1.0").digest;
        let none = place.ask("GET", "library/app", &format!("referrers/{digest}"));
        assert_eq!(
            none.expect(200).json()["manifests"],
            json!([]),
            "{:?}",
            kind.row
        );
        let secret = tag(&place, "acme/secret", "1.0");
        assert_eq!(secret.status, 404, "{:?}: {}", kind.row, secret.text());
        let absent = tag(&place, "library/app", "no-such-tag");
        assert_eq!(absent.status, 404, "{:?}: {}", kind.row, absent.text());
    }
}

#[test]
fn credentials_open_what_is_private_at_every_kind_and_go_nowhere_else() {
    let world = world(true);
    for (kind, fake, _) in &world.fakes {
        let place = world.place(kind);
        pull(&place, fake, "acme/secret", kind);
        pull(&place, fake, "library/app", kind);
        for asked in fake.asked(Spot::All) {
            let host = asked.head.header("host").unwrap_or_default();
            let shown = asked.head.header("authorization");
            assert!(
                host != kind.blobs || shown.is_none(),
                "{:?}: {host}",
                kind.row
            );
        }
    }
}

/// A short name means what people mean by it at Docker Hub, and only there.
#[test]
fn short_names_are_docker_hubs() {
    let world = world(false);
    for (kind, fake, _) in &world.fakes {
        if kind.row == Row::Ecr {
            continue;
        }
        let reply = tag(&world.place(kind), "app", "1.0");
        match kind.row {
            Row::DockerHub => {
                assert_is(&reply, &fake.image("library/app", "1.0"));
                assert_eq!(reply.header("location"), None);
            }
            _ => assert_eq!(reply.status, 404, "{:?}", kind.row),
        }
    }
}
