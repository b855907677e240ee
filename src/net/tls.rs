//! TLS of outbound connections: the crypto provider, the authorities we trust, our own certificate.

use std::path::Path;

use reqwest::{Certificate, Identity};

use crate::error::{Error, Result};

/// Makes ring the crypto provider of this process. Safe to call any number of times, from anywhere.
pub fn install_provider() {
    // It fails when a provider is there already, which is what we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The authorities in a PEM file.
pub(super) fn authorities(path: &Path, pem: &[u8]) -> Result<Vec<Certificate>> {
    let certificates = Certificate::from_pem_bundle(pem).map_err(|error| {
        Error::invalid(format!(
            "`tls.ca_file` `{}` is not a list of PEM certificates",
            path.display()
        ))
        .with_source(error)
    })?;
    if certificates.is_empty() {
        return Err(Error::invalid(format!(
            "`tls.ca_file` `{}` holds no PEM certificate",
            path.display()
        )));
    }
    Ok(certificates)
}

/// Our certificate chain and its key, each from a PEM file.
pub(super) fn identity(path: &Path, certificate: &[u8], key: &[u8]) -> Result<Identity> {
    let mut pem = certificate.to_vec();
    pem.push(b'\n');
    pem.extend_from_slice(key);
    Identity::from_pem(&pem).map_err(|error| {
        Error::invalid(format!(
            "`tls.cert_file` `{}` and its `key_file` are not a PEM certificate and key",
            path.display()
        ))
        .with_source(error)
    })
}

/// What TLS objects to, and what to do about it, where `error` is a TLS failure.
pub(super) fn complaint(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    use rustls::CertificateError as Wrong;
    let failure = chain(error).find_map(as_tls)?;
    let text = match failure {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => {
                "its certificate is for other names".to_owned()
            }
            Wrong::UnknownIssuer => {
                "its certificate comes from an authority that is not trusted; name it in `tls.ca_file`"
                    .to_owned()
            }
            Wrong::Expired | Wrong::ExpiredContext { .. } => {
                "its certificate has expired".to_owned()
            }
            Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
                "its certificate is not valid yet".to_owned()
            }
            other => format!("its certificate is not acceptable: {other}"),
        },
        rustls::Error::AlertReceived(alert) => {
            format!("it refused the TLS handshake ({alert:?})")
        }
        other => format!("TLS fails: {other}"),
    };
    Some(text)
}

/// The error and all its causes, looking through the wrappers that `io::Error` hides from `source`.
pub(super) fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error.downcast_ref::<std::io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as _),
            None => error.source(),
        }
    })
}

fn as_tls<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    error.downcast_ref::<rustls::Error>()
}
