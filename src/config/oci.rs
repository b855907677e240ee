//! Registries: `upstreams.<name>` of `type: oci`, `tenants.<path>.registries`, `registry:` and `auth.token:`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::Secret;
use crate::names::TenantPath;
use crate::oci::RepoName;

/// An upstream of `type: oci`, besides what all upstreams have.
#[derive(Clone, Debug, PartialEq)]
pub struct Oci {
    /// The registry: scheme, host and port, and what stands before `/v2/` where the API lies below a path.
    pub url: Url,
    /// What every repository lies below at the upstream: the path of the configured URL, or what stands behind `/v2/` in it.
    pub prefix: Option<RepoName>,
    /// What `?ns=` may say for this upstream, in lower case, with a port where it is not the scheme's own. Default: the host
    /// of `url`, and all names of Docker Hub for any of them.
    pub hosts: Vec<String>,
    /// Whom to be (`auth`). `None`: nobody.
    pub auth: Option<OciAuth>,
    /// Hosts of token servers that may get the credentials besides those that are trusted anyway (`auth.token_realms`).
    pub token_realms: Vec<String>,
    /// How long a tag is believed without asking. Default 5 min; 0: always ask; `None`: forever (`never`).
    pub tag_ttl: Option<Duration>,
    /// How long lists of tags and referrers are believed (`list_ttl`). Default 5 min.
    pub list_ttl: Duration,
    /// How old what is served while the upstream is away may get (`max_stale`). Default `None`: any age.
    pub max_stale: Option<Duration>,
    /// The same while the upstream refuses our credentials (`max_stale_denied`). Default 1 h.
    pub max_stale_denied: Duration,
    /// Whether a tag that the upstream removed stays (`keep_removed`). Default false: unlike charts, tags are removed to be
    /// gone.
    pub keep_removed: bool,
    /// The largest manifest, in bytes. Default 8 MiB.
    pub max_manifest: u64,
    /// The largest blob, in bytes, where no manifest says its size. Default 50 GiB.
    pub max_blob: u64,
    /// Repositories that are let in, globs over the names that clients use; empty: all.
    pub include: Vec<String>,
    /// Repositories that are kept out.
    pub exclude: Vec<String>,
    /// Whether bytes held for another upstream may be served for this one when this one proves that it has the digest without
    /// sending the bytes (`share`). Default: true without `auth`, false with it.
    pub share: bool,
}

/// `upstreams.<name>.auth:` of a registry.
#[derive(Clone, Debug, PartialEq)]
pub enum OciAuth {
    /// `username` and `password_file`.
    Basic(String, Secret),
    /// `token_file`: sent as it is.
    Bearer(Secret),
    /// `refresh_token_file`, with an optional `username`: exchanged for access tokens.
    Refresh(String, Secret),
    /// `helper`: a Docker credential helper, asked again every `helper_renew` (default 6 h).
    Helper(PathBuf, Duration),
}

/// One member of `tenants.<path>.registries:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryMember {
    /// The upstream's name; also the first component of its repositories' names in this tenant.
    pub upstream: Arc<str>,
    /// Repositories that are let in, globs; empty: all.
    pub include: Vec<String>,
    /// Repositories that are kept out.
    pub exclude: Vec<String>,
}

/// `tenants.<path>.hosted:`, the keys about registries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostedRegistry {
    /// The largest blob, in bytes (`max_blob`). Default 50 GiB.
    pub max_blob: u64,
    /// The largest manifest, in bytes (`max_manifest`). Default 8 MiB.
    pub max_manifest: u64,
    /// How many bytes of blobs and manifests the tenant may hold, each digest counted once (`quota`). Default `None`: any.
    pub quota: Option<u64>,
    /// Whether a tag, once pushed, stays the manifest that it is (`immutable_tags`). Default false.
    pub immutable_tags: bool,
}

impl Default for HostedRegistry {
    fn default() -> Self {
        Self {
            max_blob: 50 << 30,
            max_manifest: 8 << 20,
            quota: None,
            immutable_tags: false,
        }
    }
}

/// `registry:`, how requests below `/v2/` find their tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryServer {
    /// The tenant whose path may be left out of names (`default_tenant`). Default: the root tenant, where there is one.
    pub default_tenant: Option<TenantPath>,
    /// Virtual hosts (`hosts`): host names in lower case without port, or `*.` and the rest, where `*` stands for an
    /// upstream's name.
    pub hosts: BTreeMap<String, VirtualHost>,
}

/// One of `registry.hosts:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualHost {
    /// Whose names it shows.
    pub tenant: TenantPath,
    /// The one upstream that it shows; `None`: the tenant as a whole, or what `*` says.
    pub upstream: Option<Arc<str>>,
}

/// `auth.token:`, the tokens that chartgate gives out below `/token`.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenServer {
    /// PEM private key (P-256 or Ed25519), the same on every replica (`key_file`). `None`: one is made and kept in the data folder.
    pub key_file: Option<PathBuf>,
    /// Keys that signed before and are still believed (`previous_key_files`): private or public, PEM.
    pub previous_key_files: Vec<PathBuf>,
    /// How long a token lasts. Default 5 min, at least 1 min (`lifetime`).
    pub lifetime: Duration,
    /// Whether somebody unknown who only wants to pull is nobody rather than refused (`anonymous_on_unknown_credentials`):
    /// docker sends a mirror the credentials of Docker Hub. Default true.
    pub anonymous_on_unknown_credentials: bool,
}

impl Default for TokenServer {
    fn default() -> Self {
        Self {
            key_file: None,
            previous_key_files: Vec::new(),
            lifetime: Duration::from_mins(5),
            anonymous_on_unknown_credentials: true,
        }
    }
}
