//! Reading from a bucket through the cache.

use std::sync::Arc;

use bytes::Bytes;
use chartgate::cache::Cache;
use chartgate::clock::Clock;
use chartgate::config;
use chartgate::digest::Digest;
use chartgate::error::{ErrorKind, Result};
use chartgate::http::Body;
use chartgate::metrics::Metrics;
use chartgate::repository::Artifact;
use chartgate::repository::hosted::HostedRepository;
use chartgate::store::OverwritePermission::Denied;

use crate::suites::hosted::*;
use crate::support::fake::{FakeChart, FakeS3, Fault, On};
use crate::support::stores::BUCKET;

const APP: &str = "some/prefix/team/app-1.0.0.tgz";

async fn repository(ground: &Ground) -> HostedRepository {
    let store = ground.look("team").await;
    let cache = Cache::open(
        &config::Cache {
            memory: 64 << 20,
            disk: 64 << 20,
            redis: None,
        },
        ground.local.path().join("cache"),
        Arc::new(Metrics::new()),
        Clock::system(),
    );
    HostedRepository::new(store, cache.await.expect("a cache"))
}

async fn bytes(artifact: &Artifact, range: std::ops::Range<u64>) -> Result<Bytes> {
    let mut all = Vec::new();
    match artifact.body(range).await? {
        Body::Stream(mut stream) => {
            while let Some(chunk) = stream.next().await {
                all.extend_from_slice(&chunk?);
            }
        }
        body => body
            .into_pieces()
            .iter()
            .for_each(|piece| all.extend_from_slice(piece)),
    }
    Ok(all.into())
}

async fn get(repository: &HostedRepository, name: &str) -> Result<Bytes> {
    let artifact = repository.file(&file(name)).await?;
    let all = bytes(&artifact, 0..u64::MAX).await?;
    assert_eq!(artifact.length(), Some(all.len() as u64));
    if let Some(digest) = artifact.digest {
        assert_eq!(digest, Digest::of(&all));
    }
    Ok(all)
}

#[tokio::test]
async fn a_hot_archive_costs_no_request() {
    let large = FakeChart::new("large", "1.0.0").size(3 << 20).bytes();
    let s3 = FakeS3::new(BUCKET)
        .chart("some/prefix/team", "app", "1.0.0")
        .object("some/prefix/team/large-1.0.0.tgz", large.clone())
        .run();
    let ground = Ground::fake(&s3);
    let repository = repository(&ground).await;
    for (name, wanted) in [
        ("app-1.0.0.tgz", s3.bytes(APP).expect("there")),
        ("large-1.0.0.tgz", large),
    ] {
        s3.forget();
        let readers = (0..5).map(|_| get(&repository, name));
        for read in futures_util::future::join_all(readers).await {
            assert_eq!(read.expect("readable"), wanted);
        }
        assert_eq!(s3.total(), 1, "one for all");
        let artifact = repository.file(&file(name)).await.expect("there");
        assert_eq!(
            bytes(&artifact, 5..15).await.expect("a part"),
            wanted.slice(5..15)
        );
        s3.refuse();
        assert_eq!(get(&repository, name).await.expect("held"), wanted);
        s3.heal();
        assert_eq!(s3.total(), 1);
    }
}

#[tokio::test]
async fn an_object_that_somebody_replaced_is_read_again() {
    for size in [10, 3 << 20] {
        let s3 = FakeS3::new(BUCKET)
            .chart("some/prefix/team", "app", "1.0.0")
            .run();
        let ground = Ground::fake(&s3);
        let repository = repository(&ground).await;
        let newer = FakeChart::new("app", "1.0.0").size(size).bytes();
        s3.put(APP, newer.clone());
        assert_eq!(
            get(&repository, "app-1.0.0.tgz").await.expect("there"),
            newer
        );
        s3.put(APP, "junk");
        // Held under its digest, and what the index promises.
        assert_eq!(
            get(&repository, "app-1.0.0.tgz").await.expect("held"),
            newer
        );
    }
}

#[tokio::test]
async fn wrong_bytes_never_arrive_complete() {
    let s3 = FakeS3::new(BUCKET)
        .chart("some/prefix/team", "app", "1.0.0")
        .run();
    let ground = Ground::fake(&s3);
    let repository = repository(&ground).await;
    for fault in [
        Fault::WrongBytes,
        Fault::CutAfter(50),
        Fault::Status(503),
        Fault::LengthTooLong(4),
    ] {
        s3.fault(On::Archives, fault.clone());
        let error = get(&repository, "app-1.0.0.tgz").await.expect_err("wrong");
        assert!(
            matches!(
                error.kind(),
                ErrorKind::DigestMismatch | ErrorKind::UpstreamUnavailable
            ),
            "{fault:?}: {error:?}"
        );
        s3.heal();
    }
    assert_eq!(
        get(&repository, "app-1.0.0.tgz").await.expect("whole"),
        s3.bytes(APP).expect("there")
    );
    s3.remove(APP);
    s3.put("some/prefix/team/app-2.0.0.tgz", plain("app", "2.0.0"));
    assert!(
        get(&repository, "app-2.0.0.tgz").await.is_ok(),
        "not in the index yet"
    );
}

#[tokio::test]
async fn one_that_is_gone_is_not_found_and_leaves_the_index() {
    let s3 = FakeS3::new(BUCKET)
        .chart("some/prefix/team", "app", "1.0.0")
        .run();
    let ground = Ground::fake(&s3);
    let repository = repository(&ground).await;
    s3.remove(APP);
    let error = get(&repository, "app-1.0.0.tgz").await.expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    use chartgate::repository::ChartRepository as _;
    assert!(repository.index().get("app").is_none());
}

#[tokio::test]
async fn nonsense_costs_one_request_in_a_while() {
    let s3 = FakeS3::new(BUCKET).run();
    let ground = Ground::fake(&s3);
    let store = ground.look("team").await;
    s3.forget();
    // Time stands still. Paused time jumps to the next timeout whenever everybody waits for the socket, save while something
    // blocks.
    tokio::time::pause();
    let (moving, standing) = std::sync::mpsc::channel::<()>();
    let standstill = tokio::task::spawn_blocking(move || standing.recv());
    for name in ["nonsense-1.0.0.tgz", "nonsense-1.0.0.tgz.prov"] {
        for _ in 0..10 {
            let error = bytes_of(&store, name).await.expect_err("nothing");
            assert_eq!(error.kind(), ErrorKind::NotFound);
        }
    }
    assert_eq!(s3.total(), 2);
    drop(moving);
    let _ = standstill.await.expect("no panic");
    tokio::time::resume();
    put(&store, &plain("nonsense", "1.0.0"), Denied)
        .await
        .expect("stored");
    assert!(bytes_of(&store, "nonsense-1.0.0.tgz").await.is_ok());
}
