//! What a fake upstream holds and how it would answer if nothing went wrong.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use chartgate::digest::Digest;

use super::fault::{Fault, Hold, Target};
use super::package::{FakeChart, gzip};

/// A request as it came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recorded {
    /// The method.
    pub(crate) method: String,
    /// The path, exactly as sent, without query.
    pub(crate) path: String,
    /// The query, exactly as sent.
    pub(crate) query: Option<String>,
    /// Header fields in order, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
}

impl Recorded {
    /// The value of a header field, named in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// The state behind one fake.
#[derive(Debug)]
pub(super) struct Site {
    charts: BTreeMap<String, Vec<FakeChart>>,
    pub(super) index: Option<Bytes>,
    pub(super) files: BTreeMap<String, Bytes>,
    pub(super) faults: Vec<(Target, Fault, usize)>,
    pub(super) holds: Vec<(Target, Hold)>,
    pub(super) log: Vec<Recorded>,
    pub(super) authorization: Option<String>,
    pub(super) gzip: bool,
    pub(super) validators: bool,
    pub(super) ranges: bool,
    pub(super) chunked: bool,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            charts: BTreeMap::new(),
            index: None,
            files: BTreeMap::new(),
            faults: Vec::new(),
            holds: Vec::new(),
            log: Vec::new(),
            authorization: None,
            gzip: false,
            validators: true,
            ranges: true,
            chunked: false,
        }
    }
}

impl Site {
    pub(super) fn add(&mut self, chart: FakeChart) {
        let versions = self.charts.entry(chart.name.clone()).or_default();
        versions.retain(|other| other.version != chart.version);
        versions.insert(0, chart);
    }

    pub(super) fn remove(&mut self, name: &str, version: &str) {
        if let Some(versions) = self.charts.get_mut(name) {
            versions.retain(|chart| chart.version != version);
        }
        self.charts.retain(|_, versions| !versions.is_empty());
    }

    pub(super) fn archive(&self, name: &str, version: &str) -> Bytes {
        self.charts[name]
            .iter()
            .find(|chart| chart.version == version)
            .expect("a chart that was added")
            .archive
            .clone()
    }

    pub(super) fn index_text(&self) -> Bytes {
        if let Some(text) = &self.index {
            return text.clone();
        }
        let mut text = "apiVersion: v1\nentries:\n".to_owned();
        for (name, versions) in &self.charts {
            let _ = writeln!(text, "  {name}:");
            for chart in versions {
                text.push_str(&chart.entry());
            }
        }
        if self.charts.is_empty() {
            text = "apiVersion: v1\nentries: {}\n".to_owned();
        }
        text.push_str("generated: \"2026-01-02T03:04:05Z\"\n");
        text.into()
    }

    /// The fault for a request, using it up.
    pub(super) fn next_fault(&mut self, path: &str) -> Option<Fault> {
        let position = self
            .faults
            .iter()
            .rposition(|(target, _, left)| *left > 0 && target.covers(path))?;
        let (_, fault, left) = &mut self.faults[position];
        if *left != usize::MAX {
            *left -= 1;
        }
        Some(fault.clone())
    }

    /// The holds that a request must pass.
    pub(super) fn holds_for(&self, path: &str) -> Vec<Hold> {
        self.holds
            .iter()
            .filter(|(target, _)| target.covers(path))
            .map(|(_, hold)| hold.clone())
            .collect()
    }

    /// The answer to a request when all is well.
    pub(super) fn answer(&self, request: &Recorded) -> Answer {
        if let Some(expected) = &self.authorization
            && request.header("authorization") != Some(expected)
        {
            return Answer::new(401, "credentials, please\n")
                .with("WWW-Authenticate", "Basic realm=\"fake\"");
        }
        let Some(body) = self.resource(&request.path) else {
            return Answer::new(404, "not here\n");
        };
        let etag = format!("\"{}\"", &Digest::of(&body).to_hex()[..16]);
        if self.validators && request.header("if-none-match") == Some(&etag) {
            return Answer::new(304, Bytes::new()).with("ETag", etag);
        }
        let mut answer = Answer::new(200, body);
        if self.validators {
            answer = answer
                .with("ETag", &etag)
                .with("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT");
        }
        let accepts_gzip = request
            .header("accept-encoding")
            .is_some_and(|value| value.contains("gzip"));
        if self.gzip && accepts_gzip && Target::Index.covers(&request.path) {
            answer.body = gzip(&answer.body);
            return answer.with("Content-Encoding", "gzip");
        }
        let same = request.header("if-range").is_none_or(|tag| tag == etag);
        if self.ranges && same {
            return ranged(answer, request.header("range"));
        }
        answer
    }

    fn resource(&self, path: &str) -> Option<Bytes> {
        if let Some(bytes) = self.files.get(path) {
            return Some(bytes.clone());
        }
        if path == "/index.yaml" {
            return Some(self.index_text());
        }
        for chart in self.charts.values().flatten() {
            if chart.path == path {
                return Some(chart.archive.clone());
            }
            if path.strip_suffix(".prov") == Some(chart.path.as_str()) {
                return chart.provenance.clone();
            }
        }
        None
    }
}

/// `bytes=<first>-` only: all that a resuming client sends.
fn ranged(answer: Answer, range: Option<&str>) -> Answer {
    let first = range
        .and_then(|range| range.strip_prefix("bytes="))
        .and_then(|range| range.strip_suffix('-'))
        .and_then(|first| first.parse::<usize>().ok());
    let Some(first) = first else { return answer };
    let length = answer.body.len();
    if first >= length {
        return Answer::new(416, Bytes::new()).with("Content-Range", format!("bytes */{length}"));
    }
    let body = answer.body.slice(first..);
    Answer {
        status: 206,
        body,
        ..answer
    }
    .with(
        "Content-Range",
        format!("bytes {first}-{}/{length}", length - 1),
    )
}
