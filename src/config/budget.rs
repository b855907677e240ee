//! `upstreams.<name>.budget:`

use super::section::{Section, Value};
use super::{Budget, units};

/// Takes `budget` from the section of an upstream that is asked over HTTP.
pub(super) fn read(section: &mut Section<'_>) -> Budget {
    let value = section.take("budget");
    value.as_ref().and_then(budget).unwrap_or_default()
}

fn budget(value: &Value<'_>) -> Option<Budget> {
    let mut section = value.section()?;
    let requests = section.take("requests");
    let connections = section.take("connections");
    let budget = Budget {
        requests: requests.and_then(|value| value.parsed(units::per_period)),
        connections: connections.and_then(|value| value.parsed(places)),
    };
    section.finish();
    Some(budget)
}

fn places(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number @ 1..=100_000) => Ok(number),
        _ => Err("write how many requests may be under way at a time, such as `16`".into()),
    }
}
