//! Manifests: what one is, and what it needs, read from bytes that are kept exactly as they came.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::descriptor::{Annotations, Descriptor};
use super::media::{ManifestType, essence, is_nondistributable};
use crate::error::{Error, ErrorKind, Result};

/// How large a manifest may be where nothing else is configured: 8 MiB, twice what others take.
pub const MAX_MANIFEST: usize = 8 << 20;

/// What a manifest says about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// What kind of document it is; to be kept beside the bytes, because those need not say it.
    pub media_type: ManifestType,
    /// The config of an image.
    pub config: Option<Descriptor>,
    /// The layers of an image, or the blobs of an artifact.
    pub layers: Vec<Descriptor>,
    /// The manifests of an index.
    pub manifests: Vec<Descriptor>,
    /// What it refers to; that need not exist.
    pub subject: Option<Descriptor>,
    /// What kind of artifact it is, where it says so itself.
    pub artifact_type: Option<Arc<str>>,
    /// Free text by key.
    pub annotations: Annotations,
}

/// How the type of a manifest is found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// The header says it.
    Header,
    /// The header may be of no use: some registries answer `text/plain`.
    Repair,
}

impl Manifest {
    /// Reads a manifest that somebody pushes.
    ///
    /// `content_type` is the request's header and the only source of the type, because charts do not repeat it in the document;
    /// a document that does must agree. Errors: `TooLarge` above `limit` bytes, else `Invalid` with what is wrong.
    pub fn inspect(content_type: Option<&str>, bytes: &[u8], limit: usize) -> Result<Self> {
        Self::read(content_type, bytes, limit, Trust::Header)
    }

    /// Reads a manifest that an upstream sends, finding out its type from the document where the header does not tell.
    ///
    /// Errors: as [`Manifest::inspect`]; schema 1 is `Unsupported`.
    pub fn receive(content_type: Option<&str>, bytes: &[u8], limit: usize) -> Result<Self> {
        Self::read(content_type, bytes, limit, Trust::Repair)
    }

    fn read(content_type: Option<&str>, bytes: &[u8], limit: usize, trust: Trust) -> Result<Self> {
        if bytes.len() > limit {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "the manifest has {} bytes; at most {limit} are taken",
                    bytes.len()
                ),
            ));
        }
        let told = content_type.and_then(ManifestType::parse);
        if let Some(kind) = told.filter(|kind| kind.is_schema1()) {
            return Err(schema1(kind, trust));
        }
        Keys::check(bytes)?;
        let document: Document =
            serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
        let media_type = match (told, trust) {
            (Some(kind), _) => kind,
            (None, Trust::Repair) => document.guess(trust)?,
            (None, Trust::Header) => {
                return Err(Error::invalid(match content_type {
                    Some(text) => {
                        format!(
                            "`{:.120}` is not the media type of a manifest",
                            essence(text)
                        )
                    }
                    None => "a manifest needs its media type in Content-Type".to_owned(),
                }));
            }
        };
        document.check(media_type)?;
        Ok(Self {
            media_type,
            config: document.config,
            layers: document
                .layers
                .or(document
                    .blobs
                    .filter(|_| media_type == ManifestType::Artifact))
                .unwrap_or_default(),
            manifests: document.manifests.unwrap_or_default(),
            subject: document.subject,
            artifact_type: document.artifact_type.filter(|text| !text.is_empty()),
            annotations: document.annotations,
        })
    }

    /// The blobs that must be in the repository: config and layers, without those that lie elsewhere by licence.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.config
            .iter()
            .chain(&self.layers)
            .filter(|descriptor| !is_nondistributable(&descriptor.media_type))
    }

    /// What a list of referrers calls the kind of this artifact: its own word, else the type of an image's config.
    pub fn referrer_type(&self) -> Option<Arc<str>> {
        let config = self.config.as_ref().map(|config| &config.media_type);
        self.artifact_type
            .as_ref()
            .or(config.filter(|text| !text.is_empty()))
            .cloned()
    }
}

/// The document as it is written. Go writes `null` for empty lists; unknown fields are everybody's right.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    schema_version: Option<u64>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    artifact_type: Option<Arc<str>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    blobs: Option<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    fs_layers: Option<IgnoredAny>,
    #[serde(default)]
    subject: Option<Descriptor>,
    #[serde(default)]
    annotations: Annotations,
}

impl Document {
    /// What it looks like, when nobody says it.
    fn guess(&self, trust: Trust) -> Result<ManifestType> {
        let named = self.media_type.as_deref().and_then(ManifestType::parse);
        let kind = match (named, &self.manifests, &self.config) {
            (Some(kind), ..) => Some(kind),
            (None, Some(_), _) => Some(ManifestType::Index),
            (None, None, Some(config)) if &*config.media_type == DOCKER_CONFIG => {
                Some(ManifestType::DockerImage)
            }
            (None, None, Some(_)) => Some(ManifestType::Image),
            (None, None, None) if self.fs_layers.is_some() => Some(ManifestType::Schema1),
            (None, None, None) => None,
        };
        match kind {
            Some(kind) if kind.is_schema1() => Err(schema1(kind, trust)),
            Some(kind) => Ok(kind),
            None => Err(Error::invalid("the document is not a manifest")),
        }
    }

    /// What must be true of a document that claims to be `kind`.
    fn check(&self, kind: ManifestType) -> Result<()> {
        // A document that two clients can read as two different things is the oldest trick with manifests (CVE-2021-41190).
        if self.manifests.is_some()
            && (self.config.is_some() || self.layers.is_some() || self.fs_layers.is_some())
        {
            return Err(Error::invalid(
                "the manifest is ambiguous: `manifests` stands beside `config`, `layers` or `fsLayers`",
            ));
        }
        if let Some(text) = &self.media_type
            && !text.is_empty()
            && ManifestType::parse(text) != Some(kind)
        {
            return Err(Error::invalid(format!(
                "the manifest says it is `{text:.120}`, but was sent as `{kind}`"
            )));
        }
        let expected = if kind == ManifestType::Artifact {
            None
        } else {
            Some(2)
        };
        if self.schema_version != expected && self.schema_version != Some(2) {
            return Err(Error::invalid(format!("a `{kind}` has `schemaVersion` 2")));
        }
        let missing = match kind {
            ManifestType::Image | ManifestType::DockerImage if self.config.is_none() => "config",
            ManifestType::Index | ManifestType::DockerList if self.is_leaf() => "manifests",
            ManifestType::Artifact if self.manifests.is_some() => "blobs",
            _ => return Ok(()),
        };
        Err(Error::invalid(format!(
            "the document is not a `{kind}`: it has no `{missing}`"
        )))
    }

    /// Whether it has what only images and artifacts have.
    fn is_leaf(&self) -> bool {
        self.config.is_some() || self.layers.is_some() || self.fs_layers.is_some()
    }
}

/// The keys of a JSON object, each once and none of ours in another case.
///
/// JSON readers disagree about repeated keys, and Go's take `Manifests` for `manifests`: both would let one document be two.
struct Keys;

impl Keys {
    fn check(bytes: &[u8]) -> Result<()> {
        serde_json::from_slice::<Self>(bytes)
            .map(drop)
            .map_err(|error| malformed(&error))
    }
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut seen = HashSet::new();
                while let Some(key) = map.next_key::<String>()? {
                    let ours = KEYS.iter().find(|known| known.eq_ignore_ascii_case(&key));
                    if ours.is_some_and(|known| *known != key) {
                        let text =
                            format!("the key `{key:.40}` differs from a known one in case only");
                        return Err(serde::de::Error::custom(text));
                    }
                    if ours.is_some() && !seen.insert(key.clone()) {
                        let text = format!("the key `{key}` stands twice");
                        return Err(serde::de::Error::custom(text));
                    }
                    map.next_value::<IgnoredAny>()?;
                }
                Ok(Keys)
            }
        }
        deserializer.deserialize_map(Read)
    }
}

const KEYS: [&str; 10] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "blobs",
    "manifests",
    "fsLayers",
    "subject",
    "annotations",
];

const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

fn malformed(error: &serde_json::Error) -> Error {
    Error::invalid(format!("the manifest cannot be read: {error:.200}"))
}

/// For a pusher it is wrong; for somebody who pulls it is there, but not for us.
fn schema1(kind: ManifestType, trust: Trust) -> Error {
    let error = match trust {
        Trust::Header => ErrorKind::Invalid,
        Trust::Repair => ErrorKind::Unsupported,
    };
    Error::new(
        error,
        format!("`{kind}` (schema 1) is not supported; build the image anew with a current tool"),
    )
}

#[cfg(test)]
mod tests;
