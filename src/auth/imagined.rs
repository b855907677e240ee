//! Somebody who is not there, for operators who ask what he could do.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Identity, Token};
use crate::error::{Error, Result};

impl Identity {
    /// Who has all of `text`: `user:NAME`, `group:NAME` and `claim:NAME=VALUE` with commas between them, or `anonymous`.
    ///
    /// Groups are those that a token says; those of `auth.groups` follow from the name. Errors: how to write it.
    pub fn imagined(text: &str) -> Result<Self> {
        if text == "anonymous" {
            return Ok(Self::Anonymous);
        }
        let (mut user, mut groups, mut claims) = (None, Vec::new(), Map::new());
        for part in text.split(',') {
            let known = match part.split_once(':') {
                Some(("user", name)) if !name.is_empty() => user.replace(name).is_none(),
                Some(("group", name)) if !name.is_empty() => {
                    groups.push(name.to_owned());
                    true
                }
                Some(("claim", claim)) => claim.split_once('=').is_some_and(|(name, value)| {
                    let value = Value::String(value.to_owned());
                    !name.is_empty() && claims.insert(name.to_owned(), value).is_none()
                }),
                _ => false,
            };
            if !known {
                return Err(Error::invalid(format!(
                    "`{part:.200}` is nobody; write one `user:NAME`, `group:NAME`, `claim:NAME=VALUE`, several with commas between them, or `anonymous`"
                )));
            }
        }
        let name: Option<Arc<str>> = user.map(Arc::from);
        Ok(match name {
            Some(name) if groups.is_empty() && claims.is_empty() => Self::User { name },
            name => Self::Token(Arc::new(Token::imagined(name, groups, claims)?)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_make_somebody() {
        let kind = |text| Identity::imagined(text).map(|identity| identity.kind());
        assert_eq!(kind("anonymous").expect("somebody"), "anonymous");
        assert_eq!(kind("user:ci").expect("somebody"), "user");
        assert_eq!(kind("user:ci,group:dev").expect("somebody"), "token");
        assert_eq!(kind("claim:a=b=c").expect("somebody"), "token");
        for wrong in [
            "",
            "ci",
            "user:",
            "user:a,user:b",
            "group:",
            "claim:a",
            "claim:=a",
            "user:a,",
            "role:x",
        ] {
            assert!(kind(wrong).is_err(), "{wrong}");
        }
    }
}
