//! `store:` for each of ChartMuseum's storage backends.
//!
//! Credentials that the AWS, Google, OpenStack and other default chains find in the environment are left to those; the rest
//! stands in the text as the name of the variable that ChartMuseum reads.

use std::time::Duration;

use super::flags::ORACLE;
use super::render::{absolute, duration};
use super::settings::Settings;
use super::yaml::Yaml;
use crate::config::Environment;

/// How often a bucket is listed where ChartMuseum lists it at every request, in seconds.
const ALWAYS: u64 = 5;
/// More packages than this are never read at a time.
const MOST_READERS: i64 = 256;

/// Writes the section. Errors: a requirement that is not met, in ChartMuseum's words. `notices` get what differs.
pub(super) fn write(
    yaml: &mut Yaml,
    settings: &Settings,
    env: Environment<'_>,
    notices: &mut Vec<String>,
) -> Result<(), String> {
    require(settings, &["storage"])?;
    let backend = settings.text("storage").to_lowercase();
    let mut written = Ok(());
    yaml.section("store", |yaml| {
        let mut store = Store {
            yaml,
            settings,
            env,
            notices,
        };
        written = match backend.as_str() {
            "local" => store.local(),
            "amazon" => store.amazon(),
            "google" => store.google(),
            "microsoft" => store.microsoft(),
            "alibaba" => store.alibaba(),
            "openstack" => store.openstack(),
            "baidu" => store.baidu(),
            "tencent" => store.tencent(),
            "etcd" => store.etcd(),
            "oracle" => Err(format!("`--storage oracle`: {ORACLE}")),
            "netease" => Err(
                "Unsupported storage backend: netease; use `--storage amazon` with `--storage-amazon-endpoint \
                 https://nos-eastchina1.126.net` and the keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                    .to_owned(),
            ),
            _ => Err(format!(
                "Unsupported storage backend: {backend}; there are local, amazon, google, microsoft, alibaba, openstack, baidu, \
                 tencent and etcd"
            )),
        };
        store.freshness();
    });
    written
}

/// Nothing, where all of `names` are given, else ChartMuseum's complaint.
pub(super) fn require(settings: &Settings, names: &[&str]) -> Result<(), String> {
    let missing: Vec<String> = names
        .iter()
        .filter(|name| settings.given_text(name).is_none())
        .map(|name| format!("--{name}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("Missing required flags(s): {}", missing.join(", ")))
}

struct Store<'a> {
    yaml: &'a mut Yaml,
    settings: &'a Settings,
    env: Environment<'a>,
    notices: &'a mut Vec<String>,
}

impl Store<'_> {
    fn local(&mut self) -> Result<(), String> {
        require(self.settings, &["storage-local-rootdir"])?;
        self.yaml.plain("type", "fs");
        let root = absolute(self.settings.text("storage-local-rootdir"));
        self.yaml.value("root", &root);
        Ok(())
    }

    fn amazon(&mut self) -> Result<(), String> {
        let endpoint = self.settings.given_text("storage-amazon-endpoint");
        let region = self
            .settings
            .given_text("storage-amazon-region")
            .or_else(|| endpoint.map(|_| "us-east-1"));
        match region {
            Some(_) => require(self.settings, &["storage-amazon-bucket"])?,
            None => require(
                self.settings,
                &["storage-amazon-bucket", "storage-amazon-region"],
            )?,
        }
        self.bucket("s3", "bucket", "amazon");
        self.yaml.value("region", region.unwrap_or_default());
        if let Some(endpoint) = endpoint {
            self.yaml.value("endpoint", &with_scheme(endpoint));
        }
        self.yaml.plain(
            "path_style",
            self.settings.is_on("storage-amazon-force-path-style"),
        );
        self.copy("server_side_encryption", "storage-amazon-sse");
        let insecure = (self.env)("AWS_INSECURE_SKIP_VERIFY").is_some_and(|value| value == "true");
        self.tls(&[], insecure);
        Ok(())
    }

    fn google(&mut self) -> Result<(), String> {
        require(self.settings, &["storage-google-bucket"])?;
        self.bucket("gcs", "bucket", "google");
        // What Google's own libraries take for a test server.
        if let Some(host) = self.variable("STORAGE_EMULATOR_HOST") {
            let endpoint = if host.contains("://") {
                host
            } else {
                format!("http://{host}")
            };
            self.yaml.value("endpoint", &endpoint);
            self.yaml.plain("anonymous", true);
        }
        Ok(())
    }

    fn microsoft(&mut self) -> Result<(), String> {
        require(self.settings, &["storage-microsoft-container"])?;
        self.bucket("azblob", "container", "microsoft");
        self.yaml.variable("account_name", "AZURE_STORAGE_ACCOUNT");
        self.yaml
            .variable("account_key", "AZURE_STORAGE_ACCESS_KEY");
        if let Some(base) = self.variable("AZURE_BASE_URL") {
            match self.variable("AZURE_STORAGE_ACCOUNT") {
                Some(account) => self
                    .yaml
                    .value("endpoint", &format!("https://{account}.blob.{base}")),
                None => self
                    .notices
                    .push("AZURE_BASE_URL needs AZURE_STORAGE_ACCOUNT beside it; set both".into()),
            }
        }
        if self.variable("AZURE_API_VERSION").is_some() {
            self.notices.push(
                "AZURE_API_VERSION is ignored: requests say which version they are made for".into(),
            );
        }
        Ok(())
    }

    fn alibaba(&mut self) -> Result<(), String> {
        require(self.settings, &["storage-alibaba-bucket"])?;
        self.bucket("oss", "bucket", "alibaba");
        self.endpoint("storage-alibaba-endpoint", "oss-cn-hangzhou.aliyuncs.com");
        self.yaml
            .variable("access_key_id", "ALIBABA_CLOUD_ACCESS_KEY_ID");
        self.yaml
            .variable("access_key_secret", "ALIBABA_CLOUD_ACCESS_KEY_SECRET");
        self.copy("server_side_encryption", "storage-alibaba-sse");
        Ok(())
    }

    /// Whether the older authentication is meant shows in the variables that are set; the store finds them itself.
    fn openstack(&mut self) -> Result<(), String> {
        match self.settings.text("storage-openstack-auth") {
            "auto" => require(
                self.settings,
                &["storage-openstack-container", "storage-openstack-region"],
            )?,
            "v1" => require(self.settings, &["storage-openstack-container"])?,
            other => return Err(format!("Unsupported OpenStack auth protocol: {other}")),
        }
        self.bucket("swift", "container", "openstack");
        if self.settings.text("storage-openstack-auth") == "v1" {
            self.yaml.variable("auth_url", "ST_AUTH");
            self.yaml.variable("username", "ST_USER");
            self.yaml.variable("password", "ST_KEY");
        }
        self.copy("region", "storage-openstack-region");
        self.tls(&[("ca_file", "storage-openstack-cacert")], false);
        Ok(())
    }

    /// Baidu speaks the S3 protocol under a host of its own.
    fn baidu(&mut self) -> Result<(), String> {
        require(self.settings, &["storage-baidu-bucket"])?;
        self.bucket("s3", "bucket", "baidu");
        let endpoint = self
            .settings
            .given_text("storage-baidu-endpoint")
            .unwrap_or("bj.bcebos.com");
        let host = endpoint.rsplit("://").next().unwrap_or(endpoint);
        let region = host
            .trim_start_matches("s3.")
            .strip_suffix(".bcebos.com")
            .filter(|region| !region.is_empty() && !region.contains('.'));
        match region {
            Some(region) => {
                self.yaml.value("region", region);
                self.yaml
                    .value("endpoint", &format!("https://s3.{region}.bcebos.com"));
            }
            None => {
                self.yaml.plain("region", "bj");
                self.yaml.value("endpoint", &with_scheme(endpoint));
                self.notices.push(format!(
                    "--storage-baidu-endpoint: `{endpoint}` must speak the S3 protocol, as `https://s3.bj.bcebos.com` does"
                ));
            }
        }
        self.yaml
            .variable("access_key_id", "BAIDU_CLOUD_ACCESS_KEY_ID");
        self.yaml
            .variable("secret_access_key", "BAIDU_CLOUD_ACCESS_KEY_SECRET");
        Ok(())
    }

    fn tencent(&mut self) -> Result<(), String> {
        require(self.settings, &["storage-tencent-bucket"])?;
        self.bucket("cos", "bucket", "tencent");
        self.endpoint("storage-tencent-endpoint", "cos.ap-guangzhou.myqcloud.com");
        self.yaml
            .variable("secret_id", "TENCENT_CLOUD_COS_SECRET_ID");
        self.yaml
            .variable("secret_key", "TENCENT_CLOUD_COS_SECRET_KEY");
        Ok(())
    }

    /// ChartMuseum always speaks TLS to etcd; here the scheme of the endpoint decides, and the files may be left out.
    fn etcd(&mut self) -> Result<(), String> {
        require(self.settings, &["storage-etcd-prefix"])?;
        self.yaml.plain("type", "etcd");
        self.copy("prefix", "storage-etcd-prefix");
        let endpoints = self.settings.text("storage-etcd-endpoint").split(',');
        let endpoints = endpoints
            .map(str::trim)
            .filter(|endpoint| !endpoint.is_empty());
        self.yaml.list("endpoints", endpoints);
        self.tls(
            &[
                ("ca_file", "storage-etcd-cafile"),
                ("cert_file", "storage-etcd-certfile"),
                ("key_file", "storage-etcd-keyfile"),
            ],
            false,
        );
        Ok(())
    }

    /// Type, bucket and prefix. ChartMuseum strips the prefix's slashes, and so does the reader.
    fn bucket(&mut self, kind: &str, bucket: &str, backend: &str) {
        self.yaml.plain("type", kind);
        self.copy(bucket, &format!("storage-{backend}-{bucket}"));
        let prefix = format!("storage-{backend}-prefix");
        let prefix = self.settings.text(&prefix).trim_matches('/');
        if !prefix.is_empty() {
            self.yaml.value("prefix", prefix);
        }
    }

    fn endpoint(&mut self, name: &str, default: &str) {
        let endpoint = self.settings.given_text(name).unwrap_or(default);
        self.yaml.value("endpoint", &with_scheme(endpoint));
    }

    fn copy(&mut self, key: &str, name: &str) {
        if let Some(value) = self.settings.given_text(name) {
            self.yaml.value(key, value);
        }
    }

    /// Whose certificates count.
    fn tls(&mut self, files: &[(&str, &str)], insecure: bool) {
        let files: Vec<_> = files
            .iter()
            .filter_map(|(key, name)| Some((*key, self.settings.given_text(name)?)))
            .collect();
        if files.is_empty() && !insecure {
            return;
        }
        self.yaml.section("tls", |yaml| {
            for (key, file) in files {
                yaml.value(key, &absolute(file));
            }
            if insecure {
                yaml.plain("insecure_skip_verify", true);
            }
        });
    }

    fn freshness(&mut self) {
        // The reader takes no shorter one; zero is none at all.
        let interval = match self.settings.duration("cache-interval") {
            Duration::ZERO => Duration::ZERO,
            interval => interval.max(Duration::from_secs(1)),
        };
        let always = Duration::from_secs(ALWAYS);
        if self.settings.is_on("always-regenerate-chart-index") {
            self.notices.push(format!(
                "--always-regenerate-chart-index: a bucket is listed every {ALWAYS} s instead of at every request; a folder is \
                 looked at every second anyway"
            ));
            let interval = if interval.is_zero() { always } else { interval };
            self.yaml.plain("refresh", duration(interval.min(always)));
        } else {
            self.yaml.plain("refresh", duration(interval));
        }
        let tolerance = self.settings.duration("storage-timestamp-tolerance");
        if !tolerance.is_zero() {
            self.yaml.plain("timestamp_tolerance", duration(tolerance));
        }
        match self.settings.count("index-limit") {
            0 => {}
            readers => self.yaml.plain("readers", readers.min(MOST_READERS)),
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }
}

/// ChartMuseum takes hosts for endpoints; `http://` is what switches TLS off.
fn with_scheme(endpoint: &str) -> String {
    if endpoint.contains("://") {
        endpoint.to_owned()
    } else {
        format!("https://{endpoint}")
    }
}
