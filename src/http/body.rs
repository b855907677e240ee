//! Response bodies: nothing, bytes in memory, a rope of bytes, or a stream.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt as _};

use super::FileReader;
use crate::error::Result;

/// A stream of chunks with its length, where known before the end.
pub struct ByteStream {
    /// The chunks. An error ends the stream; the receiver must abort, never end cleanly.
    pub stream: BoxStream<'static, Result<Bytes>>,
    /// The number of bytes that the whole stream yields.
    pub length: Option<u64>,
}

impl ByteStream {
    /// Wraps any stream of chunks.
    pub fn new(
        stream: impl Stream<Item = Result<Bytes>> + Send + 'static,
        length: Option<u64>,
    ) -> Self {
        Self {
            stream: stream.boxed(),
            length,
        }
    }

    /// One chunk.
    pub fn once(bytes: Bytes) -> Self {
        let length = Some(bytes.len() as u64);
        Self::new(futures_util::stream::iter([Ok(bytes)]), length)
    }

    /// The bytes of `range` of a file. One that ends early is an error, never a short body.
    pub fn from_file(file: Arc<File>, range: Range<u64>) -> Self {
        Self::of_file(FileReader::default(), file, range)
    }

    /// The same with a reader that has read the pieces before.
    pub fn of_file(reader: FileReader, file: Arc<File>, range: Range<u64>) -> Self {
        let length = Some(range.end.saturating_sub(range.start));
        let start = (reader, file, range);
        let pieces =
            futures_util::stream::try_unfold(start, |(mut reader, file, range)| async move {
                if range.is_empty() {
                    return Ok(None);
                }
                let piece = reader.read(&file, range.clone()).await?;
                let rest = range.start + piece.len() as u64..range.end;
                Ok(Some((piece, (reader, file, rest))))
            });
        Self::new(pieces, length)
    }

    /// The next chunk.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        self.stream.next().await
    }
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteStream")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// A response body.
#[derive(Debug, Default)]
pub enum Body {
    /// No bytes.
    #[default]
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// Several pieces in memory, sent one after the other; the second field is their total length.
    Rope(Arc<[Bytes]>, u64),
    /// Bytes that are still being read.
    Stream(ByteStream),
}

impl Body {
    /// The number of bytes, where known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Rope(_, length) => Some(*length),
            Self::Stream(stream) => stream.length,
        }
    }
}

impl Body {
    /// What is in memory, in order; nothing of a stream.
    pub fn into_pieces(self) -> Vec<Bytes> {
        match self {
            Self::Bytes(bytes) => vec![bytes],
            Self::Rope(pieces, _) => pieces.to_vec(),
            Self::Empty | Self::Stream(_) => Vec::new(),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::Bytes(Bytes::from_static(text.as_bytes()))
    }
}

impl From<ByteStream> for Body {
    fn from(stream: ByteStream) -> Self {
        Self::Stream(stream)
    }
}
