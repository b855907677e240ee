//! One version of one chart, cleaned.
use std::sync::Arc;

use jiff::Timestamp;

use crate::chart::{Metadata, Version};
use crate::digest::Digest;
use crate::error::Result;

/// One version of one chart, as it will be published.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key under `entries`; Helm looks charts up by it, and it may differ from the chart's own name.
    pub name: Arc<str>,
    /// The version.
    pub version: Version,
    /// The archive's digest, where the source names a well-formed one.
    pub digest: Option<Digest>,
    /// When the version was made, where the source says so.
    pub created: Option<Timestamp>,
    /// Absolute origin URLs in the source's order; empty for hosted versions.
    pub urls: Box<[Box<str>]>,
    /// The members of the JSON object without braces and without `urls`, keys sorted, escaped for every client.
    pub fragment: Box<str>,
}

impl Entry {
    /// `<key>-<version>.tgz`: the name under which the archive is served.
    pub fn file_name(&self) -> String {
        format!("{}-{}.tgz", self.name, self.version)
    }
    /// The entry of an archive that was read here: an upload, or a file in a folder.
    pub fn from_metadata(
        _metadata: &Metadata,
        _digest: Digest,
        _created: Timestamp,
    ) -> Result<Self> {
        todo!()
    }
}
