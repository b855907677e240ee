//! Provenance files: which chart an uploaded one belongs to, and whether it speaks of an archive.
//!
//! ChartMuseum's rules (spec: chartmuseum.md §1.4). Signatures are not verified here; clients do that.

use crate::digest::Digest;
use crate::error::{Error, Result};

/// What a provenance file says it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenanceName {
    /// The chart's name.
    pub name: String,
    /// The chart's version text.
    pub version: String,
    /// `<name>-<version>.tgz.prov`.
    pub file_name: String,
}

/// Reads an uploaded provenance file's name and version.
pub fn parse(bytes: &[u8]) -> Result<ProvenanceName> {
    let invalid = || Error::invalid("invalid provenance file");
    let text = std::str::from_utf8(bytes).map_err(|_| invalid())?;
    if !text.starts_with(BEGIN) {
        return Err(invalid());
    }
    let name = field(text, "\nname:").ok_or_else(invalid)?;
    let version = field(text, "\nversion:").ok_or_else(invalid)?;
    let file_name = format!("{name}-{version}.tgz.prov");
    let plain = !file_name.starts_with('.')
        && file_name.len() <= MAX_FILE_NAME
        && file_name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+'));
    if !plain {
        return Err(Error::invalid(format!(
            "{file_name:.300} is improperly formatted"
        )));
    }
    Ok(ProvenanceName {
        name: name.to_owned(),
        version: version.to_owned(),
        file_name,
    })
}

/// Whether a provenance file can belong to the archive with `digest`: `None` where it names no digest at all.
pub fn speaks_of(bytes: &[u8], digest: Digest) -> Option<bool> {
    let text = String::from_utf8_lossy(bytes);
    let mut named = text.match_indices("sha256:").filter_map(|(at, _)| {
        let hex = text.get(at + "sha256:".len()..)?.get(..64)?;
        hex.parse::<Digest>().ok()
    });
    let first = named.next()?;
    Some(first == digest || named.any(|other| other == digest))
}

/// The first value of a key at the start of a line. Quotes that YAML needs around a version such as "1.10" are not part of it.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.match_indices(key).find_map(|(at, _)| {
        let rest = &text[at + key.len()..];
        let line = rest.split('\n').next().unwrap_or(rest);
        let value = line.strip_prefix([' ', '*'])?.trim();
        let unquoted = ['"', '\''].iter().find_map(|quote| {
            value
                .strip_prefix(*quote)
                .and_then(|value| value.strip_suffix(*quote))
        });
        Some(unquoted.unwrap_or(value)).filter(|value| !value.is_empty())
    })
}

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
/// What file systems take.
const MAX_FILE_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(body: &str) -> Vec<u8> {
        format!(
            "{BEGIN}\nHash: SHA512\n\n{body}\n...\nfiles:\n  x.tgz: sha256:{}\n",
            "ab".repeat(32)
        )
        .into_bytes()
    }

    #[test]
    fn name_and_version_are_the_first_of_their_lines() {
        let prov = parse(&signed(
            "apiVersion: v1\r\nname: app\r\nversion: 1.0.0+a\r\nname: other",
        ));
        assert_eq!(prov.expect("valid").file_name, "app-1.0.0+a.tgz.prov");
        let prov = parse(&signed("name: \"app\"\nversion: '1.10'")).expect("valid");
        assert_eq!((&*prov.name, &*prov.version), ("app", "1.10"));
    }

    #[test]
    fn others_are_refused() {
        for body in [
            "name: app",
            "version: 1",
            "a: 1\nname:app\nversion: 1",
            "name: ''\nversion: 1",
        ] {
            let error = parse(&signed(body)).expect_err(body);
            assert_eq!(error.message(), "invalid provenance file", "{body}");
        }
        assert!(parse(b"").is_err());
        assert!(parse(b"name: a\nversion: 1\n").is_err());
        for body in [
            "name: ../a\nversion: 1",
            "name: a/b\nversion: 1",
            "name: a\nversion: 1/../2",
            "name: .\nversion: 1",
        ] {
            let error = parse(&signed(body)).expect_err(body);
            assert!(
                error.message().ends_with("is improperly formatted"),
                "{error}"
            );
        }
    }

    #[test]
    fn digests_in_the_text_decide_whether_it_speaks_of_an_archive() {
        let text = signed("name: a\nversion: 1");
        assert_eq!(speaks_of(&text, Digest::from_bytes([0xab; 32])), Some(true));
        assert_eq!(speaks_of(&text, Digest::from_bytes([0; 32])), Some(false));
        assert_eq!(speaks_of(b"sha256:123", Digest::from_bytes([0; 32])), None);
    }
}
