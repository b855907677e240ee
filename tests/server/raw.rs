//! A client that sends exactly what it is told and reads answers as the specification frames them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Nothing in these tests takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

pub(super) struct Raw {
    stream: Box<dyn Io>,
    buffer: Vec<u8>,
}

/// An answer as it was framed.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    /// The body ended as its framing says.
    pub(super) whole: bool,
}

impl Reply {
    /// The value of the header, whatever its case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text").trim_end()
    }
}

impl Raw {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("connect"))
    }

    pub(super) fn over(stream: impl Io + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            buffer: Vec::new(),
        }
    }

    /// Sends the bytes; false where the peer has closed.
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        };
        timeout(PATIENCE, sent)
            .await
            .expect("the peer reads")
            .is_ok()
    }

    /// The answer to a GET.
    pub(super) async fn get(&mut self, path: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: gw\r\n\r\n"))
            .await;
        self.reply().await
    }

    /// The next answer, with a body.
    pub(super) async fn reply(&mut self) -> Reply {
        self.reply_to("GET").await.expect("an answer")
    }

    /// The next answer to a request of this method; `None` where the peer closed instead.
    pub(super) async fn reply_to(&mut self, method: &str) -> Option<Reply> {
        timeout(PATIENCE, self.read_reply(method))
            .await
            .expect("an answer in time")
    }

    /// Whether the peer closes without sending anything more.
    pub(super) async fn closed(&mut self) -> bool {
        self.buffer.is_empty()
            && !timeout(PATIENCE, self.fill())
                .await
                .expect("an end in time")
    }

    /// Reads and drops everything until the peer closes.
    pub(super) async fn ended(&mut self) {
        let end = async { while self.fill().await {} };
        timeout(PATIENCE, end).await.expect("an end in time");
    }

    async fn read_reply(&mut self, method: &str) -> Option<Reply> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.fill().await {
                return None;
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8(head).expect("an ASCII head");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .expect("a status");
        let mut reply = Reply {
            status,
            head,
            body: Vec::new(),
            whole: true,
        };
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Some(reply);
        }
        if let Some(length) = reply.header("content-length") {
            let length = length.parse().expect("a length");
            reply.whole = self.fill_to(length).await;
            let length = length.min(self.buffer.len());
            reply.body = self.buffer.drain(..length).collect();
        } else if reply.header("transfer-encoding").is_some() {
            (reply.body, reply.whole) = self.read_chunks().await;
        } else {
            while self.fill().await {}
            reply.body = std::mem::take(&mut self.buffer);
        }
        Some(reply)
    }

    async fn read_chunks(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(at) = find(&self.buffer, b"\r\n") {
                    break at;
                }
                if !self.fill().await {
                    return (body, false);
                }
            };
            let size = std::str::from_utf8(&self.buffer[..line]).expect("a size");
            let size = usize::from_str_radix(size, 16).expect("a size");
            if !self.fill_to(line + 2 + size + 2).await {
                return (body, false);
            }
            body.extend_from_slice(&self.buffer[line + 2..line + 2 + size]);
            self.buffer.drain(..line + 2 + size + 2);
            if size == 0 {
                return (body, true);
            }
        }
    }

    async fn fill_to(&mut self, length: usize) -> bool {
        while self.buffer.len() < length {
            if !self.fill().await {
                return false;
            }
        }
        true
    }

    /// Reads more; false at the end, also at a reset one.
    async fn fill(&mut self) -> bool {
        let mut bytes = vec![0; 64 << 10];
        match self.stream.read(&mut bytes).await {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.buffer.extend_from_slice(&bytes[..read]);
                true
            }
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
