//! SHA-256 digests: the name of everything immutable. SHA-512 stands beside it for OCI registries, which know both.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256, Sha512};

use crate::error::{Error, Result};

/// The SHA-256 of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest with exactly these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 lower-case hexadecimal characters, without a prefix.
    pub fn to_hex(self) -> String {
        to_hex(&self.0)
    }
}

/// Accepts 64 hexadecimal characters in either case, with or without `sha256:`, as Helm does.
impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        from_hex(hex).map(Self).ok_or_else(|| {
            Error::invalid(format!(
                "digest `{text:.80}` is not 64 hexadecimal characters"
            ))
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Computes a [`Digest`] over bytes that arrive in pieces.
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

/// The SHA-512 of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest512([u8; 64]);

impl Digest512 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha512::digest(bytes).into())
    }

    /// The digest that 128 hexadecimal characters in either case stand for.
    pub fn from_hex(hex: &str) -> Option<Self> {
        from_hex(hex).map(Self)
    }

    /// 128 lower-case hexadecimal characters.
    pub fn to_hex(self) -> String {
        to_hex(&self.0)
    }
}

impl fmt::Debug for Digest512 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha512:{}", self.to_hex())
    }
}

/// Computes a [`Digest512`] over bytes that arrive in pieces.
#[derive(Clone, Default)]
pub struct Hasher512(Sha512);

impl Hasher512 {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> Digest512 {
        Digest512(self.0.finalize().into())
    }
}

impl fmt::Debug for Hasher512 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher512")
    }
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let hex = text.as_bytes();
    if hex.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn of_nothing_is_the_well_known_value() {
        assert_eq!(Digest::of(b"").to_hex(), EMPTY);
        assert_eq!(Hasher::default().finish().to_hex(), EMPTY);
    }

    #[test]
    fn parses_with_and_without_prefix_in_either_case() {
        let plain: Digest = EMPTY.parse().expect("hex");
        assert_eq!(
            format!("sha256:{}", EMPTY.to_uppercase())
                .parse::<Digest>()
                .expect("prefixed"),
            plain
        );
        assert_eq!(plain.to_string(), format!("sha256:{EMPTY}"));
    }

    #[test]
    fn sha512_of_abc_is_the_well_known_value() {
        let known = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                     2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        assert_eq!(Digest512::of(b"abc").to_hex(), known);
        let mut hasher = Hasher512::default();
        hasher.update(b"a");
        hasher.update(b"bc");
        assert_eq!(Some(hasher.finish()), Digest512::from_hex(known));
        assert_eq!(Digest512::from_hex(&known[2..]), None);
    }

    #[test]
    fn refuses_other_lengths_and_characters() {
        for text in [
            "",
            "abc",
            &EMPTY[1..],
            &format!("{}z", &EMPTY[1..]),
            "sha512:00",
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
