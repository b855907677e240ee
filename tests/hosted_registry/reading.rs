//! The hosted registry as a repository: blobs of a bucket come through the cache.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use chartgate::cache::Cache;
use chartgate::clock::Clock;
use chartgate::config;
use chartgate::error::{ErrorKind, Result};
use chartgate::http::Body;
use chartgate::metrics::Metrics;
use chartgate::repository::Origin;
use chartgate::repository::registry::RegistryRepository as _;
use chartgate::repository::registry::hosted::HostedRegistryRepository;
use chartgate::store::registry::HostedRegistry;

use super::ground::*;
use crate::suites::hosted::Ground;
use crate::support::fake::{FakeS3, On};
use crate::support::stores::BUCKET;

async fn repository(ground: &Ground, store: &Arc<HostedRegistry>) -> HostedRegistryRepository {
    let limits = config::Cache {
        memory: 64 << 20,
        disk: 64 << 20,
        redis: None,
    };
    let folder = ground.local.path().join("cache");
    let cache = Cache::open(&limits, folder, Arc::new(Metrics::new()), Clock::system()).await;
    HostedRegistryRepository::new(Arc::clone(store), cache.expect("a cache"))
}

async fn read(
    repository: &HostedRegistryRepository,
    digest: &chartgate::oci::Digest,
    range: Range<u64>,
) -> Result<Bytes> {
    let artifact = repository.blob(&name("app"), digest).await?;
    assert_eq!(artifact.origin, Origin::Hosted);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_read_from_the_bucket_once() {
    let s3 = FakeS3::new(BUCKET).run();
    let ground = Ground::fake(&s3);
    let store = World::new(&ground, "team").await.registry;
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let digest = put_blob(&store, "app", &bytes).await;
    let repository = repository(&ground, &store).await;
    s3.forget();
    // Asking for it is not reading it.
    let artifact = repository.blob(&name("app"), &digest).await.expect("there");
    assert_eq!(artifact.length(), Some(3_000_000));
    assert_eq!(s3.total(), 0);
    let reads: Vec<_> = (0..8)
        .map(|_| async {
            read(&repository, &digest, 0..u64::MAX)
                .await
                .expect("bytes")
        })
        .collect();
    for read in futures_util::future::join_all(reads).await {
        assert_eq!(read, bytes);
    }
    assert_eq!(s3.count(&On::Read), 1);
    assert_eq!(
        read(&repository, &digest, 5..9).await.expect("bytes"),
        bytes[5..9]
    );
    assert_eq!(s3.total(), 1);
    // What is deleted is not served from the cache.
    store
        .delete_blob(&name("app"), &digest)
        .await
        .expect("removed");
    let gone = read(&repository, &digest, 0..9).await;
    assert_eq!(kind(gone), ErrorKind::NotFound);
    // Nor what is held for somebody else.
    let other = repository.blob(&name("other"), &digest).await;
    assert_eq!(kind(other), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_bytes_are_damage_and_removed_ones_are_absent() {
    let s3 = FakeS3::new(BUCKET).run();
    let ground = Ground::fake(&s3);
    let store = World::new(&ground, "team").await.registry;
    let other = World::new(&ground, "team").await.registry;
    let digest = put_blob(&store, "app", b"some bytes").await;
    let repository = repository(&ground, &store).await;
    let blob = s3
        .keys()
        .into_iter()
        .find(|key| key.contains("/blobs/sha256/"))
        .expect("a blob");
    s3.remove(&blob);
    let lost = read(&repository, &digest, 0..9).await;
    assert_eq!(kind(lost), ErrorKind::Internal);
    // Another replica deleted it and its bytes were swept.
    other
        .delete_blob(&name("app"), &digest)
        .await
        .expect("removed");
    let gone = read(&repository, &digest, 0..9).await;
    assert_eq!(kind(gone), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_bytes_are_not_served() {
    let s3 = FakeS3::new(BUCKET).run();
    let ground = Ground::fake(&s3);
    let store = World::new(&ground, "team").await.registry;
    let layer = put_blob(&store, "app", b"some bytes").await;
    push(&store, "app", "v1", "one").await;
    for key in s3
        .keys()
        .into_iter()
        .filter(|key| key.contains("/blobs/sha256/") && !key.ends_with(".used"))
    {
        let mut bytes = s3.bytes(&key).expect("there").to_vec();
        bytes[0] ^= 1;
        s3.put(&key, bytes);
    }
    let fresh = World::new(&ground, "team").await.registry;
    let repository = repository(&ground, &fresh).await;
    assert_eq!(
        kind(read(&repository, &layer, 0..9).await),
        ErrorKind::DigestMismatch
    );
    assert_eq!(
        kind(repository.manifest(&name("app"), &by_tag("v1")).await),
        ErrorKind::Internal
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_hands_out_its_files() {
    let ground = Ground::folder();
    let store = World::new(&ground, "team").await.registry;
    let digest = put_blob(&store, "app", b"some bytes").await;
    let repository = repository(&ground, &store).await;
    assert_eq!(&**repository.label(), "hosted");
    assert_eq!(
        read(&repository, &digest, 0..u64::MAX)
            .await
            .expect("bytes"),
        "some bytes"
    );
    assert_eq!(
        read(&repository, &digest, 5..100).await.expect("bytes"),
        "bytes"
    );
    push(&store, "app", "v1", "one").await;
    let found = repository
        .manifest(&name("app"), &by_tag("v1"))
        .await
        .expect("there");
    assert_eq!(found.source.origin, Origin::Hosted);
    assert_eq!(
        repository
            .tags(&name("app"))
            .await
            .expect("a list")
            .items
            .len(),
        1
    );
    assert_eq!(repository.catalog().await.expect("a list"), [name("app")]);
    let referrers = repository.referrers(&name("app"), &found.digest).await;
    assert!(referrers.expect("a list").items.is_empty());
}
