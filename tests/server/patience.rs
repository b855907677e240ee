//! Clients that are slow on purpose, clients that are slow and lawful, and what is counted of those who are turned away.

use std::time::Duration;

use bytes::Bytes;
use chartgate::config;
use chartgate::server::{ServerOptions, TurnedAway};
use futures_util::stream;
use reqwest::{Body, Client};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::raw::Raw;
use super::tls::{Files, trusting};
use super::world::{World, config};

/// Bodies must come with 20 kB a second after a first second.
async fn paced() -> World {
    let mut config = config();
    config.min_body_rate = 20_000;
    let mut options = ServerOptions::default();
    options.times.read = Duration::from_secs(1);
    World::with(&config, options).await
}

/// So many pieces of so many bytes, 20 times a second.
fn pieces(count: usize, bytes: usize) -> Body {
    let pieces = stream::unfold(count, move |left| async move {
        if left == 0 {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let piece = Ok::<_, std::io::Error>(Bytes::from(vec![b'a'; bytes]));
        Some((piece, left - 1))
    });
    Body::wrap_stream(pieces)
}

fn client(http2: bool) -> Client {
    super::tls::install_provider();
    let client = Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(30));
    let client = match http2 {
        true => client.http2_prior_knowledge(),
        false => client.http1_only(),
    };
    client.build().expect("a client")
}

#[tokio::test]
async fn a_slow_upload_is_ended_over_both_protocols() {
    for http2 in [false, true] {
        let world = paced().await;
        let url = format!("http://{}/upload", world.http());
        // 2 kB a second, for ever.
        let upload = client(http2).put(url).body(pieces(100_000, 100)).send();
        let reply = upload.await.expect("an answer");
        assert_eq!(reply.status().as_u16(), 400);
        let text = reply.text().await.expect("a body");
        assert!(
            text.contains("slower than 20000 bytes per second"),
            "{text}"
        );
        assert_eq!(world.desk.refusal().await, TurnedAway::SlowBody);
    }
}

#[tokio::test]
async fn a_lawful_upload_that_takes_its_time_is_taken() {
    for http2 in [false, true] {
        let world = paced().await;
        let url = format!("http://{}/upload", world.http());
        let upload = client(http2).put(url).body(pieces(40, 8 << 10)).send();
        let reply = upload.await.expect("an answer");
        assert_eq!(reply.status().as_u16(), 201);
        assert_eq!(reply.text().await.expect("a body"), "327680 of None\n");
    }
}

#[tokio::test]
async fn a_body_that_stops_is_given_up_and_counted() {
    let mut options = ServerOptions::default();
    options.times.read = Duration::from_millis(200);
    let world = World::with(&config(), options).await;
    let mut client = world.connect().await;
    client
        .send("PUT /upload HTTP/1.1\r\nHost: gw\r\nContent-Length: 10\r\n\r\nabc")
        .await;
    assert_eq!(client.reply().await.status, 400);
    assert_eq!(world.desk.refusal().await, TurnedAway::SlowBody);
}

#[tokio::test]
async fn those_who_are_turned_away_are_counted_by_reason() {
    let mut config = config();
    config.max_connections = Some(2);
    config.max_connections_per_address = Some(1);
    let mut options = ServerOptions::default();
    options.times.head = Duration::from_secs(2);
    options.times.idle = Duration::from_millis(300);
    let world = World::with(&config, options).await;
    let mut first = world.connect().await;
    assert_eq!(first.get("/hello").await.status, 200);
    assert!(world.connect().await.closed().await);
    assert_eq!(world.desk.refusal().await, TurnedAway::PerAddress);
    first.ended().await;
    assert_eq!(world.desk.refusal().await, TurnedAway::Idle);

    // A head that never ends holds a place until its time is over; so do those who say nothing.
    config.max_connections_per_address = None;
    let world = World::with(&config, options_of(Duration::from_secs(2))).await;
    let mut slow = world.connect().await;
    slow.send("GET /hello HTTP/1.1\r\nHost").await;
    let mut silent = world.connect().await;
    let mut third = world.connect().await;
    third.ended().await;
    assert_eq!(world.desk.refusal().await, TurnedAway::TooMany);
    slow.ended().await;
    silent.ended().await;
    for _ in 0..2 {
        assert_eq!(world.desk.refusal().await, TurnedAway::Slow);
    }

    let mut held = world.connect().await;
    held.send("GET /held HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    world.one_held().await;
    world.control.stop();
    held.ended().await;
    assert_eq!(world.desk.refusal().await, TurnedAway::End);
}

fn options_of(head: Duration) -> ServerOptions {
    let mut options = ServerOptions::default();
    options.times.head = head;
    options
}

#[tokio::test]
async fn what_comes_before_requests_is_counted_too() {
    let files = Files::new();
    let pem = files.renew();
    let mut config = files.config();
    let world = World::with(&config, ServerOptions::default()).await;
    let address = world.address(chartgate::server::Surface::Https);
    let mut plain = TcpStream::connect(address).await.expect("connect");
    plain
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .await
        .expect("sent");
    assert_eq!(world.desk.refusal().await, TurnedAway::Handshake);
    let trusts = trusting(&pem).build().expect("a client");
    let url = format!("https://localhost:{}/hello", address.port());
    assert!(trusts.get(url).send().await.is_ok());

    config.https.clear();
    config.proxy_protocol = config.http.clone();
    let network = |text| config::Network::parse(text).expect("a network");
    for (trusted, why) in [
        ("10.0.0.0/8", TurnedAway::Untrusted),
        ("127.0.0.0/8", TurnedAway::ProxyHeader),
    ] {
        config.trusted_proxies.networks = vec![network(trusted)];
        let world = World::with(&config, ServerOptions::default()).await;
        let mut client: Raw = world.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: gw\r\n\r\n").await;
        client.ended().await;
        assert_eq!(world.desk.refusal().await, why);
    }
}
