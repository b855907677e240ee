//! How current the index is.

use std::time::Duration;

/// How current what is shown is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It was never compared with the store, and nothing is known from an earlier run.
    Unknown,
    /// The last look was complete.
    Fresh {
        /// Time since then.
        age: Duration,
    },
    /// The last look failed, or there was none yet and this is what an earlier run knew.
    Stale {
        /// Time since the last complete look, as far as it is known.
        age: Duration,
    },
}
