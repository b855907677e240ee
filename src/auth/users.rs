//! Users of an htpasswd file.

use std::path::Path;
use std::sync::Arc;

use crate::clock::Clock;
use crate::error::Result;

/// The users of an htpasswd file, reread when it changes.
#[derive(Debug)]
pub struct Users;

impl Users {
    /// Reads the file. Errors: it cannot be read; broken lines only cost a warning.
    pub fn open(_path: &Path, _clock: Clock) -> Result<Self> {
        todo!()
    }

    /// The user's name as shared text where the password is right, else [`crate::error::ErrorKind::Unauthenticated`].
    pub async fn verify(&self, _name: &str, _password: &str) -> Result<Arc<str>> {
        todo!()
    }
}
