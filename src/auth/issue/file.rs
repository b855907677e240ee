//! The key that is made where none is configured, and kept in the data folder.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::key;
use crate::auth::private;
use crate::error::{Error, Result};

/// Its name in the data folder.
const NAME: &str = "token.key";

/// Where the key in `data_dir` is; makes one where there is none. Blocking.
///
/// Of several processes that start at once on one folder all get the same. A key is on the disk before it signs anything.
pub(super) fn ensure(data_dir: &Path) -> Result<PathBuf> {
    let path = data_dir.join(NAME);
    let failed = |error: io::Error| {
        Error::internal(
            format!(
                "cannot make `{}`, which signs tokens; make it writable or set `auth.token.key_file`: {error}",
                path.display()
            ),
            error,
        )
    };
    if !path.try_exists().map_err(failed)? && make(data_dir, &path).map_err(failed)? {
        tracing::info!(
            file.path = %path.display(),
            "made `{}`, which signs tokens of this machine; replicas that share a host name need the same key: set `auth.token.key_file`",
            path.display()
        );
    }
    Ok(path)
}

/// Whether it was this call that made it.
fn make(folder: &Path, path: &Path) -> io::Result<bool> {
    std::fs::create_dir_all(folder)?;
    let scratch = private::unfinished(folder, &format!("{NAME}."))?;
    let made = write(&scratch, &key::generate().map_err(io::Error::other)?)
        // Unlike a rename this leaves alone what another process has just put there.
        .and_then(|()| match std::fs::hard_link(&scratch, path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(_) => std::fs::rename(&scratch, path).map(|()| true),
        });
    // Gone already where it was renamed.
    let _ = std::fs::remove_file(&scratch);
    let made = made?;
    File::open(folder)?.sync_all()?;
    Ok(made)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = private::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
