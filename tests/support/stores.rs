//! Real object stores on free loopback ports: MinIO, Azurite, fake-gcs-server, etcd. Each has the bucket [`BUCKET`].
//!
//! `None`: the server is not installed, and nobody insists (see [`tools`](super::tools)).

#![allow(dead_code, reason = "a kit: not every part is in use at every moment")]

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chartgate::config::{Azblob, Client, Etcd, Gcs, ObjectStore, S3, Secret, Service};
use tempfile::TempDir;

use super::fake::Authority;
use super::http::Call;
use super::port::Port;
use super::{tools, until};

/// The bucket that every store here has.
pub(crate) const BUCKET: &str = "charts";

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Store {
    child: Child,
    port: Port,
    folder: TempDir,
    /// How to reach it, with the right credentials and an empty prefix.
    pub(crate) config: ObjectStore,
}

impl Store {
    /// MinIO.
    pub(crate) fn minio() -> Option<Self> {
        let program = tools::minio()?;
        Some(
            Self::start(|port, folder| {
                std::fs::create_dir(folder.join(BUCKET)).expect("a bucket");
                let mut command = Command::new(&program);
                command
                    .args([
                        "server",
                        "--quiet",
                        "--address",
                        &format!("127.0.0.1:{port}"),
                    ])
                    .args(["--console-address", "127.0.0.1:0"])
                    .arg(folder)
                    .env("HOME", folder)
                    .env("MINIO_ROOT_USER", "minio-user")
                    .env("MINIO_ROOT_PASSWORD", "minio-password")
                    .env("MINIO_BROWSER", "off");
                (command, s3(&format!("http://127.0.0.1:{port}")))
            })
            .ready("/minio/health/cluster"),
        )
    }

    /// Azurite, for Azure Blob Storage.
    pub(crate) fn azurite() -> Option<Self> {
        let program = tools::azurite()?;
        let store = Self::start(|port, folder| {
            let mut command = Command::new(&program);
            command
                .args([
                    "--silent",
                    "--disableTelemetry",
                    "--skipApiVersionCheck",
                    "--disableProductStyleUrl",
                ])
                .args(["--blobPort", &port.to_string(), "--location"])
                .arg(folder);
            let service = Service::Azblob(Azblob {
                container: BUCKET.into(),
                account_name: Some("devstoreaccount1".into()),
                account_key: Some(Secret::new(AZURITE_KEY)),
                endpoint: Some(format!("http://127.0.0.1:{port}/devstoreaccount1")),
            });
            (command, service)
        })
        .ready("/");
        let make = format!("/devstoreaccount1/{BUCKET}?restype=container&{AZURITE_SIGNATURE}");
        Call::new("PUT", &make)
            .body("")
            .send(store.address())
            .expect(201);
        Some(store)
    }

    /// fake-gcs-server, for Google Cloud Storage.
    pub(crate) fn fake_gcs() -> Option<Self> {
        let program = tools::fake_gcs_server()?;
        let store = Self::start(|port, _| {
            let url = format!("http://127.0.0.1:{port}");
            let mut command = Command::new(&program);
            command
                .args([
                    "-scheme",
                    "http",
                    "-host",
                    "127.0.0.1",
                    "-backend",
                    "memory",
                ])
                .args(["-port", &port.to_string(), "-external-url", &url])
                .args(["-log-level", "error"]);
            let service = Service::Gcs(Gcs {
                bucket: BUCKET.into(),
                endpoint: Some(url),
                anonymous: true,
                ..Gcs::default()
            });
            (command, service)
        })
        .ready("/storage/v1/b");
        Call::new("POST", "/storage/v1/b?project=test")
            .header("Content-Type", "application/json")
            .body(format!("{{\"name\": \"{BUCKET}\"}}"))
            .send(store.address())
            .expect(200);
        Some(store)
    }

    /// etcd without users and TLS. The prefix is the "bucket".
    pub(crate) fn etcd() -> Option<Self> {
        Self::etcd_with(None)
    }

    /// etcd behind TLS: with a certificate of `authority`, for clients that have one too.
    pub(crate) fn etcd_with(authority: Option<&Authority>) -> Option<Self> {
        let program = tools::etcd()?;
        let scheme = if authority.is_some() { "https" } else { "http" };
        let mut client = client();
        let mut store = Self::start(|port, folder| {
            let url = format!("{scheme}://127.0.0.1:{port}");
            let mut command = Command::new(&program);
            command
                .args(["--data-dir"])
                .arg(folder.join("data"))
                .args([
                    "--listen-client-urls",
                    &url,
                    "--advertise-client-urls",
                    &url,
                ])
                .args(["--listen-peer-urls", "http://127.0.0.1:0"])
                .args(["--logger", "zap", "--log-level", "error"])
                .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH);
            if let Some(authority) = authority {
                let (certificate, key) = authority.write_server(folder, &["127.0.0.1"]);
                let ca = authority.write(folder);
                command.arg("--cert-file").arg(certificate);
                command.arg("--key-file").arg(key);
                command
                    .arg("--trusted-ca-file")
                    .arg(&ca)
                    .arg("--client-cert-auth");
                client.ca_file = Some(ca);
                client.identity = Some(authority.write_client(folder, "chartgate"));
            }
            let service = Service::Etcd(Etcd {
                endpoints: vec![url],
                ..Etcd::default()
            });
            (command, service)
        });
        store.config.client = client;
        store.config.prefix = BUCKET.into();
        Some(store.listening())
    }

    fn start(make: impl FnOnce(u16, &Path) -> (Command, Service)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let reserved = Port::reserve();
        let port = reserved.address.port();
        let (mut command, service) = make(port, folder.path());
        let child = command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let config = ObjectStore {
            service,
            prefix: String::new(),
            client: client(),
        };
        Self {
            child,
            port: reserved,
            folder,
            config,
        }
    }

    /// Waits until the server answers for `path`, whatever it answers, save that it is not ready.
    fn ready(self, path: &str) -> Self {
        until("a store that answers", PATIENCE, || {
            let reply = Call::get(path).try_send(self.address()).ok()?;
            (reply.status < 500).then_some(())
        });
        self
    }

    /// Waits until the server takes connections.
    fn listening(self) -> Self {
        until("a store that listens", PATIENCE, || {
            TcpStream::connect(self.address()).ok()
        });
        self
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Ends the server, as a crash would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops the process without ending it (`STOP`), or lets it go on (`CONT`).
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args(["-s", signal, &self.child.id().to_string()])
            .status();
        assert!(status.expect("kill runs").success());
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A running ChartMuseum; killed when dropped.
#[derive(Debug)]
pub(crate) struct ChartMuseum {
    child: Child,
    port: Port,
    _folder: TempDir,
}

impl ChartMuseum {
    /// Starts it with these variables and waits until it is healthy.
    pub(crate) fn start(program: &Path, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let reserved = Port::reserve();
        let port = reserved.address.port();
        let child = Command::new(program)
            .current_dir(folder.path())
            .envs(variables.iter().copied())
            .env("PORT", port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chartmuseum starts");
        let museum = Self {
            child,
            port: reserved,
            _folder: folder,
        };
        until("a healthy ChartMuseum", PATIENCE, || {
            let reply = Call::get("/health").try_send(museum.address()).ok()?;
            (reply.status == 200).then_some(())
        });
        museum
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address
    }
}

impl Drop for ChartMuseum {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Our own addresses may be dialled.
pub(crate) fn client() -> Client {
    Client {
        allow_private: true,
        timeout: Duration::from_secs(10),
        ..Client::default()
    }
}

/// MinIO's bucket.
pub(crate) fn s3(endpoint: &str) -> Service {
    Service::S3(S3 {
        bucket: BUCKET.into(),
        endpoint: Some(endpoint.into()),
        region: Some("us-east-1".into()),
        access_key_id: Some("minio-user".into()),
        secret_access_key: Some(Secret::new("minio-password")),
        path_style: true,
        ..S3::default()
    })
}

const PATIENCE: Duration = Duration::from_secs(60);

/// Of Azurite's one account; its documentation has it.
pub(crate) const AZURITE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A signature for everything in that account, until 2099.
const AZURITE_SIGNATURE: &str = "sp=rwdlac&ss=b&srt=sco&se=2099-12-31T00%3A00%3A00Z&sv=2020-08-04&sig=TChojcqE5kE9GhGayZyPhQkfnf5fs0%2BgJHKQ%2FViwilo%3D";
