//! The one error type: what went wrong, in a sentence that may be shown, and the cause that may not.
//!
//! Every protocol keeps one table from [`ErrorKind`] to its wire form (`api/error.rs`); nothing here knows HTTP.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it is. A closed list: a new kind forces every protocol table to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The object does not exist (or the caller may not know that it does).
    NotFound,
    /// Credentials are missing where they are needed, or wrong.
    Unauthenticated,
    /// The identity is known and may not do this.
    Forbidden,
    /// The object exists already and may not be replaced.
    Conflict,
    /// The request, the package or the configuration is malformed.
    Invalid,
    /// The method is not one this route answers; these are (the value of `Allow`).
    MethodNotAllowed(&'static str),
    /// A piece of an upload does not begin where the bytes that are there end: at so many.
    OutOfOrder(u64),
    /// Larger than a configured limit.
    TooLarge,
    /// Over a rate; see [`Error::retry_after`].
    RateLimited,
    /// The storage quota of a repository is used up.
    QuotaExceeded,
    /// An upstream could not be asked, or its answer carries no information (5xx, 403, 429, garbage).
    UpstreamUnavailable,
    /// An upstream wants credentials that we do not have.
    UpstreamUnauthorized,
    /// An upstream took our credentials, or our anonymous token, and does not show this object: it is not there, or not for us.
    UpstreamDenied,
    /// The bytes are not the ones that their digest promises.
    DigestMismatch,
    /// A feature that this tenant or this build does not have.
    Unsupported,
    /// Our own fault, or the machine's.
    Internal,
}

/// A failure: kind, a client-safe sentence, and the internal cause.
///
/// Messages are lowercase, name the object in back-ticks, give cause and next step, without a final dot.
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    retry_after: Option<Duration>,
}

impl Error {
    /// A failure of `kind`, told by `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
            retry_after: None,
        }
    }

    /// Adds the internal cause; it is logged where the error is handled and never sent out.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds when a retry may succeed.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// One failure told to many.
    pub fn shared(error: &Arc<Self>) -> Self {
        let copy =
            Self::new(error.kind, error.message.clone()).with_source(Shared(Arc::clone(error)));
        match error.retry_after {
            Some(after) => copy.with_retry_after(after),
            None => copy,
        }
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether it says that the object is not there, or not for those who ask us, as opposed to nothing about it.
    pub fn is_absence(&self) -> bool {
        matches!(self.kind, ErrorKind::NotFound | ErrorKind::UpstreamDenied)
    }

    /// The sentence for the caller.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// How long to wait before a retry, where known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the same request may succeed later without anybody changing it.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::UpstreamUnavailable | ErrorKind::RateLimited
        )
    }

    /// The message followed by every cause, for a log line.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(inner) = cause {
            let inner_text = inner.to_string();
            if !text.ends_with(&inner_text) {
                text.push_str(": ");
                text.push_str(&inner_text);
            }
            cause = inner.source();
        }
        text
    }

    /// A malformed request, package or name.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Something that does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// A failure of this process or machine, with its cause.
    pub fn internal(
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::new(ErrorKind::Internal, message).with_source(source)
    }

    /// A method that `path` does not answer; `allowed` are those that it does.
    pub fn method_not_allowed(method: &str, path: &str, allowed: &'static str) -> Self {
        Self::new(
            ErrorKind::MethodNotAllowed(allowed),
            format!("method `{method:.32}` is not allowed for `{path:.200}`; use {allowed}"),
        )
    }

    /// An upstream that could not be asked or answered nonsense.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::UpstreamUnavailable, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.chain())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source
            .as_ref()
            .map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

/// The failure itself, as the cause of its copies.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.chain())]
struct Shared(Arc<Error>);
