//! Where the cache gets a blob, and what is learnt when it has come.

use std::sync::Arc;

use async_trait::async_trait;

use super::ProxyRegistry;
use super::manifests::as_absent;
use super::place::Place;
use crate::cache::{FillSource, Link, LinkKind, Proof};
use crate::digest;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::Digest;
use crate::upstream::Download;
use crate::upstream::registry::Part;

/// One blob of one upstream repository.
#[derive(Debug)]
pub(super) struct BlobSource {
    pub(super) proxy: Arc<ProxyRegistry>,
    pub(super) place: Place,
    pub(super) digest: Digest,
}

#[async_trait]
impl FillSource for BlobSource {
    async fn open(&self, offset: u64) -> Result<Download> {
        let (proxy, repository) = (&self.proxy, &self.place.repository);
        proxy.check_online(&format!("{repository}@{}", self.digest))?;
        let part = match (offset, self.digest) {
            (0, _) => Part::Whole,
            (_, Digest::Sha256(_)) => Part::From(offset),
            // The cache does not check it, and whoever does must see all of it.
            (_, Digest::Sha512(_)) => {
                return Err(Error::new(
                    ErrorKind::Internal,
                    format!(
                        "the transfer of `{repository}@{}` from upstream `{}` broke off; ask again",
                        self.digest, proxy.config.name
                    ),
                ));
            }
        };
        let download = proxy.upstream.open_blob(repository, &self.digest, &part);
        proxy.noted(download.await).map_err(as_absent)
    }

    fn mismatched(&self, _actual: &digest::Digest) {
        let error = Error::new(
            ErrorKind::DigestMismatch,
            format!(
                "upstream `{}` sent other bytes for `{}@{}`; they were thrown away",
                self.proxy.config.name, self.place.repository, self.digest
            ),
        );
        self.wrong(error);
    }

    fn completed(&self, digest: &digest::Digest, length: u64) {
        let link = Link {
            digest: Some(*digest),
            kind: LinkKind::Blob,
            size: length,
            proof: Proof::Held,
        };
        let key = self.place.link(&self.digest);
        self.proxy.cache.links().put(&key, link);
    }

    fn failed(&self, error: &Error) {
        if error.kind() == ErrorKind::DigestMismatch && matches!(self.digest, Digest::Sha512(_)) {
            self.wrong(Error::new(error.kind(), error.message().to_owned()));
        }
        if error.kind() != ErrorKind::NotFound {
            tracing::warn!(
                upstream.name = %self.proxy.config.name, error = %error.chain(),
                "cannot fetch `{}@{}`: {error}", self.place.repository, self.digest
            );
        }
    }
}

impl BlobSource {
    /// The upstream is not asked for it again at once.
    fn wrong(&self, error: Error) {
        let proxy = &self.proxy;
        proxy.metrics.digest_mismatch(&proxy.config.name);
        tracing::error!(upstream.name = %proxy.config.name, "{error}");
        let key = self.place.blob(&self.digest);
        proxy
            .verdicts
            .put(&key, Arc::new(error), super::MISMATCH_TTL);
    }
}
