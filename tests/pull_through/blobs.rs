use std::sync::Arc;

use bytes::Bytes;
use chartgate::error::ErrorKind;
use chartgate::http::Body;
use chartgate::oci::{Algorithm, Digest};
use chartgate::repository::Origin;

use super::{World, assert_error, blob, collect, is_held, manifest, pull, read, upstream};
use crate::support::fake::{FakeImage, FakeRegistry, Fault, Row, RunningRegistry, Spot};

/// An image with a layer of so many bytes.
fn stored(size: usize) -> (RunningRegistry, FakeImage) {
    let fake = FakeRegistry::open().image_of("a/b", "1", size).run();
    let image = fake.image("a/b", "1");
    (fake, image)
}

#[tokio::test]
async fn one_transfer_and_then_none() {
    for size in [0, 1, 50_000, 1 << 20, 3 << 20] {
        let (world, (fake, image)) = (World::new().await, stored(size));
        let hub = world.hub(&fake);
        manifest(&hub, "a/b", "1").await.expect("there");
        let cold = blob(&hub, "a/b", &image.layer).await.expect("promised");
        assert_eq!(cold.origin, Origin::Miss);
        assert_eq!(cold.length(), Some(size as u64));
        assert_eq!(fake.count(Spot::Blobs), 0);
        assert!(read(&cold, 0..u64::MAX).await.expect("bytes") == image.bytes);
        world.cache.idle().await;
        let warm = blob(&hub, "a/b", &image.layer).await.expect("held");
        assert_eq!(warm.origin, Origin::Hit);
        assert!(is_held(&warm));
        assert!(read(&warm, 0..u64::MAX).await.expect("bytes") == image.bytes);
        assert_eq!(fake.count(Spot::Blobs), 1, "{size}");
    }
}

#[tokio::test]
async fn a_hundred_cold_clients_are_one_transfer() {
    let (world, (fake, image)) = (World::new().await, stored(5 << 20));
    let hub = world.hub(&fake);
    manifest(&hub, "a/b", "1").await.expect("there");
    let hold = fake.hold(Spot::Blobs);
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let (hub, layer) = (hub.clone(), image.layer.clone());
            tokio::spawn(async move { pull(&hub, "a/b", &layer).await })
        })
        .collect();
    hold.waiting(1).await;
    hold.release();
    for reader in readers {
        let bytes = reader.await.expect("no panic").expect("bytes");
        assert!(bytes == image.bytes);
    }
    assert_eq!(fake.count(Spot::Blobs), 1);
}

#[tokio::test]
async fn a_client_that_leaves_stops_nothing() {
    let (world, (fake, image)) = (World::new().await, stored(5 << 20));
    let hub = world.hub(&fake);
    manifest(&hub, "a/b", "1").await.expect("there");
    let hold = fake.hold(Spot::Blobs);
    let reader = {
        let (hub, layer) = (hub.clone(), image.layer.clone());
        tokio::spawn(async move { pull(&hub, "a/b", &layer).await })
    };
    hold.waiting(1).await;
    reader.abort();
    assert!(reader.await.expect_err("gone").is_cancelled());
    hold.release();
    world.cache.idle().await;
    let bytes = pull(&hub, "a/b", &image.layer).await.expect("bytes");
    assert!(bytes == image.bytes);
    assert_eq!(fake.count(Spot::Blobs), 1);
}

#[tokio::test]
async fn a_transfer_that_is_cut_goes_on_where_it_was() {
    for row in [Row::Plain, Row::DockerHub] {
        let fake = FakeRegistry::of(row).image_of("a/b", "1", 5 << 20).run();
        let image = fake.image("a/b", "1");
        let world = World::new().await;
        let hub = world.hub(&fake);
        manifest(&hub, "a/b", "1").await.expect("there");
        let spot = match row {
            Row::DockerHub => Spot::Elsewhere,
            _ => Spot::Blobs,
        };
        fake.forget();
        fake.fault_times(spot, 3, Fault::CutAfter(1_500_000));
        let bytes = pull(&hub, "a/b", &image.layer).await.expect("bytes");
        assert!(bytes == image.bytes);
        let ranges: Vec<_> = fake
            .asked(spot)
            .iter()
            .filter_map(|asked| asked.head.header("range").map(str::to_owned))
            .collect();
        assert_eq!(ranges.len(), 3, "{ranges:?}");
        assert!(ranges.iter().all(|range| range.starts_with("bytes=")));
    }
    // A server that knows no ranges sends everything again, and what is there is read over.
    let fake = FakeRegistry::open()
        .without_ranges()
        .image_of("a/b", "1", 3 << 20)
        .run();
    let image = fake.image("a/b", "1");
    let world = World::new().await;
    let hub = world.hub(&fake);
    manifest(&hub, "a/b", "1").await.expect("there");
    fake.fault_times(Spot::Blobs, 1, Fault::CutAfter(2_000_000));
    let bytes = pull(&hub, "a/b", &image.layer).await.expect("bytes");
    assert!(bytes == image.bytes);
}

#[tokio::test]
async fn wrong_bytes_never_arrive_complete_and_are_not_asked_for_at_once() {
    for size in [50_000, 3 << 20] {
        let (world, (fake, image)) = (World::new().await, stored(size));
        let hub = world.hub(&fake);
        manifest(&hub, "a/b", "1").await.expect("there");
        fake.fault(Spot::Blobs, Fault::WrongBytes);
        let readers: Vec<_> = (0..5)
            .map(|_| {
                let (hub, layer) = (hub.clone(), image.layer.clone());
                tokio::spawn(async move { pull(&hub, "a/b", &layer).await })
            })
            .collect();
        for reader in readers {
            let outcome = reader.await.expect("no panic");
            let error = outcome.expect_err("wrong bytes");
            assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{size}: {error:?}");
        }
        world.cache.idle().await;
        fake.heal();
        fake.forget();
        world.advance(59);
        assert_error(
            pull(&hub, "a/b", &image.layer).await,
            ErrorKind::DigestMismatch,
            "hub",
        );
        assert_eq!(fake.count(Spot::Blobs), 0);
        world.advance(1);
        let bytes = pull(&hub, "a/b", &image.layer).await.expect("right now");
        assert!(bytes == image.bytes);
        let metrics = String::from_utf8(world.metrics.render(&[])).expect("text");
        assert!(
            metrics.contains("chartgate_digest_mismatch_total{upstream=\"hub\"}"),
            "{metrics}"
        );
    }
}

#[tokio::test]
async fn a_range_that_has_arrived_or_soon_will_comes_from_the_transfer() {
    let (world, (fake, image)) = (World::new().await, stored(5 << 20));
    let hub = world.hub(&fake);
    manifest(&hub, "a/b", "1").await.expect("there");
    let cold = blob(&hub, "a/b", &image.layer).await.expect("promised");
    let part = read(&cold, 4_000_000..4_100_000).await.expect("bytes");
    assert!(part == image.bytes[4_000_000..4_100_000]);
    let end = read(&cold, 5_000_000..u64::MAX).await.expect("bytes");
    assert!(end == image.bytes[5_000_000..]);
    world.cache.idle().await;
    let asked = fake.asked(Spot::Blobs);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].head.header("range"), None);
}

#[tokio::test]
async fn a_range_far_ahead_is_passed_through_while_the_whole_arrives() {
    let size = 24 << 20;
    let (world, (fake, image)) = (World::new().await, stored(size));
    let hub = world.hub(&fake);
    manifest(&hub, "a/b", "1").await.expect("there");
    // The whole does not get far before the range has come.
    fake.fault_times(Spot::Blobs, 1, Fault::StallAfter(3 << 20));
    let cold = blob(&hub, "a/b", &image.layer).await.expect("promised");
    let far = 20_000_000..20_100_000;
    let part = read(&cold, far.clone()).await.expect("bytes");
    assert!(part == image.bytes[20_000_000..20_100_000]);
    let ranges: Vec<_> = fake
        .asked(Spot::Blobs)
        .iter()
        .map(|asked| asked.head.header("range").map(str::to_owned))
        .collect();
    assert_eq!(ranges, [None, Some("bytes=20000000-20099999".to_owned())]);
    let again = read(&cold, far).await.expect("bytes");
    assert!(again == image.bytes[20_000_000..20_100_000]);
    assert_eq!(fake.count(Spot::Blobs), 3, "the range is not kept");
    let last = read(&cold, size as u64 - 10..u64::MAX).await;
    assert!(last.expect("bytes") == image.bytes[size - 10..]);
    // An upstream that breaks off in a range that was passed through is an error, never a short answer.
    fake.fault_times(Spot::Blobs, 1, Fault::CutChunkedAfter(10));
    let cut = read(&cold, 21_000_000..21_100_000).await;
    cut.expect_err("broken off");
    fake.fault_times(Spot::Blobs, 1, Fault::Shortened(10));
    let short = read(&cold, 21_000_000..21_100_000).await;
    short.expect_err("shortened");
}

#[tokio::test]
async fn what_no_manifest_names_is_asked_for() {
    let bytes = Bytes::from(vec![3; 70_000]);
    let one = Digest::of(Algorithm::Sha256, &bytes).to_string();
    let fake = FakeRegistry::open().blob("a/b", bytes.clone()).run();
    let world = World::new().await;
    let hub = world.hub(&fake);
    let found = blob(&hub, "a/b", &one).await.expect("there");
    assert_eq!(found.length(), Some(70_000));
    assert_eq!(fake.asked(Spot::Blobs)[0].head.method, "HEAD");
    assert_eq!(read(&found, 0..u64::MAX).await.expect("bytes"), bytes);
    assert_eq!(fake.count(Spot::Blobs), 2);

    let none = Digest::of(Algorithm::Sha256, b"none").to_string();
    fake.forget();
    for _ in 0..3 {
        assert_error(blob(&hub, "a/b", &none).await, ErrorKind::NotFound, "hub");
    }
    assert_eq!(fake.count(Spot::Blobs), 2, "HEAD, and one byte to be sure");
    fake.fault(Spot::Blobs, Fault::Status(429));
    let other = Digest::of(Algorithm::Sha256, b"other").to_string();
    let error = blob(&hub, "a/b", &other).await.expect_err("nobody knows");
    assert_eq!(error.kind(), ErrorKind::RateLimited);
}

#[tokio::test]
async fn a_proxy_that_denies_at_head_is_asked_for_the_first_byte() {
    let fake = FakeRegistry::of(Row::Harbor).image("a/b", "1").run();
    let image = fake.image("a/b", "1");
    let world = World::new().await;
    let hub = world.hub(&fake);
    // Nothing was pulled: no manifest names it.
    let found = blob(&hub, "a/b", &image.layer).await.expect("there");
    assert_eq!(found.length(), Some(50_000));
}

#[tokio::test]
async fn what_the_upstream_no_longer_has_is_not_there() {
    let (world, (fake, image)) = (World::new().await, stored(50_000));
    let hub = world.hub(&fake);
    manifest(&hub, "a/b", "1").await.expect("there");
    fake.fault(Spot::Blobs, Fault::Status(404));
    for _ in 0..3 {
        let outcome = pull(&hub, "a/b", &image.layer).await;
        assert_error(outcome, ErrorKind::NotFound, "");
    }
    assert_eq!(fake.count(Spot::Blobs), 1);
    fake.heal();
    world.advance(30);
    let bytes = pull(&hub, "a/b", &image.layer).await.expect("back again");
    assert!(bytes == image.bytes);
}

#[tokio::test]
async fn a_size_that_a_manifest_invents_is_an_error_before_the_first_byte() {
    for invented in [40_000, 60_000] {
        let bytes = Bytes::from(vec![9; 50_000]);
        let layer = Digest::of(Algorithm::Sha256, &bytes).to_string();
        let image = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"x/y","digest":"{layer}","size":{invented}}},"layers":[]}}"#
        );
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let fake = FakeRegistry::open()
            .manifest("a/b", "1", kind, image)
            .blob("a/b", bytes.clone())
            .run();
        let world = World::new().await;
        let hub = world.hub(&fake);
        manifest(&hub, "a/b", "1").await.expect("there");
        let promised = blob(&hub, "a/b", &layer).await.expect("promised");
        assert_eq!(promised.length(), Some(invented));
        promised.body(0..u64::MAX).await.expect_err("not as long");
    }
}

#[tokio::test]
async fn a_transfer_without_a_length_that_breaks_off_is_noticed() {
    let (world, (fake, image)) = (World::new().await, stored(3 << 20));
    let hub = world.hub(&fake);
    manifest(&hub, "a/b", "1").await.expect("there");
    // Chunked, and broken off: noticed by the digest.
    fake.fault_times(Spot::Blobs, 1, Fault::CutChunkedAfter(1 << 20));
    let bytes = pull(&hub, "a/b", &image.layer).await.expect("resumed");
    assert!(bytes == image.bytes);
}

#[tokio::test]
async fn what_no_manifest_sizes_is_bounded() {
    let (world, (fake, image)) = (World::new().await, stored(3 << 20));
    let small = upstream(&fake).with(|oci| oci.max_blob = 1 << 20);
    let hub = world.open(small);
    let unnamed = blob(&hub, "a/b", &image.layer).await;
    assert_error(unnamed, ErrorKind::TooLarge, "max_blob");
    // A manifest that was let in may name longer ones.
    manifest(&hub, "a/b", "1").await.expect("there");
    let bytes = pull(&hub, "a/b", &image.layer).await.expect("named");
    assert!(bytes == image.bytes);
}

/// Readers share one file: what they cost is a piece each.
#[tokio::test]
async fn slow_readers_cost_no_memory() {
    let (world, (fake, image)) = (World::with(1 << 20, 1 << 30).await, stored(40 << 20));
    let hub = world.hub(&fake);
    manifest(&hub, "a/b", "1").await.expect("there");
    let artifact = Arc::new(blob(&hub, "a/b", &image.layer).await.expect("promised"));
    let mut bodies = Vec::new();
    for _ in 0..100 {
        bodies.push(artifact.body(0..u64::MAX).await.expect("a body"));
    }
    world.cache.idle().await;
    let before = resident();
    let mut first = Vec::new();
    for body in &mut bodies {
        let Body::Stream(chunks) = body else {
            unreachable!("long bodies are streams")
        };
        for _ in 0..8 {
            first.push(chunks.next().await.expect("more").expect("bytes").len());
        }
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 60 << 20, "{grown} bytes for {} pieces", first.len());
    let last = bodies.pop().expect("one");
    let rest = match last {
        Body::Stream(mut chunks) => {
            let mut length = 0;
            while let Some(chunk) = chunks.next().await {
                length += chunk.expect("bytes").len();
            }
            length
        }
        other => collect(other).await.expect("bytes").len(),
    };
    let taken: usize = first.iter().rev().take(8).sum();
    assert_eq!(rest + taken, 40 << 20);
    assert_eq!(fake.count(Spot::Blobs), 1);
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = text
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .expect("a number");
    pages * 4096
}
