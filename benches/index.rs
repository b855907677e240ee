//! What an index costs: ingest, refresh, publish, restart. `cargo bench --bench index`.
//!
//! Input is the largest index of the corpus (`CHARTGATE_CORPUS`, or `../shared/corpus`), else one of the same size that is made
//! up here. Before the timings, resident memory is printed at each step (Linux).

use std::hint::black_box;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use chartgate::chart::Metadata;
use chartgate::digest::Digest;
use chartgate::index::{Entry, Member, Snapshot, SourceIndex, Style, kept};
use criterion::{Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use url::Url;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn text() -> Vec<u8> {
    let given = std::env::var_os("CHARTGATE_CORPUS").map(PathBuf::from);
    let folder = given
        .unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpus")));
    match std::fs::File::open(folder.join("indexes/big-merged-all-shared.yaml.gz")) {
        Ok(file) => {
            let mut text = Vec::new();
            flate2::read::GzDecoder::new(file)
                .read_to_end(&mut text)
                .expect("gzip");
            text
        }
        Err(_) => made_up(),
    }
}

/// 25,000 versions of 780 charts, a kilobyte each.
fn made_up() -> Vec<u8> {
    let mut text = "apiVersion: v1\nentries:\n".to_owned();
    for chart in 0..780 {
        text.push_str(&format!("  chart-{chart:03}:\n"));
        for version in 0..32 {
            let digest = Digest::of(format!("{chart} {version}").as_bytes()).to_hex();
            text.push_str(&format!(
                "  - apiVersion: v2\n    appVersion: 1.{version}.0\n    created: \"2024-01-02T03:04:05.678{version:02}Z\"\n    description: {}\n    digest: {digest}\n    keywords:\n    - one\n    - two\n    maintainers:\n    - email: someone@example.com\n      name: someone\n    name: chart-{chart:03}\n    sources:\n    - https://git.example.com/charts/chart-{chart:03}\n    urls:\n    - https://charts.example.com/chart-{chart:03}-1.{version}.0.tgz\n    version: 1.{version}.0\n",
                "words ".repeat(80).trim()
            ));
        }
    }
    text.push_str("generated: \"2024-01-02T03:04:05Z\"\n");
    text.into_bytes()
}

fn base() -> Url {
    Url::parse("https://charts.example.com/stable/index.yaml").expect("url")
}

/// The text with one version added to a chart in the middle.
fn changed(text: &[u8]) -> Vec<u8> {
    let middle = text.len() / 2;
    let at = text[middle..]
        .windows(5)
        .position(|part| part == b"\n  - ")
        .expect("an entry")
        + middle
        + 1;
    let mut changed = text[..at].to_vec();
    changed.extend_from_slice(b"  - name: x\n    version: 99.0.0\n    urls:\n    - x.tgz\n");
    changed.extend_from_slice(&text[at..]);
    changed
}

fn upload(number: usize) -> Arc<Entry> {
    let metadata = Metadata {
        name: "uploaded".into(),
        version: format!("1.0.{number}"),
        ..Metadata::default()
    };
    let digest = Digest::of(&number.to_le_bytes());
    Arc::new(Entry::from_metadata(&metadata, digest, Timestamp::UNIX_EPOCH).expect("entry"))
}

fn members(hosted: SourceIndex, upstream: &Arc<SourceIndex>) -> [Member; 2] {
    [
        Member {
            label: "hosted".into(),
            index: Arc::new(hosted),
            reserves_names: true,
        },
        Member {
            label: "upstream".into(),
            index: Arc::clone(upstream),
            reserves_names: false,
        },
    ]
}

fn merge(members: &[Member], previous: Option<&Snapshot>) -> Snapshot {
    Snapshot::merge(members, &Style::default(), previous, Timestamp::UNIX_EPOCH)
}

/// Resident memory now and at its highest, in MB.
fn memory(step: &str) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key))?;
        Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
    };
    println!(
        "{step:42} resident {:6.1} MB, highest {:6.1} MB",
        value("VmRSS").unwrap_or_default(),
        value("VmHWM").unwrap_or_default()
    );
}

fn cold_once() {
    memory("start");
    let text = text();
    memory("text read");
    let start = Instant::now();
    let index = Arc::new(SourceIndex::ingest(&text, &base(), None).expect("index"));
    let ingested = start.elapsed();
    let snapshot = merge(&members(SourceIndex::default(), &index), None);
    println!(
        "cold: ingest {ingested:.0?}, with publish {:.0?}; {} bytes, {} versions, {} bytes published",
        start.elapsed(),
        text.len(),
        snapshot.versions(),
        snapshot.length()
    );
    memory("published");
    drop(text);
    let snapshot = snapshot.compact();
    memory("text dropped, compacted");
    black_box((index, snapshot));
}

fn benches(criterion: &mut Criterion) {
    cold_once();
    let text = text();
    let base = base();
    let index = Arc::new(SourceIndex::ingest(&text, &base, None).expect("index"));
    let other = changed(&text);
    let hosted = SourceIndex::from_entries((0..100).map(upload));
    let first = merge(&members(hosted.clone(), &index), None).compact();

    let mut group = criterion.benchmark_group("index");
    group.sample_size(10);
    group.bench_function("cold ingest and publish", |bencher| {
        bencher.iter(|| {
            let index = Arc::new(SourceIndex::ingest(&text, &base, None).expect("index"));
            merge(&members(SourceIndex::default(), &index), None)
        });
    });
    group.bench_function("cold ingest", |bencher| {
        bencher.iter(|| SourceIndex::ingest(&text, &base, None).expect("index"));
    });
    group.bench_function("refresh with one entry changed", |bencher| {
        bencher.iter(|| SourceIndex::ingest(&other, &base, Some(&index)).expect("index"));
    });
    group.bench_function("refresh and publish with one entry changed", |bencher| {
        bencher.iter(|| {
            let index = Arc::new(SourceIndex::ingest(&other, &base, Some(&index)).expect("index"));
            merge(&members(hosted.clone(), &index), Some(&first))
        });
    });
    group.bench_function("one upload and publish", |bencher| {
        bencher.iter(|| {
            merge(
                &members(hosted.with_entry(upload(1000)), &index),
                Some(&first),
            )
        });
    });
    group.bench_function("compact", |bencher| {
        let published = merge(
            &members(hosted.with_entry(upload(1000)), &index),
            Some(&first),
        );
        bencher.iter(|| published.compact());
    });
    let bytes = kept::to_bytes(&index);
    group.bench_function("keep", |bencher| bencher.iter(|| kept::to_bytes(&index)));
    group.bench_function("load what was kept", |bencher| {
        bencher.iter(|| kept::from_bytes(&bytes).expect("kept"));
    });
    group.finish();

    many_hosted(criterion);
}

/// 100,000 hosted versions, each a chart of its own: the worst case for edits and look-ups.
fn many_hosted(criterion: &mut Criterion) {
    let entries = (0..100_000).map(|number: usize| {
        let metadata = Metadata {
            name: format!("chart-{number}"),
            version: "1.0.0".into(),
            description: Some("words ".repeat(40)),
            ..Metadata::default()
        };
        let digest = Digest::of(&number.to_le_bytes());
        Arc::new(Entry::from_metadata(&metadata, digest, Timestamp::UNIX_EPOCH).expect("entry"))
    });
    let index = SourceIndex::from_entries(entries);
    let empty = Arc::new(SourceIndex::default());
    let first = merge(&members(index.clone(), &empty), None);
    let bytes = kept::to_bytes(&index);
    let mut group = criterion.benchmark_group("100,000 hosted charts");
    group.sample_size(10);
    group.bench_function("one edit", |bencher| {
        bencher.iter(|| index.with_entry(upload(1)).without("chart-5000", "1.0.0"));
    });
    group.bench_function("one upload and publish", |bencher| {
        bencher.iter(|| merge(&members(index.with_entry(upload(1)), &empty), Some(&first)));
    });
    group.bench_function("load what was kept", |bencher| {
        bencher.iter(|| kept::from_bytes(&bytes).expect("kept"));
    });
    group.bench_function("first publish", |bencher| {
        bencher.iter(|| merge(&members(index.clone(), &empty), None));
    });
    group.bench_function("find a file", |bencher| {
        bencher.iter(|| black_box(first.find("chart-77777-1.0.0.tgz")).is_some());
    });
    group.finish();
}

criterion_group!(index, benches);
criterion_main!(index);
