//! Tests of ingest: quirks, refusals, and that every way of reading gives the same entries, on real indexes and on invented ones.

use std::io::Read as _;
use std::path::PathBuf;

use proptest::prelude::*;

use serde::de::DeserializeSeed as _;

use super::super::report::Tally;
use super::super::whole::document_shape;
use super::*;

const DIGEST: &str = "61e12e6fd1e0a2a3a6e5a2d3a8d7f5d9e3a1b1c0d0e0f0a0b0c0d0e0f0a0b0c0";

fn base() -> Url {
    Url::parse("https://charts.example.com/stable/index.yaml").expect("url")
}

fn read(text: &str) -> SourceIndex {
    ingest(text.as_bytes(), &base(), None).expect(text)
}

fn refusal(text: &str) -> String {
    ingest(text.as_bytes(), &base(), None)
        .expect_err(text)
        .message()
        .to_owned()
}

/// The same text through the full parser only.
fn read_whole(text: &[u8]) -> Result<SourceIndex> {
    let reader = Reader {
        base: &base(),
        seed: 0,
        previous: None,
        brackets: BRACKET_BUDGET,
        syntax_errors: 0,
        versions: 0,
        lots: BTreeMap::new(),
    };
    let (lots, generated) = reader.whole(text, None)?;
    Ok(SourceIndex::from_lots(lots, 0, generated))
}

fn entries(index: &SourceIndex) -> Vec<String> {
    let all = index.charts().flat_map(|(_, chart)| chart.entries().iter());
    all.map(|entry| format!("{entry:?}")).collect()
}

fn files(index: &SourceIndex) -> Vec<String> {
    let all = index.charts().flat_map(|(_, chart)| chart.entries().iter());
    all.map(|entry| entry.file_name()).collect()
}

fn reasons(tally: &Tally) -> Vec<&'static str> {
    tally.items.iter().map(|note| note.reason.label()).collect()
}

/// One chart `a` with one entry made of these lines.
fn one(lines: &str) -> SourceIndex {
    let lines = lines.replace('\n', "\n    ");
    read(&format!("apiVersion: v1\nentries:\n  a:\n  - {lines}\n"))
}

fn assert_same(a: &SourceIndex, b: &SourceIndex, what: &str) {
    assert_eq!(entries(a), entries(b), "{what}");
    assert_eq!(
        a.report.dropped.by_reason, b.report.dropped.by_reason,
        "{what}"
    );
    assert_eq!(
        a.report.repaired.by_reason, b.report.repaired.by_reason,
        "{what}"
    );
}

// Quirks.

#[test]
fn a_plain_entry_is_kept_with_absolute_urls_and_a_sorted_fragment() {
    let index = one(&format!(
        "version: 1.2.3\nname: a\nurls:\n- a-1.2.3.tgz\n- https://other.example.com/x%20y+z.tgz?q=1\n- oci://h/a:1.2.3\ndigest: sha256:{}\ncreated: \"2024-05-06T07:08:09.123456789+02:00\"\nkeywords: [x]\nannotations:\n  z: \"1.10\"\n  a: b",
        DIGEST.to_uppercase()
    ));
    let entry = &index.get("a").expect("a").entries()[0];
    let urls: Vec<&str> = entry.urls.iter().map(|url| &**url).collect();
    assert_eq!(
        urls,
        [
            "https://charts.example.com/stable/a-1.2.3.tgz",
            "https://other.example.com/x%20y+z.tgz?q=1",
            "oci://h/a:1.2.3"
        ]
    );
    assert_eq!(
        &*entry.fragment,
        format!(
            "\"annotations\":{{\"a\":\"b\",\"z\":\"1.10\"}},\"created\":\"2024-05-06T07:08:09.123456789+02:00\",\"digest\":\"{DIGEST}\",\"keywords\":[\"x\"],\"name\":\"a\",\"version\":\"1.2.3\""
        )
    );
    assert_eq!(index.report.repaired.total, 0);
}

#[test]
fn a_relative_url_takes_over_the_query_of_the_index() {
    let base = Url::parse("https://h/r/index.yaml?token=x").expect("url");
    let text = b"entries:\n  a:\n  - {name: a, version: 1.0.0, urls: [../a.tgz?y=1]}\n";
    let index = ingest(text, &base, None).expect("index");
    assert_eq!(
        &*index.get("a").expect("a").entries()[0].urls[0],
        "https://h/a.tgz?token=x"
    );
}

#[test]
fn scalars_that_look_like_numbers_keep_their_text_and_are_told() {
    let index = one(
        "name: a\nversion: 1.10\nappVersion: 0x1F\nurls: [a.tgz]\nmaintainers:\n- name: 007\n  email: true",
    );
    let entry = &index.get("a").expect("a").entries()[0];
    assert_eq!(entry.version.as_str(), "1.10");
    assert!(
        entry.fragment.contains("\"appVersion\":\"0x1F\""),
        "{}",
        entry.fragment
    );
    assert_eq!(reasons(&index.report.repaired), ["unquoted_scalar"; 3]);
}

#[test]
fn times_are_repaired_or_left_out() {
    for (given, kept) in [
        ("\"2024-01-01T00:00:00Z\"", Some("2024-01-01T00:00:00Z")),
        (
            "2018-08-17T18:44:47.405027259+03:00",
            Some("2018-08-17T18:44:47.405027259+03:00"),
        ),
        ("2024-01-01", Some("2024-01-01T00:00:00Z")),
        (
            "\"2024-01-01 10:00:00 +0200 CEST\"",
            Some("2024-01-01T08:00:00Z"),
        ),
        ("yesterday", None),
        ("\"\"", None),
        ("null", None),
        ("\"0001-01-01T00:00:00Z\"", None),
        ("\"2024-13-01T00:00:00Z\"", None),
    ] {
        let index = one(&format!(
            "name: a\nversion: 1.0.0\nurls: [a.tgz]\ncreated: {given}"
        ));
        let entry = &index.get("a").expect("a").entries()[0];
        match kept {
            Some(kept) => assert!(
                entry.fragment.contains(&format!("\"created\":\"{kept}\"")),
                "{}",
                entry.fragment
            ),
            None => assert!(
                !entry.fragment.contains("created") && entry.created.is_none(),
                "{}",
                entry.fragment
            ),
        }
    }
}

#[test]
fn other_repairs() {
    let index = one(
        "name: a\nversion: 1.0.0\nurls: [a.tgz, 'ftp://x/y']\ndigest: abc\ndeprecated: \"true\"\nfoo: bar\nname: a\nannotations: {a: null}\nengine: gotpl\nkeywords: [null, b]",
    );
    let entry = &index.get("a").expect("a").entries()[0];
    assert_eq!(
        &*entry.fragment,
        "\"annotations\":{\"a\":\"\"},\"deprecated\":true,\"keywords\":[\"b\"],\"name\":\"a\",\"version\":\"1.0.0\""
    );
    let mut told = reasons(&index.report.repaired);
    told.sort_unstable();
    assert_eq!(
        told,
        [
            "digest_invalid",
            "duplicate_field",
            "flag_text",
            "unknown_field",
            "url_dropped"
        ]
    );
}

#[test]
fn each_bad_entry_is_dropped_with_its_reason_and_the_others_stay() {
    let good = "name: a\n    version: 1.0.0\n    urls: [a.tgz]";
    for (entry, reason) in [
        ("null", "not_an_object"),
        ("text", "not_an_object"),
        ("version: 2.0.0\n    urls: [x]", "name_missing"),
        (
            "name: ..\n    version: 2.0.0\n    urls: [x]",
            "name_invalid",
        ),
        (
            "name: p/a\n    version: 2.0.0\n    urls: [x]",
            "name_invalid",
        ),
        ("name: a\n    urls: [x]", "version_missing"),
        (
            "name: a\n    version: 1.2.3.4\n    urls: [x]",
            "version_invalid",
        ),
        (
            "name: a\n    version: 1.0.0-03173138\n    urls: [x]",
            "version_invalid",
        ),
        (
            "name: a\n    version: 2.0.0\n    type: x\n    urls: [x]",
            "type_invalid",
        ),
        (
            "name: a\n    version: 2.0.0\n    maintainers: [null]\n    urls: [x]",
            "maintainers_invalid",
        ),
        (
            "name: a\n    version: 2.0.0\n    dependencies: [{name: x, alias: a b}]\n    urls: [x]",
            "dependencies_invalid",
        ),
        ("name: a\n    version: 2.0.0", "urls_missing"),
        ("name: a\n    version: 2.0.0\n    urls: []", "urls_missing"),
        (
            "name: a\n    version: 2.0.0\n    urls: [file:///etc/passwd]",
            "url_invalid",
        ),
        ("name: a\n    version: 2.0.0\n    urls: x", "field_type"),
        ("name: [a]\n    version: 2.0.0\n    urls: [x]", "field_type"),
        ("name: \"a\n    version: 2.0.0", "syntax"),
        ("name: a\n    version: 1.0.0\n    urls: [x]", "duplicate"),
    ] {
        let index = read(&format!(
            "entries:\n  a:\n  - {good}\n  - {entry}\n  b:\n  - {good}\n"
        ));
        assert_eq!(files(&index), ["a-1.0.0.tgz", "b-1.0.0.tgz"], "{entry}");
        assert_eq!(reasons(&index.report.dropped), [reason], "{entry}");
    }
    let index = read(&format!("entries:\n  p/a:\n  - {good}\n  b:\n  - {good}\n"));
    assert_eq!(reasons(&index.report.dropped), ["key_invalid"]);
}

#[test]
fn of_duplicates_the_newest_counts_and_other_digests_are_remembered() {
    let other = DIGEST.replace('6', "7");
    let index = read(&format!(
        "entries:\n  a:\n  - {{name: a, version: 1.0.0, urls: [x], digest: {DIGEST}, created: '2024-01-01T00:00:00Z'}}\n  - {{name: a, version: v1.0.0, urls: [x]}}\n  - {{name: a, version: 1.0.0, urls: [y], digest: {other}, created: '2024-01-02T00:00:00Z'}}\n"
    ));
    let chart = index.get("a").expect("a");
    assert_eq!(files(&index), ["a-1.0.0.tgz", "a-v1.0.0.tgz"]);
    assert_eq!(
        chart.get("1.0.0").expect("version").digest,
        other.parse().ok()
    );
    assert_eq!(chart.alternates("1.0.0"), [DIGEST.parse().expect("digest")]);
    assert_eq!(chart.alternates("v1.0.0"), []);
}

#[test]
fn the_order_is_precedence_then_time() {
    let entry = |version: &str| format!("  - {{name: a, version: {version}, urls: [x]}}\n");
    let list: String = ["1.2.0", "1.10.0", "1.10.0-rc.1", "2.0.0-a", "1.2", "0.1.0"]
        .map(entry)
        .concat();
    assert_eq!(
        files(&read(&format!("entries:\n  a:\n{list}"))),
        [
            "a-2.0.0-a.tgz",
            "a-1.10.0.tgz",
            "a-1.10.0-rc.1.tgz",
            "a-1.2.tgz",
            "a-1.2.0.tgz",
            "a-0.1.0.tgz"
        ]
    );
}

// What is not an index.

#[test]
fn what_is_no_index_is_refused_with_a_reason() {
    for (text, says) in [
        ("", "empty"),
        (" \n\n", "empty"),
        ("<!DOCTYPE html><html>", "web page"),
        ("../charts/index.yaml", "neither YAML nor JSON"),
        ("apiVersion: v1\n", "no `entries`"),
        ("{\"apiVersion\":\"v1\"}", "no `entries`"),
        ("{\"entries\":{\"a\":[{\"name\":\"a\"", "not complete"),
        ("entries: 5\n", "not a map"),
        ("- a\n- b\n", "neither"),
        ("\0\0\0", "binary"),
        ("404: Not Found", "no `entries`"),
    ] {
        let message = refusal(text);
        assert!(message.contains(says), "{text}: {message}");
    }
    assert!(ingest(b"entries:\n  \xff: x\n", &base(), None).is_err());
}

#[test]
fn an_empty_index_is_an_index() {
    for text in [
        "entries: {}\n",
        "apiVersion: v1\nentries:\ngenerated: x\n",
        "{\"entries\":null}",
        "entries:\n  a: []\n  b:\n",
    ] {
        assert_eq!(read(text).versions(), 0, "{text}");
    }
}

#[test]
fn half_an_index_is_refused_where_it_shows() {
    let entry =
        |version: &str| format!("  - name: a\n    urls:\n    - a.tgz\n    version: {version}\n");
    let top = "apiVersion: v1\nentries:\n  a:\n";
    let both = format!("{top}{}{}", entry("1.0.0"), entry("0.9.0"));
    let first = read(&format!("{both}generated: \"2024-01-01T00:00:00Z\"\n"));
    let half = format!("{top}{}", entry("1.0.0"));
    let error = ingest(half.as_bytes(), &base(), Some(&first)).expect_err("half");
    assert!(
        error.message().contains("not complete") && error.is_transient(),
        "{error}"
    );
    // Without anything lost, or anything to compare with, it is another tool's index.
    assert_eq!(
        ingest(both.as_bytes(), &base(), Some(&first))
            .expect("index")
            .versions(),
        2
    );
    read(&half);
    assert!(refusal(&format!("{top}  - name: a\n    urls:\n    - a-1.0")).contains("not complete"));
}

#[test]
fn bombs_are_refused_quickly() {
    assert!(refusal(&format!("entries: {}", "[".repeat(100_000))).contains("brackets"));
    assert!(refusal(&format!("{{a: {}", "[".repeat(100_000))).contains("deeper"));
    assert!(refusal(&format!("{{a: {}", "['\"', \"]\", ".repeat(100_000))).contains("deeper"));
    let item = format!(
        "  - name: a\n    version: 1.0.0\n    urls: [x]\n    x: {}\n",
        "[".repeat(5000)
    );
    let index = read(&format!(
        "entries:\n  a:\n{item}  b:\n  - {{name: b, version: 1.0.0, urls: [x]}}\n"
    ));
    assert_eq!(
        (files(&index), reasons(&index.report.dropped)),
        (vec!["b-1.0.0.tgz".to_owned()], vec!["too_complex"])
    );
    let laughs = format!(
        "  - name: &a {}\n    keywords: [{}]\n",
        "x".repeat(1000),
        "*a,".repeat(1000)
    );
    let index = read(&format!("entries:\n  a:\n{laughs}"));
    assert_eq!(reasons(&index.report.dropped), ["too_complex"]);
    let large = format!("  - name: a\n    description: {}\n", "x".repeat(MAX_ENTRY));
    let index = read(&format!("entries:\n  a:\n{large}"));
    assert_eq!(reasons(&index.report.dropped), ["too_large"]);
}

// Every way of reading gives the same.

#[test]
fn unusual_forms_are_read_like_usual_ones() {
    let usual = read(
        "entries:\n  a:\n  - name: a\n    version: 1.0.0\n    description: x - y z\n    urls:\n    - a.tgz\n",
    );
    for text in [
        "{\"entries\":{\"a\":[{\"name\":\"a\",\"version\":\"1.0.0\",\"description\":\"x - y z\",\"urls\":[\"a.tgz\"]}]}}",
        "{entries: {a: [{name: a, version: 1.0.0, description: x - y z, urls: [a.tgz]}]}}",
        "entries: {a: [{name: a, version: 1.0.0, description: x - y z, urls: [a.tgz]}]}\n",
        "\u{feff}---\nentries:\n    'a':\n        - name: a\n          version: 1.0.0\n          description: 'x\n            - y z'\n          urls: [a.tgz]\n",
        "entries:\n  a:\n  - name: a\n    version: 1.0.0\n    description: \"x\n  - y z\"\n    urls:\n    - a.tgz\n",
        "entries:\r\n  a:\r\n  - name: a\r\n    version: 1.0.0\r\n    description: x - y z\r\n    urls:\r\n    - a.tgz\r\n",
        "x: &v 1.0.0\nentries:\n  a:\n  - name: a\n    version: *v\n    description: x - y z\n    urls:\n    - a.tgz\n",
        "entries:\n  a:\n  - name: a\n    version: 1.0.0\n    description: x - y z\n    urls: [a.tgz]\n---\nentries:\n  b:\n",
    ] {
        assert_same(&read(text), &usual, text);
    }
}

#[test]
fn quoted_text_that_reaches_over_the_entries_hides_them() {
    assert!(refusal("x: \"a\nentries:\n  a:\n  - name: a\ny: b\"\n").contains("no `entries`"));
}

#[test]
fn bad_json_entries_do_not_hide_good_ones() {
    let index = read(
        "{\"entries\":{\"a\":[null,{\"name\":\"a\",\"version\":1.10,\"urls\":[\"x\"]},{\"name\":\"\\ud83d\"}],\"b\":{}}}",
    );
    assert_eq!(files(&index), ["a-1.10.tgz"]);
    assert_eq!(
        reasons(&index.report.dropped),
        ["not_an_object", "encoding", "field_type"]
    );
}

/// The corpus's files with their texts; empty where it is not there.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let given = std::env::var_os("CHARTGATE_CORPUS").map(PathBuf::from);
    let folder = given
        .unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpus")))
        .join("indexes");
    if !folder.is_dir() {
        assert!(
            std::env::var_os("CHARTGATE_TOOLS").is_none_or(|value| value != "1"),
            "the corpus is missing at {}",
            folder.display()
        );
        println!("the corpus is not here: this test did not run");
        return Vec::new();
    }
    let mut files = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for item in std::fs::read_dir(folder).expect("folder") {
            let path = item.expect("item").path();
            let name = path
                .file_name()
                .expect("name")
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.contains(".yaml") || name.ends_with(".json") {
                let mut text = std::fs::read(&path).expect("file");
                if name.ends_with(".gz") {
                    let mut unpacked = Vec::new();
                    flate2::read::GzDecoder::new(&text[..])
                        .read_to_end(&mut unpacked)
                        .expect("gzip");
                    text = unpacked;
                }
                files.push((path.to_string_lossy().into_owned(), text));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn real_indexes_read_the_same_in_every_way() {
    for (name, text) in corpus() {
        let Ok(index) = ingest(&text, &base(), None) else {
            assert!(name.contains("symlink"), "{name}");
            continue;
        };
        println!(
            "{name}: {} charts, {} versions, dropped {:?}, repaired {:?}",
            index.chart_count(),
            index.versions(),
            index.report.dropped.by_reason,
            index.report.repaired.by_reason
        );
        // Nothing but the known quirks is dropped.
        let known = ["fixture-helm", "fixture-flux", "fixture-kubeapps"];
        let only_duplicates = index
            .report
            .dropped
            .by_reason
            .keys()
            .all(|reason| *reason == Reason::Duplicate);
        assert!(
            only_duplicates || known.iter().any(|known| name.contains(known)),
            "{name}: {:?}",
            index.report.dropped.items
        );

        if text.len() < 2_500_000 {
            assert_same(&index, &read_whole(&text).expect(&name), &name);
        }
        let json = as_json(&index);
        assert_same_entries(
            &index,
            &ingest(json.as_bytes(), &base(), None).expect("json"),
            &name,
        );

        // A refresh of the same text in another dress keeps every chart where it is.
        let mut longer = text.clone();
        longer.extend_from_slice(b"\n# end\n");
        if name.ends_with(".json") {
            longer = text.iter().copied().chain(*b"\n").collect();
        }
        let again = ingest(&longer, &base(), Some(&index)).expect("refresh");
        for (chart, old) in index.charts() {
            assert!(
                again.get(chart).is_some_and(|new| Arc::ptr_eq(new, old)),
                "{name} {chart}"
            );
        }
        // A restart changes nothing.
        let kept =
            super::super::kept::from_bytes(&super::super::kept::to_bytes(&index)).expect("kept");
        assert_same(&index, &kept, &name);
    }
}

/// The entries as a JSON index with their origin URLs.
fn as_json(index: &SourceIndex) -> String {
    let charts: Vec<String> = index
        .charts()
        .map(|(name, chart)| {
            let list: Vec<String> = chart
                .entries()
                .iter()
                .map(|entry| {
                    format!(
                        "{{{},\"urls\":{}}}",
                        entry.fragment,
                        serde_json::to_string(&entry.urls).expect("json")
                    )
                })
                .collect();
            format!(
                "{}:[{}]",
                serde_json::to_string(name).expect("json"),
                list.join(",")
            )
        })
        .collect();
    format!("{{\"entries\":{{{}}}}}", charts.join(","))
}

fn assert_same_entries(a: &SourceIndex, b: &SourceIndex, what: &str) {
    assert_eq!(entries(a), entries(b), "{what}");
    assert_eq!(
        (b.report.dropped.total, b.report.repaired.total),
        (0, 0),
        "{what}"
    );
}

#[test]
fn every_piece_of_the_corpus_that_the_fast_path_reads_it_reads_right() {
    let (mut fast, mut slow) = (0, 0);
    for (name, text) in corpus()
        .into_iter()
        .filter(|(_, text)| text.len() < 5_000_000)
    {
        let Some(cut) = scan::cut(&text) else {
            continue;
        };
        for (key, items) in cut.charts {
            for item in items {
                let item = std::str::from_utf8(item).expect("text");
                match plain::read(item) {
                    Some(node) => {
                        fast += 1;
                        assert_eq!(Ok(node), read_item(item), "{name} {key}\n{item}");
                    }
                    None => slow += 1,
                }
            }
        }
    }
    println!("fast {fast}, slow {slow}");
}

#[test]
fn history_refreshes_reparse_only_what_changed() {
    for source in ["podinfo", "argo-helm", "grafana"] {
        let mut previous: Option<SourceIndex> = None;
        for (name, text) in corpus()
            .into_iter()
            .filter(|(name, _)| name.contains(&format!("history/{source}/")))
        {
            let fresh = ingest(&text, &base(), None).expect(&name);
            let refreshed = ingest(&text, &base(), previous.as_ref()).expect(&name);
            assert_same(&fresh, &refreshed, &name);
            if let Some(previous) = &previous {
                let mut changed = 0;
                previous
                    .charts
                    .diff(&refreshed.charts, Arc::ptr_eq, |_| changed += 1);
                assert!((1..=2).contains(&changed), "{name}: {changed}");
                assert_eq!(refreshed.lost_since(previous), 0);
            }
            previous = Some(refreshed);
        }
    }
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9.:#,_ \\[\\]{}'\"&*!|>%@`~?+/\\\\-]{0,14}",
        "'[a-z:# -]{0,6}(''|\"|\n {0,8})?[a-z:# -]{0,6}'",
        "\"[a-z:# -]{0,6}(\\\\n|\\\\\"|\\\\\\\\|'|\n {0,8}|\\\\\n {0,8})?[a-z:# -]{0,6}\"",
        "[|>][+-]?(\n( {0,9}[a-z#:-]{0,4} {0,2}))\n( {0,9}[a-z:-]{0,4})",
        "[a-z]{1,4}( [a-z:#-]{1,3})?\n {2,9}[a-z-]{1,4}( [a-z:#]{1,3})?\n?( {6,8}[a-z]{1,3})?",
        Just("1.0.0".to_owned()),
        Just("1.10".to_owned()),
        Just("true".to_owned()),
        Just("null".to_owned()),
        Just("~".to_owned()),
        Just("2024-01-01T00:00:00Z".to_owned()),
        Just("12e4".to_owned()),
        Just(".inf".to_owned()),
        Just("[a, b]".to_owned()),
        Just("{a: b}".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just(String::new()),
    ]
}

fn field() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "name",
        "version",
        "description",
        "appVersion",
        "created",
        "digest",
        "home",
        "urls",
        "keywords",
        "annotations",
        "maintainers",
        "dependencies",
        "deprecated",
        "type",
        "engine",
        "unknown",
        "icon",
        "sources",
    ]);
    let nested = prop_oneof![
        4 => scalar().prop_map(|text| format!(" {text}\n")),
        1 => (prop::sample::select(vec![4_usize, 5, 6]), prop::collection::vec(scalar(), 1..3)).prop_map(|(indent, items)| {
            let items: String = items.iter().map(|item| format!("{}- {item}\n", " ".repeat(indent))).collect();
            format!("\n{items}")
        }),
        1 => (prop::sample::select(vec![4_usize, 6, 7]), prop::collection::vec(("[a-z./]{1,5}", scalar()), 1..3)).prop_map(|(indent, items)| {
            let items: String = items.iter().map(|(key, item)| format!("{}{key}: {item}\n", " ".repeat(indent))).collect();
            format!("\n{items}")
        }),
        1 => (prop::sample::select(vec![4_usize, 6]), prop::collection::vec((prop::sample::select(vec!["name", "url", "tags", "x"]), scalar()), 1..3)).prop_map(|(indent, items)| {
            let pad = " ".repeat(indent);
            let items: Vec<String> = items.iter().map(|(key, item)| format!("{key}: {item}\n")).collect();
            format!("\n{pad}- {}", items.join(&format!("{pad}  ")))
        }),
    ];
    (
        key,
        nested,
        prop::sample::select(vec!["", "", "", "", "\n", "    # note\n", "  # note\n"]),
    )
        .prop_map(|(key, value, after)| format!("{key}:{value}{after}"))
}

fn item() -> impl Strategy<Value = String> {
    let good = Just("name: a\n    version: 1.0.0\n    urls:\n    - a.tgz\n".to_owned());
    let any = prop::collection::vec(field(), 1..5).prop_map(|fields| fields.join("    "));
    let mixed = prop::collection::vec(field(), 1..3).prop_map(|fields| {
        format!(
            "name: a\n    version: 2.0.0\n    urls:\n    - a.tgz\n    {}",
            fields.join("    ")
        )
    });
    prop_oneof![1 => good, 2 => any, 3 => mixed].prop_map(|fields| format!("  - {fields}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_fast_path_reads_like_the_full_parser(text in item()) {
        if let Some(node) = plain::read(&text) {
            prop_assert_eq!(Ok(node), read_item(&text), "{}", text);
        }
    }

    #[test]
    fn cut_and_whole_texts_give_the_same_entries(items in prop::collection::vec((any::<bool>(), item()), 1..5)) {
        let mut text = "apiVersion: v1\nentries:\n  a:\n".to_owned();
        for (number, (key, item)) in items.iter().enumerate() {
            if *key {
                text.push_str(&format!("  k{number}:\n"));
            }
            text.push_str(item);
        }
        text.push_str("generated: x\n");
        // Where the whole is sound in every type, both must agree; where not, good entries are kept and none is invented.
        let sound = yaml::Seed(Shape::Record(document_shape))
            .deserialize(serde_yaml::Deserializer::from_str(&text))
            .is_ok();
        let both = (ingest(text.as_bytes(), &base(), None), read_whole(text.as_bytes()));
        if let (true, (cut, Ok(whole))) = (sound, both) {
            let cut = cut.expect("sound as a whole");
            prop_assert_eq!(entries(&cut), entries(&whole), "{}", text);
            prop_assert_eq!(&cut.report.dropped.by_reason, &whole.report.dropped.by_reason, "{}", text);
            prop_assert_eq!(&cut.report.repaired.by_reason, &whole.report.repaired.by_reason, "{}", text);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(text: Vec<u8>, shaped in "(entries:\n( {0,4}(-|a:|#)? ?[a-z:\\[\\]{}\"'|>&*!\n-]{0,9}\n){0,9}|\\{.{0,40})") {
        let _ = ingest(&text, &base(), None);
        let _ = ingest(shaped.as_bytes(), &base(), None);
    }
}
