//! The configuration file that does what ChartMuseum's flags ask for.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::flags::{Becomes, FLAGS};
use super::settings::Settings;
use super::stores::{self, require};
use super::yaml::Yaml;
use crate::config::Environment;

/// Nothing that is proxied is kept in memory, and ChartMuseum's users give it little.
const MEMORY: &str = "64MiB";
/// For a time that ChartMuseum does not limit: longer than any connection lives.
const UNLIMITED: &str = "365d";

/// What the flags become. Without `Debug`: it holds secrets.
pub(super) struct Rendered {
    /// The configuration file.
    pub(super) text: String,
    /// What is accepted and does nothing, or something else: one sentence each.
    pub(super) notices: Vec<String>,
    /// Variables that the text names, and what they hold where the environment does not say so itself.
    pub(super) secrets: BTreeMap<&'static str, String>,
}

/// Renders the configuration. `data_dir` is where the state goes. Errors: what is missing or cannot be mapped, one a line.
pub(super) fn render(
    settings: &Settings,
    env: Environment<'_>,
    data_dir: &Path,
) -> Result<Rendered, String> {
    let mut problems: Vec<String> = FLAGS
        .iter()
        .filter(|flag| settings.is_given(flag))
        .filter_map(|flag| match flag.becomes {
            Becomes::Refused(reason) => Some(format!("`--{}`: {reason}", flag.name)),
            _ => None,
        })
        .collect();
    // Each of them has the same reason.
    problems.truncate(1);
    let mut document = Document {
        settings,
        notices: notices(settings),
        secrets: BTreeMap::new(),
        problems,
    };
    let mut yaml = Yaml::default();
    yaml.comment("What ChartMuseum's flags, environment and configuration file ask for, as a configuration of chartgate.");
    yaml.comment(
        "Written by `chartgate migrate chartmuseum`; run it with `chartgate serve --config FILE`.",
    );
    yaml.gap();
    document.server(&mut yaml);
    yaml.gap();
    yaml.comment("What chartgate keeps for itself: parsed packages, so that a start reads none of them again.");
    yaml.value("data_dir", &data_dir.to_string_lossy());
    yaml.gap();
    document.cache(&mut yaml);
    yaml.gap();
    if let Err(problem) = stores::write(&mut yaml, settings, env, &mut document.notices) {
        document.problems.push(problem);
    }
    yaml.gap();
    let access = document.auth(&mut yaml);
    document.museum(&mut yaml);
    yaml.gap();
    document.tenant(&mut yaml, &access);
    if !document.problems.is_empty() {
        return Err(document.problems.join("\n"));
    }
    Ok(Rendered {
        text: yaml.finish(),
        notices: document.notices,
        secrets: document.secrets,
    })
}

/// Where the state goes if nobody says: for a folder, onto the volume that ChartMuseum could write to anyway.
pub(super) fn data_dir(settings: &Settings) -> PathBuf {
    match (
        settings.given_text("data-dir"),
        settings.given_text("storage-local-rootdir"),
    ) {
        (Some(folder), _) => absolute(folder).into(),
        (None, Some(root)) if settings.text("storage").eq_ignore_ascii_case("local") => {
            Path::new(&absolute(root)).join(".chartgate")
        }
        (None, _) => absolute("data").into(),
    }
}

/// A path that means the same wherever the text is read.
pub(super) fn absolute(path: &str) -> String {
    std::path::absolute(path).map_or_else(
        |_| path.to_owned(),
        |path| path.to_string_lossy().into_owned(),
    )
}

/// As the configuration writes it.
pub(super) fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if duration.is_zero() {
        "0".to_owned()
    } else if millis.is_multiple_of(1_000) {
        format!("{}s", millis / 1_000)
    } else {
        format!("{}ms", millis.max(1))
    }
}

/// What is accepted without effect, and keys of the file that nobody reads.
fn notices(settings: &Settings) -> Vec<String> {
    let flags = FLAGS.iter().filter(|flag| settings.is_given(flag));
    let mut notices: Vec<String> = flags
        .filter_map(|flag| match flag.becomes {
            Becomes::Notice(reason) => Some(format!("--{} is ignored: {reason}", flag.name)),
            _ => None,
        })
        .collect();
    notices.extend(
        settings
            .unknown_keys
            .iter()
            .map(|key| format!("the config file's key `{key:.80}` is unknown and ignored")),
    );
    notices
}

struct Document<'a> {
    settings: &'a Settings,
    notices: Vec<String>,
    secrets: BTreeMap<&'static str, String>,
    problems: Vec<String>,
}

/// The access rules that the authentication flags ask for.
struct AccessRules {
    anonymous: &'static str,
    user: Option<String>,
}

impl Document<'_> {
    fn server(&mut self, yaml: &mut Yaml) {
        let address = self.address();
        let timeout = |name: &str| match self.settings.number(name) {
            seconds @ 1.. => format!("{seconds}s"),
            _ => UNLIMITED.to_owned(),
        };
        let context_path = self.settings.text("context-path").trim_end_matches('/');
        let certificate = self
            .settings
            .given_text("tls-cert")
            .zip(self.settings.given_text("tls-key"));
        yaml.section("server", |yaml| {
            match certificate {
                Some((certificate, key)) => yaml.section("https", |yaml| {
                    yaml.value("listen", &address);
                    yaml.value("cert_file", &absolute(certificate));
                    yaml.value("key_file", &absolute(key));
                    if let Some(authority) = self.settings.given_text("tls-ca-cert") {
                        yaml.value("client_ca_file", &absolute(authority));
                        yaml.plain("client_certificates", "required");
                    }
                }),
                None => yaml.value("http", &address),
            }
            if !context_path.is_empty() {
                yaml.value("context_path", context_path);
            }
            yaml.plain("read_timeout", timeout("read-timeout"));
            yaml.plain("write_timeout", timeout("write-timeout"));
        });
        if certificate.is_none() {
            let alone = ["tls-cert", "tls-key", "tls-ca-cert"]
                .into_iter()
                .filter(|name| self.settings.given_text(name).is_some());
            for name in alone {
                self.notices.push(format!(
                    "--{name} is ignored, as in ChartMuseum: TLS needs both --tls-cert and --tls-key"
                ));
            }
        }
    }

    /// Host and port. A host name is looked up, because listeners have addresses.
    fn address(&mut self) -> String {
        let port = self.settings.number("port");
        let Ok(port) = u16::try_from(port) else {
            self.problems.push(format!(
                "--port: `{port}` is no port; write one up to 65535"
            ));
            return String::new();
        };
        let host = self.settings.text("listen-host");
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return format!("0.0.0.0:{port}");
        }
        if let Ok(address) = bare.parse::<IpAddr>() {
            return std::net::SocketAddr::new(address, port).to_string();
        }
        match (host, port).to_socket_addrs().map(|mut all| all.next()) {
            Ok(Some(address)) => address.to_string(),
            Ok(None) | Err(_) => {
                self.problems.push(format!(
                    "--listen-host: `{host:.120}` is neither an address nor a name that can be looked up"
                ));
                String::new()
            }
        }
    }

    fn cache(&mut self, yaml: &mut Yaml) {
        let store = self.settings.text("cache").to_lowercase();
        match store.as_str() {
            "" | "redis" => {}
            _ => self
                .problems
                .push(format!("Unsupported cache store: {store}; there is redis")),
        }
        let redis = store == "redis";
        if redis && let Err(problem) = require(self.settings, &["cache-redis-addr"]) {
            self.problems.push(problem);
        }
        let password = self.settings.given_text("cache-redis-password");
        if let Some(password) = password.filter(|_| redis) {
            self.secrets
                .insert("CACHE_REDIS_PASSWORD", password.to_owned());
        }
        yaml.section("cache", |yaml| {
            yaml.plain("memory", MEMORY);
            if !redis {
                return;
            }
            yaml.section("redis", |yaml| {
                let (address, db) = (
                    self.settings.text("cache-redis-addr"),
                    self.settings.number("cache-redis-db"),
                );
                yaml.value("url", &format!("redis://{address}/{db}"));
                if password.is_some() {
                    yaml.variable("password", "CACHE_REDIS_PASSWORD");
                }
                yaml.comment(
                    "ChartMuseum's keys are bare repository names; these never meet them.",
                );
                yaml.plain("prefix", "chartgate");
            });
        });
    }

    /// `auth:`, and who may do what. Bearer wins over basic, and basic needs both user and password.
    fn auth(&mut self, yaml: &mut Yaml) -> AccessRules {
        let anonymous = if self.settings.is_on("auth-anonymous-get") {
            "[pull]"
        } else {
            "[]"
        };
        let (user, password) = (
            self.settings.text("basic-auth-user"),
            self.settings.text("basic-auth-pass"),
        );
        if self.settings.is_on("bearer-auth") {
            self.bearer(yaml);
            if !user.is_empty() {
                self.notices.push(
                    "--basic-auth-user is ignored, as in ChartMuseum: --bearer-auth is given"
                        .into(),
                );
            }
            return AccessRules {
                anonymous,
                user: None,
            };
        }
        if user.is_empty() || password.is_empty() {
            if user.is_empty() != password.is_empty() {
                self.notices.push(
                    "everybody may pull, push and delete, as in ChartMuseum: --basic-auth-user and --basic-auth-pass must \
                     both be given and not be empty"
                        .into(),
                );
            }
            return AccessRules {
                anonymous: "[pull, push, delete]",
                user: None,
            };
        }
        self.secrets.insert("BASIC_AUTH_PASS", password.to_owned());
        yaml.section("auth", |yaml| {
            yaml.section("users", |yaml| {
                yaml.section(user, |yaml| yaml.variable("password", "BASIC_AUTH_PASS"));
            });
            yaml.section("challenge", |yaml| {
                yaml.plain("scheme", "basic");
                yaml.plain("realm", "ChartMuseum");
            });
        });
        yaml.gap();
        AccessRules {
            anonymous,
            user: Some(user.to_owned()),
        }
    }

    fn bearer(&mut self, yaml: &mut Yaml) {
        for (name, complaint) in [
            ("auth-realm", "Missing Auth Realm"),
            ("auth-service", "Missing Auth Service"),
            ("auth-cert-path", "Missing Auth Server Public Cert Path"),
        ] {
            if self.settings.given_text(name).is_none() {
                self.problems
                    .push(format!("{complaint}: --bearer-auth needs --{name}"));
            }
        }
        yaml.section("auth", |yaml| {
            yaml.section("jwt", |yaml| {
                yaml.value(
                    "public_key_file",
                    &absolute(self.settings.text("auth-cert-path")),
                );
                if let Some(query) = self.settings.given_text("auth-actions-search-path") {
                    yaml.value("actions_path", query);
                }
            });
            yaml.section("challenge", |yaml| {
                yaml.plain("scheme", "bearer");
                yaml.value("realm", self.settings.text("auth-realm"));
                yaml.value("service", self.settings.text("auth-service"));
            });
        });
        yaml.gap();
    }

    fn museum(&mut self, yaml: &mut Yaml) {
        yaml.section("chartmuseum", |yaml| {
            yaml.plain("strict", true);
            if self.settings.is_on("disable-api") {
                yaml.plain("api", false);
            }
            for (key, name, default) in [
                ("chart_field", "chart-post-form-field-name", "chart"),
                ("provenance_field", "prov-post-form-field-name", "prov"),
            ] {
                match self.settings.given_text(name) {
                    Some(field) if field != default => yaml.value(key, field),
                    _ => {}
                }
            }
            if let Some(origin) = self.settings.given_text("cors-alloworigin") {
                yaml.value("cors_origin", origin);
            }
            if let Some(folder) = self.settings.given_text("web-template-path") {
                let folder = absolute(folder);
                if Path::new(&folder).is_dir() {
                    yaml.value("web_folder", &folder);
                } else {
                    self.notices.push(format!(
                        "--web-template-path is ignored, as in ChartMuseum: `{folder}` is not a folder"
                    ));
                }
            }
            let mut pairs = self.settings.pairs().peekable();
            if pairs.peek().is_some() {
                yaml.section("artifact_hub", |yaml| {
                    for (repository, id) in pairs {
                        let repository = if repository.is_empty() { "/" } else { repository };
                        yaml.value(repository, id);
                    }
                });
            }
            if self.settings.is_on("enable-metrics") {
                yaml.plain("metrics", true);
            }
        });
    }

    fn tenant(&mut self, yaml: &mut Yaml, access: &AccessRules) {
        let tenant = self.pattern();
        let max_upload = self.settings.number("max-upload-size");
        if max_upload < 1 {
            self.problems.push(format!(
                "--max-upload-size: `{max_upload}` would refuse every upload; write a number of bytes, or --disable-api"
            ));
        }
        let overwrite = match (
            self.settings.is_on("allow-overwrite"),
            self.settings.is_on("disable-force-overwrite"),
        ) {
            (true, _) => "allow",
            (false, true) => "forbid",
            (false, false) => "force",
        };
        let format = if self.settings.is_on("json-index") {
            "json"
        } else {
            "yaml"
        };
        yaml.section("tenants", |yaml| {
            yaml.section(&tenant, |yaml| {
                yaml.section("hosted", |yaml| {
                    yaml.plain("overwrite", overwrite);
                    if self.settings.is_on("disable-delete") {
                        yaml.plain("delete", false);
                    }
                    yaml.plain("max_upload", max_upload);
                    for (key, name) in [
                        ("max_objects", "max-storage-objects"),
                        ("max_versions", "per-chart-limit"),
                    ] {
                        if self.settings.count(name) > 0 {
                            yaml.plain(key, self.settings.count(name));
                        }
                    }
                });
                yaml.section("index", |yaml| {
                    yaml.plain("format", format);
                    if let Some(url) = self.settings.given_text("chart-url") {
                        yaml.value("url", url.trim_end_matches('/'));
                    }
                });
                yaml.section("access", |yaml| {
                    yaml.plain("anonymous", access.anonymous);
                    if let Some(user) = &access.user {
                        yaml.section("rules", |yaml| {
                            yaml.list("subjects", [format!("user:{user}").as_str()]);
                            yaml.plain("actions", "[pull, push, delete]");
                        });
                    }
                });
            });
        });
    }

    /// The one key below `tenants`.
    fn pattern(&mut self) -> String {
        if self.settings.is_on("depth-dynamic") {
            return "**".to_owned();
        }
        match self.settings.number("depth") {
            0 => "/".to_owned(),
            depth @ 1..=32 => vec!["*"; usize::try_from(depth).unwrap_or(1)].join("/"),
            depth => {
                self.problems.push(format!(
                    "--depth: `{depth}` is not from 0 to 32; --depth-dynamic takes any depth"
                ));
                String::new()
            }
        }
    }
}
