//! Members merged, chart by chart: order decides per version, hosted names are reserved, nothing is mixed.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::entry::Entry;
use super::render::{Format, Style};
use super::source::{ChartEntries, SourceIndex, find_version};
use crate::digest::Digest;

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
    pub version: Box<str>,
    /// The member whose version is published.
    pub winner: Arc<str>,
    /// The members whose versions are not.
    pub losers: Vec<Arc<str>>,
}

/// A version with the member that it comes from.
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
    pub(super) core: Arc<Core>,
    /// The chart's text; see [`Style::chart`] for its first byte.
    pub(super) segment: Bytes,
}

/// What does not change when the text moves to another place in memory.
#[derive(Debug)]
pub(super) struct Core {
    name: Arc<str>,
    /// What the members have, to see later whether it changed.
    inputs: Box<[(u32, Arc<ChartEntries>)]>,
    versions: Box<[(u32, Arc<Entry>)]>,
    pub(super) conflicts: Box<[Conflict]>,
    pub(super) hash: Digest,
    pub(super) newest: Option<Timestamp>,
    pub(super) shown: usize,
}

impl ChartView {
    /// The chart's key.
    pub fn name(&self) -> &Arc<str> {
        &self.core.name
    }

    /// All versions, newest first, each with its member; also those that `keep` hides from the index.
    pub fn versions(&self) -> impl ExactSizeIterator<Item = Found<'_>> {
        self.core.versions.iter().map(found)
    }

    /// One version by its text.
    pub fn get(&self, version: &str) -> Option<Found<'_>> {
        find_version(&self.core.versions, version, |(_, entry)| entry).map(found)
    }

    /// How many of the versions the index shows.
    pub fn shown(&self) -> usize {
        self.core.shown
    }

    /// The chart as `members` have it now; `previous` is returned where nothing changed. `None`: no member has it.
    pub(super) fn build(
        name: &Arc<str>,
        members: &[Member],
        style: &Style,
        previous: Option<&Self>,
    ) -> Option<Self> {
        let mut inputs = Vec::new();
        for (position, member) in members.iter().enumerate() {
            if let Some(chart) = member.index.get(name) {
                inputs.push((position as u32, Arc::clone(chart)));
                if member.reserves_names {
                    break;
                }
            }
        }
        if inputs.is_empty() {
            return None;
        }
        if let Some(previous) =
            previous.filter(|previous| same_inputs(&previous.core.inputs, &inputs))
        {
            return Some(previous.clone());
        }
        let (versions, conflicts) = match inputs.as_slice() {
            [(member, chart)] => {
                let versions = chart.entries().iter();
                (
                    versions.map(|entry| (*member, Arc::clone(entry))).collect(),
                    Vec::new(),
                )
            }
            several => choose(name, members, several),
        };
        let shown = style.shown(versions.len());
        let newest = versions
            .iter()
            .take(shown)
            .filter_map(|(_, entry)| entry.created)
            .max();
        let segment = Bytes::from(style.chart(name, versions.iter().map(|(_, entry)| entry)));
        let core = Core {
            name: Arc::clone(name),
            inputs: inputs.into(),
            versions: versions.into(),
            conflicts: conflicts.into(),
            hash: Digest::of(&segment),
            newest,
            shown,
        };
        Some(Self {
            core: Arc::new(core),
            segment,
        })
    }

    /// The text as the first or a later chart of an index.
    pub(super) fn text(&self, first: bool, format: Format) -> Bytes {
        if first && format == Format::Json {
            self.segment.slice(1..)
        } else {
            self.segment.clone()
        }
    }
}

fn found((member, entry): &(u32, Arc<Entry>)) -> Found<'_> {
    Found {
        member: *member as usize,
        entry,
    }
}

fn same_inputs(a: &[(u32, Arc<ChartEntries>)], b: &[(u32, Arc<ChartEntries>)]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|((i, x), (j, y))| i == j && Arc::ptr_eq(x, y))
}

type Versions = Vec<(u32, Arc<Entry>)>;

/// The first member's entry for each version text, in listing order, and what differed.
fn choose(
    name: &Arc<str>,
    members: &[Member],
    inputs: &[(u32, Arc<ChartEntries>)],
) -> (Versions, Vec<Conflict>) {
    let mut all: Versions = inputs
        .iter()
        .flat_map(|(member, chart)| {
            chart
                .entries()
                .iter()
                .map(|entry| (*member, Arc::clone(entry)))
        })
        .collect();
    // Stable, so that the member that comes first stands first among equal texts.
    all.sort_by(|(_, a), (_, b)| {
        b.version
            .compare(&a.version)
            .then_with(|| a.version.as_str().cmp(b.version.as_str()))
    });
    let label = |member: u32| {
        members
            .get(member as usize)
            .map(|member| Arc::clone(&member.label))
    };
    let mut chosen: Versions = Vec::with_capacity(all.len());
    let mut conflicts: Vec<Conflict> = Vec::new();
    for (member, entry) in all {
        let Some((winner, kept)) = chosen
            .last()
            .filter(|(_, kept)| kept.version.as_str() == entry.version.as_str())
        else {
            chosen.push((member, entry));
            continue;
        };
        let differs = matches!((kept.digest, entry.digest), (Some(a), Some(b)) if a != b);
        let (true, Some(winner), Some(loser)) = (differs, label(*winner), label(member)) else {
            continue;
        };
        match conflicts.last_mut() {
            Some(last) if *last.version == *entry.version.as_str() => last.losers.push(loser),
            _ => conflicts.push(Conflict {
                chart: Arc::clone(name),
                version: entry.version.as_str().into(),
                winner,
                losers: vec![loser],
            }),
        }
    }
    chosen.sort_by(|(_, a), (_, b)| a.listing_order(b));
    (chosen, conflicts)
}
