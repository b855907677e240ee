//! Every scheme, and every form in which clients use it (oci.md §4).

use std::path::Path;

use super::*;
use crate::config;
use crate::error::ErrorKind;

const FILE: &str = r#"
server: {external_url: "https://gw.example:8443"}
upstreams:
  hub: {type: oci, url: "https://registry-1.docker.io"}
  ghcr.io: {type: oci, url: "https://ghcr.io"}
  local: {type: oci, url: "http://10.0.0.1:5000"}
  charts: {url: "https://charts.example"}
tenants:
  acme/platform: {hosted: true, registries: [hub, ghcr.io, local]}
  acme: {registries: [hub]}
  plain: {charts: charts}
  plain/deep: {registries: [hub]}
  default: {hosted: true, registries: [hub, ghcr.io]}
  "team/*": {hosted: true, registries: [hub]}
  "any/**": {hosted: true}
registry:
  default_tenant: default
  hosts:
    hub.gw.example: acme/platform/hub
    platform.gw.example: acme/platform
    "*.acme.gw.example": acme/platform
    "*.gw.example": acme
"#;

fn addresses(text: &str) -> Addresses {
    let config = config::parse(text, Path::new(""), &|_| None);
    Addresses::of(&config.unwrap_or_else(|mistakes| panic!("{mistakes}")))
}

fn render(located: Result<Located>) -> String {
    match located {
        Ok(found) => {
            let by = match found.by {
                Selected::Path => "",
                Selected::Namespace => " by ns",
                Selected::Host => " by host",
            };
            let member = found.member.as_deref().unwrap_or("*");
            format!("{} {member} {}{by}", found.tenant, found.name)
        }
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// Base, name, `ns`, host -> tenant, upstream, repository.
#[rustfmt::skip]
const TABLE: &[(&str, &str, &str, &str, &str)] = &[
    // A: plain references (docker, podman, helm, crane, Kubernetes), podman's mirrors, k3s with rewrite, Talos, kaniko's maps.
    ("", "acme/platform/hub/library/nginx", "", "gw.example:8443", "acme/platform hub library/nginx"),
    ("", "acme/platform/hub/nginx", "", "", "acme/platform hub nginx"),
    ("", "acme/platform/docker.io/library/nginx", "", "", "acme/platform hub library/nginx"),
    ("", "acme/platform/index.docker.io/library/nginx", "", "", "acme/platform hub library/nginx"),
    ("", "acme/platform/ghcr.io/o/r", "", "", "acme/platform ghcr.io o/r"),
    ("", "acme/platform/10.0.0.1_5000/o/r", "", "", "acme/platform local o/r"),
    ("", "acme/platform/app", "", "", "acme/platform * app"),
    ("", "acme/platform/a/b/c", "", "", "acme/platform * a/b/c"),
    ("", "acme/platform/hub", "", "", "acme/platform * hub"),
    ("", "acme/hub/platform", "", "", "acme hub platform"),
    ("", "acme/platform", "", "", "acme * platform"),
    ("", "acme/x/y", "", "", "acme * x/y"),
    // Repositories may be called as our own words are.
    ("", "acme/platform/hub/v2/manifests/blobs", "", "", "acme/platform hub v2/manifests/blobs"),
    // The longest path with a registry; one without has none of its own.
    ("", "plain/deep/hub/x", "", "", "plain/deep hub x"),
    ("", "plain/app", "", "", "default * plain/app"),
    // The default tenant may be left out.
    ("", "hub/library/nginx", "", "", "default hub library/nginx"),
    ("", "default/hub/library/nginx", "", "", "default hub library/nginx"),
    ("", "library/nginx", "", "", "default * library/nginx"),
    ("", "nginx", "", "", "default * nginx"),
    // Tenants of a pattern.
    ("", "team/a/app", "", "", "team/a * app"),
    ("", "team/a/hub/library/nginx", "", "", "team/a hub library/nginx"),
    ("", "team/a", "", "", "default * team/a"),
    ("", "team/v2/app", "", "", "default * team/v2/app"),
    ("", "any/a/b", "", "", "default * any/a/b"),
    // Names that are none.
    ("", "acme/platform/hub/Nginx", "", "", "Invalid"),
    ("", "acme/platform/hub//nginx", "", "", "Invalid"),
    ("", "acme//platform/hub/nginx", "", "", "Invalid"),
    ("", "/acme/platform/hub/nginx", "", "", "Invalid"),
    ("", "acme/platform/", "", "", "Invalid"),
    ("", "", "", "", "Invalid"),
    ("", "../etc", "", "", "Invalid"),
    // B: docker's registry-mirrors, containerd's hosts.toml, k3s without rewrite.
    ("acme/platform/hub", "library/nginx", "", "", "acme/platform hub library/nginx"),
    ("acme/platform/docker.io", "library/nginx", "", "", "acme/platform hub library/nginx"),
    ("acme/platform/hub", "nginx", "docker.io", "", "acme/platform hub nginx"),
    ("acme/platform/hub", "hub/x", "", "", "acme/platform hub hub/x"),
    ("acme/platform", "library/nginx", "", "", "acme/platform * library/nginx"),
    ("acme/platform", "hub/library/nginx", "", "", "acme/platform hub library/nginx"),
    ("acme", "hub/platform/x", "", "", "acme hub platform/x"),
    ("acme", "platform/hub/x", "", "", "acme * platform/hub/x"),
    ("team/a/hub", "library/nginx", "", "", "team/a hub library/nginx"),
    ("team/a", "app", "", "", "team/a * app"),
    ("hub", "library/nginx", "", "", "default hub library/nginx"),
    ("plain", "app", "", "", "NotFound"),
    ("acme/nope", "app", "", "", "NotFound"),
    ("any/a", "app", "", "", "NotFound"),
    // B names what it names whatever the host is.
    ("acme", "app", "", "hub.gw.example", "acme * app"),
    // C: containerd with and without a tenant in the path, `_default`, k3s with `*`.
    ("", "library/nginx", "docker.io", "gw.example:8443", "default hub library/nginx by ns"),
    ("", "o/r", "ghcr.io", "", "default ghcr.io o/r by ns"),
    ("acme/platform", "library/nginx", "docker.io", "", "acme/platform hub library/nginx by ns"),
    ("acme/platform", "library/nginx", "Registry-1.Docker.io:443", "", "acme/platform hub library/nginx by ns"),
    ("acme/platform", "o/r", "10.0.0.1:5000", "", "acme/platform local o/r by ns"),
    ("acme/platform", "o/r", "10.0.0.1", "", "NotFound"),
    ("", "acme/platform/library/nginx", "index.docker.io", "", "acme/platform hub library/nginx by ns"),
    ("acme", "o/r", "ghcr.io", "", "NotFound"),
    ("acme/platform", "o/r", "quay.io", "", "NotFound"),
    ("acme/platform", "o/r", "http://169.254.169.254/", "", "NotFound"),
    // A and B have selected an upstream: containerd adds `ns` with `override_path`, too.
    ("", "acme/platform/hub/library/nginx", "docker.io", "", "acme/platform hub library/nginx"),
    ("", "acme/platform/hub/library/nginx", "quay.io", "", "acme/platform hub library/nginx"),
    // A client that reaches us by another address says our name.
    ("", "acme/platform/app", "gw.example:8443", "10.1.1.1", "acme/platform * app"),
    ("", "acme/platform/app", "10.1.1.1:444", "10.1.1.1:444", "acme/platform * app"),
    ("", "acme/platform/app", "platform.gw.example", "10.1.1.1", "acme/platform * app"),
    // D
    ("", "library/nginx", "", "hub.gw.example", "acme/platform hub library/nginx by host"),
    ("", "library/nginx", "", "HUB.gw.example:5000", "acme/platform hub library/nginx by host"),
    ("", "acme/platform/hub/x", "", "hub.gw.example", "acme/platform hub acme/platform/hub/x by host"),
    ("", "library/nginx", "ghcr.io", "hub.gw.example", "acme/platform hub library/nginx by host"),
    ("", "app", "", "platform.gw.example", "acme/platform * app"),
    ("", "hub/library/nginx", "", "platform.gw.example", "acme/platform hub library/nginx"),
    ("", "o/r", "ghcr.io", "platform.gw.example", "acme/platform ghcr.io o/r by ns"),
    ("", "acme/x", "", "platform.gw.example", "acme/platform * acme/x"),
    ("", "o/r", "", "ghcr.io.acme.gw.example", "acme/platform ghcr.io o/r by host"),
    ("", "nginx", "", "hub.acme.gw.example", "acme/platform hub nginx by host"),
    ("", "nginx", "", "quay.acme.gw.example", "NotFound"),
    ("", "nginx", "", "other.example", "default * nginx"),
];

#[test]
fn every_scheme_finds_what_clients_mean() {
    let addresses = addresses(FILE);
    for (base, name, ns, host, expected) in TABLE {
        let given = |text: &'static str| (!text.is_empty()).then_some(text);
        let found = addresses.locate(base, name, given(ns), given(host));
        assert_eq!(
            render(found),
            *expected,
            "{base:?} {name:?} {ns:?} {host:?}"
        );
    }
}

#[test]
fn prefixes_are_cut_where_something_is_configured() {
    let addresses = addresses(FILE);
    for (path, expected) in [
        ("/acme/platform/hub/v2/", Some(("acme/platform/hub", ""))),
        ("/acme/platform/hub/v2", Some(("acme/platform/hub", ""))),
        (
            "/acme/v2/library/nginx/manifests/1",
            Some(("acme", "library/nginx/manifests/1")),
        ),
        ("/acme/hub/v2/v2/x", Some(("acme/hub", "v2/x"))),
        (
            "/team/a/hub/v2/x/tags/list",
            Some(("team/a/hub", "x/tags/list")),
        ),
        ("/hub/v2/x", Some(("hub", "x"))),
        ("/acme/v2x/y", None),
        ("/plain/v2/x", None),
        ("/acme/nope/v2/x", None),
        ("/any/a/v2/x", None),
        ("/v2/acme/x", None),
        ("/", None),
        ("acme/v2/", None),
    ] {
        assert_eq!(addresses.cut(path), expected, "{path}");
    }
}

#[test]
fn places_are_named_by_a_base_or_a_host() {
    let addresses = addresses(FILE);
    let place = |base: &str, host: Option<&str>| match addresses.place(base, host) {
        Ok(Some(place)) => format!(
            "{} {}",
            place.tenant,
            place.member.as_deref().unwrap_or("*")
        ),
        Ok(None) => "everything".to_owned(),
        Err(error) => format!("{:?}", error.kind()),
    };
    assert_eq!(place("", Some("gw.example")), "everything");
    assert_eq!(place("", None), "everything");
    assert_eq!(place("", Some("hub.gw.example")), "acme/platform hub");
    assert_eq!(place("acme", Some("hub.gw.example")), "acme *");
    assert_eq!(place("acme/hub", None), "acme hub");
    assert_eq!(place("nope", None), "NotFound");
}

#[test]
fn without_a_default_tenant_names_must_say_theirs() {
    let named = addresses(
        "upstreams: {hub: {type: oci, url: 'https://docker.io'}}\ntenants: {acme: {registries: hub}, '**': {hosted: true}}",
    );
    let failed = |name: &str, ns: Option<&str>| {
        let error = named.locate("", name, ns, None).expect_err("nowhere");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        error.message().to_owned()
    };
    assert!(failed("library/nginx", Some("docker.io")).contains("`registry.default_tenant`"));
    assert!(failed("team/app", None).contains("use `*` for each segment"));
    assert_eq!(
        render(named.locate("", "acme/library/nginx", None, None)),
        "acme * library/nginx"
    );
}

#[test]
fn the_root_tenant_is_the_default() {
    let rooted = addresses(
        "upstreams: {hub: {type: oci, url: 'https://docker.io'}}\ntenants: {/: {registries: hub}, acme: {hosted: true}}",
    );
    for (base, name, ns, expected) in [
        ("", "library/nginx", None, " * library/nginx"),
        ("", "hub/library/nginx", None, " hub library/nginx"),
        (
            "",
            "library/nginx",
            Some("docker.io"),
            " hub library/nginx by ns",
        ),
        ("", "acme/app", None, "acme * app"),
        ("hub", "library/nginx", None, " hub library/nginx"),
    ] {
        assert_eq!(
            render(rooted.locate(base, name, ns, None)),
            expected,
            "{name}"
        );
    }
}

#[test]
fn the_strict_service_has_no_registry() {
    let strict = addresses("chartmuseum: {strict: true}\ntenants: {'*': {hosted: true}}");
    assert_eq!(strict.cut("/acme/v2/x"), None);
    assert!(strict.locate("", "acme/x", None, None).is_err());
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever a client says, the answer is one of the configured tenants and upstreams, and a name that was said.
        #[test]
        fn nothing_is_made_up(
            base in "(acme|platform|hub|team|v2|x|/){0,5}",
            name in "(acme|platform|hub|team|v2|x|docker\\.io|/|A){0,9}",
            ns in proptest::option::of("(docker\\.io|ghcr\\.io|gw\\.example|:|443|/){0,3}"),
            host in proptest::option::of("(hub|quay|\\.|acme|gw\\.example|:5000){0,5}"),
        ) {
            let addresses = addresses(FILE);
            if let Ok(found) = addresses.locate(&base, &name, ns.as_deref(), host.as_deref()) {
                prop_assert!(name.ends_with(found.name.as_str()));
                let part = addresses.tenants.get(found.tenant.as_str()).or_else(|| addresses.fitting(&found.tenant));
                prop_assert!(part.is_some());
                if let Some(member) = &found.member {
                    prop_assert!(part.expect("one").called(member).is_some());
                }
            }
            let path = format!("/{base}/v2/{name}");
            if let Some((base, rest)) = addresses.cut(&path) {
                prop_assert!(addresses.base(base).is_some());
                prop_assert!(path.ends_with(rest));
            }
        }
    }
}
