//! What a configuration says about registries, and what a wrong one is told.

use std::path::Path;
use std::time::Duration;

use chartgate::config::{self, Config, Mistakes, Oci, OciAuth, Source};

fn parse_in(text: &str, folder: &Path) -> Result<Config, Mistakes> {
    config::parse(text, folder, &|_| None)
}

fn parse(text: &str) -> Result<Config, Mistakes> {
    parse_in(text, Path::new("/nowhere"))
}

fn oci<'c>(config: &'c Config, name: &str) -> &'c Oci {
    match &config.upstreams[name].source {
        Source::Oci(oci) => oci,
        other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn everything_about_registries_resolves() {
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["secret", "helper"] {
        std::fs::write(folder.path().join(file), "s3cret\n").expect("written");
    }
    let text = r#"
upstreams:
  docker.io:
    type: oci
    url: https://registry-1.docker.io
    auth: {username: me, password_file: secret}
    tag_ttl: never
    list_ttl: 1m
    max_stale: 7d
    max_stale_denied: 0
    keep_removed: true
    max_manifest: 4MiB
    max_blob: 1GiB
    include: ["library/*", "acme/**"]
    exclude: "*/secret"
    share: true
  vendor: {url: "oci://Registry.Vendor.example/helm-charts"}
  artifactory: {type: oci, url: "https://h:8443/artifactory/api/docker/hub/v2/proj/x/", timeout: 5s, allow_private: true}
  plain: {type: oci, url: "http://127.0.0.1:5000/v2/"}
  ecr: {type: oci, url: "https://1.dkr.ecr.eu-west-1.amazonaws.com", auth: {helper: docker-credential-ecr-login, token_realms: ["Auth.example.com"]}}
  helped: {type: oci, url: "https://a.example", hosts: [A.example:443, "b.example:5000"], auth: {helper: ./helper, helper_renew: 1h}}
  acr: {type: oci, url: "https://b.azurecr.io", auth: {username: u, refresh_token_file: secret}}
  gitlab: {type: oci, url: "https://r.example", auth: {token: abc}, tag_ttl: 0}
  charts: {url: "https://charts.example.com"}
tenants:
  acme/platform:
    hosted: {max_blob: 1GiB, max_manifest: 1MiB, quota: 20GiB, immutable_tags: true}
    charts: charts
    registries: [docker.io, {upstream: vendor, include: [app], exclude: ["*-dev"]}]
  only: {registries: plain}
  "team/*": {hosted: true, registries: [gitlab]}
registry:
  default_tenant: /acme/platform
  hosts:
    Hub.gw.example: {tenant: acme/platform, upstream: docker.io}
    short.gw.example: acme/platform/vendor
    whole.gw.example: acme/platform
    "*.acme.gw.example": {tenant: acme/platform}
    a.gw.example: team/a
"#;
    let config = parse_in(text, folder.path()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert!(!format!("{config:?}").contains("s3cret"));

    let hub = oci(&config, "docker.io");
    assert_eq!(
        hub.hosts,
        ["registry-1.docker.io", "docker.io", "index.docker.io"]
    );
    assert!(matches!(&hub.auth, Some(OciAuth::Basic(name, password))
        if name == "me" && password.reveal() == "s3cret"));
    assert_eq!((hub.tag_ttl, hub.prefix.as_ref()), (None, None));
    assert_eq!(hub.list_ttl, Duration::from_mins(1));
    assert_eq!(hub.max_stale, Some(Duration::from_hours(24 * 7)));
    assert_eq!(hub.max_stale_denied, Duration::ZERO);
    assert_eq!((hub.max_manifest, hub.max_blob), (4 << 20, 1 << 30));
    assert_eq!(hub.include, ["library/*", "acme/**"]);
    assert_eq!(hub.exclude, ["*/secret"]);
    assert!(hub.keep_removed && config.upstreams["docker.io"].keep_removed && hub.share);

    let vendor = oci(&config, "vendor");
    assert_eq!(vendor.url.as_str(), "https://registry.vendor.example/");
    let prefix = vendor.prefix.as_ref().expect("a prefix");
    assert_eq!(prefix.as_str(), "helm-charts");
    assert_eq!(vendor.hosts, ["registry.vendor.example"]);
    assert_eq!(vendor.tag_ttl, Some(Duration::from_mins(5)));
    assert_eq!((vendor.max_stale, vendor.keep_removed), (None, false));
    assert_eq!(vendor.max_stale_denied, Duration::from_hours(1));
    assert_eq!((vendor.max_manifest, vendor.max_blob), (8 << 20, 50 << 30));
    assert!(vendor.share && vendor.auth.is_none());

    let artifactory = oci(&config, "artifactory");
    assert_eq!(
        artifactory.url.as_str(),
        "https://h:8443/artifactory/api/docker/hub"
    );
    let prefix = artifactory.prefix.as_ref().expect("a prefix");
    assert_eq!(prefix.as_str(), "proj/x");
    assert_eq!(artifactory.hosts, ["h:8443"]);
    let client = &config.upstreams["artifactory"].client;
    assert!(client.allow_private && client.timeout == Duration::from_secs(5));

    let plain = oci(&config, "plain");
    assert_eq!(plain.url.as_str(), "http://127.0.0.1:5000/");
    assert_eq!(plain.prefix, None);

    let ecr = oci(&config, "ecr");
    assert!(matches!(&ecr.auth, Some(OciAuth::Helper(program, life))
        if program == Path::new("docker-credential-ecr-login") && *life == Duration::from_hours(6)));
    assert_eq!(ecr.token_realms, ["auth.example.com"]);
    assert!(!ecr.share, "whoever has credentials shares nothing");
    let helped = oci(&config, "helped");
    assert!(matches!(&helped.auth, Some(OciAuth::Helper(program, life))
        if *program == folder.path().join("./helper") && *life == Duration::from_hours(1)));
    assert_eq!(helped.hosts, ["a.example", "b.example:5000"]);
    assert!(matches!(&oci(&config, "acr").auth, Some(OciAuth::Refresh(name, _)) if name == "u"));
    let gitlab = oci(&config, "gitlab");
    assert!(
        matches!(&gitlab.auth, Some(OciAuth::Bearer(_))) && gitlab.tag_ttl == Some(Duration::ZERO)
    );

    let tenant = &config.tenants["acme/platform"];
    let rules = &tenant.hosted.as_ref().expect("hosted").registry;
    assert_eq!((rules.max_blob, rules.max_manifest), (1 << 30, 1 << 20));
    assert_eq!((rules.quota, rules.immutable_tags), (Some(20 << 30), true));
    assert_eq!(tenant.registries[1].include, ["app"]);
    assert_eq!(tenant.registries[1].exclude, ["*-dev"]);

    let server = &config.registry;
    let default = server.default_tenant.as_ref().expect("one");
    assert_eq!(default.as_str(), "acme/platform");
    let host = |name: &str| {
        let shown = &server.hosts[name];
        (shown.tenant.as_str(), shown.upstream.as_deref())
    };
    assert_eq!(host("hub.gw.example"), ("acme/platform", Some("docker.io")));
    assert_eq!(host("short.gw.example"), ("acme/platform", Some("vendor")));
    assert_eq!(host("whole.gw.example"), ("acme/platform", None));
    assert_eq!(host("*.acme.gw.example"), ("acme/platform", None));
    assert_eq!(host("a.gw.example"), ("team/a", None));
}

/// A file with two registries and a chart repository, and `more` at its end.
fn with(more: &str) -> String {
    format!(
        "upstreams: {{hub: {{type: oci, url: 'https://docker.io'}}, gcr: {{type: oci, url: 'https://ghcr.io'}}, repo: {{url: 'https://x.example/'}}}}\n{more}\n"
    )
}

fn upstream(keys: &str) -> String {
    format!("upstreams: {{a: {{type: oci, {keys}}}}}\ntenants: {{t: {{registries: a}}}}\n")
}

#[test]
fn each_mistake_is_told_with_its_place() {
    let tenant = |text: &str| with(&format!("tenants: {{t: {text}}}"));
    let server = |text: &str| {
        with(&format!(
            "tenants: {{t: {{registries: [hub, gcr]}}, charts-only: {{charts: repo}}}}\nregistry: {text}"
        ))
    };
    let auth = |text: &str| upstream(&format!("url: 'https://x', auth: {text}"));
    #[rustfmt::skip]
    let table = [
        // Keys of another type.
        (upstream("url: 'https://x', refresh: 5m"), "upstreams.a.refresh", "`tag_ttl` and `list_ttl`"),
        (upstream("url: 'https://x', max_shrink: 5%"), "upstreams.a.max_shrink", "chart repositories"),
        (upstream("url: 'https://x', on_digest_mismatch: serve"), "upstreams.a.on_digest_mismatch", "always refused"),
        (upstream("url: 'https://x', bucket: b"), "upstreams.a.bucket", "type `s3`"),
        (upstream("url: 'https://x', charts: [app]"), "upstreams.a.charts", "not supported yet"),
        (upstream("url: 'https://x', tagttl: 5m"), "upstreams.a.tagttl", "did you mean `tag_ttl`?"),
        ("upstreams: {a: {url: 'https://x', hosts: [y]}}\ntenants: {t: {charts: a}}".into(), "upstreams.a.hosts", "type `oci`"),
        ("upstreams: {a: {url: 'https://x', charts: [y]}}\ntenants: {t: {charts: a}}".into(), "upstreams.a.charts", "type `oci`"),
        ("upstreams: {a: {type: dir, url: x, tag_ttl: 5m}}\ntenants: {t: {charts: a}}".into(), "upstreams.a.tag_ttl", "type `oci`"),
        ("upstreams: {a: {type: helm, url: 'oci://x'}}\ntenants: {t: {charts: a}}".into(), "upstreams.a.url", "write `type: oci`"),
        // Values.
        (upstream("timeout: 5s"), "upstreams.a", "`url` is missing"),
        (upstream("url: docker.io"), "upstreams.a.url", "such as `https://registry.example.com`"),
        (upstream("url: 'ftp://x'"), "upstreams.a.url", "http or https URL"),
        (upstream("url: 'https://u:p@x'"), "upstreams.a.url", "without user"),
        (upstream("url: 'https://x/Proj'"), "upstreams.a.url", "what all repositories lie below"),
        (upstream("url: 'https://x', tag_ttl: soon"), "upstreams.a.tag_ttl", "`never`"),
        (upstream("url: 'https://x', list_ttl: 5"), "upstreams.a.list_ttl", "with its unit"),
        (upstream("url: 'https://x', max_stale: never"), "upstreams.a.max_stale", "with its unit"),
        (upstream("url: 'https://x', max_manifest: 1GiB"), "upstreams.a.max_manifest", "`128MiB`"),
        (upstream("url: 'https://x', max_blob: 0"), "upstreams.a.max_blob", "more than zero"),
        (upstream("url: 'https://x', hosts: ['https://x']"), "upstreams.a.hosts[0]", "write a host"),
        (upstream("url: 'https://x', include: ['[']"), "upstreams.a.include[0]", "not a pattern"),
        (upstream("url: 'https://x', share: maybe"), "upstreams.a.share", "`true` or `false`"),
        (upstream("url: 'http://x', tls: {insecure_skip_verify: false, ca_file: /dev/null}"), "upstreams.a", "means nothing for an http registry"),
        ("upstreams: {A: {type: oci, url: 'https://x'}}\ntenants: {t: {registries: A}}".into(), "upstreams.A", "part of repositories' names"),
        // Credentials.
        (auth("{}"), "upstreams.a.auth", "give `username` and `password_file`"),
        (auth("{username: u}"), "upstreams.a.auth", "needs `password_file` or `refresh_token_file`"),
        (auth("{password: p}"), "upstreams.a.auth", "needs `username`"),
        (auth("{username: u, password: p, token: t}"), "upstreams.a.auth", "`password_file`, `token_file` contradict"),
        (auth("{username: u, token: t}"), "upstreams.a.auth", "take `username` away"),
        (auth("{username: u, helper: h}"), "upstreams.a.auth", "take `username` away"),
        (auth("{helper: ./missing}"), "upstreams.a.auth.helper", "cannot read"),
        (auth("{helper: ''}"), "upstreams.a.auth.helper", "such as `docker-credential-ecr-login`"),
        (auth("{token: t, helper_renew: 5m}"), "upstreams.a.auth", "needs `helper`"),
        (auth("{helper: h, helper_renew: 5ms}"), "upstreams.a.auth.helper_renew", "at least `1s`"),
        (auth("{token: t, token_realms: ['h:5000']}"), "upstreams.a.auth.token_realms[0]", "without its port"),
        (auth("{token_file: missing}"), "upstreams.a.auth.token_file", "cannot read"),
        // Members.
        (tenant("{registries: [hbu]}"), "tenants.t.registries[0]", "did you mean `hub`?"),
        (tenant("{registries: [repo]}"), "tenants.t.registries[0]", "name it under `charts`"),
        (tenant("{charts: [hub]}"), "tenants.t.charts[0]", "name it under `registries`"),
        (tenant("{registries: [hub, gcr, hub]}"), "tenants.t.registries[2]", "listed twice"),
        (tenant("{registries: [{upstream: hub, versions: '>1'}]}"), "tenants.t.registries[0].versions", "under `charts`"),
        (tenant("{registries: [{include: x}]}"), "tenants.t.registries[0]", "`upstream` is missing"),
        (with("tenants: {Team: {registries: hub}}"), "tenants.Team.registries", "lower-case"),
        (with("tenants: {'team/**': {registries: hub}}"), "tenants.team/**.registries", "write `*` for each segment"),
        ("upstreams: {a: {type: oci, url: 'https://docker.io'}, b: {type: oci, url: 'https://index.docker.io'}}\ntenants: {t: {registries: [a, b]}}".into(), "tenants.t.registries[1]", "both stand for the registry"),
        ("upstreams: {ghcr.io: {type: oci, url: 'https://x'}, b: {type: oci, url: 'https://ghcr.io'}}\ntenants: {t: {registries: [ghcr.io, b]}}".into(), "tenants.t.registries[1]", "also one of the `hosts` of `b`"),
        (tenant("{hosted: {quota: 0}}"), "tenants.t.hosted.quota", "more than zero"),
        (tenant("{hosted: {max_blob: 0}}"), "tenants.t.hosted.max_blob", "more than zero"),
        (tenant("{hosted: {max_manifest: 0}}"), "tenants.t.hosted.max_manifest", "from one byte"),
        (tenant("{hosted: {immutable_tag: true}}"), "tenants.t.hosted.immutable_tag", "`immutable_tags`"),
        // Addresses.
        (server("{default_tenant: x}"), "registry.default_tenant", "no tenant has this path"),
        (server("{default_tenant: charts-only}"), "registry.default_tenant", "neither `registries` nor `hosted`"),
        (server("{hosts: {'h:5000': t}}"), "registry.hosts.h:5000", "without its port"),
        (server("{hosts: {'*': t}}"), "registry.hosts.*", "write a host name"),
        (server("{hosts: {'a.*.b': t}}"), "registry.hosts.a.*.b", "write a host name"),
        (server("{hosts: {h: t, H: t}}"), "registry.hosts.H", "the same host"),
        (server("{hosts: {h: t/x}}"), "registry.hosts.h", "no tenant has this path"),
        (server("{hosts: {h: {upstream: hub}}}"), "registry.hosts.h", "`tenant` is missing"),
        (server("{hosts: {h: {tenant: t, upstream: repo}}}"), "registry.hosts.h.upstream", "none of the `registries`"),
        (server("{hosts: {h: {tenant: t, upstream: hubb}}}"), "registry.hosts.h.upstream", "did you mean `hub`?"),
        (server("{hosts: {'*.h': {tenant: t, upstream: hub}}}"), "registry.hosts.*.h.upstream", "stands for the upstream already"),
        (server("{default: t}"), "registry.default", "`default_tenant`"),
        (with("tenants: {/: {registries: hub}, t: {registries: gcr}}\nregistry: {default_tenant: t}"), "registry.default_tenant", "the root tenant"),
        (with("chartmuseum: {strict: true}\ntenants: {/: {registries: hub}}"), "tenants./.registries", "chartmuseum.strict"),
    ];
    for (text, path, part) in &table {
        let found = parse(text).expect_err(text).0;
        assert!(
            found
                .iter()
                .any(|mistake| mistake.path == *path && mistake.message.contains(part)),
            "{text}\n  expected {path}: ..{part}..\n  found {found:#?}"
        );
        assert_eq!(found.len(), 1, "{text}\n{found:#?}");
    }
}
