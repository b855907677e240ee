//! A body that arrives, as a reader for code that blocks.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;

use crate::error::Result;
use crate::http::ByteStream;

/// The blocking end. Its end of file is the body's; a body that fails is an error of the reader.
#[derive(Debug)]
pub(super) struct Reader {
    chunks: mpsc::Receiver<Option<Result<Bytes>>>,
    current: Bytes,
    is_over: bool,
}

/// The async end, to be driven until the reader is dropped or has everything.
#[derive(Debug)]
pub(super) struct Pump {
    body: ByteStream,
    chunks: mpsc::Sender<Option<Result<Bytes>>>,
}

/// Connects a body with a reader that holds only a few chunks of it at a time.
pub(super) fn connect(body: ByteStream) -> (Reader, Pump) {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let reader = Reader {
        chunks: receiver,
        current: Bytes::new(),
        is_over: false,
    };
    let pump = Pump {
        body,
        chunks: sender,
    };
    (reader, pump)
}

impl Pump {
    /// Hands on every chunk as fast as the reader takes them.
    pub(super) async fn run(mut self) {
        loop {
            let chunk = self.body.next().await;
            let is_last = !matches!(chunk, Some(Ok(_)));
            // A reader that is gone has seen enough.
            if self.chunks.send(chunk).await.is_err() || is_last {
                return;
            }
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.is_over {
            match self.chunks.blocking_recv() {
                Some(Some(Ok(chunk))) => self.current = chunk,
                Some(None) => self.is_over = true,
                Some(Some(Err(error))) => return Err(io::Error::other(error)),
                // A pump that was dropped is no end of the body.
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let length = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

const CHUNKS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    async fn read(chunks: Vec<Result<Bytes>>) -> io::Result<Vec<u8>> {
        let body = ByteStream::new(futures_util::stream::iter(chunks), None);
        let (mut reader, pump) = connect(body);
        let reading = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes)
        });
        pump.run().await;
        reading.await.expect("no panic")
    }

    #[tokio::test]
    async fn a_reader_sees_every_byte_and_every_failure() {
        let whole: Vec<_> = (0..20).map(|at| Ok(Bytes::from(vec![at; 100]))).collect();
        let bytes = read(whole).await.expect("whole");
        assert_eq!((bytes.len(), bytes[1999]), (2000, 19));
        let cut = vec![
            Ok(Bytes::from_static(b"half")),
            Err(Error::unavailable("cut")),
        ];
        assert_eq!(read(cut).await.expect_err("cut").to_string(), "cut");
    }

    #[tokio::test]
    async fn a_pump_that_is_dropped_is_no_end_of_the_body() {
        let (mut reader, pump) = connect(ByteStream::once(Bytes::from_static(b"x")));
        drop(pump);
        let read = tokio::task::spawn_blocking(move || reader.read(&mut [0; 8]));
        assert!(read.await.expect("no panic").is_err());
    }
}
