//! What is known about the packages of a place without an index: read once each, and again only when they changed.
//!
//! Shared by folders and buckets, which differ in how files are named and listed.

use std::collections::HashMap;
use std::hash::Hash;
use std::io::{self, Read};
use std::sync::Arc;

use jiff::Timestamp;

use super::BrokenPackage;
use crate::chart::archive::{self, Limits, Strictness};
use crate::digest::{Digest, Hasher};
use crate::error::Result;
use crate::index::Entry;

/// A file as its listing shows it.
pub(super) trait Listed: Clone {
    /// What its place calls it.
    type Name: Clone + Eq + Hash + Ord;

    /// Its name.
    fn name(&self) -> &Self::Name;

    /// The name for people.
    fn label(&self) -> String;

    /// When it was written, where that is known.
    fn modified(&self) -> Option<Timestamp>;

    /// Whether both hold the same bytes, as far as a listing can tell.
    fn agrees(&self, other: &Self) -> bool;
}

/// The packages of one place.
#[derive(Clone, Debug)]
pub(super) struct Packages<F: Listed> {
    known: HashMap<F::Name, Known<F>>,
}

/// One file and what is in it.
#[derive(Clone, Debug)]
pub(super) struct Known<F> {
    pub(super) file: F,
    pub(super) content: Content,
}

/// What is in a file.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Chart(Arc<Entry>),
    Broken(Arc<str>),
}

impl<F: Listed> Default for Packages<F> {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
        }
    }
}

impl<F: Listed> Packages<F> {
    /// What is known of `file`, if it is still the same file.
    pub(super) fn same(&self, file: &F) -> Option<&Known<F>> {
        self.known
            .get(file.name())
            .filter(|known| known.file.agrees(file))
    }

    /// What is known of a file of this name, changed or not.
    pub(super) fn last(&self, name: &F::Name) -> Option<&Known<F>> {
        self.known.get(name)
    }

    pub(super) fn insert(&mut self, known: Known<F>) {
        self.known.insert(known.file.name().clone(), known);
    }

    pub(super) fn remove(&mut self, name: &F::Name) {
        self.known.remove(name);
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Known<F>> {
        self.known.values()
    }

    /// The entries, oldest file first: of two files with one version the newer counts.
    pub(super) fn entries(&self) -> Vec<Arc<Entry>> {
        let mut charts: Vec<_> = self
            .iter()
            .filter_map(|known| match &known.content {
                Content::Chart(entry) => Some((known.file.modified(), known.file.name(), entry)),
                Content::Broken(_) => None,
            })
            .collect();
        charts.sort_by_key(|&(modified, name, _)| (modified, name));
        charts
            .into_iter()
            .map(|(.., entry)| Arc::clone(entry))
            .collect()
    }

    /// The files that are no charts, sorted by name.
    pub(super) fn broken(&self) -> Vec<BrokenPackage> {
        let mut broken: Vec<_> = self
            .iter()
            .filter_map(|known| match &known.content {
                Content::Broken(reason) => Some(BrokenPackage {
                    file: known.file.label(),
                    reason: Arc::clone(reason),
                }),
                Content::Chart(_) => None,
            })
            .collect();
        broken.sort_by(|one, other| one.file.cmp(&other.file));
        broken
    }
}

/// A package that was read to its end.
pub(super) struct Package {
    digest: Digest,
    chart: Result<archive::Chart>,
}

impl Package {
    /// Reads a package to its very end: its digest is that of the whole file, also of what follows the archive in it.
    /// Blocking. Errors: those of `reader`; what is wrong with the archive is said by [`Package::entry`].
    pub(super) fn read(reader: impl Read) -> io::Result<Self> {
        let mut reader = HashingReader {
            inner: reader,
            hasher: Hasher::default(),
            failure: None,
        };
        let chart = archive::read(&mut reader, &Limits::stored(), Strictness::Stored);
        let rest = io::copy(&mut reader, &mut io::sink());
        match reader.failure {
            Some(failure) => Err(failure),
            None => rest.map(|_| Self {
                digest: reader.hasher.finish(),
                chart,
            }),
        }
    }

    /// Its entry. Errors: it is no chart.
    pub(super) fn entry(self, created: Timestamp, url: &str) -> Result<Entry> {
        let mut entry = Entry::from_metadata(&self.chart?.metadata, self.digest, created)?;
        entry.urls = Box::new([url.into()]);
        Ok(entry)
    }
}

impl From<Result<Entry>> for Content {
    fn from(entry: Result<Entry>) -> Self {
        match entry {
            Ok(entry) => Self::Chart(Arc::new(entry)),
            Err(error) => Self::Broken(error.message().into()),
        }
    }
}

/// Hashes what is read through it, and keeps the failure that ended it.
struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
    failure: Option<io::Error>,
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(failure) = &self.failure {
            return Err(failure.kind().into());
        }
        match self.inner.read(buffer) {
            Ok(read) => {
                self.hasher.update(&buffer[..read]);
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.failure = Some(error);
                Err(kind.into())
            }
        }
    }
}
