//! Reading a file piece by piece for a body: what the system holds in memory is copied at once, only the rest waits for the
//! disk on the blocking pool. A hop to that pool and back costs as much as the copy itself.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustix::fs::{Advice, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};

use crate::error::{Error, Result};

/// How much is read at once: large enough that the calls do not count, small enough to be in the processor's cache when it is
/// sent.
const PIECE: u64 = 256 << 10;
/// How much the disk is asked for beyond a piece that had to be waited for.
const AHEAD: NonZeroU64 = NonZeroU64::new(2 << 20).expect("not zero");

/// Reads pieces of a file, one after the other, into one buffer for as long as whoever gets a piece is done with it before
/// the next one is read.
#[derive(Debug, Default)]
pub struct FileReader {
    /// What was handed out last: its memory is used again if nobody holds it any more.
    last: Bytes,
}

impl FileReader {
    /// The first bytes of `range`: at least one, unless it is empty, and at most 256 KiB. Errors: the file does not have them,
    /// or cannot be read.
    pub async fn read(&mut self, file: &Arc<File>, range: Range<u64>) -> Result<Bytes> {
        let length = range.end.saturating_sub(range.start).min(PIECE) as usize;
        let mut piece = self.buffer(length);
        let had = read_held(file, &mut piece, range.start);
        if had == 0 && length > 0 {
            piece = read_disk(Arc::clone(file), piece, range.start).await?;
        } else {
            piece.truncate(had);
        }
        self.last = piece.freeze();
        Ok(self.last.clone())
    }

    fn buffer(&mut self, length: usize) -> BytesMut {
        match std::mem::take(&mut self.last).try_into_mut() {
            Ok(mut buffer) if buffer.capacity() >= length => {
                buffer.resize(length, 0);
                buffer
            }
            _ => BytesMut::zeroed(length),
        }
    }
}

/// What is in memory already. A file system that cannot tell has nothing.
fn read_held(file: &File, piece: &mut [u8], at: u64) -> usize {
    let mut pieces = [IoSliceMut::new(piece)];
    preadv2(file, &mut pieces, at, ReadWriteFlags::NOWAIT).unwrap_or(0)
}

async fn read_disk(file: Arc<File>, mut piece: BytesMut, at: u64) -> Result<BytesMut> {
    let read = move || {
        // The disk works on what comes next while this piece is sent; it is only advice.
        let _ = fadvise(&file, at, Some(AHEAD), Advice::WillNeed);
        file.read_exact_at(&mut piece, at)?;
        Ok(piece)
    };
    let failed = |error: io::Error| {
        Error::internal(
            "a file cannot be read, or is shorter than it was when it was opened",
            error,
        )
    };
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file_of(content: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(content).expect("writable");
        Arc::new(file)
    }

    #[tokio::test]
    async fn pieces_are_the_file() {
        let content: Vec<u8> = (0..PIECE * 2 + 100).map(|at| (at % 251) as u8).collect();
        let file = file_of(&content);
        let mut reader = FileReader::default();
        let (mut at, end) = (7, content.len() as u64 - 3);
        while at < end {
            let piece = reader.read(&file, at..end).await.expect("readable");
            assert!(!piece.is_empty() && piece.len() as u64 <= PIECE);
            assert_eq!(piece, content[at as usize..at as usize + piece.len()]);
            at += piece.len() as u64;
        }
        assert_eq!(at, end);
    }

    #[tokio::test]
    async fn a_piece_that_is_still_held_is_not_written_over() {
        let file = file_of(b"one two");
        let mut reader = FileReader::default();
        let one = reader.read(&file, 0..3).await.expect("readable");
        let two = reader.read(&file, 4..7).await.expect("readable");
        assert_eq!((&one[..], &two[..]), (&b"one"[..], &b"two"[..]));
    }

    #[tokio::test]
    async fn one_buffer_serves_a_reader_that_lets_go() {
        let file = file_of(&[7; 2 * PIECE as usize]);
        let mut reader = FileReader::default();
        let first = reader.read(&file, 0..PIECE).await.expect("readable");
        let place = first.as_ptr();
        drop(first);
        let second = reader
            .read(&file, PIECE..2 * PIECE)
            .await
            .expect("readable");
        assert_eq!(second.as_ptr(), place);
    }

    #[tokio::test]
    async fn a_file_that_ends_early_is_an_error() {
        let file = file_of(b"short");
        let mut reader = FileReader::default();
        assert_eq!(
            reader.read(&file, 0..10).await.expect("the start"),
            b"short"[..]
        );
        assert!(reader.read(&file, 5..10).await.is_err());
        assert!(reader.read(&file, 5..5).await.expect("nothing").is_empty());
    }
}
