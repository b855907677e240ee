//! The certificates of clients: who issues them, and whose they are.

use std::any::Any;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::listeners::TlsAccept;
use pingora::protocols::tls::TlsRef;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::{certificates, subject};
use crate::error::Result;

/// What is known of a client that showed a certificate, kept beside its connection.
#[derive(Clone, Debug)]
pub(in crate::server) enum ClientCertificate {
    /// Verified, and whose it is; `None` where its subject is empty.
    Verified(Option<Arc<str>>),
    /// It counted when the session began that the client resumes, and does not any more.
    Refused,
}

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
        let (leaf, intermediates) = tls.peer_cert_chain_der()?.split_first()?;
        let verified = verifier.verify_client_cert(leaf, intermediates, UnixTime::now());
        Some(Arc::new(match verified {
            Ok(_) => ClientCertificate::Verified(subject::of_certificate(leaf).map(Into::into)),
            Err(_) => ClientCertificate::Refused,
        }))
    }
}
