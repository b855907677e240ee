//! Parts of a transfer, for servers that send more than was asked for.

use std::ops::Range;

use bytes::Bytes;
use futures_util::StreamExt as _;

use crate::http::ByteStream;

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

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;
    use crate::error::Error;

    async fn read(body: ByteStream) -> Vec<u8> {
        let mut body = body;
        let mut text = Vec::new();
        while let Some(chunk) = body.next().await {
            text.extend_from_slice(&chunk.expect("no error"));
        }
        text
    }

    fn body() -> ByteStream {
        let chunks = ["abc", "de", "fgh"].map(|text| Ok(Bytes::from(text)));
        ByteStream::new(stream::iter(chunks), Some(8))
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
}
