//! One source's cleaned charts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use url::Url;

use super::entry::Entry;
use super::fields::{Rejection, Repair};
use super::map::Map;
use super::report::{Reason, SourceReport};
use crate::chart::version::Parts;
use crate::digest::Digest;
use crate::error::Result;

/// All versions of one chart in one source, newest first. Never empty.
#[derive(Debug)]
pub struct ChartEntries {
    pub(super) entries: Box<[Arc<Entry>]>,
    pub(super) alternates: Box<[Alternates]>,
}

/// A version with the digests that its duplicates name.
pub(super) type Alternates = (Box<str>, Box<[Digest]>);

impl ChartEntries {
    /// Newest first: precedence, then `created`, then text.
    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// The entry with exactly this version text.
    pub fn get(&self, version: &str) -> Option<&Arc<Entry>> {
        find_version(&self.entries, version, |entry| entry)
    }

    /// Digests that duplicates of this version named: the archive may have one of them instead.
    pub fn alternates(&self, version: &str) -> &[Digest] {
        self.alternates
            .iter()
            .find(|(own, _)| own.as_ref() == version)
            .map_or(&[], |(_, digests)| digests)
    }

    /// The newest version that is not a prerelease, else the newest.
    pub fn latest(&self) -> Option<&Arc<Entry>> {
        self.entries
            .iter()
            .find(|entry| !entry.version.is_prerelease())
            .or(self.entries.first())
    }

    /// Sorts and removes duplicates; of these the newest `created` counts, then the first in the list, as Helm and Flux show them.
    /// Returns the versions of what was left out.
    pub(super) fn assemble(mut entries: Vec<Arc<Entry>>) -> (Option<Arc<Self>>, Vec<Duplicate>) {
        entries.sort_by(|a, b| {
            b.version
                .compare(&a.version)
                .then_with(|| a.version.as_str().cmp(b.version.as_str()))
                .then_with(|| b.created.cmp(&a.created))
        });
        let mut kept: Vec<Arc<Entry>> = Vec::with_capacity(entries.len());
        let mut duplicates = Vec::new();
        let mut alternates: Vec<Alternates> = Vec::new();
        for entry in entries {
            let Some(winner) = kept
                .last()
                .filter(|last| last.version.as_str() == entry.version.as_str())
            else {
                kept.push(entry);
                continue;
            };
            let version: Box<str> = entry.version.as_str().into();
            let other = entry.digest.filter(|digest| Some(*digest) != winner.digest);
            if let Some(digest) = other {
                match alternates.last_mut() {
                    Some((own, digests)) if *own == version => {
                        if !digests.contains(&digest) {
                            *digests = digests.iter().copied().chain([digest]).collect();
                        }
                    }
                    _ => alternates.push((version.clone(), Box::new([digest]))),
                }
            }
            duplicates.push((version, other.is_some()));
        }
        kept.sort_by(|a, b| a.listing_order(b));
        let chart = (!kept.is_empty()).then(|| {
            Arc::new(Self {
                entries: kept.into(),
                alternates: alternates.into(),
            })
        });
        (chart, duplicates)
    }

    /// Whether both hold the very same entries.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.entries.len() == other.entries.len()
            && self.alternates == other.alternates
            && self
                .entries
                .iter()
                .zip(&other.entries)
                .all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

/// The version of a duplicate, and whether it names another digest.
pub(super) type Duplicate = (Box<str>, bool);

/// Finds a version text in a list in listing order, by bisection over precedence.
pub(super) fn find_version<'a, T>(
    list: &'a [T],
    version: &str,
    entry: impl Fn(&T) -> &Arc<Entry>,
) -> Option<&'a T> {
    let wanted = Parts::parse(version)?;
    let start = list.partition_point(|item| entry(item).version.parts().compare(&wanted).is_gt());
    list[start..]
        .iter()
        .take_while(|item| entry(item).version.parts().compare(&wanted).is_eq())
        .find(|item| entry(item).version.as_str() == version)
}

/// What became of one piece of an index's text.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Kept(Arc<Entry>, Option<Box<[Repair]>>),
    Dropped(Box<Rejection>),
}

/// What an index said about one chart.
#[derive(Debug, Default)]
pub(super) struct Lot {
    /// A hash over `pieces`' hashes; 0 where the pieces have none.
    pub(super) fingerprint: u128,
    /// Each piece's hash with what became of it, in order.
    pub(super) pieces: Box<[(u128, Outcome)]>,
    pub(super) duplicates: Box<[Duplicate]>,
    /// The chart as the index has it, without versions that were carried over.
    pub(super) chart: Option<Arc<ChartEntries>>,
}

/// One source's cleaned charts. Cheap to clone and to edit: everything unchanged is shared.
#[derive(Clone, Debug, Default)]
pub struct SourceIndex {
    pub(super) charts: Map<Arc<ChartEntries>>,
    pub(super) versions: usize,
    /// What the last ingest read; empty for hosted charts.
    pub(super) lots: Arc<HashMap<Arc<str>, Arc<Lot>>>,
    pub(super) report: Arc<SourceReport>,
    /// A hash of the text and of the URL it came from; 0 = none.
    pub(super) text_hash: u128,
    /// Whether the text had a `generated` key.
    pub(super) generated: bool,
}

impl SourceIndex {
    /// Reads an index as its source wrote it. `base` is what relative chart URLs resolve against (Helm: the configured repository URL).
    ///
    /// `previous` makes the work proportional to what changed, and unchanged charts keep their `Arc`. Entries that no client
    /// could use are left out and told in the report. Errors: the text is not an index, or visibly half of one.
    pub fn ingest(text: &[u8], base: &Url, previous: Option<&Self>) -> Result<Self> {
        super::ingest::ingest(text, base, previous)
    }

    /// An index of these entries; a version that comes twice counts once, the later one.
    pub fn from_entries(entries: impl IntoIterator<Item = Arc<Entry>>) -> Self {
        let mut charts: BTreeMap<Arc<str>, Vec<Arc<Entry>>> = BTreeMap::new();
        for entry in entries {
            charts
                .entry(Arc::clone(&entry.name))
                .or_default()
                .push(entry);
        }
        let mut versions = 0;
        let charts = charts.into_iter().filter_map(|(name, mut list)| {
            // Stable: of equal texts the later one comes first and stays.
            list.reverse();
            list.sort_by(|a, b| {
                b.version
                    .compare(&a.version)
                    .then_with(|| a.version.as_str().cmp(b.version.as_str()))
            });
            list.dedup_by(|later, first| later.version.as_str() == first.version.as_str());
            let (chart, _) = ChartEntries::assemble(list);
            chart.map(|chart| (name, chart))
        });
        let charts = Map::from_sorted(charts.inspect(|(_, chart)| versions += chart.entries.len()));
        Self {
            charts,
            versions,
            ..Self::default()
        }
    }

    /// With `entry` in place of what has its name and version text. Costs what its chart costs.
    #[must_use]
    pub fn with_entry(&self, entry: Arc<Entry>) -> Self {
        let name = Arc::clone(&entry.name);
        let old = self
            .charts
            .get(&name)
            .map_or(&[][..], |chart| chart.entries());
        let mut entries = Vec::with_capacity(old.len() + 1);
        entries.extend(
            old.iter()
                .filter(|own| own.version.as_str() != entry.version.as_str())
                .cloned(),
        );
        let at = entries.partition_point(|own| own.listing_order(&entry).is_lt());
        entries.insert(at, entry);
        let versions = self.versions + entries.len() - old.len();
        let chart = ChartEntries {
            entries: entries.into(),
            alternates: Box::default(),
        };
        Self {
            charts: self.charts.with(name, Arc::new(chart)),
            versions,
            ..self.clone()
        }
    }

    /// Without one version.
    #[must_use]
    pub fn without(&self, name: &str, version: &str) -> Self {
        let Some((chart, entry)) = self
            .charts
            .get(name)
            .and_then(|chart| Some((chart, chart.get(version)?)))
        else {
            return self.clone();
        };
        let entries: Box<[_]> = chart
            .entries
            .iter()
            .filter(|own| !Arc::ptr_eq(own, entry))
            .cloned()
            .collect();
        let charts = if entries.is_empty() {
            self.charts.without(name)
        } else {
            let alternates = chart
                .alternates
                .iter()
                .filter(|(own, _)| own.as_ref() != version)
                .cloned()
                .collect();
            let chart = ChartEntries {
                entries,
                alternates,
            };
            self.charts.with(Arc::clone(&entry.name), Arc::new(chart))
        };
        Self {
            charts,
            versions: self.versions - 1,
            ..self.clone()
        }
    }

    /// One chart.
    pub fn get(&self, name: &str) -> Option<&Arc<ChartEntries>> {
        self.charts.get(name)
    }

    /// All charts, sorted by name.
    pub fn charts(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<ChartEntries>)> {
        self.charts.iter()
    }

    /// How many charts there are.
    pub fn chart_count(&self) -> usize {
        self.charts.len()
    }

    /// How many versions there are.
    pub fn versions(&self) -> usize {
        self.versions
    }

    /// How many versions the source's own index has: [`Self::versions`] without those that were carried over.
    pub fn own_versions(&self) -> usize {
        if self.lots.is_empty() {
            return self.versions;
        }
        let charts = self.lots.values().filter_map(|lot| lot.chart.as_ref());
        charts.map(|chart| chart.entries.len()).sum()
    }

    /// How many versions of `previous`' own index are missing here. Compare with its [`Self::own_versions`].
    pub fn lost_since(&self, previous: &Self) -> usize {
        let missing = |name: &str, old: &Arc<ChartEntries>| match self.charts.get(name) {
            Some(new) if Arc::ptr_eq(new, old) => 0,
            Some(new) => old
                .entries
                .iter()
                .filter(|entry| new.get(entry.version.as_str()).is_none())
                .count(),
            None => old.entries.len(),
        };
        if previous.lots.is_empty() {
            return previous
                .charts
                .iter()
                .map(|(name, old)| missing(name, old))
                .sum();
        }
        previous
            .lots
            .iter()
            .filter_map(|(name, lot)| Some(missing(name, lot.chart.as_ref()?)))
            .sum()
    }

    /// With those versions of `previous` that are missing here and that `keep` accepts.
    ///
    /// What was carried over before is offered to `keep` again, and keeps its `Arc` where nothing changed.
    #[must_use]
    pub fn carry_over(&self, previous: &Self, keep: impl Fn(&Entry) -> bool) -> Self {
        let mut changed = Vec::new();
        self.charts.diff(&previous.charts, Arc::ptr_eq, |name| {
            changed.push(Arc::clone(name))
        });
        let mut result = self.clone();
        for name in changed {
            let Some(old) = previous.charts.get(&name) else {
                continue;
            };
            let new = self.charts.get(&name);
            let missing = |entry: &&Arc<Entry>| {
                new.is_none_or(|new| new.get(entry.version.as_str()).is_none()) && keep(entry)
            };
            let carried: Vec<_> = old.entries.iter().filter(missing).cloned().collect();
            if carried.is_empty() {
                continue;
            }
            let own = new.map_or(&[][..], |new| new.entries());
            let mut entries: Vec<_> = own.iter().cloned().chain(carried).collect();
            entries.sort_by(|a, b| a.listing_order(b));
            result.versions += entries.len() - own.len();
            let chart = Arc::new(ChartEntries {
                entries: entries.into(),
                alternates: new.map(|new| new.alternates.clone()).unwrap_or_default(),
            });
            let chart = if chart.is_same(old) {
                Arc::clone(old)
            } else {
                chart
            };
            result.charts = result.charts.with(name, chart);
        }
        result
    }

    /// What was dropped and repaired.
    pub fn report(&self) -> &Arc<SourceReport> {
        &self.report
    }

    /// Whether `other` came from the very same text and URL.
    pub fn same_text(&self, other: &Self) -> bool {
        self.text_hash != 0 && self.text_hash == other.text_hash
    }

    /// What the source's own index has, without versions that were carried over.
    pub(super) fn own(&self) -> Self {
        if self.own_versions() == self.versions {
            return self.clone();
        }
        let lots = self
            .lots
            .iter()
            .map(|(name, lot)| (Arc::clone(name), Arc::clone(lot)));
        Self::from_lots(lots.collect(), self.text_hash, self.generated)
    }

    /// Puts an index together from what was read about each chart.
    pub(super) fn from_lots(
        lots: BTreeMap<Arc<str>, Arc<Lot>>,
        text_hash: u128,
        generated: bool,
    ) -> Self {
        let mut report = SourceReport::default();
        for (name, lot) in &lots {
            lot.tell(name, &mut report);
        }
        let mut versions = 0;
        let charts = lots.iter().filter_map(|(name, lot)| {
            let chart = lot.chart.as_ref()?;
            versions += chart.entries.len();
            Some((Arc::clone(name), Arc::clone(chart)))
        });
        let charts = Map::from_sorted(charts);
        Self {
            charts,
            versions,
            lots: Arc::new(lots.into_iter().collect()),
            report: Arc::new(report),
            text_hash,
            generated,
        }
    }
}

impl Lot {
    fn tell(&self, name: &Arc<str>, report: &mut SourceReport) {
        for (_, outcome) in &self.pieces {
            match outcome {
                Outcome::Kept(entry, Some(repairs)) => {
                    for (reason, detail) in repairs {
                        report
                            .repaired
                            .add(name, entry.version.as_str(), *reason, detail);
                    }
                }
                Outcome::Kept(_, None) => {}
                Outcome::Dropped(rejection) => report.dropped.add(
                    name,
                    &rejection.version,
                    rejection.reason,
                    &rejection.detail,
                ),
            }
        }
        for (version, other_digest) in &self.duplicates {
            let detail = if *other_digest {
                "the same version with another digest comes before it"
            } else {
                "the same version comes before it"
            };
            report.dropped.add(name, version, Reason::Duplicate, detail);
        }
    }
}
