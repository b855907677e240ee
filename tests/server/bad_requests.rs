//! Requests that must be refused with a clear 4xx, and after which everything still works.

use super::world::World;

/// What is sent after `GET` lines, and the status it must get.
fn refused() -> Vec<(&'static str, String, u16)> {
    let with = |headers: &str| format!("GET /hello HTTP/1.1\r\nHost: gw\r\n{headers}\r\n\r\n");
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: gw\r\n\r\n");
    let many: String = (0..300).map(|n| format!("X-{n}: a\r\n")).collect();
    let rows = [
        ("no host", "GET /hello HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("two hosts", with("Host: other"), 400),
        (
            "absolute form of another host",
            get("http://other/hello"),
            400,
        ),
        ("user in the authority", get("http://u@gw/hello"), 400),
        (
            "CONNECT",
            "CONNECT gw:443 HTTP/1.1\r\nHost: gw:443\r\n\r\n".to_owned(),
            405,
        ),
        ("NUL in the path", get("/a\0b"), 400),
        ("encoded NUL", get("/a%00b"), 400),
        ("encoded line feed", get("/a%0Ab"), 400),
        ("authority form", get("gw:80"), 400),
        ("star with GET", get("*"), 400),
        (
            "path of 9 KiB",
            get(&format!("/{}", "a".repeat(9 << 10))),
            414,
        ),
        (
            "path of 100 KiB",
            get(&format!("/{}", "a".repeat(100 << 10))),
            414,
        ),
        (
            "70 KiB of headers",
            with(&format!("X: {}", "a".repeat(70 << 10))),
            431,
        ),
        (
            "1.5 MB of headers",
            with(&format!("X: {}", "a".repeat(1_500_000))),
            431,
        ),
        ("300 headers", with(&many), 431),
        ("NUL in a header", with("X: a\0b"), 400),
        ("space before the colon", with("X : a"), 400),
        (
            "two lengths",
            with("Content-Length: 1\r\nContent-Length: 2"),
            400,
        ),
        ("no number as length", with("Content-Length: +1"), 400),
        (
            "both framings",
            with("Content-Length: 5\r\nTransfer-Encoding: chunked"),
            400,
        ),
        (
            "both framings, the other order",
            with("Transfer-Encoding: chunked\r\ncontent-length: 5"),
            400,
        ),
        (
            "chunked is not last",
            with("Transfer-Encoding: chunked, gzip"),
            400,
        ),
        ("unknown framing", with("Transfer-Encoding: gzip"), 400),
        (
            "chunked in HTTP/1.0",
            "PUT /upload HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            400,
        ),
        ("no HTTP", "hello there\r\n\r\n".to_owned(), 400),
        (
            "TLS on a plain port",
            "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\r\n\r\n".to_owned(),
            400,
        ),
        (
            "another version",
            "GET /hello HTTP/3.7\r\nHost: gw\r\n\r\n".to_owned(),
            400,
        ),
    ];
    rows.into()
}

#[tokio::test]
async fn malformed_requests_get_a_clear_answer_and_the_connection_ends() {
    let world = World::run().await;
    for (what, request, status) in refused() {
        let mut client = world.connect().await;
        client.send(request).await;
        let reply = client.reply_to("GET").await;
        let reply = reply.unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!(reply.status, status, "{what}: {reply:?}");
        assert!(reply.whole && !reply.text().is_empty(), "{what}: {reply:?}");
        assert_eq!(reply.header("connection"), Some("close"), "{what}");
        assert!(client.closed().await, "{what}");
        assert_eq!(
            world.connect().await.get("/hello").await.status,
            200,
            "after {what}"
        );
    }
    assert_eq!(
        world.desk.outcomes.lock().expect("lock").len(),
        refused().len()
    );
}

#[tokio::test]
async fn unusual_but_valid_requests_reach_the_handler() {
    let world = World::run().await;
    let mut client = world.connect().await;
    for (request, seen) in [
        (
            "GET http://gw/echo?a=b HTTP/1.1\r\nHost: gw",
            "GET /echo a=b",
        ),
        ("PATCH /echo HTTP/1.1\r\nHost: gw", "PATCH /echo"),
        ("TRACE /echo HTTP/1.1\r\nHost: gw", "TRACE /echo"),
        ("PURGE /echo HTTP/1.1\r\nHost: gw", "PURGE /echo"),
        ("GET /echo?%00 HTTP/1.1\r\nHost: gw", "GET /echo %00"),
        (
            "GET /echo?a?b HTTP/1.1\r\nHost: gw\r\nUpgrade: websocket\r\nConnection: upgrade",
            "GET /echo a?b",
        ),
    ] {
        client.send(format!("{request}\r\n\r\n")).await;
        assert_eq!(client.reply().await.text(), seen, "{request}");
    }
    assert_eq!(client.get("/a/../b").await.status, 404);
}

#[tokio::test]
async fn options_star_names_the_methods() {
    let world = World::run().await;
    let mut client = world.connect().await;
    client.send("OPTIONS * HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    let reply = client.reply().await;
    assert_eq!(reply.status, 204);
    assert!(
        reply
            .header("allow")
            .is_some_and(|allow| allow.contains("DELETE"))
    );
}
