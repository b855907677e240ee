//! HTTP/1.1 by hand, so that every fault is exact.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use pingora::tls::TlsAcceptor;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::fault::{Fault, Hold};
use super::package::{gzip, noise};
use super::site::{Answer, Recorded};

/// What answers the requests behind a socket.
pub(super) trait Service: Send + Sync + 'static {
    /// TLS, where it is spoken.
    fn acceptor(&self) -> Option<&pingora::tls::TlsAcceptor> {
        None
    }

    /// A head arrived: counts it, and says what goes wrong with it and what it waits for.
    fn arrived(&self, request: &Recorded) -> (Option<Fault>, Vec<Hold>);

    /// The body of a request has arrived too.
    fn received(&self, _request: &Recorded, _body: &Bytes) {}

    /// Does what the request asks for.
    fn answer(&self, request: &Recorded, body: Bytes) -> Answer;

    /// Counts requests that are answered at the same time, where somebody wants to know.
    fn rush(&self) -> Option<&Rush> {
        None
    }

    /// Whether bodies are sent without their length.
    fn chunked(&self) -> bool {
        false
    }
}

/// How many requests are answered at the same time: each from the end of its head to the last byte of its answer.
#[derive(Debug, Default)]
pub(super) struct Rush {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Rush {
    fn begin(&self) -> Running<'_> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        Running(self)
    }

    /// The most that there were.
    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

struct Running<'a>(&'a Rush);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Serves connections until it is dropped; then they are closed too.
pub(super) async fn accept<S: Service>(listener: TcpListener, service: Arc<S>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let service = Arc::clone(&service);
        connections.spawn(async move {
            match service.acceptor() {
                None => serve(stream, &*service).await,
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => serve(stream, &*service).await,
                    Err(_) => None,
                },
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// `None` ends the connection.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    service: &impl Service,
) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let request = read_request(&mut stream, &mut buffer).await?;
        let _running = service.rush().map(Rush::begin);
        let (fault, holds) = service.arrived(&request);
        let length = request
            .header("content-length")
            .and_then(|length| length.parse().ok())
            .unwrap_or(0_usize);
        if let Some(Fault::CutUpload(bytes)) = fault {
            read_body(&mut stream, &mut buffer, bytes.min(length)).await?;
            return None;
        }
        let body = read_body(&mut stream, &mut buffer, length).await?;
        service.received(&request, &body);
        for hold in holds {
            hold.pass().await;
        }
        let mut answer = match fault.as_ref().is_none_or(Fault::is_carried_out) {
            true => service.answer(&request, body),
            false => Answer::new(500, Bytes::new()),
        };
        // As the fake proxy asks for it.
        let is_last = request.header("connection") == Some("close");
        if is_last {
            answer = answer.with("Connection", "close");
        }
        match fault {
            None if service.chunked() && answer.status != 304 => {
                send_head(&mut stream, &answer, Framing::Chunked).await?;
                send_chunk(&mut stream, &answer.body).await?;
                send(&mut stream, b"0\r\n\r\n").await?;
            }
            None => whole(&mut stream, &request, answer).await?,
            Some(fault) => misbehave(&mut stream, &request, answer, fault).await?,
        }
        if is_last {
            return None;
        }
    }
}

pub(super) async fn misbehave(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &Recorded,
    answer: Answer,
    fault: Fault,
) -> Option<()> {
    let length = answer.body.len();
    match fault {
        Fault::Close => None,
        Fault::Status(status) => whole(stream, request, Answer::new(status, "a fault\n")).await,
        Fault::StatusWith(status, headers) => {
            let mut answer = Answer::new(status, "a fault\n");
            answer.headers = headers;
            whole(stream, request, answer).await
        }
        Fault::Answer(status, headers, body) => {
            let mut answer = Answer::new(status, body);
            answer.headers = headers;
            whole(stream, request, answer).await
        }
        Fault::Silence => silence(stream).await,
        Fault::Late(pause) => {
            tokio::time::sleep(pause).await;
            whole(stream, request, answer).await
        }
        Fault::Shortened(bytes) => {
            let body = answer.body.slice(..bytes.min(length));
            whole(stream, request, Answer { body, ..answer }).await
        }
        Fault::Header(name, value) => {
            let mut answer = answer;
            answer
                .headers
                .retain(|(other, _)| !other.eq_ignore_ascii_case(&name));
            whole(stream, request, answer.with(&name, value)).await
        }
        // It ends the connection before anything is answered.
        Fault::CutUpload(_) => None,
        Fault::StallAfter(bytes) => {
            send_head(stream, &answer, Framing::of(&answer)).await?;
            send(stream, &answer.body[..bytes.min(length)]).await?;
            silence(stream).await
        }
        Fault::Trickle(bytes, pause) => {
            send_head(stream, &answer, Framing::of(&answer)).await?;
            for piece in answer.body.chunks(bytes.max(1)) {
                tokio::time::sleep(pause).await;
                send(stream, piece).await?;
            }
            Some(())
        }
        Fault::CutAfter(bytes) => {
            send_head(stream, &answer, Framing::of(&answer)).await?;
            send(stream, &answer.body[..bytes.min(length)]).await?;
            close(stream).await
        }
        Fault::CutChunkedAfter(bytes) => {
            send_head(stream, &answer, Framing::Chunked).await?;
            send_chunk(stream, &answer.body[..bytes.min(length)]).await?;
            close(stream).await
        }
        Fault::LengthTooShort(less) => {
            let framing = Framing::Length(length.saturating_sub(less));
            send_head(stream, &answer, framing).await?;
            send(stream, &answer.body).await
        }
        Fault::LengthTooLong(more) => {
            send_head(stream, &answer, Framing::Length(length + more)).await?;
            send(stream, &answer.body).await?;
            close(stream).await
        }
        Fault::Html => {
            let page = "\n<!DOCTYPE html>\n<html><body>Please sign in</body></html>\n";
            whole(
                stream,
                request,
                Answer::new(200, page).with("Content-Type", "text/html"),
            )
            .await
        }
        Fault::Redirect(target) => {
            whole(
                stream,
                request,
                Answer::new(302, Bytes::new()).with("Location", target),
            )
            .await
        }
        Fault::RedirectLoop => {
            let target = request.path.clone();
            whole(
                stream,
                request,
                Answer::new(302, Bytes::new()).with("Location", target),
            )
            .await
        }
        Fault::WrongBytes => {
            let bytes: Vec<u8> = answer.body.iter().map(|byte| byte ^ 0x55).collect();
            let body = bytes.into();
            whole(stream, request, Answer { body, ..answer }).await
        }
        Fault::Body(bytes) => whole(stream, request, Answer::new(200, bytes)).await,
        Fault::Garbage(bytes) => flood(stream, bytes, &noise(64 * 1024, 42)).await,
        Fault::EndlessText(bytes) => {
            flood(stream, bytes, "# never ending\n".repeat(4096).as_bytes()).await
        }
        Fault::GzipBomb(bytes) => {
            let body = gzip(&vec![b'\n'; bytes]);
            whole(
                stream,
                request,
                Answer::new(200, body).with("Content-Encoding", "gzip"),
            )
            .await
        }
    }
}

/// Sends `bytes` bytes made of `piece`, chunked.
async fn flood(stream: &mut (impl AsyncWrite + Unpin), bytes: usize, piece: &[u8]) -> Option<()> {
    let head = Answer::new(200, Bytes::new());
    send_head(stream, &head, Framing::Chunked).await?;
    let mut left = bytes;
    while left > 0 {
        let now = left.min(piece.len());
        send_chunk(stream, &piece[..now]).await?;
        left -= now;
    }
    send(stream, b"0\r\n\r\n").await
}

/// Says nothing more until the client leaves.
async fn silence(stream: &mut (impl AsyncRead + Unpin)) -> Option<()> {
    let mut sink = [0; 256];
    while stream.read(&mut sink).await.ok()? > 0 {}
    None
}

async fn close(stream: &mut (impl AsyncWrite + Unpin)) -> Option<()> {
    let _ = stream.shutdown().await;
    None
}

/// Sends an answer; to HEAD without its body.
async fn whole(
    stream: &mut (impl AsyncWrite + Unpin),
    request: &Recorded,
    answer: Answer,
) -> Option<()> {
    send_head(stream, &answer, Framing::of(&answer)).await?;
    match request.method.as_str() {
        "HEAD" => Some(()),
        _ => send(stream, &answer.body).await,
    }
}

/// How the end of a body is told.
pub(super) enum Framing {
    None,
    Length(usize),
    Chunked,
}

impl Framing {
    pub(super) fn of(answer: &Answer) -> Self {
        match answer.status {
            204 | 304 => Self::None,
            _ => Self::Length(answer.body.len()),
        }
    }
}

pub(super) async fn send_head(
    stream: &mut (impl AsyncWrite + Unpin),
    answer: &Answer,
    framing: Framing,
) -> Option<()> {
    let mut head = format!("HTTP/1.1 {} A fake\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match framing {
        Framing::None => {}
        Framing::Length(length) => head.push_str(&format!("Content-Length: {length}\r\n")),
        Framing::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
    }
    head.push_str("\r\n");
    send(stream, head.as_bytes()).await
}

async fn send_chunk(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Option<()> {
    send(stream, format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
    send(stream, bytes).await?;
    send(stream, b"\r\n").await
}

pub(super) async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Option<()> {
    stream.write_all(bytes).await.ok()?;
    stream.flush().await.ok()
}

/// Reads one head. `buffer` keeps what came too early.
pub(super) async fn read_request(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> Option<Recorded> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end + 4);
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let method = words.next()?.to_owned();
    let target = words.next()?;
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
        None => (target.to_owned(), None),
    };
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Some(Recorded {
        method,
        path,
        query,
        headers,
    })
}

/// Reads `length` bytes of a body.
async fn read_body(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    length: usize,
) -> Option<Bytes> {
    while buffer.len() < length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let rest = buffer.split_off(length);
    Some(std::mem::replace(buffer, rest).into())
}
