//! An upstream that speaks HTTP/2 over TLS, with one file and one way to end it.

use std::net::SocketAddr;

use bytes::Bytes;
use std::task::Poll;

use h2::server::{Connection, SendResponse};
use h2::{Reason, SendStream};
use pingora::tls::ServerTlsStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::Background;
use super::certificates::Authority;

/// How a body ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// As it should.
    Whole,
    /// The stream is reset after half of it.
    Reset,
    /// Cleanly, after half of what was announced.
    ShortOfLength,
    /// Cleanly, after more than what was announced.
    BeyondLength,
    /// The connection is closed after half of it.
    Disconnect,
}

/// A running HTTP/2 upstream on 127.0.0.1.
pub(crate) struct FakeHttp2 {
    address: SocketAddr,
    _runtime: Background,
}

impl FakeHttp2 {
    /// Answers every request with `body`, ended by `end`.
    pub(crate) fn run(authority: &Authority, body: &[u8], end: End) -> Self {
        let acceptor = authority.http2_acceptor(&["127.0.0.1".to_owned()]);
        let body = Bytes::copy_from_slice(body);
        let runtime = Background::new();
        let listener = runtime
            .wait_for(TcpListener::bind("127.0.0.1:0"))
            .expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        runtime.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, body) = (acceptor.clone(), body.clone());
                connections.spawn(async move {
                    let stream = acceptor.accept(stream).await.ok()?;
                    serve(h2::server::handshake(stream).await.ok()?, body, end).await
                });
            }
        });
        Self {
            address,
            _runtime: runtime,
        }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("https://{}/", self.address)
    }
}

/// `None` closes the connection without a word.
async fn serve(
    mut connection: Connection<ServerTlsStream<TcpStream>, Bytes>,
    body: Bytes,
    end: End,
) -> Option<()> {
    while let Some(request) = connection.accept().await {
        let (_, answer) = request.ok()?;
        let mut stream = respond(answer, &body, end)?;
        // What was queued goes out first; a reset would take it back.
        std::future::poll_fn(|context| {
            let _ = connection.poll_closed(context);
            Poll::Ready(())
        })
        .await;
        match end {
            End::Reset => stream.send_reset(Reason::INTERNAL_ERROR),
            End::Disconnect => return None,
            End::Whole | End::ShortOfLength | End::BeyondLength => {}
        }
    }
    None
}

/// Queues the answer, up to where it goes wrong.
fn respond(mut answer: SendResponse<Bytes>, body: &Bytes, end: End) -> Option<SendStream<Bytes>> {
    let half = body.slice(..body.len() / 2);
    let (announced, sent, complete) = match end {
        End::Whole => (body, body, true),
        End::BeyondLength => (&half, body, true),
        End::ShortOfLength => (body, &half, true),
        End::Reset | End::Disconnect => (body, &half, false),
    };
    let head = http::Response::builder()
        .header("content-length", announced.len())
        .body(())
        .ok()?;
    let mut stream = answer.send_response(head, false).ok()?;
    stream.send_data(sent.clone(), complete).ok()?;
    Some(stream)
}
