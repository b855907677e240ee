//! Archives and provenance files of an upstream: verified, coalesced fills through the cache.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tracing::{error, warn};

use super::Proxy;
use crate::cache::{self, FillRequest, FillSource, Object, Sharing};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::index::Entry;
use crate::metrics::Metrics;
use crate::repository::{Artifact, ChartRepository as _, Content, Origin};
use crate::upstream::{Download, Upstream};

/// The largest archive that is fetched. Helm itself refuses charts that unpack to more than 100 MiB.
const MAX_ARCHIVE: u64 = 1 << 30;
/// The largest provenance file; real ones are about 1 KiB.
const MAX_PROVENANCE: u64 = 1 << 20;
/// How long "there is no such file" is believed.
const NEGATIVE_TTL: Duration = Duration::from_secs(300);

impl Proxy {
    /// The archive of an entry: held, or fetched from where the entry says. Never from a URL made of name and version.
    pub(super) async fn fetch_archive(&self, entry: &Arc<Entry>) -> Result<Artifact> {
        if let Some(digest) = &entry.digest
            && let Some(object) = self.cache.get_chart(digest).await
        {
            return Ok(artifact(object));
        }
        let mut failure = None;
        for url in &entry.urls {
            let request = FillRequest {
                name: format!("chart/{}/{}", self.config.name, without_secrets(url)),
                expect: entry.digest,
                also_accept: self.alternates(entry),
                on_mismatch: self.config.on_digest_mismatch,
                max_length: MAX_ARCHIVE,
                negative_ttl: NEGATIVE_TTL,
                sharing: Sharing::Charts,
            };
            match self.fill(request, entry, url, FileKind::Archive).await {
                Ok(artifact) => return Ok(artifact),
                Err(error) => failure = Some(prefer(failure, error)),
            }
        }
        Err(failure.unwrap_or_else(|| {
            Error::not_found(format!(
                "upstream `{}` names no URL for `{}`",
                self.config.name,
                entry.file_name()
            ))
        }))
    }

    /// The provenance file beside an entry's archive.
    pub(super) async fn fetch_provenance(&self, entry: &Arc<Entry>) -> Result<Artifact> {
        let Some(url) = entry.urls.first() else {
            return Err(Error::not_found(format!(
                "`{}.prov` does not exist",
                entry.file_name()
            )));
        };
        // A provenance file belongs to one archive: under its digest it never goes stale.
        let version = entry
            .digest
            .map_or_else(|| "-".to_owned(), |digest| digest.to_hex());
        let request = FillRequest {
            name: format!(
                "prov/{}/{version}/{}",
                self.config.name,
                without_secrets(url)
            ),
            expect: None,
            also_accept: Vec::new(),
            on_mismatch: self.config.on_digest_mismatch,
            max_length: MAX_PROVENANCE,
            negative_ttl: NEGATIVE_TTL,
            sharing: Sharing::Charts,
        };
        self.fill(request, entry, url, FileKind::Provenance).await
    }

    /// Digests that duplicates of this version name in the same index: the bytes may be theirs.
    fn alternates(&self, entry: &Entry) -> Vec<Digest> {
        let index = self.index();
        index
            .get(&entry.name)
            .map(|chart| chart.alternates(entry.version.as_str()).to_vec())
            .unwrap_or_default()
    }

    async fn fill(
        &self,
        request: FillRequest,
        entry: &Entry,
        url: &str,
        kind: FileKind,
    ) -> Result<Artifact> {
        let file = match kind {
            FileKind::Archive => entry.file_name(),
            FileKind::Provenance => format!("{}.prov", entry.file_name()),
        };
        let source = Arc::new(Origins {
            upstream: self.upstream.clone(),
            metrics: self.metrics.clone(),
            url: url.to_owned(),
            file: file.clone(),
            kind,
            offline: self.offline,
        });
        let object = self.cache.fill(request, source).await.inspect_err(|error| {
            if error.kind() != ErrorKind::NotFound {
                warn!(upstream.name = %self.config.name, error = %error.chain(), "cannot fetch `{file}`: {error}");
            }
        })?;
        Ok(artifact(object))
    }
}

#[derive(Clone, Copy, Debug)]
enum FileKind {
    Archive,
    Provenance,
}

/// Where a fill gets its bytes.
#[derive(Debug)]
struct Origins {
    upstream: Arc<dyn Upstream>,
    metrics: Arc<Metrics>,
    url: String,
    /// What people call it. The URL may hold a token, so it appears in no message.
    file: String,
    kind: FileKind,
    offline: bool,
}

#[async_trait]
impl FillSource for Origins {
    async fn open(&self, offset: u64) -> Result<Download> {
        if self.offline {
            return Err(Error::unavailable(format!(
                "`{}` is not held, and chartgate runs offline; start without `--offline` to fetch it",
                self.file
            )));
        }
        match self.kind {
            FileKind::Archive => self.upstream.open(&self.url, offset).await,
            // Too small to resume: it starts again.
            FileKind::Provenance if offset > 0 => {
                Err(Error::unavailable(format!("`{}` broke off", self.file)))
            }
            FileKind::Provenance => self.upstream.open_provenance(&self.url).await,
        }
    }

    fn mismatched(&self, actual: &Digest) {
        let name = self.upstream.name();
        self.metrics.digest_mismatch(name);
        error!(upstream.name = %name, artifact.digest = %actual,
            "upstream `{name}` sent other bytes for `{}` than its index promises", self.file);
    }
}

fn artifact(object: Object) -> Artifact {
    let origin = match object.status() {
        cache::Status::Hit => Origin::Hit,
        cache::Status::Miss => Origin::Miss,
    };
    let warning = (!object.is_verified())
        .then(|| "the bytes do not have the digest that the index names".to_owned());
    Artifact {
        digest: object.digest(),
        content: Content::Cached(object),
        origin,
        warning,
    }
}

/// Of several failures, the one that says most: a fact beats a fault that may pass.
fn prefer(first: Option<Error>, second: Error) -> Error {
    match first {
        Some(first) if first.kind() != ErrorKind::NotFound => first,
        _ => second,
    }
}

/// `url` as a name for the ledger and the log: without user name and password, and with a hash in place of its query.
fn without_secrets(url: &str) -> String {
    let Ok(mut parsed) = url::Url::parse(url) else {
        return Digest::of(url.as_bytes()).to_hex();
    };
    // Refused only for URLs that cannot have them.
    let _ = parsed.set_username("");
    let _ = parsed.set_password(None);
    if let Some(query) = parsed.query() {
        let hash = Digest::of(query.as_bytes()).to_hex();
        parsed.set_query(Some(&hash[..16]));
    }
    parsed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_no_secrets_and_stay_apart() {
        let name = without_secrets("https://me:pw@h.example/a-1.0.0+b%20c.tgz?token=abc");
        assert!(
            name.starts_with("https://h.example/a-1.0.0+b%20c.tgz?"),
            "{name}"
        );
        assert!(!name.contains("pw") && !name.contains("abc"), "{name}");
        assert_ne!(
            name,
            without_secrets("https://h.example/a-1.0.0+b%20c.tgz?token=abd")
        );
        assert_eq!(
            without_secrets("https://h.example/a.tgz"),
            "https://h.example/a.tgz"
        );
    }
}
