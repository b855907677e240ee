//! Repository names, tags and references, checked by hand in one pass each.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::Digest;
use crate::error::{Error, Result};

/// A repository: components of lower-case letters and digits, joined by `/`, at most 255 bytes.
///
/// Inside a component `.`, `_`, `__` or any number of `-` may stand between letters and digits (distribution-spec, "Pulling
/// manifests"). A component may be called `manifests`, `blobs`, `tags` or `v2`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoName(Arc<str>);

impl RepoName {
    /// Checks a decoded path.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_NAME {
            return Err(Error::invalid(format!(
                "repository `{text:.60}…` has more than {MAX_NAME} bytes"
            )));
        }
        match text.split('/').all(is_component) {
            true => Ok(Self(Arc::from(text))),
            false => Err(Error::invalid(format!(
                "`{text}` is not the name of a repository: write lower-case letters and digits, with `.`, `_`, `__` or `-` between them, and `/` between components"
            ))),
        }
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it has one component only, as Docker Hub's own images (`nginx`, which is `library/nginx`).
    pub fn is_single(&self) -> bool {
        !self.0.contains('/')
    }

    /// This name below `prefix`. Errors: together they are too long.
    pub fn below(&self, prefix: &Self) -> Result<Self> {
        Self::parse(&format!("{prefix}/{self}"))
    }
}

impl AsRef<str> for RepoName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for RepoName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut rest = text.as_bytes();
    loop {
        let plain = rest.iter().take_while(|byte| is_plain(byte)).count();
        if plain == 0 {
            return false;
        }
        rest = &rest[plain..];
        if rest.is_empty() {
            return true;
        }
        let separator = rest.iter().take_while(|byte| !is_plain(byte)).count();
        let allowed = match &rest[..separator] {
            b"." | b"_" | b"__" => true,
            dashes => dashes.iter().all(|byte| *byte == b'-'),
        };
        if !allowed {
            return false;
        }
        rest = &rest[separator..];
    }
}

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Arc<str>);

impl Tag {
    /// Checks a decoded path segment.
    pub fn parse(text: &str) -> Result<Self> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let fits = text.len() <= MAX_TAG
            && text.bytes().next().is_some_and(is_word)
            && text
                .bytes()
                .all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'));
        match fits {
            true => Ok(Self(Arc::from(text))),
            false => Err(Error::invalid(format!(
                "`{text:.160}` is not a tag: at most {MAX_TAG} letters, digits, `_`, `.` and `-`, not starting with `.` or `-`"
            ))),
        }
    }

    /// The tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Tag {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What names a manifest in its repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// Changeable.
    Tag(Tag),
    /// For ever.
    Digest(Digest),
}

impl Reference {
    /// Checks a decoded path segment: with a `:` it is a digest, else a tag.
    pub fn parse(text: &str) -> Result<Self> {
        match text.contains(':') {
            true => text.parse().map(Self::Digest),
            false => Tag::parse(text).map(Self::Tag),
        }
    }

    /// The digest, where it is one.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Digest(digest) => Some(digest),
            Self::Tag(_) => None,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl From<Tag> for Reference {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

impl From<Digest> for Reference {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

/// Many clients refuse longer ones.
const MAX_NAME: usize = 255;

const MAX_TAG: usize = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn repositories() {
        for text in [
            "a",
            "library/nginx",
            "a.b_c__d-e--f---g",
            "v2/manifests/blobs/uploads/tags/list",
            "0/1",
            "ghcr.io/acme/chart",
        ] {
            assert_eq!(RepoName::parse(text).expect(text).as_str(), text);
        }
        for text in [
            "", "/", "a/", "/a", "a//b", "A", "a.", ".a", "a..b", "a___b", "a._b", "a-_b", "_a",
            "-a", "a-", "a:5000/b", "a/..", "ä", "a b", "a%2fb", "a\0",
        ] {
            assert!(RepoName::parse(text).is_err(), "{text}");
        }
        assert!(RepoName::parse(&"a".repeat(255)).is_ok());
        assert!(RepoName::parse(&"a".repeat(256)).is_err());
    }

    #[test]
    fn names_below_a_prefix() {
        let name = |text: &str| RepoName::parse(text).expect(text);
        assert!(name("nginx").is_single() && !name("a/b").is_single());
        let below = name("nginx").below(&name("library")).expect("short");
        assert_eq!(below, name("library/nginx"));
        assert!(name(&"a".repeat(250)).below(&name("library")).is_err());
    }

    #[test]
    fn tags_and_references() {
        for text in ["1", "_x", "v1.2.3-rc_1", "A.B", &"a".repeat(128)] {
            assert_eq!(Tag::parse(text).expect(text).as_str(), text);
        }
        for text in ["", ".a", "-a", "a b", "a+b", "a/b", "ä", &"a".repeat(129)] {
            assert!(Tag::parse(text).is_err(), "{text}");
        }
        let digest = Digest::of(super::super::Algorithm::Sha256, b"");
        let parsed = Reference::parse(&digest.to_string()).expect("a digest");
        assert_eq!(parsed.digest(), Some(&digest));
        assert!(matches!(Reference::parse("latest"), Ok(Reference::Tag(_))));
        assert!(Reference::parse("sha256:bad").is_err());
    }

    proptest! {
        /// The hand-written parser and the specification's expression agree.
        #[test]
        fn components_are_as_the_specification_says(text in "[a-c0._-]{0,8}") {
            let expected = {
                let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
                // Every separator that may stand between two words, longest first, made into one mark.
                let mut marked = text.replace("--", "-");
                while marked.contains("--") {
                    marked = marked.replace("--", "-");
                }
                let marked = marked.replace("__", "|");
                let mut words = vec![String::new()];
                for c in marked.chars() {
                    match c {
                        '.' | '_' | '-' | '|' => words.push(String::new()),
                        c => words.last_mut().expect("one").push(c),
                    }
                }
                words.iter().all(|word| plain(word))
            };
            prop_assert_eq!(RepoName::parse(&text).is_ok(), expected);
        }

        #[test]
        fn what_was_accepted_holds_nothing_dangerous(text in "\\PC{0,40}") {
            if let Ok(name) = RepoName::parse(&text) {
                prop_assert!(name.as_str().split('/').all(|part| !part.is_empty() && part != ".."));
            }
            if let Ok(tag) = Tag::parse(&text) {
                prop_assert!(!tag.as_str().contains(['/', ':', '\\', '\0']));
            }
        }
    }
}
