//! Patterns of names of charts and repositories: one meaning wherever somebody writes one.
//!
//! `*` stands for any text within a component, `**` for any number of components, `?` for one character; `{a,b}` and `[a-z]` as in
//! file names. A pattern is about the whole name, and letters differ by case.

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::error::{Error, Result};

/// One pattern. Errors: it is none.
pub fn parse(pattern: &str) -> Result<Glob> {
    if pattern.is_empty() {
        return Err(Error::invalid("an empty pattern matches nothing"));
    }
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    glob.map_err(|error| {
        Error::invalid(format!(
            "`{pattern:.200}` is not a pattern of names: {}",
            error.kind()
        ))
    })
}

/// All of them as one: a name fits if it fits any. Errors: one of them is no pattern; all together are too large.
pub fn set(patterns: &[String]) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(parse(pattern)?);
    }
    set.build().map_err(|error| {
        Error::invalid(format!("the patterns cannot be combined: {}", error.kind()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stay_within_a_component() {
        let fits = |pattern: &str, name| {
            set(&[pattern.to_owned()])
                .expect("a pattern")
                .is_match(name)
        };
        for (pattern, name, expected) in [
            ("app", "app", true),
            ("app", "app-1", false),
            ("App", "app", false),
            ("app-*", "app-web", true),
            ("app-*", "app-", true),
            ("app-*", "app-web/x", false),
            ("*", "app", true),
            ("*", "a/b", false),
            ("**", "a/b/c", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("**/b", "b", true),
            ("**/b", "x/y/b", true),
            ("a/?", "a/b", true),
            ("a?b", "a/b", false),
            ("{app,web}-*", "web-x", true),
            ("[a-c]pp", "app", true),
            (".*", "app", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
        assert!(parse("[").is_err() && parse("").is_err());
    }
}
