//! What a tenant publishes: the merged index as text that is ready to send, and look-ups into it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;

use super::map::Map;
use super::merge::{ChartView, Conflict, Found, Member};
use super::render::Style;
use crate::digest::Hasher;
use crate::http::Body;

/// Conflicts that are listed; the count counts all.
const MAX_CONFLICTS: usize = 1000;
/// Above this many changed charts building the map anew is cheaper than editing it.
const MAX_EDITS: usize = 256;

/// A tenant's published merged index. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshot {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    members: Box<[Member]>,
    style: Style,
    charts: Map<ChartView>,
    text: Text,
    etag: Box<str>,
    modified: Timestamp,
    generated: Timestamp,
    versions: usize,
    conflicts: usize,
}

#[derive(Clone, Debug)]
enum Text {
    Pieces(Arc<[Bytes]>, u64),
    Whole(Bytes),
}

impl Snapshot {
    /// Merges members in order of precedence: the first that has a version decides about it, and names that a member reserves
    /// never come from later ones.
    ///
    /// Charts whose members did not change are taken from `previous` with their text; if nothing at all changed, the result
    /// equals it. Equal members give equal bytes and the same entity tag in every process; `now` is only the new
    /// [`Self::modified`].
    pub fn merge(
        members: &[Member],
        style: &Style,
        previous: Option<&Self>,
        now: Timestamp,
    ) -> Self {
        let previous = previous.filter(|previous| previous.has_shape(members, style));
        let charts = match previous {
            Some(previous) => previous.edited(members),
            None => merged(members, style, None),
        };
        Self::publish(members, style, charts, previous, now)
    }

    /// The text, with as many pieces as there are charts until it is compacted.
    pub fn body(&self) -> Body {
        match &self.inner.text {
            Text::Pieces(pieces, length) => Body::Rope(Arc::clone(pieces), *length),
            Text::Whole(bytes) => Body::Bytes(bytes.clone()),
        }
    }

    /// The number of bytes of the text.
    pub fn length(&self) -> u64 {
        match &self.inner.text {
            Text::Pieces(_, length) => *length,
            Text::Whole(bytes) => bytes.len() as u64,
        }
    }

    /// The text in one piece, once compacted.
    pub fn contiguous(&self) -> Option<Bytes> {
        match &self.inner.text {
            Text::Pieces(..) => None,
            Text::Whole(bytes) => Some(bytes.clone()),
        }
    }

    /// The same snapshot with its text in one piece, of which the charts' texts are parts: memory is not doubled.
    ///
    /// Copies the whole text: for a background task, before compressed forms are made.
    #[must_use]
    pub fn compact(&self) -> Self {
        let Text::Pieces(pieces, length) = &self.inner.text else {
            return self.clone();
        };
        let mut whole = BytesMut::with_capacity(usize::try_from(*length).unwrap_or(0));
        for piece in pieces.iter() {
            whole.extend_from_slice(piece);
        }
        let whole = whole.freeze();
        let mut at = pieces.first().map_or(0, Bytes::len);
        let charts = self
            .inner
            .charts
            .iter()
            .enumerate()
            .map(|(position, (name, view))| {
                let length = view.text(position == 0, self.inner.style.format).len();
                // The first JSON chart stands there without its comma: it keeps a text of its own.
                let segment = if length == view.segment.len() {
                    whole.slice(at..at + length)
                } else {
                    Bytes::copy_from_slice(&view.segment)
                };
                at += length;
                let core = Arc::clone(&view.core);
                (Arc::clone(name), ChartView { core, segment })
            });
        let charts = Map::from_sorted(charts);
        Self {
            inner: Arc::new(Inner {
                members: self.inner.members.clone(),
                charts,
                text: Text::Whole(whole),
                etag: self.inner.etag.clone(),
                style: self.inner.style.clone(),
                ..*self.inner
            }),
        }
    }

    /// The charts whose names `shows` lets through, as an index of their own: everything said of a snapshot holds for it, and
    /// nothing in it depends on the others. Their texts are shared with this one.
    ///
    /// `before` is the tag and the date of what was shown last; the date is `now` where it is another one.
    #[must_use]
    pub fn part(
        &self,
        shows: impl Fn(&str) -> bool,
        before: Option<(&str, Timestamp)>,
        now: Timestamp,
    ) -> Self {
        let (members, style) = (&self.inner.members, &self.inner.style);
        let charts = self.inner.charts.iter();
        let shown = charts.filter(|(name, _)| shows(name));
        let shown = Map::from_sorted(shown.map(|(name, view)| (name.clone(), view.clone())));
        let mut part = Self::publish(members, style, shown, None, now);
        if let Some((_, modified)) = before.filter(|(etag, _)| part.etag() == *etag)
            && let Some(inner) = Arc::get_mut(&mut part.inner)
        {
            inner.modified = modified;
        }
        part
    }

    /// The strong entity tag, with quotes: a hash over the charts' hashes, equal where the text is equal.
    pub fn etag(&self) -> &str {
        &self.inner.etag
    }

    /// When the text last changed.
    pub fn modified(&self) -> Timestamp {
        self.inner.modified
    }

    /// The newest `created` of all entries shown; 1970 where there is none. Never the time of the merge, so that equal content
    /// gives equal bytes.
    pub fn generated(&self) -> Timestamp {
        self.inner.generated
    }

    /// How many versions the index shows.
    pub fn versions(&self) -> usize {
        self.inner.versions
    }

    /// How many charts there are.
    pub fn chart_count(&self) -> usize {
        self.inner.charts.len()
    }

    /// The `Content-Type` of the text; JSON is YAML too.
    pub fn content_type(&self) -> &'static str {
        "application/x-yaml"
    }

    /// Finds the version whose archive is called `file` (`<chart>-<version>.tgz`), also one that `keep` hides.
    ///
    /// Both parts may hold dashes, so every split is looked up; of several charts that fit, the longest name counts.
    pub fn find(&self, file: &str) -> Option<Found<'_>> {
        let stem = file.strip_suffix(".tgz")?;
        memchr::memrchr_iter(b'-', stem.as_bytes()).find_map(|at| {
            let (name, version) = (&stem[..at], &stem[at + 1..]);
            self.inner.charts.get(name)?.get(version)
        })
    }

    /// One chart.
    pub fn chart(&self, name: &str) -> Option<&ChartView> {
        self.inner.charts.get(name)
    }

    /// All charts, sorted by name.
    pub fn charts(&self) -> impl Iterator<Item = &ChartView> {
        self.inner.charts.iter().map(|(_, view)| view)
    }

    /// How the index looks.
    pub(super) fn style(&self) -> &Style {
        &self.inner.style
    }

    /// The members it was merged from.
    pub fn members(&self) -> &[Member] {
        &self.inner.members
    }

    /// The first 1000 conflicts, in order of name.
    pub fn conflicts(&self) -> Vec<Conflict> {
        let all = self.charts().flat_map(|view| view.core.conflicts.iter());
        all.take(MAX_CONFLICTS).cloned().collect()
    }

    /// How many conflicts there are.
    pub fn conflict_count(&self) -> usize {
        self.inner.conflicts
    }

    fn has_shape(&self, members: &[Member], style: &Style) -> bool {
        let own = &self.inner.members;
        self.inner.style == *style
            && own.len() == members.len()
            && own
                .iter()
                .zip(members)
                .all(|(a, b)| a.label == b.label && a.reserves_names == b.reserves_names)
    }

    /// The charts as `members` have them now.
    fn edited(&self, members: &[Member]) -> Map<ChartView> {
        let mut changed = BTreeSet::new();
        for (old, new) in self.inner.members.iter().zip(members) {
            if !Arc::ptr_eq(&old.index, &new.index) {
                old.index
                    .charts
                    .diff(&new.index.charts, Arc::ptr_eq, |name| {
                        changed.insert(Arc::clone(name));
                    });
            }
        }
        if changed.len() > MAX_EDITS {
            return merged(members, &self.inner.style, Some(&self.inner.charts));
        }
        changed
            .into_iter()
            .fold(self.inner.charts.clone(), |charts, name| {
                let old = charts.get(&name);
                match ChartView::build(&name, members, &self.inner.style, old) {
                    Some(view) => charts.with(name, view),
                    None => charts.without(&name),
                }
            })
    }

    fn publish(
        members: &[Member],
        style: &Style,
        charts: Map<ChartView>,
        previous: Option<&Self>,
        now: Timestamp,
    ) -> Self {
        let (mut versions, mut conflicts) = (0, 0);
        let mut newest = None;
        let mut hasher = Hasher::default();
        for (_, view) in charts.iter() {
            versions += view.core.shown;
            conflicts += view.core.conflicts.len();
            newest = newest.max(view.core.newest);
            hasher.update(view.core.hash.as_bytes());
        }
        let generated = newest.unwrap_or(Timestamp::UNIX_EPOCH);
        let prefix = style.prefix(charts.len() == 0);
        let suffix = style.suffix(generated);
        hasher.update(prefix.as_bytes());
        hasher.update(suffix.as_bytes());
        let etag: Box<str> = format!("\"{}\"", hasher.finish().to_hex()).into();
        let unchanged = previous.filter(|previous| previous.inner.etag == etag);
        let text = unchanged.map_or_else(
            || pieces(style, &charts, prefix, suffix),
            |previous| previous.inner.text.clone(),
        );
        Self {
            inner: Arc::new(Inner {
                members: members.into(),
                style: style.clone(),
                charts,
                text,
                etag,
                modified: unchanged.map_or(now, Self::modified),
                generated,
                versions,
                conflicts,
            }),
        }
    }
}

fn pieces(style: &Style, charts: &Map<ChartView>, prefix: &'static str, suffix: String) -> Text {
    let texts = charts
        .iter()
        .enumerate()
        .map(|(position, (_, view))| view.text(position == 0, style.format));
    let pieces: Arc<[Bytes]> = std::iter::once(Bytes::from_static(prefix.as_bytes()))
        .chain(texts)
        .chain([Bytes::from(suffix)])
        .collect();
    let length = pieces.iter().map(|piece| piece.len() as u64).sum();
    Text::Pieces(pieces, length)
}

/// All members' charts, from scratch; `previous` gives those that did not change.
fn merged(members: &[Member], style: &Style, previous: Option<&Map<ChartView>>) -> Map<ChartView> {
    let names: BTreeSet<&Arc<str>> = members
        .iter()
        .flat_map(|member| member.index.charts().map(|(name, _)| name))
        .collect();
    Map::from_sorted(names.into_iter().filter_map(|name| {
        let old = previous.and_then(|previous| previous.get(name));
        let view = ChartView::build(name, members, style, old)?;
        Some((Arc::clone(name), view))
    }))
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
