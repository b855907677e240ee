//! The host names that an X.509 certificate is for, from its DER bytes.
//!
//! Only names in the subjectAltName extension count, as for every client (RFC 9525 §6.3); the walk is bounded and total.

use super::subject::{INTEGER, OBJECT_IDENTIFIER, SEQUENCE, VERSION, element};

/// DNS names in lower case, wildcards as they stand; empty where there are none, or the bytes are not a certificate.
pub(super) fn of_certificate(der: &[u8]) -> Vec<String> {
    alternative_names(der).map(dns_names).unwrap_or_default()
}

/// The content of the extension.
fn alternative_names(der: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    // version [0] OPTIONAL, serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo, two identifiers nobody
    // writes any more, extensions [3] (RFC 5280 §4.1)
    if let Some((_, after)) = element(rest, VERSION) {
        rest = after;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        (_, rest) = element(rest, tag)?;
    }
    for tag in [ISSUER_ID, SUBJECT_ID] {
        if let Some((_, after)) = element(rest, tag) {
            rest = after;
        }
    }
    let (extensions, _) = element(rest, EXTENSIONS)?;
    let (mut extensions, _) = element(extensions, SEQUENCE)?;
    loop {
        let (extension, after) = element(extensions, SEQUENCE)?;
        let (kind, mut value) = element(extension, OBJECT_IDENTIFIER)?;
        if kind == SUBJECT_ALT_NAME {
            if let Some((_, after)) = element(value, BOOLEAN) {
                value = after;
            }
            let (names, _) = element(value, OCTET_STRING)?;
            return Some(element(names, SEQUENCE)?.0);
        }
        extensions = after;
    }
}

fn dns_names(mut names: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while let Some((tag, content, after)) = super::subject::any_element(names) {
        if tag == DNS_NAME
            && let Ok(name) = std::str::from_utf8(content)
        {
            found.push(name.to_ascii_lowercase());
        }
        names = after;
    }
    found
}

const SUBJECT_ALT_NAME: &[u8] = &[0x55, 29, 17];
const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
const DNS_NAME: u8 = 0x82;
const ISSUER_ID: u8 = 0x81;
const SUBJECT_ID: u8 = 0x82;
const EXTENSIONS: u8 = 0xa3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn certificate(names: &[&str]) -> Vec<u8> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("names");
        let key = KeyPair::generate().expect("key");
        let certificate = params.self_signed(&key).expect("certificate");
        certificate.der().to_vec()
    }

    #[test]
    fn names_are_found_and_addresses_left_out() {
        let der = certificate(&["Charts.Example.com", "*.example.org", "192.0.2.1"]);
        assert_eq!(
            of_certificate(&der),
            ["charts.example.com", "*.example.org"]
        );
        assert!(of_certificate(&certificate(&[])).is_empty());
    }

    proptest! {
        #[test]
        fn damaged_certificates_never_panic(at in 0usize..400, byte: u8, cut in 0usize..400) {
            let mut der = certificate(&["a.example", "*.b.example"]);
            if let Some(place) = der.get_mut(at) {
                *place = byte;
            }
            der.truncate(der.len().saturating_sub(cut));
            let _ = of_certificate(&der);
        }
    }
}
