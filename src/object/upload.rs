//! Writing an object: in one request or in parts, over what is there or beside it.

use std::sync::Arc;

use opendal::options::WriteOptions;

use super::service::{Service, Tag};
use super::stamp::Stamp;
use super::{Content, Existing};
use crate::error::{Error, ErrorKind, Result};

/// How much of larger content goes up at once. S3 wants at least 5 MiB and at most 10,000 parts: 80 GB.
const PART: u64 = 8 << 20;

const CONTENT_TYPE: &str = "application/octet-stream";

impl Service {
    /// See [`super::Bucket::write`].
    pub(super) async fn write(
        &self,
        key: String,
        content: Content,
        existing: Existing,
    ) -> Result<Stamp> {
        let refuse = existing == Existing::Refuse;
        let is_large = content.len() > self.traits.largest_put;
        let is_atomic = self.operator.info().capability().write_with_if_not_exists;
        // Without a condition on the service's side a look before has to do; with one it saves a large upload in vain.
        if refuse && (is_large || !is_atomic) && self.stat(key.clone()).await?.is_some() {
            return Err(self.place.taken(&key));
        }
        let mut options = WriteOptions {
            if_not_exists: refuse && is_atomic,
            content_type: Some(CONTENT_TYPE.to_owned()),
            ..WriteOptions::default()
        };
        if is_large && !refuse && self.traits.tag == Tag::Generation {
            // Google's uploads in parts, unlike its uploads in one piece, come in two protocols; one for both cases will do.
            let current = self.operator.stat(&key).await;
            let current = self.found(current, &key)?;
            options.if_version_match = current.and_then(|now| now.version().map(str::to_owned));
            options.if_not_exists = options.if_version_match.is_none();
        }
        let content = Arc::new(content);
        let written = if is_large {
            self.write_parts(&key, &content, options).await
        } else {
            let bytes = content.piece(0..content.len()).await?;
            let written = self.operator.write_options(&key, bytes, options).await;
            written
                .map(drop)
                .map_err(|error| self.write_error(&error, &key))
        };
        match written {
            Ok(()) => match self.stat(key.clone()).await? {
                Some(stamp) => Ok(stamp),
                None => Err(self.nonsense(&key, "is gone right after it was written")),
            },
            // The answer got lost, not necessarily the upload.
            Err(error) if refuse && error.is_transient() => {
                match self.holds(&key, &content).await {
                    Some(stamp) => Ok(stamp),
                    None => Err(error),
                }
            }
            Err(error) if !refuse && error.kind() == ErrorKind::Conflict => {
                Err(Error::unavailable(format!(
                    "{}: `{key}` is being written by somebody else at the same time",
                    self.place.label
                )))
            }
            Err(error) => Err(error),
        }
    }

    async fn write_parts(
        &self,
        key: &str,
        content: &Arc<Content>,
        options: WriteOptions,
    ) -> Result<()> {
        let failed = |error: opendal::Error| self.write_error(&error, key);
        let mut writer = self
            .operator
            .writer_options(key, options)
            .await
            .map_err(failed)?;
        let mut written: Result<()> = Ok(());
        let mut at = 0;
        while written.is_ok() && at < content.len() {
            let end = (at + PART).min(content.len());
            written = match content.piece(at..end).await {
                Ok(bytes) => writer.write(bytes).await.map_err(failed),
                Err(error) => Err(error),
            };
            at = end;
        }
        if written.is_ok() {
            written = writer.close().await.map(drop).map_err(failed);
        }
        if written.is_err()
            && let Err(error) = writer.abort().await
        {
            // Parts that stay cost space until the bucket's own rule removes them; nobody sees them.
            tracing::warn!(
                store = &*self.place.label,
                key,
                error = error.message(),
                "parts of a failed upload stay behind"
            );
        }
        written
    }

    /// Whether the object is there and has this very content.
    async fn holds(&self, key: &str, content: &Arc<Content>) -> Option<Stamp> {
        let mut opened = self.read(key.to_owned(), None).await.ok()??;
        if opened.stamp.size != content.len() {
            return None;
        }
        let mut at = 0;
        while let Some(piece) = opened.body.next().await {
            let piece = piece.ok()?;
            let end = at + piece.len() as u64;
            if content.piece(at..end).await.ok()? != piece {
                return None;
            }
            at = end;
        }
        Some(opened.stamp)
    }
}
