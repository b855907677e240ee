//! Version constraints as Helm reads them: Masterminds/semver v3.4 and later (helm 3.19, helm 4).
//!
//! Groups separated by `||`; inside a group comparators separated by spaces or a comma, all of which must hold. Partial versions
//! and wildcards make ranges. A prerelease matches only where some comparator of the *same group* names a prerelease.
//! Oddities of that library (`^*` accepts only 0.0.0, `!=*` accepts what has another major than 0) are kept: what counts is
//! that a range means here what it means to the client.

use super::version::{Parts, Version, compare_prereleases};
use crate::error::{Error, Result};

/// The longest constraint that is read, in bytes.
const MAX_LENGTH: usize = 1024;

/// A version constraint such as `>=1.2 <3 || ^5`.
#[derive(Clone, Debug)]
pub struct Constraint {
    groups: Box<[Group]>,
}

#[derive(Clone, Debug)]
struct Group {
    comparators: Box<[Comparator]>,
    /// Whether prereleases may match at all.
    prereleases: bool,
}

#[derive(Clone, Debug)]
struct Comparator {
    operator: Operator,
    numbers: [u64; 3],
    prerelease: Box<str>,
    shape: Shape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Tilde,
    Caret,
}

/// How much of the version was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// `*`
    Any,
    /// `1`, `1.x`
    Major,
    /// `1.2`, `1.2.x`
    Minor,
    /// `1.2.3`
    Full,
}

impl Constraint {
    /// Parses a constraint. The empty text and `*` accept every release.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!(
                "`{text:.80}` is not a version constraint such as `>=1.2 <3 || ^5`"
            ))
        };
        if text.len() > MAX_LENGTH {
            return Err(wrong());
        }
        if text.trim().is_empty() {
            return Self::parse("*");
        }
        let groups = text
            .split("||")
            .map(Group::parse)
            .collect::<Option<_>>()
            .ok_or_else(wrong)?;
        Ok(Self { groups })
    }

    /// Whether `version` satisfies it.
    pub fn matches(&self, version: &Version) -> bool {
        let parts = version.parts();
        self.groups.iter().any(|group| group.matches(&parts))
    }
}

impl Group {
    fn parse(text: &str) -> Option<Self> {
        let mut comparators = Vec::new();
        let mut rest = text.trim_start_matches(is_space);
        loop {
            let (operator, after) = Operator::take(rest);
            let bare = after.len() == rest.len();
            let (comparator, after) =
                Comparator::take(operator, after.trim_start_matches(is_space))?;
            rest = after;
            if let Some(upper) = hyphen(rest) {
                // `A - B` is written without operators and stands for `>=A, <=B`.
                if !bare {
                    return None;
                }
                let (upper, after) = Comparator::take(Operator::LessOrEqual, upper)?;
                comparators.push(Comparator {
                    operator: Operator::GreaterOrEqual,
                    ..comparator
                });
                comparators.push(upper);
                rest = after;
            } else {
                comparators.push(comparator);
            }
            let trimmed = rest.trim_start_matches(is_space);
            if trimmed.is_empty() {
                break;
            }
            match trimmed.strip_prefix(',') {
                Some(after) => rest = after.trim_start_matches(is_space),
                None if trimmed.len() < rest.len() => rest = trimmed,
                None => return None,
            }
        }
        let prereleases = comparators.iter().any(|c| !c.prerelease.is_empty());
        Some(Self {
            comparators: comparators.into(),
            prereleases,
        })
    }

    fn matches(&self, version: &Parts<'_>) -> bool {
        (self.prereleases || version.prerelease.is_empty())
            && self.comparators.iter().all(|c| c.matches(version))
    }
}

/// What follows ` - `, where `rest` starts with it.
fn hyphen(rest: &str) -> Option<&str> {
    let after = rest.trim_start_matches(is_space);
    if after.len() == rest.len() {
        return None;
    }
    let after = after.strip_prefix('-')?;
    let upper = after.trim_start_matches(is_space);
    (upper.len() < after.len()).then_some(upper)
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c')
}

impl Operator {
    fn take(text: &str) -> (Self, &str) {
        const TABLE: [(&str, Operator); 11] = [
            ("!=", Operator::NotEqual),
            (">=", Operator::GreaterOrEqual),
            ("=>", Operator::GreaterOrEqual),
            ("<=", Operator::LessOrEqual),
            ("=<", Operator::LessOrEqual),
            ("~>", Operator::Tilde),
            ("~", Operator::Tilde),
            ("^", Operator::Caret),
            (">", Operator::Greater),
            ("<", Operator::Less),
            ("=", Operator::Equal),
        ];
        TABLE
            .iter()
            .find_map(|(sign, operator)| Some((*operator, text.strip_prefix(sign)?)))
            .unwrap_or((Self::Equal, text))
    }
}

impl Comparator {
    fn take(operator: Operator, text: &str) -> Option<(Self, &str)> {
        let end = text
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '*' | '-' | '+')))
            .unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        let body = word.strip_prefix('v').unwrap_or(word);
        let core_end = body.find(['-', '+']).unwrap_or(body.len());
        let (core, tail) = body.split_at(core_end);
        let mut parts = core.split('.');
        let (major, minor, patch) = (parts.next()?, parts.next(), parts.next());
        if parts.next().is_some() {
            return None;
        }
        let well_formed = |part: &str| {
            is_wildcard(part) || (!part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
        };
        if ![Some(major), minor, patch]
            .into_iter()
            .flatten()
            .all(well_formed)
        {
            return None;
        }
        let open = |part: Option<&str>| part.is_none_or(is_wildcard);
        let (shape, core) = if is_wildcard(major) {
            (Shape::Any, "0.0.0".to_owned())
        } else if open(minor) {
            (Shape::Major, format!("{major}.0.0"))
        } else if open(patch) {
            (Shape::Minor, format!("{major}.{}.0", minor?))
        } else {
            (Shape::Full, core.to_owned())
        };
        // The wildcard forms keep the prerelease part: `1.x-0` opts in to prereleases.
        let full = core + tail;
        let version = Parts::parse(&full)?;
        let comparator = Self {
            operator,
            numbers: version.numbers,
            prerelease: version.prerelease.into(),
            shape,
        };
        Some((comparator, rest))
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            numbers: self.numbers,
            prerelease: &self.prerelease,
        }
    }

    fn matches(&self, version: &Parts<'_>) -> bool {
        let order = version.compare(&self.parts());
        let ([major, minor, patch], [own_major, own_minor, own_patch]) =
            (version.numbers, self.numbers);
        match self.operator {
            Operator::Equal if self.shape == Shape::Full => order.is_eq(),
            Operator::Equal | Operator::Tilde => {
                let all = self.numbers == [0; 3] && matches!(self.shape, Shape::Full | Shape::Any);
                order.is_ge()
                    && (all
                        || (major == own_major
                            && (minor == own_minor || self.shape == Shape::Major)))
            }
            Operator::NotEqual => match self.shape {
                Shape::Full => order.is_ne(),
                Shape::Any => self.numbers != version.numbers || order.is_ne(),
                Shape::Major => major != own_major,
                Shape::Minor => {
                    major != own_major
                        || minor != own_minor
                        || compare_prereleases(version.prerelease, &self.prerelease).is_ne()
                }
            },
            Operator::Greater => match self.shape {
                Shape::Full | Shape::Any => order.is_gt(),
                Shape::Major => major > own_major,
                Shape::Minor => (major, minor) > (own_major, own_minor),
            },
            Operator::Less => order.is_lt(),
            Operator::GreaterOrEqual => order.is_ge(),
            Operator::LessOrEqual => match self.shape {
                Shape::Full => order.is_le(),
                Shape::Major => major <= own_major,
                Shape::Any | Shape::Minor => {
                    major < own_major || (major == own_major && minor <= own_minor)
                }
            },
            Operator::Caret => {
                order.is_ge()
                    && major == own_major
                    && (own_major > 0
                        || self.shape == Shape::Major
                        || (minor == own_minor
                            && (own_minor > 0 || self.shape == Shape::Minor || patch == own_patch)))
            }
        }
    }
}

fn is_wildcard(part: &str) -> bool {
    matches!(part, "x" | "X" | "*")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(constraint: &str, yes: &[&str], no: &[&str]) {
        let parsed = Constraint::parse(constraint).expect(constraint);
        for (versions, expected) in [(yes, true), (no, false)] {
            for text in versions {
                let version = Version::parse(text).expect(text);
                assert_eq!(parsed.matches(&version), expected, "{constraint} {text}");
            }
        }
    }

    #[test]
    fn equality_and_partial_versions() {
        check(
            "1.2.3",
            &["1.2.3", "v1.2.3", "1.2.3+x"],
            &["1.2.4", "1.2.3-a"],
        );
        check("=1.2.3", &["1.2.3"], &["1.2.4"]);
        check("1", &["1.0.0", "1.9.9"], &["2.0.0", "0.9.0", "1.0.0-a"]);
        check("1.2", &["1.2.0", "1.2.9"], &["1.3.0", "1.1.9"]);
        check("1.x", &["1.5.0"], &["2.0.0"]);
        check("1.2.X", &["1.2.7"], &["1.3.0"]);
        check("v1.*", &["1.5.0"], &["2.0.0"]);
        check("0", &["0.0.0", "0.9.0"], &["1.0.0"]);
        for any in ["", " ", "*", "x", "X", "~*", "~>*", "~0.0.0"] {
            check(any, &["0.0.0", "1.2.3", "99.0.0"], &["1.0.0-a"]);
        }
    }

    #[test]
    fn comparisons() {
        check(">11", &["12.0.0"], &["11.1.0", "11.0.0"]);
        check(">11.1", &["11.2.0", "12.0.0"], &["11.1.9"]);
        check(">1.2.3", &["1.2.4"], &["1.2.3"]);
        check("<11", &["10.9.9"], &["11.0.0"]);
        check("<=11", &["11.9.9"], &["12.0.0"]);
        check("=<11.1", &["11.1.9", "10.5.0"], &["11.2.0"]);
        check("=>1.2", &["1.2.0", "3.0.0"], &["1.1.9"]);
        check("!=1.2.3", &["1.2.4"], &["1.2.3"]);
        check("!=1.x", &["2.0.0"], &["1.2.3"]);
        check("!=1.2", &["1.3.0", "2.2.0"], &["1.2.3"]);
        check(">= 1.2.3", &["1.2.3"], &["1.2.2"]);
    }

    #[test]
    fn tilde_and_caret() {
        check("~1.2.3", &["1.2.3", "1.2.9"], &["1.3.0", "1.2.2"]);
        check("~>1.2", &["1.2.0"], &["1.3.0"]);
        check("~1", &["1.9.0"], &["2.0.0"]);
        check("^1.2.3", &["1.2.3", "1.9.0"], &["2.0.0", "1.2.2"]);
        check("^0.2.3", &["0.2.3", "0.2.9"], &["0.3.0", "0.2.2"]);
        check("^0.0.3", &["0.0.3"], &["0.0.4", "0.0.2", "0.1.0"]);
        check("^0.0", &["0.0.9"], &["0.1.0"]);
        check("^0", &["0.9.9"], &["1.0.0"]);
        check("^1.x", &["1.9.0"], &["2.0.0"]);
    }

    #[test]
    fn groups_and_hyphens() {
        check(
            ">=1.2 <3 || ^5",
            &["1.2.0", "2.9.9", "5.4.0"],
            &["3.0.0", "6.0.0"],
        );
        check(">=1.2,<3", &["1.2.0"], &["3.0.0"]);
        check(">=1.2 , <3", &["1.2.0"], &["3.0.0"]);
        check("1.2 - 3.4.5", &["1.2.0", "3.4.5"], &["3.4.6", "1.1.9"]);
        check("1 - 2", &["1.0.0", "2.9.0"], &["3.0.0"]);
        check("1 - 2 !=1.5.0 || 7", &["1.4.0", "7.1.0"], &["1.5.0"]);
        check("1.2.3-a", &["1.2.3-a"], &["1.2.3"]);
    }

    #[test]
    fn prereleases_match_where_their_group_names_one() {
        check(">=0.0.0-0", &["1.0.0-a", "1.0.0"], &[]);
        check("*-0", &["1.0.0-a", "1.0.0"], &[]);
        check(">=1.0.0-0 <2", &["1.5.0-a", "2.0.0-a"], &["2.0.0"]);
        check(">=1.0.0 <2.0.0-0", &["1.5.0-a"], &["2.0.0-a"]);
        check(">=5.0.0-0 || <2", &["5.5.0-a"], &["1.5.0-a"]);
        check(
            "^1.2.0-beta.2",
            &["1.2.0-beta.2", "1.3.0-x"],
            &["1.2.0-beta.1"],
        );
    }

    #[test]
    fn malformed_constraints_are_refused() {
        for text in [
            ">=1<2",
            "1.2.3.4",
            "foo",
            ">",
            ">= ",
            "1 ||",
            "|| 1",
            ">>1",
            "1.2.3,",
            ",1",
            "=>=1",
            ">=1 - 2",
            "=1 - 2",
            "1 -",
            "1 - ",
            "1.2x",
            "1.0.0-01",
            "ä",
            "1 | 2",
            "99999999999999999999",
        ] {
            assert!(Constraint::parse(text).is_err(), "{text}");
        }
        assert!(Constraint::parse(&"1 ".repeat(2000)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[ 0-2v.x*<>=~^|,!a\\-+ä]{0,24}") {
            let version = Version::parse("1.2.0-1").expect("version");
            let _ = Constraint::parse(&text).map(|constraint| constraint.matches(&version));
        }

        #[test]
        fn ranges_say_what_they_stand_for(a in 0_u64..4, b in 0_u64..4, c in 0_u64..4, v: [u8; 3]) {
            let v = v.map(|n| u64::from(n % 5));
            let version = Version::parse(&format!("{}.{}.{}", v[0], v[1], v[2])).expect("version");
            let holds = |text: String| Constraint::parse(&text).expect("constraint").matches(&version);
            let (low, next) = ((a, b, c), (a, b + 1, 0));
            let own = (v[0], v[1], v[2]);
            if (a, b, c) != (0, 0, 0) {
                prop_assert_eq!(holds(format!("~{a}.{b}.{c}")), own >= low && own < next);
            }
            prop_assert_eq!(holds(format!("{a}.{b}")), own >= (a, b, 0) && own < next);
            prop_assert_eq!(holds(format!("{a}")), v[0] == a);
            prop_assert_eq!(holds(format!(">{a}.{b}.{c}")), own > low);
            prop_assert_eq!(holds(format!("<={a}.{b}")), own < next);
            let caret_end = if a > 0 { (a + 1, 0, 0) } else if b > 0 { (0, b + 1, 0) } else { (0, 0, c + 1) };
            prop_assert_eq!(holds(format!("^{a}.{b}.{c}")), own >= low && own < caret_end);
        }
    }
}
