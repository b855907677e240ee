//! The index.yaml of a bucket that has one.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::S3;
use crate::error::{ErrorKind, Result};
use crate::http::ByteStream;
use crate::object::Stamp;
use crate::upstream::files::useless;
use crate::upstream::text::{self, Coding};
use crate::upstream::{IndexReply, Validators};

impl S3 {
    /// The stamp of index.yaml; `None` where there is none.
    pub(super) async fn find_index(&self) -> Result<Option<Stamp>> {
        match self.counted(self.bucket.stat(INDEX).await) {
            // Without the right to list, S3 says 403 for what does not exist; with it, the listing tells.
            Err(error) if error.kind() == ErrorKind::UpstreamUnauthorized => {
                match self.is_listed(INDEX).await {
                    Ok(false) => Ok(None),
                    Ok(true) | Err(_) => Err(error),
                }
            }
            other => other,
        }
    }

    /// The bucket's own index.
    pub(super) async fn text(&self, stamp: Stamp, held: Option<&Validators>) -> Result<IndexReply> {
        let validators = |stamp| Validators {
            url: format!("{}{INDEX}", self.place.base()),
            etag: Some(etag(stamp)),
            last_modified: None,
        };
        if held == Some(&validators(stamp)) {
            return Ok(IndexReply::NotModified);
        }
        let opened = self.counted(self.bucket.read(INDEX, None).await)?;
        let Some(opened) = opened else {
            return Err(useless(
                &self.name,
                "removed its index.yaml while it was being read; the next refresh tells",
            ));
        };
        let (coding, body) = sniffed(opened.body)
            .await
            .map_err(|error| self.named(error))?;
        let text = text::read_stream(&self.name, body, coding, &self.limits)
            .await
            .map_err(|error| self.named(error))?;
        Ok(IndexReply::Text {
            text,
            base: self.place.base().clone(),
            validators: validators(opened.stamp),
        })
    }
}

/// An entity tag of our own making: what changes whenever the object does.
fn etag(stamp: Stamp) -> String {
    format!(
        "\"{:x}-{}-{:x}\"",
        stamp.size,
        stamp.modified.as_nanosecond(),
        stamp.tag
    )
}

/// Indexes are uploaded compressed, too, with a header that says so and that is not passed on here; their first bytes tell.
async fn sniffed(mut body: ByteStream) -> Result<(Coding, ByteStream)> {
    let length = body.length;
    let mut start = Vec::new();
    while start.len() < GZIP.len() {
        match body.next().await.transpose()? {
            Some(chunk) => start.extend_from_slice(&chunk),
            None => break,
        }
    }
    let coding = match start.starts_with(&GZIP) {
        true => Coding::Gzip,
        false => Coding::Plain,
    };
    let chunks = stream::iter([Ok(Bytes::from(start))]).chain(body.stream);
    Ok((coding, ByteStream::new(chunks, length)))
}

const INDEX: &str = "index.yaml";
const GZIP: [u8; 3] = [0x1f, 0x8b, 8];
