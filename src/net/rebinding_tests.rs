//! Names that change their minds (DNS rebinding): a name server that first says a public address, so that a check would pass, and
//! then one inside the network.
//!
//! No public address may be dialled here, so 127.0.0.2 plays one, and 127.0.0.1 is the inside.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use url::Url;

use super::guard::NameServer;
use super::{
    Client, Clients, EnvironmentProxies, GetOptions, Outgoing, Reply, Retries, Transport, guard,
};
use crate::clock::Clock;
use crate::config;
use crate::error::{Error, ErrorKind};
use crate::http::{HeaderMap, Method};
use crate::oci::RepoName;
use crate::upstream::registry::{Registry, Settings};

const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Public too, and nobody listens there.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A name server whose answers come one after the other; the last one stays.
#[derive(Debug, Default)]
struct Fickle {
    answers: Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>,
    asked: Mutex<Vec<String>>,
}

impl Fickle {
    fn says(&self, host: &str, answers: &[&[IpAddr]]) {
        let answers = answers.iter().map(|answer| answer.to_vec()).collect();
        let mut all = self.answers.lock().expect("no panic");
        all.insert(host.to_owned(), answers);
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

#[async_trait]
impl NameServer for Fickle {
    async fn look_up(&self, host: &str) -> io::Result<Vec<SocketAddr>> {
        self.asked.lock().expect("no panic").push(host.to_owned());
        let mut all = self.answers.lock().expect("no panic");
        let answers = all.get_mut(host).ok_or(io::ErrorKind::NotFound)?;
        let answer = match answers.len() {
            0 | 1 => answers.front().cloned(),
            _ => answers.pop_front(),
        };
        let addresses = answer.unwrap_or_default();
        Ok(addresses.into_iter().map(|ip| (ip, 0).into()).collect())
    }

    fn is_public(&self, address: IpAddr) -> bool {
        [OUTSIDE, NOBODY].contains(&address) || guard::is_public(address)
    }
}

/// A server that answers what it is told to, and remembers who asked.
struct Site {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

/// The answer to a request with this first line, in which `PORT` stands for the server's own; `None` cuts the connection.
type Answer = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Site {
    fn run(listener: TcpListener, answer: Box<Answer>) -> Self {
        let address = listener.local_addr().expect("an address");
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&seen);
        let answer = Arc::from(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (noted, answer) = (Arc::clone(&noted), Arc::clone(&answer));
                std::thread::spawn(move || converse(stream, &noted, &*answer));
            }
        });
        Self { address, seen }
    }

    fn requests(&self) -> usize {
        self.seen.lock().expect("no panic").len()
    }
}

fn converse(mut stream: TcpStream, seen: &Mutex<Vec<String>>, answer: &Answer) {
    let mut head = Vec::new();
    let mut byte = [0];
    while let Ok(1) = stream.read(&mut byte) {
        head.extend(byte);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let line = text.lines().next().unwrap_or_default().to_owned();
        head.clear();
        seen.lock().expect("no panic").push(line.clone());
        let port = stream.local_addr().map_or(0, |address| address.port());
        let Some(reply) = answer(&line) else {
            return;
        };
        let reply = reply.replace("PORT", &port.to_string());
        if stream.write_all(reply.as_bytes()).is_err() || reply.contains("Connection: close") {
            return;
        }
    }
}

fn ok(connection: &str) -> Option<String> {
    Some(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: {connection}\r\n\r\nok"
    ))
}

fn moved(to: &str, connection: &str) -> Option<String> {
    Some(format!(
        "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: {connection}\r\n\r\n"
    ))
}

/// The same port outside and inside: a URL has one.
struct World {
    names: Arc<Fickle>,
    clients: Clients,
    outside: Site,
    inside: Site,
}

impl World {
    fn new(answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let (outside, inside) = loop {
            let outside = TcpListener::bind((OUTSIDE, 0)).expect("a port");
            let port = outside.local_addr().expect("an address").port();
            if let Ok(inside) = TcpListener::bind((INSIDE, port)) {
                break (outside, inside);
            }
        };
        let names = Arc::new(Fickle::default());
        let retries = Retries {
            first_pause: Duration::from_millis(1),
            ..Retries::default()
        };
        Self {
            clients: Clients::asking(names.clone(), retries, EnvironmentProxies::none()),
            names,
            outside: Site::run(outside, Box::new(answer)),
            inside: Site::run(inside, Box::new(|_| ok("close"))),
        }
    }

    fn url(&self, host: &str) -> Url {
        let text = format!("http://{host}:{}/", self.outside.address.port());
        Url::parse(&text).expect("a URL")
    }

    fn config() -> config::Client {
        config::Client {
            timeout: Duration::from_secs(10),
            ..config::Client::default()
        }
    }

    fn client(&self) -> Client {
        let (metrics, clock) = (Arc::default(), Clock::system());
        let origin = self.url("charts.example");
        Client::new(
            &self.clients,
            &Self::config(),
            "acme".into(),
            &origin,
            metrics,
            clock,
        )
        .expect("a client")
    }

    async fn get(&self, client: &Client) -> Result<Reply, Error> {
        let url = self.url("charts.example");
        client.get(&url, GetOptions::default()).await
    }

    #[track_caller]
    fn assert_refused(&self, error: &Error) {
        assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{error:?}");
        assert!(error.message().contains("private address"), "{error:?}");
        self.assert_untouched();
    }

    #[track_caller]
    fn assert_untouched(&self) {
        let seen = self.inside.seen.lock().expect("no panic").clone();
        assert!(seen.is_empty(), "the inside was asked for {seen:?}");
    }
}

/// Reads it to its end, so that its connection can be used again.
async fn drain(mut reply: Reply) {
    while let Some(chunk) = reply.body.next().await {
        chunk.expect("a chunk");
    }
}

#[tokio::test]
async fn what_was_checked_is_what_is_dialled() {
    let world = World::new(|_| ok("close"));
    // Whoever looked twice, once to check and once to dial, would dial the second answer.
    world
        .names
        .says("charts.example", &[&[OUTSIDE], &[INSIDE], &[INSIDE]]);
    let client = world.client();
    drain(world.get(&client).await.expect("the public address")).await;
    assert_eq!(world.names.asked(), ["charts.example"], "one look-up");
    world.assert_untouched();
}

#[tokio::test]
async fn a_connection_that_is_made_anew_is_checked_anew() {
    let world = World::new(|_| ok("close"));
    world.names.says("charts.example", &[&[OUTSIDE], &[INSIDE]]);
    let client = world.client();
    drain(world.get(&client).await.expect("the public address")).await;
    world.assert_refused(&world.get(&client).await.expect_err("it has moved inside"));
    assert_eq!(world.outside.requests(), 1);
}

#[tokio::test]
async fn a_connection_that_lives_is_where_it_was() {
    let world = World::new(|_| ok("keep-alive"));
    world.names.says("charts.example", &[&[OUTSIDE], &[INSIDE]]);
    let client = world.client();
    for _ in 0..3 {
        drain(world.get(&client).await.expect("the public address")).await;
    }
    assert_eq!(world.names.asked().len(), 1);
    assert_eq!(world.outside.requests(), 3);
    world.assert_untouched();
}

#[tokio::test]
async fn an_attempt_after_a_failure_is_checked_anew() {
    let world = World::new(|_| None);
    world.names.says("charts.example", &[&[OUTSIDE], &[INSIDE]]);
    let error = world
        .get(&world.client())
        .await
        .expect_err("cut, then moved");
    world.assert_refused(&error);
    assert!(world.names.asked().len() >= 2, "{:?}", world.names.asked());
}

#[tokio::test]
async fn a_redirect_is_checked_where_it_leads_and_when() {
    for connection in ["close", "keep-alive"] {
        // To another name that is inside.
        let world = World::new(move |line| match line.contains("/there") {
            true => ok(connection),
            false => moved("http://inside.example:PORT/there", connection),
        });
        world.names.says("charts.example", &[&[OUTSIDE]]);
        world.names.says("inside.example", &[&[INSIDE]]);
        let error = world.get(&world.client()).await.expect_err("inside");
        world.assert_refused(&error);
    }
    // To the same name, which has moved inside meanwhile.
    let world = World::new(|line| match line.contains("/there") {
        true => ok("close"),
        false => moved("/there", "close"),
    });
    world.names.says("charts.example", &[&[OUTSIDE], &[INSIDE]]);
    let error = world.get(&world.client()).await.expect_err("inside");
    world.assert_refused(&error);
    assert_eq!(world.outside.requests(), 1);
}

#[tokio::test]
async fn of_a_mixed_answer_only_the_public_part_is_tried() {
    let world = World::new(|_| ok("close"));
    // The public one refuses, so that whoever falls back falls inside.
    world
        .names
        .says("charts.example", &[&[NOBODY, INSIDE], &[INSIDE, NOBODY]]);
    let error = world
        .get(&world.client())
        .await
        .expect_err("nobody is there");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{error:?}");
    world.assert_untouched();
}

#[tokio::test]
async fn services_of_other_protocols_are_dialled_by_the_same_rule() {
    let world = World::new(|_| ok("close"));
    world.names.says("bucket.example", &[&[OUTSIDE], &[INSIDE]]);
    let (config, clock) = (World::config(), Clock::system());
    let transport = Transport::new(&world.clients, &config, "s3 bucket `b`".into(), clock)
        .expect("a transport");
    let request = || Outgoing {
        method: Method::GET,
        url: world.url("bucket.example").into(),
        headers: HeaderMap::new(),
        body: bytes::Bytes::new(),
    };
    let mut answer = transport.send(request()).await.expect("the public address");
    while let Some(chunk) = answer.body.next().await {
        chunk.expect("a chunk");
    }
    let Err(failure) = transport.send(request()).await else {
        panic!("it has moved inside");
    };
    assert!(!failure.transient, "nothing changes by asking again");
    assert!(failure.error.message().contains("private address"));
    world.assert_untouched();
}

#[tokio::test]
async fn token_servers_are_dialled_by_the_same_rule() {
    let world = World::new(|line| {
        Some(match line.contains("/token") {
            true => "HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\n{\"token\":\"t\"}".to_owned(),
            false => "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"/token\",service=\"s\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
        })
    });
    // The registry itself is asked at its public address, its token server (the same name) a moment later inside.
    world
        .names
        .says("registry.example", &[&[OUTSIDE], &[INSIDE]]);
    let settings = Settings::new(world.url("registry.example"), World::config());
    let registry = Registry::new(
        "hub".into(),
        settings,
        &world.clients,
        Arc::default(),
        Clock::system(),
    );
    let registry = registry.expect("a registry");
    let name = RepoName::parse("app").expect("a name");
    let error = registry.tags(&name).await.expect_err("inside");
    assert!(
        error.chain().contains("private address"),
        "{}",
        error.chain()
    );
    assert_eq!(world.outside.requests(), 1);
    world.assert_untouched();
}
