//! What was read from packages, in the form in which it outlives the process.
//!
//! A line of JSON names the files; behind it lie their entries as indexes. Files that hold the same version cannot be in one
//! index, so there are as many as it takes, nearly always one. Which entry belongs to which file is told by its URL.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::index::{Entry, SourceIndex, kept};
use crate::object::{Object, Stamp};
use crate::upstream::packages::{Content, Known, Packages};

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    version: u32,
    files: Vec<File>,
    /// The length of each index.
    indexes: Vec<usize>,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    name: Arc<str>,
    size: u64,
    modified: Timestamp,
    tag: u64,
    /// Why it is no chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    broken: Option<Arc<str>>,
}

/// The packages as bytes.
pub(super) fn to_bytes(packages: &Packages<Object>) -> Bytes {
    let mut files: Vec<File> = packages.iter().map(file).collect();
    files.sort_by(|one, other| one.name.cmp(&other.name));
    let mut left = packages.entries();
    let mut indexes = Vec::new();
    while !left.is_empty() {
        let mut versions = HashSet::new();
        let (now, later): (Vec<_>, _) = left
            .into_iter()
            .partition(|entry| versions.insert(entry.file_name()));
        indexes.push(kept::to_bytes(&SourceIndex::from_entries(now)));
        left = later;
    }
    let head = Head {
        version: VERSION,
        files,
        indexes: indexes.iter().map(Vec::len).collect(),
    };
    let mut bytes = serde_json::to_vec(&head).unwrap_or_default();
    bytes.push(b'\n');
    bytes.extend(indexes.into_iter().flatten());
    bytes.into()
}

fn file(known: &Known<Object>) -> File {
    let Object { name, stamp } = &known.file;
    File {
        name: Arc::clone(name),
        size: stamp.size,
        modified: stamp.modified,
        tag: stamp.tag,
        broken: match &known.content {
            Content::Broken(reason) => Some(Arc::clone(reason)),
            Content::Chart(_) => None,
        },
    }
}

/// What [`to_bytes`] wrote. `url` gives the URL of a file by its name; a file whose entry is not there is not known.
///
/// Errors: damage, or another version of the form.
pub(super) fn from_bytes(bytes: &[u8], url: impl Fn(&str) -> String) -> Result<Packages<Object>> {
    let damaged = || Error::invalid("what was kept of its packages is damaged");
    let end = memchr::memchr(b'\n', bytes).ok_or_else(damaged)?;
    let head: Head =
        serde_json::from_slice(&bytes[..end]).map_err(|error| damaged().with_source(error))?;
    if head.version != VERSION {
        return Err(Error::invalid(
            "what was kept of its packages has another form",
        ));
    }
    let mut rest = &bytes[end + 1..];
    let mut entries: HashMap<Box<str>, Arc<Entry>> = HashMap::new();
    for length in head.indexes {
        let (index, more) = rest.split_at_checked(length).ok_or_else(damaged)?;
        rest = more;
        let index = kept::from_bytes(index)?;
        for entry in index.charts().flat_map(|(_, chart)| chart.entries()) {
            if let Some(url) = entry.urls.first() {
                entries.insert(url.clone(), Arc::clone(entry));
            }
        }
    }
    let mut packages = Packages::default();
    for file in head.files {
        let content = match file.broken {
            Some(reason) => Content::Broken(reason),
            None => match entries.remove(&*url(&file.name)) {
                Some(entry) => Content::Chart(entry),
                None => continue,
            },
        };
        let stamp = Stamp {
            size: file.size,
            modified: file.modified,
            tag: file.tag,
        };
        packages.insert(Known {
            file: Object {
                name: file.name,
                stamp,
            },
            content,
        });
    }
    Ok(packages)
}

const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::packages::Package;

    fn url(name: &str) -> String {
        format!("s3://charts/{name}")
    }

    fn packages() -> Packages<Object> {
        let mut packages = Packages::default();
        let modified: Timestamp = "2026-01-02T03:04:05.5Z".parse().expect("a time");
        for (tag, name, chart, version) in [
            (1, "a-1.0.0.tgz", "a", "1.0.0"),
            (2, "copy of a.tgz", "a", "1.0.0"),
            (0, "b-1.0.0+x.tgz", "b", "1.0.0+x"),
        ] {
            let archive = crate::chart::archive::fixture::package(chart, version);
            let package = Package::read(&*archive).expect("memory");
            let content = package.entry(modified, &url(name)).into();
            assert!(matches!(content, Content::Chart(_)), "{content:?}");
            let stamp = Stamp {
                size: archive.len() as u64,
                modified,
                tag,
            };
            let name = name.into();
            packages.insert(Known {
                file: Object { name, stamp },
                content,
            });
        }
        packages.insert(Known {
            file: Object {
                name: "broken.tgz".into(),
                stamp: Stamp {
                    size: 1,
                    modified,
                    tag: u64::MAX,
                },
            },
            content: Content::Broken("no chart".into()),
        });
        packages
    }

    fn described(packages: &Packages<Object>) -> Vec<String> {
        let mut all: Vec<_> = packages.iter().map(|known| format!("{known:?}")).collect();
        all.sort();
        all
    }

    #[test]
    fn everything_comes_back_two_files_of_one_version_too() {
        let packages = packages();
        let bytes = to_bytes(&packages);
        assert_eq!(bytes, to_bytes(&packages), "the same bytes each time");
        let back = from_bytes(&bytes, url).expect("kept");
        assert_eq!(described(&back), described(&packages));
        assert_eq!(back.iter().count(), 4);
    }

    #[test]
    fn entries_of_another_place_are_not_known() {
        let back = from_bytes(&to_bytes(&packages()), |name| format!("s3://other/{name}"));
        let names: Vec<_> = back
            .expect("kept")
            .iter()
            .map(|known| known.file.name.to_string())
            .collect();
        assert_eq!(names, ["broken.tgz"]);
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let bytes = to_bytes(&packages());
        for end in 0..bytes.len() {
            assert!(from_bytes(&bytes[..end], url).is_err(), "{end}");
        }
        let text = String::from_utf8_lossy(&bytes).replacen("\"version\":1", "\"version\":2", 1);
        assert!(from_bytes(text.as_bytes(), url).is_err());
    }
}
