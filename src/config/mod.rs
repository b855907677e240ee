//! The configuration: what the file says after every mistake was found.
//!
//! [`load`] reads YAML into a tree with lines (`tree.rs`), expands `${NAME}` and `x_file` secrets, and resolves it
//! (`resolve.rs`) into the types here, or into *all* mistakes at once. Components get their own section, not the whole.

mod action;
mod api_tokens;
mod audit;
mod auth;
mod bucket_url;
mod buckets;
mod callers;
mod client;
mod expand;
mod jwt;
mod leaves;
mod limits;
mod mistakes;
mod museum;
pub mod namespace;
mod network;
mod oci;
mod registries;
mod registry_server;
mod resolve;
mod sample;
mod secret;
mod section;
mod server;
mod store;
mod tenants;
mod tree;
mod units;
mod upstreams;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use url::Url;

pub use self::action::Action;
pub use self::api_tokens::ApiTokens;
pub use self::callers::{Callers, Meant};
pub use self::client::{Budget, Client, UpstreamAuth};
pub use self::jwt::{Jwks, Jwt, JwtKeys};
pub use self::leaves::{Leaf, leaves};
pub use self::limits::{Limit, LimitBy, Limited};
pub use self::mistakes::{Mistake, Mistakes, nearest};
pub use self::museum::Museum;
pub use self::network::{ForwardedHeader, Network, TrustedProxies, owner_of};
pub use self::oci::{
    HostedRegistry, Oci, OciAuth, RegistryMember, RegistryServer, TokenServer, VirtualHost,
};
pub use self::sample::quick_start_files;
pub use self::secret::Secret;
pub use self::store::{Azblob, Cos, Etcd, Gcs, ObjectStore, Oss, Place, S3, Service, Store, Swift};
use crate::names::{TenantPath, TenantPattern};

/// Words of `tenants.<path>.index:`, which belong to the module that renders.
pub use crate::index::{Fields as IndexFields, Format as IndexFormat};

/// Looks up a variable of the environment; tests pass their own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads and resolves the file at `path`. Blocking; errors are all mistakes at once.
///
/// Files that it names are relative to its folder; `data_dir` and `store.root` are relative to the working directory.
pub fn load(path: &Path, env: Environment<'_>) -> Result<Config, Mistakes> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Mistakes(vec![Mistake {
            path: String::new(),
            line: None,
            message: format!("cannot read `{}`: {error}", path.display()),
        }])
    })?;
    parse(&text, path.parent().unwrap_or(Path::new("")), env)
}

/// As [`load`], for a text whose files are relative to `base_dir`.
pub fn parse(text: &str, base_dir: &Path, env: Environment<'_>) -> Result<Config, Mistakes> {
    resolve::resolve(text, base_dir, env)
}

/// The keys that chartgate knows and `text` has nowhere, as paths with `*` for names; for tests of documentation.
pub fn absent_keys(
    text: &str,
    base_dir: &Path,
    env: Environment<'_>,
) -> Result<Vec<String>, Mistakes> {
    resolve::absent_keys(text, base_dir, env)
}

/// The embedded configuration that `chartgate serve` runs without a file: loopback only, everything below `data_dir`,
/// with the sample charts expected where [`quick_start_files`] says.
pub fn quick_start(data_dir: &Path) -> Config {
    let mut config = parse(sample::QUICK_START, data_dir, &|_| None)
        .expect("the embedded file has no mistakes; tests/configs.rs loads it");
    config.set_data_dir(data_dir);
    config
}

/// A duration as operators write it: `30s`, `5m`, `1h30m`. Errors: how to write one.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    units::duration(text)
}

/// Reads an address as the `server` section writes it, for the command line. The error says how to write one.
pub fn listen_address(text: &str) -> Result<ListenAddress, String> {
    units::listen_address(text)
}

impl Config {
    /// Moves the data folder (`--data-dir`), and with it the hosted store where the file did not place that elsewhere.
    pub fn set_data_dir(&mut self, data_dir: &Path) {
        if self.store.root() == Some(&self.data_dir.join("hosted")) {
            self.store.place = Place::Folder(data_dir.join("hosted"));
        }
        self.data_dir = data_dir.to_path_buf();
    }
}

/// Everything chartgate was told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Listeners and process behaviour.
    pub server: Server,
    /// The folder of everything that is kept on this machine.
    pub data_dir: PathBuf,
    /// Copies of upstream content.
    pub cache: Cache,
    /// Where uploads are kept.
    pub store: Store,
    /// Remote sources by name.
    pub upstreams: BTreeMap<Arc<str>, Upstream>,
    /// Endpoints by path.
    pub tenants: BTreeMap<TenantPath, Tenant>,
    /// Endpoints by pattern (`*`, `team/*`, `**`): every path that fits is one, made when it is first used. Their `path` is the
    /// root's and means nothing.
    pub patterns: BTreeMap<TenantPattern, Tenant>,
    /// The ChartMuseum API's switches.
    pub museum: Museum,
    /// How requests below `/v2/` find their tenant.
    pub registry: RegistryServer,
    /// Who can be somebody.
    pub auth: Auth,
    /// How often one address may ask, whatever it asks for, before anybody looks who it is. Default: as often as it likes.
    pub limits: Vec<Limit>,
    /// The log of who did what; `None`: there is none.
    pub audit: Option<Audit>,
    /// Never dial an upstream: serve what is held (`--offline`).
    pub offline: bool,
}

/// `audit:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Where its lines go.
    pub place: AuditPlace,
    /// How many bytes a file may have before the next one is begun. Default 100 MiB.
    pub max_size: u64,
    /// How many full files are kept besides the current one. Default 10.
    pub keep: u32,
}

/// `audit.file:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditPlace {
    /// Standard output, which nothing else is written to while serving.
    Stdout,
    /// A file; relative to the working directory.
    File(PathBuf),
}

/// `server:`
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Plain listeners (HTTP/1.1 and h2c).
    pub http: Vec<ListenAddress>,
    /// TLS listeners.
    pub https: Vec<Https>,
    /// The admin listener; `None` switches it off.
    pub admin: Option<ListenAddress>,
    /// The address that clients use, where an absolute URL is unavoidable.
    pub external_url: Option<Url>,
    /// How long requests in flight may take after SIGTERM. Default 20 s.
    pub grace_period: Duration,
    /// What every path of the public listeners starts with (`context_path`): empty, or `/` and segments without a slash at
    /// the end. Tenants, API and health live below it.
    pub context_path: String,
    /// How long a client may take for a request head and between two pieces of a body (`read_timeout`).
    pub read_timeout: Duration,
    /// How long a client may take to accept the next piece of an answer (`write_timeout`).
    pub write_timeout: Duration,
    /// Worker threads; default: the number of cores.
    pub threads: usize,
    /// Where requests of the plain TCP listeners are sent; `None`: they are answered.
    pub redirect_http: Option<Redirect>,
    /// Whose word about the client's address, scheme and host counts. Default: nobody's.
    pub trusted_proxies: TrustedProxies,
    /// Which header fields these write.
    pub forwarded_header: ForwardedHeader,
    /// Plain listeners whose connections begin with a PROXY protocol header.
    pub proxy_protocol: Vec<ListenAddress>,
    /// How many connections the public listeners together keep open; `None`: what the limit of open files allows.
    pub max_connections: Option<usize>,
    /// How many of these one address (IPv6: one /64) may have; `None`: any number. Trusted proxies do not count.
    pub max_connections_per_address: Option<usize>,
    /// Bytes per second that a request body must come with on average, after a first `read_timeout`. Default 500; 0: any.
    pub min_body_rate: u64,
}

/// `server.redirect_http:`
#[derive(Clone, Debug, PartialEq)]
pub enum Redirect {
    /// To the host that the request names, at the port of the first TLS listener (`true`).
    SameHost,
    /// To this origin: scheme https, host and port.
    To(Url),
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP address; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A Unix socket (`unix:/path`).
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `server.https:`
#[derive(Clone, Debug, PartialEq)]
pub struct Https {
    /// The TLS address.
    pub listen: SocketAddr,
    /// What the listener proves itself with, at least one: the first that has the name a client asks for, else the first.
    pub certificates: Vec<CertificateFiles>,
    /// PEM certificates of the authorities that issue client certificates. Present: clients may show one.
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients must show a certificate (`client_certificates: required`). Default false: they may.
    pub client_certificate_required: bool,
    /// Whether connections begin with a PROXY protocol header. Default false.
    pub proxy_protocol: bool,
}

/// `server.https.certificates[]:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM certificate chain; reread when it changes.
    pub cert_file: PathBuf,
    /// PEM private key; reread when it changes.
    pub key_file: PathBuf,
}

/// `cache:`
#[derive(Clone, Debug, PartialEq)]
pub struct Cache {
    /// Bytes of memory for small objects. Default 256 MiB.
    pub memory: u64,
    /// Bytes of disk, a hard cap. Default 10 GiB.
    pub disk: u64,
    /// The shared tier.
    pub redis: Option<Redis>,
}

/// `cache.redis:`
#[derive(Clone, Debug, PartialEq)]
pub struct Redis {
    /// `redis://`, `rediss://`, `redis+sentinel://` or `redis+cluster://`; may hold a password.
    pub url: Secret,
    /// What every key starts with. Default `chartgate`.
    pub prefix: String,
    /// Objects larger than this stay out of redis. Default 1 MiB.
    pub max_object: u64,
}

/// `upstreams.<name>:`
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// The key in the file.
    pub name: Arc<str>,
    /// What kind of source, and where.
    pub source: Source,
    /// How old the index may get before it is revalidated. Default 5 min.
    pub refresh: Duration,
    /// How long one request may go without progress. Default 30 s.
    pub timeout: Duration,
    /// How it is reached.
    pub client: Client,
    /// What happens to bytes that do not have the digest that the index names.
    pub on_digest_mismatch: OnDigestMismatch,
    /// Versions that the upstream removed stay while their bytes are held. Default true.
    pub keep_removed: bool,
    /// The share of versions (0.0 to 1.0) that one refresh may remove. Default 0.5.
    pub max_shrink: f64,
}

/// `upstreams.<name>.type` and `.url`
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A chart repository over http or https. The URL's path ends in `/`.
    Helm(Url),
    /// A folder of packages, with or without an index.yaml.
    Dir(PathBuf),
    /// A bucket of packages, with or without an index.yaml; read only.
    Bucket(Box<ObjectStore>),
    /// An OCI registry.
    Oci(Box<Oci>),
}

/// `on_digest_mismatch:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDigestMismatch {
    /// Refuse the bytes (default).
    Reject,
    /// Serve them, count and log it, and do not keep them under the promised digest.
    Serve,
}

/// `tenants.<path>:`
#[derive(Clone, Debug, PartialEq)]
pub struct Tenant {
    /// Where it lives.
    pub path: TenantPath,
    /// Whether and how uploads are taken.
    pub hosted: Option<Hosted>,
    /// Upstream members in order of precedence.
    pub charts: Vec<Member>,
    /// Upstream registries in order of precedence.
    pub registries: Vec<RegistryMember>,
    /// How the merged index looks.
    pub index: Index,
    /// Who may do what.
    pub access: Access,
    /// How often and how much; all of them count.
    pub limits: Vec<Limit>,
}

/// `tenants.<path>.index:`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// JSON (default) or YAML.
    pub format: IndexFormat,
    /// Full (default) or slim.
    pub fields: IndexFields,
    /// Newest versions shown per chart; 0 = all.
    pub keep: usize,
    /// What chart URLs start with (`url`); the context path, the tenant's path and `charts/<file>` follow. Default: none, and
    /// chart URLs are relative to the index.
    pub url: Option<Url>,
}

/// `tenants.<path>.hosted:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosted {
    /// Whether a version may be uploaded again.
    pub overwrite: Overwrite,
    /// Whether versions may be deleted. Default true.
    pub delete: bool,
    /// The largest request body of an upload, in bytes. Default 20 MiB.
    pub max_upload: u64,
    /// How many files the tenant may hold, provenance files counted (`max_objects`); over it uploads get 507. Default 0: any.
    pub max_objects: usize,
    /// How many versions of one chart are kept (`max_versions`): an upload removes the oldest ones by time of upload above that,
    /// with their provenance files. Default 0: any.
    pub max_versions: usize,
    /// The keys about registries.
    pub registry: HostedRegistry,
}

/// `hosted.overwrite:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// Never.
    Forbid,
    /// Only with `?force` (default, as ChartMuseum).
    Force,
    /// Always.
    Allow,
}

/// One member of `tenants.<path>.charts:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// Chart name globs that are let in; empty: all.
    pub include: Vec<String>,
    /// Chart name globs that are kept out.
    pub exclude: Vec<String>,
    /// A Helm version constraint that versions must meet.
    pub versions: Option<String>,
}

/// `tenants.<path>.access:`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Actions without credentials. Default none.
    pub anonymous: Vec<Action>,
    /// Who may do what; any rule that matches is enough.
    pub rules: Vec<Rule>,
}

/// One of `access.rules:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whom it is about.
    pub subjects: Vec<Subject>,
    /// What they may do.
    pub actions: Vec<Action>,
    /// To which charts and repositories: patterns of names within the tenant ([`crate::names::globs`]); none: to all.
    pub names: Vec<String>,
}

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `user:NAME`
    User(String),
    /// `user:*`: everybody who has shown valid credentials.
    AnyUser,
    /// `group:NAME`: the users that `auth.groups` lists under it, and holders of tokens that say so.
    Group(String),
    /// `claim:NAME=GLOB`: holders of tokens with such a claim, in which `*` stands for any text.
    Claim {
        /// Its name, with a dot before what is inside of a claim.
        name: String,
        /// What its value, or one of several, looks like.
        pattern: String,
    },
}

/// As the file writes it.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user:{name}"),
            Self::AnyUser => f.write_str("user:*"),
            Self::Group(name) => write!(f, "group:{name}"),
            Self::Claim { name, pattern } => write!(f, "claim:{name}={pattern}"),
        }
    }
}

/// `auth:`
#[derive(Clone, Debug, Default)]
pub struct Auth {
    /// An htpasswd file; reread when it changes.
    pub users_file: Option<PathBuf>,
    /// Users with their passwords, for those whom a file is too much (`users`).
    pub users: BTreeMap<String, Secret>,
    /// Issuers of bearer tokens (`jwt`).
    pub jwt: Vec<Jwt>,
    /// The users in each group (`groups`).
    pub groups: BTreeMap<String, Vec<String>>,
    /// What a 401 asks for (`challenge`).
    pub challenge: Challenge,
    /// The tokens that chartgate gives out (`token`).
    pub token: TokenServer,
    /// How many wrong passwords are taken before pauses begin (`attempts`).
    pub attempts: Attempts,
    /// The tokens that operators make for people and programs (`api_tokens`); `None`: there are none.
    pub api_tokens: Option<ApiTokens>,
}

/// `auth.attempts:`, how many wrong passwords for one user may come from one address before each further one costs a pause; one is
/// forgiven every 10 min. An address as a whole has ten times as many, of which one is forgiven every 6 s. Default 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts(pub u32);

impl Default for Attempts {
    fn default() -> Self {
        Self(10)
    }
}

/// `auth.challenge:`, the scheme and words of `WWW-Authenticate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// `Basic realm="…"`. Default realm `chartgate`.
    Basic {
        /// The realm.
        realm: String,
    },
    /// `Bearer realm="…",service="…",scope="artifact-repository:<tenant>:<action>"`.
    Bearer {
        /// URL of the token service.
        realm: String,
        /// The service's name for this one.
        service: String,
    },
}

impl Default for Challenge {
    fn default() -> Self {
        Self::Basic {
            realm: "chartgate".into(),
        }
    }
}
