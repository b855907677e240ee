//! Blobs: whether this repository may show one, how long it is, and its bytes when somebody wants them.
//!
//! That bytes are held proves nothing: another upstream may have brought them. What proves that a repository has a digest is
//! that the upstream sent the bytes from it (a link), or, where `share` allows it, that it named the digest.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;

use super::ProxyRegistry;
use super::manifests::{Shared, as_absent};
use super::place::Place;
use super::source::BlobSource;
use crate::cache::{FillRequest, Link, LinkKind, Object, Proof, Sharing, Status};
use crate::config::OnDigestMismatch;
use crate::digest;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Body, ByteStream};
use crate::oci::Digest;
use crate::repository::{Artifact, Content, Origin, RemoteContent};
use crate::upstream::Download;
use crate::upstream::registry::Part;

impl ProxyRegistry {
    /// The blob with this digest. Manifests can be had like this too: containerd asks so.
    pub(super) async fn blob_at(&self, place: Place, digest: &Digest) -> Result<Artifact> {
        let link = self.cache.links().get(&place.link(digest));
        if let Some(Link {
            kind: LinkKind::Manifest(..),
            ..
        }) = link
        {
            let found = self.by_digest(&place, digest).await?;
            let content = Content::Bytes(found.bytes);
            return Ok(artifact(content, found.source.origin, digest));
        }
        if let Some(link) = &link
            && let (Proof::Held, Some(key)) = (link.proof, &link.digest)
            && let Some(object) = self.cache.get(key).await
        {
            return Ok(artifact(Content::Cached(object), Origin::Hit, digest));
        }
        let key = place.blob(digest);
        if let Some(verdict) = self.verdicts.get(&key) {
            return Err(Error::shared(&verdict));
        }
        if !self.offline {
            self.check_absence(&key)?;
        }
        if link.is_some()
            && let Some(object) = self.brought_by_others(digest).await
        {
            return Ok(artifact(Content::Cached(object), Origin::Hit, digest));
        }
        self.check_online(&format!("{}@{digest}", place.repository))?;
        let size = match link {
            Some(link) => Some(link.size),
            None => {
                let size = self.head(&place, digest).await?;
                if let Some(object) = self.brought_by_others(digest).await {
                    return Ok(artifact(Content::Cached(object), Origin::Hit, digest));
                }
                size
            }
        };
        let blob = RemoteBlob {
            proxy: self.shared(),
            place,
            digest: *digest,
            size,
        };
        let content = Content::Remote(Arc::new(blob));
        Ok(artifact(content, Origin::Miss, digest))
    }

    /// With whom what this upstream sends is shared, and whose bytes are as good as its own.
    pub(super) fn sharing(&self) -> Sharing {
        match self.oci.share {
            true => Sharing::Sharers,
            false => Sharing::Nobody,
        }
    }

    /// Bytes that are held for others, for a digest that the upstream has named.
    async fn brought_by_others(&self, digest: &Digest) -> Option<Object> {
        match (self.sharing(), digest) {
            (Sharing::Sharers, Digest::Sha256(digest)) => self.cache.get_shared(digest).await,
            _ => None,
        }
    }

    /// Asks the upstream whether it has a blob, and how long that is.
    async fn head(&self, place: &Place, digest: &Digest) -> Result<Option<u64>> {
        let key = place.blob(digest);
        let proxy = self.shared();
        let (place, digest) = (place.clone(), *digest);
        let ask = async move || proxy.ask_for_size(&place, &digest).await;
        let size = self.sizes.join(&key, ask).await?;
        size.map_err(|error| Error::shared(&error))
    }

    async fn ask_for_size(&self, place: &Place, digest: &Digest) -> Shared<Option<u64>> {
        let head = self.upstream.head_blob(&place.repository, digest).await;
        let head = self.noted(head).map_err(as_absent).inspect_err(|error| {
            if error.kind() == ErrorKind::NotFound {
                let key = place.blob(digest);
                self.cache.record_absence(&key, super::NEGATIVE_TTL);
            }
        })?;
        if let Some(size) = head.size {
            if size > self.oci.max_blob {
                return Err(Arc::new(Error::new(
                    ErrorKind::TooLarge,
                    format!(
                        "`{}@{digest}` of upstream `{}` has {size} bytes, more than `max_blob`",
                        place.repository, self.config.name
                    ),
                )));
            }
            let link = Link {
                digest: match digest {
                    Digest::Sha256(digest) => Some(*digest),
                    Digest::Sha512(_) => None,
                },
                kind: LinkKind::Blob,
                size,
                proof: Proof::Promised,
            };
            self.cache.links().put(&place.link(digest), link);
        }
        Ok(head.size)
    }

    /// The blob from the cache, which fetches it once for all who ask at the same time.
    async fn fill(self: &Arc<Self>, blob: &RemoteBlob) -> Result<Object> {
        let key = blob.place.blob(&blob.digest);
        if let Some(verdict) = self.verdicts.get(&key) {
            return Err(Error::shared(&verdict));
        }
        let request = FillRequest {
            name: key,
            expect: match blob.digest {
                Digest::Sha256(digest) => Some(digest),
                // Checked on its way into the cache, which finds the bytes by the name.
                Digest::Sha512(_) => None,
            },
            also_accept: Vec::new(),
            on_mismatch: OnDigestMismatch::Reject,
            max_length: blob.size.unwrap_or(self.oci.max_blob),
            negative_ttl: super::NEGATIVE_TTL,
            sharing: self.sharing(),
        };
        let source = Arc::new(BlobSource {
            proxy: Arc::clone(self),
            place: blob.place.clone(),
            digest: blob.digest,
        });
        self.cache.fill(request, source).await
    }
}

/// A blob that the upstream has and that is not held.
#[derive(Debug)]
struct RemoteBlob {
    proxy: Arc<ProxyRegistry>,
    place: Place,
    digest: Digest,
    /// As promised.
    size: Option<u64>,
}

#[async_trait]
impl RemoteContent for RemoteBlob {
    fn length(&self) -> Option<u64> {
        self.size
    }

    async fn body(&self, range: Range<u64>) -> Result<Body> {
        let range = range.start..range.end.min(self.size.unwrap_or(u64::MAX));
        let object = self.proxy.fill(self).await;
        let object = object.map_err(|error| self.as_upstreams(error))?;
        if let (Some(promised), Some(actual)) = (self.size, object.length())
            && promised != actual
        {
            return Err(self.other_length(actual));
        }
        let is_far = object
            .arrived()
            .is_some_and(|arrived| range.start > arrived.saturating_add(NEAR));
        if is_far && let Some(body) = self.pass_through(&range, &object).await {
            return Ok(body);
        }
        let body = object.body(range.clone()).await?;
        Ok(match (self.size, body) {
            // Its upstream did not say how long it is, but a manifest did, and that was passed on.
            (Some(_), Body::Stream(stream)) if object.length().is_none() => {
                exactly(stream, range.end.saturating_sub(range.start))
            }
            (_, body) => body,
        })
    }
}

impl RemoteBlob {
    /// A range that the transfer under way will not reach soon, directly from the upstream. These bytes cannot be checked, and
    /// are not kept. `None`: that is not possible; the transfer under way will do.
    async fn pass_through(&self, range: &Range<u64>, whole: &Object) -> Option<Body> {
        let proxy = &self.proxy;
        // Its bytes go as slowly as their reader; it must not keep others from asking.
        if proxy.upstream.budget().is_busy() {
            return None;
        }
        let place = Arc::clone(&proxy.passing).try_acquire_owned().ok()?;
        let part = match range.end {
            u64::MAX => Part::From(range.start),
            _ => Part::Bytes(range.clone()),
        };
        let opened = proxy
            .upstream
            .open_blob(&self.place.repository, &self.digest, &part);
        let Download { body, .. } = proxy.noted(opened.await).ok()?;
        // For as long as bytes pass; and the whole is of use as long as somebody reads a part.
        let held = (place, whole.clone());
        let stream = body.stream.inspect(move |_| {
            let _ = &held;
        });
        let stream = ByteStream::new(stream, body.length);
        Some(match range.end {
            u64::MAX => stream.into(),
            end => exactly(stream, end - range.start),
        })
    }

    /// More bytes than a manifest promised are the upstream's mistake, not a limit of ours.
    fn as_upstreams(&self, error: Error) -> Error {
        match (error.kind(), self.size) {
            (ErrorKind::TooLarge, Some(promised)) => Error::unavailable(format!(
                "upstream `{}` sends more than the {promised} bytes of {}",
                self.proxy.name(),
                self.digest
            )),
            _ => error,
        }
    }

    fn other_length(&self, actual: u64) -> Error {
        Error::unavailable(format!(
            "upstream `{}` promises {} bytes for `{}@{}` and has {actual}",
            self.proxy.config.name,
            self.size.unwrap_or_default(),
            self.place.repository,
            self.digest
        ))
    }
}

/// A stream that ends well only after so many bytes: a length that was announced is kept.
fn exactly(stream: ByteStream, length: u64) -> Body {
    let state = Some((stream, length));
    let chunks = futures_util::stream::unfold(state, move |state| async move {
        let (mut stream, left) = state?;
        match stream.next().await {
            Some(Ok(chunk)) => match left.checked_sub(chunk.len() as u64) {
                Some(left) => Some((Ok(chunk), Some((stream, left)))),
                None => Some((Err(other_end(length)), None)),
            },
            Some(Err(error)) => Some((Err(error), None)),
            None if left > 0 => Some((Err(other_end(length)), None)),
            None => None,
        }
    });
    ByteStream::new(chunks, Some(length)).into()
}

fn other_end(length: u64) -> Error {
    Error::unavailable(format!(
        "an upstream sent more or less than the {length} bytes that were announced"
    ))
}

fn artifact(content: Content, origin: Origin, digest: &Digest) -> Artifact {
    let origin = match &content {
        Content::Cached(object) if object.status() == Status::Miss => Origin::Miss,
        _ => origin,
    };
    Artifact {
        content,
        origin,
        digest: sha256(digest),
        warning: None,
    }
}

fn sha256(digest: &Digest) -> Option<digest::Digest> {
    match digest {
        Digest::Sha256(digest) => Some(*digest),
        Digest::Sha512(_) => None,
    }
}

/// What a transfer under way is trusted to reach soon, in bytes.
const NEAR: u64 = 8 << 20;
