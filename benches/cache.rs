//! What a hit costs, and how fast a start is with many files.
//!
//! `cargo bench --bench cache`

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use chartgate::cache::{Cache, FillRequest, FillSource};
use chartgate::clock::Clock;
use chartgate::config::{self, OnDigestMismatch};
use chartgate::digest::Digest;
use chartgate::error::Result;
use chartgate::http::{Body, ByteStream};
use chartgate::metrics::Metrics;
use chartgate::upstream::Download;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;

struct Source(Bytes);

#[async_trait]
impl FillSource for Source {
    async fn open(&self, _: u64) -> Result<Download> {
        let chunks: Vec<_> = self
            .0
            .chunks(64 * 1024)
            .map(|part| self.0.slice_ref(part))
            .collect();
        Ok(Download {
            length: Some(self.0.len() as u64),
            body: ByteStream::new(futures_util::stream::iter(chunks.into_iter().map(Ok)), None),
        })
    }
}

async fn open(dir: &Path, memory: u64) -> Arc<Cache> {
    let config = config::Cache {
        memory,
        disk: 8 << 30,
        redis: None,
    };
    let metrics = Arc::new(Metrics::new());
    Cache::open(&config, dir.to_owned(), metrics, Clock::system())
        .await
        .expect("the cache opens")
}

fn content(length: usize, seed: usize) -> Bytes {
    (0..length)
        .map(|n| (n.wrapping_mul(31) ^ (n >> 8) ^ seed) as u8)
        .collect()
}

async fn fill(cache: &Arc<Cache>, bytes: &Bytes, digest: Digest) -> u64 {
    let request = FillRequest {
        name: "chart/bench".to_owned(),
        expect: Some(digest),
        also_accept: Vec::new(),
        on_mismatch: OnDigestMismatch::Reject,
        max_length: 1 << 40,
        negative_ttl: Duration::ZERO,
        sharing: chartgate::cache::Sharing::Everybody,
    };
    let object = cache
        .fill(request, Arc::new(Source(bytes.clone())))
        .await
        .expect("filled");
    drain(object.body(0..u64::MAX).await.expect("body")).await
}

async fn get(cache: &Cache, digest: &Digest) -> u64 {
    let object = cache.get(digest).await.expect("held");
    drain(object.body(0..u64::MAX).await.expect("body")).await
}

async fn drain(body: Body) -> u64 {
    match body {
        Body::Stream(mut chunks) => {
            let mut length = 0;
            while let Some(chunk) = chunks.next().await {
                length += chunk.expect("bytes").len() as u64;
            }
            length
        }
        other => other.length().unwrap_or(0),
    }
}

fn hits(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let cache = runtime.block_on(open(dir.path(), 256 << 20));
    let small = content(50 << 10, 1);
    let large = content(256 << 20, 2);
    let (small_digest, large_digest) = (Digest::of(&small), Digest::of(&large));
    runtime.block_on(async {
        fill(&cache, &small, small_digest).await;
        fill(&cache, &large, large_digest).await;
        cache.idle().await;
    });
    let mut group = c.benchmark_group("cache");
    group.bench_function("get 50 KB from memory", |b| {
        b.iter_custom(|times| {
            runtime.block_on(async {
                let begin = Instant::now();
                for _ in 0..times {
                    get(&cache, &small_digest).await;
                }
                begin.elapsed()
            })
        });
    });
    group.bench_function("fill request that is a hit, 50 KB", |b| {
        b.iter(|| runtime.block_on(fill(&cache, &small, small_digest)));
    });
    group
        .throughput(Throughput::Bytes(large.len() as u64))
        .sample_size(10);
    group.bench_function("stream 256 MiB from disk", |b| {
        b.iter(|| runtime.block_on(get(&cache, &large_digest)));
    });
    let bare = runtime.block_on(open(&dir.path().join("bare"), 0));
    runtime.block_on(async {
        fill(&bare, &small, small_digest).await;
        bare.idle().await;
    });
    group.throughput(Throughput::Bytes(small.len() as u64));
    group.bench_function("get 50 KB from disk, no memory tier", |b| {
        b.iter(|| runtime.block_on(get(&bare, &small_digest)));
    });
    group.throughput(Throughput::Bytes(large.len() as u64));
    group.bench_function("fill 256 MiB and follow it", |b| {
        b.iter(|| {
            let dir = tempfile::tempdir().expect("a temporary folder");
            runtime.block_on(async {
                let cache = open(dir.path(), 0).await;
                fill(&cache, &large, large_digest).await
            })
        });
    });
    group.finish();
}

fn start(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a temporary folder");
    for n in 0..100_000_u32 {
        let bytes = n.to_le_bytes();
        let hex = Digest::of(&bytes).to_hex();
        let folder = dir.path().join("blobs").join(&hex[..2]);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(hex), bytes).expect("written");
    }
    let restart = || async {
        let cache = open(dir.path(), 0).await;
        assert_eq!(cache.stats().disk.objects, 100_000);
        cache
    };
    let mut group = c.benchmark_group("start");
    group.sample_size(10);
    group.bench_function("100,000 objects, ledger lost", |b| {
        b.iter_batched(
            || drop(std::fs::remove_file(dir.path().join("ledger.redb"))),
            |()| runtime.block_on(async { drop(restart().await) }),
            criterion::BatchSize::PerIteration,
        );
    });
    runtime.block_on(async { restart().await.close().await });
    group.bench_function("100,000 objects", |b| {
        b.iter_custom(|times| {
            (0..times)
                .map(|_| {
                    runtime.block_on(async {
                        let begin = Instant::now();
                        let cache = restart().await;
                        let took = begin.elapsed();
                        cache.close().await;
                        took
                    })
                })
                .sum()
        });
    });
    group.finish();
}

criterion_group!(benches, hits, start);
criterion_main!(benches);
