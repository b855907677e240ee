//! Entries for tests.

use std::sync::Arc;

use super::{Entry, SourceIndex};
use crate::chart::{Metadata, Version};
use crate::digest::Digest;

/// An entry of an upload; the digest follows from name and version.
pub(super) fn entry(name: &str, version: &str) -> Entry {
    let metadata = Metadata {
        name: name.into(),
        version: version.into(),
        ..Metadata::default()
    };
    let digest = Digest::of(format!("{name}-{version}").as_bytes());
    let created = "2024-01-02T03:04:05Z".parse().expect("time");
    Entry::from_metadata(&metadata, digest, created).expect("entry")
}

/// An entry with this fragment.
pub(super) fn entry_with(name: &str, version: &str, fragment: &str) -> Entry {
    Entry {
        name: Arc::from(name),
        version: Version::parse(version).expect(version),
        digest: None,
        created: None,
        urls: Box::default(),
        fragment: fragment.into(),
    }
}

/// A source with these versions.
pub(super) fn source(versions: &[(&str, &str)]) -> SourceIndex {
    SourceIndex::from_entries(
        versions
            .iter()
            .map(|(name, version)| Arc::new(entry(name, version))),
    )
}
