//! Which file holds which version. Pure: it is told what was found, and says what the index must show.
//!
//! A version is asked for under its canonical name, `<name>-<version>.tgz`, and listed once. Files may have other names and
//! several may hold one version, so every canonical name has one winner: the file of that very name if it holds that chart,
//! else the first by name. Two charts can share a canonical name (`a-1` `2` and `a` `1-2`); the loser is not listed, because
//! its bytes could not be asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Problem;
use super::package::{Content, Record};
use crate::index::Entry;

/// All files of a folder.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    files: HashMap<Arc<str>, Record>,
    /// Files under other names than the canonical one, by canonical name.
    strays: BTreeMap<Box<str>, BTreeSet<Arc<str>>>,
    broken: BTreeMap<Arc<str>, Arc<str>>,
}

/// What changes in the index.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// This version is there, in place of what had its name and version.
    Show(Arc<Entry>),
    /// This version is gone.
    Hide(Arc<Entry>),
}

impl Catalog {
    /// An empty one with room for this many files.
    pub(super) fn with_capacity(files: usize) -> Self {
        Self {
            files: HashMap::with_capacity(files),
            ..Self::default()
        }
    }

    pub(super) fn get(&self, file: &str) -> Option<&Record> {
        self.files.get(file)
    }

    pub(super) fn files(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Record)> {
        self.files.iter()
    }

    /// The file that is served under a canonical name, and the version in it.
    pub(super) fn winner(&self, canonical: &str) -> Option<(&Arc<str>, &Arc<Entry>)> {
        let own = self
            .files
            .get_key_value(canonical)
            .and_then(|(name, record)| Some((name, package(record)?)))
            .filter(|(name, entry)| ***name == *entry.file_name());
        own.or_else(|| {
            let name = self.strays.get(canonical)?.first()?;
            Some((name, package(self.files.get(name)?)?))
        })
    }

    /// All files that hold exactly this version.
    pub(super) fn holders(&self, canonical: &str, name: &str, version: &str) -> Vec<Arc<str>> {
        let strays = self.strays.get(canonical).into_iter().flatten();
        let own = self.files.get_key_value(canonical).map(|(name, _)| name);
        own.into_iter()
            .chain(strays)
            .filter(|file| {
                self.files
                    .get(*file)
                    .and_then(package)
                    .is_some_and(|entry| *entry.name == *name && entry.version.as_str() == version)
            })
            .cloned()
            .collect()
    }

    /// Takes note of what a file is now (`None`: gone).
    pub(super) fn set(&mut self, file: Arc<str>, record: Option<Record>) -> Vec<Change> {
        let canonical = |record: Option<&Record>| record.and_then(package).map(|e| e.file_name());
        let mut affected: Vec<String> =
            [canonical(self.files.get(&file)), canonical(record.as_ref())]
                .into_iter()
                .flatten()
                .collect();
        affected.dedup();
        let before: Vec<_> = affected.iter().map(|name| self.shown(name)).collect();

        self.forget(&file);
        if let Some(record) = record {
            self.remember(file, record);
        }
        let mut changes = Vec::new();
        for (name, before) in affected.iter().zip(before) {
            match (before, self.shown(name)) {
                (Some(before), Some(after)) if Arc::ptr_eq(&before, &after) => {}
                (before, after) => {
                    let replaced = before.as_ref().zip(after.as_ref()).is_some_and(|(a, b)| {
                        a.name == b.name && a.version.as_str() == b.version.as_str()
                    });
                    changes.extend(before.filter(|_| !replaced).map(Change::Hide));
                    changes.extend(after.map(Change::Show));
                }
            }
        }
        changes
    }

    /// Takes note of a file that was not known before, without asking what changes.
    pub(super) fn add(&mut self, file: Arc<str>, record: Record) {
        self.remember(file, record);
    }

    /// Learns the inode of a file whose content is known from the kept state.
    pub(super) fn learn_inode(&mut self, file: &str, inode: u64) {
        if let Some(record) = self.files.get_mut(file) {
            record.stamp.tag = inode;
        }
    }

    /// Every version that wins.
    pub(super) fn winners(&self) -> Vec<Arc<Entry>> {
        let shown = |(file, record)| {
            let entry = package(record)?;
            let (winner, _) = self.winner(&entry.file_name())?;
            (winner == file).then(|| Arc::clone(entry))
        };
        self.files.iter().filter_map(shown).collect()
    }

    /// Files that are not listed, by name.
    pub(super) fn problems(&self, most: usize) -> Vec<Problem> {
        let broken = self
            .broken
            .iter()
            .map(|(file, reason)| (Arc::clone(file), Arc::clone(reason)));
        let shadowed = self.strays.iter().flat_map(|(canonical, files)| {
            let winner = self.winner(canonical).map(|(name, _)| Arc::clone(name));
            files.iter().filter_map(move |file| {
                let winner = winner.as_ref().filter(|winner| *winner != file)?;
                let reason = format!("`{winner}` is served as `{canonical}` in its place");
                Some((Arc::clone(file), reason.into()))
            })
        });
        let mut problems: Vec<_> = broken
            .take(most)
            .chain(shadowed.take(most))
            .map(|(file, reason)| Problem { file, reason })
            .collect();
        problems.sort_by(|a, b| a.file.cmp(&b.file));
        problems.truncate(most);
        problems
    }

    fn shown(&self, canonical: &str) -> Option<Arc<Entry>> {
        self.winner(canonical).map(|(_, entry)| Arc::clone(entry))
    }

    fn remember(&mut self, file: Arc<str>, record: Record) {
        match &record.content {
            Content::Package(entry) => {
                let canonical = entry.file_name();
                if canonical != *file {
                    self.strays
                        .entry(canonical.into())
                        .or_default()
                        .insert(Arc::clone(&file));
                }
            }
            Content::Broken(reason) => {
                self.broken.insert(Arc::clone(&file), Arc::clone(reason));
            }
        }
        self.files.insert(file, record);
    }

    fn forget(&mut self, file: &str) {
        self.broken.remove(file);
        let Some(record) = self.files.remove(file) else {
            return;
        };
        if let Some(entry) = package(&record) {
            let canonical = entry.file_name();
            if let Some(files) = self.strays.get_mut(canonical.as_str()) {
                files.remove(file);
                if files.is_empty() {
                    self.strays.remove(canonical.as_str());
                }
            }
        }
    }
}

fn package(record: &Record) -> Option<&Arc<Entry>> {
    match &record.content {
        Content::Package(entry) => Some(entry),
        Content::Broken(_) => None,
    }
}
