//! Certificates of clients that stop counting, and which protocols and ciphers are spoken.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chartgate::server::{Surface, TurnedAway};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore};
use tokio::task::spawn_blocking;

use super::tls::{Authority, Files, get, install_provider, trusting};
use super::world::World;
use crate::support::until;

async fn reload(world: &World) {
    world.control.reload();
    world.hooks.reloaded.acquire().await.expect("open").forget();
}

#[tokio::test]
async fn nobody_keeps_an_identity_by_never_leaving() {
    for http1 in [true, false] {
        let mut files = Files::new();
        let pem = files.renew();
        let (stays, goes) = (Authority::new(), Authority::new());
        files.write("clients.crt", &format!("{}{}", stays.0.pem(), goes.0.pem()));
        files.client_ca = true;
        let world = files.serve().await;
        let client = |authority: Option<&Authority>| {
            let mut client = trusting(&pem);
            if let Some(authority) = authority {
                client = client.identity(authority.issue("ci"));
            }
            if http1 {
                client = client.http1_only();
            }
            client.build().expect("a client")
        };
        let (staying, going, nobody) = (client(Some(&stays)), client(Some(&goes)), client(None));
        let ask = async |client| get(&world, client, "/subject").await;
        let place = async |client| get(&world, client, "/peer").await.expect("an answer");
        for one in [&staying, &going] {
            assert_eq!(ask(one).await.expect("an answer").1, "CN=ci,O=Example\n");
        }
        let (before, stranger) = (place(&staying).await, place(&nobody).await);

        files.write("clients.crt", &stays.0.pem());
        reload(&world).await;
        let refused = ask(&going).await;
        assert!(refused.is_err(), "{refused:?}");
        assert_eq!(world.desk.refusal().await, TurnedAway::Certificate);
        // Those whose authority stays, and those without a certificate, keep even their connections.
        assert_eq!(place(&staying).await, before);
        assert_eq!(place(&nobody).await, stranger);
        assert_eq!(
            ask(&staying).await.expect("an answer").1,
            "CN=ci,O=Example\n"
        );
        drop(world);
    }
}

#[tokio::test]
async fn what_runs_when_an_authority_is_withdrawn_ends_as_it_began() {
    let (files, pem, authority) = Files::for_clients();
    let world = files.serve().await;
    let client = trusting(&pem).identity(authority.issue("ci"));
    let client = client.build().expect("a client");
    let held = {
        let (client, port) = (client.clone(), world.address(Surface::Https).port());
        tokio::spawn(async move {
            let held = client.get(format!("https://localhost:{port}/held")).send();
            held.await.expect("an answer").text().await
        })
    };
    world.one_held().await;
    files.write("clients.crt", &Authority::new().0.pem());
    reload(&world).await;
    world.desk.gate.add_permits(1);
    assert_eq!(held.await.expect("no panic").expect("a body"), "let go\n");
    assert!(get(&world, &client, "/hello").await.is_err());
}

/// A request on a connection of its own: how its handshake went, and the answer.
fn asked(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
) -> (Option<HandshakeKind>, std::io::Result<String>) {
    let name = "localhost".try_into().expect("a name");
    let mut session = ClientConnection::new(config.clone(), name).expect("a session");
    let answer = || -> std::io::Result<String> {
        let mut socket = std::net::TcpStream::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut stream = rustls::Stream::new(&mut session, &mut socket);
        stream.write_all(b"GET /subject HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n")?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        Ok(reply)
    };
    let mut answer = answer;
    let answer = answer();
    (session.handshake_kind(), answer)
}

#[tokio::test]
async fn a_resumed_session_does_not_outlive_its_certificate() {
    install_provider();
    let (files, pem, authority) = Files::for_clients();
    let world = files.serve().await;
    let mut roots = RootCertStore::empty();
    let server = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    roots.add(server).expect("an authority");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let end = now.expect("after 1970") + Duration::from_secs(3);
    let (certificate, key) = authority.sign_with("ci", |params| {
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + end;
    });
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate.der().clone()], key)
        .expect("a client");
    let client = Arc::new(client);
    let address = world.address(Surface::Https);
    let (kinds, last) = spawn_blocking(move || {
        let mut kinds = Vec::new();
        let last = until("the certificate to expire", Duration::from_secs(30), || {
            let (kind, answer) = asked(&client, address);
            match answer {
                Ok(reply) => {
                    assert!(reply.ends_with("CN=ci,O=Example\n"), "{reply}");
                    kinds.push(kind);
                    None
                }
                Err(_) => Some(kind),
            }
        });
        (kinds, last)
    })
    .await
    .expect("no panic");
    assert_eq!(kinds.first(), Some(&Some(HandshakeKind::Full)));
    assert_eq!(
        last,
        Some(HandshakeKind::Resumed),
        "refused although it was resumed"
    );
    assert_eq!(world.desk.refusal().await, TurnedAway::Certificate);
}

/// The answer to the first record of a handshake that offers this version and these ciphers.
fn answer_to(address: SocketAddr, version: [u8; 2], ciphers: &[[u8; 2]]) -> Vec<u8> {
    let length = |bytes: usize| u16::try_from(bytes).expect("short").to_be_bytes();
    // supported_groups, ec_point_formats, signature_algorithms: P-256 and ECDSA with it.
    let mut extensions = vec![0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0];
    extensions.extend([0, 13, 0, 6, 0, 4, 4, 3, 8, 4]);
    let mut hello = version.to_vec();
    hello.extend([7; 32]);
    hello.push(0);
    hello.extend(length(ciphers.len() * 2));
    hello.extend(ciphers.concat());
    hello.extend([1, 0]);
    hello.extend(length(extensions.len()));
    hello.extend(extensions);
    let mut record = vec![22, 3, 1];
    record.extend(length(hello.len() + 4));
    record.extend([1, 0]);
    record.extend(length(hello.len()));
    record.extend(hello);
    let mut socket = std::net::TcpStream::connect(address).expect("a connection");
    let patience = Some(Duration::from_secs(20));
    socket.set_read_timeout(patience).expect("a socket");
    socket.write_all(&record).expect("sent");
    let mut head = [0; 5];
    socket.read_exact(&mut head).expect("a record");
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    socket.read_exact(&mut body).expect("a whole record");
    [vec![head[0]], body].concat()
}

#[tokio::test]
async fn only_tls_1_2_and_1_3_with_strong_ciphers_are_spoken() {
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    let files = Files::new();
    files.renew();
    let world = files.serve().await;
    let address = world.address(Surface::Https);
    let ask = async |version, ciphers: &'static [[u8; 2]]| {
        let asked = spawn_blocking(move || answer_to(address, version, ciphers));
        asked.await.expect("no panic")
    };
    // ECDHE with AES-GCM is taken: what is refused below is not refused for its form.
    let strong: &[[u8; 2]] = &[[0xc0, 0x2b], [0xc0, 0x2c]];
    assert_eq!(ask([3, 3], strong).await[0], HANDSHAKE);
    // SSL 3, TLS 1.0, TLS 1.1: protocol_version.
    for version in [[3, 0], [3, 1], [3, 2]] {
        assert_eq!(ask(version, strong).await, [ALERT, 2, 70], "{version:?}");
        assert_eq!(world.desk.refusal().await, TurnedAway::Handshake);
    }
    // RSA key exchange, CBC, 3DES, RC4, NULL, anonymous: handshake_failure.
    let weak: &[[u8; 2]] = &[
        [0, 0x9c],
        [0, 0x2f],
        [0xc0, 0x09],
        [0xc0, 0x23],
        [0xc0, 0x08],
        [0, 5],
        [0xc0, 6],
        [0xc0, 0x18],
    ];
    assert_eq!(ask([3, 3], weak).await, [ALERT, 2, 40]);
}

#[tokio::test]
async fn a_download_over_a_reload_comes_whole() {
    let files = Files::new();
    let old = files.renew();
    let world = files.serve().await;
    let port = world.address(Surface::Https).port();
    for http1 in [true, false] {
        let mut client = trusting(&old);
        if http1 {
            client = client.http1_only();
        }
        let client = client.build().expect("a client");
        let large = client.get(format!("https://localhost:{port}/large")).send();
        let mut large = large.await.expect("an answer");
        let mut bytes = large
            .chunk()
            .await
            .expect("bytes")
            .expect("a start")
            .to_vec();
        let (kept, new) = (files.pair_texts(), files.renew());
        reload(&world).await;
        let late = trusting(&new).build().expect("a client");
        assert!(get(&world, &late, "/hello").await.is_ok());
        while let Some(chunk) = large.chunk().await.expect("no break") {
            bytes.extend_from_slice(&chunk);
        }
        assert_eq!(bytes, super::desk::pattern(3 << 20));
        files.restore(kept);
        reload(&world).await;
    }
}
