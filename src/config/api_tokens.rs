//! `auth.api_tokens:`, the tokens that chartgate itself gives to people and programs.

use std::path::PathBuf;
use std::time::Duration;

use super::section::Value;
use super::units;

/// `auth.api_tokens:`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiTokens {
    /// How long a token counts at most after it was made, whatever was asked for (`max_age`). Default `None`: as long as was asked
    /// for, without an end too.
    pub max_age: Option<Duration>,
    /// The folder they are kept in (`folder`), for replicas that share a disk. Default `None`: `tokens` in the data folder where
    /// `store` is a folder, else the bucket of `store`.
    pub folder: Option<PathBuf>,
}

/// Less would end tokens before anybody has used them.
const MIN_AGE: Duration = Duration::from_mins(1);

/// `true`, `false`, or a section. `None`: there are none.
pub(super) fn read(value: &Value<'_>) -> Option<ApiTokens> {
    if !value.is_section() {
        let on = value.parsed(|text| {
            units::boolean(text)
                .map_err(|_| "write `true`, `false` or a section with `max_age`".into())
        });
        return (on == Some(true)).then(ApiTokens::default);
    }
    let mut section = value.section()?;
    let max_age = section.parsed_or("max_age", None, |text| match text {
        "never" => Ok(None),
        _ => match units::duration(text)? {
            age if age >= MIN_AGE => Ok(Some(age)),
            _ => Err("write a time from 1m, or `never` for no limit".into()),
        },
    });
    let folder = section
        .take("folder")
        .and_then(|value| value.path_beside_file());
    section.finish();
    Some(ApiTokens { max_age, folder })
}
