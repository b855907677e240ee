//! Upstream registries through the cache: what is asked, what is held, what is shown and to whom.

/// Blobs: one transfer, ranges, cuts, wrong bytes, clients that leave.
mod blobs;
/// What an upstream is asked: within its budget, by its own word, so many at a time.
mod budget;
/// What one upstream brought, and who else may have it.
mod isolation;
/// Lists of tags and referrers.
mod lists;
/// Manifests by digest.
mod manifests;
/// Names: library, prefixes, rules on every question, forgetting.
mod names;
/// Without any upstream: restarts, dead upstreams, offline.
mod offline;
/// A real registry behind it, filled by a real client, and gone afterwards.
mod real;
/// Tags: every row of what an upstream can say.
mod tags;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chartgate::cache::{Cache, Object, Status};
use chartgate::clock::Clock;
use chartgate::config::{self, OnDigestMismatch};
use chartgate::error::{Error, ErrorKind, Result};
use chartgate::http::Body;
use chartgate::metrics::Metrics;
use chartgate::net::{Clients, EnvironmentProxies, Retries};
use chartgate::oci::{Digest, Reference, RepoName, Tag};
use chartgate::repository::registry::{FoundManifest, ProxyRegistry, RegistryRepository as _};
use chartgate::repository::{Artifact, Content};
use chartgate::upstream::registry::{Registry, Settings};
use tempfile::TempDir;
use url::Url;

use crate::support::fake::RunningRegistry;

/// One cache, and the proxies over it that a test opens.
struct World {
    dir: TempDir,
    sizes: config::Cache,
    clock: Clock,
    metrics: Arc<Metrics>,
    cache: Arc<Cache>,
}

/// How an upstream is configured.
struct Upstream {
    name: &'static str,
    timeout: Duration,
    proxy: Option<Url>,
    offline: bool,
    budget: config::Budget,
    oci: config::Oci,
}

impl World {
    async fn new() -> Self {
        Self::with(8 << 20, 512 << 20).await
    }

    async fn with(memory: u64, disk: u64) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let sizes = config::Cache {
            memory,
            disk,
            redis: None,
        };
        let clock = Clock::manual("2026-11-20T15:59:01Z".parse().expect("a time"));
        let metrics = Arc::new(Metrics::new());
        let cache = open(&dir, &sizes, &metrics, &clock).await;
        Self {
            dir,
            sizes,
            clock,
            metrics,
            cache,
        }
    }

    /// As after a restart of the process. Proxies must be opened anew.
    async fn restart(&mut self) {
        self.cache.idle().await;
        self.cache.close().await;
        self.cache = open(&self.dir, &self.sizes, &self.metrics, &self.clock).await;
    }

    /// A proxy named `hub` over a fake.
    fn hub(&self, fake: &RunningRegistry) -> Arc<ProxyRegistry> {
        self.open(upstream(fake))
    }

    fn open(&self, upstream: Upstream) -> Arc<ProxyRegistry> {
        let client = config::Client {
            allow_private: true,
            timeout: upstream.timeout,
            proxy: upstream.proxy,
            budget: upstream.budget,
            ..config::Client::default()
        };
        let settings = Settings::of(&upstream.oci, &client);
        let clients = Clients::with(Retries::never(), EnvironmentProxies::none());
        let name: Arc<str> = upstream.name.into();
        let registry = Registry::new(
            name.clone(),
            settings,
            &clients,
            self.metrics.clone(),
            self.clock.clone(),
        );
        let config = config::Upstream {
            name,
            source: config::Source::Oci(Box::new(upstream.oci)),
            refresh: Duration::from_mins(5),
            timeout: upstream.timeout,
            client,
            on_digest_mismatch: OnDigestMismatch::Reject,
            keep_removed: false,
            max_shrink: 0.5,
        };
        ProxyRegistry::open(
            config,
            Arc::new(registry.expect("valid settings")),
            self.cache.clone(),
            self.metrics.clone(),
            self.clock.clone(),
            upstream.offline,
        )
        .expect("a registry")
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Removes the bytes of an object as eviction would, and leaves everything else.
    async fn evict(&self, digest: &str) {
        let hex = digest.strip_prefix("sha256:").expect("a sha256");
        self.cache.idle().await;
        for tier in self.cache.tiers() {
            tier.remove(&hex.parse().expect("hex")).await;
        }
    }
}

async fn open(
    dir: &TempDir,
    sizes: &config::Cache,
    metrics: &Arc<Metrics>,
    clock: &Clock,
) -> Arc<Cache> {
    let folder = dir.path().join("cache");
    let cache = Cache::open(sizes, folder, metrics.clone(), clock.clone());
    cache.await.expect("the cache opens")
}

/// Of everything the default, except that fakes live at a private address.
fn upstream(fake: &RunningRegistry) -> Upstream {
    upstream_at(&fake.url())
}

fn upstream_at(url: &str) -> Upstream {
    Upstream {
        name: "hub",
        proxy: None,
        timeout: Duration::from_secs(20),
        offline: false,
        budget: config::Budget::default(),
        oci: config::Oci {
            url: Url::parse(url).expect("a URL"),
            prefix: None,
            hosts: Vec::new(),
            auth: None,
            token_realms: Vec::new(),
            tag_ttl: Some(Duration::from_mins(5)),
            list_ttl: Duration::from_mins(5),
            max_stale: None,
            max_stale_denied: Duration::from_hours(1),
            keep_removed: false,
            max_manifest: 8 << 20,
            max_blob: 50 << 30,
            include: Vec::new(),
            exclude: Vec::new(),
            share: true,
        },
    }
}

impl Upstream {
    fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    fn offline(mut self) -> Self {
        self.offline = true;
        self
    }

    fn proxied(mut self, proxy: Url) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// Gives up soon: for faults that are about waiting.
    fn impatient(mut self) -> Self {
        self.timeout = Duration::from_millis(600);
        self
    }

    fn with(mut self, change: impl FnOnce(&mut config::Oci)) -> Self {
        change(&mut self.oci);
        self
    }
}

fn name(text: &str) -> RepoName {
    RepoName::parse(text).expect("a name")
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).expect("a reference")
}

fn digest(text: &str) -> Digest {
    text.parse().expect("a digest")
}

fn texts(tags: &[Tag]) -> Vec<&str> {
    tags.iter().map(Tag::as_str).collect()
}

async fn manifest(hub: &ProxyRegistry, repository: &str, what: &str) -> Result<FoundManifest> {
    hub.manifest(&name(repository), &reference(what)).await
}

async fn blob(hub: &ProxyRegistry, repository: &str, what: &str) -> Result<Artifact> {
    hub.blob(&name(repository), &digest(what)).await
}

/// All bytes of a blob.
async fn pull(hub: &ProxyRegistry, repository: &str, what: &str) -> Result<Bytes> {
    read(&blob(hub, repository, what).await?, 0..u64::MAX).await
}

async fn read(artifact: &Artifact, range: std::ops::Range<u64>) -> Result<Bytes> {
    collect(artifact.body(range).await?).await
}

async fn collect(body: Body) -> Result<Bytes> {
    let announced = body.length();
    let bytes: Bytes = match body {
        Body::Stream(mut chunks) => {
            let mut all = Vec::new();
            while let Some(chunk) = chunks.next().await {
                all.extend_from_slice(&chunk?);
            }
            all.into()
        }
        body => body.into_pieces().concat().into(),
    };
    assert!(announced.is_none_or(|length| length == bytes.len() as u64));
    Ok(bytes)
}

#[track_caller]
fn assert_error<T: std::fmt::Debug>(outcome: Result<T>, kind: ErrorKind, words: &str) -> Error {
    let error = outcome.expect_err(words);
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.message().contains(words), "{error:?}");
    error
}

fn is_held(artifact: &Artifact) -> bool {
    let is_hit = |object: &Object| object.status() == Status::Hit;
    matches!(&artifact.content, Content::Cached(object) if is_hit(object))
}
