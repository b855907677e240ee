//! The packages of a folder: which files there are, and what is in them.
//!
//! A package is read once and then only when its size or time changed, so a look at a large folder costs one listing.
//! Broken packages are left out and named; files that change while they are read are left out until the next look.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use url::Url;

use super::packages::{Content, Known, Listed, Package, Packages};
use crate::clock::Clock;
use crate::digest::{Digest, Hasher};
use crate::error::Error;

/// One file as the listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    /// Relative to the folder.
    path: PathBuf,
    size: u64,
    modified: Option<Timestamp>,
}

impl Listed for File {
    type Name = PathBuf;

    fn name(&self) -> &PathBuf {
        &self.path
    }

    fn label(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    fn modified(&self) -> Option<Timestamp> {
        self.modified
    }

    fn agrees(&self, other: &Self) -> bool {
        self == other
    }
}

/// Every `*.tgz` in `root` and up to [`DEPTH`] folders below, sorted by path.
///
/// Names that start with a dot are passed over: editors, version control and half-done copies use them. Linked folders are
/// not entered; linked files count when they end inside `root`. What vanishes meanwhile is not there.
pub(super) fn list(root: &Path) -> io::Result<Vec<File>> {
    let real_root = fs::canonicalize(root)?;
    let mut files = Vec::new();
    let mut folders = vec![(PathBuf::new(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let listing = match fs::read_dir(root.join(&folder)) {
            Ok(listing) => listing,
            Err(error) if depth == 0 => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "the folder `{}` is left out", folder.display());
                continue;
            }
        };
        for entry in listing {
            let entry = entry?;
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = folder.join(&name);
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() {
                if depth < DEPTH {
                    folders.push((path, depth + 1));
                }
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "tgz") {
                continue;
            }
            let full = root.join(&path);
            if kind.is_symlink() {
                let inside = fs::canonicalize(&full).is_ok_and(|real| real.starts_with(&real_root));
                if !inside {
                    continue;
                }
            }
            if let Ok(metadata) = fs::metadata(&full)
                && metadata.is_file()
            {
                files.push(listed(path, &metadata));
            }
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

/// What changes whenever the listing does.
pub(super) fn fingerprint(files: &[File]) -> Digest {
    let mut hasher = Hasher::default();
    for file in files {
        let path = file.path.as_os_str().as_encoded_bytes();
        hasher.update(&path.len().to_le_bytes());
        hasher.update(path);
        hasher.update(format!("{} {:?}\n", file.size, file.modified).as_bytes());
    }
    hasher.finish()
}

/// Reads what `before` does not know yet.
pub(super) fn read(
    root: &Path,
    files: Vec<File>,
    before: &Packages<File>,
    clock: &Clock,
) -> Packages<File> {
    let mut packages = Packages::default();
    for file in files {
        let content = match before.same(&file) {
            Some(known) => Some(known.content.clone()),
            None => read_package(root, &file, clock),
        };
        if let Some(content) = content {
            packages.insert(Known { file, content });
        }
    }
    packages
}

/// What is in a package; `None` for a file that is being written or is gone.
fn read_package(root: &Path, listed_as: &File, clock: &Clock) -> Option<Content> {
    let path = root.join(&listed_as.path);
    let cannot_read = |error: &io::Error| {
        let reason = format!("the file cannot be read: {}", error.kind());
        Some(Content::Broken(reason.into()))
    };
    let file = match fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return cannot_read(&error),
    };
    let package = match Package::read(&file) {
        Ok(package) => package,
        Err(error) => return cannot_read(&error),
    };
    match file.metadata() {
        Ok(metadata) if listed(listed_as.path.clone(), &metadata) == *listed_as => {}
        _ => return None,
    }
    let created = listed_as.modified.unwrap_or_else(|| clock.now());
    let entry = Url::from_file_path(&path)
        .map_err(|()| Error::invalid("the path of this file cannot be written as a URL"))
        .and_then(|url| package.entry(created, url.as_str()));
    Some(entry.into())
}

fn listed(path: PathBuf, metadata: &fs::Metadata) -> File {
    let modified = metadata.modified().ok();
    File {
        path,
        size: metadata.len(),
        modified: modified.and_then(|time| Timestamp::try_from(time).ok()),
    }
}

/// How many folders below the first are looked into.
const DEPTH: usize = 4;
