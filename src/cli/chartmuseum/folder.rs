//! Where the state of a process goes that was never told: a folder that can be written to.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// `wanted` where it can be written to, else a folder of this user below `temporary`. Blocking. Errors: neither can.
pub(super) fn writable(wanted: &Path, temporary: &Path) -> Result<PathBuf> {
    let Err(cause) = probe(wanted) else {
        return Ok(wanted.to_path_buf());
    };
    let fallback = private(temporary).map_err(|other| {
        Error::internal(
            format!(
                "the state can be kept neither in `{}` ({cause}) nor below `{}`; set `--data-dir` or CHARTGATE_DATA_DIR to a writable folder",
                wanted.display(),
                temporary.display()
            ),
            other,
        )
    })?;
    tracing::warn!(
        "`{}` cannot be written to ({cause}); parsed packages are kept in `{}`, which a restart of the machine may empty; \
         `--data-dir` or CHARTGATE_DATA_DIR names a better place",
        wanted.display(),
        fallback.display()
    );
    Ok(fallback)
}

/// Whether files can be made in `folder`, which is made if it is missing.
fn probe(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    std::fs::write(&probe, b"")?;
    std::fs::remove_file(&probe)
}

/// A folder that nobody else could have prepared: the system's temporary folder belongs to everybody.
fn private(temporary: &Path) -> std::io::Result<PathBuf> {
    let probe = temporary.join(format!(".chartgate-{}", std::process::id()));
    // A file that must be new tells whose files we write.
    let user = std::fs::File::create_new(&probe)?.metadata()?.uid();
    std::fs::remove_file(&probe)?;
    let folder = temporary.join(format!("chartgate-{user}"));
    match DirBuilder::new().mode(0o700).create(&folder) {
        Ok(()) => return Ok(folder),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let found = std::fs::symlink_metadata(&folder)?;
    if found.is_dir() && found.uid() == user && found.mode() & 0o077 == 0 {
        Ok(folder)
    } else {
        Err(std::io::Error::other(format!(
            "`{}` belongs to somebody else or is open to others",
            folder.display()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn the_wanted_folder_is_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let wanted = folder.path().join("charts").join(".chartgate");
        assert_eq!(writable(&wanted, folder.path()).expect("made"), wanted);
        assert!(wanted.is_dir());
        assert_eq!(std::fs::read_dir(&wanted).expect("read").count(), 0);
    }

    #[test]
    fn a_file_in_the_way_leads_to_a_private_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let blocked = folder.path().join("file").join("data");
        std::fs::write(folder.path().join("file"), b"").expect("written");
        let first = writable(&blocked, folder.path()).expect("made");
        let mode = std::fs::metadata(&first).expect("there").mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(writable(&blocked, folder.path()).expect("found"), first);

        std::fs::set_permissions(&first, std::fs::Permissions::from_mode(0o777)).expect("set");
        let error = writable(&blocked, folder.path()).expect_err("open to others");
        assert!(error.message().contains("--data-dir"));
        std::fs::remove_dir(&first).expect("removed");
        symlink(folder.path(), &first).expect("linked");
        assert!(writable(&blocked, folder.path()).is_err(), "a link");
    }
}
