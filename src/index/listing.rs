//! Charts as the ChartMuseum API lists them: JSON, every field, whatever form the index has.
//!
//! Copies the prepared text of charts and versions; nothing is parsed.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};

use super::entry::Entry;
use super::merge::ChartView;
use super::render::{Fields, Format};
use super::snapshot::Snapshot;
use super::text::push_json;
use crate::http::{Body, ByteStream};

impl Snapshot {
    /// A JSON object of chart name -> list of the versions that the index shows, of at most `take` charts after the first
    /// `skip` in order of their names' bytes.
    pub fn list(&self, skip: usize, take: usize) -> Body {
        let charts = self.charts().skip(skip).take(take);
        if self.shows_full_json() {
            // The index holds the same text: nothing is copied.
            let texts = charts.enumerate().map(|(at, chart)| match at {
                0 => chart.segment.slice(1..),
                _ => chart.segment.clone(),
            });
            let pieces: Vec<Bytes> = [Bytes::from_static(b"{")]
                .into_iter()
                .chain(texts)
                .chain([Bytes::from_static(b"}")])
                .collect();
            let length = pieces.iter().map(|piece| piece.len() as u64).sum();
            return Body::Rope(pieces.into(), length);
        }
        let charts: Vec<ChartView> = charts.cloned().collect();
        // Rendered as it is sent: the whole may be larger than anybody wants in memory twice.
        let snapshot = self.clone();
        let texts = stream::iter(charts).enumerate().map(move |(at, chart)| {
            let mut out = String::from(if at == 0 { "{" } else { "," });
            push_json(&mut out, chart.name());
            out.push(':');
            snapshot.push_versions(&mut out, &chart);
            Ok(Bytes::from(out))
        });
        let is_empty = self.chart_count() <= skip || take == 0;
        let end = if is_empty { "{}" } else { "}" };
        let end = stream::iter([Ok(Bytes::from_static(end.as_bytes()))]);
        ByteStream::new(texts.chain(end), None).into()
    }

    /// A JSON list of the versions that the index shows of one chart, newest first.
    pub fn list_chart(&self, chart: &ChartView) -> Bytes {
        if self.shows_full_json() {
            let mut key = String::from(",");
            push_json(&mut key, chart.name());
            return chart.segment.slice(key.len() + 1..);
        }
        let mut out = String::new();
        self.push_versions(&mut out, chart);
        out.into()
    }

    /// One version as a JSON object.
    pub fn list_version(&self, entry: &Entry) -> Bytes {
        let mut out = String::with_capacity(entry.fragment.len() + 128);
        self.push_version(&mut out, entry);
        out.into()
    }

    /// The entity tag of all lists; `None` where the index shows less than they do.
    pub fn list_all_etag(&self) -> Option<String> {
        self.shows_everything().then(|| self.etag().to_owned())
    }

    /// The entity tag of what is listed of `chart`; `None` where the index shows less.
    pub fn list_etag(&self, chart: &ChartView) -> Option<String> {
        let is_whole = self.shows_everything();
        is_whole.then(|| format!("\"{}\"", chart.core.hash.to_hex()))
    }

    fn shows_everything(&self) -> bool {
        self.style().fields == Fields::Full && self.style().keep == 0
    }

    fn shows_full_json(&self) -> bool {
        self.style().format == Format::Json && self.style().fields == Fields::Full
    }

    fn push_versions(&self, out: &mut String, chart: &ChartView) {
        out.push('[');
        for (at, found) in chart.versions().take(chart.shown()).enumerate() {
            if at > 0 {
                out.push(',');
            }
            self.push_version(out, found.entry);
        }
        out.push(']');
    }

    fn push_version(&self, out: &mut String, entry: &Entry) {
        out.push('{');
        out.push_str(&entry.fragment);
        out.push_str(",\"urls\":[");
        self.style().push_url(out, entry);
        out.push_str("]}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use serde_json::Value;

    use super::super::testing::entry_with;
    use super::super::{Member, SourceIndex, Style};
    use super::*;

    fn snapshot(style: &Style) -> Snapshot {
        let entries = [
            ("app", "2.0.0"),
            ("app", "1.0.0+x"),
            ("b\"ä", "1.0.0"),
            ("web", "1.0.0"),
        ];
        let entries = entries.map(|(name, version)| {
            let fragment =
                serde_json::json!({"description": "d", "name": name, "version": version});
            let fragment = fragment.to_string();
            Arc::new(entry_with(name, version, &fragment[1..fragment.len() - 1]))
        });
        let member = Member {
            label: "hosted".into(),
            index: Arc::new(SourceIndex::from_entries(entries)),
            reserves_names: true,
        };
        Snapshot::merge(&[member], style, None, Timestamp::UNIX_EPOCH)
    }

    async fn text(body: Body) -> Value {
        let mut bytes = Vec::new();
        match body {
            Body::Stream(mut stream) => {
                while let Some(chunk) = stream.next().await {
                    bytes.extend_from_slice(&chunk.expect("a chunk"));
                }
            }
            other => {
                let announced = other.length();
                bytes = other.into_pieces().concat();
                assert_eq!(announced, Some(bytes.len() as u64));
            }
        }
        serde_json::from_slice(&bytes).expect("JSON")
    }

    #[tokio::test]
    async fn every_style_lists_the_same_as_the_json_index() {
        let index = text(snapshot(&Style::default()).body()).await;
        for format in [Format::Json, Format::Yaml] {
            for fields in [Fields::Full, Fields::Slim] {
                let style = Style {
                    format,
                    fields,
                    ..Style::default()
                };
                for snapshot in [snapshot(&style), snapshot(&style).compact()] {
                    assert_eq!(text(snapshot.list(0, usize::MAX)).await, index["entries"]);
                    for (name, versions) in index["entries"].as_object().expect("charts") {
                        let chart = snapshot.chart(name).expect("a chart");
                        let list = snapshot.list_chart(chart);
                        let list: Value = serde_json::from_slice(&list).expect("JSON");
                        assert_eq!(&list, versions);
                        let one =
                            snapshot.list_version(chart.versions().next().expect("one").entry);
                        let one: Value = serde_json::from_slice(&one).expect("JSON");
                        assert_eq!(one, versions[0]);
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn pages_are_cut_from_the_names_in_order() {
        for format in [Format::Json, Format::Yaml] {
            let snapshot = snapshot(&Style {
                format,
                ..Style::default()
            });
            for (skip, take, expected) in [
                (0, 1, &["app"][..]),
                (1, 1, &["b\"ä"]),
                (1, usize::MAX, &["b\"ä", "web"]),
                (3, 1, &[]),
                (usize::MAX, usize::MAX, &[]),
            ] {
                let page = text(snapshot.list(skip, take)).await;
                let names: Vec<&str> = page
                    .as_object()
                    .expect("a map")
                    .keys()
                    .map(|k| &**k)
                    .collect();
                assert_eq!(names, expected, "{skip} {take}");
            }
        }
    }
}
