//! What only the inside can arrange: a disk that is full.

use std::fs::File;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream;
use tempfile::TempDir;

use super::*;
use crate::config::OnDigestMismatch;
use crate::http::{Body, ByteStream};
use crate::upstream::Download;

/// A file system with room for so many bytes; removing files is told by hand.
#[derive(Debug)]
struct Narrow {
    room: Mutex<u64>,
    blobs: std::path::PathBuf,
    syncs: bool,
}

impl Narrow {
    fn used(&self) -> u64 {
        let shards = std::fs::read_dir(&self.blobs)
            .into_iter()
            .flatten()
            .flatten();
        let files = shards.flat_map(|shard| std::fs::read_dir(shard.path()).into_iter().flatten());
        files
            .flatten()
            .map(|file| file.metadata().map_or(0, |metadata| metadata.len()))
            .sum()
    }
}

impl Volume for Narrow {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let room = *self.room.lock().expect("unpoisoned");
        if self.used() + offset + bytes.len() as u64 > room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        FileSystem.write(file, bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        match self.syncs {
            true => FileSystem.sync(file),
            false => Err(io::ErrorKind::StorageFull.into()),
        }
    }
}

struct Source {
    bytes: Bytes,
    opens: AtomicUsize,
}

#[async_trait]
impl FillSource for Source {
    async fn open(&self, offset: u64) -> Result<Download> {
        self.opens.fetch_add(1, Ordering::SeqCst);
        let rest = self.bytes.slice(offset as usize..);
        let chunks: Vec<_> = rest.chunks(100_000).map(Bytes::copy_from_slice).collect();
        Ok(Download {
            length: Some(self.bytes.len() as u64),
            body: ByteStream::new(stream::iter(chunks.into_iter().map(Ok)), None),
        })
    }
}

struct World {
    cache: Arc<Cache>,
    volume: Arc<Narrow>,
    _dir: TempDir,
}

impl World {
    async fn new(room: u64, syncs: bool) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let volume = Arc::new(Narrow {
            room: Mutex::new(room),
            blobs: dir.path().join("blobs"),
            syncs,
        });
        let config = config::Cache {
            memory: 0,
            disk: 1 << 30,
            redis: None,
        };
        let cache = Cache::open_on(
            volume.clone(),
            &config,
            dir.path().to_owned(),
            Arc::new(Metrics::new()),
            Clock::system(),
        );
        Self {
            cache: cache.await.expect("the cache opens"),
            volume,
            _dir: dir,
        }
    }

    async fn fill(&self, seed: u8, length: usize) -> (Object, Bytes, Arc<Source>) {
        let bytes: Bytes = (0..length)
            .map(|n| (n as u8).wrapping_mul(seed | 1))
            .collect();
        let source = Arc::new(Source {
            bytes: bytes.clone(),
            opens: AtomicUsize::new(0),
        });
        let request = FillRequest {
            name: format!("n/{seed}/{length}"),
            expect: Some(Digest::of(&bytes)),
            also_accept: Vec::new(),
            on_mismatch: OnDigestMismatch::Reject,
            max_length: 1 << 30,
            negative_ttl: Duration::ZERO,
            sharing: Sharing::Everybody,
        };
        let object = self.cache.fill(request, source.clone()).await;
        (object.expect("a full disk is no error"), bytes, source)
    }
}

async fn read(object: &Object) -> Bytes {
    match object.body(0..u64::MAX).await.expect("body") {
        Body::Stream(mut chunks) => {
            let mut all = Vec::new();
            while let Some(chunk) = chunks.next().await {
                all.extend_from_slice(&chunk.expect("bytes"));
            }
            all.into()
        }
        Body::Bytes(bytes) => bytes,
        other => unreachable!("{other:?}"),
    }
}

#[tokio::test]
async fn a_full_disk_costs_nobody_his_bytes() {
    let world = World::new(2 << 20, true).await;
    // One that fits, one that is short, one that runs into the end in its middle.
    let (kept, ..) = world.fill(1, 1 << 20).await;
    for (seed, length) in [(2, 3 << 20), (3, 500_000), (4, 5 << 20)] {
        let (object, bytes, source) = world.fill(seed, length).await;
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let object = object.clone();
                tokio::spawn(async move { read(&object).await })
            })
            .collect();
        for reader in readers {
            assert!(reader.await.expect("no panic") == bytes);
        }
        assert!(source.opens.load(Ordering::SeqCst) <= 3);
        world.cache.idle().await;
    }
    assert_eq!(read(&kept).await.len(), 1 << 20);
    assert!(world.volume.used() <= 2 << 20);
    assert_eq!(world.cache.stats().disk.bytes, world.volume.used());
}

#[tokio::test]
async fn a_full_disk_makes_room_by_evicting_the_oldest() {
    let world = World::new(1_000_000, true).await;
    for seed in 0..10 {
        let (object, bytes, _) = world.fill(seed, 300_000).await;
        assert!(read(&object).await == bytes);
        world.cache.idle().await;
        assert!(world.cache.holds(&Digest::of(&bytes)));
    }
}

#[tokio::test]
async fn readers_do_not_depend_on_the_commit() {
    let world = World::new(1 << 30, false).await;
    for length in [10_000, 3 << 20] {
        let (object, bytes, source) = world.fill(7, length).await;
        assert!(read(&object).await == bytes);
        assert_eq!(source.opens.load(Ordering::SeqCst), 1);
        world.cache.idle().await;
        assert!(!world.cache.holds(&Digest::of(&bytes)));
        assert_eq!(world.cache.stats().disk.bytes, 0);
    }
}

/// Sends a piece whenever the test says so.
struct Slow {
    length: u64,
    piece: Bytes,
    go: Arc<tokio::sync::Semaphore>,
    opens: AtomicUsize,
}

#[async_trait]
impl FillSource for Slow {
    async fn open(&self, offset: u64) -> Result<Download> {
        self.opens.fetch_add(1, Ordering::SeqCst);
        let (piece, go) = (self.piece.clone(), Arc::clone(&self.go));
        let left = self.length - offset;
        let chunks = stream::unfold(left, move |left| {
            let (piece, go) = (piece.clone(), Arc::clone(&go));
            async move {
                if left == 0 {
                    return None;
                }
                go.acquire().await.expect("never closed").forget();
                Some((Ok(piece.clone()), left - piece.len() as u64))
            }
        });
        Ok(Download {
            length: Some(self.length),
            body: ByteStream::new(chunks, None),
        })
    }
}

fn slow(pieces: u64) -> (FillRequest, Arc<Slow>) {
    let piece = Bytes::from(vec![7; 512 << 10]);
    let length = pieces * piece.len() as u64;
    let whole = piece.repeat(usize::try_from(pieces).expect("few"));
    let request = FillRequest {
        name: "slow".to_owned(),
        expect: Some(Digest::of(&whole)),
        also_accept: Vec::new(),
        on_mismatch: OnDigestMismatch::Reject,
        max_length: 1 << 30,
        negative_ttl: Duration::ZERO,
        sharing: Sharing::Everybody,
    };
    let source = Slow {
        length,
        piece,
        go: Arc::new(tokio::sync::Semaphore::new(0)),
        opens: AtomicUsize::new(0),
    };
    (request, Arc::new(source))
}

/// A cache that gives long transfers up early, and counts nothing shorter than this as long.
async fn impatient(above: u64) -> World {
    let mut world = World::new(1 << 30, true).await;
    let cache = Arc::get_mut(&mut world.cache).expect("nobody else has it yet");
    cache.patience = Patience {
        period: Duration::from_secs(30),
        above,
    };
    world
}

#[tokio::test]
async fn a_long_transfer_that_nobody_reads_is_given_up() {
    let world = impatient(1 << 20).await;
    let (request, source) = slow(10);
    source.go.add_permits(3);
    let object = world.cache.fill(request.clone(), source.clone()).await;
    let object = object.expect("it arrives");
    tokio::time::pause();
    // While somebody could read it, it goes on, however long that takes.
    tokio::time::advance(Duration::from_secs(60)).await;
    source.go.add_permits(1);
    while object.arrived().expect("not all") < 3 * (512 << 10) {
        tokio::task::yield_now().await;
    }
    drop(object);
    // Nobody: for less than the time it takes, then for longer.
    tokio::time::advance(Duration::from_secs(29)).await;
    assert_eq!(world.cache.stats().fills, 1);
    tokio::time::advance(Duration::from_secs(2)).await;
    source.go.add_permits(1);
    world.cache.idle().await;
    assert_eq!(source.opens.load(Ordering::SeqCst), 1);
    assert_eq!(world.cache.stats().disk.bytes, 0);
    // Who comes later starts anew.
    source.go.add_permits(100);
    let object = world.cache.fill(request, source.clone()).await;
    assert_eq!(read(&object.expect("it arrives")).await.len(), 5 << 20);
    assert_eq!(source.opens.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn short_transfers_and_those_half_done_go_on_though_nobody_reads() {
    for (above, pieces) in [(1 << 30, 2), (1 << 20, 6)] {
        let world = impatient(above).await;
        let (request, source) = slow(10);
        source.go.add_permits(pieces + 1);
        let object = world.cache.fill(request.clone(), source.clone()).await;
        let object = object.expect("it arrives");
        while object.arrived().expect("not all") < pieces as u64 * (512 << 10) {
            tokio::task::yield_now().await;
        }
        drop(object);
        tokio::time::pause();
        tokio::time::advance(Duration::from_hours(1)).await;
        source.go.add_permits(100);
        world.cache.idle().await;
        let digest = request.expect.expect("given");
        assert!(world.cache.holds(&digest), "{above}");
        assert_eq!(source.opens.load(Ordering::SeqCst), 1);
        tokio::time::resume();
    }
}

/// Whoever writes an index may name any digest; that shows nobody what came from somebody who shares with nobody.
#[tokio::test]
async fn the_digest_of_a_private_blob_opens_nothing_to_charts() {
    let world = World::new(1 << 30, true).await;
    let bytes = Bytes::from_static(b"a secret");
    let fill = async |name: &str, sharing: Sharing| {
        let source = Arc::new(Source {
            bytes: bytes.clone(),
            opens: AtomicUsize::new(0),
        });
        let request = FillRequest {
            name: name.to_owned(),
            expect: Some(Digest::of(&bytes)),
            also_accept: Vec::new(),
            on_mismatch: OnDigestMismatch::Reject,
            max_length: 1 << 30,
            negative_ttl: Duration::ZERO,
            sharing,
        };
        let object = world.cache.fill(request, source.clone()).await;
        assert_eq!(read(&object.expect("filled")).await, bytes);
        world.cache.idle().await;
        source.opens.load(Ordering::SeqCst)
    };
    let digest = Digest::of(&bytes);
    assert_eq!(fill("private", Sharing::Nobody).await, 1);
    assert!(world.cache.holds(&digest));
    assert!(world.cache.get_chart(&digest).await.is_none());
    assert_eq!(fill("chart/a", Sharing::Charts).await, 1);
    // What a chart repository sent itself is for others, and registries learn nothing from that.
    assert!(world.cache.get_chart(&digest).await.is_some());
    assert_eq!(fill("chart/b", Sharing::Charts).await, 0);
    assert!(world.cache.get_shared(&digest).await.is_none());
    assert_eq!(fill("shared", Sharing::Sharers).await, 1);
    assert_eq!(fill("stored", Sharing::Everybody).await, 0);
}

/// Also a cache whose marks were lost, or that is older than marks: what it holds must be of use where no upstream is.
#[tokio::test]
async fn charts_without_marks_are_not_fetched_again() {
    let world = World::new(1 << 30, true).await;
    let (_, bytes, _) = world.fill(1, 1000).await;
    world.cache.idle().await;
    let request = |name: &str| FillRequest {
        name: name.to_owned(),
        expect: Some(Digest::of(&bytes)),
        also_accept: Vec::new(),
        on_mismatch: OnDigestMismatch::Reject,
        max_length: 1 << 30,
        negative_ttl: Duration::ZERO,
        sharing: Sharing::Charts,
    };
    for name in ["n/1/1000", "another"] {
        let source = Arc::new(Source {
            bytes: bytes.clone(),
            opens: AtomicUsize::new(0),
        });
        let object = world.cache.fill(request(name), source.clone()).await;
        assert_eq!(read(&object.expect("filled")).await, bytes);
        assert_eq!(source.opens.load(Ordering::SeqCst), 0, "{name}");
    }
}
