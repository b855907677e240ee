//! The program with every key of its listeners, through real files, sockets and signals.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Identity, Version};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::oracle::local;
use crate::support::fake::{Authority, FakeHelm, FakeRegistry, FakeUpstream};
use crate::support::gateway::Gateway;
use crate::support::http::{Call, exchange};
use crate::support::port::Port;
use crate::support::registries::{mirror, oci};
use crate::support::until;

/// A gateway with every key, and what its files were made of.
struct World {
    gateway: Gateway,
    config: Value,
    https: SocketAddr,
    /// Where connections begin with a PROXY protocol header.
    announced: SocketAddr,
    socket: PathBuf,
    servers: Authority,
    clients: Authority,
    _upstream: FakeUpstream,
    _ports: [Port; 2],
}

/// The subject of the kit's client certificates.
const SUBJECT: &str = "user:CN=rcgen self signed cert";

impl World {
    fn start(change: impl FnOnce(&mut Value)) -> Self {
        let (servers, clients) = (Authority::new(), Authority::new());
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_pair(&servers, folder.path(), "a");
        write_pair(&servers, folder.path(), "b");
        std::fs::write(folder.path().join("clients.crt"), clients.pem()).expect("a file");
        let upstream = FakeHelm::new().chart("app", "1.0.0").run();
        let ports = [Port::reserve(), Port::reserve()];
        let (https, announced) = (ports[0].address, ports[1].address);
        let socket = folder.path().join("gateway.sock");
        let config = json!({
            "upstreams": {"up": local(&upstream.url())},
            "tenants": {
                "open": {"charts": "up", "access": {"anonymous": ["pull"]}},
                "closed": {
                    "charts": "up", "hosted": true,
                    "access": {"rules": [{"subjects": [SUBJECT], "actions": ["pull", "push"]}]},
                },
            },
        });
        let mut gateway = Gateway::prepare(folder, config.clone());
        let mut config = config;
        config["data_dir"] = json!(gateway.data());
        config["server"] = json!({
            "http": [
                gateway.http.to_string(),
                {"listen": announced.to_string(), "proxy_protocol": true},
                format!("unix:{}", socket.display()),
            ],
            "https": [{
                "listen": https.to_string(),
                "certificates": [
                    {"cert_file": "a/server.crt", "key_file": "a/server.key"},
                    {"cert_file": "b/server.crt", "key_file": "b/server.key"},
                ],
                "client_ca_file": "clients.crt",
                "client_certificates": "optional",
            }],
            "admin": gateway.admin.to_string(),
            "redirect_http": true,
            "trusted_proxies": ["127.0.0.1", "unix"],
            "forwarded_header": "forwarded",
            "max_connections": 60,
            "max_connections_per_address": 3,
            "read_timeout": "2s",
            "write_timeout": "30s",
            "min_body_rate": "100KiB",
            "grace_period": "5s",
            "threads": 2,
        });
        change(&mut config);
        gateway.configure(&config);
        gateway.run();
        gateway.wait_ready();
        Self {
            gateway,
            config,
            https,
            announced,
            socket,
            servers,
            clients,
            _upstream: upstream,
            _ports: ports,
        }
    }

    /// A client that reaches the TLS listener under both names.
    fn client(&self) -> ClientBuilder {
        trusting(&self.servers, self.https)
    }

    fn url(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.https.port())
    }

    /// Waits until so many were turned away for this reason.
    #[track_caller]
    fn turned_away(&self, reason: &str, times: usize) {
        let line =
            format!("chartgate_connections_turned_away_total{{reason=\"{reason}\"}} {times}\n");
        until(&line, Duration::from_secs(20), || {
            let metrics = self.gateway.admin("/metrics").expect(200).text();
            metrics.contains(&line).then_some(())
        });
    }
}

/// `<name>/server.crt` for `<name>.example`.
fn write_pair(authority: &Authority, folder: &Path, name: &str) {
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    authority.write_server(&folder, &[&format!("{name}.example")]);
}

fn trusting(authority: &Authority, address: SocketAddr) -> ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificate = Certificate::from_pem(authority.pem().as_bytes()).expect("a certificate");
    Client::builder()
        .tls_certs_only([certificate])
        .resolve("a.example", address)
        .resolve("b.example", address)
        .no_proxy()
        .timeout(Duration::from_secs(60))
}

const REQUEST: &str = "GET /open/index.yaml HTTP/1.1\r\nHost: gw.example\r\nConnection: close\r\n";

/// A connection that a load balancer begins for a client.
fn announce(world: &World, client: &str) -> TcpStream {
    let mut stream = TcpStream::connect(world.announced).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a socket");
    stream
        .write_all(format!("PROXY TCP4 {client} 127.0.0.1 4711 80\r\n").as_bytes())
        .expect("sent");
    stream
}

/// The status of one request on a connection that stays open; `None`: it was closed.
fn status(stream: &mut TcpStream, fields: &str) -> Option<u16> {
    let head = format!("GET /health HTTP/1.1\r\nHost: gw.example\r\n{fields}\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    let mut line = [0; 12];
    stream.read_exact(&mut line).ok()?;
    std::str::from_utf8(&line[9..]).ok()?.parse().ok()
}

#[test]
fn whom_plain_listeners_believe_and_where_they_send_clients() {
    let world = World::start(|_| {});
    let gateway = &world.gateway;
    let reply = gateway.get("/open/index.yaml?a=b").expect(308);
    let there = format!(
        "https://gateway.test:{}/open/index.yaml?a=b",
        world.https.port()
    );
    assert_eq!(reply.header("location"), Some(there.as_str()));
    gateway.get("/health").expect(200);
    // What trusted proxies write in the configured field counts, and nothing else does.
    let forwarded = "for=203.0.113.9;proto=https;host=charts.example";
    let call = |path: &str, name: &str| Call::get(path).header(name, forwarded);
    gateway
        .send(&call("/open/index.yaml", "Forwarded"))
        .expect(200);
    gateway.wait_log(&["GET /open/index.yaml 200", "203.0.113.9"]);
    let other = Call::get("/open/index.yaml").header("X-Forwarded-Proto", "https");
    gateway.send(&other).expect(308);

    // A PROXY header names the client of the connection; the client's own words about that do not count.
    let text = format!(
        "PROXY TCP4 192.0.2.1 127.0.0.1 4711 80\r\n{REQUEST}Forwarded: proto=https;for=198.51.100.1\r\n\r\n"
    );
    let reply = exchange(world.announced, text.as_bytes(), false).expect("an answer");
    assert_eq!(reply.status, 308, "it came without TLS");
    gateway.wait_log(&["GET /open/index.yaml 308", "192.0.2.1"]);
    assert!(exchange(world.announced, format!("{REQUEST}\r\n").as_bytes(), false).is_err());
    world.turned_away("proxy_header", 1);

    // A Unix socket is a proxy's.
    let mut socket = UnixStream::connect(&world.socket).expect("a connection");
    let text = format!("{REQUEST}Forwarded: for=203.0.113.77;proto=https\r\n\r\n");
    socket.write_all(text.as_bytes()).expect("sent");
    let mut reply = String::new();
    socket.read_to_string(&mut reply).expect("an answer");
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    gateway.wait_log(&["GET /open/index.yaml 200", "203.0.113.77"]);
}

#[tokio::test]
async fn names_choose_certificates_and_certificates_identities() {
    let world = World::start(|_| {});
    for (version, client) in [
        (Version::HTTP_2, world.client()),
        (Version::HTTP_11, world.client().http1_only()),
    ] {
        let client = client.build().expect("a client");
        for host in ["a.example", "b.example"] {
            let reply = client.get(world.url(host, "/open/index.yaml")).send().await;
            let reply = reply.expect("a certificate for this name");
            assert_eq!((reply.status().as_u16(), reply.version()), (200, version));
        }
        let closed = client
            .get(world.url("a.example", "/closed/index.yaml"))
            .send();
        assert_eq!(closed.await.expect("an answer").status().as_u16(), 401);
    }
    let files = TempDir::new().expect("a folder");
    let known = |authority: &Authority| {
        let (certificate, key) = authority.write_client(files.path(), "ci");
        let both = [certificate, key].map(|path| std::fs::read_to_string(path).expect("a file"));
        let identity = Identity::from_pem(both.concat().as_bytes()).expect("an identity");
        world.client().identity(identity).build().expect("a client")
    };
    let ci = known(&world.clients);
    let closed = ci.get(world.url("a.example", "/closed/index.yaml")).send();
    assert_eq!(closed.await.expect("an answer").status().as_u16(), 200);
    let stranger = known(&Authority::new());
    let refused = stranger
        .get(world.url("a.example", "/open/index.yaml"))
        .send();
    assert!(refused.await.is_err());
    world.turned_away("handshake", 1);

    // Its authority goes: the connection that is open does not keep the identity.
    let file = world.gateway.folder().join("clients.crt");
    std::fs::write(file, Authority::new().pem()).expect("a file");
    world.gateway.signal("HUP");
    world
        .gateway
        .wait_log(&["the certificates of", "were reread"]);
    let closed = ci.get(world.url("a.example", "/closed/index.yaml")).send();
    assert!(closed.await.is_err());
    world.turned_away("certificate", 1);
}

#[test]
fn one_address_has_its_share_and_the_slow_are_ended() {
    let world = World::start(|_| {});
    let mut held: Vec<_> = (0..3).map(|_| announce(&world, "192.0.2.1")).collect();
    for stream in &mut held {
        assert_eq!(status(stream, ""), Some(200));
    }
    assert_eq!(status(&mut announce(&world, "192.0.2.1"), ""), None);
    world.turned_away("per_address", 1);
    assert_eq!(status(&mut announce(&world, "192.0.2.2"), ""), Some(200));
    drop(held);
    until("room again", Duration::from_secs(20), || {
        status(&mut announce(&world, "192.0.2.1"), "")
    });

    // Ten bytes and then a few more, where 100 KiB a second are due after two seconds.
    let mut slow = TcpStream::connect(world.gateway.http).expect("a connection");
    let head = "POST /api/closed/charts HTTP/1.1\r\nHost: gw.example\r\nForwarded: proto=https\r\nContent-Length: 100000000\r\n\r\n";
    slow.write_all(head.as_bytes()).expect("sent");
    slow.set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a socket");
    let mut seen = Vec::new();
    until(
        "the slow upload to be answered",
        Duration::from_secs(30),
        || {
            let _ = slow.write_all(b"0123456789");
            let mut bytes = [0; 1024];
            match slow.read(&mut bytes) {
                Ok(0) => Some(()),
                Ok(read) => {
                    seen.extend_from_slice(&bytes[..read]);
                    None
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
                Err(_) => Some(()),
            }
        },
    );
    let seen = String::from_utf8_lossy(&seen);
    assert!(seen.starts_with("HTTP/1.1 4"), "{seen}");
    // A head that never ends.
    let mut silent = TcpStream::connect(world.gateway.http).expect("a connection");
    silent.write_all(b"GET /hea").expect("sent");
    let mut rest = Vec::new();
    silent
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a socket");
    let _ = silent.read_to_end(&mut rest);
    assert!(rest.is_empty());
    world.turned_away("slow", 1);
}

#[test]
fn as_many_connections_as_are_allowed() {
    let world = World::start(|config| config["server"]["max_connections"] = json!(4));
    let connect = || TcpStream::connect(world.gateway.http).expect("a connection");
    let mut held: Vec<_> = (0..4).map(|_| connect()).collect();
    for stream in &mut held {
        assert_eq!(status(stream, ""), Some(200));
    }
    assert_eq!(status(&mut connect(), ""), None);
    world.turned_away("too_many", 1);
    // Operators have their own.
    world.gateway.admin("/healthz").expect(200);
}

#[test]
fn a_reload_says_which_keys_wait_for_the_next_start() {
    let world = World::start(|_| {});
    let mut next = world.config.clone();
    next["server"]["max_connections"] = json!(70);
    next["server"]["https"][0]["client_certificates"] = json!("required");
    next["server"]["trusted_proxies"] = json!(["127.0.0.1"]);
    next["server"]["external_url"] = json!("https://charts.example.com");
    world.gateway.configure(&next);
    for reloads in 1..=2 {
        world.gateway.signal("HUP");
        let keys = "changes of `server.https`, `server.trusted_proxies`, `server.max_connections` take effect at the next start";
        until("the log line", Duration::from_secs(20), || {
            (world.gateway.log().matches(keys).count() == reloads).then_some(())
        });
        world.gateway.wait_log(&["reloaded"]);
    }
    assert!(!world.gateway.log().contains("`server.external_url`"));
    world.gateway.configure(&world.config);
    world.gateway.signal("HUP");
    until("the reload", Duration::from_secs(20), || {
        (world.gateway.log().matches("reloaded `").count() == 3).then_some(())
    });
    assert_eq!(world.gateway.log().matches("changes of").count(), 2);
}

#[tokio::test]
async fn a_reload_drops_no_connection() {
    const SIZE: usize = 24 << 20;
    let fake = FakeRegistry::open().image_of("a/b", "1", SIZE).run();
    let world = World::start(|config| {
        config["upstreams"]["hub"] = oci(&fake.url());
        config["tenants"]["images"] = mirror(&["hub"]);
    });
    let image = fake.image("a/b", "1");
    let path = format!("/v2/images/hub/a/b/blobs/{}", image.layer);
    for client in [world.client(), world.client().http1_only()] {
        let client = client.build().expect("a client");
        let blob = client.get(world.url("a.example", &path)).send().await;
        let mut blob = blob.expect("an answer");
        assert_eq!(blob.status().as_u16(), 200);
        let mut bytes = blob
            .chunk()
            .await
            .expect("bytes")
            .expect("a start")
            .to_vec();
        assert!(bytes.len() < SIZE / 2);

        // All certificates are replaced, by those of another authority.
        let rereads = world.gateway.log().matches("were reread").count();
        let other = Authority::new();
        for name in ["a", "b"] {
            write_pair(&other, world.gateway.folder(), name);
        }
        world.gateway.signal("HUP");
        until("the new certificates", Duration::from_secs(20), || {
            let now = world.gateway.log().matches("were reread").count();
            (now > rereads).then_some(())
        });
        let late = trusting(&other, world.https).build().expect("a client");
        let url = world.url("b.example", "/open/index.yaml");
        let served = async {
            // The pairs may have been seen one by one.
            while late.get(&url).send().await.is_err() {}
        };
        let served = tokio::time::timeout(Duration::from_secs(20), served).await;
        served.expect("the new certificate is shown");
        let stale = world.client().build().expect("a client");
        assert!(stale.get(&url).send().await.is_err());

        while let Some(chunk) = blob.chunk().await.expect("it was not cut") {
            bytes.extend_from_slice(&chunk);
        }
        assert!(bytes == image.bytes, "{} bytes", bytes.len());
        // And the same connection serves on, under the certificate that it began with.
        let again = client
            .get(world.url("a.example", "/open/index.yaml"))
            .send();
        assert_eq!(again.await.expect("an answer").status().as_u16(), 200);
        for name in ["a", "b"] {
            write_pair(&world.servers, world.gateway.folder(), name);
        }
        let back = world.client().build().expect("a client");
        let served = async { while back.get(&url).send().await.is_err() {} };
        let served = tokio::time::timeout(Duration::from_secs(20), served).await;
        served.expect("noticed without a signal");
    }
}
