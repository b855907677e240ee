//! What a token is to be like, from those who make one: checked before anything is made of it.

use std::time::Duration;

use jiff::Timestamp;

use super::scope::Place;
use crate::auth::names::NamePatterns;
use crate::config::{Action, parse_duration};
use crate::error::{Error, Result};

/// How long a token counts where nothing is said.
const USUAL: Duration = Duration::from_hours(24 * 90);
/// The longest name, in bytes.
const MAX_NAME: usize = 64;
/// How many tenants, or names, one token may list, and how long each may be, in bytes.
const MAX_LIST: usize = 64;
const MAX_TEXT: usize = 512;

/// What a new token is to be like.
#[derive(Clone, Debug)]
pub struct Wish {
    /// What logs and lists call it.
    pub(super) name: String,
    pub(super) tenants: Vec<Place>,
    pub(super) actions: Vec<Action>,
    /// `None`: whatever the name.
    pub(super) names: Option<NamePatterns>,
    pub(super) lasts: Lasts,
}

/// How long a token counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// 90 days, or the configured maximum where that is less.
    Usually,
    /// So long.
    For(Duration),
    /// Until it is revoked.
    Forever,
}

impl Lasts {
    /// `never`, or a duration from a minute on. Errors: how to write one.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self::Forever),
            _ => match parse_duration(text)? {
                time if time >= Duration::from_mins(1) => Ok(Self::For(time)),
                _ => Err("write a time from `1m`, or `never`".into()),
            },
        }
    }

    /// When a token ends that is made `now`; `None`: it does not. Errors: later than `max_age` allows.
    pub(super) fn end(
        self,
        now: Timestamp,
        max_age: Option<Duration>,
    ) -> Result<Option<Timestamp>> {
        let lasts = match (self, max_age) {
            (Self::Forever, None) => return Ok(None),
            (Self::Usually, most) => most.map_or(USUAL, |most| most.min(USUAL)),
            (Self::For(time), most) if most.is_none_or(|most| time <= most) => time,
            (Self::For(_) | Self::Forever, _) => {
                return Err(Error::invalid(
                    "the token would last longer than `auth.api_tokens.max_age` allows; ask for less",
                ));
            }
        };
        let end = now.checked_add(lasts);
        end.map(Some)
            .map_err(|_| Error::invalid("the token would end too far in the future; ask for less"))
    }
}

impl Wish {
    /// A token called `name` for `actions` in `tenants`, kept to charts and repositories that `names` fit (none: all of them).
    /// Errors: what is wrong, and how to write it.
    pub fn new(
        name: &str,
        tenants: &[String],
        actions: &[Action],
        names: &[String],
        lasts: Lasts,
    ) -> Result<Self> {
        check_name(name)?;
        if tenants.is_empty() {
            return Err(Error::invalid(
                "a token needs tenants: paths, patterns such as `acme/*`, or `**` for all of them",
            ));
        }
        if actions.is_empty() {
            return Err(Error::invalid(
                "a token needs actions: `pull`, `push`, `delete`, or `admin` for all of them",
            ));
        }
        if tenants.len().max(names.len()) > MAX_LIST {
            return Err(Error::invalid(format!(
                "a token lists at most {MAX_LIST} tenants and {MAX_LIST} names; make several tokens, or use patterns"
            )));
        }
        let mut texts = tenants.iter().chain(names);
        if texts.any(|text| text.len() > MAX_TEXT) {
            return Err(Error::invalid(format!(
                "a tenant or name has more than {MAX_TEXT} bytes"
            )));
        }
        let mut actions = actions.to_vec();
        actions.sort_unstable();
        actions.dedup();
        let tenants = tenants.iter().map(|tenant| Place::parse(tenant));
        Ok(Self {
            name: name.to_owned(),
            tenants: tenants.collect::<Result<_>>()?,
            actions,
            names: (!names.is_empty())
                .then(|| NamePatterns::new(names))
                .transpose()?,
            lasts,
        })
    }
}

/// Names stand in logs and tables: visible ASCII that needs no quotes anywhere.
pub(super) fn check_name(name: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'@' | b'/');
    let starts = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    if starts && name.len() <= MAX_NAME && name.bytes().all(plain) {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Err(Error::invalid(format!(
        "`{}` is no name of a token: write 1 to {MAX_NAME} letters, digits, `.`, `_`, `-`, `@` and `/`, the first a letter or digit",
        shown.escape_debug()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn wish(name: &str, tenants: &[&str], actions: &[Action], names: &[&str]) -> Result<Wish> {
        let owned = |list: &[&str]| list.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
        Wish::new(
            name,
            &owned(tenants),
            actions,
            &owned(names),
            Lasts::Usually,
        )
    }

    #[test]
    fn what_is_missing_or_wrong_is_told() {
        use Action::{Pull, Push};
        let many: Vec<String> = (0..65).map(|number| format!("t{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (made, word) in [
            (wish("", &["a"], &[Pull], &[]), "name"),
            (wish("a b", &["a"], &[Pull], &[]), "name"),
            (wish("-a", &["a"], &[Pull], &[]), "name"),
            (wish("a\n", &["a"], &[Pull], &[]), "name"),
            (wish(&"a".repeat(65), &["a"], &[Pull], &[]), "name"),
            (wish("ci", &[], &[Pull], &[]), "needs tenants"),
            (wish("ci", &["a", ""], &[Pull], &[]), "empty"),
            (wish("ci", &["x*"], &[Pull], &[]), "pattern"),
            (wish("ci", &["a"], &[], &[]), "needs actions"),
            (wish("ci", &many, &[Pull], &[]), "at most 64"),
            (wish("ci", &["a"], &[Pull], &[&"x".repeat(600)]), "bytes"),
            (wish("ci", &["a"], &[Pull], &["a["]), "pattern"),
            (wish("ci", &["a"], &[Pull], &[""]), "empty"),
        ] {
            let error = made.expect_err(word);
            assert!(error.message().contains(word), "{error} lacks {word}");
        }
        let made = wish("ci/app@2", &["a", "b/**"], &[Push, Pull, Push], &["x-*"]).expect("fine");
        assert_eq!(made.actions, [Pull, Push]);
    }

    #[test]
    fn nothing_lasts_longer_than_the_configuration_allows() {
        let now = Timestamp::from_second(1_800_000_000).expect("a time");
        let days = |lasts: Lasts, most: Option<u32>| {
            let end = lasts.end(now, most.map(|days| days * DAY));
            end.map(|end| end.map(|end| end.duration_since(now).as_hours() / 24))
                .ok()
        };
        assert_eq!(days(Lasts::Usually, None), Some(Some(90)));
        assert_eq!(days(Lasts::Usually, Some(365)), Some(Some(90)));
        assert_eq!(days(Lasts::Usually, Some(30)), Some(Some(30)));
        assert_eq!(days(Lasts::Forever, None), Some(None));
        assert_eq!(days(Lasts::Forever, Some(30)), None);
        assert_eq!(days(Lasts::For(400 * DAY), None), Some(Some(400)));
        assert_eq!(days(Lasts::For(30 * DAY), Some(30)), Some(Some(30)));
        assert_eq!(days(Lasts::For(31 * DAY), Some(30)), None);
        assert_eq!(Lasts::parse("never"), Ok(Lasts::Forever));
        assert_eq!(Lasts::parse("90d"), Ok(Lasts::For(90 * DAY)));
        for wrong in ["", "90", "0", "30s", "forever", "-1d"] {
            assert!(Lasts::parse(wrong).is_err(), "{wrong}");
        }
    }
}
