//! Start, addresses, drain, stop, reload, hand-over.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chartgate::config::{self, ListenAddress};
use chartgate::server::{Server, ServerOptions, Surface};
use tempfile::TempDir;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::raw::Raw;
use super::world::{World, any_port, config};

const SOON: Duration = Duration::from_secs(20);

/// Waits for the server to end by itself and well.
async fn ended(world: World) {
    let result = timeout(SOON, world.done).await.expect("an end in time");
    result.expect("no panic").expect("a good end");
    assert_eq!(world.hooks.shut_down.load(Ordering::SeqCst), 1);
}

async fn refuses_connections(address: SocketAddr) {
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    timeout(SOON, refused).await.expect("a closed listener");
}

#[tokio::test]
async fn real_addresses_are_known_for_every_listener() {
    let config = config::Server {
        http: vec![any_port(), any_port()],
        ..config()
    };
    let world = World::with(&config, ServerOptions::default()).await;
    assert_eq!(world.bound.len(), 3);
    for bound in &world.bound {
        let address = bound.socket().expect("an IP address");
        assert_ne!(address.port(), 0);
        assert_eq!(bound.to_string(), format!("http://{address}"));
        assert_eq!(Raw::connect(address).await.get("/hello").await.status, 200);
    }
    assert_eq!(world.bound[2].surface, Surface::Admin);
}

#[tokio::test]
async fn an_address_in_use_is_a_sentence() {
    let world = World::run().await;
    let config = config::Server {
        http: vec![ListenAddress::Tcp(world.http())],
        ..config()
    };
    let error = Server::bind(&config, ServerOptions::default())
        .await
        .expect_err("in use");
    let expected = format!(
        "cannot listen on `{}`: another program listens there; stop it or choose another address",
        world.http()
    );
    assert_eq!(error.message(), expected);
}

fn unix(path: &Path) -> config::Server {
    config::Server {
        http: vec![ListenAddress::Unix(path.to_owned())],
        ..config()
    }
}

#[tokio::test]
async fn unix_sockets_are_served_and_removed() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("gw.sock");
    // What a killed process leaves.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a stale socket"));
    let world = World::with(&unix(&path), ServerOptions::default()).await;
    let mode = std::fs::metadata(&path)
        .expect("a socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut client = Raw::over(UnixStream::connect(&path).await.expect("connect"));
    assert_eq!(client.get("/peer").await.text(), "None");

    let second = Server::bind(&unix(&path), ServerOptions::default()).await;
    let text = second.expect_err("in use").message().to_owned();
    assert!(text.contains("another program listens there"), "{text}");

    drop(client);
    world.control.drain();
    ended(world).await;
    assert!(!path.exists());
}

#[tokio::test]
async fn files_that_are_not_sockets_are_not_removed() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("precious");
    std::fs::write(&path, "data").expect("a file");
    let error = Server::bind(&unix(&path), ServerOptions::default())
        .await
        .expect_err("in the way");
    assert!(
        error
            .message()
            .contains("a file that is not a socket is in the way"),
        "{error}"
    );
    assert_eq!(std::fs::read(&path).expect("still there"), b"data");
}

#[tokio::test]
async fn requests_in_flight_end_before_the_server_does() {
    let world = World::run().await;
    let mut client = world.connect().await;
    client.send("GET /held HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    world.one_held().await;
    assert!(!world.control.draining());
    world.control.drain();
    assert!(world.control.draining());
    refuses_connections(world.http()).await;
    // Probes and metrics are answered until the end.
    let mut admin = Raw::connect(world.address(Surface::Admin)).await;
    assert_eq!(admin.get("/hello").await.status, 200);

    world.desk.gate.add_permits(1);
    let reply = client.reply().await;
    assert_eq!(
        (reply.text(), reply.header("connection")),
        ("let go", Some("close"))
    );
    assert!(client.closed().await);
    ended(world).await;
}

#[tokio::test]
async fn http2_requests_in_flight_end_before_the_server_does() {
    super::tls::install_provider();
    let world = World::run().await;
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .no_proxy()
        .build()
        .expect("a client");
    let url = format!("http://{}/held", world.http());
    let request = tokio::spawn(async move { client.get(url).send().await?.text().await });
    world.one_held().await;
    world.control.drain();
    refuses_connections(world.http()).await;
    world.desk.gate.add_permits(1);
    let text = request.await.expect("no panic").expect("an answer");
    assert_eq!(text, "let go\n");
    ended(world).await;
}

#[tokio::test]
async fn a_request_that_meets_the_drain_is_answered() {
    let world = World::run().await;
    let mut idle = world.connect().await;
    assert_eq!(
        idle.get("/hello").await.header("connection"),
        Some("keep-alive")
    );
    let mut fresh = world.connect().await;
    assert!(fresh.send("GET /hel").await);
    world.control.drain();
    refuses_connections(world.http()).await;
    assert_eq!(idle.get("/hello").await.header("connection"), Some("close"));
    fresh.send("lo HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    assert_eq!(fresh.reply().await.header("connection"), Some("close"));
    ended(world).await;
}

#[tokio::test]
async fn idle_connections_do_not_hold_the_end_up() {
    let world = World::with_times(|times| times.linger = Duration::from_millis(50)).await;
    let mut idle = world.connect().await;
    assert_eq!(idle.get("/hello").await.status, 200);
    let mut silent = world.connect().await;
    world.control.drain();
    assert!(idle.closed().await && silent.closed().await);
    ended(world).await;
}

#[tokio::test]
async fn what_outlasts_the_grace_period_is_cut() {
    let config = config::Server {
        grace_period: Duration::from_millis(200),
        ..config()
    };
    let world = World::with(&config, ServerOptions::default()).await;
    let mut client = world.connect().await;
    client.send("GET /held HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    world.one_held().await;
    world.control.drain();
    assert!(client.reply_to("GET").await.is_none());
    ended(world).await;
}

#[tokio::test]
async fn stop_does_not_wait() {
    let world = World::run().await;
    let mut client = world.connect().await;
    client.send("GET /held HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    world.one_held().await;
    // Also out of a drain that waits.
    world.control.drain();
    world.control.stop();
    assert!(client.reply_to("GET").await.is_none());
    ended(world).await;
}

#[tokio::test]
async fn reload_calls_the_hook_and_serving_goes_on() {
    let world = World::run().await;
    for _ in 0..2 {
        world.control.reload();
        world.hooks.reloaded.acquire().await.expect("open").forget();
    }
    assert_eq!(world.connect().await.get("/hello").await.status, 200);
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing_behind() {
    let world = World::run().await;
    let address = world.http();
    let mut client = world.connect().await;
    assert_eq!(client.get("/hello").await.status, 200);
    world.done.abort();
    assert!(client.closed().await);
    refuses_connections(address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_takes_over_without_a_refused_connection() {
    let folder = TempDir::new().expect("a folder");
    let options = |upgrade| ServerOptions {
        upgrade,
        upgrade_socket: Some(folder.path().join("upgrade.sock")),
        ..ServerOptions::default()
    };
    let config = config::Server {
        http: vec![
            any_port(),
            ListenAddress::Unix(folder.path().join("gw.sock")),
        ],
        ..config()
    };
    let old = World::with(&config, options(false)).await;
    let address = old.http();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let clients = tokio::spawn(async move {
        let mut stopped = std::pin::pin!(stopped);
        let mut answered = 0;
        while futures_util::poll!(&mut stopped).is_pending() {
            let mut client = Raw::connect(address).await;
            client
                .send("GET /hello HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n")
                .await;
            assert_eq!(client.reply().await.status, 200);
            answered += 1;
        }
        answered
    });

    old.control.hand_over();
    let new = World::with(&config, options(true)).await;
    assert_eq!(new.bound, old.bound);
    ended(old).await;
    let mut client = new.connect().await;
    assert_eq!(client.get("/hello").await.status, 200);
    let unix = UnixStream::connect(folder.path().join("gw.sock")).await;
    assert_eq!(
        Raw::over(unix.expect("connect")).get("/hello").await.status,
        200
    );
    stop.send(()).expect("clients that run");
    assert!(clients.await.expect("no refused connection") > 0);
    assert!(new.desk.outcomes.lock().expect("lock").len() > 1);
}

#[tokio::test]
async fn a_successor_without_a_socket_path_is_told() {
    let options = ServerOptions {
        upgrade: true,
        ..ServerOptions::default()
    };
    let error = Server::bind(&config(), options).await.expect_err("no path");
    assert!(
        error
            .message()
            .contains("needs the path of the upgrade socket"),
        "{error}"
    );
}
