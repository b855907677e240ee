//! Who refers to a manifest: the answer of the referrers API, and the tag that takes its place where there is none.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::tags::to_json;
use super::{Descriptor, Digest, Manifest, ManifestType, Tag};
use crate::error::{Error, Result};

/// What a list says about one referrer (distribution-spec, "Listing Referrers").
pub fn describe(manifest: &Manifest, digest: Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: manifest.media_type.as_str().into(),
        digest,
        size,
        artifact_type: manifest.referrer_type(),
        annotations: manifest.annotations.clone(),
        platform: None,
    }
}

/// The answer: an image index, filtered where asked. `artifact_type` that is given must be named in `OCI-Filters-Applied`.
pub fn render(referrers: &[Descriptor], artifact_type: Option<&str>) -> Bytes {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Index<'a> {
        schema_version: u8,
        media_type: &'a str,
        manifests: Vec<&'a Descriptor>,
    }
    let fits = |referrer: &&Descriptor| {
        artifact_type.is_none_or(|wanted| referrer.artifact_type.as_deref() == Some(wanted))
    };
    to_json(&Index {
        schema_version: 2,
        media_type: ManifestType::Index.as_str(),
        manifests: referrers.iter().filter(fits).collect(),
    })
}

/// Reads somebody's answer, or the index behind a fallback tag.
pub fn read(bytes: &[u8]) -> Result<Vec<Descriptor>> {
    #[derive(Deserialize)]
    struct Index {
        manifests: Option<Vec<Descriptor>>,
    }
    let index: Index = serde_json::from_slice(bytes).map_err(|error| {
        Error::invalid(format!(
            "the list of referrers cannot be read: {error:.200}"
        ))
    })?;
    Ok(index.manifests.unwrap_or_default())
}

/// Joins lists from several places: each referrer once, the first mention counts.
pub fn merge(lists: impl IntoIterator<Item = Vec<Descriptor>>) -> Vec<Descriptor> {
    let mut seen = std::collections::HashSet::new();
    let mut all: Vec<Descriptor> = lists.into_iter().flatten().collect();
    all.retain(|referrer| seen.insert(referrer.digest));
    all
}

/// The tag under which a registry without the API keeps the index (distribution-spec, "Referrers Tag Schema"):
/// `<algorithm>-<digits>`, the first 32 and 64 characters of each.
pub fn fallback_tag(subject: &Digest) -> Tag {
    let hex = subject.to_hex();
    let text = format!("{}-{}", subject.algorithm().as_str(), &hex[..64]);
    Tag::parse(&text).expect("letters, digits and a dash, at most 71 of them")
}

#[cfg(test)]
mod tests {
    use super::super::Algorithm;
    use super::*;

    fn manifest(text: &str) -> Manifest {
        Manifest::receive(None, text.as_bytes(), 10_000).expect("a manifest")
    }

    fn digest(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    fn signature() -> Descriptor {
        let config = format!(
            r#"{{"mediaType":"application/vnd.example.sig","digest":"{}","size":2}}"#,
            digest("{}")
        );
        let text = format!(
            r#"{{"schemaVersion":2,"config":{config},"layers":[],"annotations":{{"a":"1"}}}}"#
        );
        describe(&manifest(&text), digest(&text), text.len() as u64)
    }

    #[test]
    fn the_answer_has_every_field_and_is_read_back() {
        let text = render(&[signature()], None);
        let value: serde_json::Value = serde_json::from_slice(&text).expect("json");
        assert_eq!(value["schemaVersion"], 2);
        assert_eq!(
            value["mediaType"],
            "application/vnd.oci.image.index.v1+json"
        );
        let first = &value["manifests"][0];
        assert_eq!(first["artifactType"], "application/vnd.example.sig");
        assert_eq!(
            first["mediaType"],
            "application/vnd.oci.image.manifest.v1+json"
        );
        assert_eq!(first["annotations"]["a"], "1");
        assert_eq!(first["digest"], signature().digest.to_string());
        assert_eq!(read(&text).expect("an index"), [signature()]);
        let inspected = Manifest::inspect(Some(ManifestType::Index.as_str()), &text, 10_000);
        assert_eq!(inspected.expect("a manifest").manifests, [signature()]);
    }

    #[test]
    fn filters_choose_by_kind_and_empty_is_no_error() {
        let one = [signature()];
        assert_eq!(
            render(&one, Some("application/vnd.example.sig")),
            render(&one, None)
        );
        assert_eq!(render(&one, Some("x/y")), render(&[], None));
        assert!(read(&render(&[], None)).expect("an index").is_empty());
        assert!(read(br#"{"manifests":null}"#).expect("an index").is_empty());
        assert!(read(b"<html>").is_err());
    }

    #[test]
    fn an_index_among_referrers_has_no_kind_unless_it_says_so() {
        let plain = manifest(r#"{"schemaVersion":2,"manifests":[]}"#);
        assert_eq!(describe(&plain, digest("x"), 1).artifact_type, None);
        let own = manifest(r#"{"schemaVersion":2,"manifests":[],"artifactType":"a/b"}"#);
        assert_eq!(
            describe(&own, digest("x"), 1).artifact_type.as_deref(),
            Some("a/b")
        );
    }

    #[test]
    fn lists_are_joined_without_doubles() {
        let other = Descriptor {
            digest: digest("other"),
            ..signature()
        };
        let joined = merge([vec![signature()], vec![other.clone(), signature()]]);
        assert_eq!(joined, [signature(), other]);
    }

    #[test]
    fn fallback_tags() {
        let short = digest("x");
        let expected = short.to_string().replace(':', "-");
        assert_eq!(fallback_tag(&short).as_str(), expected);
        let long = Digest::of(Algorithm::Sha512, b"x");
        let expected = format!("sha512-{}", &long.to_hex()[..64]);
        assert_eq!(fallback_tag(&long).as_str(), expected);
    }
}
