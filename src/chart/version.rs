//! Versions in Helm's grammar (Masterminds/semver v3), not Cargo's: `v1.2`, `1.02.3` and `1` are versions.
//!
//! The text is kept, precedence is compared: `v1.2.3`, `1.2.3` and `1.2.3+x` are equal in comparisons but different texts
//! (spec/clients.md §8). Constraints live in [`super::constraint`].

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};

/// The longest version text that is accepted, in bytes: it becomes part of a file name.
const MAX_LENGTH: usize = 200;

/// A chart version: the text as written, compared by precedence.
///
/// Deliberately neither `Ord` nor `PartialEq`: two versions of equal precedence may be two texts, and both questions are asked.
#[derive(Clone)]
pub struct Version {
    text: Arc<str>,
    numbers: [u64; 3],
    /// Where the prerelease part lies in `text`; empty where there is none.
    prerelease: (u8, u8),
}

impl Version {
    /// Parses leniently as Helm does: `v?N(.N)?(.N)?(-prerelease)?(+metadata)?`, missing numbers are 0.
    ///
    /// Refuses numbers above `u64`, and numeric prerelease identifiers with leading zeros.
    pub fn parse(text: &str) -> Result<Self> {
        let parts = Parts::parse(text)
            .ok_or_else(|| Error::invalid(format!("`{text:.80}` is not a semantic version")))?;
        // MAX_LENGTH keeps every position below 256.
        let prerelease = match parts.prerelease.len() {
            0 => (0, 0),
            length => {
                // The prerelease part follows the first `-`: none can come before it.
                let start = text.find('-').map_or(0, |at| at + 1);
                (start as u8, (start + length) as u8)
            }
        };
        Ok(Self {
            text: Arc::from(text),
            numbers: parts.numbers,
            prerelease,
        })
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is a version by SemVer 2.0.0 too, without Helm's leniency: OCI clients list no others.
    pub fn is_strict(&self) -> bool {
        semver::Version::parse(self.as_str()).is_ok()
    }

    /// Whether it has a prerelease part, so that Helm shows it only when asked to.
    pub fn is_prerelease(&self) -> bool {
        self.prerelease.1 > 0
    }

    /// Precedence (semver §11); build metadata and spelling do not count.
    pub fn compare(&self, other: &Self) -> Ordering {
        self.parts().compare(&other.parts())
    }

    pub(crate) fn parts(&self) -> Parts<'_> {
        let (start, end) = self.prerelease;
        Parts {
            numbers: self.numbers,
            prerelease: self
                .text
                .get(usize::from(start)..usize::from(end))
                .unwrap_or_default(),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What precedence looks at, borrowed from a version's text.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(super) numbers: [u64; 3],
    pub(super) prerelease: &'a str,
}

impl<'a> Parts<'a> {
    /// See [`Version::parse`]; for look-ups that must not allocate.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        if text.len() > MAX_LENGTH {
            return None;
        }
        let rest = text.strip_prefix('v').unwrap_or(text);
        let (rest, metadata) = match rest.split_once('+') {
            Some((rest, metadata)) => (rest, Some(metadata)),
            None => (rest, None),
        };
        let (core, prerelease) = match rest.split_once('-') {
            Some((core, prerelease)) => (core, Some(prerelease)),
            None => (rest, None),
        };
        let mut numbers = [0; 3];
        for (position, number) in core.split('.').enumerate() {
            *numbers.get_mut(position)? = parse_number(number)?;
        }
        if !metadata.is_none_or(|metadata| metadata.split('.').all(is_identifier)) {
            return None;
        }
        let plain = |part: &str| {
            let digits = part.bytes().all(|b| b.is_ascii_digit());
            is_identifier(part) && !(digits && part.len() > 1 && part.starts_with('0'))
        };
        if !prerelease.is_none_or(|prerelease| prerelease.split('.').all(plain)) {
            return None;
        }
        Some(Self {
            numbers,
            prerelease: prerelease.unwrap_or_default(),
        })
    }

    /// Precedence (semver §11).
    pub(crate) fn compare(&self, other: &Parts<'_>) -> Ordering {
        self.numbers
            .cmp(&other.numbers)
            .then_with(|| compare_prereleases(self.prerelease, other.prerelease))
    }
}

fn parse_number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

pub(super) fn compare_prereleases(a: &str, b: &str) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            // Digits beyond u64 are compared as text, as Masterminds does.
            (Some(a), Some(b)) => match (parse_number(a), parse_number(b)) {
                (Some(a), Some(b)) => a.cmp(&b),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => a.cmp(b),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).expect(text)
    }

    #[test]
    fn helms_spellings_are_versions() {
        for text in [
            "1",
            "v1",
            "1.2",
            "v1.2",
            "1.02.3",
            "0.46.00",
            "0.3.000",
            "1.2.3-4",
            "1.2-5",
            "1.2.3-beta.01a",
            "1.2.3+build.01",
            "104.2.0+up1.6.4",
            "v1.2.3-x-y-z.-",
            "18446744073709551615.0.0",
            "1.2.3-0",
        ] {
            assert_eq!(version(text).as_str(), text);
        }
    }

    #[test]
    fn what_helm_refuses_is_refused() {
        for text in [
            "",
            "v",
            "V1.2",
            "1.2.3.4",
            "latest",
            "1.2.",
            ".1",
            "1..2",
            " 1.2.3",
            "1.2.3 ",
            "1.2.3-",
            "1.2.3+",
            "1.2.3-a..b",
            "1.0.0-03173138",
            "1.2.3-ä",
            "18446744073709551616.0.0",
            "1.x",
            "vv1",
            "+1",
            "1.-2",
            "1.2.3-a+b+c",
        ] {
            assert!(Version::parse(text).is_err(), "{text}");
        }
        assert!(Version::parse(&format!("1.2.3-{}", "a".repeat(300))).is_err());
    }

    #[test]
    fn precedence_follows_the_chain_of_the_specification() {
        let chain = [
            "0.9.9",
            "1.0.0-0",
            "1.0.0-1",
            "1.0.0-9",
            "1.0.0-10",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "v1",
            "1.0.1",
            "1.2",
            "1.10.0",
            "2.0.0-18446744073709551615",
            "2.0.0-18446744073709551616",
        ];
        for (i, a) in chain.iter().enumerate() {
            for (j, b) in chain.iter().enumerate() {
                assert_eq!(version(a).compare(&version(b)), i.cmp(&j), "{a} {b}");
            }
        }
        for same in ["1.2.3", "v1.2.3", "1.02.3", "1.2.3+x"] {
            assert_eq!(version(same).compare(&version("1.2.3+y")), Ordering::Equal);
        }
        assert!(version("1.2-a").is_prerelease());
        assert!(!version("1.2+a-b").is_prerelease());
    }

    #[test]
    fn a_version_is_small() {
        assert!(size_of::<Version>() <= 48);
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,40}") {
            if let Ok(version) = Version::parse(&text) {
                prop_assert_eq!(version.as_str(), text);
            }
        }

        #[test]
        fn precedence_is_a_total_order(
            a in "v?[0-2](\\.[0-2]){0,2}(-[a0-2-]{1,3}(\\.[1a]){0,2})?(\\+a)?",
            b in "v?[0-2](\\.[0-2]){0,2}(-[a0-2-]{1,3}(\\.[1a]){0,2})?(\\+a)?",
            c in "v?[0-2](\\.[0-2]){0,2}(-[a0-2-]{1,3}(\\.[1a]){0,2})?(\\+a)?",
        ) {
            let (Ok(a), Ok(b), Ok(c)) = (Version::parse(&a), Version::parse(&b), Version::parse(&c)) else {
                return Ok(());
            };
            prop_assert_eq!(a.compare(&b), b.compare(&a).reverse());
            if a.compare(&b).is_le() && b.compare(&c).is_le() {
                prop_assert!(a.compare(&c).is_le());
            }
            prop_assert_eq!(a.compare(&a), Ordering::Equal);
        }

        #[test]
        fn plain_triples_compare_as_numbers(a: [u32; 3], b: [u32; 3]) {
            let text = |v: [u32; 3]| format!("{}.{}.{}", v[0], v[1], v[2]);
            prop_assert_eq!(version(&text(a)).compare(&version(&text(b))), a.cmp(&b));
        }
    }
}
