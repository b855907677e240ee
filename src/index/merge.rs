//! Members merged into what a tenant publishes.
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::{Entry, SourceIndex};
use crate::http::Body;

/// JSON or YAML text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Compact JSON.
    #[default]
    Json,
    /// YAML with every scalar in double quotes.
    Yaml,
}

/// How much of each entry is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fields {
    /// Everything.
    #[default]
    Full,
    /// The newest version in full, older ones with what installing needs.
    Slim,
}

/// How a tenant's index looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// JSON or YAML.
    pub format: Format,
    /// Full or slim.
    pub fields: Fields,
    /// Newest versions shown per chart; 0 = all.
    pub keep: usize,
}

/// One of the sources that are merged.
#[derive(Clone, Debug)]
pub struct Member {
    /// The name in reports: the upstream's, or `hosted`.
    pub label: Arc<str>,
    /// Its charts.
    pub index: Arc<SourceIndex>,
    /// Names that it has never come from later members.
    pub reserves_names: bool,
}

/// A version that several members have with different digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// The chart.
    pub chart: Arc<str>,
    /// The version.
    pub version: Arc<str>,
    /// The member whose version is published.
    pub winner: Arc<str>,
    /// The members whose versions are not.
    pub losers: Vec<Arc<str>>,
}

/// Where a file of the tenant comes from.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The position of the member.
    pub member: usize,
    /// The version.
    pub entry: &'a Arc<Entry>,
}

/// One chart of the merged index.
#[derive(Clone, Debug)]
pub struct ChartView {
    name: Arc<str>,
}

impl ChartView {
    /// The chart's key.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }
    /// All versions, newest first, each with its member's position; also those that `keep` hides from the index.
    pub fn versions(&self) -> impl ExactSizeIterator<Item = Found<'_>> {
        std::iter::empty()
    }
    /// One version by its text.
    pub fn get(&self, _version: &str) -> Option<Found<'_>> {
        todo!()
    }
}

/// A tenant's published merged index.
#[derive(Clone, Debug)]
pub struct Snapshot;

impl Snapshot {
    /// Merges members in order of precedence. Work is proportional to what changed since `previous`.
    pub fn merge(
        _members: &[Member],
        _style: Style,
        _previous: Option<&Self>,
        _now: Timestamp,
    ) -> Self {
        todo!()
    }
    /// The text.
    pub fn body(&self) -> Body {
        todo!()
    }
    /// The number of bytes of the text.
    pub fn length(&self) -> u64 {
        todo!()
    }
    /// The text in one piece, once compacted.
    pub fn contiguous(&self) -> Option<Bytes> {
        todo!()
    }
    /// The same snapshot with its text in one piece.
    #[must_use]
    pub fn compact(&self) -> Self {
        todo!()
    }
    /// The strong entity tag, with quotes.
    pub fn etag(&self) -> &str {
        todo!()
    }
    /// When the text last changed.
    pub fn modified(&self) -> Timestamp {
        todo!()
    }
    /// The newest `created` of all entries.
    pub fn generated(&self) -> Timestamp {
        todo!()
    }
    /// How many versions the index shows.
    pub fn versions(&self) -> usize {
        todo!()
    }
    /// How many charts there are.
    pub fn chart_count(&self) -> usize {
        todo!()
    }
    /// The `Content-Type` of the text.
    pub fn content_type(&self) -> &'static str {
        "application/x-yaml"
    }
    /// Finds `<chart>-<version>.tgz`.
    pub fn find(&self, _file: &str) -> Option<Found<'_>> {
        todo!()
    }
    /// One chart.
    pub fn chart(&self, _name: &str) -> Option<&ChartView> {
        todo!()
    }
    /// All charts, sorted by name.
    pub fn charts(&self) -> impl Iterator<Item = &ChartView> {
        std::iter::empty()
    }
    /// The members it was merged from.
    pub fn members(&self) -> &[Member] {
        todo!()
    }
    /// The first conflicts, in order of name (bounded).
    pub fn conflicts(&self) -> Vec<Conflict> {
        todo!()
    }
    /// How many conflicts there are.
    pub fn conflict_count(&self) -> usize {
        todo!()
    }
}
