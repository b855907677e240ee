//! How a token is kept: one JSON document, written once and never changed.

use std::sync::atomic::AtomicI64;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ApiToken;
use super::scope::Place;
use super::text::TokenId;
use super::wish::check_name;
use crate::auth::names::NamePatterns;
use crate::config::Action;
use crate::error::{Error, Result};

/// The largest document; a token lists at most 64 tenants and 64 names, which nobody writes so long.
pub(super) const MAX_RECORD: u64 = 256 << 10;

/// The document. Unknown fields are an error: a later release may keep a token to something by one that this one does not know.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    id: String,
    name: String,
    /// Of the whole text; see `text.rs` for why that is enough.
    sha256: String,
    tenants: Vec<String>,
    actions: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    created: String,
    /// Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

impl Record {
    pub(super) fn of(token: &ApiToken) -> Self {
        Self {
            id: token.id.to_string(),
            name: token.name.to_string(),
            sha256: token.digest.to_hex(),
            tenants: token.tenants.iter().map(Place::to_string).collect(),
            actions: token.actions.iter().map(Action::to_string).collect(),
            names: token.names().to_vec(),
            created: token.created.to_string(),
            expires: token.expires.map(|end| end.to_string()),
        }
    }

    pub(super) fn render(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("texts and lists of them are JSON");
        text.push(b'\n');
        text
    }

    /// The token in a document that is kept under `id`. Errors: why it does not count.
    pub(super) fn read(bytes: &[u8], id: TokenId) -> Result<ApiToken> {
        let record: Self = serde_json::from_slice(bytes)
            .map_err(|error| Error::invalid(format!("it is damaged: {error}")))?;
        if record.id != id.as_str() {
            return Err(Error::invalid("it says another id than its name does"));
        }
        check_name(&record.name)?;
        let tenants = record.tenants.iter().map(|text| Place::parse(text));
        let actions = record.actions.iter().map(|text| Action::parse(text));
        let actions: Vec<_> = actions.collect::<Result<_, _>>().map_err(Error::invalid)?;
        let names = (!record.names.is_empty()).then(|| NamePatterns::new(&record.names));
        Ok(ApiToken {
            id,
            name: record.name.into(),
            digest: record.sha256.parse()?,
            tenants: tenants.collect::<Result<_>>()?,
            actions,
            names: names.transpose()?,
            created: time(&record.created)?,
            expires: record.expires.as_deref().map(time).transpose()?,
            used: AtomicI64::new(0),
        })
    }
}

fn time(text: &str) -> Result<Timestamp> {
    text.parse()
        .map_err(|_| Error::invalid(format!("`{text:.60}` is no time")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::error::ErrorKind;

    const TEXT: &str = r#"{"id": "0123456789ab", "name": "ci", "sha256": "HASH", "tenants": ["acme/*", "/"],
        "actions": ["pull", "push"], "names": ["app-*"], "created": "2026-01-01T00:00:00Z", "expires": "2026-04-01T00:00:00Z"}"#;

    fn read(text: &str) -> Result<ApiToken> {
        let text = text.replace("HASH", &Digest::of(b"x").to_hex());
        Record::read(text.as_bytes(), "0123456789ab".parse().expect("an id"))
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let token = read(TEXT).expect("a token");
        let again = Record::of(&token).render();
        let token = Record::read(&again, token.id).expect("a token");
        assert_eq!(Record::of(&token).render(), again);
        assert!(!token.counts_at("2026-04-01T00:00:00Z".parse().expect("a time"), None));
        let forever =
            read(&TEXT.replace(r#", "expires": "2026-04-01T00:00:00Z""#, "")).expect("a token");
        assert!(forever.counts_at("2126-04-01T00:00:00Z".parse().expect("a time"), None));
    }

    #[test]
    fn what_is_damaged_or_not_understood_does_not_count() {
        for (from, to) in [
            ("{", ""),
            ("0123456789ab", "0123456789ac"),
            (r#""ci""#, r#""c i""#),
            ("HASH", "00"),
            ("acme/*", "acme-*"),
            ("push", "fly"),
            ("app-*", "app["),
            ("2026-01-01T00:00:00Z", "yesterday"),
            (r#""expires""#, r#""addresses""#),
            (r#""names": ["app-*"]"#, r#""names": "app-*""#),
            (r#""sha256": "HASH", "#, ""),
        ] {
            let error = read(&TEXT.replace(from, to)).expect_err(to);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{to}");
        }
        assert!(read("").is_err() && read("null").is_err());
        assert!(Record::read(&[0xff; 100], "0123456789ab".parse().expect("an id")).is_err());
    }
}
