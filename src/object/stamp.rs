//! What tells an object's content from another's without reading it.

use std::sync::Arc;

use jiff::Timestamp;

/// An object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The last segment of its key.
    pub name: Arc<str>,
    /// What is known of it.
    pub stamp: Stamp,
}

/// What tells an object's content from another's without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// When it was written, as the place says; many know whole seconds only.
    pub modified: Timestamp,
    /// Another one for another content: a hash of the ETag, an inode. Zero where it is not known.
    pub tag: u64,
}

impl Stamp {
    /// Whether an object with this stamp and one with `other` hold the same bytes, as far as can be told.
    pub fn agrees(&self, other: &Self) -> bool {
        self.size == other.size
            && self.modified == other.modified
            && (self.tag == other.tag || self.tag == 0 || other.tag == 0)
    }
}
