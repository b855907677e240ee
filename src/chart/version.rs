//! Versions and constraints in Helm's grammar (Masterminds/semver v3), not Cargo's.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::error::Result;

/// A chart version: the text as written, compared by precedence.
#[derive(Clone)]
pub struct Version {
    text: Arc<str>,
}

impl Version {
    /// Parses leniently as Helm does: `v1.2`, `1.02.3` and `1` are versions.
    pub fn parse(_text: &str) -> Result<Self> {
        todo!()
    }
    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
    /// Whether it has a prerelease part.
    pub fn is_prerelease(&self) -> bool {
        todo!()
    }
    /// Precedence; build metadata and spelling do not count.
    pub fn compare(&self, _other: &Self) -> Ordering {
        todo!()
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

/// A version constraint.
#[derive(Clone, Debug)]
pub struct Constraint;

impl Constraint {
    /// Parses a constraint such as `>=1.2 <3 || ^5`.
    pub fn parse(_text: &str) -> Result<Self> {
        todo!()
    }
    /// Whether `version` satisfies it.
    pub fn matches(&self, _version: &Version) -> bool {
        todo!()
    }
}
