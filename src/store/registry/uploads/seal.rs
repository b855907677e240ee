//! The end of an upload: its bytes are what their digest says, and durable.

use std::path::Path;
use std::sync::Arc;

use super::session::Writer;
use super::{Owner, Room, UploadId, Uploads, blocking};
use crate::digest;
use crate::error::{Error, ErrorKind, Result};
use crate::http::RequestBody;
use crate::oci::Digest;

/// A whole upload, verified and synced, still under a name that nobody sees. Nobody else can change it. Dropping it leaves the
/// upload as it is, so that the client may try its last request again.
#[derive(Debug)]
pub(in crate::store::registry) struct Sealed {
    writer: Arc<Writer>,
    uploads: Arc<Uploads>,
    /// The sha256 of its bytes, which the store names it by.
    pub(in crate::store::registry) sha256: digest::Digest,
    /// What the client calls it.
    pub(in crate::store::registry) digest: Digest,
    /// Bytes.
    pub(in crate::store::registry) size: u64,
}

impl Uploads {
    /// Adds the last piece, if any, and compares the bytes with `digest`.
    ///
    /// Errors: as [`Uploads::append`]; `DigestMismatch` where the bytes are others: nothing sensible could be added to them, so
    /// the upload is gone. Dropping the future leaves the upload as if the request had broken off.
    pub(in crate::store::registry) async fn seal(
        self: &Arc<Self>,
        owner: &Owner,
        id: UploadId,
        digest: &Digest,
        range: Option<(u64, u64)>,
        body: &mut dyn RequestBody,
        room: Room,
    ) -> Result<Sealed> {
        let session = self.find(owner, id).await?;
        let writer = self.writer(&session).await?;
        self.take_in(&writer, range, body, room).await?;
        let (this, digest) = (Arc::clone(self), *digest);
        blocking(move || {
            let (sha256, found) = writer.digests(digest.algorithm())?;
            if found != digest {
                this.forget(id);
                writer.session.discard();
                return Err(Error::new(
                    ErrorKind::DigestMismatch,
                    format!("the upload's bytes are `{found}`, not `{digest}`; start a new one"),
                ));
            }
            writer.sync()?;
            writer.let_go();
            Ok(Sealed {
                sha256,
                digest,
                size: writer.session.length(),
                uploads: this,
                writer,
            })
        })
        .await
    }
}

impl Sealed {
    /// Where the bytes lie, on this machine.
    pub(in crate::store::registry) fn path(&self) -> &Path {
        self.writer.session.part()
    }

    /// Forgets the upload: its bytes have their place. Blocking.
    pub(in crate::store::registry) fn done(self) {
        self.uploads.forget(self.writer.session.id);
        self.writer.session.discard();
    }
}
