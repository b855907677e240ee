//! What a listener proves itself with: one certificate or several, chosen by the name that a client asks for.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::host_names;
use crate::config::CertificateFiles;
use crate::error::{Error, Result};

/// The certificates of a listener by the names that they are for.
#[derive(Debug)]
pub(super) struct ByName {
    /// For clients that ask for no name, or one that no certificate has.
    default: Option<Arc<CertifiedKey>>,
    /// Names in lower case, wildcards as `*.example.com`. Several: of different kinds of key.
    names: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl ByName {
    pub(super) fn new(certificates: &[Arc<CertifiedKey>]) -> Self {
        let mut names: HashMap<_, Vec<_>> = HashMap::new();
        for certificate in certificates {
            let leaf = certificate.cert.first();
            for name in leaf
                .map(|leaf| host_names::of_certificate(leaf))
                .unwrap_or_default()
            {
                names.entry(name).or_default().push(certificate.clone());
            }
        }
        Self {
            default: certificates.first().cloned(),
            names,
        }
    }

    /// The certificates for this host: its own before those of a wildcard, which stands for one label (RFC 9525 §6.3).
    fn of(&self, name: &str) -> Option<&[Arc<CertifiedKey>]> {
        let name = name.to_ascii_lowercase();
        let wildcard = || {
            let (_, parent) = name.split_once('.')?;
            self.names.get(&format!("*.{parent}"))
        };
        self.names.get(&name).or_else(wildcard).map(Vec::as_slice)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let Some(named) = hello.server_name().and_then(|name| self.of(name)) else {
            return self.default.clone();
        };
        let usable = |certificate: &&Arc<CertifiedKey>| {
            let scheme = certificate.key.choose_scheme(hello.signature_schemes());
            scheme.is_some()
        };
        named.iter().find(usable).or(named.first()).cloned()
    }
}

/// Reads one pair. Errors name the file and what is wrong with it. Blocks.
pub(super) fn read_pair(
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>> {
    let chain = read_chain(&files.cert_file)?;
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
    Ok(Arc::new(certificate))
}

/// Every certificate of a PEM file, at least one. Blocks.
pub(super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
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

pub(super) fn invalid(path: &Path, what: &str) -> Error {
    Error::invalid(format!("`{}` {what}", path.display()))
}
