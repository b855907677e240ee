//! Names that arrive from outside, each a type of its own so that an unchecked string cannot take its place.

pub mod globs;

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::error::{Error, Result};

/// First path segments that no tenant may take, because routes live there (contract/http.md).
pub const RESERVED_SEGMENTS: [&str; 8] = [
    "api", "v2", "health", "info", "metrics", "static", "token", "ui",
];

/// Where chartgate keeps what is its own among charts; never a tenant.
const OWN_FOLDER: &str = ".chartgate";

/// A tenant's path: zero or more segments joined by `/`, without a leading or trailing slash. Empty = the root tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TenantPath {
    path: Arc<str>,
    label: Arc<str>,
}

impl TenantPath {
    /// Parses a configured path: `/` (root), `acme` or `acme/platform`, with or without a leading slash.
    ///
    /// Segments are `[A-Za-z0-9][A-Za-z0-9._-]*`, at most 128 bytes; `charts`, and reserved first segments, are refused.
    pub fn parse(text: &str) -> Result<Self> {
        let path = text.strip_prefix('/').unwrap_or(text);
        if path.is_empty() {
            return Ok(Self::root());
        }
        for (position, segment) in path.split('/').enumerate() {
            if !is_plain_segment(segment) {
                return Err(Error::invalid(format!(
                    "tenant `{text}`: segment `{segment}` is not made of letters, digits, `.`, `_` and `-`"
                )));
            }
            if position == 0 && RESERVED_SEGMENTS.contains(&segment) {
                return Err(Error::invalid(format!(
                    "tenant `{text}`: the first segment `{segment}` is reserved for chartgate's own routes"
                )));
            }
            if segment == "charts" || segment == "api" {
                return Err(Error::invalid(format!(
                    "tenant `{text}`: `{segment}` cannot be a segment, because every tenant has a route of that name"
                )));
            }
        }
        Ok(Self::unchecked(path))
    }

    /// The root tenant's.
    pub fn root() -> Self {
        Self::unchecked("")
    }

    /// Takes a decoded request path, or a configured one with or without a leading slash, as ChartMuseum does: segments may have
    /// any name but those that could lead out of the place where charts are kept.
    ///
    /// Refused: empty and dot segments, separators, control characters, chartgate's own folder in any case, more than 255
    /// bytes a segment (file systems hold no more) and 1024 in all.
    pub fn parse_any(text: &str) -> Result<Self> {
        let path = text.strip_prefix('/').unwrap_or(text);
        let is_name = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment.len() <= 255
                && !segment.eq_ignore_ascii_case(OWN_FOLDER)
                && !segment.contains(|c: char| c == '\\' || c.is_control())
        };
        if path.len() > 1024 || !(path.is_empty() || path.split('/').all(is_name)) {
            return Err(Error::invalid(format!(
                "`{text:.200}` is not the path of a repository"
            )));
        }
        Ok(Self::unchecked(path))
    }

    fn unchecked(path: &str) -> Self {
        let path: Arc<str> = Arc::from(path);
        let label = if path.is_empty() {
            Arc::from("/")
        } else {
            path.clone()
        };
        Self { path, label }
    }

    /// The path without slashes at its ends; empty for the root tenant.
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// The name for people and metrics: `/` for the root tenant.
    pub fn label(&self) -> &Arc<str> {
        &self.label
    }
}

impl fmt::Display for TenantPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// As `str` hashes, because of [`Borrow`].
impl Hash for TenantPath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.path.hash(state);
    }
}

impl Borrow<str> for TenantPath {
    fn borrow(&self) -> &str {
        &self.path
    }
}

/// A pattern of tenant paths: plain segments, then `*` for each further one, or a last `**` for any number of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TenantPattern(Arc<str>);

impl TenantPattern {
    /// Whether a key of `tenants` is a pattern and not a path.
    pub fn is_one(text: &str) -> bool {
        text.contains('*')
    }

    /// Parses `*`, `*/*`, `team/*`, `**` or `team/**`, with or without a leading slash.
    pub fn parse(text: &str) -> Result<Self> {
        let path = text.strip_prefix('/').unwrap_or(text);
        let literal: Vec<&str> = path
            .split('/')
            .take_while(|part| !part.contains('*'))
            .collect();
        if !literal.is_empty() {
            TenantPath::parse(&literal.join("/"))?;
        }
        let rest: Vec<&str> = path.split('/').skip(literal.len()).collect();
        let is_known = match rest.as_slice() {
            ["**"] => true,
            stars => !stars.is_empty() && stars.iter().all(|star| *star == "*"),
        };
        if !is_known {
            return Err(Error::invalid(format!(
                "tenant pattern `{text:.200}`: after plain segments write `*` for each segment of any name, or one last `**` for any number of them"
            )));
        }
        Ok(Self(Arc::from(path)))
    }

    /// As it was written, without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments before the first `*`.
    pub fn literal(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').take_while(|part| !part.contains('*'))
    }

    /// Stands for every path that fits, in messages and metrics.
    pub fn stand_in(&self) -> TenantPath {
        TenantPath::unchecked(&self.0)
    }

    /// How many segments a path has that fits; `None`: any number, from that of the plain segments.
    pub fn depth(&self) -> Option<usize> {
        (!self.0.ends_with("**")).then(|| self.0.split('/').count())
    }

    /// Whether `path` (segments joined by `/`, empty for the root) fits.
    pub fn fits(&self, path: &str) -> bool {
        let count = if path.is_empty() {
            0
        } else {
            path.split('/').count()
        };
        let mut segments = path.split('/');
        let literal = self.literal().count();
        let starts = count >= literal && self.literal().all(|part| segments.next() == Some(part));
        starts && self.depth().is_none_or(|depth| depth == count)
    }
}

impl fmt::Display for TenantPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_plain_segment(segment: &str) -> bool {
    segment.len() <= 128
        && segment
            .as_bytes()
            .first()
            .is_some_and(u8::is_ascii_alphanumeric)
        && segment
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// The name of a file in a chart repository: one path segment that ends in `.tgz` or `.tgz.prov`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileName(Arc<str>);

impl FileName {
    /// Checks a decoded path segment. Refuses separators, control characters, dot segments and other endings.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = text.len() > 512
            || text.starts_with('.')
            || text
                .bytes()
                .any(|b| b < 0x20 || matches!(b, b'/' | b'\\' | 0x7f));
        if bad || !(text.ends_with(".tgz") || text.ends_with(".tgz.prov")) {
            return Err(Error::not_found(format!(
                "`{text:.120}` is not the name of a chart archive or provenance file"
            )));
        }
        Ok(Self(Arc::from(text)))
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The archive's name: this one, without `.prov`.
    pub fn archive(&self) -> &str {
        self.0.strip_suffix(".prov").unwrap_or(&self.0)
    }

    /// Whether this names a provenance file.
    pub fn is_provenance(&self) -> bool {
        self.0.ends_with(".prov")
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenant_paths_of_any_depth() {
        assert_eq!(TenantPath::parse("/").expect("root").as_str(), "");
        assert_eq!(
            TenantPath::parse("/acme/platform").expect("deep").as_str(),
            "acme/platform"
        );
        for bad in ["api", "v2/x", "-", "a//b", "a/../b", "a/", "a/charts", "ü"] {
            assert!(TenantPath::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn any_name_but_those_that_lead_elsewhere() {
        for good in [
            "", "api", "charts", "health", "v2/x", "org 1/ü", "-", "a..b", "...", ".git", "a:b",
        ] {
            let path = TenantPath::parse_any(good).expect(good);
            assert_eq!(path.as_str(), good);
        }
        assert_eq!(&**TenantPath::parse_any("/").expect("root").label(), "/");
        let long = "a".repeat(256);
        let deep = vec!["abcdefg"; 130].join("/");
        for bad in [
            ".",
            "..",
            "a/..",
            "a//b",
            "a/",
            "//a",
            "a\\b",
            "a\0",
            "a\nb",
            ".chartgate",
            "a/.ChartGate/tmp",
            &long,
            &deep,
        ] {
            assert!(TenantPath::parse_any(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn patterns_fit_by_depth_and_literal_part() {
        for (pattern, fits, fits_not) in [
            ("*", &["a", "api"][..], &["", "a/b"][..]),
            ("*/*", &["a/b"], &["a", "a/b/c"]),
            (
                "team/*",
                &["team/a"],
                &["team", "other/a", "team/a/b", "teams/a"],
            ),
            (
                "/team/**",
                &["team", "team/a", "team/a/b"],
                &["", "teams", "other"],
            ),
            ("**", &["", "a", "a/b/c"], &[]),
        ] {
            let pattern = TenantPattern::parse(pattern).expect(pattern);
            for path in fits {
                assert!(pattern.fits(path), "{pattern} {path}");
            }
            for path in fits_not {
                assert!(!pattern.fits(path), "{pattern} {path}");
            }
        }
        for bad in [
            "", "a", "a*", "**/*", "*/a", "a/**/b", "api/*", "a//*", "../*", "*a", "***",
        ] {
            assert!(TenantPattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn file_names_are_one_safe_segment() {
        let prov = FileName::parse("nginx-1.0.0+a.tgz.prov").expect("prov");
        assert!(prov.is_provenance());
        assert_eq!(prov.archive(), "nginx-1.0.0+a.tgz");
        for bad in [
            "", "x.zip", "../x.tgz", "a/b.tgz", "a\\b.tgz", "a\0.tgz", ".tgz", ".x.tgz",
        ] {
            assert!(FileName::parse(bad).is_err(), "{bad}");
        }
    }
}
