//! The subject of an X.509 certificate as text, from its DER bytes.
//!
//! Certificates that come here were verified by the TLS library; the walk is bounded and total all the same. Text is
//! RFC 4514: most specific first (`CN=ci,OU=build,O=Example`), special characters escaped, unknown types as dotted numbers.

use std::fmt::Write as _;

/// The subject in RFC 4514 form; `None` where the bytes are not a certificate or the subject is empty.
pub(super) fn of_certificate(der: &[u8]) -> Option<String> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (to_be_signed, _) = element(certificate, SEQUENCE)?;
    // version [0] OPTIONAL, serialNumber, signature, issuer, validity, subject (RFC 5280 §4.1)
    let mut rest = to_be_signed;
    if let Some((_, after)) = element(rest, VERSION) {
        rest = after;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE] {
        (_, rest) = element(rest, tag)?;
    }
    let (subject, _) = element(rest, SEQUENCE)?;
    let text = render(subject)?;
    (!text.is_empty()).then_some(text)
}

/// Relative names from last to first, as RFC 4514 §2.1 orders them.
fn render(mut subject: &[u8]) -> Option<String> {
    let mut names = Vec::new();
    while !subject.is_empty() {
        let (mut set, after) = element(subject, SET)?;
        let mut name = String::new();
        while !set.is_empty() {
            let (pair, others) = element(set, SEQUENCE)?;
            let (kind, value) = element(pair, OBJECT_IDENTIFIER)?;
            if !name.is_empty() {
                name.push('+');
            }
            name.push_str(&attribute(kind));
            name.push('=');
            escape(&string(value)?, &mut name);
            set = others;
        }
        names.push(name);
        subject = after;
    }
    names.reverse();
    Some(names.join(","))
}

fn attribute(oid: &[u8]) -> String {
    let short = match oid {
        [0x55, 4, 3] => "CN",
        [0x55, 4, 6] => "C",
        [0x55, 4, 7] => "L",
        [0x55, 4, 8] => "ST",
        [0x55, 4, 9] => "STREET",
        [0x55, 4, 10] => "O",
        [0x55, 4, 11] => "OU",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1] => "UID",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25] => "DC",
        _ => return dotted(oid),
    };
    short.to_owned()
}

fn dotted(oid: &[u8]) -> String {
    let mut text = String::new();
    let mut value = 0u64;
    for byte in oid {
        value = value.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if text.is_empty() {
            let first = (value / 40).min(2);
            let _ = write!(text, "{first}.{}", value - first * 40);
        } else {
            let _ = write!(text, ".{value}");
        }
        value = 0;
    }
    text
}

/// The text of a DirectoryString or IA5String; other types make the whole subject unreadable, never half of it.
fn string(value: &[u8]) -> Option<String> {
    let (tag, content, _) = any_element(value)?;
    match tag {
        UTF8_STRING | PRINTABLE_STRING | IA5_STRING | NUMERIC_STRING => {
            String::from_utf8(content.to_vec()).ok()
        }
        TELETEX_STRING => Some(content.iter().map(|byte| char::from(*byte)).collect()),
        BMP_STRING => {
            let units = content.chunks_exact(2);
            if !units.remainder().is_empty() {
                return None;
            }
            let units = units.map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        _ => None,
    }
}

/// RFC 4514 §2.4; control characters as hex pairs too, so that a subject is always one line.
fn escape(text: &str, out: &mut String) {
    let last = text.chars().count().saturating_sub(1);
    for (at, c) in text.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' => out.extend(['\\', c]),
            ' ' if at == 0 || at == last => out.extend(['\\', c]),
            '#' if at == 0 => out.extend(['\\', c]),
            c if c.is_control() => {
                let mut utf8 = [0; 4];
                for byte in c.encode_utf8(&mut utf8).bytes() {
                    let _ = write!(out, "\\{byte:02x}");
                }
            }
            c => out.push(c),
        }
    }
}

/// The content of the element that `input` starts with, if it has this tag, and what follows it.
pub(super) fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = any_element(input)?;
    (found == tag).then_some((content, rest))
}

/// Tag and content of the element that `input` starts with, and what follows it.
pub(super) fn any_element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 3 {
            return None;
        }
        let (digits, after) = rest.split_at_checked(count)?;
        length = digits
            .iter()
            .fold(0, |sum, digit| sum << 8 | usize::from(*digit));
        rest = after;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const NUMERIC_STRING: u8 = 0x12;
const PRINTABLE_STRING: u8 = 0x13;
const TELETEX_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;
const BMP_STRING: u8 = 0x1e;
pub(super) const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
pub(super) const VERSION: u8 = 0xa0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(names: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let key = KeyPair::generate().expect("key");
        params
            .self_signed(&key)
            .expect("certificate")
            .der()
            .to_vec()
    }

    #[test]
    fn most_specific_name_comes_first() {
        let der = certificate(&[
            (DnType::CountryName, "DE"),
            (DnType::OrganizationName, "Example"),
            (DnType::OrganizationalUnitName, "build"),
            (DnType::CommonName, "ci"),
        ]);
        assert_eq!(
            of_certificate(&der).as_deref(),
            Some("CN=ci,OU=build,O=Example,C=DE")
        );
    }

    #[test]
    fn special_characters_cannot_forge_another_name() {
        let der = certificate(&[(DnType::CommonName, "a,O=b+\"c\" \nü ")]);
        assert_eq!(
            of_certificate(&der).as_deref(),
            Some("CN=a\\,O\\=b\\+\\\"c\\\" \\0aü\\ ")
        );
    }

    #[test]
    fn unknown_types_are_dotted_numbers() {
        let der = certificate(&[(
            DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]),
            "a@b",
        )]);
        assert_eq!(
            of_certificate(&der).as_deref(),
            Some("1.2.840.113549.1.9.1=a@b")
        );
    }

    #[test]
    fn an_empty_subject_is_none() {
        assert_eq!(of_certificate(&certificate(&[])), None);
    }

    proptest! {
        #[test]
        fn damaged_certificates_never_panic(at in 0usize..200, byte: u8, cut in 0usize..400) {
            let mut der = certificate(&[(DnType::CommonName, "ci"), (DnType::OrganizationName, "Example")]);
            if let Some(place) = der.get_mut(at) {
                *place = byte;
            }
            der.truncate(der.len().saturating_sub(cut));
            let _ = of_certificate(&der);
        }

        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>) {
            let _ = of_certificate(&bytes);
        }
    }
}
