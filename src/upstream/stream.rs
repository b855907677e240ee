//! Transfers that are cut to what was asked for, or checked while they pass.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use crate::error::{Error, ErrorKind, Result};
use crate::http::ByteStream;
use crate::oci::{Digest, Hasher};

/// The bytes of `range` of a body, counted from its start. What lies before is read over; behind the end nothing is read.
pub(super) fn cut(body: ByteStream, range: Range<u64>) -> ByteStream {
    let length = body
        .length
        .map(|length| length.min(range.end).saturating_sub(range.start));
    let chunks = body.stream.scan((0_u64, false), move |(at, ended), chunk| {
        if *ended || *at >= range.end {
            return std::future::ready(None);
        }
        *ended = chunk.is_err();
        let chunk = chunk.map(|mut bytes: Bytes| {
            let end = *at + bytes.len() as u64;
            let keep =
                |place: u64| usize::try_from(place.saturating_sub(*at)).unwrap_or(usize::MAX);
            bytes.truncate(keep(range.end));
            let skip = keep(range.start).min(bytes.len());
            *at = end;
            bytes.split_off(skip)
        });
        std::future::ready(Some(chunk))
    });
    ByteStream::new(chunks, length)
}

/// A whole body that ends well only if it has this digest.
///
/// The newest chunk is held back until the digest agrees, so that wrong bytes never arrive complete. For digests that the cache
/// does not check itself.
pub(super) fn checked(body: ByteStream, digest: Digest, what: String) -> ByteStream {
    let length = body.length;
    let state = Some(Checking {
        body: Some(body),
        hasher: Hasher::new(digest.algorithm()),
        newest: None,
        digest,
        what,
    });
    let chunks = stream::unfold(state, |state| async move {
        let mut state = state?;
        let item = state.next().await?;
        let rest = item.is_ok().then_some(state);
        Some((item, rest))
    });
    ByteStream::new(chunks, length)
}

struct Checking {
    /// Gone at its end, because nobody may ask it again.
    body: Option<ByteStream>,
    hasher: Hasher,
    newest: Option<Bytes>,
    digest: Digest,
    what: String,
}

impl Checking {
    async fn next(&mut self) -> Option<Result<Bytes>> {
        loop {
            match self.body.as_mut()?.next().await {
                Some(Ok(chunk)) if chunk.is_empty() => {}
                Some(Ok(chunk)) => {
                    self.hasher.update(&chunk);
                    if let Some(earlier) = self.newest.replace(chunk) {
                        return Some(Ok(earlier));
                    }
                }
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    self.body = None;
                    return self.end();
                }
            }
        }
    }

    fn end(&mut self) -> Option<Result<Bytes>> {
        let got = self.hasher.clone().finish();
        if got == self.digest {
            return self.newest.take().map(Ok);
        }
        let text = format!(
            "{} has the digest `{got}` instead of `{}`",
            self.what, self.digest
        );
        Some(Err(Error::new(ErrorKind::DigestMismatch, text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    async fn read(body: ByteStream) -> Vec<u8> {
        let mut body = body;
        let mut text = Vec::new();
        while let Some(chunk) = body.next().await {
            text.extend_from_slice(&chunk.expect("no error"));
        }
        text
    }

    /// Panics when it is asked again after its end, as bodies from the network do.
    fn body() -> ByteStream {
        let mut chunks = ["abc", "de", "fgh"].into_iter();
        let chunks = stream::unfold((), move |()| {
            let next = chunks.next().map(|text| (Ok(Bytes::from(text)), ()));
            std::future::ready(next)
        });
        ByteStream::new(chunks, Some(8))
    }

    #[tokio::test]
    async fn cutting_counts_across_chunks() {
        for start in 0..9_u64 {
            for end in start..10 {
                let part = cut(body(), start..end);
                let whole = b"abcdefgh";
                let expected = &whole[start.min(8) as usize..end.min(8) as usize];
                assert_eq!(part.length, Some(expected.len() as u64), "{start}..{end}");
                assert_eq!(read(part).await, expected, "{start}..{end}");
            }
        }
        assert_eq!(read(cut(body(), 4..u64::MAX)).await, b"efgh");
    }

    #[tokio::test]
    async fn an_error_stays_an_error() {
        let chunks = [Ok(Bytes::from("abc")), Err(Error::unavailable("gone"))];
        let mut part = cut(ByteStream::new(stream::iter(chunks), None), 1..9);
        assert_eq!(part.next().await.expect("bytes").expect("no error"), "bc");
        assert!(part.next().await.expect("an end").is_err());
        assert!(part.next().await.is_none());
    }

    #[tokio::test]
    async fn bytes_are_complete_only_with_their_digest() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let right = Digest::of(algorithm, b"abcdefgh");
            assert_eq!(
                read(checked(body(), right, "it".to_owned())).await,
                b"abcdefgh"
            );

            let wrong = Digest::of(algorithm, b"abcdefgX");
            let mut checked = checked(body(), wrong, "it".to_owned());
            let mut got = Vec::new();
            let error = loop {
                match checked.next().await.expect("an end") {
                    Ok(chunk) => got.extend_from_slice(&chunk),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), ErrorKind::DigestMismatch);
            assert_eq!(got, b"abcde", "the last chunk never comes");
            assert!(checked.next().await.is_none());
        }
        let empty = ByteStream::once(Bytes::new());
        let digest = Digest::of(Algorithm::Sha256, b"");
        assert_eq!(read(checked(empty, digest, "it".to_owned())).await, b"");
    }
}
