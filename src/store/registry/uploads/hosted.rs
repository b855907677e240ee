//! Uploads into a tenant's hosted registry: from the first byte to a blob that readers see.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Bound, Owner, Random, Room, Sealed, UploadId, Uploads, blocking};
use crate::clock::Clock;
use crate::config::ObjectStore;
use crate::digest;
use crate::error::{Error, ErrorKind, Result};
use crate::http::RequestBody;
use crate::oci::{Algorithm, Digest, RepoName};
use crate::store::registry::{HostedRegistry, Received};

/// A blob that was uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// As the client named it.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

impl HostedRegistry {
    /// Begins an upload into `name` by `subject` (empty: a stranger); only they can go on with it. `algorithm` is a hint.
    ///
    /// Errors: `RateLimited` where the tenant has as many as it may ([`Bound`]).
    pub async fn start_upload(
        &self,
        name: &RepoName,
        subject: &str,
        algorithm: Option<Algorithm>,
    ) -> Result<UploadId> {
        let owner = self.owner(name, subject);
        self.store.uploads.start(&owner, algorithm).await
    }

    /// Adds a piece; returns the new length. See [`Uploads::append`] for ranges, errors, and bodies that break off.
    pub async fn append(
        self: &Arc<Self>,
        name: &RepoName,
        id: &UploadId,
        subject: &str,
        range: Option<(u64, u64)>,
        body: &mut dyn RequestBody,
    ) -> Result<u64> {
        let room = self.room(body.length()).await?;
        let owner = self.owner(name, subject);
        let uploads = &self.store.uploads;
        uploads.append(&owner, *id, range, body, room).await
    }

    /// Ends an upload with its last piece, if any: the blob is durable, and shown by `name`, when this returns.
    ///
    /// Errors: as [`HostedRegistry::append`]; `DigestMismatch` ends the upload. After any other error it is still there, and
    /// the request may be made again. Once the body is read, it runs to its end even if the caller goes away.
    pub async fn finish(
        self: &Arc<Self>,
        name: &RepoName,
        id: &UploadId,
        subject: &str,
        digest: &Digest,
        last: Option<(u64, u64)>,
        body: &mut dyn RequestBody,
    ) -> Result<Stored> {
        let room = self.room(body.length()).await?;
        let owner = self.owner(name, subject);
        let uploads = &self.store.uploads;
        let sealed = uploads.seal(&owner, *id, digest, last, body, room).await?;
        let (this, name) = (Arc::clone(self), name.clone());
        tokio::spawn(async move { this.keep(&name, sealed).await })
            .await
            .map_err(|error| Error::internal("the end of an upload was aborted", error))?
    }

    /// A whole blob in one request (`POST ?digest=`). Errors: as [`HostedRegistry::finish`], after which nothing is left of it.
    pub async fn put_whole(
        self: &Arc<Self>,
        name: &RepoName,
        subject: &str,
        digest: &Digest,
        body: &mut dyn RequestBody,
    ) -> Result<Stored> {
        let algorithm = Some(digest.algorithm());
        let id = self.start_upload(name, subject, algorithm).await?;
        let stored = self.finish(name, &id, subject, digest, None, body).await;
        if stored.is_err() {
            // Its name was never told: nobody could go on with it.
            let _ = self.cancel(name, &id, subject).await;
        }
        stored
    }

    /// How many bytes have arrived. Errors: `NotFound`.
    pub async fn upload_status(
        &self,
        name: &RepoName,
        id: &UploadId,
        subject: &str,
    ) -> Result<u64> {
        let owner = self.owner(name, subject);
        self.store.uploads.status(&owner, *id).await
    }

    /// Forgets an upload. Errors: `NotFound`; `Conflict` while a request writes into it.
    pub async fn cancel(&self, name: &RepoName, id: &UploadId, subject: &str) -> Result<()> {
        let owner = self.owner(name, subject);
        self.store.uploads.cancel(&owner, *id).await
    }

    /// The uploads of this store.
    pub fn uploads(&self) -> &Arc<Uploads> {
        &self.store.uploads
    }

    /// Gives the bytes their place, then shows them. In this order: a crash leaves bytes that nobody sees, never a link to nothing.
    async fn keep(self: &Arc<Self>, name: &RepoName, sealed: Sealed) -> Result<Stored> {
        let (content, size, digest) = (sealed.sha256, sealed.size, sealed.digest);
        let store = &self.store;
        store.publish_blob(&content, sealed.path(), size).await?;
        let received = Received {
            digest,
            content,
            size,
        };
        self.link_blob(name, received).await?;
        blocking(move || {
            sealed.done();
            Ok(Stored { digest, size })
        })
        .await
    }

    async fn room(self: &Arc<Self>, announced: Option<u64>) -> Result<Room> {
        let largest = self.settings.max_blob;
        // Before a single byte is read, so that `100 Continue` is not sent for what would be refused.
        if announced.is_some_and(|length| length > largest) {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("the blob is larger than {largest} bytes; `hosted.max_blob` is the limit"),
            ));
        }
        let quota_left = match self.settings.quota {
            None => None,
            Some(quota) => Some(quota.saturating_sub(self.usage().await?.bytes)),
        };
        Ok(Room {
            largest,
            quota_left,
        })
    }

    fn owner(&self, name: &RepoName, subject: &str) -> Owner {
        Owner::new(self.tenant(), name, subject)
    }
}

/// The uploads of a store.
pub(in crate::store::registry) fn open(folder: PathBuf, clock: Clock) -> Arc<Uploads> {
    Uploads::open(folder, clock, Random::system(), Bound::default())
}

/// Where uploads into a bucket are spooled: `<data_dir>/uploads/<bucket>`, because a process may know several.
pub(in crate::store::registry) fn folder(state_dir: &Path, bucket: &ObjectStore) -> PathBuf {
    let identity = crate::store::hosted::identity(bucket);
    let name = &digest::Digest::of(identity.as_bytes()).to_hex()[..16];
    let data_dir = state_dir.ancestors().nth(2).unwrap_or(state_dir);
    data_dir.join("uploads").join(name)
}
