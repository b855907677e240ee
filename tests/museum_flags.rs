//! `chartgate chartmuseum` and `chartgate migrate chartmuseum` as processes: what they print, how they end, what they serve.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::fake::{Authority, FakeS3, package};
use crate::support::gateway::Gateway;
use crate::support::http::{Call, Reply};
use crate::support::port::Port;
use crate::support::until;

/// The program in `folder` with nothing in its environment but `variables`.
fn command(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chartgate"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
    command
}

fn run(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> (Output, String, String) {
    let output = command(folder, variables, arguments)
        .output()
        .expect("running the program");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

const LOCAL: [&str; 4] = ["--storage", "local", "--storage-local-rootdir", "charts"];

/// Flags, and the environment beside them.
type Set = (
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
);

/// Each backend with the variables that its credentials come from, and the ways to spell flags.
const SETS: &[Set] = &[
    (&LOCAL, &[]),
    (
        &[
            "-storage=local",
            "-storage-local-rootdir=charts",
            "-depth",
            "2",
            "--debug",
        ],
        &[],
    ),
    (
        &[
            "--depth-dynamic=true",
            "--basic-auth-user",
            "u",
            "--basic-auth-pass",
            "p",
        ],
        &[
            ("STORAGE", "local"),
            ("STORAGE_LOCAL_ROOTDIR", "charts"),
            ("BASIC_AUTH_PASS", "p"),
        ],
    ),
    (
        &[
            "--storage",
            "amazon",
            "--storage-amazon-bucket",
            "b",
            "--storage-amazon-prefix",
            "/a/b/",
        ],
        &[
            ("STORAGE_AMAZON_REGION", "eu-west-1"),
            ("STORAGE_AMAZON_SSE", "AES256"),
            ("AWS_INSECURE_SKIP_VERIFY", "true"),
        ],
    ),
    (
        &[
            "--storage",
            "Amazon",
            "--storage-amazon-bucket",
            "b",
            "--storage-amazon-endpoint",
            "http://127.0.0.1:9000",
        ],
        &[
            ("STORAGE_AMAZON_FORCE_PATH_STYLE", "false"),
            ("INDEX_LIMIT", "1000"),
            ("CACHE_INTERVAL", "500ms"),
            ("ALWAYS_REGENERATE_CHART_INDEX", "true"),
        ],
    ),
    (
        &["--storage", "google", "--storage-google-bucket", "b"],
        &[("STORAGE_EMULATOR_HOST", "localhost:4443")],
    ),
    (
        &[
            "--storage",
            "microsoft",
            "--storage-microsoft-container",
            "c",
        ],
        &[
            ("AZURE_STORAGE_ACCOUNT", "acc"),
            ("AZURE_STORAGE_ACCESS_KEY", "a2V5"),
            ("AZURE_BASE_URL", "core.chinacloudapi.cn"),
        ],
    ),
    (
        &[
            "--storage",
            "alibaba",
            "--storage-alibaba-bucket",
            "b",
            "--storage-alibaba-sse",
            "AES256",
        ],
        &[
            ("ALIBABA_CLOUD_ACCESS_KEY_ID", "id"),
            ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "secret"),
        ],
    ),
    (
        &[
            "--storage",
            "openstack",
            "--storage-openstack-container",
            "c",
            "--storage-openstack-region",
            "r",
        ],
        &[],
    ),
    (
        &[
            "--storage",
            "openstack",
            "--storage-openstack-container",
            "c",
            "--storage-openstack-auth",
            "v1",
        ],
        &[
            ("ST_AUTH", "https://swift.example/auth/v1.0"),
            ("ST_USER", "a:u"),
            ("ST_KEY", "k"),
        ],
    ),
    (
        &["--storage", "baidu", "--storage-baidu-bucket", "b"],
        &[
            ("BAIDU_CLOUD_ACCESS_KEY_ID", "id"),
            ("BAIDU_CLOUD_ACCESS_KEY_SECRET", "secret"),
        ],
    ),
    (
        &["--storage", "tencent", "--storage-tencent-bucket", "b-1"],
        &[
            ("TENCENT_CLOUD_COS_SECRET_ID", "id"),
            ("TENCENT_CLOUD_COS_SECRET_KEY", "secret"),
        ],
    ),
    (
        &[
            "--storage",
            "etcd",
            "--storage-etcd-prefix",
            "charts",
            "--storage-etcd-endpoint",
            "http://a:2379, https://b:2379",
        ],
        &[],
    ),
    (
        &[
            "--cache",
            "redis",
            "--cache-redis-addr",
            "127.0.0.1:6379",
            "--cache-redis-db",
            "3",
        ],
        &[
            ("STORAGE", "local"),
            ("STORAGE_LOCAL_ROOTDIR", "/nowhere/${HOME}/it's \"here\""),
            ("CACHE_REDIS_PASSWORD", "p@ss/w:rd%"),
            ("CHART_URL", "https://charts.example.com/x/"),
            ("CONTEXT_PATH", "/helm/"),
            ("ARTIFACT_HUB_REPO_ID", "org1/repo=abc"),
            ("CORS_ALLOW_ORIGIN", "*"),
            ("ENABLE_METRICS", "1"),
            ("PORT", "0x1f90"),
        ],
    ),
];

#[test]
fn what_migrate_prints_is_a_configuration() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (flags, variables) in SETS {
        let mut arguments = vec!["migrate", "chartmuseum"];
        arguments.extend_from_slice(flags);
        let (output, text, notices) = run(folder.path(), variables, &arguments);
        assert_eq!(output.status.code(), Some(0), "{flags:?}: {notices}");
        std::fs::write(folder.path().join("chartgate.yaml"), &text).expect("written");
        let (output, fine, mistakes) = run(
            folder.path(),
            variables,
            &["check", "--config", "chartgate.yaml"],
        );
        assert_eq!(
            output.status.code(),
            Some(0),
            "{flags:?}: {mistakes}\n{text}"
        );
        assert!(fine.contains("configuration is fine"), "{fine}");
    }
    assert!(
        !folder.path().join("charts").exists(),
        "translating makes no folder"
    );
}

#[test]
fn notices_and_secrets_are_told_beside_the_text() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut arguments = vec!["migrate", "chartmuseum"];
    arguments.extend_from_slice(&LOCAL);
    arguments.extend_from_slice(&[
        "--basic-auth-user=ci",
        "--basic-auth-pass=hunter2",
        "--enforce-semver2",
        "--log-json",
        "--disable-statefiles=false",
        "--tls-key=x",
    ]);
    let (output, text, notices) = run(folder.path(), &[], &arguments);
    assert_eq!(output.status.code(), Some(0), "{notices}");
    for part in [
        "--enforce-semver2",
        "set BASIC_AUTH_PASS",
        "--log-json",
        "--tls-key",
    ] {
        assert!(notices.contains(part), "{notices}");
    }
    assert!(!notices.contains("disable-statefiles"), "{notices}");
    assert!(text.contains("${BASIC_AUTH_PASS}"), "{text}");
    assert!(!text.contains("hunter2") && !notices.contains("hunter2"));
}

#[test]
fn wrong_usage_ends_with_64_and_one_clear_message() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("c.json"), "{}").expect("written");
    for (flags, variables, part) in [
        (&[][..], &[][..], "Missing required flags(s): --storage"),
        (
            &["--storage", "ftp"],
            &[],
            "Unsupported storage backend: ftp",
        ),
        (&["--storag", "local"], &[], "`--storage`"),
        (
            &["--config", "missing.yaml"],
            &[],
            "config file not found: missing.yaml",
        ),
        (
            &["-c", "c.json"],
            &[],
            "config file must have .yaml/.yml extension (or no extension)",
        ),
        (&["--port", "http"], &[], "--port: `http`"),
        (
            &[],
            &[("DEPTH", "deep")],
            "environment variable DEPTH: `deep`",
        ),
        (&["--debug", "true"], &[], "`--debug=true`"),
        (
            &["--storage", "oracle", "--storage-oracle-bucket", "b"],
            &[],
            "compat.objectstorage",
        ),
        (
            &[
                "--storage",
                "local",
                "--storage-local-rootdir",
                "charts",
                "--chart-url",
                "ftp://x",
            ],
            &[],
            "index.url",
        ),
        (
            &[
                "--storage",
                "local",
                "--storage-local-rootdir",
                "charts",
                "--bearer-auth",
            ],
            &[],
            "Missing Auth Realm",
        ),
        (
            &[
                "--storage",
                "local",
                "--storage-local-rootdir",
                "charts",
                "--tls-cert",
                "a",
                "--tls-key",
                "b",
            ],
            &[],
            "server.https",
        ),
    ] {
        let mut arguments = vec!["chartmuseum"];
        arguments.extend_from_slice(flags);
        let (output, _, message) = run(folder.path(), variables, &arguments);
        assert_eq!(output.status.code(), Some(64), "{flags:?}: {message}");
        assert!(message.contains(part), "{flags:?}: {message}");
    }
}

#[test]
fn help_and_version_are_chartmuseums_questions() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for flag in ["--version", "-v"] {
        let (output, text, _) = run(folder.path(), &[], &["chartmuseum", flag]);
        assert_eq!(output.status.code(), Some(0));
        assert!(
            text.starts_with("ChartMuseum version ") && text.contains("chartgate"),
            "{text}"
        );
    }
    let (output, text, _) = run(folder.path(), &[], &["chartmuseum", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text.contains("--storage-local-rootdir") && text.contains("CORS_ALLOW_ORIGIN"));
}

/// A running service on ChartMuseum's flags. Dropping it kills it.
struct Museum {
    child: Child,
    http: SocketAddr,
    log: Arc<Mutex<String>>,
    _port: Port,
}

impl Museum {
    #[track_caller]
    fn start(folder: &Path, variables: &[(&str, &str)], flags: &[&str]) -> Self {
        let reserved = Port::reserve();
        let http = reserved.address;
        let port = http.port().to_string();
        let mut arguments = vec!["chartmuseum", "--port", &port, "--listen-host", "127.0.0.1"];
        arguments.extend_from_slice(flags);
        let mut child = command(folder, variables, &arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starting the program");
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, lines) = (child.stderr.take().expect("piped"), log.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut lines = lines.lock().expect("no writer panics");
                lines.push_str(&line);
                lines.push('\n');
            }
        });
        let mut museum = Self {
            child,
            http,
            log,
            _port: reserved,
        };
        until("the service to listen", Duration::from_secs(60), || {
            if let Some(status) = museum.child.try_wait().expect("asking") {
                panic!("the program ended with {status}:\n{}", museum.log());
            }
            Call::get("/health").try_send(http).ok()
        });
        museum
    }

    #[track_caller]
    fn send(&self, call: &Call) -> Reply {
        call.try_send(self.http)
            .unwrap_or_else(|error| panic!("no answer ({error}):\n{}", self.log()))
    }

    fn log(&self) -> String {
        self.log.lock().expect("no writer panics").clone()
    }

    #[track_caller]
    fn wait_log(&self, part: &str) {
        until("a line of the log", Duration::from_secs(10), || {
            self.log().contains(part).then_some(())
        });
    }
}

impl Drop for Museum {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        assert!(
            std::thread::panicking() || !self.log().contains("panicked"),
            "{}",
            self.log()
        );
    }
}

#[test]
fn uploads_are_served_and_found_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let archive = package("web", "1.0.0", &[]);
    let mut flags = LOCAL.to_vec();
    flags.extend_from_slice(&["--depth", "1", "--log-json"]);
    {
        let museum = Museum::start(folder.path(), &[], &flags);
        museum.send(&Call::get("/org1/index.yaml")).expect(200);
        museum
            .send(&Call::new("POST", "/api/org1/charts").body(archive.clone()))
            .expect(201);
        let index = museum.send(&Call::get("/org1/index.yaml")).expect(200);
        assert!(
            index.text().contains("charts/web-1.0.0.tgz"),
            "{}",
            index.text()
        );
        museum.wait_log("/org1/index.yaml");
        let log = museum.log();
        assert!(
            !log.contains("/health"),
            "probes that went well are not logged: {log}"
        );
        let line = log.lines().next().expect("a line");
        serde_json::from_str::<Value>(line).expect("JSON");
    }
    let charts = folder.path().join("charts");
    assert!(charts.join("org1/web-1.0.0.tgz").is_file());
    assert!(
        charts.join(".chartgate").is_dir(),
        "state on the same volume"
    );
    let museum = Museum::start(folder.path(), &[], &flags);
    let reply = museum
        .send(&Call::get("/org1/charts/web-1.0.0.tgz"))
        .expect(200);
    assert_eq!(reply.body, archive);
}

#[test]
fn the_log_is_for_people_unless_json_is_asked_for_and_probes_are_logged_where_asked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut flags = LOCAL.to_vec();
    flags.extend_from_slice(&["--log-health", "--enforce-semver2"]);
    let museum = Museum::start(folder.path(), &[("DEBUG", "true")], &flags);
    museum.wait_log("/health");
    let log = museum.log();
    assert!(log.contains("--enforce-semver2 is ignored"), "{log}");
    assert!(!log.trim_start().starts_with('{'), "{log}");
}

#[test]
fn the_file_the_environment_and_flags_serve_together() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(
        folder.path().join("museum.yaml"),
        "storage:\n  backend: local\n  local: {rootdir: charts}\ndepth: 1\nbasicauth.user: ci\nbasicAuth.Pass: from-the-file\n",
    )
    .expect("written");
    let museum = Museum::start(
        folder.path(),
        &[
            ("CONFIG", "museum.yaml"),
            ("BASIC_AUTH_PASS", "from-the-environment"),
        ],
        &["--depth", "0", "--auth-anonymous-get"],
    );
    museum.send(&Call::get("/index.yaml")).expect(200);
    let upload = || Call::new("POST", "/api/charts").body(package("web", "1.0.0", &[]));
    let refused = museum.send(&upload()).expect(401);
    assert_eq!(
        refused
            .header("www-authenticate")
            .map(|value| value.starts_with("Basic realm=")),
        Some(true)
    );
    // ci:from-the-file, ci:from-the-environment
    museum
        .send(&upload().header("Authorization", "Basic Y2k6ZnJvbS10aGUtZmlsZQ=="))
        .expect(401);
    museum
        .send(&upload().header("Authorization", "Basic Y2k6ZnJvbS10aGUtZW52aXJvbm1lbnQ="))
        .expect(201);
    assert!(!museum.log().contains("from-the"), "{}", museum.log());
}

#[test]
fn gen_index_prints_and_ends() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let charts = folder.path().join("charts");
    std::fs::create_dir(&charts).expect("made");
    std::fs::write(charts.join("web-1.0.0.tgz"), package("web", "1.0.0", &[])).expect("written");
    let mut arguments = vec!["chartmuseum", "--gen-index"];
    arguments.extend_from_slice(&LOCAL);
    let (output, text, errors) = run(folder.path(), &[], &arguments);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(
        text.contains("apiVersion") && text.contains("web-1.0.0.tgz"),
        "{text}"
    );
    arguments.push("--json-index");
    let (_, text, _) = run(folder.path(), &[], &arguments);
    let index: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(index["entries"]["web"][0]["version"], "1.0.0");
}

/// A key that signs tokens, and the flags or files that trust it.
fn token(pair: &rcgen::KeyPair, claims: &Value) -> String {
    let key =
        jsonwebtoken::EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).expect("a key");
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
    jsonwebtoken::encode(&header, claims, &key).expect("signed")
}

fn access(name: &str, actions: &[&str]) -> Value {
    json!({"access": [{"type": "artifact-repository", "name": name, "actions": actions}]})
}

#[test]
fn bearer_tokens_open_what_they_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pair = rcgen::KeyPair::generate().expect("a key");
    std::fs::write(folder.path().join("tokens.pem"), pair.public_key_pem()).expect("written");
    let mut flags = LOCAL.to_vec();
    flags.extend_from_slice(&[
        "--depth=1",
        "--bearer-auth",
        "--auth-realm=https://auth.example/token",
        "--auth-service=charts.example",
        "--auth-cert-path=tokens.pem",
    ]);
    let museum = Museum::start(folder.path(), &[], &flags);
    let with = |call: Call, token: &str| call.header("Authorization", &format!("Bearer {token}"));
    let index = || Call::get("/org1/index.yaml");
    let upload = || Call::new("POST", "/api/org1/charts").body(package("web", "1.0.0", &[]));

    let pull = token(&pair, &access("org1", &["pull"]));
    let push = token(&pair, &access("org1", &["push"]));
    let elsewhere = token(&pair, &access("org2", &["pull", "push"]));
    let stranger = rcgen::KeyPair::generate().expect("a key");
    let forged = token(&stranger, &access("org1", &["pull", "push"]));
    let mut old = access("org1", &["pull", "push"]);
    old["exp"] = json!(1_000_000_000);
    let expired = token(&pair, &old);

    for call in [
        index(),
        with(index(), &elsewhere),
        with(index(), &forged),
        with(index(), &expired),
        with(index(), &push),
        upload(),
        with(upload(), &pull),
    ] {
        // What exactly it asks for is compared with ChartMuseum elsewhere.
        let reply = museum.send(&call).expect(401);
        assert!(reply.header("www-authenticate").is_some());
    }
    museum.send(&with(upload(), &push)).expect(201);
    museum.send(&with(index(), &pull)).expect(200);
    museum
        .send(&index().header("Authorization", &pull))
        .expect(200);
    museum
        .send(&with(
            Call::new("DELETE", "/api/org1/charts/web/1.0.0"),
            &pull,
        ))
        .expect(401);
    museum
        .send(&with(
            Call::new("DELETE", "/api/org1/charts/web/1.0.0"),
            &push,
        ))
        .expect(200);
    assert!(!museum.log().contains(&pull), "tokens stay out of the log");
}

#[test]
fn tokens_and_rules_stand_side_by_side_in_a_native_configuration() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pair = rcgen::KeyPair::generate().expect("a key");
    std::fs::write(folder.path().join("tokens.pem"), pair.public_key_pem()).expect("written");
    let gateway = Gateway::start_in(
        folder,
        json!({
            "auth": {
                "jwt": {"name": "corp", "public_key_file": "tokens.pem", "audience": "charts"},
                "users": {"admin": {"password": "secret"}},
            },
            "tenants": {"team/apps": {"hosted": {}, "access": {"rules": [
                {"subjects": ["user:corp:ci"], "actions": ["pull"]},
                {"subjects": ["user:admin"], "actions": ["pull", "push"]},
            ]}}},
        }),
    );
    let index = || Call::get("/team/apps/index.yaml");
    let status = |call: Call| gateway.send(&call).status;
    let bearer = |claims: Value| {
        index().header(
            "Authorization",
            &format!("Bearer {}", token(&pair, &claims)),
        )
    };
    assert_eq!(status(index()), 401);
    assert_eq!(status(bearer(json!({"sub": "ci", "aud": "charts"}))), 200);
    assert_eq!(status(bearer(json!({"sub": "ci", "aud": "other"}))), 401);
    assert_eq!(status(bearer(json!({"sub": "eve", "aud": "charts"}))), 401);
    let mut named = access("team/apps", &["pull"]);
    named["aud"] = json!(["charts"]);
    assert_eq!(status(bearer(named)), 200);
    // admin:secret, admin:wrong
    assert_eq!(
        status(index().header("Authorization", "Basic YWRtaW46c2VjcmV0")),
        200
    );
    assert_eq!(
        status(index().header("Authorization", "Basic YWRtaW46d3Jvbmc=")),
        401
    );
}

#[test]
fn a_store_with_a_certificate_of_its_own_is_believed_when_aws_is_told_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let s3 = FakeS3::new("charts")
        .credentials("the-key")
        .tls(&Authority::new(), &["127.0.0.1"])
        .chart("", "web", "1.0.0")
        .run();
    let url = s3.url();
    assert!(url.starts_with("https://"), "{url}");
    let flags = [
        "--storage=amazon",
        "--storage-amazon-bucket=charts",
        "--storage-amazon-region=us-east-1",
        "--storage-amazon-endpoint",
        &url,
    ];
    let keys = [
        ("AWS_ACCESS_KEY_ID", "the-key"),
        ("AWS_SECRET_ACCESS_KEY", "the-secret"),
    ];
    for (told, is_believed) in [("", false), ("false", false), ("true", true)] {
        let mut variables = keys.to_vec();
        variables.push(("AWS_INSECURE_SKIP_VERIFY", told));
        let museum = Museum::start(folder.path(), &variables, &flags);
        let get = || museum.send(&Call::get("/index.yaml"));
        if is_believed {
            until("the index", Duration::from_secs(60), || {
                (get().status == 200).then_some(())
            });
            assert!(get().text().contains("web-1.0.0.tgz"));
            let push = Call::new("POST", "/api/charts").body(package("new", "1.0.0", &[]));
            museum.send(&push).expect(201);
            assert!(s3.keys().contains(&"new-1.0.0.tgz".to_owned()));
        } else {
            let reply = get();
            assert!(reply.status >= 500, "{told}: {}", reply.text());
            museum.wait_log("not trusted");
        }
    }
}
