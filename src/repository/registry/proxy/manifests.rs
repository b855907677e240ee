//! Manifests by digest: held and linked, or fetched, verified, kept and linked.

use std::sync::Arc;

use bytes::Bytes;

use super::ProxyRegistry;
use super::place::Place;
use crate::cache::{Link, LinkKind, NameState, Object, Proof};
use crate::digest;
use crate::error::{Error, ErrorKind, Result};
use crate::http::Body;
use crate::oci::{Algorithm, Digest, ManifestType, Reference};
use crate::repository::Origin;
use crate::repository::registry::{FoundManifest, Source};
use crate::upstream::registry::Fetched;

/// A manifest that is held.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// As the upstream calls it.
    pub(super) digest: Digest,
    pub(super) media_type: ManifestType,
    pub(super) bytes: Bytes,
    /// What the bytes are kept under.
    pub(super) key: digest::Digest,
}

impl Held {
    pub(super) fn found(self, source: Source) -> FoundManifest {
        FoundManifest {
            digest: self.digest,
            media_type: self.media_type,
            bytes: self.bytes,
            source,
        }
    }
}

/// What became of a question that several may have asked.
pub(super) type Shared<T> = Result<T, Arc<Error>>;

impl ProxyRegistry {
    /// The manifest with this digest.
    pub(super) async fn by_digest(&self, place: &Place, digest: &Digest) -> Result<FoundManifest> {
        if let Some(held) = self.held(place, digest).await {
            return Ok(held.found(Source::of(Origin::Hit)));
        }
        let key = place.manifest(digest);
        self.check_absence(&key)?;
        if let Some(verdict) = self.verdicts.get(&key) {
            return Err(Error::shared(&verdict));
        }
        let proxy = self.shared();
        let (at, wanted) = (place.clone(), *digest);
        let fetch = async move || proxy.fetch_by_digest(&at, &wanted).await;
        let fetched = self.manifests.join(&key, fetch).await?;
        let held = fetched.map_err(|error| Error::shared(&error))?;
        Ok(held.found(Source::of(Origin::Miss)))
    }

    /// A manifest that is held and that this repository may show. No I/O but the reading.
    pub(super) async fn held(&self, place: &Place, digest: &Digest) -> Option<Held> {
        let link = self.cache.links().get(&place.link(digest))?;
        let (LinkKind::Manifest(media_type, algorithm), Proof::Held, Some(key)) =
            (link.kind, link.proof, link.digest)
        else {
            return None;
        };
        let bytes = read(self.cache.get(&key).await?).await.ok()?;
        let digest = match (algorithm, digest) {
            // Asked for by the name that the cache uses; the upstream uses another.
            (Algorithm::Sha512, Digest::Sha256(_)) => Digest::of(Algorithm::Sha512, &bytes),
            _ => *digest,
        };
        Some(Held {
            digest,
            media_type,
            bytes,
            key,
        })
    }

    /// Asks the upstream for a manifest by digest, and remembers what it says.
    pub(super) async fn fetch_by_digest(&self, place: &Place, digest: &Digest) -> Shared<Held> {
        let key = place.manifest(digest);
        let fetched = self.fetch(place, &Reference::Digest(*digest)).await;
        let outcome = fetched.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                self.cache.record_absence(&key, super::NEGATIVE_TTL);
                error
            }
            ErrorKind::UpstreamDenied | ErrorKind::Unsupported => {
                let error = as_absent(error);
                self.cache.record_absence(&key, super::NEGATIVE_TTL);
                error
            }
            _ => error,
        });
        outcome.map_err(|error| {
            let error = Arc::new(error);
            if error.kind() == ErrorKind::DigestMismatch {
                let verdict = Arc::clone(&error);
                self.verdicts.put(&key, verdict, super::MISMATCH_TTL);
            } else if error.kind() == ErrorKind::NotFound {
                // The record does not say why.
                let verdict = Arc::clone(&error);
                self.verdicts.put(&key, verdict, super::NEGATIVE_TTL);
            }
            error
        })
    }

    /// Fetches a manifest and keeps it.
    pub(super) async fn fetch(&self, place: &Place, reference: &Reference) -> Result<Held> {
        self.check_online(&format!("{}:{reference}", place.repository))?;
        let fetched = self.upstream.get_manifest(&place.repository, reference);
        let fetched = self.noted(fetched.await);
        let fetched = fetched.inspect_err(|error| {
            if error.kind() == ErrorKind::DigestMismatch {
                self.metrics.digest_mismatch(&self.config.name);
                tracing::error!(upstream.name = %self.config.name, "{error}");
            }
        })?;
        Ok(self.keep(place, fetched).await)
    }

    /// Keeps a manifest that was checked, and everything that it promises.
    pub(super) async fn keep(&self, place: &Place, fetched: Fetched) -> Held {
        let Fetched {
            digest,
            bytes,
            manifest,
        } = fetched;
        let key = match digest {
            Digest::Sha256(key) => key,
            Digest::Sha512(_) => digest::Digest::of(&bytes),
        };
        self.cache.keep(key, bytes.clone(), self.sharing()).await;
        let link = Link {
            digest: Some(key),
            kind: LinkKind::Manifest(manifest.media_type, digest.algorithm()),
            size: bytes.len() as u64,
            proof: Proof::Held,
        };
        let links = self.cache.links();
        links.put(&place.link(&digest), link);
        if digest != Digest::Sha256(key) {
            links.put(&place.link(&Digest::Sha256(key)), link);
        }
        let named = manifest.blobs().chain(&manifest.manifests);
        links.promise(&place.upstream, &place.repository, named);
        Held {
            digest,
            media_type: manifest.media_type,
            bytes,
            key,
        }
    }

    /// Errors: the upstream said a moment ago that there is no such thing.
    pub(super) fn check_absence(&self, key: &str) -> Result<()> {
        let record = self.cache.name(key);
        let Some(record) = record.filter(|record| record.state == NameState::Absent) else {
            return Ok(());
        };
        if let Some(verdict) = self.verdicts.get(key) {
            return Err(Error::shared(&verdict));
        }
        Err(Error::not_found(format!(
            "upstream `{}` does not have `{}`; it said so at {}",
            self.config.name,
            key.splitn(3, '/').nth(2).unwrap_or(key),
            record.at.strftime("%H:%M:%SZ")
        )))
    }
}

/// What is not for us is not there, for those who ask us; and neither is what cannot be shown.
pub(super) fn as_absent(error: Error) -> Error {
    match error.kind() {
        ErrorKind::UpstreamDenied | ErrorKind::Unsupported => {
            Error::not_found(error.message().to_owned()).with_source(error)
        }
        _ => error,
    }
}

/// All bytes of a small object.
pub(super) async fn read(object: Object) -> Result<Bytes> {
    match object.body(0..u64::MAX).await? {
        Body::Empty => Ok(Bytes::new()),
        Body::Bytes(bytes) => Ok(bytes),
        Body::Rope(pieces, _) => Ok(pieces.concat().into()),
        Body::Stream(mut chunks) => {
            let length = object.length().unwrap_or_default();
            let mut all = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
            while let Some(chunk) = chunks.next().await {
                all.extend_from_slice(&chunk?);
            }
            Ok(all.into())
        }
    }
}
