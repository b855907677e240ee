use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::chart::Metadata;
use crate::digest::Digest;
use crate::error::ErrorKind;
use crate::http::{HeaderMap, Method};
use crate::index::{Entry, Member, Snapshot, SourceIndex, Style};

fn snapshot(charts: &[(&str, &str)]) -> Snapshot {
    let entries = charts.iter().map(|(name, version)| {
        let text = format!("apiVersion: v2\nname: {name}\nversion: {version:?}\n");
        let metadata = Metadata::from_yaml(text.as_bytes()).expect("a chart");
        let digest = Digest::of(text.as_bytes());
        Arc::new(Entry::from_metadata(&metadata, digest, Timestamp::UNIX_EPOCH).expect("listed"))
    });
    let member = Member {
        label: "hosted".into(),
        index: Arc::new(SourceIndex::from_entries(entries)),
        reserves_names: true,
    };
    Snapshot::merge(&[member], &Style::default(), None, Timestamp::UNIX_EPOCH)
}

fn found(snapshot: &Snapshot, name: &str, wanted: &str) -> Result<String> {
    let (_, found) = resolve(snapshot.chart(name), name, wanted)?;
    Ok(found.entry.version.as_str().to_owned())
}

#[test]
fn exact_texts_come_before_constraints() {
    let snapshot = snapshot(&[
        ("app", "2.0.0-rc.1"),
        ("app", "1.10.0"),
        ("app", "v1.2.3"),
        ("app", "1.2.0+build.7"),
        ("app", "0.9"),
        ("app", "0.1.0"),
        ("pre", "0.0.1-alpha"),
    ]);
    for (wanted, expected) in [
        ("latest", "1.10.0"),
        ("*", "1.10.0"),
        ("2.0.0-rc.1", "2.0.0-rc.1"),
        (">=2.0.0-0", "2.0.0-rc.1"),
        ("1.2.3", "v1.2.3"),
        ("v1.2.3", "v1.2.3"),
        ("1.2.0", "1.2.0+build.7"),
        ("1.2.0+build.7", "1.2.0+build.7"),
        ("^1", "1.10.0"),
        ("~1.2", "v1.2.3"),
        ("0.9", "0.9"),
        ("<0.9", "0.1.0"),
        ("0.1 || 0.9", "0.9"),
    ] {
        assert_eq!(
            found(&snapshot, "app", wanted).expect(wanted),
            expected,
            "{wanted}"
        );
    }
    for (name, wanted, text) in [
        ("none", "1.0.0", "no chart name found"),
        ("none", "not a version", "no chart name found"),
        ("app", "3", "no chart version found for app-3"),
        ("app", "junk", "improper constraint: junk"),
        ("pre", "latest", "no chart version found for pre-"),
    ] {
        let error = found(&snapshot, name, wanted).expect_err(wanted);
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.message(), text);
    }
}

fn request(query: &str) -> Request {
    Request {
        method: Method::GET,
        path: "/api/charts".into(),
        query: Some(query.into()),
        headers: HeaderMap::new(),
        host: None,
        secure: false,
        peer: None,
        certificate_subject: None,
        id: String::new(),
        account: std::sync::OnceLock::new(),
    }
}

#[test]
fn pages_are_numbers_or_refused() {
    for (query, expected) in [
        ("", Some(7)),
        ("limit=3", Some(3)),
        ("limit=%2B3", Some(3)),
        ("limit=0", Some(0)),
        ("limit=99999999999999999999999", Some(usize::MAX)),
        ("limit=", None),
        ("limit", None),
        ("limit=-1", None),
        ("limit=1x", None),
        ("limit=1.0", None),
        ("limit=+3", None),
        ("offset=2", Some(7)),
    ] {
        assert_eq!(number(&request(query), "limit", 7), expected, "{query}");
    }
}
