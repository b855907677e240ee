//! Names of charts and repositories: which ones a rule is about, what a request is about, and what somebody may see.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use globset::GlobSet;

use crate::error::Result;
use crate::names::globs;

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About<'a> {
    /// The tenant as a whole, or something in it whose name is not known yet: whoever may do it to anything may go on, and is
    /// asked again, or sees a part.
    Tenant,
    /// A chart or a repository, called as it is called within the tenant.
    Name(&'a str),
    /// A repository of one upstream of the tenant: called by its name there, and by that behind the upstream's.
    Member {
        /// The upstream.
        upstream: &'a str,
        /// The name there.
        name: &'a str,
    },
}

impl About<'_> {
    /// Whether `patterns` cover it; of a tenant as a whole, any pattern covers something.
    pub fn is_covered_by(self, patterns: &NamePatterns) -> bool {
        match self {
            Self::Tenant => true,
            Self::Name(name) => patterns.fit(name),
            Self::Member { upstream, name } => {
                patterns.fit(name) || patterns.fit(&format!("{upstream}/{name}"))
            }
        }
    }
}

/// As a client would call it.
impl fmt::Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant => f.write_str("the tenant"),
            Self::Name(name) => write!(f, "`{name:.300}`"),
            Self::Member { upstream, name } => write!(f, "`{upstream:.120}/{name:.300}`"),
        }
    }
}

/// Patterns of names ([`globs`]), compiled; equal where their texts are. Cheap to clone; a look-up allocates nothing.
#[derive(Clone)]
pub struct NamePatterns {
    texts: Arc<[String]>,
    set: Arc<GlobSet>,
}

impl NamePatterns {
    /// Reads them, in any order. Errors: one of them is no pattern.
    pub fn new(patterns: &[String]) -> Result<Self> {
        let mut texts = patterns.to_vec();
        texts.sort_unstable();
        texts.dedup();
        Ok(Self {
            set: Arc::new(globs::set(&texts)?),
            texts: texts.into(),
        })
    }

    /// Whether one of them fits the whole of `name`.
    pub fn fit(&self, name: &str) -> bool {
        self.set.is_match(name)
    }

    /// The patterns as they are written, sorted.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }
}

impl fmt::Debug for NamePatterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.texts.iter()).finish()
    }
}

/// `a`, `b`: as a sentence names them.
impl fmt::Display for NamePatterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, text) in self.texts.iter().enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            write!(f, "{comma}`{text}`")?;
        }
        Ok(())
    }
}

impl PartialEq for NamePatterns {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

impl Eq for NamePatterns {}

impl PartialOrd for NamePatterns {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NamePatterns {
    fn cmp(&self, other: &Self) -> Ordering {
        self.texts.cmp(&other.texts)
    }
}

impl Hash for NamePatterns {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.texts.hash(state);
    }
}

/// What of a tenant somebody may see, or do something to. Equal sights show the same, in every tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sight {
    /// All of it.
    Everything,
    /// What any of these patterns fits: sorted, each once, at least one.
    Names(Arc<[NamePatterns]>),
    /// Nothing.
    Nothing,
}

impl Sight {
    /// What all of `patterns` cover together.
    pub fn of(mut patterns: Vec<NamePatterns>) -> Self {
        patterns.sort_unstable();
        patterns.dedup();
        if patterns.is_empty() {
            Self::Nothing
        } else {
            Self::Names(patterns.into())
        }
    }

    /// Whether it includes the chart or repository `name`.
    pub fn shows(&self, name: &str) -> bool {
        self.includes(About::Name(name))
    }

    /// Whether it includes what a request is about; the tenant as a whole where it includes anything.
    pub fn includes(&self, about: About<'_>) -> bool {
        match self {
            Self::Everything => true,
            Self::Names(all) => all.iter().any(|one| about.is_covered_by(one)),
            Self::Nothing => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> NamePatterns {
        let texts: Vec<_> = texts.iter().map(|&text| text.to_owned()).collect();
        NamePatterns::new(&texts).expect("patterns")
    }

    #[test]
    fn equal_sights_are_equal_however_they_are_written() {
        let one = Sight::of(vec![patterns(&["b", "a"]), patterns(&["c"])]);
        let other = Sight::of(vec![
            patterns(&["c"]),
            patterns(&["a", "b", "a"]),
            patterns(&["c"]),
        ]);
        assert_eq!(one, other);
        assert!(one.shows("a") && one.shows("c") && !one.shows("d"));
        assert_ne!(one, Sight::of(vec![patterns(&["a", "b"])]));
        assert_eq!(Sight::of(Vec::new()), Sight::Nothing);
    }

    #[test]
    fn an_upstreams_repository_has_two_names() {
        let member = About::Member {
            upstream: "hub",
            name: "library/nginx",
        };
        for (pattern, covers) in [
            ("library/*", true),
            ("hub/**", true),
            ("hub/library/nginx", true),
            ("hub/*", false),
            ("nginx", false),
        ] {
            assert_eq!(
                member.is_covered_by(&patterns(&[pattern])),
                covers,
                "{pattern}"
            );
        }
        // Without its upstream it may be anybody's: what names the upstream does not count.
        assert!(!About::Name("library/nginx").is_covered_by(&patterns(&["hub/**"])));
        assert!(About::Tenant.is_covered_by(&patterns(&["x"])));
    }
}
