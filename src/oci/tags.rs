//! Lists of names: tags of a repository, repositories of a registry, page by page.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{RepoName, Tag};
use crate::error::{Error, Result};

/// Which part of a list somebody asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// At most so many; `None`: all.
    pub count: Option<usize>,
    /// Only what comes behind this text, which need not be in the list.
    pub last: Option<String>,
}

impl Page {
    /// From the decoded parameters `n` and `last`.
    pub fn parse(count: Option<&str>, last: Option<&str>) -> Result<Self> {
        let count = count
            .map(|text| {
                let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                // More than any number is as good as all of them.
                digits
                    .then(|| text.parse().unwrap_or(usize::MAX))
                    .ok_or_else(|| {
                        Error::invalid(format!("`n={text:.40}` is not a number of entries"))
                    })
            })
            .transpose()?;
        Ok(Self {
            count,
            last: last.filter(|text| !text.is_empty()).map(str::to_owned),
        })
    }

    /// The entries of this page, and whether there are more behind them. `sorted` is in the order of bytes, each once.
    pub fn of<'a, T: AsRef<str>>(&self, sorted: &'a [T]) -> (&'a [T], bool) {
        let start = self.last.as_ref().map_or(0, |last| {
            sorted.partition_point(|entry| entry.as_ref() <= last.as_str())
        });
        let rest = &sorted[start..];
        let count = self.count.unwrap_or(usize::MAX).min(rest.len());
        // `n=0` asks whether the repository exists; a next page would lead nowhere.
        (&rest[..count], count > 0 && count < rest.len())
    }
}

/// The answer to `tags/list`; `name` as the client wrote it.
pub fn render(name: &str, tags: &[impl AsRef<str>]) -> Bytes {
    #[derive(Serialize)]
    struct List<'a> {
        name: &'a str,
        tags: Vec<&'a str>,
    }
    let tags = tags.iter().map(AsRef::as_ref).collect();
    to_json(&List { name, tags })
}

/// The answer to `_catalog`.
pub fn render_catalog(repositories: &[impl AsRef<str>]) -> Bytes {
    #[derive(Serialize)]
    struct List<'a> {
        repositories: Vec<&'a str>,
    }
    let repositories = repositories.iter().map(AsRef::as_ref).collect();
    to_json(&List { repositories })
}

/// Reads a page of somebody's `tags/list`. Texts that cannot be tags are left out; other fields are everybody's right.
pub fn read(bytes: &[u8]) -> Result<Vec<Tag>> {
    #[derive(Deserialize)]
    struct List {
        tags: Option<Vec<String>>,
    }
    let list: List = serde_json::from_slice(bytes).map_err(|error| {
        Error::invalid(format!("the list of tags cannot be read: {error:.200}"))
    })?;
    let tags = list.tags.unwrap_or_default();
    Ok(tags.iter().filter_map(|tag| Tag::parse(tag).ok()).collect())
}

/// Reads a page of somebody's `_catalog`, leaving out what cannot be a repository.
pub fn read_catalog(bytes: &[u8]) -> Result<Vec<RepoName>> {
    #[derive(Deserialize)]
    struct List {
        repositories: Option<Vec<String>>,
    }
    let list: List = serde_json::from_slice(bytes)
        .map_err(|error| Error::invalid(format!("the catalog cannot be read: {error:.200}")))?;
    let names = list.repositories.unwrap_or_default();
    Ok(names
        .iter()
        .filter_map(|name| RepoName::parse(name).ok())
        .collect())
}

pub(super) fn to_json(value: &impl Serialize) -> Bytes {
    // Writing to memory fails only for maps whose keys are no strings.
    serde_json::to_vec(value).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(count: Option<&str>, last: Option<&str>) -> Page {
        Page::parse(count, last).expect("a page")
    }

    #[test]
    fn pages() {
        let tags = ["A", "a", "b", "c"];
        assert_eq!(page(None, None).of(&tags), (&tags[..], false));
        assert_eq!(page(Some("2"), None).of(&tags), (&tags[..2], true));
        assert_eq!(page(Some("2"), Some("a")).of(&tags), (&tags[2..], false));
        assert_eq!(page(Some("1"), Some("aa")).of(&tags), (&tags[2..3], true));
        assert_eq!(page(Some("0"), None).of(&tags), (&tags[..0], false));
        assert_eq!(page(Some("9"), Some("z")).of(&tags), (&tags[..0], false));
        assert_eq!(
            page(Some("99999999999999999999999"), None).of(&tags).0,
            tags
        );
        for wrong in ["", "-1", "x", "1.5", "+1", "1 "] {
            assert!(Page::parse(Some(wrong), None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lists_are_never_null() {
        assert_eq!(
            &render("a/b", &[] as &[&str])[..],
            br#"{"name":"a/b","tags":[]}"#
        );
        assert_eq!(
            &render("a", &["x", "y"])[..],
            br#"{"name":"a","tags":["x","y"]}"#
        );
        assert_eq!(&render_catalog(&["a"])[..], br#"{"repositories":["a"]}"#);
    }

    #[test]
    fn lists_of_others_are_read_kindly() {
        let text = br#"{"name":"x","child":[],"manifest":{"sha256:0":{}},"tags":["1.0","bad tag","","v2"]}"#;
        let tags = read(text).expect("a list");
        assert_eq!(
            tags.iter().map(Tag::as_str).collect::<Vec<_>>(),
            ["1.0", "v2"]
        );
        assert!(
            read(br#"{"name":"x","tags":null}"#)
                .expect("a list")
                .is_empty()
        );
        assert!(read(b"<html>").is_err() && read(b"[]").is_err());
        let names = read_catalog(br#"{"repositories":["a/b","NO"]}"#).expect("a list");
        assert_eq!(names.len(), 1);
    }

    proptest! {
        /// Walking through the pages gives every entry once.
        #[test]
        fn pages_cover_everything_once(mut tags in proptest::collection::btree_set("[a-cA-C]{1,3}", 0..20), count in 1_usize..7) {
            let tags: Vec<String> = std::mem::take(&mut tags).into_iter().collect();
            let (mut seen, mut page) = (Vec::new(), Page { count: Some(count), last: None });
            loop {
                let (part, more) = page.of(&tags);
                seen.extend_from_slice(part);
                if !more {
                    break;
                }
                page.last = part.last().cloned();
            }
            prop_assert_eq!(seen, tags);
        }
    }
}
