//! Patterns of tenants: which one a path belongs to, and what all its tenants share.

use std::sync::Arc;

use super::Tenant;
use crate::config;
use crate::names::{TenantPath, TenantPattern};

/// One pattern, with what is decided before any of its tenants is looked at.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) pattern: TenantPattern,
    pub(super) config: config::Tenant,
    /// A tenant that hosts nothing: access, rates and upstreams of all, and the index of those who host nothing yet.
    pub(super) blank: Arc<Tenant>,
}

/// All patterns in order of precedence.
#[derive(Debug)]
pub(super) struct Patterns {
    all: Vec<Arc<Pattern>>,
    /// Tenants may have any name, as ChartMuseum's repositories (`chartmuseum.strict`).
    any_name: bool,
}

impl Pattern {
    /// Whether tenants that host nothing have the same index. Absolute URLs in it would name the tenant.
    pub(super) fn shares_its_index(&self) -> bool {
        self.config.charts.is_empty() || self.config.index.url.is_none()
    }
}

impl Patterns {
    pub(super) fn new(mut all: Vec<Arc<Pattern>>, any_name: bool) -> Self {
        // Stable: what is equal here fits no path in common.
        all.sort_by_key(|pattern| precedence(&pattern.pattern));
        Self { all, any_name }
    }

    /// The pattern that decides about `path`, and the path as a name; `None` where none fits or no tenant could have that name.
    pub(super) fn find(&self, path: &str) -> Option<(&Arc<Pattern>, TenantPath)> {
        // Names from the configuration may start with a slash, those from requests have lost theirs.
        if path.starts_with('/') {
            return None;
        }
        let pattern = self.all.iter().find(|one| one.pattern.fits(path))?;
        let path = if self.any_name {
            TenantPath::parse_any(path)
        } else {
            TenantPath::parse(path)
        };
        path.ok().map(|path| (pattern, path))
    }

    /// What all tenants of exactly this pattern share.
    pub(super) fn blank(&self, pattern: &TenantPattern) -> Option<&Arc<Tenant>> {
        let one = self.all.iter().find(|one| one.pattern == *pattern)?;
        Some(&one.blank)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Pattern>> {
        self.all.iter()
    }
}

/// More of the path named first, then a fixed number of segments before any.
pub(super) fn precedence(pattern: &TenantPattern) -> (std::cmp::Reverse<usize>, bool) {
    (
        std::cmp::Reverse(pattern.literal().count()),
        pattern.depth().is_none(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(patterns: &[&str]) -> Vec<TenantPattern> {
        let parse = |text: &&str| TenantPattern::parse(text).expect("a pattern");
        let mut sorted: Vec<_> = patterns.iter().map(parse).collect();
        sorted.sort_by_key(precedence);
        sorted
    }

    #[test]
    fn the_pattern_that_says_most_of_a_path_decides() {
        let patterns = sorted(&["**", "*", "*/*", "a/**", "a/*", "a/b/**", "a/b/*"]);
        let decides = |path: &str| {
            patterns
                .iter()
                .find(|pattern| pattern.fits(path))
                .map(TenantPattern::as_str)
        };
        for (path, pattern) in [
            ("", "**"),
            ("x", "*"),
            ("a", "a/**"),
            ("x/y", "*/*"),
            ("a/x", "a/*"),
            ("a/b", "a/b/**"),
            ("a/b/x", "a/b/*"),
            ("a/b/x/y", "a/b/**"),
            ("a/x/y", "a/**"),
            ("x/y/z", "**"),
        ] {
            assert_eq!(decides(path), Some(pattern), "{path}");
        }
    }
}
