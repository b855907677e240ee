//! TLS: protocols, certificate reload, client certificates.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chartgate::config::{self, CertificateFiles, Https};
use chartgate::server::{Server, ServerOptions, Surface};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use reqwest::{Certificate, Client, ClientBuilder, Identity, Version};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore};
use tempfile::TempDir;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::raw::Raw;
use super::world::{World, config};

/// Once per process; later calls change nothing.
pub(super) fn install_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A folder with the files of one TLS listener.
pub(super) struct Files {
    folder: TempDir,
    pub(super) client_ca: bool,
    required: bool,
}

impl Files {
    /// Those of a listener that takes clients' certificates, the server's own certificate, and who issues the clients'.
    pub(super) fn for_clients() -> (Self, String, Authority) {
        let mut files = Self::new();
        let pem = files.renew();
        let authority = Authority::new();
        files.write("clients.crt", &authority.0.pem());
        files.client_ca = true;
        (files, pem, authority)
    }

    pub(super) fn new() -> Self {
        Self {
            folder: TempDir::new().expect("a folder"),
            client_ca: false,
            required: false,
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("a file");
    }

    /// Puts a new certificate for `localhost` in place and returns it as PEM.
    pub(super) fn renew(&self) -> String {
        self.renew_for("tls", "localhost")
    }

    /// As [`Files::renew`] for another pair and name.
    fn renew_for(&self, file: &str, name: &str) -> String {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        self.write(&format!("{file}.key"), &key.serialize_pem());
        self.write(&format!("{file}.crt"), &pem);
        pem
    }

    /// The first pair as it is now, for [`Files::restore`].
    pub(super) fn pair_texts(&self) -> [String; 2] {
        ["tls.crt", "tls.key"]
            .map(|name| std::fs::read_to_string(self.path().join(name)).expect("a file"))
    }

    pub(super) fn restore(&self, [certificate, key]: [String; 2]) {
        self.write("tls.crt", &certificate);
        self.write("tls.key", &key);
    }

    fn pair(&self, name: &str) -> CertificateFiles {
        CertificateFiles {
            cert_file: self.path().join(format!("{name}.crt")),
            key_file: self.path().join(format!("{name}.key")),
        }
    }

    pub(super) fn config(&self) -> config::Server {
        let https = Https {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            certificates: vec![self.pair("tls")],
            client_ca_file: self.client_ca.then(|| self.path().join("clients.crt")),
            client_certificate_required: self.required,
            proxy_protocol: false,
        };
        config::Server {
            https: vec![https],
            ..config()
        }
    }

    pub(super) async fn serve(&self) -> World {
        World::with(&self.config(), ServerOptions::default()).await
    }
}

/// A client that trusts this certificate alone.
pub(super) fn trusting(pem: &str) -> ClientBuilder {
    install_provider();
    let certificate = Certificate::from_pem(pem.as_bytes()).expect("a certificate");
    Client::builder()
        .tls_certs_only([certificate])
        .no_proxy()
        .timeout(Duration::from_secs(20))
}

pub(super) async fn get(
    world: &World,
    client: &Client,
    path: &str,
) -> reqwest::Result<(Version, String)> {
    let port = world.address(Surface::Https).port();
    let reply = client
        .get(format!("https://localhost:{port}{path}"))
        .send()
        .await?;
    Ok((reply.version(), reply.text().await?))
}

#[tokio::test]
async fn both_protocols_are_offered() {
    let files = Files::new();
    let pem = files.renew();
    let world = files.serve().await;
    let newest = trusting(&pem).build().expect("a client");
    let oldest = trusting(&pem).http1_only().build().expect("a client");
    for (client, version) in [(newest, Version::HTTP_2), (oldest, Version::HTTP_11)] {
        let (spoken, text) = get(&world, &client, "/hello").await.expect("an answer");
        assert_eq!((spoken, text.as_str()), (version, "hello\n"));
        let (_, large) = get(&world, &client, "/stream").await.expect("an answer");
        assert_eq!(large, "one two");
        let broken = get(&world, &client, "/stream/broken").await;
        assert!(broken.is_err(), "{version:?}");
    }
}

#[tokio::test]
async fn an_early_answer_arrives_over_tls() {
    let files = Files::new();
    let pem = files.renew();
    let world = files.serve().await;
    let port = world.address(Surface::Https).port();
    let newest = trusting(&pem).build().expect("a client");
    let oldest = trusting(&pem).http1_only().build().expect("a client");
    for client in [newest, oldest] {
        let put = client.put(format!("https://localhost:{port}/refuse"));
        let reply = put
            .body(vec![b'a'; 4 << 20])
            .send()
            .await
            .expect("an answer");
        assert_eq!(reply.status().as_u16(), 401);
    }
}

#[tokio::test]
async fn a_new_certificate_is_used_without_cutting_connections() {
    let files = Files::new();
    let old = files.renew();
    let world = files.serve().await;
    let first = trusting(&old).build().expect("a client");
    let before = get(&world, &first, "/peer").await.expect("an answer");

    let new = files.renew();
    world.control.reload();
    world.hooks.reloaded.acquire().await.expect("open").forget();

    let after = get(&world, &first, "/peer").await.expect("an answer");
    assert_eq!(before, after, "another connection");
    let late = trusting(&new).build().expect("a client");
    assert!(get(&world, &late, "/hello").await.is_ok());
    let stale = trusting(&old).build().expect("a client");
    assert!(get(&world, &stale, "/hello").await.is_err());
}

#[tokio::test]
async fn changed_files_are_noticed_without_a_signal() {
    let files = Files::new();
    files.renew();
    let mut options = ServerOptions::default();
    options.times.certificate_poll = Duration::from_millis(20);
    let world = World::with(&files.config(), options).await;
    let client = trusting(&files.renew()).build().expect("a client");
    let served = async { while get(&world, &client, "/hello").await.is_err() {} };
    timeout(Duration::from_secs(20), served)
        .await
        .expect("the new certificate");
}

#[tokio::test]
async fn broken_files_keep_the_previous_certificate() {
    let files = Files::new();
    let pem = files.renew();
    let world = files.serve().await;
    let foreign = KeyPair::generate().expect("a key").serialize_pem();
    for (name, text) in [
        ("tls.crt", "not a certificate"),
        ("tls.key", foreign.as_str()),
        ("tls.key", ""),
    ] {
        files.write(name, text);
        world.control.reload();
        world.hooks.reloaded.acquire().await.expect("open").forget();
        let client = trusting(&pem).build().expect("a client");
        assert!(
            get(&world, &client, "/hello").await.is_ok(),
            "{name} = {text:?}"
        );
    }
}

#[tokio::test]
async fn unusable_files_are_told_at_start() {
    let files = Files::new();
    let missing = Server::bind(&files.config(), ServerOptions::default()).await;
    let text = missing.expect_err("no files").message().to_owned();
    assert!(text.contains("tls.crt` cannot be read"), "{text}");
    files.renew();
    files.write(
        "tls.key",
        &KeyPair::generate().expect("a key").serialize_pem(),
    );
    let foreign = Server::bind(&files.config(), ServerOptions::default()).await;
    let text = foreign.expect_err("a foreign key").message().to_owned();
    assert!(
        text.contains("does not belong to the private key"),
        "{text}"
    );
}

/// Whether a client that trusts this certificate alone reaches the server by that name.
async fn is_served(world: &World, pem: &str, name: &str) -> bool {
    let address = world.address(Surface::Https);
    let client = trusting(pem)
        .resolve(name, address)
        .build()
        .expect("a client");
    let url = format!("https://{name}:{}/hello", address.port());
    client.get(url).send().await.is_ok()
}

#[tokio::test]
async fn the_certificate_is_the_one_for_the_name_that_is_asked_for() {
    let files = Files::new();
    let first = files.renew();
    let exact = files.renew_for("exact", "a.b.example");
    let wildcard = files.renew_for("wildcard", "*.b.example");
    let mut config = files.config();
    let more = ["exact", "wildcard"].map(|name| files.pair(name));
    config.https[0].certificates.extend(more);
    let world = World::with(&config, ServerOptions::default()).await;
    for (pem, name) in [
        (&first, "localhost"),
        (&exact, "a.b.example"),
        (&exact, "A.B.EXAMPLE"),
        (&wildcard, "c.b.example"),
    ] {
        assert!(is_served(&world, pem, name).await, "{name}");
    }
    for (pem, name) in [
        (&first, "a.b.example"),
        (&wildcard, "a.b.example"),
        (&wildcard, "d.c.b.example"),
        (&wildcard, "b.example"),
    ] {
        assert!(!is_served(&world, pem, name).await, "{name}");
    }
}

#[tokio::test]
async fn a_broken_pair_keeps_its_own_certificate_only() {
    let files = Files::new();
    files.renew();
    let other = files.renew_for("other", "other.example");
    let mut config = files.config();
    config.https[0].certificates.push(files.pair("other"));
    let world = World::with(&config, ServerOptions::default()).await;

    let renewed = files.renew();
    files.write("other.crt", "not a certificate");
    world.control.reload();
    world.hooks.reloaded.acquire().await.expect("open").forget();
    assert!(is_served(&world, &renewed, "localhost").await);
    assert!(is_served(&world, &other, "other.example").await);
}

/// An authority and what it signs for clients.
pub(super) struct Authority(pub(super) CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "clients");
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// Certificate and key of a client of this name.
    pub(super) fn issue(&self, name: &str) -> Identity {
        let (certificate, key) = self.sign(name);
        let both = format!("{}{}", certificate.pem(), key.serialize_pem());
        Identity::from_pem(both.as_bytes()).expect("an identity")
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        self.sign_with(name, |_| {})
    }

    pub(super) fn sign_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate, key)
    }
}

#[tokio::test]
async fn client_certificates_are_optional_verified_and_told() {
    let (files, pem, authority) = Files::for_clients();
    let world = files.serve().await;

    let nobody = trusting(&pem).build().expect("a client");
    assert_eq!(
        get(&world, &nobody, "/subject").await.expect("an answer").1,
        "nobody\n"
    );
    for http1 in [true, false] {
        let mut ci = trusting(&pem).identity(authority.issue("ci"));
        if http1 {
            ci = ci.http1_only();
        }
        let ci = ci.build().expect("a client");
        assert_eq!(
            get(&world, &ci, "/subject").await.expect("an answer").1,
            "CN=ci,O=Example\n"
        );
    }
    let stranger = trusting(&pem).identity(Authority::new().issue("ci"));
    let stranger = stranger.build().expect("a client");
    assert!(get(&world, &stranger, "/subject").await.is_err());
}

/// Asks who the client is on a connection of its own, and says whether its session was resumed.
fn subject_of(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
) -> std::io::Result<(Option<HandshakeKind>, String)> {
    let name = "localhost".try_into().expect("a name");
    let mut session = ClientConnection::new(config.clone(), name).expect("a session");
    let mut socket = std::net::TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut stream = rustls::Stream::new(&mut session, &mut socket);
    stream.write_all(b"GET /subject HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n")?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let body = reply.rsplit("\r\n").next().unwrap_or_default();
    Ok((session.handshake_kind(), body.to_owned()))
}

#[tokio::test]
async fn a_session_does_not_outlive_the_authority_that_it_began_under() {
    install_provider();
    let (files, pem, authority) = Files::for_clients();
    let world = files.serve().await;
    let mut roots = RootCertStore::empty();
    let server = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    roots.add(server).expect("an authority");
    let (certificate, key) = authority.sign("ci");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate.der().clone()], key)
        .expect("a client");
    let client = Arc::new(client);
    let address = world.address(Surface::Https);
    let ask = || {
        let client = client.clone();
        let asked = spawn_blocking(move || subject_of(&client, address));
        async { asked.await.expect("no panic") }
    };
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let (seen, subject) = ask().await.expect("an answer");
        assert_eq!((seen, subject.as_str()), (Some(kind), "CN=ci,O=Example\n"));
    }
    files.write("clients.crt", &Authority::new().0.pem());
    world.control.reload();
    world.hooks.reloaded.acquire().await.expect("open").forget();
    let late = ask().await;
    assert!(late.is_err(), "{late:?}");
}

#[tokio::test]
async fn a_listener_that_requires_certificates_serves_nobody_else() {
    let mut files = Files::new();
    let pem = files.renew();
    let authority = Authority::new();
    files.write("clients.crt", &authority.0.pem());
    (files.client_ca, files.required) = (true, true);
    let world = files.serve().await;
    for http1 in [true, false] {
        let client = |identity: Option<Identity>| {
            let mut client = trusting(&pem);
            if let Some(identity) = identity {
                client = client.identity(identity);
            }
            if http1 {
                client = client.http1_only();
            }
            client.build().expect("a client")
        };
        let nobody = get(&world, &client(None), "/subject").await;
        assert!(nobody.is_err(), "{nobody:?}");
        let stranger = Authority::new().issue("ci");
        assert!(
            get(&world, &client(Some(stranger)), "/subject")
                .await
                .is_err()
        );
        let ci = client(Some(authority.issue("ci")));
        assert_eq!(
            get(&world, &ci, "/subject").await.expect("an answer").1,
            "CN=ci,O=Example\n"
        );
    }
    for _ in 0..2 {
        world.desk.outcome().await;
    }
    let others = world.desk.outcomes.lock().expect("lock").len();
    assert_eq!(others, 0, "a handler saw a client without certificate");
}

#[tokio::test]
async fn plain_http_on_the_tls_port_is_only_a_failed_handshake() {
    let files = Files::new();
    let pem = files.renew();
    let world = files.serve().await;
    let mut plain = Raw::connect(world.address(Surface::Https)).await;
    plain.send("GET /hello HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    plain.ended().await;
    let client = trusting(&pem).build().expect("a client");
    assert!(get(&world, &client, "/hello").await.is_ok());
}
