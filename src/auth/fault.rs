//! Refused credentials that nobody guessed: their time is over, or nobody can say who signed them.
//!
//! Clients go on sending a token for a while after it has expired, many of them behind one address. That is no attack, and must
//! not make their neighbours wait.

use std::fmt;

use crate::error::{Error, ErrorKind};

/// The cause of a refusal ([`Error::with_source`]) that is no guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoGuess {
    /// They were made by somebody whom we trust, and do not count here and now: expired, revoked, for another audience.
    Genuine,
    /// They name a key that we do not have, perhaps not yet.
    UnknownKey,
}

impl NoGuess {
    /// Why `error` is no guess; `None`: it may be one.
    pub(super) fn of(error: &Error) -> Option<Self> {
        let cause = std::error::Error::source(error)?;
        cause.downcast_ref().copied()
    }

    /// The word for what was wrong, in metrics.
    pub(super) fn reason(error: &Error) -> &'static str {
        match (error.kind(), Self::of(error)) {
            (_, Some(Self::Genuine)) => "ended",
            (_, Some(Self::UnknownKey)) => "unknown_key",
            (ErrorKind::RateLimited, _) => "paused",
            (ErrorKind::UpstreamUnavailable, _) => "unavailable",
            (ErrorKind::Unauthenticated, _) => "wrong",
            _ => "error",
        }
    }
}

impl fmt::Display for NoGuess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Genuine => "it was genuine",
            Self::UnknownKey => "its key is unknown",
        })
    }
}

impl std::error::Error for NoGuess {}
