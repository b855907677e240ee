//! Tests of merging and publishing: precedence, reserved names, stable bytes, and that editing equals merging anew.

use proptest::prelude::*;
use serde_json::Value;

use super::super::render::{Fields, Format};
use super::super::testing::{entry, source};
use super::super::{Entry, SourceIndex};
use super::*;
use crate::digest::Digest;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn member(label: &str, index: SourceIndex, reserves_names: bool) -> Member {
    Member {
        label: label.into(),
        index: Arc::new(index),
        reserves_names,
    }
}

fn merge(members: &[Member]) -> Snapshot {
    Snapshot::merge(members, &Style::default(), None, NOW)
}

fn text(snapshot: &Snapshot) -> String {
    let bytes = match snapshot.body() {
        Body::Bytes(bytes) => bytes.to_vec(),
        Body::Rope(pieces, _) => pieces.concat(),
        other => panic!("{other:?}"),
    };
    assert_eq!(bytes.len() as u64, snapshot.length());
    String::from_utf8(bytes).expect("text")
}

fn json(snapshot: &Snapshot) -> Value {
    serde_json::from_str(&text(snapshot)).expect("json")
}

fn files(snapshot: &Snapshot) -> Vec<(String, usize)> {
    let all = snapshot.charts().flat_map(ChartView::versions);
    all.map(|found| (found.entry.file_name(), found.member))
        .collect()
}

/// A version with another digest than [`entry`] gives.
fn other(name: &str, version: &str) -> Arc<Entry> {
    Arc::new(Entry {
        digest: Some(Digest::of(b"other")),
        ..entry(name, version)
    })
}

#[test]
fn the_first_member_decides_about_a_version_and_conflicts_are_told() {
    let members = [
        member(
            "one",
            source(&[("a", "1.0.0"), ("a", "3.0.0"), ("b", "1.0.0")]),
            false,
        ),
        member(
            "two",
            source(&[("a", "2.0.0"), ("b", "1.0.0")]).with_entry(other("a", "1.0.0")),
            false,
        ),
        member(
            "three",
            SourceIndex::default().with_entry(other("a", "1.0.0")),
            false,
        ),
    ];
    let merged = merge(&members);
    let expected = [
        ("a-3.0.0.tgz", 0),
        ("a-2.0.0.tgz", 1),
        ("a-1.0.0.tgz", 0),
        ("b-1.0.0.tgz", 0),
    ];
    assert_eq!(
        files(&merged),
        expected.map(|(file, member)| (file.to_owned(), member))
    );
    let conflict = Conflict {
        chart: "a".into(),
        version: "1.0.0".into(),
        winner: "one".into(),
        losers: vec!["two".into(), "three".into()],
    };
    assert_eq!(
        (merged.conflicts(), merged.conflict_count()),
        (vec![conflict], 1)
    );
    assert_eq!((merged.versions(), merged.chart_count()), (4, 2));
}

#[test]
fn hosted_names_never_come_from_upstreams() {
    let upstream = || source(&[("a", "9.0.0"), ("b", "1.0.0")]);
    let hosted = || source(&[("a", "1.0.0")]);
    let reserved = merge(&[
        member("hosted", hosted(), true),
        member("up", upstream(), false),
    ]);
    assert!(reserved.find("a-9.0.0.tgz").is_none());
    assert_eq!(
        reserved.find("b-1.0.0.tgz").map(|found| found.member),
        Some(1)
    );
    let shared = merge(&[
        member("hosted", hosted(), false),
        member("up", upstream(), false),
    ]);
    assert!(shared.find("a-9.0.0.tgz").is_some());
}

#[test]
fn the_document_has_the_members_that_clients_know() {
    let merged = merge(&[member(
        "one",
        source(&[("a", "1.0.0"), ("b", "1.0.0+x")]),
        false,
    )]);
    let document = json(&merged);
    let keys: Vec<_> = document
        .as_object()
        .expect("object")
        .keys()
        .cloned()
        .collect();
    assert_eq!(keys, ["apiVersion", "entries", "generated"]);
    assert_eq!(document["generated"], "2024-01-02T03:04:05Z");
    let entry = &document["entries"]["b"][0];
    assert_eq!(entry["urls"], serde_json::json!(["charts/b-1.0.0+x.tgz"]));
    assert_eq!(entry["apiVersion"], "v1");
    assert_eq!(entry["digest"], Digest::of(b"b-1.0.0+x").to_hex());
    assert!(merged.etag().starts_with('"') && merged.etag().ends_with('"'));
}

#[test]
fn an_empty_index_is_a_document_too() {
    for format in [Format::Json, Format::Yaml] {
        let style = Style {
            format,
            ..Style::default()
        };
        let empty = Snapshot::merge(&[], &style, None, NOW);
        let document: Value = serde_yaml::from_str(&text(&empty)).expect("yaml");
        assert_eq!(
            document,
            serde_json::json!({"apiVersion": "v1", "entries": {}, "generated": "1970-01-01T00:00:00Z"})
        );
    }
}

#[test]
fn nothing_new_means_the_same_tag_and_time() {
    let members = [member("one", source(&[("a", "1.0.0")]), false)];
    let first = merge(&members);
    let later: Timestamp = "2026-01-01T00:00:00Z".parse().expect("time");
    let refreshed = [member("one", source(&[("a", "1.0.0")]), false)];
    let second = Snapshot::merge(&refreshed, &Style::default(), Some(&first), later);
    assert_eq!((second.etag(), second.modified()), (first.etag(), NOW));
    assert_eq!(merge(&refreshed).etag(), first.etag());
    let changed = [member(
        "one",
        source(&[("a", "1.0.0"), ("a", "1.0.1")]),
        false,
    )];
    let third = Snapshot::merge(&changed, &Style::default(), Some(&second), later);
    assert_ne!(third.etag(), first.etag());
    assert_eq!(third.modified(), later);
}

#[test]
fn files_are_found_whatever_their_dashes() {
    let merged = merge(&[member(
        "one",
        source(&[
            ("a", "1.0.0"),
            ("a-1", "2.0.0-rc-1"),
            ("a-b", "v1.0.0+x-y"),
            ("a", "1-2.0"),
            ("a-1", "2.0"),
        ]),
        false,
    )]);
    for (file, name) in [
        ("a-1.0.0.tgz", Some("a")),
        ("a-1-2.0.0-rc-1.tgz", Some("a-1")),
        ("a-b-v1.0.0+x-y.tgz", Some("a-b")),
        // Both `a` 1-2.0 and `a-1` 2.0 have this file name: the longer chart name counts.
        ("a-1-2.0.tgz", Some("a-1")),
        ("a-1.0.tgz", None),
        ("a-1.0.0", None),
        ("a-1.0.0.tgz.prov", None),
        ("-.tgz", None),
        ("", None),
    ] {
        let found = merged.find(file);
        assert_eq!(found.map(|found| found.entry.name.as_ref()), name, "{file}");
        assert!(found.is_none_or(|found| found.entry.file_name() == file));
    }
}

#[test]
fn kept_back_versions_are_found_but_not_shown() {
    let members = [member(
        "one",
        source(&[("a", "1.0.0"), ("a", "2.0.0"), ("a", "3.0.0")]),
        false,
    )];
    let style = Style {
        keep: 2,
        fields: Fields::Full,
        ..Style::default()
    };
    let merged = Snapshot::merge(&members, &style, None, NOW);
    assert_eq!(
        json(&merged)["entries"]["a"].as_array().map(Vec::len),
        Some(2)
    );
    assert_eq!(merged.versions(), 2);
    assert!(merged.find("a-1.0.0.tgz").is_some());
}

#[test]
fn a_compacted_snapshot_says_the_same_and_can_be_edited() {
    for format in [Format::Json, Format::Yaml] {
        let style = Style {
            format,
            ..Style::default()
        };
        let merge = |index: &SourceIndex, previous| {
            Snapshot::merge(
                &[member("one", index.clone(), false)],
                &style,
                previous,
                NOW,
            )
        };
        let index = source(&[("b", "1.0.0"), ("c", "1.0.0"), ("d", "1.0.0")]);
        let first = merge(&index, None);
        let compact = first.compact();
        assert_eq!(
            (text(&compact), compact.etag()),
            (text(&first), first.etag())
        );
        assert_eq!(compact.contiguous().expect("whole"), text(&first));
        assert!(first.contiguous().is_none());
        for edited in [
            index.with_entry(Arc::new(entry("a", "1.0.0"))),
            index.without("b", "1.0.0"),
            index.without("c", "1.0.0"),
        ] {
            let (new, fresh) = (merge(&edited, Some(&compact)), merge(&edited, None));
            assert_eq!((text(&new), new.etag()), (text(&fresh), fresh.etag()));
            assert_eq!(text(&new.compact().compact()), text(&fresh));
        }
    }
}

#[test]
fn unchanged_charts_keep_their_text() {
    let index = source(&[("a", "1.0.0"), ("b", "1.0.0")]);
    let first = merge(&[member("one", index.clone(), false)]);
    let edited = [member(
        "one",
        index.with_entry(Arc::new(entry("a", "2.0.0"))),
        false,
    )];
    let second = Snapshot::merge(&edited, &Style::default(), Some(&first), NOW);
    let place = |snapshot: &Snapshot, name| snapshot.chart(name).expect(name).segment.as_ptr();
    assert_eq!(place(&first, "b"), place(&second, "b"));
    assert_ne!(place(&first, "a"), place(&second, "a"));
}

/// (member, chart, version, kind): 0 = remove, 1 = put, 2 = put with another digest.
fn edits() -> impl Strategy<Value = Vec<(usize, u8, u8, u8)>> {
    prop::collection::vec((0_usize..3, 0_u8..6, 0_u8..4, 0_u8..3), 1..40)
}

fn edit(index: &SourceIndex, chart: u8, version: u8, kind: u8) -> SourceIndex {
    let name = format!("chart-{chart}");
    let version = ["1.0.0", "v1.0.0", "1.0.0-rc.1", "2.0.0"][usize::from(version)];
    match kind {
        0 => index.without(&name, version),
        1 => index.with_entry(Arc::new(entry(&name, version))),
        _ => index.with_entry(other(&name, version)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn editing_equals_merging_anew(edits in edits(), reserves: [bool; 3], yaml: bool) {
        let format = if yaml { Format::Yaml } else { Format::Json };
        let style = Style { format, ..Style::default() };
        let mut members = [0, 1, 2].map(|n| member(["x", "y", "z"][n], SourceIndex::default(), reserves[n]));
        let mut snapshot = Snapshot::merge(&members, &style, None, NOW);
        for (at, chart, version, kind) in edits {
            members[at].index = Arc::new(edit(&members[at].index, chart, version, kind));
            snapshot = Snapshot::merge(&members, &style, Some(&snapshot), NOW);
            if version == 0 {
                snapshot = snapshot.compact();
            }
            let fresh = Snapshot::merge(&members, &style, None, NOW);
            prop_assert_eq!(text(&snapshot), text(&fresh));
            prop_assert_eq!(snapshot.etag(), fresh.etag());
            prop_assert_eq!(files(&snapshot), files(&fresh));
            prop_assert_eq!(snapshot.conflicts(), fresh.conflicts());
            prop_assert_eq!(snapshot.versions(), fresh.versions());
            for found in fresh.charts().flat_map(ChartView::versions) {
                let again = snapshot.find(&found.entry.file_name()).map(|found| found.member);
                prop_assert_eq!(again, Some(found.member));
            }
            let count = |index: &SourceIndex| index.charts().map(|(_, chart)| chart.entries().len()).sum::<usize>();
            for member in &members {
                prop_assert_eq!(member.index.versions(), count(&member.index));
            }
        }
    }

    #[test]
    fn edited_sources_equal_collected_ones(edits in edits()) {
        let mut index = SourceIndex::default();
        let mut plain = std::collections::BTreeMap::new();
        for (_, chart, version, kind) in edits {
            let next = edit(&index, chart, version, kind);
            let name = format!("chart-{chart}");
            let version = ["1.0.0", "v1.0.0", "1.0.0-rc.1", "2.0.0"][usize::from(version)];
            match next.get(&name).and_then(|chart| chart.get(version)) {
                Some(entry) => plain.insert((name, version), Arc::clone(entry)),
                None => plain.remove(&(name, version)),
            };
            index = next;
        }
        let collected = SourceIndex::from_entries(plain.into_values());
        prop_assert_eq!(format!("{:?}", collected.charts().collect::<Vec<_>>()), format!("{:?}", index.charts().collect::<Vec<_>>()));
        prop_assert_eq!(collected.versions(), index.versions());
    }
}

#[test]
fn versions_that_an_upstream_removed_can_be_carried_over() {
    let url = url::Url::parse("https://h/index.yaml").expect("url");
    let ingest = |versions: &[&str], previous: Option<&SourceIndex>| {
        let list: String = versions
            .iter()
            .map(|version| format!("  - name: a\n    version: {version}\n    urls: [x]\n"))
            .collect();
        SourceIndex::ingest(format!("entries:\n  a:\n{list}").as_bytes(), &url, previous)
            .expect("index")
    };
    let first = ingest(&["1.0.0", "2.0.0", "3.0.0"], None);
    let second = ingest(&["2.0.0", "3.0.0"], Some(&first));
    assert_eq!(second.lost_since(&first), 1);
    let carried = second.carry_over(&first, |entry| entry.version.as_str() == "1.0.0");
    assert_eq!((carried.versions(), carried.own_versions()), (3, 2));
    // The next refresh loses nothing of what the source had, and the carried version stays where it is.
    let third = ingest(&["2.0.0", "3.0.0"], Some(&carried));
    assert_eq!(third.lost_since(&carried), 0);
    let again = third.carry_over(&carried, |_| true);
    assert!(Arc::ptr_eq(
        again.get("a").expect("a"),
        carried.get("a").expect("a")
    ));
    assert_eq!(third.carry_over(&carried, |_| false).versions(), 2);
}
