//! A bucket without an index.yaml: its packages are listed, and those that are new or changed are read.
//!
//! What cannot be read is left as it was: a transfer that fails says nothing about the package. The bucket counts as away when
//! nothing at all could be read, or when one read after the other fails; what was read until then is not read again.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};

use super::pipe::pipe;
use super::{S3, kept};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, ErrorKind, Result};
use crate::index::SourceIndex;
use crate::object::Object;
use crate::upstream::packages::{Content, Known, Listed, Package, Packages};
use crate::upstream::{BrokenPackage, IndexReply, Validators};

impl Listed for Object {
    type Name = Arc<str>;

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn label(&self) -> String {
        self.name.to_string()
    }

    fn modified(&self) -> Option<jiff::Timestamp> {
        Some(self.stamp.modified)
    }

    fn agrees(&self, other: &Self) -> bool {
        self.stamp.agrees(&other.stamp)
    }
}

/// What became of one package that had to be read.
enum Outcome {
    Read(Known<Object>),
    /// Removed since the listing.
    Gone,
    Failed(Error),
}

/// Packages as they were found, and what is to be said about them.
#[derive(Default)]
struct Findings {
    packages: Packages<Object>,
    /// Those that could not be read this time.
    unread: Vec<BrokenPackage>,
    /// Whether the next look must not take the listing for known.
    is_partial: bool,
    /// Whether anything was read.
    is_new: bool,
}

impl S3 {
    /// An index made from the packages directly below the prefix.
    pub(super) async fn scan(&self, held: Option<&Validators>) -> Result<IndexReply> {
        let listed = self.list_packages().await?;
        let base = self.place.base();
        let mut validators = Validators {
            url: base.to_string(),
            etag: Some(format!("\"{}\"", fingerprint(&listed).to_hex())),
            last_modified: None,
        };
        if held == Some(&validators) {
            return Ok(IndexReply::NotModified);
        }
        let before = self.held_packages().await;
        let (findings, failure) = self.read_packages(listed, &before).await;
        let packages = Arc::new(findings.packages);
        let is_changed = findings.is_new || packages.len() != before.len();
        self.hold(Some(Arc::clone(&packages)));
        if is_changed {
            self.keep_packages(&packages).await;
        }
        if let Some(error) = failure {
            return Err(error);
        }
        if findings.is_partial {
            // Never that of a listing, so the next look tries again; the same one while nothing comes of it.
            let partial = validators.etag.take().unwrap_or_default();
            validators.etag = Some(format!("W/{partial}"));
            if held == Some(&validators) && !is_changed {
                return Ok(IndexReply::NotModified);
            }
        }
        let mut broken = packages.broken();
        broken.extend(findings.unread);
        Ok(IndexReply::Entries {
            index: Arc::new(SourceIndex::from_entries(packages.entries())),
            broken,
            validators,
        })
    }

    /// How many packages there are. One is opened, because those who may list need not be allowed to read.
    pub(super) async fn count_packages(&self) -> Result<usize> {
        let listed = self.list_packages().await?;
        if let Some(first) = listed.first() {
            self.counted(self.bucket.read(&first.name, None).await)?;
        }
        Ok(listed.len())
    }

    /// Every package of the listing, sorted by name. Names that start with a dot are passed over, as in folders.
    async fn list_packages(&self) -> Result<Vec<Object>> {
        let mut listed = Vec::new();
        let mut pages = self.bucket.list("");
        while let Some(page) = pages.next().await {
            let page = self.counted(page.map(Some))?.unwrap_or_default();
            let packages = page
                .into_iter()
                .filter(|object| object.name.ends_with(".tgz") && !object.name.starts_with('.'));
            listed.extend(packages);
        }
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(listed)
    }

    /// Reads what `before` does not know. With a failure, the findings are what is known so far.
    async fn read_packages(
        &self,
        listed: Vec<Object>,
        before: &Packages<Object>,
    ) -> (Findings, Option<Error>) {
        let mut found = Findings::default();
        let mut unknown = Vec::new();
        let mut is_useful = listed.is_empty();
        for file in listed {
            match before.same(&file) {
                Some(known) => {
                    is_useful = true;
                    let content = known.content.clone();
                    found.packages.insert(Known { file, content });
                }
                None => {
                    // Until it is read, it is what it was.
                    if let Some(last) = before.last(&file.name) {
                        found.packages.insert(last.clone());
                    }
                    unknown.push(file);
                }
            }
        }
        let mut reads = stream::iter(unknown)
            .map(|file| async move { (Arc::clone(&file.name), self.read_package(file).await) })
            .buffer_unordered(READERS);
        let (mut in_a_row, mut failure) = (0, None);
        while let Some((name, outcome)) = reads.next().await {
            match outcome {
                Outcome::Read(known) => {
                    in_a_row = 0;
                    is_useful = true;
                    found.is_new = true;
                    found.packages.insert(known);
                }
                Outcome::Gone => {
                    in_a_row = 0;
                    found.is_partial = true;
                    found.packages.remove(&name);
                }
                Outcome::Failed(error) => {
                    in_a_row += 1;
                    found.leave(&name, &error);
                    let is_hopeless = match error.kind() {
                        // Some objects may be somebody else's.
                        ErrorKind::UpstreamUnauthorized => !is_useful && in_a_row >= REFUSALS,
                        _ => in_a_row >= FAILURES,
                    };
                    failure = Some(error);
                    if is_hopeless {
                        return (found, failure);
                    }
                }
            }
        }
        (found, failure.filter(|_| !is_useful))
    }

    async fn read_package(&self, file: Object) -> Outcome {
        if file.stamp.size > LARGEST {
            let reason = format!("it is larger than {LARGEST} bytes");
            let content = Content::Broken(reason.into());
            return Outcome::Read(Known { file, content });
        }
        let opened = self.counted(self.bucket.read(&file.name, None).await);
        let opened = match opened {
            Ok(Some(opened)) => opened,
            Ok(None) => return Outcome::Gone,
            Err(error) => return Outcome::Failed(error),
        };
        let (inlet, outlet) = pipe();
        let reading = tokio::task::spawn_blocking(move || Package::read(outlet));
        let (fed, package) = tokio::join!(inlet.feed(opened.body), reading);
        if let Err(error) = fed {
            return Outcome::Failed(self.named(error));
        }
        let package = match package {
            Ok(Ok(package)) => package,
            Ok(Err(error)) => {
                return Outcome::Failed(Error::internal("a pipe broke", error));
            }
            Err(error) => {
                return Outcome::Failed(Error::internal("reading was interrupted", error));
            }
        };
        let url = self.place.url(&file.name);
        let content = package.entry(opened.stamp.modified, &url).into();
        // What was read may be newer than what was listed; the next listing says the same then.
        let file = Object {
            stamp: opened.stamp,
            ..file
        };
        Outcome::Read(Known { file, content })
    }

    /// What is known from the last look, or from before a restart.
    async fn held_packages(&self) -> Arc<Packages<Object>> {
        if let Some(packages) = self.held() {
            return packages;
        }
        let note = self.notebook.read(&self.note_name()).await;
        let place = self.place.clone();
        let read = move || {
            note.map(|note| kept::from_bytes(&note, |name| place.url(name)))
                .transpose()
        };
        match blocking(read).await.and_then(|packages| packages) {
            Ok(packages) => Arc::new(packages.unwrap_or_default()),
            Err(error) => {
                tracing::warn!(upstream.name = %self.name, error = %error.chain(),
                    "upstream `{}`: {error}; every package is read again", self.name);
                Arc::default()
            }
        }
    }

    async fn keep_packages(&self, packages: &Arc<Packages<Object>>) {
        let packages = Arc::clone(packages);
        let written = match blocking(move || kept::to_bytes(&packages)).await {
            Ok(note) => self.notebook.write(&self.note_name(), note).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::warn!(upstream.name = %self.name, error = %error.chain(),
                "what was read of the packages of upstream `{}` cannot be kept; after a restart they may be read again", self.name);
        }
    }

    fn note_name(&self) -> String {
        format!("packages/{}", self.name)
    }
}

impl Findings {
    /// Notes that a package could not be read and stays as it was.
    fn leave(&mut self, name: &Arc<str>, error: &Error) {
        self.is_partial = true;
        let reason = match error.kind() {
            ErrorKind::UpstreamUnauthorized => "the bucket refuses to give it",
            _ => "it could not be read; it is tried again at the next refresh",
        };
        tracing::warn!(file = %name, error = %error.chain(), "a package in a bucket cannot be read: {error}");
        self.unread.push(BrokenPackage {
            file: name.to_string(),
            reason: reason.into(),
        });
    }
}

/// What changes whenever the listing does.
fn fingerprint(files: &[Object]) -> Digest {
    let mut hasher = Hasher::default();
    for file in files {
        hasher.update(&file.name.len().to_le_bytes());
        hasher.update(file.name.as_bytes());
        let stamp = &file.stamp;
        hasher.update(&stamp.size.to_le_bytes());
        hasher.update(&stamp.modified.as_nanosecond().to_le_bytes());
        hasher.update(&stamp.tag.to_le_bytes());
    }
    hasher.finish()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("a background computation ended early", error))
}

/// How many packages are read at a time. A read is mostly waiting.
const READERS: usize = 8;
/// After so many failures in a row nothing more is tried: the bucket is away.
const FAILURES: usize = READERS;
/// After so many refusals and nothing else nothing more is tried: the credentials may list and not read.
const REFUSALS: usize = 100;
/// The largest archive that is fetched for clients, too.
const LARGEST: u64 = 1 << 30;
