use std::collections::VecDeque;

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::names::TenantPath;
use crate::oci::{Digest, RepoName};

/// A body of given pieces that ends well, or breaks off.
struct Pieces {
    left: VecDeque<Bytes>,
    length: Option<u64>,
    breaks: bool,
}

impl Pieces {
    fn of(bytes: &[u8]) -> Self {
        Self {
            left: [Bytes::copy_from_slice(bytes)].into(),
            length: Some(bytes.len() as u64),
            breaks: false,
        }
    }

    /// As `Transfer-Encoding: chunked` does it: many pieces, no length.
    fn chunked(bytes: &[u8], size: usize) -> Self {
        Self {
            left: bytes.chunks(size).map(Bytes::copy_from_slice).collect(),
            length: None,
            breaks: false,
        }
    }

    fn broken(bytes: &[u8]) -> Self {
        Self {
            breaks: true,
            ..Self::chunked(bytes, 1000)
        }
    }
}

#[async_trait]
impl RequestBody for Pieces {
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        match self.left.pop_front() {
            Some(piece) => Ok(Some(piece)),
            None if self.breaks => Err(Error::invalid("the client is gone")),
            None => Ok(None),
        }
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}

/// A body that gives its first piece and then waits for ever.
struct Stuck(Option<Bytes>);

#[async_trait]
impl RequestBody for Stuck {
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        match self.0.take() {
            Some(piece) => Ok(Some(piece)),
            None => std::future::pending().await,
        }
    }

    fn length(&self) -> Option<u64> {
        None
    }
}

struct World {
    folder: TempDir,
    clock: Clock,
    uploads: Arc<Uploads>,
}

const FREE: Room = Room {
    largest: u64::MAX,
    quota_left: None,
};

impl World {
    fn new() -> Self {
        Self::bound(Bound::default())
    }

    fn bound(bound: Bound) -> Self {
        let folder = TempDir::new().expect("a folder");
        let clock = Clock::manual(jiff::Timestamp::now());
        let path = folder.path().join("uploads");
        let uploads = Uploads::open(path, clock.clone(), Random::seeded(1), bound);
        Self {
            folder,
            clock,
            uploads,
        }
    }

    /// What the next process finds.
    fn restart(&mut self) {
        let path = self.folder.path().join("uploads");
        self.uploads = Uploads::open(
            path,
            self.clock.clone(),
            Random::seeded(2),
            Bound::default(),
        );
    }

    fn files(&self) -> usize {
        file_names(&self.folder.path().join("uploads")).len()
    }

    async fn start(&self) -> UploadId {
        self.uploads.start(&owner(), None).await.expect("begun")
    }

    async fn append(
        &self,
        id: UploadId,
        range: Option<(u64, u64)>,
        mut body: Pieces,
    ) -> Result<u64> {
        self.uploads
            .append(&owner(), id, range, &mut body, FREE)
            .await
    }

    async fn seal(&self, id: UploadId, digest: &Digest, mut body: Pieces) -> Result<Sealed> {
        self.uploads
            .seal(&owner(), id, digest, None, &mut body, FREE)
            .await
    }

    async fn status(&self, id: UploadId) -> Result<u64> {
        self.uploads.status(&owner(), id).await
    }
}

fn owner() -> Owner {
    owner_of("acme", "app", "ann")
}

fn owner_of(tenant: &str, name: &str, subject: &str) -> Owner {
    let tenant = TenantPath::parse(tenant).expect("a path");
    Owner::new(&tenant, &RepoName::parse(name).expect("a name"), subject)
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 7_u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(length)
    .collect()
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

fn sha512(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha512, bytes)
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("an error").kind()
}

#[tokio::test]
async fn pieces_make_a_blob() {
    let world = World::new();
    let bytes = noise(5 << 20);
    let id = world.start().await;
    assert_eq!(world.status(id).await.expect("known"), 0);
    let cut = 3 << 20;
    let first = Pieces::chunked(&bytes[..cut], 70_000);
    assert_eq!(
        world.append(id, None, first).await.expect("taken"),
        cut as u64
    );
    let range = Some((cut as u64, bytes.len() as u64 - 2));
    let second = Pieces::of(&bytes[cut..bytes.len() - 1]);
    assert_eq!(
        world.append(id, range, second).await.expect("taken"),
        bytes.len() as u64 - 1
    );
    let last = Pieces::of(&bytes[bytes.len() - 1..]);
    let sealed = world
        .seal(id, &sha256(&bytes), last)
        .await
        .expect("as promised");
    assert_eq!(sealed.size, bytes.len() as u64);
    assert_eq!(Digest::from(sealed.sha256), sha256(&bytes));
    assert_eq!(fs::read(sealed.path()).expect("a file"), bytes);
    sealed.done();
    assert_eq!(kind(world.status(id).await), ErrorKind::NotFound);
    assert_eq!(world.files(), 0);
}

#[tokio::test]
async fn sha512_works_with_and_without_a_hint_and_nothing_is_a_blob_too() {
    let world = World::new();
    for (bytes, hint) in [
        (noise(100_000), Some(Algorithm::Sha512)),
        (noise(100_000), None),
        (Vec::new(), Some(Algorithm::Sha512)),
        (Vec::new(), None),
    ] {
        let id = world.uploads.start(&owner(), hint).await.expect("begun");
        let half = bytes.len() / 2;
        world
            .append(id, None, Pieces::of(&bytes[..half]))
            .await
            .expect("taken");
        let sealed = world
            .seal(id, &sha512(&bytes), Pieces::of(&bytes[half..]))
            .await
            .expect("as promised");
        assert_eq!(sealed.digest, sha512(&bytes));
        assert_eq!(Digest::from(sealed.sha256), sha256(&bytes));
        sealed.done();
        // A hint binds nobody.
        let id = world.uploads.start(&owner(), hint).await.expect("begun");
        let sealed = world.seal(id, &sha256(&bytes), Pieces::of(&bytes)).await;
        assert_eq!(
            Digest::from(sealed.expect("as promised").sha256),
            sha256(&bytes)
        );
    }
}

#[tokio::test]
async fn a_range_must_begin_where_the_upload_ends() {
    let world = World::new();
    let id = world.start().await;
    for (range, length) in [((1, 4), 0), ((3, 3), 0)] {
        let result = world.append(id, Some(range), Pieces::of(b"1234")).await;
        assert_eq!(kind(result), ErrorKind::OutOfOrder(length));
    }
    world
        .append(id, Some((0, 3)), Pieces::of(b"1234"))
        .await
        .expect("in order");
    for range in [(0, 3), (3, 6), (5, 8)] {
        let result = world.append(id, Some(range), Pieces::of(b"5678")).await;
        assert_eq!(kind(result), ErrorKind::OutOfOrder(4), "{range:?}");
        let digest = sha256(b"12345678");
        let mut body = Pieces::of(b"5678");
        let result = world
            .uploads
            .seal(&owner(), id, &digest, Some(range), &mut body, FREE)
            .await;
        assert_eq!(kind(result), ErrorKind::OutOfOrder(4), "{range:?}");
        assert_eq!(world.status(id).await.expect("still there"), 4);
    }
    let sealed = world
        .seal(id, &sha256(b"12345678"), Pieces::of(b"5678"))
        .await;
    assert_eq!(sealed.expect("as promised").size, 8);
}

#[tokio::test]
async fn a_range_of_another_length_than_its_body_leaves_the_upload_as_it_was() {
    let world = World::new();
    let id = world.start().await;
    world
        .append(id, None, Pieces::of(b"12"))
        .await
        .expect("taken");
    for body in [
        Pieces::of(b"345"),
        Pieces::of(b"34567"),
        Pieces::chunked(b"345", 1),
        Pieces::chunked(b"34567", 1),
    ] {
        let result = world.append(id, Some((2, 5)), body).await;
        assert_eq!(kind(result), ErrorKind::Invalid);
        assert_eq!(world.status(id).await.expect("there"), 2);
    }
    // Backwards, and at the ends of what numbers can be.
    for range in [(2, 0), (2, u64::MAX)] {
        assert_eq!(
            kind(world.append(id, Some(range), Pieces::of(b"3")).await),
            ErrorKind::Invalid
        );
    }
    let sealed = world.seal(id, &sha256(b"123"), Pieces::of(b"3")).await;
    assert_eq!(sealed.expect("as promised").size, 3);
}

#[tokio::test]
async fn a_wrong_digest_ends_the_upload() {
    let world = World::new();
    for (digest, hint) in [
        (sha256(b"others"), None),
        (sha512(b"others"), None),
        (sha512(b"others"), Some(Algorithm::Sha512)),
    ] {
        let id = world.uploads.start(&owner(), hint).await.expect("begun");
        let result = world.seal(id, &digest, Pieces::of(b"bytes")).await;
        assert_eq!(kind(result), ErrorKind::DigestMismatch);
        assert_eq!(kind(world.status(id).await), ErrorKind::NotFound);
    }
    assert_eq!(world.files(), 0);
}

#[tokio::test]
async fn what_arrived_of_a_body_that_breaks_off_counts() {
    let mut world = World::new();
    let bytes = noise(2_500_000);
    let id = world.start().await;
    let result = world.append(id, None, Pieces::broken(&bytes[..1_700_000]));
    assert_eq!(kind(result.await), ErrorKind::Invalid);
    assert_eq!(world.status(id).await.expect("there"), 1_700_000);
    // With a range that promised more.
    let range = Some((1_700_000, 2_499_999));
    let body = Pieces::broken(&bytes[1_700_000..2_000_000]);
    assert_eq!(
        kind(world.append(id, range, body).await),
        ErrorKind::Invalid
    );
    assert_eq!(world.status(id).await.expect("there"), 2_000_000);
    world.restart();
    assert_eq!(world.status(id).await.expect("there"), 2_000_000);
    // A PUT that breaks off is no end.
    let body = Pieces::broken(&bytes[2_000_000..2_100_000]);
    assert!(world.seal(id, &sha256(&bytes), body).await.is_err());
    let rest = Pieces::of(&bytes[2_100_000..]);
    let sealed = world.seal(id, &sha256(&bytes), rest).await;
    assert_eq!(sealed.expect("as promised").size, 2_500_000);
}

#[tokio::test]
async fn one_writes_at_a_time() {
    let world = World::new();
    let id = world.start().await;
    let uploads = Arc::clone(&world.uploads);
    let first = tokio::spawn(async move {
        let mut body = Stuck(Some(Bytes::from(noise(1 << 20))));
        uploads.append(&owner(), id, None, &mut body, FREE).await
    });
    while world.status(id).await.expect("there") == 0 {
        tokio::task::yield_now().await;
    }
    let second = world.append(id, None, Pieces::of(b"x")).await;
    assert_eq!(kind(second), ErrorKind::Conflict);
    assert_eq!(
        kind(world.seal(id, &sha256(b""), Pieces::of(b"")).await),
        ErrorKind::Conflict
    );
    let cancelled = world.uploads.cancel(&owner(), id).await;
    assert_eq!(kind(cancelled), ErrorKind::Conflict);
    // The handler is dropped, as when a connection ends.
    first.abort();
    assert!(first.await.is_err());
    let bytes = [noise(1 << 20), b"x".to_vec()].concat();
    let sealed = loop {
        match world.seal(id, &sha256(&bytes), Pieces::of(b"x")).await {
            Err(error) if error.kind() == ErrorKind::Conflict => tokio::task::yield_now().await,
            sealed => break sealed.expect("the file is what was sent"),
        }
    };
    assert_eq!(sealed.size, bytes.len() as u64);
}

/// A process that is being replaced and its successor have the same files.
#[tokio::test]
async fn two_processes_take_turns() {
    let world = World::new();
    let id = world.start().await;
    let path = world.folder.path().join("uploads");
    let other = Uploads::open(
        path.clone(),
        world.clock.clone(),
        Random::seeded(3),
        Bound::default(),
    );
    world
        .append(id, None, Pieces::of(b"12"))
        .await
        .expect("taken");
    assert_eq!(other.status(&owner(), id).await.expect("there"), 2);
    let sent = other
        .append(&owner(), id, Some((2, 3)), &mut Pieces::of(b"34"), FREE)
        .await;
    assert_eq!(sent.expect("taken"), 4);
    assert_eq!(world.status(id).await.expect("there"), 4);
    // One that began after the other looked is found when somebody asks for it.
    let late = world.start().await;
    assert_eq!(other.status(&owner(), late).await.expect("there"), 0);
    let sealed = world.seal(id, &sha256(b"12345"), Pieces::of(b"5")).await;
    let sealed = sealed.expect("as promised");
    let blocked = other
        .append(&owner(), id, None, &mut Pieces::of(b"6"), FREE)
        .await;
    assert_eq!(kind(blocked), ErrorKind::Conflict);
    sealed.done();
    assert_eq!(kind(other.status(&owner(), id).await), ErrorKind::NotFound);
}

/// A command beside the process that serves: it looks at nothing by itself, and what it knew long ago is no reason to remove
/// what the other one went on with.
#[tokio::test]
async fn the_uploads_of_another_process_are_its_own() {
    let world = World::new();
    let id = world.start().await;
    let path = world.folder.path().join("uploads");
    let most = Bound::default();
    let other = Uploads::open(path.clone(), world.clock.clone(), Random::seeded(3), most);
    let tenant = owner();
    let tenant = tenant.tenant();
    assert_eq!(other.usage(tenant), (0, 0));
    other.look_after();
    while other.usage(tenant) == (0, 0) {
        tokio::task::yield_now().await;
    }
    let later = most.idle * 5 / 6;
    world.clock.advance(later);
    let sent = world.append(id, None, Pieces::of(b"1")).await;
    assert_eq!(sent.expect("taken"), 1);
    let part = path.join(format!("{id}.part"));
    let part = fs::File::options().write(true).open(part).expect("a file");
    let written = std::time::SystemTime::now() + later;
    part.set_modified(written).expect("a time");
    world.clock.advance(later);
    assert_eq!(other.reap().await, 0);
    assert_eq!(world.status(id).await.expect("there"), 1);
    world.clock.advance(most.idle / 2);
    assert_eq!(other.reap().await, 1);
}

#[tokio::test]
async fn an_upload_belongs_to_its_tenant_repository_and_subject() {
    let world = World::new();
    let id = world.start().await;
    for stranger in [
        owner_of("other", "app", "ann"),
        owner_of("acme", "app2", "ann"),
        owner_of("acme", "app", "bob"),
        owner_of("acme", "app", ""),
    ] {
        let uploads = &world.uploads;
        assert_eq!(
            kind(uploads.status(&stranger, id).await),
            ErrorKind::NotFound
        );
        assert_eq!(
            kind(uploads.cancel(&stranger, id).await),
            ErrorKind::NotFound
        );
        let mut body = Pieces::of(b"x");
        let result = uploads.append(&stranger, id, None, &mut body, FREE).await;
        assert_eq!(kind(result), ErrorKind::NotFound);
        let sealed = uploads
            .seal(&stranger, id, &sha256(b"x"), None, &mut body, FREE)
            .await;
        assert_eq!(kind(sealed), ErrorKind::NotFound);
    }
    assert_eq!(world.status(id).await.expect("there"), 0);
    world.uploads.cancel(&owner(), id).await.expect("cancelled");
    assert_eq!(kind(world.status(id).await), ErrorKind::NotFound);
    assert_eq!(
        kind(world.uploads.cancel(&owner(), id).await),
        ErrorKind::NotFound
    );
    assert_eq!(world.files(), 0);
}

#[tokio::test]
async fn limits_hold_and_leave_the_upload_as_it_was() {
    let world = World::bound(Bound {
        sessions: 2,
        ..Bound::default()
    });
    let (a, b) = (world.start().await, world.start().await);
    let third = world.uploads.start(&owner(), None).await;
    assert_eq!(kind(third), ErrorKind::RateLimited);
    let elsewhere = owner_of("other", "app", "ann");
    assert!(world.uploads.start(&elsewhere, None).await.is_ok());

    let room = |largest, left| Room {
        largest,
        quota_left: Some(left),
    };
    for (id, room, bytes, expected) in [
        (a, room(5, 100), 6, Some(ErrorKind::TooLarge)),
        (a, room(5, 100), 5, None),
        (b, room(100, 10), 6, Some(ErrorKind::QuotaExceeded)),
        (b, room(100, 10), 5, None),
        (a, room(100, 10), 1, Some(ErrorKind::QuotaExceeded)),
    ] {
        let before = world.status(id).await.expect("there");
        let bytes = noise(bytes);
        for body in [Pieces::of(&bytes), Pieces::chunked(&bytes, 2)] {
            if expected.is_none() && body.length.is_none() {
                continue;
            }
            let mut body = body;
            let result = world
                .uploads
                .append(&owner(), id, None, &mut body, room)
                .await;
            match expected {
                Some(expected) => {
                    assert_eq!(kind(result), expected);
                    assert_eq!(world.status(id).await.expect("there"), before);
                }
                None => assert!(result.is_ok()),
            }
        }
    }
    assert_eq!(world.uploads.usage("acme"), (2, 10));
    world.uploads.cancel(&owner(), a).await.expect("cancelled");
    world.start().await;
}

#[tokio::test]
async fn uploads_that_nobody_goes_on_with_are_removed() {
    let mut world = World::new();
    let (old, used) = (world.start().await, world.start().await);
    world
        .append(old, None, Pieces::of(b"x"))
        .await
        .expect("taken");
    let most = Bound::default();
    world.clock.advance(most.idle / 2);
    world.status(used).await.expect("there");
    world.clock.advance(most.idle / 2 + Duration::from_secs(2));
    // Over, even if nobody has removed it yet.
    assert_eq!(kind(world.status(old).await), ErrorKind::NotFound);
    assert_eq!(world.uploads.reap().await, 1);
    assert_eq!(world.files(), 2);
    assert_eq!(world.status(used).await.expect("there"), 0);
    // Kept alive, but not for ever.
    for _ in 0..24 {
        world.clock.advance(most.idle - Duration::from_secs(1));
        let _ = world.status(used).await;
        world.uploads.reap().await;
    }
    assert_eq!(kind(world.status(used).await), ErrorKind::NotFound);
    assert_eq!(world.files(), 0);
    // What dead processes left is removed by those that come after them.
    world.start().await;
    world.restart();
    world.clock.advance(most.total + Duration::from_secs(1));
    assert_eq!(world.uploads.reap().await, 1);
    assert_eq!(world.files(), 0);
}

#[tokio::test]
async fn an_upload_in_use_is_not_removed_and_half_of_one_is() {
    let world = World::new();
    let id = world.start().await;
    let uploads = Arc::clone(&world.uploads);
    let writer = tokio::spawn(async move {
        let mut body = Stuck(Some(Bytes::from(noise(1 << 20))));
        uploads.append(&owner(), id, None, &mut body, FREE).await
    });
    while world.status(id).await.expect("there") == 0 {
        tokio::task::yield_now().await;
    }
    let folder = world.folder.path().join("uploads");
    let long_ago = std::time::SystemTime::now() - Duration::from_hours(2);
    for (name, is_old) in [
        (format!("{:032x}.json", 1), true),
        (format!("{:032x}.part", 2), true),
        (format!("{:032x}.part", 3), false),
    ] {
        let file = fs::File::create(folder.join(name)).expect("a file");
        if is_old {
            file.set_modified(long_ago).expect("a time");
        }
    }
    world.clock.advance(Duration::from_hours(48));
    assert_eq!(world.uploads.reap().await, 2);
    assert_eq!(world.files(), 3);
    writer.abort();
}

/// A process dies, or a bucket answers no more, after the bytes got their place and before the upload was forgotten.
#[tokio::test]
async fn bytes_that_became_a_blob_are_never_changed() {
    let mut world = World::new();
    let id = world.start().await;
    let sealed = world.seal(id, &sha256(b"blob"), Pieces::of(b"blob")).await;
    let sealed = sealed.expect("as promised");
    let blob = world.folder.path().join("blob");
    fs::hard_link(sealed.path(), &blob).expect("a link");
    drop(sealed);
    world.restart();
    assert_eq!(world.status(id).await.expect("there"), 4);
    assert_eq!(
        world
            .append(id, None, Pieces::of(b"more"))
            .await
            .expect("taken"),
        8
    );
    assert_eq!(fs::read(&blob).expect("readable"), b"blob");
    let sealed = world.seal(id, &sha256(b"blobmore"), Pieces::of(b"")).await;
    assert_eq!(sealed.expect("as promised").size, 8);
}

/// What the disk keeps of a file that was being written when the machine stopped is not what was hashed before.
#[tokio::test]
async fn a_file_that_others_changed_is_hashed_again() {
    let world = World::new();
    let id = world.start().await;
    world
        .append(id, None, Pieces::of(b"1234"))
        .await
        .expect("taken");
    let part = world
        .folder
        .path()
        .join("uploads")
        .join(format!("{id}.part"));
    fs::write(&part, b"12x4").expect("written");
    let file = fs::File::options().write(true).open(&part).expect("open");
    file.set_modified(std::time::SystemTime::now() + Duration::from_secs(1))
        .expect("a time");
    let result = world.seal(id, &sha256(b"12345"), Pieces::of(b"5")).await;
    assert_eq!(kind(result), ErrorKind::DigestMismatch);
}

/// Runs in a process of its own, which is killed: pushes without end, and says what it was told.
#[tokio::test]
#[ignore = "a part of `a_killed_process_loses_nothing_that_it_told`"]
async fn victim() {
    use std::io::Write as _;
    let Some(folder) = std::env::var_os("CHARTGATE_UPLOADS") else {
        return;
    };
    let uploads = Uploads::open(
        folder.into(),
        Clock::system(),
        Random::system(),
        Bound::default(),
    );
    let bytes = noise(3 << 20);
    let mut out = std::io::stdout();
    loop {
        let id = uploads.start(&owner(), None).await.expect("begun");
        for piece in bytes.chunks(700_000) {
            let mut body = Pieces::chunked(piece, 65_536);
            let length = uploads
                .append(&owner(), id, None, &mut body, FREE)
                .await
                .expect("taken");
            writeln!(out, "told {id} {length}").expect("a reader");
        }
        let sealed = uploads
            .seal(
                &owner(),
                id,
                &sha256(&bytes),
                None,
                &mut Pieces::of(b""),
                FREE,
            )
            .await;
        sealed.expect("as promised").done();
        writeln!(out, "told {id} done").expect("a reader");
    }
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_it_told() {
    use std::collections::BTreeMap;
    use std::io::BufRead as _;
    use std::process::{Command, Stdio};

    let mut world = World::new();
    let folder = world.folder.path().join("uploads");
    let bytes = noise(3 << 20);
    let (mut resumed, random) = (0, Random::seeded(5));
    for _ in 0..6 {
        let mut child = Command::new(std::env::current_exe().expect("a program"))
            .args([
                "--exact",
                "store::registry::uploads::tests::victim",
                "--ignored",
                "--nocapture",
            ])
            .env("CHARTGATE_UPLOADS", &folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        let lines = std::io::BufReader::new(child.stdout.take().expect("piped")).lines();
        // Killed after so many answers, in the middle of what comes next.
        let digits = random.id().expect("a number").to_string();
        let answers = 2 + usize::from_str_radix(&digits[..2], 16).expect("digits") % 12;
        let mut told: BTreeMap<String, u64> = BTreeMap::new();
        let mut seen = 0;
        for line in lines.map_while(std::io::Result::ok) {
            // The harness writes on the same line before the first one.
            let Some((_, line)) = line.split_once("told ") else {
                continue;
            };
            let (id, length) = line.split_once(' ').expect("two words");
            match length.parse() {
                Ok(length) => told.insert(id.to_owned(), length),
                Err(_) => told.remove(id),
            };
            seen += 1;
            if seen == answers {
                child.kill().expect("killed");
            }
        }
        child.wait().expect("gone");
        assert!(seen >= answers, "only {seen} answers");
        world.restart();
        for (id, length) in told {
            let id: UploadId = id.parse().expect("an id");
            let Ok(found) = world.status(id).await else {
                // Done, and killed before it could say so.
                assert_eq!(length, bytes.len() as u64, "{id} is gone");
                continue;
            };
            assert!(found >= length, "{id} lost {}", length - found);
            let from = usize::try_from(found).expect("small");
            let rest = Pieces::of(&bytes[from..]);
            let sealed = world.seal(id, &sha256(&bytes), rest).await;
            sealed.expect("the file is what was sent").done();
            resumed += 1;
        }
    }
    assert!(resumed > 0, "no kill ever met an upload");
}
