//! Digests as registries write them: an algorithm and its lower-case hexadecimal text, nothing else.

use std::fmt;
use std::str::FromStr;

use crate::digest::{self, Digest512, Hasher512};
use crate::error::{Error, Result};

/// The algorithms of the OCI image specification that registries and clients use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// `sha256`, which everybody uses.
    Sha256,
    /// `sha512`
    Sha512,
}

impl Algorithm {
    /// As it is written in front of the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(Error::invalid(format!(
                "digest algorithm `{text:.40}` is not supported; use sha256 or sha512"
            ))),
        }
    }
}

/// The name of a blob or manifest.
///
/// Parsing is strict, because the text becomes part of paths and comparisons: no missing algorithm, no capitals.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Digest {
    /// `sha256:` and 64 digits.
    Sha256(digest::Digest),
    /// `sha512:` and 128 digits.
    Sha512(Digest512),
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(digest::Digest::of(bytes)),
            Algorithm::Sha512 => Self::Sha512(Digest512::of(bytes)),
        }
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The digits behind the colon, lower-case.
    pub fn to_hex(self) -> String {
        match self {
            Self::Sha256(digest) => digest.to_hex(),
            Self::Sha512(digest) => digest.to_hex(),
        }
    }

    /// Whether `bytes` are the ones that it names.
    pub fn names(&self, bytes: &[u8]) -> bool {
        Self::of(self.algorithm(), bytes) == *self
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!(
                "`{text:.160}` is not a digest: write `sha256:` and 64, or `sha512:` and 128 lower-case hexadecimal digits"
            ))
        };
        let (algorithm, hex) = text.split_once(':').ok_or_else(wrong)?;
        if hex.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(wrong());
        }
        let digest = match algorithm {
            // The one inside accepts its prefix, and so would accept it twice.
            "sha256" if hex.len() == 64 => hex.parse().ok().map(Self::Sha256),
            "sha512" => Digest512::from_hex(hex).map(Self::Sha512),
            _ => None,
        };
        digest.ok_or_else(wrong)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm().as_str(), self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<digest::Digest> for Digest {
    fn from(digest: digest::Digest) -> Self {
        Self::Sha256(digest)
    }
}

/// Computes a [`Digest`] over bytes that arrive in pieces.
#[derive(Clone, Debug)]
pub enum Hasher {
    /// For `sha256`.
    Sha256(digest::Hasher),
    /// For `sha512`.
    Sha512(Hasher512),
}

impl Hasher {
    /// A hasher that has seen nothing.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(digest::Hasher::default()),
            Algorithm::Sha512 => Self::Sha512(Hasher512::default()),
        }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest::Sha256(hasher.finish()),
            Self::Sha512(hasher) => Digest::Sha512(hasher.finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_algorithms_are_read_and_written() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let digest = Digest::of(algorithm, b"some bytes");
            let text = digest.to_string();
            assert_eq!(text.parse::<Digest>().expect("a digest"), digest);
            assert!(digest.names(b"some bytes") && !digest.names(b"others"));
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"some ");
            hasher.update(b"bytes");
            assert_eq!(hasher.finish(), digest);
            assert_eq!(
                algorithm.as_str().parse::<Algorithm>().ok(),
                Some(algorithm)
            );
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for text in [
            "",
            ":",
            hex,
            "sha256:",
            "sha256:baddigeststring",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            &format!("sha256:{}", hex.to_uppercase()),
            &format!("SHA256:{hex}"),
            &format!("sha256:sha256:{hex}"),
            &format!("sha256:{hex}0"),
            &format!("sha256:{hex} "),
            &format!("sha512:{hex}"),
            &format!("sha256:{}g", &hex[1..]),
            "sha256:\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}",
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn reading_gives_back_what_was_written(text in "(sha256|sha512|sha1)[:+]?[0-9a-fA-F:]{0,140}") {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.to_string(), text);
            }
        }
    }
}
