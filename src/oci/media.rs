//! Media types: which documents are manifests, and the words that clients use for them.

use std::fmt;

/// What towards upstreams always stands in `Accept`: a narrower list could get another document for the same tag.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
application/vnd.oci.image.manifest.v1+json, \
application/vnd.docker.distribution.manifest.list.v2+json, \
application/vnd.docker.distribution.manifest.v2+json, \
application/vnd.oci.artifact.manifest.v1+json, \
*/*;q=0.1";

/// The kinds of manifest that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ManifestType {
    /// OCI image manifest: config and layers; charts and artifacts too.
    Image,
    /// OCI image index: other manifests.
    Index,
    /// Docker image manifest, version 2 schema 2.
    DockerImage,
    /// Docker manifest list.
    DockerList,
    /// OCI artifact manifest: withdrawn from the specification, still in use.
    Artifact,
    /// Docker schema 1: signed or not; never accepted and never converted.
    Schema1,
    /// Docker schema 1 with its signatures, whose digest is not that of its bytes.
    Schema1Signed,
}

impl ManifestType {
    /// The type with this name; parameters and case do not matter (RFC 9110 §8.3.1).
    pub fn parse(media_type: &str) -> Option<Self> {
        let essence = essence(media_type);
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str().eq_ignore_ascii_case(essence))
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "application/vnd.oci.image.manifest.v1+json",
            Self::Index => "application/vnd.oci.image.index.v1+json",
            Self::DockerImage => "application/vnd.docker.distribution.manifest.v2+json",
            Self::DockerList => "application/vnd.docker.distribution.manifest.list.v2+json",
            Self::Artifact => "application/vnd.oci.artifact.manifest.v1+json",
            Self::Schema1 => "application/vnd.docker.distribution.manifest.v1+json",
            Self::Schema1Signed => "application/vnd.docker.distribution.manifest.v1+prettyjws",
        }
    }

    /// Whether it lists other manifests.
    pub fn is_index(self) -> bool {
        matches!(self, Self::Index | Self::DockerList)
    }

    /// Whether it is one of the two forms of Docker's schema 1.
    pub fn is_schema1(self) -> bool {
        matches!(self, Self::Schema1 | Self::Schema1Signed)
    }

    const ALL: [Self; 7] = [
        Self::Image,
        Self::Index,
        Self::DockerImage,
        Self::DockerList,
        Self::Artifact,
        Self::Schema1,
        Self::Schema1Signed,
    ];
}

impl fmt::Display for ManifestType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A media type without its parameters.
pub fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// Whether a layer of this type may be absent: its bytes are somewhere else by licence.
pub fn is_nondistributable(media_type: &str) -> bool {
    let essence = essence(media_type);
    essence.starts_with("application/vnd.oci.image.layer.nondistributable.")
        || essence == "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
        || essence == "application/vnd.docker.image.rootfs.foreign.diff.tar"
}

/// The types of a chart in a registry (helm, `pkg/registry`).
pub mod helm {
    /// `Chart.yaml` as JSON.
    pub const CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
    /// The package.
    pub const CHART: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
    /// The package, as early versions wrote it; read only.
    pub const LEGACY_CHART: &str = "application/tar+gzip";
    /// The provenance file.
    pub const PROVENANCE: &str = "application/vnd.cncf.helm.chart.provenance.v1.prov";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_with_parameters_and_in_any_case() {
        for kind in ManifestType::ALL {
            assert_eq!(ManifestType::parse(kind.as_str()), Some(kind));
            let dressed = format!(" {} ; charset=utf-8", kind.as_str().to_uppercase());
            assert_eq!(ManifestType::parse(&dressed), Some(kind));
        }
        assert_eq!(ManifestType::parse("application/json"), None);
        assert_eq!(ManifestType::parse(""), None);
    }

    #[test]
    fn every_type_that_is_accepted_is_asked_for() {
        for kind in ManifestType::ALL {
            assert_eq!(ACCEPT.contains(kind.as_str()), !kind.is_schema1(), "{kind}");
        }
    }

    #[test]
    fn layers_that_stay_elsewhere() {
        for text in [
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ] {
            assert!(is_nondistributable(text), "{text}");
        }
        assert!(!is_nondistributable(
            "application/vnd.oci.image.layer.v1.tar"
        ));
    }
}
