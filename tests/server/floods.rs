//! Clients that send more than they could mean, over HTTP/2, and requests that two servers would read differently.

use chartgate::config::Network;
use chartgate::server::ServerOptions;

use super::raw::Raw;
use super::world::{World, config};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET` of this path in HPACK: two entries of the static table and two literals.
fn get(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).expect("short")];
    block.extend(path.as_bytes());
    block.extend([0x01, 2]);
    block.extend(b"gw");
    block
}

async fn is_served(world: &World) -> bool {
    world.connect().await.get("/hello").await.status == 200
}

#[tokio::test]
async fn streams_that_are_reset_at_once_do_not_pile_up() {
    let world = World::run().await;
    let mut client = world.connect().await;
    client.send(PREFACE).await;
    let block = get("/held");
    for number in 0..20_000u32 {
        let stream = 2 * number + 1;
        let mut frames = frame(HEADERS, END_STREAM | END_HEADERS, stream, &block);
        frames.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
        if !client.send(frames).await {
            break;
        }
    }
    client.ended().await;
    let held = world.desk.waiting.available_permits();
    assert!(held <= 300, "{held} requests run");
    assert!(is_served(&world).await);
}

#[tokio::test]
async fn requests_of_streams_that_are_gone_count() {
    let world = World::run().await;
    let mut client = world.connect().await;
    client.send(PREFACE).await;
    let block = get("/held");
    for number in 0..300u32 {
        let stream = 2 * number + 1;
        let head = frame(HEADERS, END_STREAM | END_HEADERS, stream, &block);
        client.send(head).await;
        world.one_held().await;
        let reset = frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
        client.send(reset).await;
    }
    let head = frame(HEADERS, END_STREAM | END_HEADERS, 601, &block);
    client.send(head).await;
    client.ended().await;
    assert_eq!(world.desk.waiting.available_permits(), 0, "one more runs");
    assert!(is_served(&world).await);
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let world = World::run().await;
    let mut client = world.connect().await;
    client.send(PREFACE).await;
    client
        .send(frame(HEADERS, END_STREAM, 1, &get("/hello")))
        .await;
    // A literal field without indexing: `x: aaa…`.
    let field = [b"\0\x01x\x7f\x81\x7e".as_slice(), &[b'a'; 16_256]].concat();
    let more = frame(CONTINUATION, 0, 1, &field);
    let mut sent = 0;
    while sent < 64 << 20 && client.send(&more).await {
        sent += more.len();
    }
    assert!(sent < 64 << 20, "everything was taken");
    client.ended().await;
    assert!(is_served(&world).await);
}

#[tokio::test]
async fn pings_without_end_hold_nobody_else_up() {
    let world = World::run().await;
    let mut client = world.connect().await;
    client.send(PREFACE).await;
    let pings = frame(PING, 0, 0, &[0; 8]).repeat(1000);
    for _ in 0..20 {
        if !client.send(&pings).await {
            break;
        }
        assert!(is_served(&world).await);
    }
}

/// The first answer to `bytes`, which end in a request for `/hello` that a laxer reader would find, and whether that was
/// answered.
async fn read_as(world: &World, bytes: &str) -> (Option<u16>, bool) {
    let mut client: Raw = world.connect().await;
    client
        .send(format!(
            "{bytes}GET /hello HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n"
        ))
        .await;
    let first = client.reply_to("GET").await.map(|reply| reply.status);
    let second = match first {
        Some(_) => client.reply_to("GET").await,
        None => None,
    };
    (first, second.is_some_and(|reply| reply.status == 200))
}

#[tokio::test]
async fn doubtful_framing_ends_the_connection() {
    let world = World::run().await;
    let put = |fields: &str, body: &str| {
        format!("PUT /upload HTTP/1.1\r\nHost: gw\r\n{fields}\r\n\r\n{body}")
    };
    let chunked = |body: &str| put("Transfer-Encoding: chunked", body);
    let mut misread = Vec::new();
    for (what, bytes) in [
        ("folded field", put("X: a\r\n b\r\nContent-Length: 0", "")),
        (
            "folded framing",
            put("Transfer-Encoding:\r\n chunked", "0\r\n\r\n"),
        ),
        (
            "space before the first field",
            put(" Content-Length: 5", ""),
        ),
        ("lengths in a list", put("Content-Length: 5, 6", "hello")),
        ("negative length", put("Content-Length: -5", "hello")),
        ("length in hex", put("Content-Length: 0x5", "hello")),
        (
            "length that overflows",
            put("Content-Length: 18446744073709551621", "hello"),
        ),
        (
            "space before the colon",
            put("Transfer-Encoding : chunked", "0\r\n\r\n"),
        ),
        (
            "unknown framing",
            put("Transfer-Encoding: xchunked", "0\r\n\r\n"),
        ),
        (
            "chunked twice",
            put("Transfer-Encoding: chunked, chunked", "0\r\n\r\n"),
        ),
        (
            "framing in two fields",
            put(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
                "0\r\n\r\n",
            ),
        ),
        (
            "vertical tab in the framing",
            put("Transfer-Encoding: \u{b}chunked", "0\r\n\r\n"),
        ),
        (
            "carriage return in a field",
            put("X: a\rContent-Length: 5", "hello"),
        ),
        (
            "chunk size with a sign",
            chunked("+5\r\nhello\r\n0\r\n\r\n"),
        ),
        (
            "chunk size with a prefix",
            chunked("0x5\r\nhello\r\n0\r\n\r\n"),
        ),
        (
            "chunk size that overflows",
            chunked("fffffffffffffffff5\r\nhello\r\n0\r\n\r\n"),
        ),
        (
            "chunk that is longer than it says",
            chunked("3\r\nhello\r\n0\r\n\r\n"),
        ),
        (
            "another coding below",
            put("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"),
        ),
        (
            "line feed alone after a chunk size",
            chunked("5\nhello\r\n0\r\n\r\n"),
        ),
        (
            "line feed alone after a chunk",
            chunked("5\r\nhello\n0\r\n\r\n"),
        ),
    ] {
        let (status, smuggled) = read_as(&world, &bytes).await;
        if smuggled || status.is_some_and(|status| status != 400) {
            misread.push((what, status, smuggled));
        }
        assert!(is_served(&world).await, "after {what}");
    }
    assert!(misread.is_empty(), "{misread:#?}");
}

#[tokio::test]
async fn unusual_framing_that_is_allowed_is_understood() {
    let world = World::run().await;
    let chunks = "5;name=\"value\"\r\nhello\r\n0\r\nX-Trailer: a\r\n\r\n";
    let extended =
        format!("PUT /upload HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    assert_eq!(read_as(&world, &extended).await, (Some(201), true));
}

#[tokio::test]
async fn a_chunked_body_is_the_last_of_a_connection_that_clients_share() {
    let network = Network::parse("127.0.0.0/8").expect("a network");
    let mut config = config();
    config.trusted_proxies.networks.push(network);
    let world = World::with(&config, ServerOptions::default()).await;
    for chunks in [
        "5\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
    ] {
        let bytes = format!(
            "PUT /upload HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
        );
        let (status, smuggled) = read_as(&world, &bytes).await;
        assert!(status == Some(201) && !smuggled, "{chunks}: {status:?}");
    }
    // Bodies with a length leave no doubt.
    let bytes = "PUT /upload HTTP/1.1\r\nHost: gw\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(read_as(&world, bytes).await, (Some(201), true));
}
