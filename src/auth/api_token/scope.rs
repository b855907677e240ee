//! Where a token counts: paths and patterns of tenants, as the keys of `tenants` are written.

use std::fmt;

use crate::error::{Error, Result};
use crate::names::{TenantPath, TenantPattern};

/// One of a token's tenants, or a pattern of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// One tenant, with any name that a tenant can have.
    Exact(TenantPath),
    /// `team/*`, `**`
    Fitting(TenantPattern),
}

impl Place {
    /// Errors: how to write one.
    pub(super) fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::invalid(
                "the path of a tenant is empty; write `/` for the root tenant, or `**` for all of them",
            ));
        }
        if TenantPattern::is_one(text) {
            return TenantPattern::parse(text).map(Self::Fitting);
        }
        TenantPath::parse_any(text).map(Self::Exact)
    }

    /// Whether it has the tenant at `path` (segments joined by `/`, empty for the root).
    pub(super) fn has(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => exact.as_str() == path,
            Self::Fitting(pattern) => pattern.fits(path),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => path.fmt(f),
            Self::Fitting(pattern) => pattern.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_are_written_as_in_the_configuration() {
        for (text, has, lacks) in [
            ("acme", &["acme"][..], &["", "acme/a", "acm", "acme2"][..]),
            ("/acme/a", &["acme/a"], &["acme", "acme/a/b"]),
            ("/", &[""], &["acme"]),
            (
                "acme/*",
                &["acme/a"],
                &["acme", "acme/a/b", "other/a", "acme2/a"],
            ),
            ("acme/**", &["acme", "acme/a", "acme/a/b"], &["", "acme2"]),
            ("**", &["", "acme", "a/b/c"], &[]),
            ("org 1", &["org 1"], &["org"]),
        ] {
            let place = Place::parse(text).expect(text);
            for path in has {
                assert!(place.has(path), "{text} {path}");
            }
            for path in lacks {
                assert!(!place.has(path), "{text} {path}");
            }
            assert_eq!(Place::parse(&place.to_string()).expect("read back"), place);
        }
        for wrong in ["", "a//b", "acme-*", "*/a", "../a", "a\nb"] {
            assert!(Place::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
