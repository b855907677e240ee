//! One version of one chart, cleaned.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use jiff::Timestamp;

use super::clean::{Origin, clean};
use crate::chart::node::Node;
use crate::chart::{Metadata, Version};
use crate::digest::Digest;
use crate::error::{Error, Result};

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
    /// Absolute origin URLs in the source's order; empty for hosted versions. `oci://` URLs are kept as they are.
    pub urls: Box<[Box<str>]>,
    /// The members of the JSON object without braces and without `urls`, keys sorted, escaped for every client.
    pub fragment: Box<str>,
}

impl Entry {
    /// `<key>-<version>.tgz`: the name under which the archive is served.
    pub fn file_name(&self) -> String {
        format!("{}-{}.tgz", self.name, self.version)
    }

    /// The entry of an archive that was read here: an upload, or a file in a folder. It has no URLs.
    ///
    /// Errors: what Helm would not list, with the reason.
    pub fn from_metadata(metadata: &Metadata, digest: Digest, created: Timestamp) -> Result<Self> {
        let mut pairs = metadata.to_pairs();
        pairs.push((
            "created".into(),
            Node::Text(Cow::Owned(created.to_string())),
        ));
        pairs.push(("digest".into(), Node::Text(Cow::Owned(digest.to_hex()))));
        let key = Arc::from(metadata.name.as_str());
        let (entry, _) = clean(&key, &Node::Map(pairs), Origin::Archive).map_err(|rejection| {
            Error::invalid(format!(
                "chart `{:.80}` cannot be listed: {}",
                metadata.name, rejection.detail
            ))
        })?;
        Ok(entry)
    }

    /// The order in which versions are listed: precedence, then `created`, newest first, then text.
    pub fn listing_order(&self, other: &Self) -> Ordering {
        other
            .version
            .compare(&self.version)
            .then_with(|| other.created.cmp(&self.created))
            .then_with(|| self.version.as_str().cmp(other.version.as_str()))
    }

    /// Whether both say the same in every field.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.version.as_str() == other.version.as_str()
            && self.digest == other.digest
            && self.created == other.created
            && self.urls == other.urls
            && self.fragment == other.fragment
    }
}
