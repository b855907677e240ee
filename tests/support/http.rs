//! An HTTP/1.1 client of one page: one connection per request, nothing normalised, nothing followed, nothing retried.
//!
//! Tests of what is on the wire must not go through a library that tidies requests up.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a test waits for the next byte of an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// The status code.
    pub(crate) status: u16,
    /// Header fields in order, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body without its framing.
    pub(crate) body: Vec<u8>,
    /// Whether the body arrived in full, as its framing promised.
    pub(crate) complete: bool,
}

impl Reply {
    /// The first header field called `name`.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// Fails the test unless the status is `status`.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(
            self.status,
            status,
            "unexpected answer: {}",
            self.text().chars().take(600).collect::<String>()
        );
        self
    }
}

/// A request, sent as it is written here.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    head: String,
    body: Vec<u8>,
}

impl Call {
    /// `method path HTTP/1.1` with `Connection: close`.
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self::to("gateway.test", method, path)
    }

    /// The same, sent to a host of this name.
    pub(crate) fn to(host: &str, method: &str, path: &str) -> Self {
        Self {
            head: format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"),
            body: Vec::new(),
        }
    }

    /// `GET path`
    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// The request line without its version.
    pub(crate) fn line(&self) -> &str {
        self.head.split(" HTTP/1.1\r\n").next().unwrap_or_default()
    }

    /// The value of a header field that was added under exactly this name.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields
            .rfind(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// Adds a body in chunks of `size` bytes, without a length.
    pub(crate) fn chunked(mut self, body: &[u8], size: usize) -> Self {
        for chunk in body.chunks(size) {
            self.body
                .extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            self.body.extend_from_slice(chunk);
            self.body.extend_from_slice(b"\r\n");
        }
        self.body.extend_from_slice(b"0\r\n\r\n");
        self.header("Transfer-Encoding", "chunked")
    }

    /// Adds a header field.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// Adds a body and its length.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        let length = self.body.len().to_string();
        self.header("Content-Length", &length)
    }

    /// Adds a multipart form of `(field, file name, content)` parts.
    pub(crate) fn form(self, parts: &[(&str, &str, &[u8])]) -> Self {
        const BOUNDARY: &str = "------------------------5f2d1c7e9b3a";
        let mut body = Vec::new();
        for (field, file, content) in parts {
            body.extend_from_slice(
                format!(
                    "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{file}\"\r\n\
                     Content-Type: application/octet-stream\r\n\r\n"
                )
                .as_bytes(),
            );
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        self.header(
            "Content-Type",
            &format!("multipart/form-data; boundary={BOUNDARY}"),
        )
        .body(body)
    }

    /// Sends it and reads the answer to its end. `Err` where no complete head came back.
    pub(crate) fn try_send(&self, to: SocketAddr) -> std::io::Result<Reply> {
        let mut bytes = format!("{}\r\n", self.head).into_bytes();
        bytes.extend_from_slice(&self.body);
        exchange(to, &bytes, self.head.starts_with("HEAD "))
    }

    /// Sends it; a test that gets no answer fails.
    #[track_caller]
    pub(crate) fn send(&self, to: SocketAddr) -> Reply {
        self.try_send(to)
            .unwrap_or_else(|error| panic!("no answer to {:?}: {error}", self.head))
    }
}

/// Sends `bytes` as they are and reads one answer.
pub(crate) fn exchange(to: SocketAddr, bytes: &[u8], head_only: bool) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    // A server may answer and close before it has read everything; its answer counts.
    let _ = stream.write_all(bytes);
    let mut reader = BufReader::new(stream);
    let mut reply = read_head(&mut reader)?;
    if head_only || matches!(reply.status, 204 | 304) {
        return Ok(reply);
    }
    let chunked = reply.header("transfer-encoding") == Some("chunked");
    let length = reply
        .header("content-length")
        .and_then(|text| text.parse::<u64>().ok());
    reply.complete = if chunked {
        read_chunks(&mut reader, &mut reply.body).is_ok()
    } else if let Some(length) = length {
        let read = reader.take(length).read_to_end(&mut reply.body);
        read.is_ok() && reply.body.len() as u64 == length
    } else {
        reader.read_to_end(&mut reply.body).is_ok()
    };
    Ok(reply)
}

fn read_head(reader: &mut BufReader<TcpStream>) -> std::io::Result<Reply> {
    let malformed = |line: &str| {
        std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            format!("malformed head line {line:?}"),
        )
    };
    let line = read_line(reader)?;
    let status = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| malformed(&line))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed(&line))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(Reply {
        status,
        headers,
        body: Vec::new(),
        complete: true,
    })
}

fn read_chunks(reader: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let line = read_line(reader)?;
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))?;
        let start = body.len();
        body.resize(start + size, 0);
        reader.read_exact(&mut body[start..])?;
        read_line(reader)?;
        if size == 0 {
            return Ok(());
        }
    }
}

fn read_line(reader: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}
