//! TLS for one listener: a certificate that is reread when its files change, and the certificates of clients.
//!
//! The only place of the server that names rustls. Files that cannot be used never replace what is in use.

use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::listeners::TlsAccept;
use pingora::listeners::tls::TlsSettings;
use pingora::protocols::tls::TlsRef;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};

use super::subject;
use crate::config::Https;
use crate::error::{Error, Result};

/// The subject of a verified client certificate, kept beside its connection.
#[derive(Clone, Debug)]
pub(super) struct ClientSubject(pub(super) Arc<str>);

/// What a TLS listener proves itself with and asks of its clients. Shared by all its handshakes.
pub(super) struct Identity {
    files: Https,
    certificate: ArcSwap<CertifiedKey>,
    clients: Option<ArcSwap<Verifier>>,
    seen: Mutex<Vec<Option<Stamp>>>,
}

type Verifier = Arc<dyn ClientCertVerifier>;

/// Enough of a file's metadata to notice that it was written or replaced.
type Stamp = (SystemTime, u64, u64);

/// What one reading of the files gave.
struct Material {
    certificate: CertifiedKey,
    clients: Option<Verifier>,
}

impl Identity {
    /// Reads the files for the first time. Errors name the file and what is wrong with it. Blocks.
    pub(super) fn load(files: &Https) -> Result<Arc<Self>> {
        let seen = stamps(files);
        let material = Material::read(files)?;
        Ok(Arc::new(Self {
            files: files.clone(),
            certificate: ArcSwap::from_pointee(material.certificate),
            clients: material.clients.map(ArcSwap::from_pointee),
            seen: Mutex::new(seen),
        }))
    }

    /// Rereads the files if they changed since the last look; keeps what is in use and logs why where they are not usable.
    /// New handshakes use the new certificate, connections stay. Blocks.
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
        match Material::read(&self.files) {
            Ok(material) => {
                self.certificate.store(Arc::new(material.certificate));
                if let (Some(current), Some(new)) = (&self.clients, material.clients) {
                    current.store(Arc::new(new));
                }
                tracing::info!(listener = %self.files.listen, "certificate `{}` was reread", self.files.cert_file.display());
            }
            Err(err) => tracing::error!(
                listener = %self.files.listen,
                "the changed certificate is not usable, the previous one stays: {}",
                err.chain()
            ),
        }
    }

    /// The listener settings for pingora.
    pub(super) fn settings(self: &Arc<Self>) -> Result<TlsSettings> {
        let mut settings = TlsSettings::with_callbacks(Box::new(ReadSubject))
            .map_err(|err| Error::internal("cannot set TLS up", err.to_string()))?;
        settings.set_cert_resolver(self.clone());
        if self.clients.is_some() {
            settings.set_client_cert_verifier(Arc::new(CheckedClient(self.clone())));
        }
        settings.enable_h2();
        Ok(settings)
    }
}

impl Material {
    fn read(files: &Https) -> Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates(&files.cert_file)?;
        let pem = read(&files.key_file)?;
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|err| {
            invalid(&files.key_file, "holds no private key in PEM form").with_source(err)
        })?;
        let key = provider.key_provider.load_private_key(key).map_err(|err| {
            invalid(&files.key_file, "holds a key of an unsupported kind").with_source(err)
        })?;
        let certificate = CertifiedKey::new(chain, key);
        match certificate.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(err) => {
                let other = files.key_file.display();
                let text = format!("does not belong to the private key in `{other}`");
                return Err(invalid(&files.cert_file, &text).with_source(err));
            }
        }
        let clients = files
            .client_ca_file
            .as_deref()
            .map(|path| client_verifier(path, provider))
            .transpose()?;
        Ok(Self {
            certificate,
            clients,
        })
    }
}

fn client_verifier(path: &Path, provider: Arc<CryptoProvider>) -> Result<Verifier> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|err| {
            invalid(path, "holds a certificate that cannot be an authority").with_source(err)
        })?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|err| invalid(path, "cannot verify clients").with_source(err))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = read(path)?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|err| invalid(path, "is not a PEM file").with_source(err))?;
    if chain.is_empty() {
        return Err(invalid(path, "holds no certificate in PEM form"));
    }
    Ok(chain)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|err| invalid(path, &format!("cannot be read: {err}")))
}

fn invalid(path: &Path, what: &str) -> Error {
    Error::invalid(format!("`{}` {what}", path.display()))
}

/// One stamp per file, `None` for a file that is not there.
fn stamps(files: &Https) -> Vec<Option<Stamp>> {
    use std::os::unix::fs::MetadataExt as _;
    let paths = [
        Some(&files.cert_file),
        Some(&files.key_file),
        files.client_ca_file.as_ref(),
    ];
    let stamp = |path: &PathBuf| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.modified().ok()?, meta.len(), meta.ino()))
    };
    paths.into_iter().flatten().map(stamp).collect()
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certificate.load_full())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// Clients may show a certificate, or must where the listener says so; one that is shown must be good. Asks the authorities of
/// the moment.
#[derive(Debug)]
struct CheckedClient(Arc<Identity>);

impl CheckedClient {
    fn verifier(&self) -> Verifier {
        match &self.0.clients {
            Some(clients) => Verifier::clone(&clients.load()),
            // Built only for listeners with client authorities.
            None => WebPkiClientVerifier::no_client_auth(),
        }
    }
}

impl ClientCertVerifier for CheckedClient {
    fn client_auth_mandatory(&self) -> bool {
        self.0.files.client_certificate_required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Optional in TLS; the authorities may change while a borrowed list would be in use.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verifier()
            .verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier()
            .verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier()
            .verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier().supported_verify_schemes()
    }
}

/// Reads the client's subject once per connection, right after the handshake.
struct ReadSubject;

#[async_trait]
impl TlsAccept for ReadSubject {
    async fn handshake_complete_callback(
        &self,
        tls: &TlsRef,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        let subject = subject::of_certificate(tls.peer_certificate_der()?)?;
        Some(Arc::new(ClientSubject(subject.into())))
    }
}
