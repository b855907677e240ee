//! Request bodies with a bound, as a stream of their own.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, Stream};

use crate::error::{Error, ErrorKind, Result};
use crate::http::RequestBody;

/// A body that is refused as soon as it turns out to be longer than it may be.
pub(super) struct Bounded<'a> {
    body: &'a mut dyn RequestBody,
    limit: u64,
    left: u64,
}

impl<'a> Bounded<'a> {
    /// Errors: the announced length is above `limit`; nothing is read then.
    pub(super) fn new(body: &'a mut dyn RequestBody, limit: u64) -> Result<Self> {
        let bounded = Self {
            body,
            limit,
            left: limit,
        };
        match bounded.body.length() {
            Some(length) if length > limit => Err(bounded.too_large(&length)),
            _ => Ok(bounded),
        }
    }

    fn too_large(&self, length: &dyn std::fmt::Display) -> Error {
        Error::new(
            ErrorKind::TooLarge,
            format!(
                "the upload has {length} bytes; `hosted.max_upload` allows {}",
                self.limit
            ),
        )
    }

    /// The chunks in order.
    pub(super) fn chunks(&mut self) -> impl Stream<Item = Result<Bytes>> + Send {
        stream::try_unfold(self, |body| async move {
            Ok(body.chunk().await?.map(|chunk| (chunk, body)))
        })
    }
}

#[async_trait]
impl RequestBody for Bounded<'_> {
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        let chunk = self.body.chunk().await?;
        let length = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        match self.left.checked_sub(length) {
            Some(left) => self.left = left,
            None => return Err(self.too_large(&"more")),
        }
        Ok(chunk)
    }

    fn length(&self) -> Option<u64> {
        self.body.length()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A body made of these chunks.
    pub(in crate::api::museum) struct Chunks {
        pub(in crate::api::museum) announced: Option<u64>,
        pub(in crate::api::museum) chunks: std::collections::VecDeque<Bytes>,
    }

    #[async_trait]
    impl RequestBody for Chunks {
        async fn chunk(&mut self) -> Result<Option<Bytes>> {
            Ok(self.chunks.pop_front())
        }

        fn length(&self) -> Option<u64> {
            self.announced
        }
    }

    fn body(announced: Option<u64>, chunks: &[&'static str]) -> Chunks {
        let chunks = chunks
            .iter()
            .map(|chunk| Bytes::from_static(chunk.as_bytes()));
        Chunks {
            announced,
            chunks: chunks.collect(),
        }
    }

    #[tokio::test]
    async fn the_limit_is_inclusive_and_counts_what_comes() {
        let mut exact = body(None, &["abc", "de"]);
        let mut bounded = Bounded::new(&mut exact, 5).expect("no length");
        assert_eq!(
            bounded.chunk().await.expect("fits").as_deref(),
            Some(&b"abc"[..])
        );
        assert_eq!(
            bounded.chunk().await.expect("fits").as_deref(),
            Some(&b"de"[..])
        );
        assert_eq!(bounded.chunk().await.expect("the end"), None);

        let mut long = body(None, &["abc", "def"]);
        let mut bounded = Bounded::new(&mut long, 5).expect("no length");
        assert!(bounded.chunk().await.is_ok());
        let error = bounded.chunk().await.expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }

    #[tokio::test]
    async fn an_announced_length_is_refused_unread() {
        let mut long = body(Some(6), &["abcdef"]);
        assert!(Bounded::new(&mut long, 5).is_err());
        assert_eq!(long.chunks.len(), 1);
        assert!(Bounded::new(&mut long, 6).is_ok());
    }
}
