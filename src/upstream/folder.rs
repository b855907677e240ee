//! The packages of a folder: which files there are, and what is in them.
//!
//! A package is read once and then only when its size or time changed, so a look at a large folder costs one listing.
//! Broken packages are left out and named; files that change while they are read are left out until the next look.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use url::Url;

use super::BrokenPackage;
use crate::chart::archive::{self, Limits, Strictness};
use crate::clock::Clock;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::index::Entry;

/// One file as the listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Relative to the folder.
    path: PathBuf,
    size: u64,
    modified: Option<SystemTime>,
}

/// What is known about the packages of a folder.
#[derive(Debug, Default)]
pub(super) struct Packages {
    known: HashMap<PathBuf, Known>,
}

#[derive(Clone, Debug)]
struct Known {
    file: Listed,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Chart(Arc<Entry>),
    Broken(Arc<str>),
}

impl Packages {
    /// The entries, oldest file first: of two files with one version the newer counts.
    pub(super) fn entries(&self) -> Vec<Arc<Entry>> {
        let mut charts: Vec<_> = self
            .known
            .values()
            .filter_map(|known| match &known.content {
                Content::Chart(entry) => Some((known.file.modified, &known.file.path, entry)),
                Content::Broken(_) => None,
            })
            .collect();
        charts.sort_by_key(|&(modified, path, _)| (modified, path));
        charts
            .into_iter()
            .map(|(.., entry)| Arc::clone(entry))
            .collect()
    }

    /// The files that are no charts, sorted by path.
    pub(super) fn broken(&self) -> Vec<BrokenPackage> {
        let mut broken: Vec<_> = self
            .known
            .values()
            .filter_map(|known| match &known.content {
                Content::Broken(reason) => Some(BrokenPackage {
                    file: known.file.path.to_string_lossy().into_owned(),
                    reason: Arc::clone(reason),
                }),
                Content::Chart(_) => None,
            })
            .collect();
        broken.sort_by(|one, other| one.file.cmp(&other.file));
        broken
    }
}

/// Every `*.tgz` in `root` and up to [`DEPTH`] folders below, sorted by path.
///
/// Names that start with a dot are passed over: editors, version control and half-done copies use them. Linked folders are
/// not entered; linked files count when they end inside `root`. What vanishes meanwhile is not there.
pub(super) fn list(root: &Path) -> io::Result<Vec<Listed>> {
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
pub(super) fn fingerprint(files: &[Listed]) -> Digest {
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
pub(super) fn read(root: &Path, files: Vec<Listed>, before: &Packages, clock: &Clock) -> Packages {
    let mut known = HashMap::with_capacity(files.len());
    for file in files {
        let content = match before.known.get(&file.path) {
            Some(held) if held.file == file => held.content.clone(),
            _ => match read_package(root, &file, clock) {
                Ok(Some(entry)) => Content::Chart(Arc::new(entry)),
                Ok(None) => continue,
                Err(error) => Content::Broken(error.message().into()),
            },
        };
        known.insert(file.path.clone(), Known { file, content });
    }
    Packages { known }
}

/// One package's entry; `None` for a file that is being written or is gone.
fn read_package(root: &Path, listed_as: &Listed, clock: &Clock) -> Result<Option<Entry>> {
    let path = root.join(&listed_as.path);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot_read(&error)),
    };
    let mut reader = HashingReader {
        file,
        hasher: Hasher::default(),
    };
    let chart = archive::read(&mut reader, &Limits::stored(), Strictness::Stored);
    // The digest is that of the whole file, also of what follows the archive in it.
    io::copy(&mut reader, &mut io::sink()).map_err(|error| cannot_read(&error))?;
    match reader.file.metadata() {
        Ok(metadata) if listed(listed_as.path.clone(), &metadata) == *listed_as => {}
        _ => return Ok(None),
    }
    let created = listed_as
        .modified
        .and_then(|modified| Timestamp::try_from(modified).ok())
        .unwrap_or_else(|| clock.now());
    let mut entry = Entry::from_metadata(&chart?.metadata, reader.hasher.finish(), created)?;
    let url = Url::from_file_path(&path)
        .map_err(|()| Error::invalid("the path of this file cannot be written as a URL"))?;
    entry.urls = Box::new([String::from(url).into_boxed_str()]);
    Ok(Some(entry))
}

fn listed(path: PathBuf, metadata: &fs::Metadata) -> Listed {
    Listed {
        path,
        size: metadata.len(),
        modified: metadata.modified().ok(),
    }
}

fn cannot_read(error: &io::Error) -> Error {
    Error::invalid(format!("the file cannot be read: {}", error.kind()))
}

/// Hashes what is read through it.
struct HashingReader {
    file: File,
    hasher: Hasher,
}

impl Read for HashingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// How many folders below the first are looked into.
const DEPTH: usize = 4;
