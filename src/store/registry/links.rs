//! Links: what a repository shows. Bytes without a link in a repository are not there for whoever asks it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::blobs::{Presence, StoredBlob};
use super::repo::{Mark, Repo};
use super::tags::PARALLEL;
use super::{HostedRegistry, layout};
use crate::digest;
use crate::error::{Error, ErrorKind, Result};
use crate::object::Existing;
use crate::oci::{Digest, ManifestType, RepoName};

/// What a repository knows of a digest that it shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Link {
    /// The SHA-256 of the bytes, under which they lie.
    content: Digest,
    /// Bytes.
    pub(super) size: u64,
    /// The type of a manifest; a blob has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    /// When it was made, for people.
    at: String,
}

impl Link {
    pub(super) fn new(
        content: digest::Digest,
        size: u64,
        kind: Option<ManifestType>,
        at: Timestamp,
    ) -> Self {
        Self {
            content: content.into(),
            size,
            media_type: kind.map(|kind| kind.as_str().to_owned()),
            at: at.to_string(),
        }
    }

    /// The SHA-256 of the bytes. Errors: the link is damaged.
    pub(super) fn content(&self) -> Result<digest::Digest> {
        match self.content {
            Digest::Sha256(content) => Ok(content),
            Digest::Sha512(_) => Err(Error::internal(
                "a link does not say where its bytes are",
                "its content is not a sha256",
            )),
        }
    }

    /// What kind of manifest it is, if it is one.
    pub(super) fn kind(&self) -> Option<ManifestType> {
        self.media_type.as_deref().and_then(ManifestType::parse)
    }

    fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("texts and numbers are always JSON")
            .into()
    }
}

/// A blob whose bytes are stored already.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// What it will be called.
    pub digest: Digest,
    /// The SHA-256 of its bytes.
    pub content: digest::Digest,
    /// Bytes.
    pub size: u64,
}

/// Where a mounted blob may come from.
#[derive(Clone, Copy)]
pub enum Mounted<'a> {
    /// `from=`: this repository of the tenant, which the caller may read.
    From(&'a RepoName),
    /// No `from`: any repository of the tenant for which this is true, because the caller may read it. Not all are looked at.
    Any(&'a (dyn Fn(&RepoName) -> bool + Send + Sync)),
}

impl fmt::Debug for Mounted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(name) => f.debug_tuple("From").field(name).finish(),
            Self::Any(_) => f.write_str("Any"),
        }
    }
}

impl HostedRegistry {
    /// A blob, or a manifest as one, ready to be read. Errors: `NotFound` where the repository does not show it.
    ///
    /// In a bucket nothing is asked for before the bytes are wanted; if they turn out to be gone, [`HostedRegistry::look_again`]
    /// and another try find out whether the blob was deleted.
    pub async fn blob(&self, name: &RepoName, digest: &Digest) -> Result<StoredBlob> {
        let repo = self.repo(name);
        for _ in 0..2 {
            let Some(link) = self.look(&repo, digest).await? else {
                return Err(no_blob(name, digest));
            };
            let (content, size) = (link.content()?, link.size);
            if let Some(body) = self.store.open_blob(&content, size).await? {
                return Ok(StoredBlob {
                    content,
                    size,
                    body,
                });
            }
            self.look_again(name, digest);
        }
        Err(lost(digest))
    }

    /// Whether it is known without asking anybody that a repository shows this digest. In memory.
    pub fn remembers(&self, name: &RepoName, digest: &Digest) -> bool {
        self.repo(name).remembers(digest)
    }

    /// Forgets what is known of a digest, so that the next question looks into the place.
    pub fn look_again(&self, name: &RepoName, digest: &Digest) {
        self.repo(name).change(|state| state.forget(digest));
    }

    /// Shows a blob whose bytes are stored, as the end of an upload. Durable when this returns.
    ///
    /// Errors: `QuotaExceeded`.
    pub async fn link_blob(self: &Arc<Self>, name: &RepoName, blob: Received) -> Result<()> {
        let (this, repo) = (Arc::clone(self), self.repo(name));
        detached(async move {
            let _writer = repo.writer.lock().await;
            let presence = this.store.renew(&blob.content, blob.size).await?;
            if presence == Presence::Absent {
                return Err(lost(&blob.digest));
            }
            let link = Link::new(blob.content, blob.size, None, this.store.clock.now());
            this.add_link(&repo, blob.digest, link, presence).await
        })
        .await
    }

    /// Stores a small blob that is in memory, and shows it. Errors: `DigestMismatch`, `TooLarge`, `QuotaExceeded`.
    pub async fn put_blob(
        self: &Arc<Self>,
        name: &RepoName,
        digest: Digest,
        bytes: Bytes,
    ) -> Result<()> {
        let size = bytes.len() as u64;
        if size > self.settings.max_blob {
            let most = self.settings.max_blob;
            let message = format!("the blob has {size} bytes; at most {most} are taken");
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        if !digest.names(&bytes) {
            let message = format!("the blob does not have the digest `{digest}`");
            return Err(Error::new(ErrorKind::DigestMismatch, message));
        }
        let (this, repo) = (Arc::clone(self), self.repo(name));
        detached(async move {
            let _writer = repo.writer.lock().await;
            let content = digest::Digest::of(&bytes);
            let presence = this.store.put_bytes(&content, bytes).await?;
            let link = Link::new(content, size, None, this.store.clock.now());
            this.add_link(&repo, digest, link, presence).await
        })
        .await
    }

    /// Shows a blob of another repository of this tenant in `name`; whether such a blob was found.
    ///
    /// Errors are failures; a blob that is not there is none.
    pub async fn mount(
        self: &Arc<Self>,
        name: &RepoName,
        digest: &Digest,
        from: Mounted<'_>,
    ) -> Result<bool> {
        let found = match from {
            Mounted::From(source) => self.look(&self.repo(source), digest).await?,
            Mounted::Any(may_read) => self.find_anywhere(digest, may_read).await?,
        };
        let Some(found) = found else {
            return Ok(false);
        };
        let (content, digest) = (found.content()?, *digest);
        let (this, repo) = (Arc::clone(self), self.repo(name));
        detached(async move {
            let _writer = repo.writer.lock().await;
            let presence = this.store.renew(&content, found.size).await?;
            if presence == Presence::Absent {
                return Ok(false);
            }
            let link = Link::new(content, found.size, None, this.store.clock.now());
            this.add_link(&repo, digest, link, presence).await?;
            Ok(true)
        })
        .await
    }

    /// A link to `digest` in any repository that may be read: in those that are in memory first, then in some others.
    async fn find_anywhere(
        &self,
        digest: &Digest,
        may_read: &(dyn Fn(&RepoName) -> bool + Send + Sync),
    ) -> Result<Option<Link>> {
        let known = self.tenant.repos.all();
        for repo in known.iter().filter(|repo| repo.remembers(digest)) {
            if may_read(&repo.name)
                && let Some(link) = self.look(repo, digest).await?
            {
                return Ok(Some(link));
            }
        }
        let names = self.catalog().await?;
        let names = names.into_iter().filter(|name| may_read(name));
        let mut looks = stream::iter(names.take(MAX_SOURCES))
            .map(async |name| self.look(&self.repo(&name), digest).await)
            .buffer_unordered(PARALLEL);
        while let Some(found) = looks.next().await {
            if let Some(link) = found? {
                return Ok(Some(link));
            }
        }
        Ok(None)
    }

    /// Makes a link, to bytes that are there. The caller holds the repository's writer.
    ///
    /// A manifest that is linked already stays one when it is pushed as a blob too. Errors: `QuotaExceeded`; `UpstreamUnavailable`
    /// where the bytes were swept meanwhile and the push has to be done again.
    pub(super) async fn add_link(
        &self,
        repo: &Repo,
        digest: Digest,
        link: Link,
        presence: Presence,
    ) -> Result<()> {
        let (content, now) = (link.content()?, self.store.clock.now());
        let before = self.find(repo, &digest).await?;
        let link = match &before {
            Some(before) if before.kind().is_some() && link.kind().is_none() => before.clone(),
            _ => link,
        };
        let is_new = before.is_none();
        if is_new {
            self.count(&content, link.size).await?;
        }
        let written = self.write_link(repo, &digest, &link, presence).await;
        if written.is_err() && is_new {
            self.uncount(&content).await;
        }
        repo.change(|state| match written {
            Ok(()) => {
                state.set(&Mark, (), now);
                state.set(&digest, link, now);
                Ok(())
            }
            Err(error) => {
                // It may have been written all the same.
                state.forget(&digest);
                Err(error)
            }
        })
    }

    async fn write_link(
        &self,
        repo: &Repo,
        digest: &Digest,
        link: &Link,
        presence: Presence,
    ) -> Result<()> {
        self.mark(repo).await?;
        self.write_item(repo, digest, link.to_bytes(), Existing::Replace)
            .await?;
        self.keep_mark(repo).await?;
        let key = layout::blob(&link.content()?);
        if presence == Presence::Old && self.store.place.stat(&key).await?.is_none() {
            self.store.place.remove(&repo.keys.link(digest)).await?;
            return Err(Error::unavailable(format!(
                "unused bytes of `{digest}` were removed just now; push it again"
            )));
        }
        Ok(())
    }
}

/// Runs `work` to its end even if the caller goes away.
pub(super) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    tokio::spawn(work).await.unwrap_or_else(|error| {
        Err(Error::internal(
            "a change of the hosted registry was aborted",
            error,
        ))
    })
}

pub(super) fn no_blob(name: &RepoName, digest: &Digest) -> Error {
    Error::not_found(format!("blob `{digest}` is not in `{name}`"))
}

/// A link without bytes is damage, not absence.
pub(super) fn lost(digest: &Digest) -> Error {
    Error::internal(
        format!("the stored bytes of `{digest}` are gone; push it again"),
        "there is no such object",
    )
}

/// How many repositories are looked at for a blob to be mounted.
const MAX_SOURCES: usize = 64;
