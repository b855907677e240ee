//! Certificates made on the spot.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pingora::tls::TlsAcceptor;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;

/// A certificate authority of the test's own.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    pem: String,
    certificate: CertificateDer<'static>,
    issuer: Arc<Issuer<'static, KeyPair>>,
}

impl Authority {
    /// A new authority.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("valid parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Arc::new(Issuer::new(params, key)),
        }
    }

    /// The authority's certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// Writes the authority's certificate to `ca.pem` in `folder`.
    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join("ca.pem");
        std::fs::write(&path, &self.pem).expect("a writable folder");
        path
    }

    /// Writes a client certificate and its key to `folder`.
    pub(crate) fn write_client(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.leaf(&[name.to_owned()]);
        let paths = (folder.join("client.crt"), folder.join("client.key"));
        std::fs::write(&paths.0, certificate.pem()).expect("a writable folder");
        std::fs::write(&paths.1, key.serialize_pem()).expect("a writable folder");
        paths
    }

    /// Writes a server certificate for these names and its key to `folder`.
    pub(crate) fn write_server(&self, folder: &Path, names: &[&str]) -> (PathBuf, PathBuf) {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let (certificate, key) = self.leaf(&names);
        let paths = (folder.join("server.crt"), folder.join("server.key"));
        std::fs::write(&paths.0, certificate.pem()).expect("a writable folder");
        std::fs::write(&paths.1, key.serialize_pem()).expect("a writable folder");
        paths
    }

    /// The server side of TLS for these names, asking for client certificates of `clients`.
    pub(super) fn acceptor(&self, names: &[String], clients: Option<&Self>) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (certificate, key) = self.leaf(names);
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring has them");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = rustls::RootCertStore::empty();
                roots
                    .add(clients.certificate.clone())
                    .expect("a certificate");
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .expect("one root");
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = builder
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a key that fits");
        TlsAcceptor::from(Arc::new(config))
    }

    fn leaf(&self, names: &[String]) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(names.to_vec()).expect("valid names");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate, key)
    }
}
