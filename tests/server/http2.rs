//! HTTP/2 over plain connections (h2c); over TLS see `tls`.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Client, Version};

use super::desk::pattern;
use super::world::World;

/// A client that speaks nothing but HTTP/2.
fn client() -> Client {
    super::tls::install_provider();
    Client::builder()
        .http2_prior_knowledge()
        .no_proxy()
        .timeout(Duration::from_secs(20))
        .build()
        .expect("a client")
}

fn url(world: &World, path: &str) -> String {
    format!("http://{}{path}", world.http())
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let world = World::run().await;
    let client = client();
    let one = || async {
        let reply = client
            .get(url(&world, "/peer"))
            .send()
            .await
            .expect("an answer");
        assert_eq!(
            (reply.status().as_u16(), reply.version()),
            (200, Version::HTTP_2)
        );
        assert!(reply.headers().contains_key("x-request-id"));
        assert!(reply.headers().contains_key("date"));
        reply.text().await.expect("a body")
    };
    let first = one().await;
    let peers = join_all((0..50).map(|_| one())).await;
    assert!(peers.iter().all(|peer| *peer == first), "{peers:?}");
}

#[tokio::test]
async fn bodies_of_every_form_arrive_whole() {
    let world = World::run().await;
    let client = client();
    for (path, expected) in [
        ("/large", pattern(3 << 20)),
        ("/rope", pattern(777).repeat(1000).into()),
        ("/stream", "one two".into()),
        ("/stream/known", "one two".into()),
    ] {
        let reply = client
            .get(url(&world, path))
            .send()
            .await
            .expect("an answer");
        assert!(reply.bytes().await.expect("a body") == expected, "{path}");
    }
}

#[tokio::test]
async fn answers_without_body_have_none() {
    let world = World::run().await;
    let client = client();
    let reply = client
        .head(url(&world, "/large"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(reply.headers()["content-length"], "3145728");
    for (path, status) in [("/204", 204), ("/304", 304), ("/empty", 200)] {
        let reply = client
            .get(url(&world, path))
            .send()
            .await
            .expect("an answer");
        assert_eq!(reply.status().as_u16(), status);
        assert!(reply.bytes().await.expect("no body").is_empty());
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_reset_stream() {
    let world = World::run().await;
    let client = client();
    for path in [
        "/stream/broken",
        "/stream/broken/known",
        "/stream/short",
        "/stream/long",
        "/stream/panic",
    ] {
        let reply = client.get(url(&world, path)).send().await;
        let body = match reply {
            Ok(reply) => reply.bytes().await,
            Err(err) => Err(err),
        };
        assert!(body.is_err(), "{path}");
    }
    // The connection is not affected.
    let reply = client
        .get(url(&world, "/hello"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(reply.text().await.expect("a body"), "hello\n");
}

#[tokio::test]
async fn a_panic_is_one_500() {
    let world = World::run().await;
    let reply = client()
        .get(url(&world, "/panic"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(reply.status().as_u16(), 500);
}

#[tokio::test]
async fn uploads_arrive_whole() {
    let world = World::run().await;
    let body = pattern(8 << 20);
    let reply = client()
        .put(url(&world, "/upload"))
        .body(body)
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        reply.text().await.expect("a body"),
        "8388608 of Some(8388608)\n"
    );
}

#[tokio::test]
async fn an_early_answer_arrives_although_the_upload_goes_on() {
    let world = World::run().await;
    let client = client();
    for (path, status) in [("/refuse", 401), ("/refuse/after-first-chunk", 413)] {
        let body = pattern(8 << 20);
        let reply = client
            .put(url(&world, path))
            .body(body)
            .send()
            .await
            .expect("an answer");
        assert_eq!(reply.status().as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn refusals_are_answers() {
    let world = World::run().await;
    let client = client();
    let long = format!("/{}", "a".repeat(9 << 10));
    for (path, status) in [("/a%00b", 400), (long.as_str(), 414)] {
        let reply = client
            .get(url(&world, path))
            .send()
            .await
            .expect("an answer");
        assert_eq!(reply.status().as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn idle_connections_are_closed_in_time() {
    let world = World::with_times(|times| times.idle = Duration::from_secs(1)).await;
    let mut silent = world.connect().await;
    // The preface, empty settings, and nothing more.
    silent
        .send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await;
    silent.ended().await;
}
