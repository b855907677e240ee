//! What our tokens say, and when that counts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::oci::Scope;

/// Who signs, in every token of ours.
const ISSUER: &str = "chartgate";
/// How far the clocks of replicas may be apart, in seconds.
const SKEW: i64 = 30;

/// The claims of a token: only who holds it, and what it was asked for. What its holder may do is decided at each request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    iss: String,
    /// The name of the holder, or the id of an API token; empty for nobody.
    pub(super) sub: String,
    aud: String,
    iat: i64,
    nbf: i64,
    pub(super) exp: i64,
    jti: String,
    pub(super) access: Vec<Access>,
    pub(super) kind: Kind,
    /// What the holder's password was like: changed, the token is worth nothing.
    #[serde(rename = "gen", default, skip_serializing_if = "Option::is_none")]
    pub(super) generation: Option<String>,
}

/// What the holder of a token is; the same name may be a user's and a certificate's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Anonymous,
    User,
    Certificate,
    /// `sub` is the id of an API token, because several may have one name.
    #[serde(rename = "api_token")]
    ApiToken,
}

/// One of `access`, in the form of the distribution project's token specification.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Access {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    actions: Vec<String>,
}

impl Claims {
    /// The claims of a token that is made `now` for `audience` and lasts for `lifetime` seconds.
    pub(super) fn new(
        (kind, sub): (Kind, &str),
        audience: &str,
        access: &[Scope],
        generation: Option<String>,
        id: String,
        now: Timestamp,
        lifetime: i64,
    ) -> Self {
        let now = now.as_second();
        Self {
            iss: ISSUER.to_owned(),
            sub: sub.to_owned(),
            aud: audience.to_owned(),
            iat: now,
            nbf: now - SKEW,
            exp: now.saturating_add(lifetime),
            jti: id,
            access: access.iter().map(Access::of).collect(),
            kind,
            generation,
        }
    }

    /// Nothing, where they count `now` at `audience`; else what is wrong.
    pub(super) fn check(&self, audience: &str, now: Timestamp) -> Result<(), &'static str> {
        if self.iss != ISSUER {
            return Err("it comes from another issuer");
        }
        if self.aud != audience {
            return Err("it is meant for another host");
        }
        self.check_time(now)
    }

    /// As [`Claims::check`], only the time.
    pub(super) fn check_time(&self, now: Timestamp) -> Result<(), &'static str> {
        let now = now.as_second();
        if now >= self.exp {
            Err("it has expired")
        } else if self.nbf.max(self.iat.saturating_sub(SKEW)) > now + SKEW {
            Err("its time has not come yet")
        } else {
            Ok(())
        }
    }

    /// Whether `access` names `action` on the repository that the client calls `name`.
    pub(super) fn names(&self, name: &str, action: &str) -> bool {
        self.access.iter().any(|access| {
            // Docker gives its plugins a class of their own: `repository(plugin)`.
            access.kind.split('(').next() == Some("repository")
                && access.name == name
                && access.actions.iter().any(|named| named == action)
        })
    }
}

impl Access {
    fn of(scope: &Scope) -> Self {
        Self {
            kind: scope.kind.clone(),
            name: scope.name.clone(),
            actions: scope.actions.clone(),
        }
    }
}
