//! The form in which a source's index is kept on disk: loads in a fraction of the time that parsing takes, and holds the pieces'
//! hashes, so that the first refresh after a restart is as cheap as any other.
//!
//! Layout: magic, version, xxh3-128 of the rest, then counted records; numbers are little-endian. A cache: another version of
//! the format is simply not read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use xxhash_rust::xxh3::xxh3_128;

use super::entry::Entry;
use super::fields::Rejection;
use super::map::Map;
use super::report::Reason;
use super::source::{ChartEntries, Duplicate, Lot, Outcome, SourceIndex};
use crate::chart::Version;
use crate::digest::Digest;
use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"chartgix";
const VERSION: u32 = 1;
const HEADER: usize = MAGIC.len() + 4 + 16;

/// A compact binary form with version tag and checksum.
pub fn to_bytes(index: &SourceIndex) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(1 << 16));
    out.0.extend_from_slice(MAGIC);
    out.number32(VERSION);
    out.0.extend_from_slice(&[0; 16]);
    out.0.extend_from_slice(&index.text_hash.to_le_bytes());
    out.0.push(u8::from(index.generated));
    let charts: BTreeMap<_, _> = index
        .charts()
        .map(|(name, chart)| (name, Some(chart)))
        .collect();
    let mut names = charts;
    for name in index.lots.keys() {
        names.entry(name).or_default();
    }
    out.length(names.len());
    for (name, chart) in names {
        out.text(name);
        out.chart(
            chart.map(AsRef::as_ref),
            index.lots.get(name).map(AsRef::as_ref),
        );
    }
    let checksum = xxh3_128(&out.0[HEADER..]).to_le_bytes();
    out.0[HEADER - 16..HEADER].copy_from_slice(&checksum);
    out.0
}

/// Reads what [`to_bytes`] wrote. Any damage, and any other version of the format, is an error.
pub fn from_bytes(bytes: &[u8]) -> Result<SourceIndex> {
    let damaged = || Error::invalid("the kept index is damaged; it will be fetched again");
    let (header, body) = bytes.split_at_checked(HEADER).ok_or_else(damaged)?;
    if !header.starts_with(MAGIC) || header[8..12] != VERSION.to_le_bytes() {
        return Err(Error::invalid(
            "the kept index has another format; it will be fetched again",
        ));
    }
    if header[12..] != xxh3_128(body).to_le_bytes() {
        return Err(damaged());
    }
    read(&mut Reader(body)).ok_or_else(damaged)
}

fn read(input: &mut Reader<'_>) -> Option<SourceIndex> {
    let text_hash = input.number128()?;
    let generated = input.byte()? != 0;
    let (mut charts, mut lots) = (Vec::new(), BTreeMap::new());
    for _ in 0..input.length()? {
        let name: Arc<str> = Arc::from(input.text()?);
        if charts
            .last()
            .is_some_and(|(last, _): &(Arc<str>, _)| *last >= name)
        {
            return None;
        }
        let (chart, lot) = input.chart(&name)?;
        if let Some(lot) = lot {
            lots.insert(Arc::clone(&name), Arc::new(lot));
        }
        if let Some(chart) = chart {
            charts.push((name, chart));
        }
    }
    if !input.0.is_empty() {
        return None;
    }
    let mut index = SourceIndex::from_lots(lots, text_hash, generated);
    index.versions = charts.iter().map(|(_, chart)| chart.entries.len()).sum();
    index.charts = Map::from_sorted(charts);
    Some(index)
}

struct Writer(Vec<u8>);

impl Writer {
    fn number32(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn length(&mut self, length: usize) {
        // Nothing that is kept has four billion of anything: texts are at most 1 MiB, versions a million.
        self.number32(u32::try_from(length).unwrap_or(u32::MAX));
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Entries are written once, in a pool; lists name them by position.
    fn chart(&mut self, chart: Option<&ChartEntries>, lot: Option<&Lot>) {
        let mut pool: Vec<&Arc<Entry>> = Vec::new();
        let mut places: HashMap<*const Entry, usize> = HashMap::new();
        let own = lot.and_then(|lot| lot.chart.as_ref());
        let listed = chart.into_iter().chain(own.map(AsRef::as_ref));
        let listed = listed.flat_map(|chart| chart.entries.iter());
        let read = lot.into_iter().flat_map(|lot| lot.pieces.iter());
        let read = read.filter_map(|(_, outcome)| match outcome {
            Outcome::Kept(entry, _) => Some(entry),
            Outcome::Dropped(_) => None,
        });
        for entry in listed.chain(read) {
            places.entry(Arc::as_ptr(entry)).or_insert_with(|| {
                pool.push(entry);
                pool.len() - 1
            });
        }
        let place =
            |entry: &Arc<Entry>| places.get(&Arc::as_ptr(entry)).copied().unwrap_or_default();
        self.length(pool.len());
        for entry in &pool {
            self.entry(entry);
        }
        self.list(chart, place);
        self.0.push(u8::from(lot.is_some()));
        let Some(lot) = lot else { return };
        let same =
            matches!((chart, own), (Some(chart), Some(own)) if std::ptr::eq(chart, own.as_ref()));
        self.0.push(u8::from(same));
        if !same {
            self.list(own.map(AsRef::as_ref), place);
        }
        self.0.extend_from_slice(&lot.fingerprint.to_le_bytes());
        self.length(lot.pieces.len());
        for (hash, outcome) in &lot.pieces {
            self.0.extend_from_slice(&hash.to_le_bytes());
            match outcome {
                Outcome::Kept(entry, repairs) => {
                    self.0.push(1);
                    self.length(place(entry));
                    let repairs = repairs.as_deref().unwrap_or_default();
                    self.length(repairs.len());
                    for (reason, detail) in repairs {
                        self.0.push(reason.code());
                        self.text(detail);
                    }
                }
                Outcome::Dropped(rejection) => {
                    self.0.push(0);
                    self.text(&rejection.version);
                    self.0.push(rejection.reason.code());
                    self.text(&rejection.detail);
                }
            }
        }
        self.length(lot.duplicates.len());
        for (version, other) in &lot.duplicates {
            self.text(version);
            self.0.push(u8::from(*other));
        }
    }

    fn list(&mut self, chart: Option<&ChartEntries>, place: impl Fn(&Arc<Entry>) -> usize) {
        let entries = chart.map_or(&[][..], |chart| &chart.entries);
        self.length(entries.len());
        for entry in entries {
            self.length(place(entry));
        }
        let alternates = chart.map_or(&[][..], |chart| &chart.alternates);
        self.length(alternates.len());
        for (version, digests) in alternates {
            self.text(version);
            self.length(digests.len());
            for digest in digests {
                self.0.extend_from_slice(digest.as_bytes());
            }
        }
    }

    fn entry(&mut self, entry: &Entry) {
        self.text(entry.version.as_str());
        self.0
            .push(u8::from(entry.digest.is_some()) | u8::from(entry.created.is_some()) << 1);
        if let Some(digest) = entry.digest {
            self.0.extend_from_slice(digest.as_bytes());
        }
        if let Some(created) = entry.created {
            self.0
                .extend_from_slice(&created.as_nanosecond().to_le_bytes());
        }
        self.length(entry.urls.len());
        for url in &entry.urls {
            self.text(url);
        }
        self.text(&entry.fragment);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn number128(&mut self) -> Option<u128> {
        Some(u128::from_le_bytes(self.take(16)?.try_into().ok()?))
    }

    /// A number of things of which each takes at least one byte, or a position.
    fn length(&mut self) -> Option<usize> {
        let number = u32::from_le_bytes(self.take(4)?.try_into().ok()?);
        usize::try_from(number).ok()
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.length()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn reason(&mut self) -> Option<Reason> {
        Reason::from_code(self.byte()?)
    }

    fn digest(&mut self) -> Option<Digest> {
        Some(Digest::from_bytes(self.take(32)?.try_into().ok()?))
    }

    /// `read` as often as a length says. Memory grows with what is there, not with what the length claims.
    fn many<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let length = self.length()?;
        let mut items = Vec::with_capacity(length.min(self.0.len()));
        for _ in 0..length {
            items.push(read(self)?);
        }
        Some(items)
    }

    fn chart(&mut self, name: &Arc<str>) -> Option<(Option<Arc<ChartEntries>>, Option<Lot>)> {
        let pool = self.many(|input| input.entry(name).map(Arc::new))?;
        let chart = self.list(&pool)?;
        if self.byte()? == 0 {
            return Some((chart, None));
        }
        let own = if self.byte()? != 0 {
            chart.clone()
        } else {
            self.list(&pool)?
        };
        let fingerprint = self.number128()?;
        let pieces = self.many(|input| Some((input.number128()?, input.outcome(&pool)?)))?;
        let duplicates: Vec<Duplicate> =
            self.many(|input| Some((input.text()?.into(), input.byte()? != 0)))?;
        let lot = Lot {
            fingerprint,
            pieces: pieces.into(),
            duplicates: duplicates.into(),
            chart: own,
        };
        Some((chart, Some(lot)))
    }

    #[expect(
        clippy::option_option,
        reason = "damaged and empty are different answers here"
    )]
    fn list(&mut self, pool: &[Arc<Entry>]) -> Option<Option<Arc<ChartEntries>>> {
        let entries = self.many(|input| pool.get(input.length()?).cloned())?;
        let alternates = self.many(|input| {
            let version = input.text()?.into();
            Some((version, input.many(Self::digest)?.into()))
        })?;
        Some((!entries.is_empty()).then(|| {
            Arc::new(ChartEntries {
                entries: entries.into(),
                alternates: alternates.into(),
            })
        }))
    }

    fn outcome(&mut self, pool: &[Arc<Entry>]) -> Option<Outcome> {
        if self.byte()? == 1 {
            let entry = pool.get(self.length()?)?;
            let repairs = self.many(|input| Some((input.reason()?, input.text()?.into())))?;
            let repairs = (!repairs.is_empty()).then(|| repairs.into());
            return Some(Outcome::Kept(Arc::clone(entry), repairs));
        }
        Some(Outcome::Dropped(Box::new(Rejection {
            version: self.text()?.into(),
            reason: self.reason()?,
            detail: self.text()?.into(),
        })))
    }

    fn entry(&mut self, name: &Arc<str>) -> Option<Entry> {
        let version = Version::parse(self.text()?).ok()?;
        let flags = self.byte()?;
        let digest = match flags & 1 {
            0 => None,
            _ => Some(self.digest()?),
        };
        let created = match flags & 2 {
            0 => None,
            _ => Some(
                Timestamp::from_nanosecond(i128::from_le_bytes(self.take(16)?.try_into().ok()?))
                    .ok()?,
            ),
        };
        Some(Entry {
            name: Arc::clone(name),
            version,
            digest,
            created,
            urls: self.many(|input| input.text().map(Box::from))?.into(),
            fragment: self.text()?.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::Url;

    use super::super::testing::source;
    use super::*;

    fn sample() -> SourceIndex {
        let text = "entries:\n  a:\n  - name: a\n    version: 1.0.0\n    created: \"2024-01-01T00:00:00.5+02:00\"\n    digest: 61e12e6fd1e0a2a3a6e5a2d3a8d7f5d9e3a1b1c0d0e0f0a0b0c0d0e0f0a0b0c0\n    urls: [a.tgz]\n    appVersion: 1.0\n  - name: a\n    version: 1.0.0\n    urls: [b.tgz]\n    digest: 71e12e6fd1e0a2a3a6e5a2d3a8d7f5d9e3a1b1c0d0e0f0a0b0c0d0e0f0a0b0c0\n  - name: a\n    version: x\n  b:\n  - null\ngenerated: x\n";
        SourceIndex::ingest(
            text.as_bytes(),
            &Url::parse("https://h/r/index.yaml").expect("url"),
            None,
        )
        .expect("index")
    }

    fn describe(index: &SourceIndex) -> String {
        format!(
            "{:?} {:?} {:?} {} {}",
            index.charts,
            index.lots.get("a"),
            index.report,
            index.versions,
            index.text_hash
        )
    }

    #[test]
    fn an_ingested_index_comes_back_with_its_report_and_hashes() {
        let index = sample();
        let back = from_bytes(&to_bytes(&index)).expect("kept");
        assert_eq!(describe(&back), describe(&index));
        assert_eq!(back.report.dropped.total, 3);
        assert_eq!(back.get("a").expect("a").alternates("1.0.0").len(), 1);
        assert!(back.same_text(&index));
    }

    #[test]
    fn carried_and_hosted_versions_come_back() {
        let carried = sample().carry_over(&source(&[("a", "0.1.0"), ("z", "1.0.0")]), |_| true);
        let back = from_bytes(&to_bytes(&carried)).expect("kept");
        assert_eq!(describe(&back), describe(&carried));
        assert_eq!((back.versions(), back.own_versions()), (3, 1));
        let hosted = source(&[("a", "0.1.0"), ("z", "1.0.0"), ("z", "2.0.0")]);
        let back = from_bytes(&to_bytes(&hosted)).expect("kept");
        assert_eq!(describe(&back), describe(&hosted));
    }

    #[test]
    fn damage_anywhere_is_an_error() {
        let bytes = to_bytes(&sample());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(from_bytes(&damaged).is_err(), "{at}");
            assert!(from_bytes(&bytes[..at]).is_err(), "{at}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_with_a_right_checksum_are_read_or_refused(cut in 0_usize..400, at in 0_usize..400, byte: u8, junk: Vec<u8>) {
            // Behind the checksum, which stops accidents, the reader must still not trust what it reads.
            let mut bytes = to_bytes(&sample());
            let body = bytes.len() - HEADER;
            bytes[HEADER + at % body] = byte;
            bytes.truncate(HEADER + cut.min(body));
            bytes.extend(junk);
            let checksum = xxh3_128(&bytes[HEADER..]).to_le_bytes();
            bytes[HEADER - 16..HEADER].copy_from_slice(&checksum);
            let _ = from_bytes(&bytes);
        }
    }
}
