//! How lists show tokens, for people and programs; never a secret, and nothing that one could be made of.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{ApiToken, TokenId};
use crate::config::Action;

/// One line of a list.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// What [`super::ApiTokens::revoke`] is told.
    #[serde(serialize_with = "text")]
    pub id: TokenId,
    /// Whether it counts, as the list was made.
    pub state: State,
    /// The token; `None`: what is kept under this id is damaged.
    #[serde(flatten, serialize_with = "fields")]
    pub token: Option<Arc<ApiToken>>,
    /// When it ends, or ended: what it was made with, and not later than the configuration allows.
    #[serde(serialize_with = "maybe")]
    pub expires: Option<Timestamp>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Arc<str>>,
}

/// Whether a token counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does.
    Active,
    /// It has ended.
    Expired,
    /// What is kept cannot be read, so it does not.
    Damaged,
}

impl State {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Damaged => "damaged",
        }
    }
}

/// What the token says about itself.
#[derive(Serialize)]
struct Fields<'a> {
    name: &'a str,
    tenants: Vec<String>,
    actions: Vec<&'static str>,
    names: &'a [String],
    created: String,
    last_used: Option<String>,
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn fields<S: Serializer>(token: &Option<Arc<ApiToken>>, serializer: S) -> Result<S::Ok, S::Error> {
    let fields = token.as_ref().map(|token| Fields {
        name: token.name(),
        tenants: token.tenants().collect(),
        actions: token
            .actions()
            .iter()
            .map(|one| Action::as_str(*one))
            .collect(),
        names: token.names(),
        created: token.created().to_string(),
        last_used: token.last_used().map(|time| time.to_string()),
    });
    fields.serialize(serializer)
}

fn text<S: Serializer>(value: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    value.to_string().serialize(serializer)
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn maybe<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.to_string()).serialize(serializer)
}
