//! Whom the server believes about its clients, where it sends them, and how many connections they get.

use std::net::SocketAddr;
use std::time::Duration;

use chartgate::config::{self, ForwardedHeader, ListenAddress, Network, Redirect, TrustedProxies};
use chartgate::server::{ServerOptions, Surface};
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::raw::Raw;
use super::tls::{Files, trusting};
use super::world::{World, any_port, config};

fn trusting_network(network: &str) -> config::Server {
    let network = Network::parse(network).expect("a network");
    config::Server {
        trusted_proxies: TrustedProxies {
            networks: vec![network],
            unix: false,
        },
        ..config()
    }
}

async fn serve(config: &config::Server) -> World {
    World::with(config, ServerOptions::default()).await
}

const FIELDS: &str = "X-Forwarded-For: 198.51.100.7, 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: gw.example\r\nForwarded: for=203.0.113.9;proto=https;host=other.example\r\n";

async fn client_of(world: &World) -> String {
    let mut client = world.connect().await;
    client
        .send(format!("GET /client HTTP/1.1\r\nHost: gw\r\n{FIELDS}\r\n"))
        .await;
    client.reply().await.text().to_owned()
}

#[tokio::test]
async fn what_strangers_say_of_themselves_does_not_count() {
    for config in [config(), trusting_network("10.0.0.0/8")] {
        let seen = client_of(&serve(&config).await).await;
        assert!(seen.starts_with("127.0.0.1:"), "{seen}");
        assert!(seen.ends_with(" http gw"), "{seen}");
    }
}

#[tokio::test]
async fn what_trusted_proxies_say_of_their_clients_counts() {
    let mut config = trusting_network("127.0.0.0/8");
    let seen = client_of(&serve(&config).await).await;
    assert_eq!(seen, "192.0.2.1:0 https gw.example");
    config.forwarded_header = ForwardedHeader::Standard;
    let seen = client_of(&serve(&config).await).await;
    assert_eq!(seen, "203.0.113.9:0 https other.example");
}

#[tokio::test]
async fn whoever_connects_to_a_unix_socket_is_a_proxy_if_that_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gateway.sock");
    for (believed, expected) in [
        (true, "192.0.2.1:0 https gw.example"),
        (false, "nowhere http gw"),
    ] {
        let mut config = config();
        config.http = vec![ListenAddress::Unix(path.clone())];
        config.trusted_proxies.unix = believed;
        // A share is an address's; here nobody has one.
        config.max_connections_per_address = Some(1);
        let world = serve(&config).await;
        let mut held = Vec::new();
        for _ in 0..2 {
            let stream = UnixStream::connect(&path).await.expect("connect");
            let mut client = Raw::over(stream);
            let request = format!("GET /client HTTP/1.1\r\nHost: gw\r\n{FIELDS}\r\n");
            client.send(request).await;
            assert_eq!(client.reply().await.text(), expected);
            held.push(client);
        }
        world.control.drain();
        drop(held);
        world.done.await.expect("no panic").expect("a good end");
    }
}

/// Listeners with and without TLS whose connections begin with a header.
fn announced(network: &str) -> config::Server {
    config::Server {
        proxy_protocol: vec![any_port()],
        ..trusting_network(network)
    }
}

const LINE: &str = "PROXY TCP4 192.0.2.1 10.0.0.1 4711 80\r\n";
const REQUEST: &str = "GET /client HTTP/1.1\r\nHost: gw\r\n\r\n";

#[tokio::test]
async fn the_proxy_protocol_names_the_client_of_every_request() {
    let world = serve(&announced("127.0.0.0/8")).await;
    let mut client = world.connect().await;
    client.send(format!("{LINE}{REQUEST}")).await;
    for _ in 0..2 {
        assert_eq!(client.reply().await.text(), "192.0.2.1:4711 http gw");
        client.send(REQUEST).await;
    }

    // Byte by byte, and of version 2.
    let mut client = world.connect().await;
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend([192, 0, 2, 2, 10, 0, 0, 1, 0x12, 0x67, 0, 80]);
    for byte in header {
        client.send([byte]).await;
    }
    client.send(REQUEST).await;
    assert_eq!(client.reply().await.text(), "192.0.2.2:4711 http gw");

    // Health checks of the proxy itself.
    let mut client = world.connect().await;
    client.send("PROXY UNKNOWN\r\n").await;
    client.send(REQUEST).await;
    assert!(client.reply().await.text().starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn a_client_announced_by_a_proxy_cannot_announce_another() {
    let world = serve(&announced("127.0.0.0/8")).await;
    let mut client = world.connect().await;
    client.send(LINE).await;
    client
        .send(format!("GET /client HTTP/1.1\r\nHost: gw\r\n{FIELDS}\r\n"))
        .await;
    assert_eq!(client.reply().await.text(), "192.0.2.1:4711 http gw");
    client.send(LINE).await;
    assert_eq!(client.reply().await.status, 400);
}

#[tokio::test]
async fn connections_without_a_usable_header_are_not_served() {
    let world = serve(&announced("127.0.0.0/8")).await;
    let long = format!("PROXY UNKNOWN {}\r\n{REQUEST}", "a".repeat(200));
    for bytes in [REQUEST, "PROXY TCP4 a b 1 2\r\n", long.as_str()] {
        let mut client = world.connect().await;
        client.send(bytes).await;
        assert!(client.closed().await, "{bytes}");
    }
    let strangers = serve(&announced("10.0.0.0/8")).await;
    let mut client = strangers.connect().await;
    client.send(format!("{LINE}{REQUEST}")).await;
    assert!(client.closed().await);
    let outcomes = |world: &World| world.desk.outcomes.lock().expect("lock").len();
    assert_eq!((outcomes(&world), outcomes(&strangers)), (0, 0));
}

#[tokio::test]
async fn a_header_that_never_ends_is_given_up() {
    let mut options = ServerOptions::default();
    options.times.head = Duration::from_millis(200);
    let world = World::with(&announced("127.0.0.0/8"), options).await;
    let mut client = world.connect().await;
    client.send("PROXY TC").await;
    client.ended().await;
}

/// Takes one connection and passes it on behind a header.
async fn proxy_to(address: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let at = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.expect("a client");
        let mut server = TcpStream::connect(address).await.expect("the server");
        server.write_all(LINE.as_bytes()).await.expect("sent");
        let _ = copy_bidirectional(&mut client, &mut server).await;
    });
    at
}

#[tokio::test]
async fn the_header_comes_before_tls() {
    let files = Files::new();
    let pem = files.renew();
    let mut config = files.config();
    config.https[0].proxy_protocol = true;
    config.trusted_proxies = trusting_network("127.0.0.0/8").trusted_proxies;
    let world = serve(&config).await;
    let proxy = proxy_to(world.address(Surface::Https)).await;
    let client = trusting(&pem).build().expect("a client");
    let url = format!("https://localhost:{}/client", proxy.port());
    let reply = client.get(url).send().await.expect("an answer");
    let text = reply.text().await.expect("a body");
    assert!(text.starts_with("192.0.2.1:4711 https localhost"), "{text}");
}

#[tokio::test]
async fn plain_listeners_send_their_clients_to_tls() {
    let files = Files::new();
    files.renew();
    let mut config = files.config();
    config.trusted_proxies = trusting_network("127.0.0.0/8").trusted_proxies;
    config.redirect_http = Some(Redirect::SameHost);
    let world = serve(&config).await;
    let port = world.address(Surface::Https).port();
    let mut client = world.connect().await;
    let reply = client.get("/acme/index.yaml?a=b").await;
    assert_eq!(reply.status, 308);
    let there = format!("https://gw:{port}/acme/index.yaml?a=b");
    assert_eq!(reply.header("location"), Some(there.as_str()));
    // Probes, and clients that came to a trusted proxy over TLS, are answered.
    assert_eq!(client.get("/health").await.status, 404);
    client
        .send("GET /hello HTTP/1.1\r\nHost: gw\r\nX-Forwarded-Proto: https\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.status, 200);
    // Nobody is sent to a place that the request does not name.
    client.send("GET /hello HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 400);

    let origin = "https://charts.example:8443/".parse().expect("a URL");
    config.redirect_http = Some(Redirect::To(origin));
    let world = serve(&config).await;
    let mut client = world.connect().await;
    client
        .send("PUT /v2//evil.example/a HTTP/1.1\r\nHost: gw\r\nContent-Length: 3\r\n\r\nabc")
        .await;
    let reply = client.reply().await;
    assert_eq!(reply.status, 308);
    let there = "https://charts.example:8443/v2//evil.example/a";
    assert_eq!(reply.header("location"), Some(there));
}

#[tokio::test]
async fn one_address_has_its_share_of_connections() {
    let mut config = config();
    config.max_connections_per_address = Some(2);
    let world = serve(&config).await;
    let mut first = world.connect().await;
    let mut second = world.connect().await;
    assert_eq!(first.get("/hello").await.status, 200);
    assert_eq!(second.get("/hello").await.status, 200);
    assert!(world.connect().await.closed().await);
    drop(first);
    let served = async {
        loop {
            let mut next = world.connect().await;
            next.send("GET /hello HTTP/1.1\r\nHost: gw\r\n\r\n").await;
            if next.reply_to("GET").await.is_some() {
                return;
            }
        }
    };
    let served = tokio::time::timeout(Duration::from_secs(20), served).await;
    served.expect("room again");

    // A trusted proxy brings many clients.
    let mut config = trusting_network("127.0.0.0/8");
    config.max_connections_per_address = Some(2);
    let world = serve(&config).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut client = world.connect().await;
        assert_eq!(client.get("/hello").await.status, 200);
        held.push(client);
    }
}

#[tokio::test]
async fn handshakes_count_as_connections_and_are_given_up() {
    let files = Files::new();
    files.renew();
    let mut config = files.config();
    config.max_connections = Some(1);
    let mut options = ServerOptions::default();
    options.times.head = Duration::from_secs(1);
    let world = World::with(&config, options).await;
    let mut silent = Raw::connect(world.address(Surface::Https)).await;
    // The kernel accepts in order, so the silent one is in when this one is refused.
    let mut refused = Raw::connect(world.address(Surface::Https)).await;
    refused.ended().await;
    silent.ended().await;
}
