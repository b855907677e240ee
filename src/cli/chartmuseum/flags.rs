//! ChartMuseum's flags, one row each: how it is spelled everywhere, and what becomes of it.

/// One flag.
#[derive(Debug)]
pub(super) struct Flag {
    /// On the command line, without dashes.
    pub(super) name: &'static str,
    /// The variable of the environment.
    pub(super) env: &'static str,
    /// The key of the configuration file, keys joined by `.`; empty: none.
    pub(super) key: &'static str,
    pub(super) kind: Kind,
    /// The value where nobody gives one.
    pub(super) default: &'static str,
    pub(super) becomes: Becomes,
}

/// What a flag's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any text; an empty one counts as given.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`; given without a value: `true`.
    Switch,
    /// A duration with its unit.
    Duration,
    /// `id`, or `repository=id`; may be repeated.
    Pairs,
}

/// What becomes of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Becomes {
    /// This key of chartgate.yaml.
    Key(&'static str),
    /// Something that this process does itself.
    Process(&'static str),
    /// Nothing, because of this. It is accepted, and said where it is given.
    Notice(&'static str),
    /// An error that says what to use instead.
    Refused(&'static str),
}

use Becomes::{Key, Notice, Process, Refused};
use Kind::{Duration, Number, Pairs, Switch, Text};

const fn row(
    name: &'static str,
    env: &'static str,
    key: &'static str,
    kind: Kind,
    default: &'static str,
    becomes: Becomes,
) -> Flag {
    Flag {
        name,
        env,
        key,
        kind,
        default,
        becomes,
    }
}

/// What Oracle's storage is reached by.
pub(super) const ORACLE: &str = "use `--storage amazon` with `--storage-amazon-endpoint \
    https://<namespace>.compat.objectstorage.<region>.oraclecloud.com`, `--storage-amazon-region <region>`, and a customer \
    secret key in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: Oracle serves the same bucket over the S3 protocol";

/// The flags of ChartMuseum 0.16.5, in the order of its documentation, and chartgate's own at the end.
#[rustfmt::skip]
pub(super) const FLAGS: &[Flag] = &[
    row("config", "CONFIG", "", Text, "", Process("is read as ChartMuseum's configuration file")),
    row("gen-index", "GEN_INDEX", "genindex", Switch, "false", Process("prints the index and ends, at depth 0")),
    row("debug", "DEBUG", "debug", Switch, "false", Process("logs at level debug")),
    row("log-json", "LOG_JSON", "logjson", Switch, "false", Process("logs JSON lines")),
    row("log-health", "LOG_HEALTH", "loghealth", Switch, "false", Process("logs requests of /health")),
    row("log-latency-integer", "LOG_LATENCY_INTEGER", "loglatencyinteger", Switch, "false",
        Notice("the access log has `duration_ms`, always a number")),
    row("disable-metrics", "DISABLE_METRICS", "disablemetrics", Switch, "false",
        Notice("it does nothing in ChartMuseum either; metrics are off unless `--enable-metrics` is given")),
    row("enable-metrics", "ENABLE_METRICS", "enablemetrics", Switch, "false", Key("chartmuseum.metrics")),
    row("disable-api", "DISABLE_API", "disableapi", Switch, "false", Key("chartmuseum.api")),
    row("disable-delete", "DISABLE_DELETE", "disabledelete", Switch, "false", Key("tenants.*.hosted.delete")),
    row("disable-statefiles", "DISABLE_STATEFILES", "disablestatefiles", Switch, "false",
        Notice("what was parsed is kept in the data folder (`--data-dir`); no `index-cache.yaml` is trusted")),
    row("json-index", "JSON_INDEX", "json-index", Switch, "false", Key("tenants.*.index.format")),
    row("allow-overwrite", "ALLOW_OVERWRITE", "allowoverwrite", Switch, "false", Key("tenants.*.hosted.overwrite")),
    row("disable-force-overwrite", "DISABLE_FORCE_OVERWRITE", "disableforceoverwrite", Switch, "false",
        Key("tenants.*.hosted.overwrite")),
    row("port", "PORT", "port", Number, "8080", Key("server.http or server.https.listen")),
    row("listen-host", "LISTEN_HOST", "listen.host", Text, "0.0.0.0", Key("server.http or server.https.listen")),
    row("read-timeout", "READ_TIMEOUT", "readtimeout", Number, "30", Key("server.read_timeout")),
    row("write-timeout", "WRITE_TIMEOUT", "writetimeout", Number, "30", Key("server.write_timeout")),
    row("chart-url", "CHART_URL", "charturl", Text, "", Key("tenants.*.index.url")),
    row("basic-auth-user", "BASIC_AUTH_USER", "basicauth.user", Text, "", Key("auth.users")),
    row("basic-auth-pass", "BASIC_AUTH_PASS", "basicauth.pass", Text, "", Key("auth.users.*.password")),
    row("auth-anonymous-get", "AUTH_ANONYMOUS_GET", "authanonymousget", Switch, "false", Key("tenants.*.access.anonymous")),
    row("bearer-auth", "BEARER_AUTH", "bearerauth", Switch, "false", Key("auth.challenge.scheme")),
    row("auth-realm", "AUTH_REALM", "authrealm", Text, "", Key("auth.challenge.realm")),
    row("auth-service", "AUTH_SERVICE", "authservice", Text, "", Key("auth.challenge.service")),
    row("auth-cert-path", "AUTH_CERT_PATH", "authcertpath", Text, "", Key("auth.jwt[].public_key_file")),
    row("auth-actions-search-path", "AUTH_ACTIONS_SEARCH_PATH", "authactionssearchpath", Text, "",
        Key("auth.jwt[].actions_path")),
    row("tls-cert", "TLS_CERT", "tls.cert", Text, "", Key("server.https.cert_file")),
    row("tls-key", "TLS_KEY", "tls.key", Text, "", Key("server.https.key_file")),
    row("tls-ca-cert", "TLS_CA_CERT", "tls.cacert", Text, "", Key("server.https.client_ca_file")),
    row("cache", "CACHE", "cache.store", Text, "", Key("cache.redis")),
    row("cache-redis-addr", "CACHE_REDIS_ADDR", "cache.redis.addr", Text, "", Key("cache.redis.url")),
    row("cache-redis-password", "CACHE_REDIS_PASSWORD", "cache.redis.password", Text, "", Key("cache.redis.password")),
    row("cache-redis-db", "CACHE_REDIS_DB", "cache.redis.db", Number, "0", Key("cache.redis.url")),
    row("cache-interval", "CACHE_INTERVAL", "cacheinterval", Duration, "5m", Key("store.refresh")),
    row("always-regenerate-chart-index", "ALWAYS_REGENERATE_CHART_INDEX", "always-regenerate-chart-index", Switch, "false",
        Key("store.refresh")),
    row("index-limit", "INDEX_LIMIT", "indexlimit", Number, "0", Key("store.readers")),
    row("per-chart-limit", "PER_CHART_LIMIT", "per-chart-limit", Number, "0", Key("tenants.*.hosted.max_versions")),
    row("max-storage-objects", "MAX_STORAGE_OBJECTS", "maxstorageobjects", Number, "0", Key("tenants.*.hosted.max_objects")),
    row("max-upload-size", "MAX_UPLOAD_SIZE", "maxuploadsize", Number, "20971520", Key("tenants.*.hosted.max_upload")),
    row("context-path", "CONTEXT_PATH", "contextpath", Text, "", Key("server.context_path")),
    row("depth", "DEPTH", "depth", Number, "0", Key("tenants")),
    row("depth-dynamic", "DEPTH_DYNAMIC", "depthdynamic", Switch, "false", Key("tenants")),
    // The environment has one `_` more than the others would.
    row("cors-alloworigin", "CORS_ALLOW_ORIGIN", "cors.alloworigin", Text, "", Key("chartmuseum.cors_origin")),
    row("chart-post-form-field-name", "CHART_POST_FORM_FIELD_NAME", "chartpostformfieldname", Text, "chart",
        Key("chartmuseum.chart_field")),
    row("prov-post-form-field-name", "PROV_POST_FORM_FIELD_NAME", "provpostformfieldname", Text, "prov",
        Key("chartmuseum.provenance_field")),
    row("web-template-path", "WEB_TEMPLATE_PATH", "web-template-path", Text, "", Key("chartmuseum.web_folder")),
    row("artifact-hub-repo-id", "ARTIFACT_HUB_REPO_ID", "artifact-hub-repo-id", Pairs, "", Key("chartmuseum.artifact_hub")),
    row("enforce-semver2", "ENFORCE_SEMVER2", "enforce-semver2", Switch, "false",
        Notice("it does nothing in ChartMuseum either; versions that Helm refuses are refused")),
    // `storage`, where the key of the file is `storage.backend`.
    row("storage", "STORAGE", "storage.backend", Text, "", Key("store.type")),
    row("storage-timestamp-tolerance", "STORAGE_TIMESTAMP_TOLERANCE", "storage.timestamptolerance", Duration, "0",
        Key("store.timestamp_tolerance")),
    row("storage-local-rootdir", "STORAGE_LOCAL_ROOTDIR", "storage.local.rootdir", Text, "", Key("store.root")),
    row("storage-amazon-bucket", "STORAGE_AMAZON_BUCKET", "storage.amazon.bucket", Text, "", Key("store.bucket")),
    row("storage-amazon-prefix", "STORAGE_AMAZON_PREFIX", "storage.amazon.prefix", Text, "", Key("store.prefix")),
    row("storage-amazon-region", "STORAGE_AMAZON_REGION", "storage.amazon.region", Text, "", Key("store.region")),
    row("storage-amazon-endpoint", "STORAGE_AMAZON_ENDPOINT", "storage.amazon.endpoint", Text, "", Key("store.endpoint")),
    row("storage-amazon-sse", "STORAGE_AMAZON_SSE", "storage.amazon.sse", Text, "", Key("store.server_side_encryption")),
    row("storage-amazon-force-path-style", "STORAGE_AMAZON_FORCE_PATH_STYLE", "storage.amazon.forcepathstyle", Switch, "true",
        Key("store.path_style")),
    row("storage-google-bucket", "STORAGE_GOOGLE_BUCKET", "storage.google.bucket", Text, "", Key("store.bucket")),
    row("storage-google-prefix", "STORAGE_GOOGLE_PREFIX", "storage.google.prefix", Text, "", Key("store.prefix")),
    row("storage-oracle-bucket", "STORAGE_ORACLE_BUCKET", "storage.oracle.bucket", Text, "", Refused(ORACLE)),
    row("storage-oracle-prefix", "STORAGE_ORACLE_PREFIX", "storage.oracle.prefix", Text, "", Refused(ORACLE)),
    row("storage-oracle-region", "STORAGE_ORACLE_REGION", "storage.oracle.region", Text, "", Refused(ORACLE)),
    row("storage-oracle-compartmentid", "STORAGE_ORACLE_COMPARTMENTID", "storage.oracle.compartmentid", Text, "",
        Refused(ORACLE)),
    row("storage-microsoft-container", "STORAGE_MICROSOFT_CONTAINER", "storage.microsoft.container", Text, "",
        Key("store.container")),
    row("storage-microsoft-prefix", "STORAGE_MICROSOFT_PREFIX", "storage.microsoft.prefix", Text, "", Key("store.prefix")),
    row("storage-alibaba-bucket", "STORAGE_ALIBABA_BUCKET", "storage.alibaba.bucket", Text, "", Key("store.bucket")),
    row("storage-alibaba-prefix", "STORAGE_ALIBABA_PREFIX", "storage.alibaba.prefix", Text, "", Key("store.prefix")),
    row("storage-alibaba-endpoint", "STORAGE_ALIBABA_ENDPOINT", "storage.alibaba.endpoint", Text, "", Key("store.endpoint")),
    row("storage-alibaba-sse", "STORAGE_ALIBABA_SSE", "storage.alibaba.sse", Text, "", Key("store.server_side_encryption")),
    row("storage-openstack-container", "STORAGE_OPENSTACK_CONTAINER", "storage.openstack.container", Text, "",
        Key("store.container")),
    row("storage-openstack-prefix", "STORAGE_OPENSTACK_PREFIX", "storage.openstack.prefix", Text, "", Key("store.prefix")),
    row("storage-openstack-region", "STORAGE_OPENSTACK_REGION", "storage.openstack.region", Text, "", Key("store.region")),
    row("storage-openstack-cacert", "STORAGE_OPENSTACK_CACERT", "storage.openstack.cacert", Text, "", Key("store.tls.ca_file")),
    row("storage-openstack-auth", "STORAGE_OPENSTACK_AUTH", "storage.openstack.auth", Text, "auto", Key("store.auth_url")),
    row("storage-baidu-bucket", "STORAGE_BAIDU_BUCKET", "storage.baidu.bucket", Text, "", Key("store.bucket")),
    row("storage-baidu-prefix", "STORAGE_BAIDU_PREFIX", "storage.baidu.prefix", Text, "", Key("store.prefix")),
    row("storage-baidu-endpoint", "STORAGE_BAIDU_ENDPOINT", "storage.baidu.endpoint", Text, "", Key("store.endpoint")),
    row("storage-tencent-bucket", "STORAGE_TENCENT_BUCKET", "storage.tencent.bucket", Text, "", Key("store.bucket")),
    row("storage-tencent-prefix", "STORAGE_TENCENT_PREFIX", "storage.tencent.prefix", Text, "", Key("store.prefix")),
    row("storage-tencent-endpoint", "STORAGE_TENCENT_ENDPOINT", "storage.tencent.endpoint", Text, "", Key("store.endpoint")),
    row("storage-etcd-endpoint", "STORAGE_ETCD_ENDPOINT", "storage.etcd.endpoint", Text, "http://localhost:2379",
        Key("store.endpoints")),
    row("storage-etcd-cafile", "STORAGE_ETCD_CAFILE", "storage.etcd.cafile", Text, "", Key("store.tls.ca_file")),
    row("storage-etcd-certfile", "STORAGE_ETCD_CERTFILE", "storage.etcd.certfile", Text, "", Key("store.tls.cert_file")),
    row("storage-etcd-keyfile", "STORAGE_ETCD_KEYFILE", "storage.etcd.keyfile", Text, "", Key("store.tls.key_file")),
    row("storage-etcd-prefix", "STORAGE_ETCD_PREFIX", "storage.etcd.prefix", Text, "", Key("store.prefix")),
    row("data-dir", "CHARTGATE_DATA_DIR", "", Text, "", Key("data_dir")),
];

/// The row of a name.
pub(super) fn find(name: &str) -> Option<&'static Flag> {
    // `-c` is the only short form, besides those of help and version.
    let name = if name == "c" { "config" } else { name };
    FLAGS.iter().find(|flag| flag.name == name)
}
