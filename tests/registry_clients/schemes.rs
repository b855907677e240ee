//! The ways in: by path, by a prefix before `/v2/`, by `?ns=`, by host name; each with the clients that come that way.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Place, containerd};
use crate::support::clients::{Clients, Program, plain_http, through};
use crate::support::daemons::{Containerd, Docker};
use crate::support::distribution::Distribution;
use crate::support::fake::{Authority, FakeProxy};
use crate::support::gateway::Gateway;
use crate::support::image::Image;
use crate::support::port::Port;
use crate::support::registries::{group, mirror, oci};

/// An upstream that stands for Docker Hub, holding one image.
struct Hub {
    registry: Distribution,
    image: Image,
}

impl Hub {
    fn start() -> Option<Self> {
        let registry = Distribution::start()?;
        let clients = Clients::with(&[Program::Crane])?;
        let image = Image::new(101, 40_000);
        image.write(&clients.home().join("one"), "1.0");
        let there = Place::of(registry.address(), "").image("library/app", "1.0");
        clients.ok(Program::Crane, &["push", "one", &there]);
        Some(Self { registry, image })
    }

    fn config(&self) -> Value {
        let mut hub = oci(&self.registry.url());
        hub["hosts"] = json!(["docker.io"]);
        json!({
            "upstreams": {"hub": hub},
            "tenants": {"acme": mirror(&["hub"])},
            "registry": {"default_tenant": "acme"},
        })
    }
}

/// Scheme A in its spellings: tenant and upstream, tenant alone, upstream alone, the registry's own name.
#[test]
fn by_path() {
    let Some(hub) = Hub::start() else {
        return;
    };
    let Some(clients) = Clients::with(&[Program::Crane, Program::Skopeo, Program::Podman]) else {
        return;
    };
    let gateway = Gateway::start(hub.config());
    for below in ["acme/hub", "acme", "hub", "", "acme/docker.io", "docker.io"] {
        let place = Place::of(gateway.http, below);
        place.assert_holds("library/app", "1.0", &hub.image);
        let at = place.image("library/app", "1.0");
        assert_eq!(
            clients.ok(Program::Crane, &["digest", &at]),
            hub.image.digest
        );
        let tags = place.ask("GET", "library/app", "tags/list").expect(200);
        assert_eq!(tags.json()["name"], place.name("library/app"));
    }
    // podman's mirrors exchange the beginning of a name.
    let mirror = format!(
        "[[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"{}/acme/hub\"\ninsecure = true\n",
        gateway.http
    );
    clients.registries(&mirror);
    clients.ok(Program::Podman, &["pull", "docker.io/library/app:1.0"]);
    let shown = clients.ok(
        Program::Podman,
        &[
            "image",
            "inspect",
            "--format={{.Digest}}",
            "docker.io/library/app:1.0",
        ],
    );
    assert_eq!(shown, hub.image.digest);
    let raw = clients.run(
        Program::Skopeo,
        &["inspect", "--raw", "docker://docker.io/library/app:1.0"],
    );
    assert_eq!(raw.stdout, hub.image.manifest);
}

/// Schemes B and C: containerd with `hosts.toml`, in every form that its documents show.
#[test]
fn by_prefix_and_by_namespace() {
    let Some(hub) = Hub::start() else {
        return;
    };
    let Some(containerd) = Containerd::start() else {
        return;
    };
    let gateway = Gateway::start(hub.config());
    let here = format!("http://{}", gateway.http);
    for (registry, url, more) in [
        // B: `/acme/hub/v2/library/app/…?ns=docker.io`
        ("docker.io", format!("{here}/acme/hub"), ""),
        // `/acme/v2/library/app/…?ns=docker.io`
        ("docker.io", format!("{here}/acme"), ""),
        // C: `/v2/library/app/…?ns=docker.io`
        ("docker.io", here.clone(), ""),
        ("_default", here.clone(), ""),
        ("_default", format!("{here}/acme"), ""),
        // A, written out: `/v2/acme/hub/library/app/…?ns=docker.io`
        (
            "docker.io",
            format!("{here}/v2/acme/hub"),
            "override_path = true\n",
        ),
        (
            "_default",
            format!("{here}/v2/acme"),
            "override_path = true\n",
        ),
    ] {
        let text = format!("[host.\"{url}\"]\ncapabilities = [\"pull\", \"resolve\"]\n{more}");
        let hosts = containerd.hosts(registry, &text);
        let image = "docker.io/library/app:1.0";
        containerd::pull(&containerd, image, &["--hosts-dir", &hosts]);
        assert_eq!(containerd.digest(image), hub.image.digest, "{text}");
        containerd.ok(&["images", "rm", "--sync", image]);
        std::fs::remove_dir_all(hosts).expect("ours");
    }
    // A registry that nobody configured is never asked.
    let text = format!("[host.\"{here}\"]\ncapabilities = [\"pull\", \"resolve\"]\n");
    let hosts = containerd.hosts("quay.example", &text);
    let output = containerd.run(&[
        "images",
        "pull",
        "--hosts-dir",
        &hosts,
        "quay.example/library/app:1.0",
    ]);
    assert!(!output.status.success());
}

/// Scheme D: names of the gateway that stand for an upstream, over TLS.
struct VirtualHosts {
    _gateway: Gateway,
    proxy: FakeProxy,
    authority: Authority,
    folder: tempfile::TempDir,
}

const NAMES: [&str; 3] = ["hub.gw.test", "registry.gw.test", "hub.acme.gw.test"];

impl VirtualHosts {
    fn start(hub: &Hub) -> Self {
        let authority = Authority::new();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (certificate, key) = authority.write_server(folder.path(), &NAMES);
        let port = Port::reserve();
        let mut config = hub.config();
        config["server"] = json!({
            "https": {"listen": port.address.to_string(), "cert_file": certificate, "key_file": key},
        });
        config["tenants"]["acme"] = group(&["hub"]);
        config["registry"]["hosts"] = json!({
            "hub.gw.test": {"tenant": "acme", "upstream": "hub"},
            "registry.gw.test": {"tenant": "acme"},
            "*.acme.gw.test": {"tenant": "acme"},
        });
        let gateway = Gateway::start(config);
        let names = NAMES.map(|name| format!("{name}:443"));
        let hosts: Vec<(&str, SocketAddr)> = names
            .iter()
            .map(|name| (name.as_str(), port.address))
            .collect();
        authority.write(folder.path());
        Self {
            _gateway: gateway,
            proxy: FakeProxy::run(&hosts),
            authority,
            folder,
        }
    }

    fn clients(&self, programs: &[Program]) -> Option<Clients> {
        let ca = self.authority.write(self.folder.path());
        Some(Clients::with(programs)?.through(&self.proxy.url(), &ca))
    }
}

#[test]
fn by_host_name() {
    let Some(hub) = Hub::start() else {
        return;
    };
    let hosts = VirtualHosts::start(&hub);
    let Some(clients) = hosts.clients(&[
        Program::Crane,
        Program::Oras,
        Program::Skopeo,
        Program::Podman,
        Program::Helm4,
    ]) else {
        return;
    };
    for host in NAMES {
        let at = format!("{host}/library/app:1.0");
        assert_eq!(
            clients.ok(Program::Crane, &["digest", &at]),
            hub.image.digest
        );
        clients.ok(Program::Crane, &["validate", "--remote", &at]);
        let digest = clients.ok(Program::Oras, &["resolve", &at]);
        assert_eq!(digest, hub.image.digest);
        let source = format!("docker://{at}");
        let raw = clients.run(Program::Skopeo, &["inspect", "--raw", &source]);
        assert_eq!(raw.stdout, hub.image.manifest);
        clients.ok(Program::Podman, &["pull", &at]);
        clients.ok(Program::Podman, &["rmi", "--all", "--force"]);
    }
    // One of them shows the tenant as a whole, and there is room for one's own.
    let chart = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/config/sample/podinfo-6.14.1.tgz"
    );
    clients.ok(
        Program::Helm4,
        &["push", chart, "oci://registry.gw.test/charts"],
    );
    clients.ok(
        Program::Helm4,
        &[
            "pull",
            "oci://registry.gw.test/charts/podinfo",
            "--version=6.14.1",
        ],
    );
}

/// Docker's daemon takes its mirror of Docker Hub by a name of its own.
#[test]
fn as_dockers_mirror() {
    let Some(hub) = Hub::start() else {
        return;
    };
    let hosts = VirtualHosts::start(&hub);
    let ca = hosts.authority.write(hosts.folder.path());
    let environment = through(&hosts.proxy.url(), &ca);
    let Some(docker) = Docker::start(&["--registry-mirror=https://hub.gw.test"], &environment)
    else {
        return;
    };
    docker.ok(&["pull", "app:1.0"]);
    let shown = docker.ok(&["inspect", "--format={{index .RepoDigests 0}}", "app:1.0"]);
    assert!(shown.ends_with(&hub.image.digest), "{shown}");
    // It came from nowhere else.
    let asked = hosts.proxy.requests();
    assert!(
        asked.iter().all(|line| line == "CONNECT hub.gw.test:443"),
        "{asked:?}"
    );
}

/// skopeo, podman and buildah through a name of the gateway without TLS.
#[test]
fn by_host_name_and_port_without_tls() {
    let Some(hub) = Hub::start() else {
        return;
    };
    let Some(clients) = Clients::with(&[Program::Skopeo, Program::Buildah]) else {
        return;
    };
    let mut config = hub.config();
    config["registry"]["hosts"] = json!({"localhost": {"tenant": "acme", "upstream": "hub"}});
    let gateway = Gateway::start(config);
    let host = format!("localhost:{}", gateway.http.port());
    clients.registries(&plain_http(&[&host]));
    let at = format!("docker://{host}/library/app:1.0");
    let raw = clients.run(Program::Skopeo, &["inspect", "--raw", &at]);
    assert_eq!(raw.stdout, hub.image.manifest);
    clients.ok(Program::Buildah, &["pull", &at]);
}
