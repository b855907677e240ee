//! Bytes that arrive on the async side, read by a parser that blocks.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;

use crate::error::Result;
use crate::http::ByteStream;

/// The two ends of a pipe that holds a few chunks.
pub(super) fn pipe() -> (Inlet, Outlet) {
    let (send, receive) = mpsc::channel(CHUNKS);
    let outlet = Outlet {
        receive,
        chunk: Bytes::new(),
        is_over: false,
    };
    (Inlet(send), outlet)
}

/// Where bytes go in. Dropped before the end, the reader fails: half a body is not a body.
pub(super) struct Inlet(mpsc::Sender<Option<Bytes>>);

impl Inlet {
    /// Passes all of `body` on; returns early where the reader has seen enough. Errors: those of `body`.
    pub(super) async fn feed(self, mut body: ByteStream) -> Result<()> {
        while let Some(chunk) = body.next().await {
            if self.0.send(Some(chunk?)).await.is_err() {
                return Ok(());
            }
        }
        // A reader that is gone needs no end.
        let _ = self.0.send(None).await;
        Ok(())
    }
}

/// Where bytes come out. Blocks, so it must be read off the async threads.
pub(super) struct Outlet {
    receive: mpsc::Receiver<Option<Bytes>>,
    chunk: Bytes,
    is_over: bool,
}

impl Read for Outlet {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !self.is_over {
            match self.receive.blocking_recv() {
                Some(Some(chunk)) => self.chunk = chunk,
                Some(None) => self.is_over = true,
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let length = self.chunk.len().min(buffer.len());
        self.chunk.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

const CHUNKS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    async fn through(chunks: Vec<Result<Bytes>>) -> (Result<()>, io::Result<Vec<u8>>) {
        let (inlet, mut outlet) = pipe();
        let body = ByteStream::new(futures_util::stream::iter(chunks), None);
        let read = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            outlet.read_to_end(&mut all).map(|_| all)
        });
        let (fed, read) = tokio::join!(inlet.feed(body), read);
        (fed, read.expect("no panic"))
    }

    #[tokio::test]
    async fn all_of_a_body_comes_through_and_half_of_one_fails() {
        let chunk = |text: &'static str| Ok(Bytes::from_static(text.as_bytes()));
        let (fed, read) = through(vec![chunk("ab"), chunk(""), chunk("cde")]).await;
        assert!(fed.is_ok());
        assert_eq!(read.expect("whole"), b"abcde");

        let (fed, read) = through(vec![chunk("ab"), Err(Error::unavailable("cut"))]).await;
        assert_eq!(fed.expect_err("cut").message(), "cut");
        assert_eq!(read.expect_err("half").kind(), io::ErrorKind::UnexpectedEof);
    }
}
