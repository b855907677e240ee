//! The files in `config/`, and what a wrong file is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chartgate::config::{
    self, Action, Audit, AuditPlace, Challenge, Config, JwtKeys, Limit, LimitBy, Limited,
    ListenAddress, Mistakes, Place, Secret, Service, Source, Subject, UpstreamAuth,
};

/// No variable is set.
fn bare(_: &str) -> Option<String> {
    None
}

fn config_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

fn parse(text: &str) -> Result<Config, Mistakes> {
    config::parse(text, Path::new("/nowhere"), &bare)
}

fn mistakes(text: &str) -> Vec<String> {
    let mistakes = parse(text).expect_err("a file with mistakes");
    assert!(!mistakes.0.is_empty());
    mistakes
        .0
        .iter()
        .map(|mistake| format!("{}: {}", mistake.path, mistake.message))
        .collect()
}

/// A file with one good upstream and tenant, and `more` at its end.
fn with(more: &str) -> String {
    format!(
        "upstreams: {{good: {{url: 'https://x.example/'}}}}\ntenants: {{acme: {{charts: good}}}}\n{more}\n"
    )
}

#[test]
fn every_example_loads() {
    let mut loaded = 0;
    for entry in std::fs::read_dir(config_folder()).expect("config/") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        if let Err(mistakes) = config::load(&path, &bare) {
            panic!("{}:\n{mistakes}", path.display());
        }
        loaded += 1;
    }
    assert!(loaded >= 9, "only {loaded} examples");
}

/// `chartgate.yaml` with every key in force, alternatives (`# (or) key:`) excepted.
fn uncommented(text: &str) -> String {
    let is_key = |text: &str| {
        let text = text.strip_prefix("- ").unwrap_or(text);
        text.split_once(':').is_some_and(|(key, _)| {
            !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        })
    };
    text.lines()
        .map(|line| match line.split_once("# ") {
            Some((indent, rest)) if indent.trim().is_empty() && is_key(rest) => {
                format!("{indent}{rest}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect()
}

#[test]
fn no_key_is_missing_from_the_commented_file() {
    let text = std::fs::read_to_string(config_folder().join("chartgate.yaml")).expect("readable");
    let folder = tempfile::tempdir().expect("a folder");
    for file in [
        "tls.crt",
        "tls.key",
        "clients.crt",
        "corp-ca.crt",
        "client.crt",
        "client.key",
        "password",
        "users.htpasswd",
        "tokens.pem",
        "token.pem",
        "token-previous.pem",
    ] {
        std::fs::write(folder.path().join(file), "x\n").expect("written");
    }
    std::fs::create_dir(folder.path().join("web")).expect("made");
    let full = uncommented(&text);
    let config = config::parse(&full, folder.path(), &bare)
        .unwrap_or_else(|mistakes| panic!("{mistakes}\n{full}"));
    assert!(config.cache.redis.is_some());
    let missing: Vec<String> = config::absent_keys(&full, folder.path(), &bare)
        .expect("valid")
        .into_iter()
        .filter(|path| {
            let key = path.rsplit('.').next().unwrap_or(path);
            !text.contains(&format!("# (or) {key}:"))
        })
        .collect();
    assert!(missing.is_empty(), "chartgate.yaml lacks {missing:?}");
}

/// What the commented file says is what absence means.
#[test]
fn the_commented_file_shows_the_defaults() {
    let shown = config::load(&config_folder().join("chartgate.yaml"), &bare).expect("valid");
    let bare = parse(
        "upstreams: {example: {url: 'https://charts.example.com/stable'}}\n\
         tenants: {acme/platform: {hosted: true, charts: [example], access: {anonymous: [pull]}}}\n",
    )
    .expect("valid");
    assert_eq!(format!("{shown:?}"), format!("{bare:?}"));
}

#[test]
fn the_quick_start_is_safe_and_complete() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config::quick_start(folder.path());
    assert_eq!(config.data_dir, folder.path());
    assert_eq!(config.store.root(), Some(&*folder.path().join("hosted")));
    for address in config.server.http.iter().chain(&config.server.admin) {
        match address {
            ListenAddress::Tcp(address) => assert!(address.ip().is_loopback(), "{address}"),
            ListenAddress::Unix(_) => panic!("a TCP address"),
        }
    }
    let Source::Dir(sample) = &config.upstreams["sample"].source else {
        panic!("the sample is a folder")
    };
    assert_eq!(sample, &folder.path().join("sample"));
    let files = config::quick_start_files();
    assert!(
        files
            .iter()
            .filter(|(name, _)| name.ends_with(".tgz"))
            .count()
            >= 6
    );
    assert!(files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() < 300_000);
    let on_disk = std::fs::read_dir(config_folder().join("sample"))
        .expect("config/sample")
        .count();
    assert_eq!(files.len(), on_disk, "embedded and shipped files differ");
    for (name, bytes) in files {
        assert_eq!(
            std::fs::read(config_folder().join(name)).expect("shipped"),
            *bytes
        );
    }
}

#[test]
fn everything_of_the_contract_resolves() {
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["tls.crt", "tls.key", "clients.crt", "ca.crt", "htpasswd"] {
        std::fs::write(folder.path().join(file), "x").expect("written");
    }
    std::fs::write(folder.path().join("secret"), "s3cret\r\n").expect("written");
    let env = |name: &str| (name == "REDIS_PASSWORD").then(|| "hunter2".to_owned());
    let text = r#"
server:
  http: [127.0.0.1:0, "unix:/run/chartgate.sock"]
  https: {listen: "[::]:8443", cert_file: tls.crt, key_file: tls.key, client_ca_file: clients.crt}
  admin: 127.0.0.1:9090
  external_url: https://charts.example.com
  grace_period: 1m30s
data_dir: ./data
cache:
  memory: 1GB
  disk: 50GiB
  redis: {url: "redis://:${REDIS_PASSWORD}@127.0.0.1:6379/0", prefix: cg, max_object: 512KiB}
store: {type: fs, root: /srv/hosted}
upstreams:
  ingress-nginx:
    type: helm
    url: https://kubernetes.github.io/ingress-nginx
    refresh: 24h
    timeout: 500ms
    proxy: http://proxy.corp:3128
    tls: {ca_file: ca.crt, insecure_skip_verify: false, cert_file: tls.crt, key_file: tls.key}
    auth: {username: reader, password_file: secret}
    allow_private: true
    on_digest_mismatch: serve
    keep_removed: false
    max_shrink: 10%
  local: {type: dir, url: charts}
  tree: {url: "file:///srv/charts"}
  token: {url: "http://h.example", auth: {token_file: secret}}
tenants:
  acme/platform:
    hosted: {overwrite: forbid, delete: false, max_upload: 5MiB}
    charts:
      - ingress-nginx
      - {upstream: local, include: ["app", "team-*"], exclude: "*-dev", versions: ">=1.2 <3"}
    index: {format: yaml, fields: slim, keep: 3}
    access:
      anonymous: pull
      rules: [{subjects: ["user:ci", "user:*"], actions: [pull, push, delete, admin]}]
    limits:
      - {requests: 6000/m, burst: 200, by: address}
      - {requests: 10/s, bytes: 1GiB/h, by: tenant}
      - {upload_bytes: 5GiB/h, burst: 10GiB}
  /: {hosted: true, limits: {uploads: 10/m}}
limits: {requests: 500/s}
auth: {users_file: htpasswd}
"#;
    let config = config::parse(text, folder.path(), &env).unwrap_or_else(|m| panic!("{m}"));
    let printed = format!("{config:?}");
    assert!(!printed.contains("s3cret") && !printed.contains("hunter2"));
    assert_eq!(config.server.http.len(), 2);
    assert_eq!(config.server.grace_period, Duration::from_secs(90));
    assert_eq!(
        config.server.https[0].certificates[0].cert_file,
        folder.path().join("tls.crt")
    );
    assert_eq!(config.cache.memory, 1_000_000_000);
    let redis = config.cache.redis.expect("redis");
    assert_eq!(redis.url.reveal(), "redis://:hunter2@127.0.0.1:6379/0");
    let nginx = &config.upstreams["ingress-nginx"];
    let Source::Helm(url) = &nginx.source else {
        panic!("helm")
    };
    assert_eq!(url.as_str(), "https://kubernetes.github.io/ingress-nginx/");
    assert_eq!(nginx.max_shrink, 0.1);
    assert_eq!(nginx.client.timeout, Duration::from_millis(500));
    let Some(UpstreamAuth::Basic(name, password)) = &nginx.client.auth else {
        panic!("basic")
    };
    assert_eq!((name.as_str(), password.reveal()), ("reader", "s3cret"));
    assert!(
        matches!(&config.upstreams["local"].source, Source::Dir(path) if *path == folder.path().join("charts"))
    );
    assert!(
        matches!(&config.upstreams["tree"].source, Source::Dir(path) if path == Path::new("/srv/charts"))
    );
    let tenant = &config.tenants["acme/platform"];
    assert_eq!(tenant.charts[1].exclude, ["*-dev"]);
    assert_eq!(tenant.access.anonymous, [Action::Pull]);
    assert_eq!(tenant.access.rules[0].subjects[1], Subject::AnyUser);
    let limit = |what, amount, seconds, burst, by| Limit {
        what,
        amount,
        period: Duration::from_secs(seconds),
        burst,
        by,
    };
    let limits = [
        limit(Limited::Requests, 6000, 60, 200, LimitBy::Address),
        limit(Limited::Requests, 10, 1, 10, LimitBy::Tenant),
        limit(Limited::Bytes, 1 << 30, 3600, 1 << 30, LimitBy::Tenant),
        limit(
            Limited::UploadBytes,
            5 << 30,
            3600,
            10 << 30,
            LimitBy::Identity,
        ),
    ];
    assert_eq!(tenant.limits, limits);
    let root = &config.tenants[""].limits;
    assert_eq!(
        *root,
        [limit(Limited::Uploads, 10, 60, 10, LimitBy::Identity)]
    );
    assert_eq!(
        config.limits,
        [limit(Limited::Requests, 500, 1, 500, LimitBy::Address)]
    );
    assert!(config.tenants[""].hosted.is_some());
}

/// Text, the path of its mistake, and a part of the message.
#[rustfmt::skip]
const TABLE: &[(&str, &str, &str)] = &[
    // Unknown keys name their path and the nearest known one.
    ("servr: {}", "servr", "did you mean `server`?"),
    ("server: {htp: x}", "server.htp", "did you mean `http`?"),
    ("server: {zzzzzzzz: x}", "server.zzzzzzzz", "known here: `http`"),
    ("cache: {redis: {url: 'redis://h', prefx: a}}", "cache.redis.prefx", "`prefix`"),
    ("upstreams: {a: {url: 'https://x', refesh: 5m}}\ntenants: {t: {charts: a}}", "upstreams.a.refesh", "`refresh`"),
    ("tenants: {t: {hosted: {overwite: allow}}}", "tenants.t.hosted.overwite", "`overwrite`"),
    ("tenants: {t: {hosted: true, acess: {}}}", "tenants.t.acess", "`access`"),
    ("tenants: {t: {hosted: true, limits: {requests: 1/s, brust: 2}}}", "tenants.t.limits.brust", "`burst`"),
    ("auth: {user_file: x}", "auth.user_file", "`users_file`"),
    // Wrong types and units.
    ("server: 5", "server", "expected a section"),
    ("server: [a]", "server", "expected a section of keys, found a list"),
    ("server: {http: {listen: '127.0.0.1:1', a: b}}", "server.http.a", "unknown key"),
    ("server: {http: {listen: '127.0.0.1:1', proxy_protocol: true}}", "server.http.proxy_protocol", "nobody would be believed"),
    ("server: {redirect_http: true}", "server.redirect_http", "there is no TLS listener"),
    ("server: {redirect_http: 'http://a.example'}", "server.redirect_http", "write `true`, or an address"),
    ("server: {redirect_http: 'https://a.example/path'}", "server.redirect_http", "write `true`, or an address"),
    ("server: {trusted_proxies: [10.0.0.1/8]}", "server.trusted_proxies[0]", "has bits after the first 8"),
    ("server: {trusted_proxies: everybody}", "server.trusted_proxies", "write a network"),
    ("server: {forwarded_header: via}", "server.forwarded_header", "known:"),
    ("server: {max_connections: many}", "server.max_connections", "write a number of connections"),
    ("server: {https: {listen: ':1', certificates: []}}", "server.https.certificates", "at least one certificate"),
    ("server: {https: {listen: ':1', cert_file: a, certificates: [{cert_file: b}]}}", "server.https.cert_file", "keep one of the two forms"),
    ("server: {http: 8080}", "server.http", "write an address such as `127.0.0.1:8080`"),
    ("server: {http: ['127.0.0.1:1', 'x']}", "server.http[1]", "write an address"),
    ("server: {grace_period: 20}", "server.grace_period", "write a duration with its unit"),
    ("server: {threads: 0}", "server.threads", "from 1 to 1024"),
    ("server: {external_url: 'ftp://x'}", "server.external_url", "http or https"),
    ("cache: {disk: 50G}", "cache.disk", "write a size such as"),
    ("upstreams: {a: {url: 'https://x', max_shrink: 0.5}}\ntenants: {t: {charts: a}}", "upstreams.a.max_shrink", "percentage"),
    ("upstreams: {a: {url: 'https://x', refresh: 1ms}}\ntenants: {t: {charts: a}}", "upstreams.a.refresh", "at least `1s`"),
    ("upstreams: {a: {url: 'https://x', keep_removed: maybe}}\ntenants: {t: {charts: a}}", "upstreams.a.keep_removed", "`true` or `false`"),
    ("upstreams: {a: {url: 'https://x', on_digest_mismatch: rejct}}\ntenants: {t: {charts: a}}", "upstreams.a.on_digest_mismatch", "did you mean `reject`?"),
    ("tenants: {t: {hosted: true, index: {keep: -1}}}", "tenants.t.index.keep", "0 for all"),
    ("tenants: {t: {hosted: true, limits: {requests: 0/s}}}", "tenants.t.limits.requests", "refuse every request"),
    ("tenants: {t: {hosted: true, limits: {burst: 1}}}", "tenants.t.limits", "`requests` is missing"),
    ("tenants: {t: {hosted: true, limits: [{requests: 1/s}, {by: tenant}]}}", "tenants.t.limits[1]", "`requests` is missing"),
    ("tenants: {t: {hosted: true, limits: [{requests: 1/s}, {requests: 1/s}]}}", "tenants.t.limits[1]", "stands here twice"),
    ("tenants: {t: {hosted: true, limits: {uploads: 1/s, bytes: 1GiB/h, burst: 1}}}", "tenants.t.limits.burst", "could be any one's"),
    ("tenants: {t: {hosted: true, limits: {bytes: 1000/s}}}", "tenants.t.limits.bytes", "write a rate such as `50MiB/s`"),
    ("tenants: {t: {hosted: true, limits: {bytes: 0MiB/s}}}", "tenants.t.limits.bytes", "refuse every request"),
    ("tenants: {t: {hosted: true, limits: {bytes: 1MiB/s, burst: 0MiB}}}", "tenants.t.limits.burst", "above zero"),
    ("limits: {requests: 1/s, by: identity}\ntenants: {t: {hosted: true}}", "limits.by", "known: `address`"),
    ("limits: {bytes: 1MiB/s}\ntenants: {t: {hosted: true}}", "limits", "`requests` is missing"),
    // Names.
    ("tenants: {v2: {hosted: true}}", "tenants.v2", "reserved"),
    ("tenants: {a/charts: {hosted: true}}", "tenants.a/charts", "cannot be a segment"),
    ("tenants: {a/../b: {hosted: true}}", "tenants.a/../b", "segment"),
    ("tenants: {acme: {hosted: true}, /acme: {hosted: true}}", "tenants./acme", "same tenant as `acme`"),
    ("upstreams: {good: {url: 'https://x'}}\ntenants: {t: {charts: [goood]}}", "tenants.t.charts[0]", "did you mean `good`?"),
    ("upstreams: {good: {url: 'https://x'}}\ntenants: {t: {charts: [good, {upstream: bda}]}}", "tenants.t.charts[1].upstream", "there are: `good`"),
    ("upstreams: {good: {url: 'https://x'}}\ntenants: {t: {charts: [good, good]}}", "tenants.t.charts[1]", "listed twice"),
    ("upstreams: {'a b': {url: 'https://x'}}\ntenants: {t: {hosted: true}}", "upstreams.\"a b\"", "made of letters"),
    ("tenants: {t: {}}", "tenants.t", "serves nothing"),
    ("server: {}", "", "`tenants` is missing"),
    ("", "", "the file is empty"),
    ("just text", "", "expected a section"),
    // Contradictions.
    ("tenants: {t: {hosted: true}}\ntenants: {u: {hosted: true}}", "tenants", "twice"),
    ("server: {http: '127.0.0.1:80', admin: '127.0.0.1:80'}", "server.admin", "another listener"),
    ("upstreams: {a: {url: 'https://x', auth: {username: u}}}\ntenants: {t: {charts: a}}", "upstreams.a.auth", "needs `password_file`"),
    ("upstreams: {a: {url: 'https://x', auth: {username: u, password: p, token: t}}}\ntenants: {t: {charts: a}}", "upstreams.a.auth", "contradict"),
    ("upstreams: {a: {url: 'https://x', auth: {username: u, password: p, password_file: f}}}\ntenants: {t: {charts: a}}", "upstreams.a.auth.password_file", "contradict"),
    ("upstreams: {a: {url: 'https://x', tls: {cert_file: /nowhere/c}}}\ntenants: {t: {charts: a}}", "upstreams.a.tls", "needs `key_file`"),
    ("upstreams: {a: {type: dir, url: x, proxy: 'http://p:1'}}\ntenants: {t: {charts: a}}", "upstreams.a.proxy", "has no meaning for a folder"),
    ("upstreams: {a: {type: dir, url: 'https://x'}}\ntenants: {t: {charts: a}}", "upstreams.a.url", "a path or a `file://` URL"),
    ("tenants: {t: {hosted: true, access: {rules: [{subjects: 'user:ci', actions: pull}]}}}", "tenants.t.access.rules", "set `auth.users_file`"),
    // URLs.
    ("upstreams: {a: {type: helm}}\ntenants: {t: {charts: a}}", "upstreams.a", "`url` is missing"),
    ("upstreams: {a: {url: 'htp://x'}}\ntenants: {t: {charts: a}}", "upstreams.a.url", "scheme `htp` is not supported"),
    ("upstreams: {a: {url: charts}}\ntenants: {t: {charts: a}}", "upstreams.a.url", "add `type: dir`"),
    ("upstreams: {a: {url: 'https://x/index.yaml'}}\ntenants: {t: {charts: a}}", "upstreams.a.url", "without `index.yaml`"),
    ("cache: {redis: {url: 'http://h'}}", "cache.redis", "`redis+cluster`"),
    ("cache: {redis: {}}", "cache.redis", "`url` is missing"),
    ("cache: {redis: {url: 'redis://:a@h', password: b}}", "cache.redis", "credentials already"),
    // Files and the environment.
    ("auth: {users_file: missing}", "auth.users_file", "cannot read `/nowhere/missing`"),
    ("server: {https: {listen: ':1', cert_file: c, key_file: k}}", "server.https.key_file", "cannot read `/nowhere/k`"),
    ("data_dir: ${MISSING}", "data_dir", "`MISSING` is not set"),
    ("data_dir: ${oops", "data_dir", "without `}`"),
    // Filters and rules.
    ("upstreams: {a: {url: 'https://x'}}\ntenants: {t: {charts: {upstream: a, include: ['[']}}}", "tenants.t.charts.include[0]", "not a pattern"),
    ("upstreams: {a: {url: 'https://x'}}\ntenants: {t: {charts: {upstream: a, versions: '>= x y'}}}", "tenants.t.charts.versions", "constraint"),
    ("tenants: {t: {hosted: true, access: {anonymous: [pul]}}}", "tenants.t.access.anonymous[0]", "did you mean `pull`?"),
    ("tenants: {t: {hosted: true, access: {rules: [{subjects: ci, actions: pull}]}}}", "tenants.t.access.rules[0].subjects", "write `user:NAME`"),
    ("tenants: {t: {hosted: true, access: {rules: [{actions: pull}]}}}", "tenants.t.access.rules[0]", "`subjects` is missing"),
    // Patterns of tenants, and what ChartMuseum's service needs.
    ("tenants: {'a/*': {hosted: true}, '/a/*': {hosted: true}}", "tenants./a/*", "fits the same paths as `a/*`"),
    ("tenants: {'*/a': {hosted: true}}", "tenants.*/a", "one last `**`"),
    ("tenants: {'**/*': {hosted: true}}", "tenants.**/*", "one last `**`"),
    ("tenants: {'a*': {hosted: true}}", "tenants.a*", "one last `**`"),
    ("tenants: {'api/*': {hosted: true}}", "tenants.api/*", "reserved"),
    ("tenants: {'*': {charts: [], hosted: false, access: {rules: [{subjects: 'user:ci', actions: pull}]}}}", "tenants.*.access.rules", "set `auth.users_file`"),
    ("tenants: {'*': {}}", "tenants.*", "serves nothing"),
    ("chartmuseum: {strict: true}\ntenants: {acme: {hosted: true}}", "chartmuseum.strict", "exactly one key"),
    ("chartmuseum: {strict: true}\ntenants: {'a/*': {hosted: true}}", "chartmuseum.strict", "exactly one key"),
    ("chartmuseum: {strict: true}\ntenants: {/: {hosted: true}, '*': {hosted: true}}", "chartmuseum.strict", "exactly one key"),
    ("chartmuseum: {strct: true}", "chartmuseum.strct", "did you mean `strict`?"),
    ("chartmuseum: {chart_field: prov}", "chartmuseum", "are the same"),
    ("chartmuseum: {chart_field: ''}", "chartmuseum.chart_field", "needs a name"),
    ("chartmuseum: {cors_origin: 'a b'}", "chartmuseum.cors_origin", "one origin"),
    ("chartmuseum: {web_folder: missing}", "chartmuseum.web_folder", "is not a folder"),
    ("chartmuseum: {artifact_hub: {a/../b: x}}", "chartmuseum.artifact_hub.a/../b", "not the path of a repository"),
    ("chartmuseum: {artifact_hub: {a: ''}}", "chartmuseum.artifact_hub.a", "repository id"),
    ("tenants: {t: {hosted: {max_objects: -1}}}", "tenants.t.hosted.max_objects", "0 for no limit"),
    ("tenants: {t: {hosted: {max_versions: many}}}", "tenants.t.hosted.max_versions", "0 for no limit"),
    ("tenants: {t: {hosted: true, index: {url: charts.example.com}}}", "tenants.t.index.url", "relative URL without a base"),
    ("tenants: {t: {hosted: true, index: {url: 'https://u:p@h'}}}", "tenants.t.index.url", "without user"),
    ("server: {context_path: /a b}", "server.context_path", "such as `/helm`"),
    ("server: {context_path: /a/../b}", "server.context_path", "such as `/helm`"),
    ("server: {context_path: //a}", "server.context_path", "such as `/helm`"),
    ("server: {read_timeout: 0}", "server.read_timeout", "more than zero"),
    ("server: {write_timeout: 5}", "server.write_timeout", "write a duration with its unit"),
    ("server: {https: {listen: ':1', cert_file: c, key_file: k, client_certificates: required}}", "server.https.client_certificates", "set `client_ca_file`"),
    ("server: {https: {listen: ':1', cert_file: c, key_file: k, client_certificates: yes}}", "server.https.client_certificates", "`optional`, `required`"),
    ("auth: {users: {ci: {}}}", "auth.users.ci", "`password_file` is missing"),
    ("auth: {users: {ci: secret}}", "auth.users.ci", "expected a section"),
    ("auth: {users: {'a:b': {password: x}}}", "auth.users.a:b", "no `:`"),
    ("auth: {users: {ci: {password: x, password_file: y}}}", "auth.users.ci.password_file", "contradict"),
    ("auth: {jwt: [{issuer: x}]}", "auth.jwt[0]", "`public_key_file` is missing"),
    ("auth: {jwt: {public_key_file: missing}}", "auth.jwt.public_key_file", "cannot read"),
    ("auth: {challenge: {scheme: digest}}", "auth.challenge.scheme", "`basic`, `bearer`"),
    ("auth: {challenge: {scheme: bearer, realm: x}}", "auth.challenge", "`service` is missing"),
    ("auth: {challenge: {service: x}}", "auth.challenge.service", "only `scheme: bearer`"),
    ("auth: {challenge: {realm: 'a\"b'}}", "auth.challenge.realm", "stands in a header"),
    // Parts of the contract that are still to come are neither ignored nor unknown.
    ("upstreams: {a: {type: s3, bucket: x}}\ntenants: {t: {charts: a}}", "upstreams.a", "`url` is missing"),
    ("upstreams: {a: {url: 's3://charts/p'}}\ntenants: {t: {charts: a}}", "upstreams.a.url", "say `region`"),
    ("upstreams: {a: {type: s3, url: 'https://h/charts', region: 'x/y'}}\ntenants: {t: {charts: a}}", "upstreams.a.region", "write a region"),
    ("upstreams: {a: {type: s3, url: 'https://h/charts', endpoint: minio}}\ntenants: {t: {charts: a}}", "upstreams.a.endpoint", "write the service as"),
    ("upstreams: {a: {type: s3, url: 'https://h/charts', auth: {access_key_id: k}}}\ntenants: {t: {charts: a}}", "upstreams.a.auth", "needs `secret_access_key_file`"),
    ("upstreams: {a: {type: s3, url: 'https://h/charts', auth: {secret_access_key: k}}}\ntenants: {t: {charts: a}}", "upstreams.a.auth", "`access_key_id` is missing"),
    ("upstreams: {a: {type: s3, url: 'https://h/charts', auth: {}}}\ntenants: {t: {charts: a}}", "upstreams.a.auth", "`default_chain: true`"),
    ("upstreams: {a: {type: s3, url: 'https://h/charts', auth: {access_key_id: k, secret_access_key: s, default_chain: true}}}\ntenants: {t: {charts: a}}", "upstreams.a.auth", "contradict"),
    ("upstreams: {a: {type: s3, url: 'https://h/charts', auth: {username: k, default_chain: true}}}\ntenants: {t: {charts: a}}", "upstreams.a.auth.username", "a bucket is read with"),
    ("upstreams: {a: {url: 'https://h/charts', bucket: x}}\ntenants: {t: {charts: a}}", "upstreams.a.bucket", "belongs to upstreams of type `s3`"),
    ("upstreams: {a: {type: git, url: 'https://x'}}\ntenants: {t: {charts: a}}", "upstreams.a.type", "not supported yet"),
    ("store: {type: s3}", "store", "`bucket` is missing"),
    ("store: {bucket: x}", "store.bucket", "unknown key"),
    ("auth: {jwt: [{jwks_url: 'http://keys.example.com'}]}", "auth.jwt[0].jwks_url", "https"),
    ("auth: {jwt: [{jwks_url: 'ftp://127.0.0.1/x'}]}", "auth.jwt[0].jwks_url", "https"),
    ("auth: {jwt: [{jwks_url: 'https://a:b@x'}]}", "auth.jwt[0].jwks_url", "without user"),
    ("auth: {jwt: [{jwks_url: 'https://x', required_claims: [owner]}]}", "auth.jwt[0].required_claims[0]", "NAME=GLOB"),
    ("auth: {jwt: [{jwks_url: 'https://x', jwks_max_stale: 0s}]}", "auth.jwt[0].jwks_max_stale", "from 5m"),
    ("auth: {jwt: [{jwks_max_stale: 1h}]}", "auth.jwt[0].jwks_max_stale", "only `jwks_url`"),
    ("auth: {jwt: [{jwks_url: 'https://x', auth: {}}]}", "auth.jwt[0].auth", "`token_file` is missing"),
    ("auth: {jwt: [{jwks_url: 'https://x', auth: {token_file: none}}]}", "auth.jwt[0].auth.token_file", "cannot read"),
    ("auth: {jwt: [{public_key_file: x, auth: {token_file: none}}]}", "auth.jwt[0].auth", "only `jwks_url`"),
    ("auth: {attempts: 0}", "auth.attempts", "from 1 to"),
    ("auth: {token: {attempts: 30}}", "auth.token.attempts", "write `auth.attempts`"),
    ("tenants: {t: {hosted: true, access: {rules: [{subjects: 'group:', actions: pull}]}}}", "tenants.t.access.rules[0].subjects", "group:NAME"),
    ("tenants: {t: {hosted: true, access: {rules: [{subjects: ['claim:a='], actions: pull}]}}}", "tenants.t.access.rules[0].subjects[0]", "NAME=GLOB"),
    ("tenants: {t: {hosted: true, access: {rules: [{subjects: ['claim:a=b'], actions: pull}]}}}", "tenants.t.access.rules", "set `auth.jwt`"),
    // Not YAML.
    ("a: [", "", "not readable as YAML"),
    ("a: 1\n---\nb: 2", "", "not readable as YAML"),
];

#[test]
fn each_mistake_is_told_with_its_place() {
    for (text, path, part) in TABLE {
        let found = mistakes(text);
        assert!(
            found
                .iter()
                .any(|mistake| mistake.starts_with(&format!("{path}: ")) && mistake.contains(part)),
            "{text}\n  expected {path}: ..{part}..\n  found {found:#?}"
        );
    }
}

#[test]
fn one_mistake_is_not_told_twice() {
    for (text, mistakes_in_it) in [
        (with("servr: {}"), 1),
        (with("cache: {disk: 1, dsk: 2}"), 1),
        // A broken upstream does not make its tenants look broken.
        (
            "upstreams: {a: {url: nonsense}}\ntenants: {t: {charts: a}}".into(),
            1,
        ),
        (
            "upstreams: {a: {type: git, url: 'https://x', tag_ttl: 5m, hosts: [b]}}\ntenants: {t: {charts: a, registries: a}}".into(),
            1,
        ),
        (
            "upstreams: {a: {type: oci, url: 'https://x', tag_ttl: soon}}\ntenants: {t: {registries: a}}".into(),
            1,
        ),
        (with("store: {type: s3, bukcet: x, endpoint: 'ftp://y'}"), 3),
        (with("store: {type: s4, bucket: x, endpoint: y}"), 1),
    ] {
        let found = mistakes(&text);
        assert_eq!(found.len(), mistakes_in_it, "{text}\n{found:#?}");
    }
}

#[test]
fn all_mistakes_come_at_once_in_the_order_of_the_file() {
    let text = "\
server:
  htp: x
  grace_period: soon
cache:
  memory: much
upstreams:
  a:
    url: htp://x
    refesh: 5m
tenants:
  t:
    charts: [b]
    access: {anonymous: [pul]}
    limits: {requests: many}
  api: {hosted: true}
oops: 1
";
    let mistakes = parse(text).expect_err("many");
    let lines: Vec<_> = mistakes.0.iter().map(|mistake| mistake.line).collect();
    assert_eq!(
        lines,
        [2, 3, 5, 8, 9, 12, 13, 14, 15, 16].map(Some),
        "{mistakes}"
    );
    assert_eq!(mistakes.to_string().lines().count(), 10);
}

#[test]
fn secrets_stay_out_of_messages() {
    let env = |name: &str| (name == "SECRET").then(|| "hunter2".to_owned());
    for text in [
        "upstreams: {a: {url: 'https://u:${SECRET}@x'}}",
        "upstreams: {a: {url: 'https://u:hunter2@x'}}",
        "upstreams: {a: {url: '${SECRET}'}}",
        "upstreams: {a: {url: 'https://x', proxy: 'socks5://u:hunter2@p'}}",
        "upstreams: {a: {url: 'https://x', auth: {password: hunter2}}}",
        "upstreams: {a: {url: 'https://x', auth: {token: \"hunter2\\nx\"}}}",
        "upstreams: {a: {url: 's3://u:hunter2@h:9000/charts'}}",
        "upstreams: {a: {type: s3, url: 'https://h/charts', auth: {secret_access_key: hunter2}}}",
        "cache: {redis: {url: 'http://:hunter2@h'}}",
        "cache: {memory: '${SECRET}'}",
        "server: {http: '${SECRET}'}",
        "tenants: {t: {charts: '${SECRET}'}}",
        "auth: {users: {ci: {password: hunter2, pasword: x}}}",
        "auth: {users: {ci: {password: \"hunter2\\nx\"}}}",
    ] {
        let mistakes = config::parse(text, Path::new("/nowhere"), &env).expect_err("mistakes");
        assert!(
            !format!("{mistakes} {mistakes:?}").contains("hunter2"),
            "{text}: {mistakes}"
        );
    }
}

#[test]
fn tls_only_and_no_admin_mean_what_they_say() {
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["c", "k"] {
        std::fs::write(folder.path().join(file), "x").expect("written");
    }
    let text =
        with("server: {https: [{listen: ':8443', cert_file: c, key_file: k}], admin: false}");
    let config = config::parse(&text, folder.path(), &bare).expect("valid");
    assert!(config.server.http.is_empty() && config.server.admin.is_none());
    assert_eq!(config.server.https.len(), 1);
}

#[test]
fn the_data_folder_moves_with_its_store() {
    let mut config = parse(&with("data_dir: /a")).expect("valid");
    config.set_data_dir(Path::new("/b"));
    assert_eq!(config.store.root(), Some(Path::new("/b/hosted")));
    let mut config = parse(&with("data_dir: /a\nstore: {root: /c}")).expect("valid");
    config.set_data_dir(Path::new("/b"));
    assert_eq!(config.store.root(), Some(Path::new("/c")));
}

#[test]
fn an_unreadable_file_is_one_mistake() {
    let mistakes = config::load(Path::new("/nowhere/chartgate.yaml"), &bare).expect_err("missing");
    assert!(
        mistakes
            .to_string()
            .contains("cannot read `/nowhere/chartgate.yaml`")
    );
}

/// The configuration that `chartgate chartmuseum` amounts to.
#[test]
fn everything_of_chartmuseum_resolves() {
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["tls.crt", "tls.key", "clients.crt", "server.pem"] {
        std::fs::write(folder.path().join(file), "x").expect("written");
    }
    std::fs::create_dir(folder.path().join("web")).expect("made");
    let env = |name: &str| (name == "BASIC_AUTH_PASS").then(|| "hunter2".to_owned());
    let text = r#"
server:
  https: {listen: ":8443", cert_file: tls.crt, key_file: tls.key, client_ca_file: clients.crt, client_certificates: required}
  context_path: helm/charts/
  read_timeout: 5s
  write_timeout: 2m
tenants:
  "*/*":
    hosted: {max_objects: 1000, max_versions: 5}
    index: {format: yaml, url: "https://charts.example.com/base/"}
    access: {anonymous: pull, rules: [{subjects: "user:curator", actions: [pull, push, delete]}]}
auth:
  users: {curator: {password: "${BASIC_AUTH_PASS}"}}
  jwt:
    - {public_key_file: server.pem, audience: chartmuseum, issuer: me, actions_path: access}
    - {public_key_file: server.pem}
  challenge: {scheme: bearer, realm: "https://auth.example.com/token", service: charts}
chartmuseum:
  strict: true
  api: false
  chart_field: package
  provenance_field: signature
  cors_origin: "*"
  web_folder: web
  artifact_hub: {org1/repo: "1234", api/charts: abc}
  metrics: true
"#;
    let config = config::parse(text, folder.path(), &env).unwrap_or_else(|m| panic!("{m}"));
    assert!(!format!("{config:?}").contains("hunter2"));
    let server = &config.server;
    assert_eq!(server.context_path, "/helm/charts");
    assert_eq!(server.read_timeout, Duration::from_secs(5));
    assert_eq!(server.write_timeout, Duration::from_secs(120));
    assert!(server.https[0].client_certificate_required);
    assert!(config.tenants.is_empty());
    let (pattern, tenant) = config.patterns.first_key_value().expect("a pattern");
    assert_eq!((pattern.as_str(), pattern.depth()), ("*/*", Some(2)));
    let hosted = tenant.hosted.as_ref().expect("hosted");
    assert_eq!((hosted.max_objects, hosted.max_versions), (1000, 5));
    let url = tenant.index.url.as_ref().expect("a url");
    assert_eq!(url.as_str(), "https://charts.example.com/base/");
    assert_eq!(config.auth.users["curator"].reveal(), "hunter2");
    let [own, default] = config.auth.jwt.as_slice() else {
        panic!("two issuers")
    };
    assert_eq!(own.keys, JwtKeys::File(folder.path().join("server.pem")));
    assert_eq!(own.audience.as_deref(), Some("chartmuseum"));
    assert_eq!(
        (own.issuer.as_deref(), own.actions_path.as_deref()),
        (Some("me"), Some("access"))
    );
    assert_eq!((&default.audience, &default.issuer), (&None, &None));
    let path = default.actions_path.as_deref();
    assert!(path.is_some_and(|path| path.contains("$NAMESPACE")));
    let bearer = Challenge::Bearer {
        realm: "https://auth.example.com/token".into(),
        service: "charts".into(),
    };
    assert_eq!(config.auth.challenge, bearer);
    let museum = &config.museum;
    assert!(museum.strict && !museum.api && museum.metrics);
    assert_eq!(
        (
            museum.chart_field.as_str(),
            museum.provenance_field.as_str()
        ),
        ("package", "signature")
    );
    assert_eq!(museum.cors_origin.as_deref(), Some("*"));
    assert_eq!(museum.web_folder, Some(folder.path().join("web")));
    assert_eq!(museum.artifact_hub["org1/repo"], "1234");
    assert_eq!(museum.artifact_hub["api/charts"], "abc");
}

#[test]
fn context_paths_are_spelled_in_one_way() {
    for (written, path) in [
        ("/", ""),
        ("helm", "/helm"),
        ("/helm/", "/helm"),
        ("/a/b.c", "/a/b.c"),
    ] {
        let config =
            parse(&with(&format!("server: {{context_path: '{written}'}}"))).expect("valid");
        assert_eq!(config.server.context_path, path);
    }
}

#[test]
fn strict_mode_takes_each_depth() {
    for key in ["/", "'*'", "'*/*'", "'*/*/*'", "'**'"] {
        let text = format!("chartmuseum: {{strict: true}}\ntenants: {{{key}: {{hosted: true}}}}");
        assert!(parse(&text).expect(key).museum.strict);
    }
}

#[test]
fn a_bucket_upstream_is_read_with_the_credentials_it_names_and_no_others() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("secret"), "hunter2\n").expect("written");
    let read = |keys: &str| {
        let text = format!("upstreams: {{a: {{{keys}}}}}\ntenants: {{t: {{charts: a}}}}");
        let config = config::parse(&text, folder.path(), &bare).expect(keys);
        let Source::Bucket(place) = config.upstreams["a"].source.clone() else {
            panic!("a bucket: {keys}")
        };
        let config::Service::S3(s3) = place.service.clone() else {
            panic!("S3: {keys}")
        };
        (place, s3)
    };

    let (place, s3) = read(
        "url: 's3://minio:9000/charts/stable', allow_private: true, timeout: 5s, \
         auth: {access_key_id: AKID, secret_access_key_file: secret, session_token: hunter2}",
    );
    assert_eq!(
        (s3.bucket.as_str(), place.prefix.as_str()),
        ("charts", "stable")
    );
    assert_eq!(s3.endpoint.as_deref(), Some("http://minio:9000"));
    assert_eq!(s3.access_key_id.as_deref(), Some("AKID"));
    assert_eq!(s3.secret_access_key, Some(config::Secret::new("hunter2")));
    assert_eq!(s3.session_token, Some(config::Secret::new("hunter2")));
    assert!(!s3.anonymous && s3.path_style);
    assert!(place.client.allow_private);
    assert_eq!(place.client.timeout, std::time::Duration::from_secs(5));
    assert!(!format!("{place:?}").contains("hunter2"));

    let (_, silent) = read("type: s3, url: 'https://charts.s3.eu-west-1.amazonaws.com'");
    assert!(silent.anonymous && silent.access_key_id.is_none() && !silent.path_style);
    let (place, chain) = read(
        "url: 's3://charts', region: eu-west-1, path_style: false, auth: {default_chain: true}",
    );
    assert!(!chain.anonymous && chain.access_key_id.is_none() && chain.endpoint.is_none());
    assert_eq!(chain.region.as_deref(), Some("eu-west-1"));
    assert!(!chain.path_style && !place.client.allow_private);
}

/// Every service, with as few keys as it takes.
const STORES: &[&str] = &[
    "{type: s3, bucket: b}",
    "{type: gcs, bucket: b}",
    "{type: azblob, container: b}",
    "{type: oss, bucket: b}",
    "{type: swift, container: b}",
    "{type: cos, bucket: b, endpoint: cos.ap-guangzhou.myqcloud.com}",
    "{type: etcd}",
];

#[test]
fn no_key_of_a_store_is_missing_from_the_commented_file() {
    let text = std::fs::read_to_string(config_folder().join("chartgate.yaml")).expect("readable");
    let mut checked = 0;
    for store in STORES {
        let file = with(&format!("store: {store}"));
        let absent = config::absent_keys(&file, Path::new("/nowhere"), &bare).expect("valid");
        for path in absent {
            let Some(key) = path.strip_prefix("store.") else {
                continue;
            };
            let shown = [format!("  # (or) {key}:"), format!("  {key}:")];
            assert!(
                shown.iter().any(|line| text.contains(line)),
                "chartgate.yaml lacks {path} of {store}"
            );
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} keys");
}

#[test]
fn every_store_resolves() {
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["ca", "crt", "key", "key.json"] {
        std::fs::write(folder.path().join(file), "x").expect("written");
    }
    std::fs::write(folder.path().join("secret"), "czNjcmV0\n").expect("written");
    let objects = |store: &str| {
        let text = with(&format!("store: {store}"));
        let config = config::parse(&text, folder.path(), &bare).unwrap_or_else(|m| panic!("{m}"));
        assert!(!format!("{config:?}").contains("czNjcmV0"), "{store}");
        match config.store.place {
            Place::Objects(objects) => (*objects, config.store.refresh),
            Place::Folder(_) => panic!("{store} is no folder"),
        }
    };
    for store in STORES {
        let (objects, refresh) = objects(store);
        assert_eq!((objects.prefix.as_str(), refresh.as_secs()), ("", 60));
        assert!(objects.client.allow_private);
    }

    let (s3, refresh) = objects(
        "{type: s3, bucket: b, prefix: /team/charts/, region: eu-central-1, endpoint: 'http://minio:9000/', \
         access_key_id: id, secret_access_key_file: secret, session_token: t, path_style: false, \
         server_side_encryption: AES256, refresh: 0, timestamp_tolerance: 1s, readers: 3, timeout: 5s, \
         proxy: 'http://p:1', tls: {ca_file: ca, cert_file: crt, key_file: key}}",
    );
    assert_eq!(refresh, Duration::ZERO);
    assert_eq!(s3.prefix, "team/charts");
    assert_eq!(s3.client.timeout, Duration::from_secs(5));
    assert_eq!(s3.client.ca_file, Some(folder.path().join("ca")));
    let Service::S3(s3) = s3.service else {
        panic!("s3")
    };
    assert_eq!(s3.endpoint.as_deref(), Some("http://minio:9000"));
    assert_eq!(s3.secret_access_key, Some(Secret::new("czNjcmV0")));
    assert!(!s3.path_style && !s3.anonymous);

    let (azblob, _) =
        objects("{type: azblob, container: b, account_name: a, account_key_file: secret}");
    let Service::Azblob(azblob) = azblob.service else {
        panic!("azblob")
    };
    assert_eq!(azblob.account_key, Some(Secret::new("czNjcmV0")));
    let (etcd, _) =
        objects("{type: etcd, endpoints: [a:1, 'http://b:2'], username: u, password: p}");
    let Service::Etcd(etcd) = etcd.service else {
        panic!("etcd")
    };
    assert_eq!(etcd.endpoints, ["https://a:1", "http://b:2"]);
    let (swift, _) = objects(
        "{type: swift, container: b, auth_url: 'https://k/v3', username: u, password: p, project: j, domain: d, region: r}",
    );
    let Service::Swift(swift) = swift.service else {
        panic!("swift")
    };
    assert_eq!(swift.project.as_deref(), Some("j"));
    let (gcs, _) = objects("{type: gcs, bucket: b, root: x/y, credential_file: key.json}");
    assert_eq!(gcs.prefix, "x/y");
}

#[test]
fn mistakes_in_a_store_say_how_to_write_it() {
    #[rustfmt::skip]
    let table: &[(&str, &str, &str)] = &[
        ("{type: s4}", "store.type", "did you mean `s3`?"),
        ("{type: s3}", "store", "`bucket` is missing"),
        ("{type: s3, bucket: ''}", "store.bucket", "must not be empty"),
        ("{type: s3, bucket: b, buckt: c}", "store.buckt", "did you mean `bucket`?"),
        ("{type: azblob}", "store", "`container` is missing"),
        ("{type: azblob, endpoint: 'https://x', account_name: a}", "store", "`container` is missing"),
        ("{type: azblob, container: b, account_name: a, account_key: '!'}", "store", "not base64"),
        ("{type: cos, bucket: b}", "store", "`endpoint` is missing"),
        ("{type: s3, bucket: b, access_key_id: i}", "store", "`access_key_id` needs `secret_access_key_file`"),
        ("{type: s3, bucket: b, secret_access_key: i}", "store", "needs `access_key_id`"),
        ("{type: s3, bucket: b, access_key_id: i, secret_access_key: s, anonymous: true}", "store", "contradict"),
        ("{type: s3, bucket: b, secret_access_key: a, secret_access_key_file: b}", "store.secret_access_key_file", "contradict"),
        ("{type: s3, bucket: b, endpoint: 'https://u:p@h'}", "store.endpoint", "without user"),
        ("{type: s3, bucket: b, endpoint: 'ftp://h'}", "store.endpoint", "write a URL"),
        ("{type: s3, bucket: b, prefix: a/../b}", "store.prefix", "segments"),
        ("{type: s3, bucket: b, prefix: a, root: b}", "store", "keep `prefix`"),
        ("{type: s3, bucket: b, refresh: 1ms}", "store.refresh", "at least `1s`"),
        ("{type: s3, bucket: b, readers: many}", "store.readers", "from 1 to 256"),
        ("{type: s3, bucket: b, timeout: 0s}", "store.timeout", "more than zero"),
        ("{type: s3, bucket: b, tls: {cert_file: c}}", "store.tls", "needs `key_file`"),
        ("{type: gcs, bucket: b, credential_file: missing}", "store.credential_file", "cannot read"),
        ("{type: swift, container: b, token: t}", "store", "`token` needs `endpoint`"),
        ("{type: etcd, bucket: b}", "store.bucket", "known here"),
        ("{type: fs, bucket: b}", "store.bucket", "known here"),
        ("{prefix: b}", "store.prefix", "a folder is `root`"),
    ];
    for (store, path, part) in table {
        let found = mistakes(&with(&format!("store: {store}")));
        let wanted = format!("{path}: ");
        assert!(
            found
                .iter()
                .any(|mistake| mistake.starts_with(&wanted) && mistake.contains(part)),
            "{store}: {found:?} lacks {path}: {part}"
        );
    }
}

#[test]
fn no_key_of_a_bucket_upstream_is_missing_from_the_commented_file() {
    let text = std::fs::read_to_string(config_folder().join("chartgate.yaml")).expect("readable");
    let file = "upstreams: {a: {type: s3, url: 'https://h/charts', auth: {default_chain: true}}}\n\
                tenants: {t: {charts: a}}";
    let absent = config::absent_keys(file, Path::new("/nowhere"), &bare).expect("valid");
    let mut checked = 0;
    for path in absent {
        let Some(key) = path.strip_prefix("upstreams.*.") else {
            continue;
        };
        let key = key.rsplit('.').next().unwrap_or(key);
        let shown = [
            format!(" # (or) {key}:"),
            format!(" # {key}:"),
            format!(" {key}:"),
        ];
        assert!(
            shown.iter().any(|line| text.contains(line)),
            "chartgate.yaml lacks {path}"
        );
        checked += 1;
    }
    assert!(checked > 10, "only {checked} keys");
}

#[test]
fn the_audit_log_is_off_until_it_has_a_place() {
    let audit = |more: &str| parse(&with(more)).expect("no mistakes").audit;
    assert_eq!(audit(""), None);
    assert_eq!(
        audit("audit: {file: /var/log/audit.log}"),
        Some(Audit {
            place: AuditPlace::File("/var/log/audit.log".into()),
            max_size: 100 << 20,
            keep: 10,
        })
    );
    assert_eq!(
        audit("audit: {file: stdout, max_size: 1MiB, keep: 0}"),
        Some(Audit {
            place: AuditPlace::Stdout,
            max_size: 1 << 20,
            keep: 0,
        })
    );
    for (more, told) in [
        ("audit: {}", "`file` is missing"),
        ("audit: {file: ''}", "write the path of a file, or `stdout`"),
        ("audit: {file: a, max_size: 1KiB}", "at least 64KiB"),
        ("audit: {file: a, keep: 1001}", "from 0 to 1000"),
        ("audit: {file: a, size: 1MiB}", "unknown key"),
    ] {
        let mistakes = mistakes(&with(more));
        assert!(
            mistakes.len() == 1 && mistakes[0].contains(told),
            "{more}: {mistakes:?}"
        );
    }
}
