//! Which repositories are let in: globs over the names that clients use.

use globset::GlobSet;

use crate::error::Result;
use crate::names::globs;
use crate::oci::RepoName;

/// `include` and `exclude` of an upstream registry, or of a tenant's view of one.
///
/// `*` stands for anything within a component, `**` for any number of components. Without `include` everything is let in;
/// `exclude` wins.
#[derive(Clone, Debug, Default)]
pub struct NameRules {
    include: Option<GlobSet>,
    exclude: Option<GlobSet>,
}

impl NameRules {
    /// Reads the patterns. Errors: one of them is malformed.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self> {
        Ok(Self {
            include: globs(include)?,
            exclude: globs(exclude)?,
        })
    }

    /// Whether they let everything in.
    pub fn is_identity(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }

    /// Whether a repository is let in that clients call by any of these names.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "slices and chains of names, which are walked twice"
    )]
    pub fn let_in<'a>(&self, names: impl IntoIterator<Item = &'a RepoName> + Clone) -> bool {
        let matches = |set: &GlobSet| {
            let mut names = names.clone().into_iter();
            names.any(|name| set.is_match(name.as_str()))
        };
        self.include.as_ref().is_none_or(matches) && !self.exclude.as_ref().is_some_and(matches)
    }
}

fn globs(patterns: &[String]) -> Result<Option<GlobSet>> {
    (!patterns.is_empty())
        .then(|| globs::set(patterns))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(include: &[&str], exclude: &[&str]) -> NameRules {
        let owned = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
        NameRules::new(&owned(include), &owned(exclude)).expect("patterns")
    }

    fn lets(rules: &NameRules, names: &[&str]) -> bool {
        let names: Vec<_> = names
            .iter()
            .map(|name| RepoName::parse(name).expect("a name"))
            .collect();
        rules.let_in(&names)
    }

    #[test]
    fn exclusion_wins_and_stars_stay_within_a_component() {
        assert!(rules(&[], &[]).is_identity());
        let library = rules(&["library/*", "acme/**"], &["**/secret", "acme/x/**"]);
        for (name, expected) in [
            ("library/nginx", true),
            ("library/a/b", false),
            ("library", false),
            ("acme/a/b/c", true),
            ("acme/secret", false),
            ("library/secret", false),
            ("acme/x/y", false),
        ] {
            assert_eq!(lets(&library, &[name]), expected, "{name}");
        }
        assert!(NameRules::new(&["[".to_owned()], &[]).is_err());
    }

    #[test]
    fn a_repository_with_two_names_is_kept_out_by_either() {
        let closed = rules(&[], &["nginx"]);
        assert!(!lets(&closed, &["library/nginx", "nginx"]));
        let open = rules(&["nginx"], &[]);
        assert!(lets(&open, &["library/nginx", "nginx"]));
        assert!(!lets(&open, &["library/redis", "redis"]));
    }
}
