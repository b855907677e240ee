//! Flaws: what Helm tolerates and an upload is refused for.

use super::Strictness;
use crate::error::{Error, Result};

/// Turns flaws into errors for an upload, and into a bounded list of warnings otherwise.
pub(super) struct Flaws {
    strictness: Strictness,
    warnings: Vec<String>,
}

impl Flaws {
    pub(super) fn new(strictness: Strictness) -> Self {
        Self {
            strictness,
            warnings: Vec::new(),
        }
    }

    pub(super) fn strictness(&self) -> Strictness {
        self.strictness
    }

    pub(super) fn found(&mut self, message: impl Into<String>) -> Result<()> {
        match self.strictness {
            Strictness::Upload => Err(Error::invalid(message)),
            Strictness::Stored => {
                self.tolerated(message);
                Ok(())
            }
        }
    }

    /// Notes what every reader understands alike, and nobody is refused for.
    pub(super) fn tolerated(&mut self, message: impl Into<String>) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(message.into());
        }
    }

    pub(super) fn into_warnings(self) -> Vec<String> {
        self.warnings
    }
}

const MAX_WARNINGS: usize = 8;
