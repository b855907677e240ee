//! How a command ends badly, and with which exit code (contract/cli.md).

use std::fmt;

use crate::config::Mistakes;
use crate::error::{Error, ErrorKind};

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The configuration has mistakes: exit code 64.
    Configuration(Mistakes),
    /// The command was used wrongly: exit code 64.
    Usage(String),
    /// It failed while running: exit code 1.
    Running(Error),
}

impl Failure {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) | Self::Usage(_) => 64,
            Self::Running(error) if error.kind() == ErrorKind::Invalid => 64,
            Self::Running(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(mistakes) => mistakes.fmt(f),
            Self::Usage(message) => f.write_str(message),
            Self::Running(error) => f.write_str(&error.chain()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Running(error)
    }
}

impl From<Mistakes> for Failure {
    fn from(mistakes: Mistakes) -> Self {
        Self::Configuration(mistakes)
    }
}
