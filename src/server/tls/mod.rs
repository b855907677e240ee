//! TLS for one listener: certificates that are reread when their files change, and the certificates of clients.
//!
//! The only place of the server that names rustls. Files that cannot be used never replace what is in use.

mod certificates;
mod clients;
mod host_names;
mod subject;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use pingora::listeners::tls::{Acceptor, TlsSettings};
use rustls::crypto::ring;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;

use self::certificates::ByName;
use self::clients::ReadSubject;
pub(super) use self::clients::{ClientCertificate, Shown};
use crate::config::Https;
use crate::error::{Error, Result};

/// What a TLS listener proves itself with and asks of its clients. Shared by all its handshakes.
pub(super) struct Identity {
    files: Https,
    current: ArcSwap<Material>,
    seen: Mutex<Vec<Option<Stamp>>>,
}

/// Enough of a file's metadata to notice that it was written or replaced.
type Stamp = (SystemTime, u64, u64);

/// What the files gave, and what serves handshakes by it.
struct Material {
    /// In the order of the configuration.
    certificates: Vec<Arc<CertifiedKey>>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    /// Holds the sessions that may be resumed: they end with it, so none outlives the authorities that it was begun under.
    acceptor: Acceptor,
}

impl Identity {
    /// Reads the files for the first time. Errors name the file and what is wrong with it. Blocks.
    pub(super) fn load(files: &Https) -> Result<Arc<Self>> {
        let seen = stamps(files);
        let provider = Arc::new(ring::default_provider());
        let certificates = files
            .certificates
            .iter()
            .map(|pair| certificates::read_pair(pair, &provider))
            .collect::<Result<_>>()?;
        let clients = read_clients(files).transpose()?;
        Ok(Arc::new(Self {
            files: files.clone(),
            current: ArcSwap::from_pointee(Material::new(certificates, clients)?),
            seen: Mutex::new(seen),
        }))
    }

    /// Rereads the files if they changed since the last look; of each that is not usable what is in use stays, and why is
    /// logged. New handshakes use the new certificates, connections stay. Blocks.
    pub(super) fn refresh(&self) {
        let now = stamps(&self.files);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == now {
                return;
            }
            // Remembered before reading: a broken pair is told once, and a write during the reading is seen next time.
            *seen = now;
        }
        let old = self.current.load_full();
        let mut renewed = 0;
        let provider = ring::default_provider();
        let pairs = self.files.certificates.iter().zip(&old.certificates);
        let certificates = pairs
            .map(
                |(pair, old)| match certificates::read_pair(pair, &provider) {
                    Ok(new) => {
                        renewed += 1;
                        new
                    }
                    Err(err) => {
                        self.tell(&err);
                        old.clone()
                    }
                },
            )
            .collect();
        let clients = match read_clients(&self.files) {
            Some(Ok(new)) => {
                renewed += 1;
                Some(new)
            }
            Some(Err(err)) => {
                self.tell(&err);
                old.clients.clone()
            }
            None => None,
        };
        if renewed == 0 {
            return;
        }
        match Material::new(certificates, clients) {
            Ok(material) => {
                self.current.store(Arc::new(material));
                tracing::info!(listener = %self.files.listen, "the certificates of `{}` were reread", self.files.listen);
            }
            Err(err) => self.tell(&err),
        }
    }

    /// Whether a certificate that was verified when its connection began counts now: by the authorities of the moment, and by its
    /// own dates. Costs a look; once a minute and after each change a verification.
    pub(super) fn counts(&self, client: &Shown) -> bool {
        let material = self.current.load();
        let verifier = material.clients.as_ref();
        verifier.is_some_and(|verifier| client.counts(verifier))
    }

    fn tell(&self, err: &Error) {
        tracing::error!(
            listener = %self.files.listen,
            "a changed certificate is not usable, the previous one stays: {}",
            err.chain()
        );
    }

    /// Answers one client's handshake on `stream`, by the files of the moment. Bounded by whoever waits for it.
    pub(super) async fn accept<S: pingora::protocols::IO + 'static>(
        &self,
        stream: S,
    ) -> pingora::Result<pingora::protocols::tls::TlsStream<S>> {
        let material = self.current.load_full();
        material.acceptor.tls_handshake(stream).await
    }
}

impl Material {
    fn new(
        certificates: Vec<Arc<CertifiedKey>>,
        clients: Option<Arc<dyn ClientCertVerifier>>,
    ) -> Result<Self> {
        let mut settings = TlsSettings::with_callbacks(Box::new(ReadSubject(clients.clone())))
            .map_err(|err| Error::internal("cannot set TLS up", err.to_string()))?;
        settings.set_cert_resolver(Arc::new(ByName::new(&certificates)));
        if let Some(clients) = &clients {
            settings.set_client_cert_verifier(clients.clone());
        }
        settings.enable_h2();
        Ok(Self {
            certificates,
            clients,
            acceptor: settings.build(),
        })
    }
}

fn read_clients(files: &Https) -> Option<Result<Arc<dyn ClientCertVerifier>>> {
    let path = files.client_ca_file.as_deref()?;
    let provider = Arc::new(ring::default_provider());
    let required = files.client_certificate_required;
    Some(clients::verifier(path, required, provider))
}

/// One stamp per file, `None` for a file that is not there.
fn stamps(files: &Https) -> Vec<Option<Stamp>> {
    use std::os::unix::fs::MetadataExt as _;
    let pairs = files.certificates.iter();
    let paths = pairs
        .flat_map(|pair| [&pair.cert_file, &pair.key_file])
        .chain(&files.client_ca_file);
    let stamp = |path: &PathBuf| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.modified().ok()?, meta.len(), meta.ino()))
    };
    paths.map(stamp).collect()
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}
