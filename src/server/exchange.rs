//! One request and its answer, over HTTP/1.1 and HTTP/2 alike: the adapter between pingora and a [`super::Handler`].

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use http::Version;
use pingora::ErrorType;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::server::ShutdownWatch;
use tokio::time::timeout;

use super::body::{self, Incoming, Rest};
use super::connection::{Connection, MAX_STREAMS};
use super::head;
use super::respond::{self, Asked, Written};
use super::{Outcome, TurnedAway};
use crate::http::{Method, Request, Response, StatusCode, header};

/// Receive windows that let uploads over long links run at speed; the connection's bounds what one client can make us hold.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// pingora's value for a connection that is kept without a timer of its own: the registry watches idle ones.
const NO_TIMER: u64 = 0;
/// How long the rest of a head that was refused is read, so that the refusal arrives.
const REFUSAL_TIME: Duration = Duration::from_secs(1);
const REFUSAL_BYTES: usize = 4 << 20;

#[async_trait]
impl HttpServerApp for Connection {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if session.is_http2() {
            let Some(_running) = self.begin_stream() else {
                tracing::debug!(client.address = ?self.peer, "a client reset streams faster than their requests end; the connection was closed");
                self.watch.cut(TurnedAway::Flood);
                return None;
            };
            // A stream runs on a task of its own, which outlives its connection.
            tokio::select! {
                biased;
                () = self.answer_http2(&mut session) => {}
                () = self.watch.is_cut() => {}
            }
            return None;
        }
        self.answer_http1(session, shutdown).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = default_h2_options();
        options.max_concurrent_streams(MAX_STREAMS);
        options.initial_window_size(STREAM_WINDOW);
        options.initial_connection_window_size(CONNECTION_WINDOW);
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(self.options())
    }
}

impl Connection {
    async fn answer_http1(
        &self,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let times = self.front.times;
        // 1. The head. How long that may take is the registry's to watch: pingora's timeout is per read.
        self.watch.wait();
        match session.read_request().await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(err) if matches!(err.etype(), ErrorType::InvalidHTTPHeader) => {
                let refusal = head::unparsable(&err.to_string());
                self.refuse(&mut session, *refusal).await;
                return None;
            }
            Err(_) => return None,
        }
        self.watch.work();
        if !self.is_still_itself() {
            return None;
        }
        let request = match head::read(&session, self) {
            Ok(request) => request,
            Err(refusal) => {
                self.refuse(&mut session, *refusal).await;
                return None;
            }
        };
        // 2. Parsing has reset the keep-alive time to forever; `None` is the client's wish or a doubtful framing.
        // A proxy brings many clients on one connection, and pingora reads chunks more generously than others (a line feed in an
        // extension, an empty size): where one ends must not decide whose the next request is.
        let shared = self.trusted && request.headers.contains_key(header::TRANSFER_ENCODING);
        let keep = session.get_keepalive().is_some() && !shared;
        session.set_read_timeout(Some(times.read));
        if let ServerSession::H1(session) = &mut session {
            session.set_pipelining_enabled(true);
        }
        // 3. The handler.
        let started = Instant::now();
        let (response, rest) = self.handle(&request, &mut session).await;
        // 4. Whether another request may follow. Drain may have begun meanwhile: the client is told by `Connection: close`,
        // or the handler has had enough of this client.
        let wanted = !respond::closes(&response);
        let reusable =
            wanted && keep && matches!(rest, Rest::None | Rest::Short) && !*shutdown.borrow();
        session.set_keepalive(reusable.then_some(NO_TIMER));
        if let ServerSession::H1(session) = &mut session {
            session.set_close_on_response_before_downstream_finish(!reusable);
        }
        // 5. The answer, and then what the handler left of the request.
        let version = session.req_header().version;
        let written = self.write(&mut session, &request, version, response).await;
        self.finish(&request, written, started);
        if written.complete && rest == Rest::Long {
            // Lingering close: our side ends, theirs is read, because unread bytes would reset the connection.
            session.shutdown().await;
        }
        let clean = match rest {
            Rest::None => true,
            Rest::Short | Rest::Long if written.complete => {
                body::discard(&mut session, times.discard).await
            }
            Rest::Short | Rest::Long | Rest::Broken => false,
        };
        if !written.complete || rest == Rest::Long {
            return None;
        }
        if !clean {
            session.shutdown().await;
            return None;
        }
        // 6. The connection, for the next request or to be closed.
        let settings = HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }

    async fn answer_http2(&self, session: &mut ServerSession) {
        self.watch.work();
        if !self.is_still_itself() {
            return;
        }
        let request = match head::read(session, self) {
            Ok(request) => request,
            Err(refusal) => {
                let id = self.front.ids.make();
                let asked = Asked {
                    method: &session.req_header().method.clone(),
                    version: Version::HTTP_2,
                    id: &id,
                    patience: self.front.times.write,
                };
                self.tell_refused(&id, refusal.status);
                let written = respond::write(session, asked, *refusal).await;
                if written.complete {
                    body::discard(session, self.front.times.discard).await;
                }
                return;
            }
        };
        let started = Instant::now();
        let (response, rest) = self.handle(&request, session).await;
        let written = self
            .write(session, &request, Version::HTTP_2, response)
            .await;
        self.finish(&request, written, started);
        if written.complete && matches!(rest, Rest::Short | Rest::Long) {
            body::discard(session, self.front.times.discard).await;
        }
    }

    /// Asks the handler. A panic is logged by the panic hook and answered with 500.
    async fn handle(&self, request: &Request, session: &mut ServerSession) -> (Response, Rest) {
        if let Some(elsewhere) = self.redirect(request) {
            return (
                elsewhere,
                Incoming::new(session, self.front.times.read, 0).rest(),
            );
        }
        let min_rate = self.front.manners.min_body_rate;
        let mut incoming = Incoming::new(session, self.front.times.read, min_rate);
        let answer = self.front.handler.handle(request, &mut incoming);
        let response = AssertUnwindSafe(answer).catch_unwind().await;
        let response = response.unwrap_or_else(|_| {
            tracing::error!(request.id = %request.id, "answering {} {} panicked", request.method, request.path);
            let text = format!("an internal error occurred; its log has the id `{}`", request.id);
            Response::text(StatusCode::INTERNAL_SERVER_ERROR, text)
        });
        if incoming.is_slow() {
            self.front.handler.turned_away(TurnedAway::SlowBody);
        }
        (response, incoming.rest())
    }

    /// To TLS, from listeners that have none.
    fn redirect(&self, request: &Request) -> Option<Response> {
        let to_tls = self.front.manners.redirect.as_ref()?;
        if !self.front.opening.is_plain_tcp() {
            return None;
        }
        to_tls.answer(request)
    }

    async fn write(
        &self,
        session: &mut ServerSession,
        request: &Request,
        version: Version,
        response: Response,
    ) -> Written {
        let asked = Asked {
            method: &request.method,
            version,
            id: &request.id,
            patience: self.front.times.write,
        };
        let status = response.status;
        let write = AssertUnwindSafe(respond::write(session, asked, response)).catch_unwind();
        match write.await {
            Ok(written) => written,
            Err(_) => {
                tracing::error!(request.id = %request.id, "the body of {} {} panicked", request.method, request.path);
                session.shutdown().await;
                Written {
                    status,
                    bytes: 0,
                    complete: false,
                }
            }
        }
    }

    fn finish(&self, request: &Request, written: Written, started: Instant) {
        let outcome = Outcome {
            status: written.status,
            bytes_sent: written.bytes,
            duration: started.elapsed(),
            aborted: !written.complete,
        };
        self.front.handler.finished(request, &outcome);
    }

    /// `OPTIONS *` is answered here too, and well.
    fn tell_refused(&self, id: &str, status: StatusCode) {
        if !status.is_success() {
            self.front.handler.refused(self.peer, id, status);
        }
    }

    /// Answers a head that no handler sees, and closes the connection so that the answer arrives.
    async fn refuse(&self, session: &mut ServerSession, refusal: Response) {
        let id = self.front.ids.make();
        session.set_keepalive(None);
        let asked = Asked {
            method: &Method::GET,
            version: Version::HTTP_11,
            id: &id,
            patience: self.front.times.write,
        };
        self.tell_refused(&id, refusal.status);
        let written = respond::write(session, asked, refusal).await;
        if !written.complete {
            return;
        }
        session.shutdown().await;
        let ServerSession::H1(session) = session else {
            return;
        };
        // Our side is closed; what the client still sends is read, because unread bytes would reset the connection.
        let rest = async {
            for _ in 0..REFUSAL_BYTES {
                if !matches!(session.idle().await, Ok(1..)) {
                    return;
                }
            }
        };
        let _ = timeout(REFUSAL_TIME, rest).await;
    }
}
