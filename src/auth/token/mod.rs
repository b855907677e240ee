//! Bearer tokens signed by others: verified once, remembered until they expire, asked what they allow.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::policy::Actions;
use crate::digest::Digest;

/// The `type` of the entries of ChartMuseum's `access` claim.
pub(super) const ACCESS_ENTRY_TYPE: &str = "artifact-repository";

/// How tokens call the tenant at `path`: ChartMuseum has a word for the root.
pub(super) fn namespace(path: &str) -> &str {
    if path.is_empty() { "repo" } else { path }
}

/// A verified token: who holds it, and what it allows where.
#[derive(Debug)]
pub struct Token {
    /// Of the token's text: two tokens are the same if their texts are.
    id: Digest,
    subject: Option<Arc<str>>,
}

impl Token {
    /// The `sub` claim, where it has one.
    pub fn subject(&self) -> Option<&Arc<str>> {
        self.subject.as_ref()
    }

    /// What it allows in the tenant at `path`.
    pub(super) fn grants(&self, _path: &str) -> Actions {
        Actions::of(&[])
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Token {}

impl Hash for Token {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}
