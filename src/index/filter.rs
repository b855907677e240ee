//! A member's view of a source: include, exclude, version range.

use std::sync::Arc;

use globset::GlobSet;

use super::map::Map;
use super::source::{ChartEntries, SourceIndex};
use crate::chart::Constraint;
use crate::error::Result;
use crate::names::globs;

/// Which charts and versions a member lets through.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    include: Option<GlobSet>,
    exclude: Option<GlobSet>,
    versions: Option<Constraint>,
}

impl Selection {
    /// Globs on chart names (no include: all; exclude wins), and a Helm version constraint.
    pub fn new(include: &[String], exclude: &[String], versions: Option<&str>) -> Result<Self> {
        Ok(Self {
            include: globs(include)?,
            exclude: globs(exclude)?,
            versions: versions.map(Constraint::parse).transpose()?,
        })
    }

    /// Whether it lets everything through.
    pub fn is_identity(&self) -> bool {
        self.include.is_none() && self.exclude.is_none() && self.versions.is_none()
    }

    /// The selected part. Unchanged charts keep the `Arc` that they have in `previous`, its last input and output.
    ///
    /// The result is for merging: it has the report of its source, and cannot be the `previous` of an ingest.
    pub fn apply(
        &self,
        index: &SourceIndex,
        previous: Option<(&SourceIndex, &SourceIndex)>,
    ) -> SourceIndex {
        if self.is_identity() {
            return index.clone();
        }
        let mut versions = 0;
        let charts = index
            .charts
            .iter()
            .filter(|(name, _)| self.lets_name(name))
            .filter_map(|(name, chart)| {
                let chart = self.chart(name, chart, previous)?;
                versions += chart.entries.len();
                Some((Arc::clone(name), chart))
            });
        let charts = Map::from_sorted(charts);
        SourceIndex {
            charts,
            versions,
            report: Arc::clone(&index.report),
            ..SourceIndex::default()
        }
    }

    fn lets_name(&self, name: &str) -> bool {
        self.include.as_ref().is_none_or(|set| set.is_match(name))
            && !self.exclude.as_ref().is_some_and(|set| set.is_match(name))
    }

    fn chart(
        &self,
        name: &str,
        chart: &Arc<ChartEntries>,
        previous: Option<(&SourceIndex, &SourceIndex)>,
    ) -> Option<Arc<ChartEntries>> {
        let Some(constraint) = &self.versions else {
            return Some(Arc::clone(chart));
        };
        if let Some((input, output)) = previous
            && input.get(name).is_some_and(|old| Arc::ptr_eq(old, chart))
        {
            return output.get(name).map(Arc::clone);
        }
        let entries: Box<[_]> = chart
            .entries
            .iter()
            .filter(|entry| constraint.matches(&entry.version))
            .cloned()
            .collect();
        if entries.len() == chart.entries.len() {
            return Some(Arc::clone(chart));
        }
        (!entries.is_empty()).then(|| {
            Arc::new(ChartEntries {
                entries,
                alternates: chart.alternates.clone(),
            })
        })
    }
}

fn globs(patterns: &[String]) -> Result<Option<GlobSet>> {
    (!patterns.is_empty())
        .then(|| globs::set(patterns))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::super::testing::source;
    use super::*;

    fn selection(include: &[&str], exclude: &[&str], versions: Option<&str>) -> Selection {
        let owned = |list: &[&str]| {
            list.iter()
                .map(|&text| text.into())
                .collect::<Vec<String>>()
        };
        Selection::new(&owned(include), &owned(exclude), versions).expect("selection")
    }

    fn names(index: &SourceIndex) -> Vec<String> {
        index
            .charts()
            .flat_map(|(_, chart)| chart.entries().iter().map(|entry| entry.file_name()))
            .collect()
    }

    #[test]
    fn names_and_versions_are_selected() {
        let index = source(&[
            ("app", "1.0.0"),
            ("app", "2.0.0"),
            ("team-a", "1.0.0"),
            ("team-a-dev", "1.0.0"),
            ("x", "1.0.0"),
        ]);
        let chosen = selection(&["app", "team-*"], &["*-dev"], Some(">=1 <2")).apply(&index, None);
        assert_eq!(names(&chosen), ["app-1.0.0.tgz", "team-a-1.0.0.tgz"]);
        assert_eq!((chosen.versions(), chosen.chart_count()), (2, 2));
        assert!(selection(&[], &[], None).is_identity());
        assert_eq!(
            selection(&[], &["*"], None).apply(&index, None).versions(),
            0
        );
    }

    #[test]
    fn unchanged_charts_keep_their_place() {
        let rule = selection(&[], &[], Some("<2"));
        let first = source(&[
            ("app", "1.0.0"),
            ("app", "2.0.0"),
            ("b", "2.0.0"),
            ("c", "1.0.0"),
            ("c", "3.0.0"),
        ]);
        let chosen = rule.apply(&first, None);
        let second = first.without("app", "2.0.0");
        let again = rule.apply(&second, Some((&first, &chosen)));
        let kept = |name| Arc::ptr_eq(chosen.get(name).expect(name), again.get(name).expect(name));
        assert!(kept("c"));
        assert!(!kept("app"));
        assert!(again.get("b").is_none());
    }

    #[test]
    fn mistakes_are_told() {
        assert!(Selection::new(&["[".into()], &[], None).is_err());
        assert!(Selection::new(&[], &[], Some(">>1")).is_err());
    }
}
