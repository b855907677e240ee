//! One source's cleaned charts.
use std::sync::Arc;

use url::Url;

use super::{Entry, SourceReport};
use crate::digest::Digest;
use crate::error::Result;

/// All versions of one chart in one source, newest first.
#[derive(Debug)]
pub struct ChartEntries {
    entries: Box<[Arc<Entry>]>,
}

impl ChartEntries {
    /// Newest first: precedence, then `created`, then text.
    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }
    /// The entry with exactly this version text.
    pub fn get(&self, _version: &str) -> Option<&Arc<Entry>> {
        todo!()
    }
    /// Digests that duplicates of this version named; the archive may have one of them.
    pub fn alternates(&self, _version: &str) -> &[Digest] {
        todo!()
    }
}

/// One source's cleaned charts. Cheap to clone and to edit: everything unchanged is shared.
#[derive(Clone, Debug, Default)]
pub struct SourceIndex {
    report: Arc<SourceReport>,
}

impl SourceIndex {
    /// Reads an index as its source wrote it. `base` is the final URL of the index, against which relative URLs are resolved.
    pub fn ingest(_text: &[u8], _base: &Url, _previous: Option<&Self>) -> Result<Self> {
        todo!()
    }
    /// An index of these entries; a version that comes twice counts once, the later one.
    pub fn from_entries(_entries: impl IntoIterator<Item = Arc<Entry>>) -> Self {
        todo!()
    }
    /// With `entry` in place of what has its name and version text.
    #[must_use]
    pub fn with_entry(&self, _entry: Arc<Entry>) -> Self {
        todo!()
    }
    /// Without one version.
    #[must_use]
    pub fn without(&self, _name: &str, _version: &str) -> Self {
        todo!()
    }
    /// One chart.
    pub fn get(&self, _name: &str) -> Option<&Arc<ChartEntries>> {
        todo!()
    }
    /// All charts, sorted by name.
    pub fn charts(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<ChartEntries>)> {
        std::iter::empty()
    }
    /// How many charts there are.
    pub fn chart_count(&self) -> usize {
        todo!()
    }
    /// How many versions there are.
    pub fn versions(&self) -> usize {
        todo!()
    }
    /// How many versions `previous` had read from its source that this one has not.
    pub fn lost_since(&self, _previous: &Self) -> usize {
        todo!()
    }
    /// With those versions of `previous` that are missing here and that `keep` accepts.
    #[must_use]
    pub fn carry_over(&self, _previous: &Self, _keep: impl Fn(&Entry) -> bool) -> Self {
        todo!()
    }
    /// What was dropped and repaired.
    pub fn report(&self) -> &Arc<SourceReport> {
        &self.report
    }
}
