//! Descriptors: how manifests point at things.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::Digest;

/// One content descriptor (image-spec, descriptor.md), with the fields that a registry looks at.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is. Empty where the document does not say.
    pub media_type: Arc<str>,
    /// Its name.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// What kind of artifact a manifest is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<Arc<str>>,
    /// Free text by key.
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
    /// Which machine a manifest in an index is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// `platform` of an entry of an index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`, …
    #[serde(default)]
    pub architecture: String,
    /// `linux`, `windows`, …
    #[serde(default)]
    pub os: String,
    /// `v7`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse()
            .map_err(|error: crate::error::Error| de::Error::custom(error.message()))
    }
}

/// As documents have it: Go writes `null` for what is empty.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    media_type: Option<Arc<str>>,
    digest: Digest,
    size: u64,
    #[serde(default)]
    artifact_type: Option<Arc<str>>,
    #[serde(default)]
    annotations: Annotations,
    #[serde(default)]
    platform: Option<Platform>,
}

impl<'de> Deserialize<'de> for Descriptor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        if i64::try_from(raw.size).is_err() {
            // Every client reads it as a signed number.
            return Err(de::Error::custom("`size` is too large"));
        }
        Ok(Self {
            media_type: raw.media_type.unwrap_or_else(|| Arc::from("")),
            digest: raw.digest,
            size: raw.size,
            artifact_type: raw.artifact_type.filter(|text| !text.is_empty()),
            annotations: raw.annotations,
            platform: raw.platform,
        })
    }
}

/// Annotations as the document has them: checked to be texts by key, kept as they were written.
///
/// A map of small strings would need many times the memory of its text, and a registry only passes them on.
#[derive(Clone, Default)]
pub struct Annotations(Option<Box<RawValue>>);

impl Annotations {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// All of them.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        let map = self.0.as_ref().map(|raw| serde_json::from_str(raw.get()));
        // They were read once already.
        map.and_then(Result::ok).unwrap_or_default()
    }
}

impl PartialEq for Annotations {
    fn eq(&self, other: &Self) -> bool {
        self.to_map() == other.to_map()
    }
}

impl fmt::Debug for Annotations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_ref().map_or("{}", |raw| raw.get()))
    }
}

impl Serialize for Annotations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let texts: Option<Texts> = serde_json::from_str(raw.get()).map_err(|_| {
            de::Error::custom("`annotations` is not an object whose values are all strings")
        })?;
        Ok(Self(texts.filter(|texts| texts.0 > 0).map(|_| raw)))
    }
}

/// How many texts an object has, and nothing else in it.
struct Texts(usize);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Count;
        impl<'de> Visitor<'de> for Count {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("texts by key")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
                let mut count = 0;
                while map.next_entry::<Text, Text>()?.is_some() {
                    count += 1;
                }
                Ok(Texts(count))
            }
        }
        deserializer.deserialize_map(Count)
    }
}

/// Any string, not kept.
struct Text;

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, _: &str) -> Result<Text, E> {
                Ok(Text)
            }
        }
        deserializer.deserialize_str(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn read(rest: &str) -> Result<Descriptor, serde_json::Error> {
        serde_json::from_str(&format!(r#"{{"digest":"{DIGEST}"{rest}}}"#))
    }

    #[test]
    fn what_go_writes_is_read() {
        let read = read(
            r#","size":3,"mediaType":"a/b","annotations":null,"artifactType":"","data":"eHh4",
               "urls":["https://h/"],"platform":{"os":"linux","architecture":"arm","variant":"v7","os.features":["x"]}"#,
        )
        .expect("a descriptor");
        assert_eq!((&*read.media_type, read.size), ("a/b", 3));
        assert!(read.annotations.is_empty() && read.artifact_type.is_none());
        let platform = read.platform.expect("given");
        assert_eq!(platform.variant.as_deref(), Some("v7"));
    }

    #[test]
    fn nonsense_is_refused() {
        for rest in [
            "",
            r#","size":-1"#,
            r#","size":1.5"#,
            r#","size":"1""#,
            r#","size":9223372036854775808"#,
            r#","size":1,"size":2"#,
            r#","size":1,"annotations":{"a":1}"#,
            r#","size":1,"annotations":["a"]"#,
            r#","size":1,"mediaType":7"#,
            r#","size":1,"platform":"linux""#,
        ] {
            assert!(read(rest).is_err(), "{rest}");
        }
        assert!(serde_json::from_str::<Descriptor>(r#"{"size":1}"#).is_err());
        assert!(serde_json::from_str::<Descriptor>(r#"{"size":1,"digest":"sha256:x"}"#).is_err());
    }

    #[test]
    fn annotations_pass_through_as_they_were_written() {
        let text = r#"{"b" : "\u0041<", "a":"2"}"#;
        let read = read(&format!(r#","size":1,"annotations":{text}"#)).expect("a descriptor");
        assert_eq!(read.annotations.to_map()["b"], "A<");
        let written = serde_json::to_string(&read).expect("json");
        assert!(written.contains(text), "{written}");
    }
}
