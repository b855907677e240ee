//! `chartgate passwd USER`: an htpasswd line.

use super::args::Passwd;
use crate::error::Result;

/// Reads the password from the terminal without echo, or from stdin, and prints `USER:<bcrypt hash>`.
///
/// Errors: a name that htpasswd cannot hold, an empty or too long password, no input.
pub fn run(_arguments: &Passwd) -> Result<()> {
    todo!()
}
