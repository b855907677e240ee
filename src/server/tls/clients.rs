//! The certificates of clients: who issues them, and whose they are.

use std::any::Any;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::listeners::TlsAccept;
use pingora::protocols::tls::TlsRef;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::{certificates, subject};
use crate::error::Result;

/// What is known of a client that showed a certificate, kept beside its connection.
#[derive(Clone, Debug)]
pub(in crate::server) enum ClientCertificate {
    /// Verified.
    Verified(Arc<Shown>),
    /// It counted when the session began that the client resumes, and does not any more.
    Refused,
}

/// A certificate that counted when its connection began.
#[derive(Debug)]
pub(in crate::server) struct Shown {
    subject: Option<Arc<str>>,
    /// The client's own first, as it sent them.
    chain: Vec<CertificateDer<'static>>,
    checked: Mutex<(Arc<dyn ClientCertVerifier>, Instant)>,
}

impl Shown {
    /// Verifies what a client showed. `None`: it does not count.
    fn verified(
        chain: &[CertificateDer<'_>],
        verifier: &Arc<dyn ClientCertVerifier>,
    ) -> Option<Self> {
        let (leaf, intermediates) = chain.split_first()?;
        let now = UnixTime::now();
        verifier.verify_client_cert(leaf, intermediates, now).ok()?;
        Some(Self {
            subject: subject::of_certificate(leaf).map(Into::into),
            chain: chain.iter().map(|one| one.clone().into_owned()).collect(),
            checked: Mutex::new((Arc::clone(verifier), Instant::now())),
        })
    }

    /// Whose it is; `None` where its subject is empty.
    pub(in crate::server) fn subject(&self) -> Option<Arc<str>> {
        self.subject.clone()
    }

    /// Whether it counts now, by this verifier.
    pub(super) fn counts(&self, verifier: &Arc<dyn ClientCertVerifier>) -> bool {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&checked.0, verifier) && checked.1.elapsed() < BELIEVED {
            return true;
        }
        let Some((leaf, intermediates)) = self.chain.split_first() else {
            return false;
        };
        let verified = verifier.verify_client_cert(leaf, intermediates, UnixTime::now());
        if verified.is_ok() {
            *checked = (Arc::clone(verifier), Instant::now());
        }
        verified.is_ok()
    }
}

/// How long the dates of a certificate are not looked at again.
const BELIEVED: Duration = Duration::from_mins(1);

/// Verifies certificates by the authorities in the file at `path`. Blocks.
pub(super) fn verifier(
    path: &Path,
    required: bool,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates::read_chain(path)? {
        roots.add(certificate).map_err(|err| {
            certificates::invalid(path, "holds a certificate that cannot be an authority")
                .with_source(err)
        })?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if !required {
        builder = builder.allow_unauthenticated();
    }
    builder
        .build()
        .map_err(|err| certificates::invalid(path, "cannot verify clients").with_source(err))
}

/// Reads the client's subject once per connection, right after the handshake.
///
/// A resumed session brings the certificate of its beginning along, which nobody looks at in that handshake: it may have
/// expired since. So it is verified here.
pub(super) struct ReadSubject(pub(super) Option<Arc<dyn ClientCertVerifier>>);

#[async_trait]
impl TlsAccept for ReadSubject {
    async fn handshake_complete_callback(
        &self,
        tls: &TlsRef,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        let verifier = self.0.as_ref()?;
        let chain = tls.peer_cert_chain_der()?;
        Some(Arc::new(match Shown::verified(chain, verifier) {
            Some(shown) => ClientCertificate::Verified(Arc::new(shown)),
            None => ClientCertificate::Refused,
        }))
    }
}
