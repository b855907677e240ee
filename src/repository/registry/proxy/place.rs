//! A repository of one upstream, and what everything known about it is recorded under.

use std::sync::Arc;

use crate::cache::LinkKey;
use crate::oci::{Digest, RepoName, Tag};

/// A repository as the upstream calls it: names of clients that mean the same share what is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) upstream: Arc<str>,
    pub(super) repository: RepoName,
}

impl Place {
    /// Which manifest a tag is.
    pub(super) fn tag(&self, tag: &Tag) -> String {
        format!("{}{tag}", self.tags_prefix())
    }

    /// What stands in front of every tag of the repository.
    pub(super) fn tags_prefix(&self) -> String {
        format!("{}{}:", upstream_prefix(&self.upstream), self.repository)
    }

    /// A manifest by digest.
    pub(super) fn manifest(&self, digest: &Digest) -> String {
        format!(
            "oci-manifest/{}/{}@{digest}",
            self.upstream, self.repository
        )
    }

    /// A blob.
    pub(super) fn blob(&self, digest: &Digest) -> String {
        format!("oci-blob/{}/{}@{digest}", self.upstream, self.repository)
    }

    /// The list of tags.
    pub(super) fn list(&self) -> String {
        format!("oci-tags/{}/{}", self.upstream, self.repository)
    }

    /// The list of what refers to a manifest.
    pub(super) fn referrers(&self, subject: &Digest) -> String {
        format!("{}{subject}", self.referrers_prefix())
    }

    /// What stands in front of every list of referrers of the repository.
    pub(super) fn referrers_prefix(&self) -> String {
        format!("oci-referrers/{}/{}@", self.upstream, self.repository)
    }

    /// The link of a digest.
    pub(super) fn link(&self, digest: &Digest) -> LinkKey {
        LinkKey::new(&self.upstream, &self.repository, digest)
    }
}

/// What stands in front of every tag of an upstream.
pub(super) fn upstream_prefix(upstream: &str) -> String {
    format!("oci/{upstream}/")
}
