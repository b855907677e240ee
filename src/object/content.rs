//! What is written: bytes in memory or a file, in pieces of any size.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Result};

/// What is written.
#[derive(Debug)]
pub enum Content {
    /// Bytes in memory.
    Bytes(Bytes),
    /// The first so many bytes of a file.
    File(File, u64),
}

impl Content {
    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, length) => *length,
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A part of it; files are read off the async threads.
    pub(super) async fn piece(self: &Arc<Self>, range: Range<u64>) -> Result<Bytes> {
        match &**self {
            Self::Bytes(_) => self.cut(range),
            Self::File(..) => {
                let content = Arc::clone(self);
                tokio::task::spawn_blocking(move || content.cut(range))
                    .await
                    .map_err(|error| Error::internal("reading an upload ended early", error))?
            }
        }
    }

    fn cut(&self, range: Range<u64>) -> Result<Bytes> {
        let (start, end) = (to_usize(range.start)?, to_usize(range.end)?);
        match self {
            Self::Bytes(bytes) => Ok(bytes.slice(start.min(bytes.len())..end.min(bytes.len()))),
            Self::File(file, _) => {
                let mut piece = vec![0; end.saturating_sub(start)];
                file.read_exact_at(&mut piece, range.start)
                    .map_err(|error| {
                        Error::internal(
                            "a file is shorter than it was when its upload began",
                            error,
                        )
                    })?;
                Ok(piece.into())
            }
        }
    }
}

fn to_usize(number: u64) -> Result<usize> {
    usize::try_from(number).map_err(|error| Error::internal("too large for this machine", error))
}
