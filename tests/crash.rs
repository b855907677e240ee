//! kill -9 at random moments: nothing half is visible afterwards, nothing that was promised is missing, no cap is broken.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::oracle::{entries, local, tenant};
use crate::support::corpus::sha256;
use crate::support::fake::{FakeChart, FakeHelm, Fault, Target, package};
use crate::support::gateway::Gateway;
use crate::support::http::Call;
use crate::support::{files_below, pause, until};

/// Processes that are killed in each test.
const ROUNDS: u64 = 8;

/// What a client knows about a version: the last answer that it got.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    /// 201
    Saved,
    /// 200 to a DELETE
    Deleted,
    /// The connection broke: either outcome is right, half an outcome is not.
    Unknown,
}

#[test]
fn an_upload_that_was_answered_survives_and_a_half_one_never_shows() {
    let mut random = Random::new(0x5eed_0001);
    let mut gateway = Gateway::start(json!({"tenants": {"t": {
        "hosted": {"overwrite": "forbid", "max_upload": "2MiB"},
        "access": {"anonymous": ["pull", "push", "delete"]},
    }}}));
    let mut sent: BTreeMap<String, Bytes> = BTreeMap::new();
    let mut known: BTreeMap<String, Known> = BTreeMap::new();

    for round in 0..ROUNDS {
        let batches: Vec<Vec<(String, Bytes)>> = (0..3)
            .map(|writer| {
                (0..400)
                    .map(|number| upload(&mut random, round, writer, number))
                    .collect()
            })
            .collect();
        // By answers and not by time: a busy machine gives few in any time.
        let wanted = 4 + random.below(24);
        let delay = Duration::from_millis(random.below(15));
        let address = gateway.http;
        let (ended, answered) = (AtomicBool::new(false), AtomicU64::new(0));
        let results: Vec<Vec<(String, Known)>> = std::thread::scope(|scope| {
            let writers: Vec<_> = batches
                .iter()
                .map(|batch| scope.spawn(|| write_until(&ended, &answered, address, batch)))
                .collect();
            until("answers to uploads", Duration::from_secs(60), || {
                (answered.load(Ordering::Relaxed) >= wanted).then_some(())
            });
            pause(delay);
            gateway.kill();
            ended.store(true, Ordering::Relaxed);
            writers
                .into_iter()
                .map(|writer| writer.join().expect("a writer"))
                .collect()
        });
        sent.extend(batches.into_iter().flatten());
        known.extend(results.into_iter().flatten());

        gateway.run();
        gateway.wait_ready();
        check_uploads(&gateway, &sent, &known);
    }
    let saved = known
        .values()
        .filter(|state| **state == Known::Saved)
        .count();
    let unknown = known
        .values()
        .filter(|state| **state == Known::Unknown)
        .count();
    assert!(saved > 50, "only {saved} uploads were answered");
    assert!(unknown > 0, "no kill ever met a request");
}

/// A version that no other upload has, of 1 KB to 400 KB.
fn upload(random: &mut Random, round: u64, writer: u64, number: u64) -> (String, Bytes) {
    let size = 1000 + random.below(400) * random.below(1000);
    let noise: Vec<u8> = (0..size / 8)
        .flat_map(|_| random.next().to_le_bytes())
        .collect();
    let name = format!("app{writer}");
    let version = format!("{round}.{number}.0");
    let bytes = package(&name, &version, &[("files/noise.bin", &noise)]);
    (format!("{name}-{version}"), bytes)
}

/// Uploads one after the other, deleting every seventh again, until the process is gone.
fn write_until(
    ended: &AtomicBool,
    answered: &AtomicU64,
    address: SocketAddr,
    batch: &[(String, Bytes)],
) -> Vec<(String, Known)> {
    let mut known = Vec::new();
    for (number, (file, bytes)) in batch.iter().enumerate() {
        if ended.load(Ordering::Relaxed) {
            break;
        }
        let upload = Call::new("POST", "/api/t/charts").body(bytes.to_vec());
        match upload.try_send(address) {
            Ok(reply) => assert_eq!(reply.status, 201, "{file}: {}", reply.text()),
            Err(_) => {
                known.push((file.clone(), Known::Unknown));
                break;
            }
        }
        answered.fetch_add(1, Ordering::Relaxed);
        if number % 7 != 6 {
            known.push((file.clone(), Known::Saved));
            continue;
        }
        let (name, version) = file.rsplit_once('-').expect("name-version");
        let delete = Call::new("DELETE", &format!("/api/t/charts/{name}/{version}"));
        match delete.try_send(address) {
            Ok(reply) => {
                assert_eq!(reply.status, 200, "{file}: {}", reply.text());
                known.push((file.clone(), Known::Deleted));
            }
            Err(_) => known.push((file.clone(), Known::Unknown)),
        }
    }
    known
}

fn check_uploads(
    gateway: &Gateway,
    sent: &BTreeMap<String, Bytes>,
    known: &BTreeMap<String, Known>,
) {
    let index = gateway.index("t");
    let mut shown = BTreeMap::new();
    for (chart, entry) in entries(&index) {
        let file = format!("{chart}-{}", entry["version"].as_str().expect("a version"));
        let digest = entry["digest"].as_str().expect("a digest").to_owned();
        let original = sent
            .get(&file)
            .unwrap_or_else(|| panic!("{file} was never sent"));
        assert_eq!(digest, sha256(original), "{file} is not what was sent");
        shown.insert(file, digest);
    }
    for (file, state) in known {
        match state {
            Known::Saved => assert!(
                shown.contains_key(file),
                "{file} was answered 201 and is gone"
            ),
            Known::Deleted => assert!(!shown.contains_key(file), "{file} was deleted and is back"),
            Known::Unknown => {}
        }
    }
    // Bytes: all that were uncertain, and a sample of the rest.
    for (place, (file, digest)) in shown.iter().enumerate() {
        if place % 16 == 0 || known.get(file) != Some(&Known::Saved) {
            let reply = gateway.get(&format!("/t/charts/{file}.tgz")).expect(200);
            assert_eq!(&sha256(&reply.body), digest, "{file}");
        }
    }
    for path in files_below(&gateway.data().join("hosted")) {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("UTF-8 names");
        if let Some(file) = name.strip_suffix(".tgz") {
            let content = std::fs::read(&path).expect("a readable file");
            assert_eq!(
                Some(&content[..]),
                sent.get(file).map(|bytes| &bytes[..]),
                "{name} is half a file"
            );
        }
    }
}

#[test]
fn a_fill_that_was_cut_leaves_nothing_and_the_cache_stays_within_its_cap() {
    const CAP: u64 = 3 << 20;
    let mut random = Random::new(0x5eed_0002);
    let mut upstream = FakeHelm::new();
    let charts: Vec<FakeChart> = (0..60)
        .map(|number| {
            let size = usize::try_from(10_000 + random.below(250_000)).expect("a small number");
            FakeChart::new("app", &format!("1.{number}.0")).size(size)
        })
        .collect();
    let digests: Vec<(String, String)> = charts
        .iter()
        .enumerate()
        .map(|(number, chart)| {
            (
                format!("/t/charts/app-1.{number}.0.tgz"),
                sha256(&chart.bytes()),
            )
        })
        .collect();
    for chart in charts {
        upstream = upstream.with(chart);
    }
    let upstream = upstream.run();
    // Slow enough that a kill always meets fills in the middle.
    upstream.fault(
        Target::Archives,
        Fault::Trickle(32_768, Duration::from_millis(4)),
    );
    let mut gateway = Gateway::start(json!({
        "cache": {"memory": "1MiB", "disk": CAP.to_string()},
        "upstreams": {"up": local(&upstream.url())},
        "tenants": {"t": tenant(&["up"])},
    }));

    let mut complete = 0;
    for _ in 0..ROUNDS {
        let wanted = 4 + random.below(16);
        let delay = Duration::from_millis(random.below(30));
        let address = gateway.http;
        let (ended, arrived) = (AtomicBool::new(false), AtomicU64::new(0));
        complete += std::thread::scope(|scope| {
            let readers: Vec<_> = (0..4)
                .map(|_| {
                    let mut random = Random::new(random.next());
                    let (ended, arrived, digests) = (&ended, &arrived, &digests);
                    scope.spawn(move || read_until(ended, arrived, address, digests, &mut random))
                })
                .collect();
            until("archives to arrive", Duration::from_secs(60), || {
                (arrived.load(Ordering::Relaxed) >= wanted).then_some(())
            });
            pause(delay);
            gateway.kill();
            ended.store(true, Ordering::Relaxed);
            readers
                .into_iter()
                .map(|reader| reader.join().expect("a reader"))
                .sum::<usize>()
        });
        gateway.run();
        gateway.wait_ready();
        check_cap(&gateway, CAP);
    }
    assert!(complete > 20, "only {complete} archives arrived in full");

    // What is held after all this is whole: with the upstream gone, each answer is right or an error.
    upstream.refuse();
    let mut held = 0;
    for (path, digest) in &digests {
        let reply = gateway.get(path);
        if reply.status == 200 {
            assert_eq!(&sha256(&reply.body), digest, "{path}");
            held += 1;
        } else {
            assert!(
                matches!(reply.status, 502..=504),
                "{path}: {}",
                reply.status
            );
        }
    }
    assert!(held > 0, "nothing was held");
}

/// Fetches archives at random until the process is gone; the number that arrived in full.
fn read_until(
    ended: &AtomicBool,
    arrived: &AtomicU64,
    address: SocketAddr,
    digests: &[(String, String)],
    random: &mut Random,
) -> usize {
    let mut complete = 0;
    while !ended.load(Ordering::Relaxed) {
        let choice = usize::try_from(random.below(digests.len() as u64)).expect("an index");
        let (path, digest) = &digests[choice];
        let Ok(reply) = Call::get(path).try_send(address) else {
            break;
        };
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        if reply.complete {
            assert_eq!(&sha256(&reply.body), digest, "{path} arrived wrong");
            complete += 1;
            arrived.fetch_add(1, Ordering::Relaxed);
        }
    }
    complete
}

/// The archives on disk, temporary ones included, stay below the cap.
fn check_cap(gateway: &Gateway, cap: u64) {
    let metrics = gateway.admin("/metrics").expect(200).text();
    let held = metrics
        .lines()
        .find_map(|line| line.strip_prefix("chartgate_cache_bytes{tier=\"disk\"} "))
        .and_then(|number| number.trim().parse::<f64>().ok())
        .unwrap_or_else(|| panic!("no disk gauge in:\n{metrics}"));
    assert!(
        held <= cap as f64,
        "{held} bytes are more than the cap of {cap}"
    );
    // Kept indexes and the ledger are what a restart needs; the cap is for the objects.
    let cache = gateway.data().join("cache");
    let on_disk: u64 = ["blobs", "tmp"]
        .iter()
        .flat_map(|folder| files_below(&cache.join(folder)))
        .map(|path| std::fs::metadata(path).map_or(0, |data| data.len()))
        .sum();
    assert!(
        on_disk <= cap,
        "{on_disk} bytes on disk are more than the cap of {cap}"
    );
}

/// Random numbers that are the same in every run (xorshift64*).
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    /// A sequence of its own for each `seed`.
    fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }
}
