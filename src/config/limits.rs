//! `limits:` of tenants, and of everybody.

use std::time::Duration;

use super::section::{Section, Value};
use super::units;

/// One of `tenants.<path>.limits:`, all of which must allow a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    /// What is counted.
    pub what: Limited,
    /// How much of it per `period`: a number, or bytes.
    pub amount: u64,
    /// The period of the rate.
    pub period: Duration,
    /// How much may come at once. Default: `amount`.
    pub burst: u64,
    /// Who shares one allowance.
    pub by: LimitBy,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limited {
    /// Requests (`requests`), but not those that `uploads` counts.
    Requests,
    /// Bytes of answers (`bytes`).
    Bytes,
    /// Charts, provenance files and blobs that are sent (`uploads`).
    Uploads,
    /// Bytes of what is sent (`upload_bytes`).
    UploadBytes,
}

/// `limits.by:`, the narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LimitBy {
    /// The client's address (IPv6: its /64).
    Address,
    /// The identity; anonymous clients by address (default).
    Identity,
    /// Everybody in the tenant.
    Tenant,
}

/// The rates that one section may have: the key, what it counts, and how it is written.
const RATES: [(&str, Limited, Read); 4] = [
    ("requests", Limited::Requests, count),
    ("uploads", Limited::Uploads, count),
    ("bytes", Limited::Bytes, units::size_rate),
    ("upload_bytes", Limited::UploadBytes, units::size_rate),
];

type Read = fn(&str) -> Result<(u64, Duration), String>;

/// A section, or a list of them: each has one or several rates, whose allowances the same clients share.
pub(super) fn read(value: &Value<'_>) -> Vec<Limit> {
    let mut all: Vec<Limit> = Vec::new();
    for item in value.items() {
        for limit in limits(&item).unwrap_or_default() {
            if all.contains(&limit) {
                item.mistake("this limit stands here twice; keep one");
            }
            all.push(limit);
        }
    }
    if all.len() > MOST {
        value.mistake(format!("has more than {MOST} limits; keep fewer"));
    }
    all
}

/// As [`read`], for what is asked before anybody knows who it is: requests by address.
pub(super) fn read_of_all(value: &Value<'_>) -> Vec<Limit> {
    let mut all = Vec::new();
    for item in value.items() {
        let Some(mut section) = item.section() else {
            continue;
        };
        let rate = super::resolve::required(&mut section, "requests", |value| value.parsed(count));
        let burst = section.take("burst").and_then(|value| value.parsed(number));
        section.choice("by", LimitBy::Address, &[("address", LimitBy::Address)]);
        section.finish();
        all.extend(rate.map(|(amount, period)| Limit {
            what: Limited::Requests,
            amount,
            period,
            burst: burst.unwrap_or(amount),
            by: LimitBy::Address,
        }));
    }
    all
}

fn limits(value: &Value<'_>) -> Option<Vec<Limit>> {
    let mut section = value.section()?;
    let by = section.choice(
        "by",
        LimitBy::Identity,
        &[
            ("address", LimitBy::Address),
            ("identity", LimitBy::Identity),
            ("tenant", LimitBy::Tenant),
        ],
    );
    let present = RATES.iter().filter(|(key, ..)| section.has(key)).count();
    let mut found: Vec<Limit> = Vec::new();
    for (key, what, read) in RATES {
        let rate = section.take(key).and_then(|value| value.parsed(read));
        found.extend(rate.map(|(amount, period)| Limit {
            what,
            amount,
            period,
            burst: amount,
            by,
        }));
    }
    if present == 0 {
        section.mistake(
            "`requests` is missing; give it, or one of `bytes`, `uploads` and `upload_bytes`",
        );
    }
    burst(&mut section, present, &mut found);
    section.finish();
    Some(found)
}

/// Of the requests, where they are limited, else of the one rate that there is.
fn burst(section: &mut Section<'_>, present: usize, found: &mut [Limit]) {
    let Some(value) = section.take("burst") else {
        return;
    };
    if present > 1 && !section.has("requests") {
        value.mistake("there are several rates, and this could be any one's; make each an item of a list of its own");
        return;
    }
    // The first of a section is its requests, where it has some.
    let Some(limit) = found.first_mut() else {
        return;
    };
    let read = match limit.what {
        Limited::Requests | Limited::Uploads => number,
        Limited::Bytes | Limited::UploadBytes => bytes,
    };
    limit.burst = value.parsed(read).unwrap_or(limit.burst);
}

fn count(text: &str) -> Result<(u64, Duration), String> {
    units::rate(text).map(|(count, period)| (count.into(), period))
}

fn number(text: &str) -> Result<u64, String> {
    match text.parse::<u32>() {
        Ok(number @ 1..) => Ok(number.into()),
        _ => Err("write a number of requests from 1".into()),
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    match units::size(text)? {
        0 => Err("write a size above zero such as `1GiB`".into()),
        bytes => Ok(bytes),
    }
}

/// More of them would cost every request something.
const MOST: usize = 16;
