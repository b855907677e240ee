//! The cache as its callers see it: coalescing, following, verification, resuming, eviction, restarts and crashes.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chartgate::cache::{Cache, FillRequest, FillSource, NameState, Object, SMALL, Sharing, Status};
use chartgate::clock::Clock;
use chartgate::config::{self, OnDigestMismatch};
use chartgate::digest::Digest;
use chartgate::error::{Error, ErrorKind, Result};
use chartgate::http::{Body, ByteStream};
use chartgate::metrics::Metrics;
use chartgate::upstream::Download;
use futures_util::stream;
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::mpsc;

// ---- The world

struct World {
    dir: TempDir,
    config: config::Cache,
    clock: Clock,
    cache: Arc<Cache>,
}

impl World {
    async fn new() -> Self {
        Self::with(1 << 20, 64 << 20).await
    }

    async fn with(memory: u64, disk: u64) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let config = config::Cache {
            memory,
            disk,
            redis: None,
        };
        let clock = Clock::manual("2026-01-02T03:04:05Z".parse().expect("a time"));
        let cache = open(&config, dir.path(), &clock).await;
        Self {
            dir,
            config,
            clock,
            cache,
        }
    }

    async fn restart(&mut self) {
        self.cache.idle().await;
        self.cache.close().await;
        self.cache = open(&self.config, self.dir.path(), &self.clock).await;
    }

    /// What a kill at this moment would have left, opened by a new process.
    async fn crash(&mut self) {
        let image = tempfile::tempdir().expect("a temporary folder");
        copy(self.dir.path(), image.path());
        self.dir = image;
        self.cache = open(&self.config, self.dir.path(), &self.clock).await;
    }

    async fn fill(&self, name: &str, bytes: &Bytes) -> Object {
        let request = request(name, Some(Digest::of(bytes)));
        let object = self.cache.fill(request, Script::whole(bytes)).await;
        let object = object.expect("filled");
        self.cache.idle().await;
        object
    }

    fn blob(&self, bytes: &Bytes) -> PathBuf {
        let hex = Digest::of(bytes).to_hex();
        self.dir.path().join("blobs").join(&hex[..2]).join(hex)
    }

    fn disk_bytes(&self) -> u64 {
        size_of(&self.dir.path().join("blobs")) + size_of(&self.dir.path().join("tmp"))
    }
}

async fn open(config: &config::Cache, dir: &Path, clock: &Clock) -> Arc<Cache> {
    let metrics = Arc::new(Metrics::new());
    Cache::open(config, dir.to_owned(), metrics, clock.clone())
        .await
        .expect("the cache opens")
}

fn copy(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(file.file_name());
        if file.file_type().expect("a type").is_dir() {
            std::fs::create_dir(&target).expect("a folder");
            copy(&file.path(), &target);
        } else {
            std::fs::copy(file.path(), target).expect("a copy");
        }
    }
}

fn size_of(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).expect("a folder").flatten();
    files
        .map(|file| match file.file_type() {
            Ok(kind) if kind.is_dir() => size_of(&file.path()),
            _ => file.metadata().map_or(0, |metadata| metadata.len()),
        })
        .sum()
}

fn request(name: &str, expect: Option<Digest>) -> FillRequest {
    FillRequest {
        name: name.to_owned(),
        expect,
        also_accept: Vec::new(),
        on_mismatch: OnDigestMismatch::Reject,
        max_length: 1 << 30,
        negative_ttl: Duration::from_secs(30),
        sharing: Sharing::Everybody,
    }
}

/// Bytes that differ everywhere, so that a misplaced chunk shows.
fn content(length: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

async fn read(object: &Object) -> Result<Bytes> {
    read_range(object, 0..u64::MAX).await
}

async fn read_range(object: &Object, range: std::ops::Range<u64>) -> Result<Bytes> {
    collect(object.body(range).await?).await.1
}

/// Everything that arrived, and how it ended.
async fn collect(body: Body) -> (usize, Result<Bytes>) {
    let mut all = Vec::new();
    match body {
        Body::Empty => {}
        Body::Bytes(bytes) => all.extend_from_slice(&bytes),
        Body::Rope(..) => unreachable!("the cache makes no ropes"),
        Body::Stream(mut stream) => {
            while let Some(chunk) = stream.next().await {
                match chunk {
                    Ok(chunk) => all.extend_from_slice(&chunk),
                    Err(error) => return (all.len(), Err(error)),
                }
            }
            if let Some(length) = stream.length {
                assert_eq!(length, all.len() as u64, "a clean end means everything");
            }
        }
    }
    (all.len(), Ok(all.into()))
}

// ---- Sources

/// Answers every `open` with the next of its downloads.
struct Script {
    downloads: Mutex<VecDeque<Result<Download>>>,
    offsets: Mutex<Vec<u64>>,
    mismatches: AtomicUsize,
}

impl Script {
    fn new(downloads: impl IntoIterator<Item = Result<Download>>) -> Arc<Self> {
        Arc::new(Self {
            downloads: Mutex::new(downloads.into_iter().collect()),
            offsets: Mutex::default(),
            mismatches: AtomicUsize::new(0),
        })
    }

    fn whole(bytes: &Bytes) -> Arc<Self> {
        Self::new([Ok(download(bytes, Some(bytes.len()), None))])
    }

    fn failing(kind: ErrorKind) -> Arc<Self> {
        Self::new([Err(Error::new(kind, "no"))])
    }

    fn offsets(&self) -> Vec<u64> {
        self.offsets.lock().expect("unpoisoned").clone()
    }
}

#[async_trait]
impl FillSource for Script {
    async fn open(&self, offset: u64) -> Result<Download> {
        self.offsets.lock().expect("unpoisoned").push(offset);
        let next = self.downloads.lock().expect("unpoisoned").pop_front();
        next.unwrap_or_else(|| Err(Error::unavailable("asked too often")))
    }

    fn mismatched(&self, _: &Digest) {
        self.mismatches.fetch_add(1, Ordering::SeqCst);
    }
}

/// Answers any number of times, from any offset on.
struct Patient(Bytes);

#[async_trait]
impl FillSource for Patient {
    async fn open(&self, offset: u64) -> Result<Download> {
        let length = Some(self.0.len());
        Ok(download(&self.0.slice(offset as usize..), length, None))
    }
}

const CHUNK: usize = 64 * 1024;

/// The bytes in chunks, then perhaps an error.
fn download(bytes: &Bytes, length: Option<usize>, end: Option<Error>) -> Download {
    let chunks: Vec<Result<Bytes>> = bytes
        .chunks(CHUNK)
        .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
        .chain(end.map(Err))
        .collect();
    Download {
        length: length.map(|length| length as u64),
        body: ByteStream::new(stream::iter(chunks), None),
    }
}

/// A download that the test feeds; it ends when the sender is dropped.
fn fed(length: Option<usize>) -> (mpsc::UnboundedSender<Result<Bytes>>, Download) {
    let (feed, chunks) = mpsc::unbounded_channel();
    let chunks = stream::unfold(chunks, |mut chunks| async move {
        chunks.recv().await.map(|chunk| (chunk, chunks))
    });
    let download = Download {
        length: length.map(|length| length as u64),
        body: ByteStream::new(chunks, None),
    };
    (feed, download)
}

fn cut() -> Error {
    Error::unavailable("the connection was cut")
}

// ---- Coalescing and following

#[tokio::test]
async fn a_hundred_readers_share_one_transfer() {
    for length in [50_000, 3 << 20] {
        let world = World::new().await;
        let bytes = content(length, 1);
        let source = Script::whole(&bytes);
        let readers: Vec<_> = (0..100)
            .map(|_| {
                let (cache, source) = (Arc::clone(&world.cache), Arc::clone(&source));
                let request = request("chart/a/x.tgz", Some(Digest::of(&bytes)));
                tokio::spawn(async move { read(&cache.fill(request, source).await?).await })
            })
            .collect();
        for reader in readers {
            assert_eq!(reader.await.expect("no panic").expect("bytes"), bytes);
        }
        assert_eq!(source.offsets(), [0]);
    }
}

#[tokio::test]
async fn the_second_request_is_a_hit_from_memory_or_disk() {
    let world = World::new().await;
    for length in [0, 1, 50_000, SMALL as usize, SMALL as usize + 1, 5 << 20] {
        let bytes = content(length, length as u64);
        let name = format!("chart/a/{length}");
        let first = world.fill(&name, &bytes).await;
        assert_eq!(first.status(), Status::Miss);
        assert_eq!(read(&first).await.expect("bytes"), bytes);

        let again = world.fill(&name, &bytes).await;
        assert_eq!(again.status(), Status::Hit);
        assert!(again.is_verified());
        assert_eq!(again.digest(), Some(Digest::of(&bytes)));
        assert_eq!(again.length(), Some(length as u64));
        assert_eq!(read(&again).await.expect("bytes"), bytes);
        assert!(world.cache.holds(&Digest::of(&bytes)));
    }
}

#[tokio::test]
async fn readers_follow_a_transfer_and_never_get_its_newest_chunk() {
    let world = World::new().await;
    let bytes = content(3 * CHUNK + (2 << 20), 2);
    let (feed, download) = fed(Some(bytes.len()));
    let source = Script::new([Ok(download)]);
    let send = |range: std::ops::Range<usize>| feed.send(Ok(bytes.slice(range))).expect("followed");
    send(0..CHUNK);

    let (cache, digest) = (Arc::clone(&world.cache), Digest::of(&bytes));
    let filling = tokio::spawn(async move { cache.fill(request("n", Some(digest)), source).await });
    tokio::task::yield_now().await;
    assert!(!filling.is_finished(), "one chunk is not handed out alone");

    send(CHUNK..2 * CHUNK);
    let object = filling.await.expect("no panic").expect("object");
    assert_eq!(object.status(), Status::Miss);
    assert_eq!(object.length(), Some(bytes.len() as u64));
    assert_eq!(object.digest(), Some(digest));

    // A range of what is there already ends cleanly while the transfer goes on.
    let part = read_range(&object, 10..1000).await.expect("bytes");
    assert_eq!(part, bytes.slice(10..1000));

    let Body::Stream(mut stream) = object.body(0..u64::MAX).await.expect("body") else {
        unreachable!("a running fill is a stream")
    };
    let first = stream.next().await.expect("a chunk").expect("bytes");
    assert_eq!(first, bytes.slice(0..first.len()));

    send(2 * CHUNK..3 * CHUNK);
    send(3 * CHUNK..bytes.len());
    let mut rest = first.to_vec();
    drop(feed);
    while let Some(chunk) = stream.next().await {
        rest.extend_from_slice(&chunk.expect("bytes"));
    }
    assert_eq!(rest, bytes);
}

#[tokio::test]
async fn a_range_far_ahead_of_a_running_fill_waits_for_its_bytes() {
    let world = World::new().await;
    let bytes = content(4 << 20, 3);
    let (feed, download) = fed(None);
    let digest = Digest::of(&bytes);
    feed.send(Ok(bytes.slice(0..2 << 20))).expect("sent");
    feed.send(Ok(bytes.slice(2 << 20..3 << 20))).expect("sent");
    let source = Script::new([Ok(download)]);
    let object = world.cache.fill(request("n", Some(digest)), source).await;
    let object = object.expect("object");
    assert_eq!(object.length(), None);
    let wanted = (7 << 19)..(4 << 20) - 5;
    let reading = {
        let object = object.clone();
        tokio::spawn(async move { read_range(&object, wanted).await })
    };
    feed.send(Ok(bytes.slice(3 << 20..))).expect("sent");
    drop(feed);
    let part = reading.await.expect("no panic").expect("bytes");
    assert_eq!(part, bytes.slice(7 << 19..(4 << 20) - 5));
    let whole = read(&object).await.expect("bytes");
    assert_eq!(whole, bytes);
}

#[tokio::test]
async fn a_slow_reader_and_one_that_leaves_stop_nothing() {
    let world = World::new().await;
    let bytes = content(6 << 20, 4);
    let request = request("n", Some(Digest::of(&bytes)));
    let object = world
        .cache
        .fill(request.clone(), Script::whole(&bytes))
        .await;
    let Body::Stream(mut slow) = object
        .expect("object")
        .body(0..u64::MAX)
        .await
        .expect("body")
    else {
        unreachable!("long objects are streams")
    };
    let first = slow.next().await.expect("a chunk").expect("bytes");
    world.cache.idle().await;
    assert!(world.cache.holds(&Digest::of(&bytes)));
    let mut all = first.to_vec();
    while let Some(chunk) = slow.next().await {
        all.extend_from_slice(&chunk.expect("bytes"));
    }
    assert_eq!(all, bytes);

    let other = content(100_000, 5);
    let (feed, download) = fed(Some(other.len()));
    let source = Script::new([Ok(download)]);
    {
        let leaving = self::request("other", Some(Digest::of(&other)));
        let leaving = world.cache.fill(leaving, source);
        assert!(futures_util::FutureExt::now_or_never(leaving).is_none());
    }
    feed.send(Ok(other.clone())).expect("still wanted");
    drop(feed);
    world.cache.idle().await;
    assert!(world.cache.holds(&Digest::of(&other)));
}

#[tokio::test]
async fn the_same_bytes_under_two_names_are_fetched_once() {
    let world = World::new().await;
    let bytes = content(80_000, 6);
    let digest = Some(Digest::of(&bytes));
    let (feed, download) = fed(Some(bytes.len()));
    let (first, second) = (Script::new([Ok(download)]), Script::whole(&bytes));
    let (one, two) = tokio::join!(
        world.cache.fill(request("a", digest), first.clone()),
        async {
            let filling = world.cache.fill(request("b", digest), second.clone());
            feed.send(Ok(bytes.clone())).expect("sent");
            drop(feed);
            filling.await
        }
    );
    assert_eq!(read(&one.expect("object")).await.expect("bytes"), bytes);
    assert_eq!(read(&two.expect("object")).await.expect("bytes"), bytes);
    assert!(second.offsets().is_empty());
}

#[tokio::test]
async fn another_names_failure_is_not_shared() {
    let world = World::new().await;
    let bytes = content(80_000, 7);
    let digest = Some(Digest::of(&bytes));
    let (bad, good) = (Script::failing(ErrorKind::NotFound), Script::whole(&bytes));
    let (one, two) = tokio::join!(
        world.cache.fill(request("a", digest), bad),
        world.cache.fill(request("b", digest), good),
    );
    assert_eq!(one.expect_err("absent").kind(), ErrorKind::NotFound);
    assert_eq!(read(&two.expect("object")).await.expect("bytes"), bytes);
}

// ---- Verification

#[tokio::test]
async fn a_short_body_with_another_digest_is_refused_before_its_first_byte() {
    let world = World::new().await;
    let (promised, sent) = (content(5000, 8), content(5000, 9));
    let source = Script::whole(&sent);
    let wanted = request("n", Some(Digest::of(&promised)));
    let error = world
        .cache
        .fill(wanted, source.clone())
        .await
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::DigestMismatch);
    assert_eq!(source.mismatches.load(Ordering::SeqCst), 1);
    world.cache.idle().await;
    assert!(!world.cache.holds(&Digest::of(&sent)));
    assert_eq!(world.cache.name("n"), None);
}

#[tokio::test]
async fn a_long_body_with_another_digest_never_arrives_complete() {
    let world = World::new().await;
    for length in [Some(4 << 20), None] {
        let (promised, sent) = (content(4 << 20, 10), content(4 << 20, 11));
        let source = Script::new([Ok(download(&sent, length, None))]);
        let wanted = request("n", Some(Digest::of(&promised)));
        let object = world
            .cache
            .fill(wanted, source)
            .await
            .expect("it started well");
        let (received, end) = collect(object.body(0..u64::MAX).await.expect("body")).await;
        assert_eq!(end.expect_err("cut").kind(), ErrorKind::DigestMismatch);
        assert!(received < sent.len());
        world.cache.idle().await;
        assert_eq!(world.disk_bytes(), 0);
    }
}

#[tokio::test]
async fn any_of_several_digests_is_accepted() {
    let world = World::new().await;
    let (first, second) = (content(5000, 12), content(5000, 13));
    let mut wanted = request("n", Some(Digest::of(&first)));
    wanted.also_accept.push(Digest::of(&second));
    let object = world
        .cache
        .fill(wanted, Script::whole(&second))
        .await
        .expect("accepted");
    assert!(object.is_verified());
    assert_eq!(object.digest(), Some(Digest::of(&second)));
}

#[tokio::test]
async fn where_the_operator_allows_it_other_bytes_are_served_under_their_own_digest() {
    for length in [5000, 3 << 20] {
        let world = World::new().await;
        let (promised, sent) = (content(length, 14), content(length, 15));
        let mut wanted = request("n", Some(Digest::of(&promised)));
        wanted.on_mismatch = OnDigestMismatch::Serve;
        let source = Script::new([
            Ok(download(&sent, Some(length), None)),
            Ok(download(&promised, Some(length), None)),
        ]);
        for _ in 0..2 {
            let object = world
                .cache
                .fill(wanted.clone(), source.clone())
                .await
                .expect("served");
            assert!(!object.is_verified());
            assert_eq!(read(&object).await.expect("bytes"), sent);
            world.cache.idle().await;
        }
        assert_eq!(
            (
                source.offsets().len(),
                source.mismatches.load(Ordering::SeqCst)
            ),
            (1, 1)
        );
        assert!(!world.cache.holds(&Digest::of(&promised)));

        // Not for ever: the upstream may have repaired it.
        world.clock.advance(Duration::from_secs(30));
        let object = world.cache.fill(wanted, source).await.expect("served");
        assert_eq!(read(&object).await.expect("bytes"), promised);
    }
}

#[tokio::test]
async fn without_a_promise_the_name_points_to_what_came() {
    let mut world = World::new().await;
    let bytes = content(900, 16);
    let object = world
        .cache
        .fill(request("prov", None), Script::whole(&bytes))
        .await;
    let object = object.expect("object");
    assert!(!object.is_verified());
    assert_eq!(object.digest(), Some(Digest::of(&bytes)));
    world.restart().await;
    let record = world.cache.name("prov").expect("known");
    assert_eq!(record.state, NameState::Held(Digest::of(&bytes)));
    assert_eq!(
        record.at,
        "2026-01-02T03:04:05Z".parse::<Timestamp>().expect("a time")
    );

    let unused = Script::new([]);
    let again = world
        .cache
        .fill(request("prov", None), unused)
        .await
        .expect("held");
    assert_eq!(again.status(), Status::Hit);
    let newer = content(901, 17);
    world.cache.forget("prov");
    let renewed = world
        .cache
        .fill(request("prov", None), Script::whole(&newer))
        .await;
    assert_eq!(read(&renewed.expect("object")).await.expect("bytes"), newer);
}

#[tokio::test]
async fn too_long_is_refused_whether_it_is_announced_or_not() {
    let world = World::new().await;
    for length in [Some(10_000), None] {
        let bytes = content(10_000, 18);
        let source = Script::new([Ok(download(&bytes, length, None))]);
        let mut wanted = request("n", Some(Digest::of(&bytes)));
        wanted.max_length = 9_999;
        let error = world.cache.fill(wanted, source).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
}

// ---- Upstreams that fail

#[tokio::test(start_paused = true)]
async fn a_cut_transfer_is_resumed_where_it_was() {
    for length in [300_000, 5 << 20] {
        let world = World::new().await;
        let bytes = content(length, 19);
        let half = length / 2 / CHUNK * CHUNK;
        let source = Script::new([
            Ok(download(&bytes.slice(..half), Some(length), Some(cut()))),
            Err(cut()),
            Ok(download(
                &bytes.slice(half..half + CHUNK),
                Some(length),
                None,
            )),
            Ok(download(&bytes.slice(half + CHUNK..), Some(length), None)),
        ]);
        let wanted = request("n", Some(Digest::of(&bytes)));
        let object = world
            .cache
            .fill(wanted, source.clone())
            .await
            .expect("object");
        assert_eq!(read(&object).await.expect("bytes"), bytes);
        let (half, more) = (half as u64, (half + CHUNK) as u64);
        assert_eq!(source.offsets(), [0, half, half, more]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_keeps_failing_is_given_up() {
    let world = World::new().await;
    let bytes = content(300_000, 20);
    let source = Script::new([Ok(download(&bytes.slice(..CHUNK), Some(300_000), None))]);
    let wanted = request("n", Some(Digest::of(&bytes)));
    let error = world
        .cache
        .fill(wanted, source.clone())
        .await
        .expect_err("given up");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    assert_eq!(source.offsets().len(), 5);
    assert_eq!(
        world.cache.name("n"),
        None,
        "that says nothing about the name"
    );
}

#[tokio::test(start_paused = true)]
async fn a_long_transfer_that_is_given_up_cuts_its_readers() {
    let world = World::new().await;
    let bytes = content(4 << 20, 21);
    let source = Script::new([Ok(download(
        &bytes.slice(..2 << 20),
        Some(4 << 20),
        Some(cut()),
    ))]);
    let wanted = request("n", Some(Digest::of(&bytes)));
    let object = world
        .cache
        .fill(wanted, source)
        .await
        .expect("it started well");
    let (received, end) = collect(object.body(0..u64::MAX).await.expect("body")).await;
    assert_eq!(end.expect_err("cut").kind(), ErrorKind::UpstreamUnavailable);
    assert!(received < 2 << 20);
    world.cache.idle().await;
    assert_eq!(world.cache.stats().disk.bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_changed_between_two_attempts_is_not_mixed() {
    let world = World::new().await;
    let bytes = content(300_000, 22);
    let source = Script::new([
        Ok(download(&bytes.slice(..CHUNK), Some(300_000), Some(cut()))),
        Ok(download(&bytes.slice(CHUNK..), Some(300_001), None)),
    ]);
    let error = world
        .cache
        .fill(request("n", None), source)
        .await
        .expect_err("refused");
    assert!(error.message().contains("changed"), "{error}");

    // Without a length or a digest nobody could tell, so there is no second attempt.
    let source = Script::new([
        Ok(download(&bytes.slice(..CHUNK), None, Some(cut()))),
        Ok(download(&bytes.slice(CHUNK..), None, None)),
    ]);
    let result = world.cache.fill(request("m", None), source.clone()).await;
    assert!(result.is_err());
    assert_eq!(source.offsets(), [0]);
}

#[tokio::test]
async fn more_bytes_than_announced_are_an_error() {
    let world = World::new().await;
    let bytes = content(5000, 23);
    let source = Script::new([Ok(download(&bytes, Some(4000), None))]);
    let error = world
        .cache
        .fill(request("n", None), source)
        .await
        .expect_err("refused");
    assert!(error.message().contains("announced"), "{error}");
}

#[tokio::test]
async fn a_leader_that_dies_is_an_error_and_not_an_end() {
    let world = World::new().await;
    let bytes = content(3 << 20, 24);
    let dying = |good: &Bytes| {
        let mut chunks: VecDeque<_> = good.chunks(CHUNK).map(Bytes::copy_from_slice).collect();
        let body = stream::poll_fn(move |_| {
            let chunk = chunks.pop_front().expect("the bug that kills the leader");
            std::task::Poll::Ready(Some(Ok(chunk)))
        });
        Script::new([Ok(Download {
            length: Some(3 << 20),
            body: ByteStream::new(body, None),
        })])
    };
    let wanted = request("n", Some(Digest::of(&bytes)));
    let before = world.cache.fill(wanted.clone(), dying(&Bytes::new())).await;
    assert_eq!(before.expect_err("dead").kind(), ErrorKind::Internal);

    let object = world
        .cache
        .fill(wanted.clone(), dying(&bytes.slice(..1 << 20)))
        .await;
    let outcome = match object {
        Err(error) => Err(error),
        Ok(object) => read(&object).await,
    };
    assert_eq!(outcome.expect_err("dead").kind(), ErrorKind::Internal);

    let again = world
        .cache
        .fill(wanted, Script::whole(&bytes))
        .await
        .expect("a new leader");
    assert_eq!(read(&again).await.expect("bytes"), bytes);
}

#[tokio::test]
async fn only_absence_is_remembered_and_only_for_its_time() {
    let mut world = World::new().await;
    let absent = Script::failing(ErrorKind::NotFound);
    let error = world
        .cache
        .fill(request("n", None), absent)
        .await
        .expect_err("absent");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    world.cache.idle().await;
    for _ in 0..2 {
        let record = world.cache.name("n").expect("known");
        assert_eq!(record.state, NameState::Absent);
        let unasked = Script::new([]);
        let error = world.cache.fill(request("n", None), unasked.clone()).await;
        assert_eq!(error.expect_err("absent").kind(), ErrorKind::NotFound);
        assert!(unasked.offsets().is_empty());
        world.restart().await;
    }
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(world.cache.name("n"), None);
    let bytes = content(10, 25);
    let object = world
        .cache
        .fill(request("n", None), Script::whole(&bytes))
        .await;
    assert_eq!(
        read(&object.expect("there now")).await.expect("bytes"),
        bytes
    );

    for kind in [
        ErrorKind::UpstreamUnavailable,
        ErrorKind::UpstreamUnauthorized,
    ] {
        let result = world
            .cache
            .fill(request("m", None), Script::failing(kind))
            .await;
        assert_eq!(result.expect_err("failed").kind(), kind);
        assert_eq!(world.cache.name("m"), None);
    }
}

// ---- The disk

#[tokio::test]
async fn the_least_recently_used_leave_and_the_order_survives_a_restart() {
    let mut world = World::with(0, 40_000).await;
    let objects: Vec<Bytes> = (0..6).map(|seed| content(10_000, 100 + seed)).collect();
    let digests: Vec<Digest> = objects.iter().map(|bytes| Digest::of(bytes)).collect();
    for (name, bytes) in ["0", "1", "2", "3"].into_iter().zip(&objects) {
        world.fill(name, bytes).await;
    }
    assert!(world.cache.get(&digests[0]).await.is_some());
    world.restart().await;
    assert!(world.cache.get(&digests[2]).await.is_some());

    world.fill("4", &objects[4]).await;
    let held = |cache: &Cache| digests.iter().map(|d| cache.holds(d)).collect::<Vec<_>>();
    assert_eq!(held(&world.cache), [true, false, true, true, true, false]);
    world.fill("5", &objects[5]).await;
    assert_eq!(held(&world.cache), [true, false, true, false, true, true]);
    assert_eq!(world.cache.stats().disk.bytes, 40_000);
    assert_eq!(world.disk_bytes(), 40_000);

    world.config.disk = 25_000;
    world.restart().await;
    assert_eq!(held(&world.cache), [false, false, false, false, true, true]);
    assert_eq!(world.disk_bytes(), 20_000);
}

#[tokio::test]
async fn a_copy_in_memory_keeps_the_file_young() {
    let world = World::with(1 << 20, 30_000).await;
    let objects: Vec<Bytes> = (0..4).map(|seed| content(10_000, 200 + seed)).collect();
    for (name, bytes) in ["0", "1", "2"].into_iter().zip(&objects) {
        world.fill(name, bytes).await;
    }
    world
        .cache
        .get(&Digest::of(&objects[0]))
        .await
        .expect("in memory");
    world.fill("3", &objects[3]).await;
    assert!(world.blob(&objects[0]).exists());
    assert!(!world.blob(&objects[1]).exists());
}

#[tokio::test]
async fn a_long_object_that_is_wanted_again_is_read_into_memory() {
    let world = World::with(32 << 20, 64 << 20).await;
    let (wanted, once, too_long) = (
        content(3 << 20, 60),
        content(2 << 20, 61),
        content(5 << 20, 62),
    );
    for (name, bytes) in [
        ("wanted", &wanted),
        ("once", &once),
        ("too long", &too_long),
    ] {
        world.fill(name, bytes).await;
    }
    let object = async |bytes: &Bytes| world.cache.get(&Digest::of(bytes)).await.expect("held");
    let in_memory = || world.cache.stats().memory.objects;
    // Knowing that it is there is no use.
    for _ in 0..5 {
        object(&wanted).await;
    }
    assert!(read(&object(&wanted).await).await.expect("bytes") == wanted);
    assert!(read(&object(&once).await).await.expect("bytes") == once);
    assert_eq!(in_memory(), 0);

    let part = read_range(&object(&wanted).await, 1 << 20..2 << 20).await;
    assert!(part.expect("bytes") == wanted.slice(1 << 20..2 << 20));
    assert_eq!(in_memory(), 1);
    let body = object(&wanted).await.body(0..u64::MAX).await.expect("body");
    assert!(matches!(body, Body::Bytes(bytes) if bytes == wanted));

    // One object may take an eighth of the memory.
    for _ in 0..3 {
        assert!(read(&object(&too_long).await).await.expect("bytes") == too_long);
    }
    assert_eq!(in_memory(), 1);
}

#[tokio::test]
async fn a_file_of_somebody_else_is_read_into_memory_too() {
    let world = World::with(32 << 20, 0).await;
    let bytes = content(2 << 20, 63);
    let path = world.dir.path().join("elsewhere");
    std::fs::write(&path, &bytes).expect("writable");
    let lend = || {
        let file = Arc::new(std::fs::File::open(&path).expect("a file"));
        world
            .cache
            .lend(Digest::of(&bytes), file, bytes.len() as u64)
    };
    for _ in 0..3 {
        assert_eq!(lend().length(), Some(2 << 20));
        assert!(read(&lend()).await.expect("bytes") == bytes);
    }
    assert_eq!(world.cache.stats().memory.objects, 1);
}

#[tokio::test]
async fn eviction_does_not_disturb_a_reader() {
    let world = World::with(0, 5 << 20).await;
    let (first, second) = (content(3 << 20, 26), content(3 << 20, 27));
    world.fill("a", &first).await;
    let object = world.cache.get(&Digest::of(&first)).await.expect("held");
    let Body::Stream(mut stream) = object.body(0..u64::MAX).await.expect("body") else {
        unreachable!("long objects are streams")
    };
    let mut all = stream
        .next()
        .await
        .expect("a chunk")
        .expect("bytes")
        .to_vec();
    world.fill("b", &second).await;
    assert!(!world.blob(&first).exists());
    while let Some(chunk) = stream.next().await {
        all.extend_from_slice(&chunk.expect("bytes"));
    }
    assert_eq!(all, first);
    assert_eq!(
        read_range(&object, 5..10).await.expect("bytes"),
        first.slice(5..10)
    );
    assert!(world.disk_bytes() <= 5 << 20);
}

#[tokio::test]
async fn what_does_not_fit_is_passed_through_and_pushes_nothing_out() {
    for length in [Some(6 << 20), None] {
        let world = World::with(0, 4 << 20).await;
        let (small, large) = (content(10_000, 28), content(6 << 20, 29));
        world.fill("small", &small).await;
        let source = Script::new([
            Ok(download(&large, length, None)),
            Ok(download(&large, length, None)),
        ]);
        let wanted = request("large", Some(Digest::of(&large)));
        let object = world
            .cache
            .fill(wanted, source.clone())
            .await
            .expect("object");
        assert_eq!(read(&object).await.expect("bytes"), large);
        assert_eq!(
            source.offsets(),
            [0],
            "the leader's own transfer is handed over"
        );
        if length.is_some() {
            assert!(world.cache.holds(&Digest::of(&small)));
            let part = read_range(&object, 100..2_000_000).await.expect("bytes");
            assert_eq!(part, large.slice(100..2_000_000));
            assert_eq!(source.offsets(), [0, 0], "others ask for themselves");
        }
        assert!(world.disk_bytes() <= 4 << 20);
        world.cache.idle().await;
        assert!(!world.cache.holds(&Digest::of(&large)));
    }
}

#[tokio::test]
async fn a_wrong_body_that_is_passed_through_never_arrives_complete() {
    let world = World::with(0, 1000).await;
    let (promised, sent) = (content(2 << 20, 30), content(2 << 20, 31));
    let wanted = request("n", Some(Digest::of(&promised)));
    let object = world
        .cache
        .fill(wanted, Script::whole(&sent))
        .await
        .expect("it started well");
    let (received, end) = match object.body(0..u64::MAX).await {
        Ok(body) => collect(body).await,
        Err(error) => (0, Err(error)),
    };
    assert_eq!(end.expect_err("cut").kind(), ErrorKind::DigestMismatch);
    assert!(received < sent.len());
}

// ---- Restarts, crashes and damage

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let mut world = World::new().await;
    let (small, large) = (content(50_000, 32), content(3 << 20, 33));
    world.fill("small", &small).await;
    world.fill("large", &large).await;
    world
        .cache
        .put_document("index/a", small.clone())
        .await
        .expect("kept");
    world.restart().await;
    for bytes in [&small, &large] {
        let object = world.cache.get(&Digest::of(bytes)).await.expect("held");
        assert_eq!(object.status(), Status::Hit);
        assert_eq!(&read(&object).await.expect("bytes"), bytes);
    }
    assert_eq!(world.cache.get_document("index/a").await, Some(small));
    assert_eq!(world.cache.get_document("index/b").await, None);
}

#[tokio::test]
async fn a_crash_loses_no_whole_object_and_shows_no_half_one() {
    let mut world = World::with(0, 8 << 20).await;
    let (small, large) = (content(50_000, 34), content(3 << 20, 35));
    world.fill("small", &small).await;
    world.fill("large", &large).await;
    let arriving = content(4 << 20, 36);
    let (feed, download) = fed(Some(arriving.len()));
    feed.send(Ok(arriving.slice(..2 << 20))).expect("sent");
    feed.send(Ok(arriving.slice(2 << 20..3 << 20)))
        .expect("sent");
    let wanted = request("arriving", Some(Digest::of(&arriving)));
    let source = Script::new([Ok(download)]);
    let _object = world
        .cache
        .fill(wanted, source)
        .await
        .expect("it started well");

    // The ledger is written in batches: the copy has none or an older one.
    world.crash().await;
    for bytes in [&small, &large] {
        let object = world.cache.get(&Digest::of(bytes)).await.expect("held");
        assert_eq!(&read(&object).await.expect("bytes"), bytes);
    }
    assert!(!world.cache.holds(&Digest::of(&arriving)));
    assert_eq!(world.disk_bytes(), (small.len() + large.len()) as u64);
    assert_eq!(world.cache.stats().disk.bytes, world.disk_bytes());
}

#[tokio::test]
async fn a_damaged_or_missing_ledger_is_rebuilt_from_the_files() {
    let whole_ledger = |path: &Path| std::fs::read(path).expect("a ledger");
    type Damage = fn(&Path, Vec<u8>);
    let damages: [Damage; 5] = [
        |path, _| std::fs::remove_file(path).expect("removed"),
        |path, _| std::fs::write(path, b"").expect("written"),
        |path, _| std::fs::write(path, b"not a database at all").expect("written"),
        |path, whole| std::fs::write(path, &whole[..whole.len() / 3]).expect("written"),
        |path, mut whole| {
            for byte in whole.iter_mut().skip(4096).step_by(7) {
                *byte ^= 0x5a;
            }
            std::fs::write(path, whole).expect("written");
        },
    ];
    for damage in damages {
        let mut world = World::with(0, 30_000).await;
        let objects: Vec<Bytes> = (0..3).map(|seed| content(10_000, 300 + seed)).collect();
        for (name, bytes) in ["0", "1", "2"].into_iter().zip(&objects) {
            world.fill(name, bytes).await;
        }
        world.cache.close().await;
        let ledger = world.dir.path().join("ledger.redb");
        damage(&ledger, whole_ledger(&ledger));

        world.cache = open(&world.config, world.dir.path(), &world.clock).await;
        for bytes in &objects {
            let object = world.cache.get(&Digest::of(bytes)).await.expect("held");
            assert_eq!(&read(&object).await.expect("bytes"), bytes);
        }
        world.fill("3", &content(10_000, 400)).await;
        assert_eq!(world.disk_bytes(), 30_000, "the cap holds");
        world.restart().await;
        assert_eq!(world.cache.stats().disk.objects, 3);
    }
}

#[tokio::test]
async fn files_that_went_shrank_or_rotted_are_misses() {
    let mut world = World::with(0, 64 << 20).await;
    let objects: Vec<Bytes> = [50_000, 50_000, 50_000, 3 << 20, 3 << 20]
        .into_iter()
        .zip(500..)
        .map(|(length, seed)| content(length, seed))
        .collect();
    for (number, bytes) in objects.iter().enumerate() {
        world.fill(&number.to_string(), bytes).await;
    }
    world.cache.close().await;
    std::fs::remove_file(world.blob(&objects[0])).expect("removed");
    std::fs::write(world.blob(&objects[1]), &objects[1][..100]).expect("shrunk");
    std::fs::write(world.blob(&objects[2]), content(50_000, 1)).expect("rotted");
    std::fs::write(world.blob(&objects[3]), &objects[3][..2 << 20]).expect("shrunk");
    std::fs::write(world.blob(&objects[4]), content(3 << 20, 1)).expect("rotted");
    // A long object is believed on the ledger's word; without a ledger it is hashed.
    std::fs::remove_file(world.dir.path().join("ledger.redb")).expect("removed");
    // And files of others are left alone.
    let foreign = world.dir.path().join("blobs/README");
    std::fs::write(&foreign, "mine").expect("written");

    world.cache = open(&world.config, world.dir.path(), &world.clock).await;
    for bytes in &objects {
        assert!(world.cache.get(&Digest::of(bytes)).await.is_none());
        assert!(!world.cache.holds(&Digest::of(bytes)));
        let again = world.fill("again", bytes).await;
        assert_eq!(&read(&again).await.expect("bytes"), bytes);
    }
    assert!(foreign.exists());
}

#[tokio::test]
async fn a_shrunken_file_is_noticed_while_running() {
    let world = World::with(0, 64 << 20).await;
    let (small, large) = (content(50_000, 37), content(3 << 20, 38));
    for bytes in [&small, &large] {
        world.fill("n", bytes).await;
        std::fs::write(world.blob(bytes), &bytes[..1000]).expect("shrunk");
        assert!(world.cache.get(&Digest::of(bytes)).await.is_none());
    }
    assert_eq!(world.cache.stats().disk.bytes, 0);
}

#[tokio::test]
async fn the_folder_may_be_deleted_even_while_running() {
    let mut world = World::with(0, 64 << 20).await;
    let (small, large) = (content(50_000, 39), content(3 << 20, 40));
    world.fill("small", &small).await;
    for entry in std::fs::read_dir(world.dir.path())
        .expect("a folder")
        .flatten()
    {
        let path = entry.path();
        let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
    }
    assert!(world.cache.get(&Digest::of(&small)).await.is_none());
    for (name, bytes) in [("small", &small), ("large", &large)] {
        let object = world.fill(name, bytes).await;
        assert_eq!(&read(&object).await.expect("bytes"), bytes);
        assert!(world.cache.holds(&Digest::of(bytes)));
    }
    world
        .cache
        .put_document("d", small.clone())
        .await
        .expect("kept");
    world.restart().await;
    let object = world.cache.get(&Digest::of(&large)).await.expect("held");
    assert_eq!(read(&object).await.expect("bytes"), large);
}

#[tokio::test]
async fn two_processes_share_the_folder_during_an_upgrade() {
    let mut world = World::with(0, 64 << 20).await;
    let (old, new) = (content(3 << 20, 41), content(50_000, 42));
    world.fill("old", &old).await;
    let second = open(&world.config, world.dir.path(), &world.clock).await;
    let object = second.get(&Digest::of(&old)).await.expect("held");
    assert_eq!(read(&object).await.expect("bytes"), old);
    let wanted = request("new", Some(Digest::of(&new)));
    second
        .fill(wanted, Script::whole(&new))
        .await
        .expect("filled");
    second.idle().await;

    world.cache.close().await;
    second.close().await;
    world.cache = open(&world.config, world.dir.path(), &world.clock).await;
    for (name, bytes) in [("old", &old), ("new", &new)] {
        let record = world.cache.name(name).expect("known");
        assert_eq!(record.state, NameState::Held(Digest::of(bytes)));
        assert!(world.cache.holds(&Digest::of(bytes)));
    }
}

// ---- All of it at once

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_happens_at_the_same_time_everybody_gets_his_bytes_and_the_cap_holds() {
    let world = World::with(2 << 20, 8 << 20).await;
    let objects: Vec<Bytes> = (0..16)
        .map(|seed| content(3000 + seed as usize * seed as usize * 15_000, 600 + seed))
        .collect();
    let objects = Arc::new(objects);
    let readers = (0..12_u64).map(|reader| {
        let (cache, objects) = (Arc::clone(&world.cache), Arc::clone(&objects));
        tokio::spawn(async move {
            let choices = content(4 * 60, 700 + reader);
            for choice in choices.chunks(4) {
                let bytes = &objects[usize::from(choice[0]) % objects.len()];
                let digest = Digest::of(bytes);
                let object = match choice[1] % 4 {
                    0 => cache.get(&digest).await,
                    _ => {
                        let wanted = request(&format!("{digest}"), Some(digest));
                        Some(
                            cache
                                .fill(wanted, Arc::new(Patient(bytes.clone())))
                                .await
                                .expect("filled"),
                        )
                    }
                };
                let Some(object) = object else { continue };
                let start = bytes.len() * usize::from(choice[2]) / 256;
                let end = start + (bytes.len() - start) * usize::from(choice[3]) / 255;
                let part = read_range(&object, start as u64..end as u64).await;
                assert!(part.expect("bytes") == bytes.slice(start..end));
            }
        })
    });
    for reader in readers.collect::<Vec<_>>() {
        reader.await.expect("no panic");
    }
    world.cache.idle().await;
    let stats = world.cache.stats();
    assert_eq!(stats.fills, 0);
    assert!(stats.disk.bytes <= 8 << 20, "{stats:?}");
    assert!(stats.memory.bytes <= 2 << 20, "{stats:?}");
}
