//! Who asks, and what they may do.
//!
//! [`Authenticator`] turns a request's credentials into an [`Identity`]; [`Policy`] says what an identity may do in one
//! tenant. Neither knows routes, repositories or how an answer is worded on the wire.

mod policy;
mod users;

use std::fmt;
use std::sync::Arc;

pub use self::policy::{Decision, Granted, Policy};
pub use self::users::Users;
use crate::clock::Clock;
use crate::config;
use crate::error::Result;
use crate::http::Request;

/// The value of `WWW-Authenticate` in every 401.
pub const CHALLENGE: &str = "Basic realm=\"chartgate\"";

/// Who asks. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// Nobody in particular: no credentials were shown.
    Anonymous,
    /// A user of the users file, with the right password.
    User {
        /// The name in the file.
        name: Arc<str>,
    },
    /// The holder of a verified client certificate.
    Certificate {
        /// The certificate's subject.
        subject: Arc<str>,
    },
}

impl Identity {
    /// `anonymous`, `user` or `certificate`: the label for logs.
    pub fn kind(&self) -> &'static str {
        todo!()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

/// Verifies the credentials of requests. Shared behind an `Arc`, one per gateway.
#[derive(Debug)]
pub struct Authenticator {
    _users: Option<Users>,
}

impl Authenticator {
    /// Opens what `auth:` names. Errors: the users file cannot be read.
    pub fn open(_auth: &config::Auth, _clock: &Clock) -> Result<Self> {
        todo!()
    }

    /// Who sends `request`. No credentials: the client certificate's subject, else anonymous.
    ///
    /// Credentials that are malformed or wrong are [`crate::error::ErrorKind::Unauthenticated`], also where anonymous
    /// clients may do the same. Cancel-safe.
    pub async fn authenticate(&self, _request: &Request) -> Result<Identity> {
        todo!()
    }
}
