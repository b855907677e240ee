//! A folder of packages, with or without an index.yaml.
//!
//! With an `index.yaml` the folder is read as a chart repository is: its text is the index, and relative URLs name files
//! inside the folder. Without one, every `*.tgz` in it (and up to four folders deep) is read; see [`super::folder`].
//! Nothing outside the folder is ever opened: neither by `..`, nor by a symbolic link, nor by a URL of another kind.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use url::Url;

use super::folder;
use super::packages::Packages;
use super::text::{self, TextLimits};
use super::{Download, IndexReply, Upstream, Validators};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::http::ByteStream;
use crate::index::SourceIndex;

/// A folder of packages.
#[derive(Debug)]
pub struct Dir {
    name: Arc<str>,
    /// Absolute, not canonical: a link that is switched to another tree is followed at the next look.
    root: PathBuf,
    limits: TextLimits,
    clock: Clock,
    /// What the last look found, so that the next one reads only what changed.
    packages: Mutex<Arc<Packages<folder::File>>>,
}

impl Dir {
    /// A source that reads the folder `path`, which need not exist yet. A relative path counts from the working directory.
    pub fn new(name: Arc<str>, path: PathBuf, clock: Clock) -> Self {
        Self {
            root: std::path::absolute(&path).unwrap_or(path),
            name,
            limits: TextLimits::default(),
            clock,
            packages: Mutex::default(),
        }
    }

    fn held_packages(&self) -> Arc<Packages<folder::File>> {
        let packages = self.packages.lock();
        Arc::clone(&packages.unwrap_or_else(PoisonError::into_inner))
    }

    fn keep_packages(&self, packages: Arc<Packages<folder::File>>) {
        *self.packages.lock().unwrap_or_else(PoisonError::into_inner) = packages;
    }
}

#[async_trait]
impl Upstream for Dir {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    async fn fetch_index(&self, held: Option<&Validators>) -> Result<IndexReply> {
        let task = Look {
            name: Arc::clone(&self.name),
            root: self.root.clone(),
            limits: self.limits,
            held: held.cloned(),
            packages: self.held_packages(),
            clock: self.clock.clone(),
        };
        let found = blocking(move || task.run()).await?;
        match found {
            Found::Reply(reply) => Ok(reply),
            Found::Packages(packages, reply) => {
                self.keep_packages(packages);
                Ok(reply)
            }
        }
    }

    async fn open(&self, url: &str, offset: u64) -> Result<Download> {
        let name = Arc::clone(&self.name);
        let root = self.root.clone();
        let path = file_path(&self.name, url)?;
        let (file, length) = blocking(move || open_inside(&name, &root, &path, offset)).await?;
        let rest = length - offset;
        let name = Arc::clone(&self.name);
        let chunks = stream::unfold(Some((file, rest)), move |state| {
            let name = Arc::clone(&name);
            async move {
                let (file, left) = state?;
                if left == 0 {
                    return None;
                }
                match blocking(move || read_some(&name, file, left)).await {
                    Ok((file, bytes)) => {
                        let left = left - bytes.len() as u64;
                        Some((Ok(bytes), Some((file, left))))
                    }
                    Err(error) => Some((Err(error), None)),
                }
            }
        });
        Ok(Download {
            length: Some(length),
            body: ByteStream::new(chunks, Some(rest)),
        })
    }
}

/// One look at the folder, on the blocking pool.
struct Look {
    name: Arc<str>,
    root: PathBuf,
    limits: TextLimits,
    held: Option<Validators>,
    packages: Arc<Packages<folder::File>>,
    clock: Clock,
}

enum Found {
    Reply(IndexReply),
    Packages(Arc<Packages<folder::File>>, IndexReply),
}

impl Look {
    fn run(self) -> Result<Found> {
        let base = Url::from_directory_path(&self.root).map_err(|()| {
            Error::unavailable(format!("upstream `{}` has no absolute folder", self.name))
        })?;
        let index = self.root.join("index.yaml");
        match File::open(&index) {
            Ok(file) => self.text(file, base).map(Found::Reply),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.scan(&base),
            Err(error) => Err(unreadable(&self.name, "index.yaml", &index, &error)),
        }
    }

    /// The folder's own index.
    fn text(&self, mut file: File, base: Url) -> Result<IndexReply> {
        let path = self.root.join("index.yaml");
        let stat = |file: &File| {
            let metadata = file.metadata();
            metadata.map_err(|error| unreadable(&self.name, "index.yaml", &path, &error))
        };
        let before = stamp(&stat(&file)?);
        let validators = Validators {
            url: format!("{base}index.yaml"),
            etag: Some(format!("\"{before}\"")),
            last_modified: None,
        };
        if self.held.as_ref() == Some(&validators) {
            return Ok(IndexReply::NotModified);
        }
        let text = text::read_file(&self.name, &mut file, &self.limits)?;
        if stamp(&stat(&file)?) != before {
            return Err(Error::unavailable(format!(
                "upstream `{}` is writing its index.yaml; it is read at the next refresh",
                self.name
            )));
        }
        Ok(IndexReply::Text {
            text,
            base,
            validators,
        })
    }

    /// An index made from the packages.
    fn scan(&self, base: &Url) -> Result<Found> {
        let files = folder::list(&self.root)
            .map_err(|error| unreadable(&self.name, "its folder", &self.root, &error))?;
        let validators = Validators {
            url: base.to_string(),
            etag: Some(format!("\"{}\"", folder::fingerprint(&files).to_hex())),
            last_modified: None,
        };
        if self.held.as_ref() == Some(&validators) {
            return Ok(Found::Reply(IndexReply::NotModified));
        }
        let packages = folder::read(&self.root, files, &self.packages, &self.clock);
        let reply = IndexReply::Entries {
            index: Arc::new(SourceIndex::from_entries(packages.entries())),
            broken: packages.broken(),
            validators,
        };
        Ok(Found::Packages(Arc::new(packages), reply))
    }
}

/// Where a `file:` URL points.
fn file_path(name: &str, url: &str) -> Result<PathBuf> {
    let parsed = Url::parse(url).ok().filter(|url| url.scheme() == "file");
    parsed
        .and_then(|url| url.to_file_path().ok())
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!("upstream `{name}` is a folder and has its own files only; its index names a URL elsewhere, which is not supported"),
            )
        })
}

/// Opens `path` at `offset` where it really lies inside `root`; gives the whole file's length too.
fn open_inside(name: &str, root: &Path, path: &Path, offset: u64) -> Result<(File, u64)> {
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    let root =
        fs::canonicalize(root).map_err(|error| unreadable(name, "its folder", root, &error))?;
    let missing = || Error::not_found(format!("upstream `{name}` has no {file_name:.120}"));
    let real = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if is_absent(&error) => return Err(missing()),
        Err(error) => return Err(unreadable(name, &file_name, path, &error)),
    };
    // To a client, what lies outside is simply not there.
    if !real.starts_with(&root) {
        return Err(missing());
    }
    let failed = |error| unreadable(name, &file_name, path, &error);
    let mut file = File::open(&real).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(missing());
    }
    if offset > metadata.len() {
        return Err(Error::unavailable(format!(
            "upstream `{name}` changed {file_name:.120} while it was being read"
        )));
    }
    file.seek(SeekFrom::Start(offset)).map_err(failed)?;
    Ok((file, metadata.len()))
}

/// The next piece of a file that must have `left` bytes more.
fn read_some(name: &str, mut file: File, left: u64) -> Result<(File, Bytes)> {
    let size = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
    let mut bytes = vec![0; size];
    let broken = |error: Option<io::Error>| {
        let message = format!("upstream `{name}`: a file became shorter while it was being read");
        match error {
            Some(error) => Error::unavailable(message).with_source(error),
            None => Error::unavailable(message),
        }
    };
    let read = loop {
        match file.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other,
        }
    };
    match read {
        Ok(0) => Err(broken(None)),
        Ok(read) => {
            bytes.truncate(read);
            Ok((file, bytes.into()))
        }
        Err(error) => Err(broken(Some(error))),
    }
}

/// What changes whenever a file does.
fn stamp(metadata: &Metadata) -> String {
    format!(
        "{}-{}.{:09}-{}",
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ino()
    )
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput
    )
}

/// A folder that is away tells nothing about what is in it. The path is for the log only.
fn unreadable(name: &str, what: &str, path: &Path, error: &io::Error) -> Error {
    let kind = error.kind();
    let path = path.display();
    Error::unavailable(format!("upstream `{name}` cannot read {what}: {kind}"))
        .with_source(io::Error::new(kind, format!("{path}: {error}")))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::internal("reading a folder was interrupted", error)))
}

/// Bytes read from a file at once.
const PIECE: usize = 256 << 10;
