//! A handler with one path per behaviour.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chartgate::error::Error;
use chartgate::http::{Body, ByteStream, Request, RequestBody, Response, StatusCode, header};
use chartgate::server::{Handler, Outcome, TurnedAway};
use futures_util::stream;
use tokio::sync::Semaphore;

/// Answers by path; remembers how requests ended.
#[derive(Debug)]
pub(super) struct Desk {
    /// Requests to `/held` wait for a permit.
    pub(super) gate: Semaphore,
    /// How many requests wait at the gate.
    pub(super) waiting: Semaphore,
    pub(super) outcomes: Mutex<Vec<(String, Outcome)>>,
    /// One permit per outcome.
    pub(super) finished: Semaphore,
    turned_away: Mutex<Vec<TurnedAway>>,
    refusals: Semaphore,
}

impl Desk {
    pub(super) fn new() -> Self {
        Self {
            gate: Semaphore::new(0),
            waiting: Semaphore::new(0),
            outcomes: Mutex::default(),
            finished: Semaphore::new(0),
            turned_away: Mutex::default(),
            refusals: Semaphore::new(0),
        }
    }

    /// Waits until the server has turned somebody away and says why.
    pub(super) async fn refusal(&self) -> TurnedAway {
        let told = tokio::time::timeout(Duration::from_secs(20), self.refusals.acquire()).await;
        told.expect("somebody was turned away")
            .expect("open")
            .forget();
        self.turned_away.lock().expect("lock").remove(0)
    }

    /// Waits until a request has ended and says how.
    pub(super) async fn outcome(&self) -> (String, Outcome) {
        self.finished.acquire().await.expect("open").forget();
        self.outcomes.lock().expect("lock").remove(0)
    }
}

#[async_trait]
impl Handler for Desk {
    async fn handle(&self, request: &Request, body: &mut dyn RequestBody) -> Response {
        let ok = |body: Body| Response::new(StatusCode::OK, body);
        match request.path.as_str() {
            "/hello" => Response::text(StatusCode::OK, "hello"),
            "/echo" => {
                let query = request.query.as_deref().unwrap_or_default();
                let text = format!("{} {} {query}", request.method, request.path);
                Response::text(StatusCode::OK, text)
            }
            "/subject" => {
                let subject = request.certificate_subject.as_deref().unwrap_or("nobody");
                Response::text(StatusCode::OK, subject)
            }
            "/peer" => Response::text(StatusCode::OK, format!("{:?}", request.peer)),
            "/client" => {
                let peer = request.peer.map(|peer| peer.to_string());
                let peer = peer.as_deref().unwrap_or("nowhere");
                let scheme = if request.secure { "https" } else { "http" };
                let host = request.host.as_deref().unwrap_or("nobody");
                Response::text(StatusCode::OK, format!("{peer} {scheme} {host}"))
            }
            "/large" => ok(Body::Bytes(pattern(3 << 20))),
            "/rope" => {
                let pieces: Vec<_> = (0..1000).map(|_| pattern(777)).collect();
                ok(Body::Rope(pieces.into(), 777_000))
            }
            "/stream" => ok(parts(vec![Ok("one "), Ok("two")], None)),
            "/stream/known" => ok(parts(vec![Ok("one "), Ok("two")], Some(7))),
            "/stream/short" => ok(parts(vec![Ok("one ")], Some(7))),
            "/stream/long" => ok(parts(vec![Ok("one "), Ok("two three")], Some(7))),
            "/stream/broken" => ok(parts(vec![Ok("one "), Err("upstream left")], None)),
            "/stream/broken/known" => ok(parts(vec![Ok("one "), Err("upstream left")], Some(7))),
            "/stream/endless" => ok(Body::Stream(ByteStream::new(
                stream::repeat_with(|| Ok(pattern(64 << 10))),
                None,
            ))),
            "/stream/panic" => ok(Body::Stream(ByteStream::new(
                stream::poll_fn(|_| panic!("as the test wants")),
                None,
            ))),
            "/empty" => ok(Body::Empty),
            "/204" => Response::new(StatusCode::NO_CONTENT, Body::Empty),
            "/304" => Response::new(StatusCode::NOT_MODIFIED, Body::Empty)
                .with_header(header::ETAG, "\"a\""),
            "/panic" => panic!("as the test wants"),
            "/held" => {
                self.waiting.add_permits(1);
                self.gate.acquire().await.expect("open").forget();
                Response::text(StatusCode::OK, "let go")
            }
            "/upload" => upload(body).await,
            "/refuse" => Response::text(StatusCode::UNAUTHORIZED, "who are you"),
            "/refuse/after-first-chunk" => {
                let _ = body.chunk().await;
                Response::text(StatusCode::PAYLOAD_TOO_LARGE, "too much")
            }
            _ => Response::text(StatusCode::NOT_FOUND, "nothing here"),
        }
    }

    fn finished(&self, request: &Request, outcome: &Outcome) {
        let entry = (request.path.clone(), *outcome);
        self.outcomes.lock().expect("lock").push(entry);
        self.finished.add_permits(1);
    }

    fn turned_away(&self, why: TurnedAway) {
        self.turned_away.lock().expect("lock").push(why);
        self.refusals.add_permits(1);
    }
}

async fn upload(body: &mut dyn RequestBody) -> Response {
    let announced = body.length();
    let mut length = 0;
    loop {
        match body.chunk().await {
            Ok(Some(chunk)) => length += chunk.len(),
            Ok(None) => break,
            Err(err) => return Response::text(StatusCode::BAD_REQUEST, err.message()),
        }
    }
    Response::text(StatusCode::CREATED, format!("{length} of {announced:?}"))
}

fn parts(parts: Vec<Result<&'static str, &'static str>>, length: Option<u64>) -> Body {
    let parts = parts.into_iter().map(|part| match part {
        Ok(text) => Ok(Bytes::from_static(text.as_bytes())),
        Err(text) => Err(Error::unavailable(text)),
    });
    Body::Stream(ByteStream::new(stream::iter(parts), length))
}

/// Bytes that show when they are out of place.
pub(super) fn pattern(length: usize) -> Bytes {
    (0..length).map(|at| (at % 251) as u8).collect()
}
