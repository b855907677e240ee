//! HTTP/1.1 and 1.0: keep-alive, framing, broken answers, uploads.

use std::time::Duration;

use super::desk::pattern;
use super::raw::Raw;
use super::world::World;

#[tokio::test]
async fn connections_are_kept_and_answers_carry_the_usual_headers() {
    let world = World::run().await;
    let mut client = world.connect().await;
    for _ in 0..3 {
        let reply = client.get("/hello").await;
        assert_eq!((reply.status, reply.text()), (200, "hello"));
        assert_eq!(reply.header("connection"), Some("keep-alive"));
        assert_eq!(reply.header("server"), Some("chartgate"));
        assert!(reply.header("date").is_some());
        assert_eq!(reply.header("x-request-id").map(str::len), Some(36));
    }
    let (path, outcome) = world.desk.outcome().await;
    assert_eq!((path.as_str(), outcome.status.as_u16()), ("/hello", 200));
    assert_eq!((outcome.bytes_sent, outcome.aborted), (6, false));
}

#[tokio::test]
async fn request_ids_of_clients_come_back_where_they_are_sane() {
    let world = World::run().await;
    let mut client = world.connect().await;
    for (sent, kept) in [("build-17/a", true), ("a b", false), ("\u{fc}", false)] {
        let head = format!("GET /hello HTTP/1.1\r\nHost: gw\r\nX-Request-Id: {sent}\r\n\r\n");
        client.send(head).await;
        let reply = client.reply().await;
        assert_eq!(reply.header("x-request-id") == Some(sent), kept, "{sent}");
    }
}

#[tokio::test]
async fn connection_close_is_honoured() {
    let world = World::run().await;
    let mut client = world.connect().await;
    client
        .send("GET /hello HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.header("connection"), Some("close"));
    assert!(client.closed().await);
}

// Shorter than the HTTP/2 preface that is looked for first.
#[tokio::test]
async fn the_shortest_request_is_answered() {
    let world = World::run().await;
    let mut client = world.connect().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 404);
    assert!(client.closed().await);
}

#[tokio::test]
async fn http_1_0_keeps_the_connection_only_where_asked() {
    let world = World::run().await;
    let mut client = world.connect().await;
    for _ in 0..2 {
        client
            .send("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .await;
        assert_eq!(
            client.reply().await.header("connection"),
            Some("keep-alive")
        );
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let world = World::run().await;
    let mut client = world.connect().await;
    let request = |path| format!("GET {path} HTTP/1.1\r\nHost: gw\r\n\r\n");
    let upload = "POST /upload HTTP/1.1\r\nHost: gw\r\nContent-Length: 3\r\n\r\nabc";
    client
        .send([request("/hello"), upload.to_owned(), request("/echo?a")].concat())
        .await;
    assert_eq!(client.reply().await.text(), "hello");
    assert_eq!(client.reply().await.text(), "3 of Some(3)");
    assert_eq!(client.reply().await.text(), "GET /echo a");
}

#[tokio::test]
async fn answers_without_body_keep_the_framing() {
    let world = World::run().await;
    let mut client = world.connect().await;
    for (path, length) in [
        ("/hello", Some("6")),
        ("/large", Some("3145728")),
        ("/stream/known", Some("7")),
        ("/stream", None),
    ] {
        client
            .send(format!("HEAD {path} HTTP/1.1\r\nHost: gw\r\n\r\n"))
            .await;
        let reply = client.reply_to("HEAD").await.expect("an answer");
        assert_eq!(
            (reply.status, reply.header("content-length")),
            (200, length),
            "{path}"
        );
    }
    for (path, status) in [("/204", 204), ("/304", 304)] {
        let reply = client.get(path).await;
        assert_eq!(
            (reply.status, reply.header("content-length")),
            (status, None)
        );
        assert_eq!(reply.header("transfer-encoding"), None);
    }
    assert_eq!(
        client.get("/empty").await.header("content-length"),
        Some("0")
    );
    assert_eq!(client.get("/hello").await.text(), "hello");
}

#[tokio::test]
async fn bodies_of_every_form_arrive_whole() {
    let world = World::run().await;
    let mut client = world.connect().await;
    assert!(client.get("/large").await.body == pattern(3 << 20));
    assert!(client.get("/rope").await.body == pattern(777).repeat(1000));
    assert_eq!(client.get("/stream/known").await.text(), "one two");
    let reply = client.get("/stream").await;
    assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    assert_eq!((reply.text(), reply.whole), ("one two", true));
}

#[tokio::test]
async fn http_1_0_is_never_sent_chunks() {
    let world = World::run().await;
    let mut client = world.connect().await;
    client.send("GET /stream HTTP/1.0\r\n\r\n").await;
    let reply = client.reply().await;
    assert_eq!(reply.header("content-length"), Some("7"));
    assert_eq!(reply.text(), "one two");
    for (path, status) in [("/stream/broken", 502), ("/stream/endless", 505)] {
        let mut client = world.connect().await;
        client.send(format!("GET {path} HTTP/1.0\r\n\r\n")).await;
        assert_eq!(client.reply().await.status, status, "{path}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_never_ends_cleanly() {
    let world = World::run().await;
    for path in [
        "/stream/broken",
        "/stream/broken/known",
        "/stream/short",
        "/stream/long",
        "/stream/panic",
    ] {
        let mut client = world.connect().await;
        let reply = client.get(path).await;
        assert!(!reply.whole, "{path}: {reply:?}");
        assert!(client.closed().await);
        assert!(world.desk.outcome().await.1.aborted, "{path}");
    }
}

#[tokio::test]
async fn a_panic_is_one_500_and_the_connection_lives() {
    let world = World::run().await;
    let mut client = world.connect().await;
    let reply = client.get("/panic").await;
    assert_eq!(reply.status, 500);
    let id = reply.header("x-request-id").expect("an id");
    assert!(reply.text().contains(id), "{reply:?}");
    assert_eq!(client.get("/hello").await.status, 200);
}

#[tokio::test]
async fn continue_is_sent_when_the_body_is_wanted_and_not_before() {
    let world = World::run().await;
    let head = |path| {
        format!(
            "PUT {path} HTTP/1.1\r\nHost: gw\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let mut client = world.connect().await;
    client.send(head("/upload")).await;
    assert_eq!(client.reply().await.status, 100);
    client.send("hello").await;
    assert_eq!(client.reply().await.text(), "5 of Some(5)");
    // Refused before the body: no 100, and the connection ends since the body may or may not follow.
    client.send(head("/refuse")).await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.header("connection")),
        (401, Some("close"))
    );
}

#[tokio::test]
async fn chunked_uploads_have_no_length() {
    let world = World::run().await;
    let mut client = world.connect().await;
    client
        .send(
            "PUT /upload HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        )
        .await;
    client.send("6\r\n world\r\n0\r\n\r\n").await;
    assert_eq!(client.reply().await.text(), "11 of None");
    assert_eq!(client.get("/hello").await.status, 200);
}

#[tokio::test]
async fn an_early_answer_arrives_although_the_upload_goes_on() {
    let world = World::run().await;
    for path in ["/refuse", "/refuse/after-first-chunk"] {
        for chunked in [false, true] {
            let mut client = world.connect().await;
            let (framing, body) = upload(8 << 20, chunked);
            client
                .send(format!(
                    "PUT {path} HTTP/1.1\r\nHost: gw\r\n{framing}\r\n\r\n"
                ))
                .await;
            assert!(client.send(body).await, "{path}: the upload was cut");
            let reply = client.reply().await;
            assert!(matches!(reply.status, 401 | 413), "{reply:?}");
            assert_eq!(reply.header("connection"), Some("close"));
            assert!(client.closed().await);
        }
    }
}

#[tokio::test]
async fn a_small_unread_body_does_not_cost_the_connection() {
    let world = World::run().await;
    let mut client = world.connect().await;
    client
        .send("PUT /refuse HTTP/1.1\r\nHost: gw\r\nContent-Length: 100000\r\n\r\n")
        .await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.header("connection")),
        (401, Some("keep-alive"))
    );
    client.send(vec![b'a'; 100_000]).await;
    assert_eq!(client.get("/hello").await.status, 200);
}

#[tokio::test]
async fn an_upload_that_never_ends_is_given_up() {
    let world = World::with_times(|times| times.discard = Duration::from_millis(50)).await;
    let mut client = world.connect().await;
    client
        .send("PUT /refuse HTTP/1.1\r\nHost: gw\r\nContent-Length: 9000000\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.status, 401);
    assert!(client.closed().await);
}

#[tokio::test]
async fn a_body_that_stops_is_an_error_for_the_handler() {
    let world = World::with_times(|times| times.read = Duration::from_millis(50)).await;
    let mut client = world.connect().await;
    client
        .send("PUT /upload HTTP/1.1\r\nHost: gw\r\nContent-Length: 10\r\n\r\nabc")
        .await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.header("connection")),
        (400, Some("close"))
    );
    assert!(client.closed().await);
}

#[tokio::test]
async fn slow_heads_and_silent_connections_are_closed() {
    let world = World::with_times(|times| times.head = Duration::from_millis(100)).await;
    for start in ["", "G", "GET /hello HTTP/1.1\r\nHost: gw\r\nX-Slow: a"] {
        let mut client = world.connect().await;
        client.send(start).await;
        assert!(client.closed().await, "{start:?}");
    }
}

#[tokio::test]
async fn idle_connections_are_closed_in_time() {
    let world = World::with_times(|times| times.idle = Duration::from_secs(1)).await;
    let mut client = world.connect().await;
    assert_eq!(client.get("/hello").await.status, 200);
    assert!(client.closed().await);
}

#[tokio::test]
async fn a_reader_that_stalls_is_cut() {
    let world = World::with_times(|times| times.write = Duration::from_millis(100)).await;
    let mut client = world.connect().await;
    client
        .send("GET /stream/endless HTTP/1.1\r\nHost: gw\r\n\r\n")
        .await;
    let (_, outcome) = world.desk.outcome().await;
    assert!(outcome.aborted && outcome.bytes_sent > 0);
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed() {
    let world = World::run().await;
    let mut client = world.connect().await;
    client
        .send("GET /stream/endless HTTP/1.1\r\nHost: gw\r\n\r\n")
        .await;
    drop(client);
    assert!(world.desk.outcome().await.1.aborted);
}

#[tokio::test]
async fn the_peer_is_known() {
    let world = World::run().await;
    let mut client = world.connect().await;
    let reply = client.get("/peer").await;
    assert!(reply.text().starts_with("Some(127.0.0.1:"), "{reply:?}");
    let mut admin = Raw::connect(world.address(chartgate::server::Surface::Admin)).await;
    assert_eq!(admin.get("/hello").await.status, 200);
    assert_eq!(world.admin_desk.outcome().await.0, "/hello");
}

fn upload(length: usize, chunked: bool) -> (String, Vec<u8>) {
    let body = vec![b'a'; length];
    if !chunked {
        return (format!("Content-Length: {length}"), body);
    }
    let mut chunks = format!("{length:x}\r\n").into_bytes();
    chunks.extend(body);
    chunks.extend(b"\r\n0\r\n\r\n");
    ("Transfer-Encoding: chunked".to_owned(), chunks)
}
