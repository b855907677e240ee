//! The table of flags, where values come from, and the configuration that comes out.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::config::{Action, Challenge, ListenAddress, Overwrite};

/// The flags of ChartMuseum 0.16.5: name, variable, key of the file, kind and default.
const CHARTMUSEUM: &str = "
config CONFIG - text
gen-index GEN_INDEX genindex switch
debug DEBUG debug switch
log-json LOG_JSON logjson switch
log-health LOG_HEALTH loghealth switch
log-latency-integer LOG_LATENCY_INTEGER loglatencyinteger switch
disable-metrics DISABLE_METRICS disablemetrics switch
enable-metrics ENABLE_METRICS enablemetrics switch
disable-api DISABLE_API disableapi switch
disable-delete DISABLE_DELETE disabledelete switch
disable-statefiles DISABLE_STATEFILES disablestatefiles switch
json-index JSON_INDEX json-index switch
allow-overwrite ALLOW_OVERWRITE allowoverwrite switch
disable-force-overwrite DISABLE_FORCE_OVERWRITE disableforceoverwrite switch
port PORT port number 8080
listen-host LISTEN_HOST listen.host text 0.0.0.0
read-timeout READ_TIMEOUT readtimeout number 30
write-timeout WRITE_TIMEOUT writetimeout number 30
chart-url CHART_URL charturl text
basic-auth-user BASIC_AUTH_USER basicauth.user text
basic-auth-pass BASIC_AUTH_PASS basicauth.pass text
auth-anonymous-get AUTH_ANONYMOUS_GET authanonymousget switch
bearer-auth BEARER_AUTH bearerauth switch
auth-realm AUTH_REALM authrealm text
auth-service AUTH_SERVICE authservice text
auth-cert-path AUTH_CERT_PATH authcertpath text
auth-actions-search-path AUTH_ACTIONS_SEARCH_PATH authactionssearchpath text
tls-cert TLS_CERT tls.cert text
tls-key TLS_KEY tls.key text
tls-ca-cert TLS_CA_CERT tls.cacert text
cache CACHE cache.store text
cache-redis-addr CACHE_REDIS_ADDR cache.redis.addr text
cache-redis-password CACHE_REDIS_PASSWORD cache.redis.password text
cache-redis-db CACHE_REDIS_DB cache.redis.db number 0
cache-interval CACHE_INTERVAL cacheinterval duration 5m
always-regenerate-chart-index ALWAYS_REGENERATE_CHART_INDEX always-regenerate-chart-index switch
index-limit INDEX_LIMIT indexlimit number 0
per-chart-limit PER_CHART_LIMIT per-chart-limit number 0
max-storage-objects MAX_STORAGE_OBJECTS maxstorageobjects number 0
max-upload-size MAX_UPLOAD_SIZE maxuploadsize number 20971520
context-path CONTEXT_PATH contextpath text
depth DEPTH depth number 0
depth-dynamic DEPTH_DYNAMIC depthdynamic switch
cors-alloworigin CORS_ALLOW_ORIGIN cors.alloworigin text
chart-post-form-field-name CHART_POST_FORM_FIELD_NAME chartpostformfieldname text chart
prov-post-form-field-name PROV_POST_FORM_FIELD_NAME provpostformfieldname text prov
web-template-path WEB_TEMPLATE_PATH web-template-path text
artifact-hub-repo-id ARTIFACT_HUB_REPO_ID artifact-hub-repo-id pairs
enforce-semver2 ENFORCE_SEMVER2 enforce-semver2 switch
storage STORAGE storage.backend text
storage-timestamp-tolerance STORAGE_TIMESTAMP_TOLERANCE storage.timestamptolerance duration 0
storage-local-rootdir STORAGE_LOCAL_ROOTDIR storage.local.rootdir text
storage-amazon-bucket STORAGE_AMAZON_BUCKET storage.amazon.bucket text
storage-amazon-prefix STORAGE_AMAZON_PREFIX storage.amazon.prefix text
storage-amazon-region STORAGE_AMAZON_REGION storage.amazon.region text
storage-amazon-endpoint STORAGE_AMAZON_ENDPOINT storage.amazon.endpoint text
storage-amazon-sse STORAGE_AMAZON_SSE storage.amazon.sse text
storage-amazon-force-path-style STORAGE_AMAZON_FORCE_PATH_STYLE storage.amazon.forcepathstyle switch true
storage-google-bucket STORAGE_GOOGLE_BUCKET storage.google.bucket text
storage-google-prefix STORAGE_GOOGLE_PREFIX storage.google.prefix text
storage-oracle-bucket STORAGE_ORACLE_BUCKET storage.oracle.bucket text
storage-oracle-prefix STORAGE_ORACLE_PREFIX storage.oracle.prefix text
storage-oracle-region STORAGE_ORACLE_REGION storage.oracle.region text
storage-oracle-compartmentid STORAGE_ORACLE_COMPARTMENTID storage.oracle.compartmentid text
storage-microsoft-container STORAGE_MICROSOFT_CONTAINER storage.microsoft.container text
storage-microsoft-prefix STORAGE_MICROSOFT_PREFIX storage.microsoft.prefix text
storage-alibaba-bucket STORAGE_ALIBABA_BUCKET storage.alibaba.bucket text
storage-alibaba-prefix STORAGE_ALIBABA_PREFIX storage.alibaba.prefix text
storage-alibaba-endpoint STORAGE_ALIBABA_ENDPOINT storage.alibaba.endpoint text
storage-alibaba-sse STORAGE_ALIBABA_SSE storage.alibaba.sse text
storage-openstack-container STORAGE_OPENSTACK_CONTAINER storage.openstack.container text
storage-openstack-prefix STORAGE_OPENSTACK_PREFIX storage.openstack.prefix text
storage-openstack-region STORAGE_OPENSTACK_REGION storage.openstack.region text
storage-openstack-cacert STORAGE_OPENSTACK_CACERT storage.openstack.cacert text
storage-openstack-auth STORAGE_OPENSTACK_AUTH storage.openstack.auth text auto
storage-baidu-bucket STORAGE_BAIDU_BUCKET storage.baidu.bucket text
storage-baidu-prefix STORAGE_BAIDU_PREFIX storage.baidu.prefix text
storage-baidu-endpoint STORAGE_BAIDU_ENDPOINT storage.baidu.endpoint text
storage-tencent-bucket STORAGE_TENCENT_BUCKET storage.tencent.bucket text
storage-tencent-prefix STORAGE_TENCENT_PREFIX storage.tencent.prefix text
storage-tencent-endpoint STORAGE_TENCENT_ENDPOINT storage.tencent.endpoint text
storage-etcd-endpoint STORAGE_ETCD_ENDPOINT storage.etcd.endpoint text http://localhost:2379
storage-etcd-cafile STORAGE_ETCD_CAFILE storage.etcd.cafile text
storage-etcd-certfile STORAGE_ETCD_CERTFILE storage.etcd.certfile text
storage-etcd-keyfile STORAGE_ETCD_KEYFILE storage.etcd.keyfile text
storage-etcd-prefix STORAGE_ETCD_PREFIX storage.etcd.prefix text
";

/// The only row that ChartMuseum does not have.
const OWN: &str = "data-dir";

fn line(flag: &Flag) -> String {
    let kind = match flag.kind {
        Kind::Text => "text",
        Kind::Number => "number",
        Kind::Switch => "switch",
        Kind::Duration => "duration",
        Kind::Pairs => "pairs",
    };
    let key = if flag.key.is_empty() { "-" } else { flag.key };
    let default = match (flag.kind, flag.default) {
        (Kind::Switch, "false") => "",
        (_, default) => default,
    };
    format!("{} {} {key} {kind} {default}", flag.name, flag.env)
        .trim_end()
        .to_owned()
}

#[test]
fn the_table_is_chartmuseums() {
    let ours: BTreeSet<String> = FLAGS
        .iter()
        .filter(|flag| flag.name != OWN)
        .map(line)
        .collect();
    let theirs: BTreeSet<String> = CHARTMUSEUM
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    assert_eq!(ours, theirs);
    assert_eq!(theirs.len(), FLAGS.len() - 1);
}

#[test]
fn every_row_says_what_becomes_of_it() {
    for flag in FLAGS {
        let text = match flag.becomes {
            Becomes::Key(text)
            | Becomes::Process(text)
            | Becomes::Notice(text)
            | Becomes::Refused(text) => text,
        };
        assert!(text.len() > 3 && !text.ends_with('.'), "{}", flag.name);
        assert!(help().contains(&format!("--{}", flag.name)));
    }
}

/// A value that the row can have, other than its default.
fn example(flag: &Flag, folder: &Path) -> String {
    let pem = folder.join("pem").display().to_string();
    match (flag.name, flag.kind) {
        ("web-template-path", _) => folder.display().to_string(),
        ("listen-host", _) => "127.0.0.1".into(),
        ("cache", _) => "redis".into(),
        ("storage", _) => "local".into(),
        ("storage-openstack-auth", _) => "v1".into(),
        ("chart-url" | "auth-realm", _) => "https://example.com/x".into(),
        ("auth-actions-search-path", _) => "access[].actions[]".into(),
        (name, Kind::Text) if name.ends_with("endpoint") => "https://example.com".into(),
        (name, _) if name.starts_with("tls-") || name.ends_with("file") => pem,
        ("auth-cert-path" | "storage-openstack-cacert", _) => pem,
        (_, Kind::Text) => "odd-value".into(),
        (_, Kind::Number) => "7".into(),
        (_, Kind::Switch) => (flag.default == "false").to_string(),
        (_, Kind::Duration) => "17s".into(),
        (_, Kind::Pairs) => "org1=id1".into(),
    }
}

/// What makes the row count: others that it needs beside it.
fn company(flag: &Flag, folder: &Path) -> Vec<(&'static str, String)> {
    let pem = folder.join("pem").display().to_string();
    let given = |pairs: &[(&'static str, &str)]| -> Vec<_> {
        pairs
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect()
    };
    let backend = flag.name.strip_prefix("storage-").and_then(|rest| {
        [
            "amazon",
            "google",
            "microsoft",
            "alibaba",
            "openstack",
            "baidu",
            "tencent",
            "etcd",
        ]
        .into_iter()
        .find(|backend| rest.starts_with(backend))
    });
    let mut all = match backend {
        Some("amazon") => given(&[
            ("storage", "amazon"),
            ("storage-amazon-bucket", "b"),
            ("storage-amazon-region", "r"),
        ]),
        Some("google") => given(&[("storage", "google"), ("storage-google-bucket", "b")]),
        Some("microsoft") => given(&[
            ("storage", "microsoft"),
            ("storage-microsoft-container", "b"),
        ]),
        Some("alibaba") => given(&[("storage", "alibaba"), ("storage-alibaba-bucket", "b")]),
        Some("openstack") => given(&[
            ("storage", "openstack"),
            ("storage-openstack-container", "b"),
            ("storage-openstack-region", "r"),
        ]),
        Some("baidu") => given(&[("storage", "baidu"), ("storage-baidu-bucket", "b")]),
        Some("tencent") => given(&[("storage", "tencent"), ("storage-tencent-bucket", "b")]),
        Some("etcd") => given(&[("storage", "etcd"), ("storage-etcd-prefix", "b")]),
        _ => given(&[("storage", "local"), ("storage-local-rootdir", "/charts")]),
    };
    all.extend(match flag.name {
        name if name.starts_with("basic-auth") || name == "auth-anonymous-get" => {
            given(&[("basic-auth-user", "u"), ("basic-auth-pass", "p")])
        }
        name if name.starts_with("auth-") || name == "bearer-auth" => given(&[
            ("bearer-auth", "true"),
            ("auth-realm", "https://r"),
            ("auth-service", "s"),
            ("auth-cert-path", &pem),
        ]),
        name if name.starts_with("tls-") => given(&[("tls-cert", &pem), ("tls-key", &pem)]),
        name if name.starts_with("cache-redis") || name == "cache" => {
            given(&[("cache", "redis"), ("cache-redis-addr", "h:6379")])
        }
        _ => Vec::new(),
    });
    all.retain(|(name, _)| *name != flag.name);
    all
}

fn rendered_from(
    typed: &[(&'static str, String)],
    env: Environment<'_>,
) -> Result<Rendered, String> {
    let settings = Settings::resolve(typed, env)?;
    render::render(&settings, env, &render::data_dir(&settings))
}

fn nothing(_: &str) -> Option<String> {
    None
}

#[test]
fn every_row_is_mapped_noticed_or_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("pem"), "").expect("written");
    for flag in FLAGS.iter().filter(|flag| flag.name != "config") {
        let mut typed = company(flag, folder.path());
        // Switched off for those that are on by default, so that what they change shows.
        let without = match flag.name {
            "bearer-auth"
            | "auth-realm"
            | "auth-service"
            | "auth-cert-path"
            | "storage"
            | "storage-local-rootdir"
            | "cache-redis-addr" => None,
            _ => rendered_from(&typed, &nothing).ok(),
        };
        typed.push((flag.name, example(flag, folder.path())));
        let with = rendered_from(&typed, &nothing);
        match flag.becomes {
            Becomes::Refused(reason) => {
                let error = with.map(|_| ()).expect_err(flag.name);
                assert!(
                    error.contains(reason) && error.contains(flag.name),
                    "{error}"
                );
            }
            Becomes::Notice(reason) => {
                let with = with.unwrap_or_else(|error| panic!("{}: {error}", flag.name));
                assert!(
                    with.notices
                        .iter()
                        .any(|notice| notice.contains(flag.name) && notice.contains(reason)),
                    "{}: {:?}",
                    flag.name,
                    with.notices
                );
            }
            Becomes::Process(_) => {
                let with = with.unwrap_or_else(|error| panic!("{}: {error}", flag.name));
                assert_eq!(Some(with.text), without.map(|without| without.text));
            }
            Becomes::Key(_) => {
                let with = with.unwrap_or_else(|error| panic!("{}: {error}", flag.name));
                assert_ne!(
                    Some(&with.text),
                    without.as_ref().map(|without| &without.text),
                    "{} changes nothing",
                    flag.name
                );
            }
        }
    }
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_the_default() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("museum.yaml");
    std::fs::write(
        &file,
        "Port: 1\nDEPTH: 0x2\ncacheInterval: 7s\nlisten:\n  Host: file\nstorage.local.rootdir: /file\n\
         storage:\n  backend: local\nbasicAuth: {user: u, pass: p}\nallowOverwrite: 1\nnonsense: {x: 1}\n\
         Artifact-Hub-Repo-Id:\n  org1/Repo.a: id1\nstorage.amazon.forcepathstyle: false\nchartUrl:\n",
    )
    .expect("written");
    let env = |name: &str| match name {
        "CONFIG" => Some(file.display().to_string()),
        "PORT" => Some("2".to_owned()),
        "DEPTH" => Some(String::new()),
        "CACHE_INTERVAL" => Some(String::new()),
        "BASIC_AUTH_USER" => Some(String::new()),
        "ALLOW_OVERWRITE" => Some(String::new()),
        "LISTEN_HOST" => Some("env".to_owned()),
        _ => None,
    };
    let typed = [
        ("listen-host", "first".to_owned()),
        ("listen-host", "typed".to_owned()),
    ];
    let settings = Settings::resolve(&typed, &env).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(settings.text("listen-host"), "typed", "the last flag");
    assert_eq!(settings.number("port"), 2, "the environment");
    assert_eq!(settings.number("depth"), 2, "an empty number says nothing");
    assert_eq!(settings.duration("cache-interval").as_secs(), 7);
    assert_eq!(settings.text("basic-auth-user"), "", "an empty text counts");
    assert_eq!(settings.text("basic-auth-pass"), "p");
    assert!(!settings.is_on("allow-overwrite"), "an empty switch is off");
    assert!(!settings.is_on("storage-amazon-force-path-style"));
    assert_eq!(settings.text("storage-local-rootdir"), "/file");
    assert_eq!(settings.text("storage"), "local");
    assert_eq!(settings.text("chart-url"), "");
    assert_eq!(settings.number("read-timeout"), 30, "the default");
    assert_eq!(
        settings.pairs().collect::<Vec<_>>(),
        [("org1/Repo.a", "id1")]
    );
    assert_eq!(settings.unknown_keys, ["nonsense.x"]);

    let typed = [
        ("artifact-hub-repo-id", "a=1".to_owned()),
        ("artifact-hub-repo-id", "b=2".to_owned()),
    ];
    let env = |name: &str| (name == "ARTIFACT_HUB_REPO_ID").then(|| "a=0".to_owned());
    let settings = Settings::resolve(&typed, &env).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        settings.pairs().collect::<Vec<_>>(),
        [("a", "1"), ("b", "2")]
    );
}

#[test]
fn values_that_cannot_be_read_are_told_all_at_once_with_their_origin() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("museum");
    std::fs::write(&file, "depth: deep\ndebug: maybe\n").expect("written");
    let env = |name: &str| (name == "CACHE_INTERVAL").then(|| "60".to_owned());
    let typed = [
        ("port", "http".to_owned()),
        ("config", file.display().to_string()),
    ];
    let Err(error) = Settings::resolve(&typed, &env) else {
        panic!("refused")
    };
    for part in [
        "--port: `http`",
        "variable CACHE_INTERVAL: `60`",
        "key depth: `deep`",
        "key debug: `maybe`",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(error.lines().count(), 4, "{error}");
}

#[test]
fn the_config_file_has_chartmuseums_rules() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (name, text) in [("a.json", "{}"), ("b.yaml", "- list"), ("c.yml", "x: {")] {
        std::fs::write(path(name), text).expect("written");
    }
    for (name, word) in [
        ("missing.json", "config file not found: "),
        (
            "a.json",
            "config file must have .yaml/.yml extension (or no extension)",
        ),
        ("b.yaml", "found a list"),
        ("c.yml", "YAML"),
    ] {
        let typed = [("config", path(name))];
        let Err(error) = Settings::resolve(&typed, &nothing) else {
            panic!("refused: {name}")
        };
        assert!(error.contains(word), "{error}");
    }
}

/// The configuration that these flags make.
fn served(flags: &[(&'static str, &str)]) -> Config {
    let mut typed = vec![
        ("storage", "local".to_owned()),
        ("storage-local-rootdir", "/charts".to_owned()),
    ];
    typed.extend(
        flags
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    let rendered = rendered_from(&typed, &nothing).unwrap_or_else(|error| panic!("{error}"));
    read(&rendered).unwrap_or_else(|error| panic!("{error}\n{}", rendered.text))
}

#[test]
fn the_depth_is_the_tenants_key() {
    for (flags, root, pattern) in [
        (&[][..], true, None),
        (&[("depth", "1")], false, Some("*")),
        (&[("depth", "3")], false, Some("*/*/*")),
        (
            &[("depth-dynamic", "true"), ("depth", "2")],
            false,
            Some("**"),
        ),
    ] {
        let config = served(flags);
        assert!(config.museum.strict);
        assert_eq!(config.tenants.contains_key(""), root);
        let found: Vec<&str> = config
            .patterns
            .keys()
            .map(|pattern| pattern.as_str())
            .collect();
        assert_eq!(found, pattern.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn authentication_becomes_users_tokens_and_rules() {
    let open = served(&[("basic-auth-user", "u")]);
    let tenant = &open.tenants[""];
    assert_eq!(
        tenant.access.anonymous,
        [Action::Pull, Action::Push, Action::Delete]
    );
    assert!(open.auth.users.is_empty());

    let basic = served(
        &[
            ("basic-auth-user", "u: ${x}"),
            ("basic-auth-pass", "p@ss ${HOME}\""),
        ]
        .map(|(name, value)| {
            // A colon is the one thing that a user name cannot have.
            (
                name,
                if name == "basic-auth-user" {
                    "u ${x}"
                } else {
                    value
                },
            )
        }),
    );
    assert_eq!(basic.auth.users["u ${x}"].reveal(), "p@ss ${HOME}\"");
    let access = &basic.tenants[""].access;
    assert!(access.anonymous.is_empty());
    assert_eq!(
        access.rules[0].subjects,
        [config::Subject::User("u ${x}".into())]
    );
    assert_eq!(
        access.rules[0].actions,
        [Action::Pull, Action::Push, Action::Delete]
    );
    assert_eq!(
        basic.auth.challenge,
        Challenge::Basic {
            realm: "ChartMuseum".into()
        }
    );

    let read_only = served(&[
        ("basic-auth-user", "u"),
        ("basic-auth-pass", "p"),
        ("auth-anonymous-get", "true"),
    ]);
    assert_eq!(read_only.tenants[""].access.anonymous, [Action::Pull]);

    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key.pem");
    std::fs::write(&key, "x").expect("written");
    let bearer = served(&[
        ("bearer-auth", "true"),
        ("auth-realm", "https://auth.example/token"),
        ("auth-service", "my.charts"),
        ("auth-cert-path", &key.display().to_string()),
        ("basic-auth-user", "u"),
        ("basic-auth-pass", "p"),
    ]);
    assert_eq!(bearer.auth.jwt[0].keys, crate::config::JwtKeys::File(key));
    let path = bearer.auth.jwt[0].actions_path.as_deref();
    assert!(path.is_some_and(|path| path.contains("$NAMESPACE")));
    assert!(bearer.auth.users.is_empty() && bearer.tenants[""].access.rules.is_empty());
    assert!(bearer.tenants[""].access.anonymous.is_empty());
    assert_eq!(
        bearer.auth.challenge,
        Challenge::Bearer {
            realm: "https://auth.example/token".into(),
            service: "my.charts".into()
        }
    );
}

#[test]
fn limits_and_switches_arrive() {
    let config = served(&[
        ("allow-overwrite", "true"),
        ("disable-delete", "true"),
        ("disable-api", "true"),
        ("max-upload-size", "0x100"),
        ("max-storage-objects", "5"),
        ("per-chart-limit", "6"),
        ("chart-url", "https://charts.example/"),
        ("context-path", "helm/"),
        ("json-index", "true"),
        ("read-timeout", "0"),
        ("write-timeout", "12"),
        ("port", "0"),
        ("listen-host", "::1"),
        ("index-limit", "3"),
        ("cache-interval", "0"),
        ("storage-timestamp-tolerance", "1500ms"),
        ("cors-alloworigin", "*"),
        ("artifact-hub-repo-id", "1234"),
        ("enable-metrics", "true"),
        ("chart-post-form-field-name", "package"),
    ]);
    let tenant = &config.tenants[""];
    let hosted = tenant.hosted.as_ref().expect("hosted");
    assert_eq!(hosted.overwrite, Overwrite::Allow);
    assert_eq!((hosted.delete, hosted.max_upload), (false, 256));
    assert_eq!((hosted.max_objects, hosted.max_versions), (5, 6));
    assert_eq!(
        tenant.index.url.as_ref().map(|url| url.as_str()),
        Some("https://charts.example/")
    );
    assert_eq!(tenant.index.format, config::IndexFormat::Json);
    assert_eq!(config.server.context_path, "/helm");
    assert_eq!(config.server.write_timeout.as_secs(), 12);
    assert!(config.server.read_timeout.as_secs() > 86_400);
    assert_eq!(
        config.server.http,
        [ListenAddress::Tcp("[::1]:0".parse().expect("an address"))]
    );
    assert!(config.server.admin.is_none());
    assert_eq!(config.store.readers, 3);
    assert!(config.store.refresh.is_zero());
    assert_eq!(config.store.timestamp_tolerance.as_millis(), 1500);
    assert_eq!(config.museum.cors_origin.as_deref(), Some("*"));
    assert_eq!(config.museum.artifact_hub[""], "1234");
    assert_eq!(config.museum.chart_field, "package");
    assert!(config.museum.metrics && !config.museum.api);
    assert_eq!(config.data_dir, Path::new("/charts/.chartgate"));

    let forbid = served(&[("disable-force-overwrite", "true")]);
    assert_eq!(
        forbid.tenants[""]
            .hosted
            .as_ref()
            .map(|hosted| hosted.overwrite),
        Some(Overwrite::Forbid)
    );
}

#[test]
fn what_is_missing_is_told_in_chartmuseums_words() {
    for (flags, words) in [
        (&[][..], "Missing required flags(s): --storage"),
        (
            &[("storage", "Local")],
            "Missing required flags(s): --storage-local-rootdir",
        ),
        (
            &[("storage", "AMAZON")],
            "Missing required flags(s): --storage-amazon-bucket, --storage-amazon-region",
        ),
        (
            &[("storage", "amazon"), ("storage-amazon-endpoint", "h")],
            "Missing required flags(s): --storage-amazon-bucket",
        ),
        (&[("storage", "ftp")], "Unsupported storage backend: ftp"),
        (&[("storage", "netease")], "--storage-amazon-endpoint"),
        (&[("storage", "oracle")], "compat.objectstorage"),
        (
            &[("storage", "openstack"), ("storage-openstack-auth", "v9")],
            "Unsupported OpenStack auth protocol: v9",
        ),
        (
            &[
                ("storage", "local"),
                ("storage-local-rootdir", "x"),
                ("cache", "memcached"),
            ],
            "Unsupported cache store: memcached",
        ),
        (
            &[
                ("storage", "local"),
                ("storage-local-rootdir", "x"),
                ("cache", "redis"),
            ],
            "Missing required flags(s): --cache-redis-addr",
        ),
        (
            &[
                ("storage", "local"),
                ("storage-local-rootdir", "x"),
                ("bearer-auth", "true"),
            ],
            "Missing Auth Realm",
        ),
        (
            &[
                ("storage", "local"),
                ("storage-local-rootdir", "x"),
                ("port", "65536"),
            ],
            "--port",
        ),
        (
            &[
                ("storage", "local"),
                ("storage-local-rootdir", "x"),
                ("depth", "-1"),
            ],
            "--depth",
        ),
        (
            &[
                ("storage", "local"),
                ("storage-local-rootdir", "x"),
                ("max-upload-size", "0"),
            ],
            "--max-upload-size",
        ),
        (
            &[
                ("storage", "local"),
                ("storage-local-rootdir", "x"),
                ("listen-host", "no such host"),
            ],
            "--listen-host",
        ),
    ] {
        let typed: Vec<_> = flags
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let Err(error) = rendered_from(&typed, &nothing) else {
            panic!("refused: {flags:?}")
        };
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn no_secret_stands_in_the_text() {
    let typed = [
        ("storage", "local"),
        ("storage-local-rootdir", "/charts"),
        ("basic-auth-user", "ci"),
        ("basic-auth-pass", "hunter2"),
        ("cache", "redis"),
        ("cache-redis-addr", "h:6379"),
        ("cache-redis-password", "hunter3/@:%"),
        ("cache-redis-db", "2"),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    let rendered = rendered_from(&typed, &nothing).unwrap_or_else(|error| panic!("{error}"));
    assert!(!rendered.text.contains("hunter"), "{}", rendered.text);
    assert!(!rendered.notices.concat().contains("hunter"));
    let config = read(&rendered).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.auth.users["ci"].reveal(), "hunter2");
    let redis = config.cache.redis.expect("redis");
    assert_eq!(redis.url.reveal(), "redis://:hunter3%2F%40%3A%25@h:6379/2");
    assert_eq!(redis.prefix, "chartgate");
}
