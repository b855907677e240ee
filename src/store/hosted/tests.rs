use std::fs;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::chart::archive::fixture::{corpus, package, package_with};
use crate::digest::Digest;
use crate::error::ErrorKind;
use crate::names::FileName;

/// A folder for a store and one for its state; stores of it can be opened again and again.
struct World {
    folder: TempDir,
    clock: Clock,
}

impl World {
    fn new() -> Self {
        Self {
            folder: TempDir::new().expect("a folder"),
            clock: Clock::manual("2026-11-21T10:00:00.123Z".parse().expect("a time")),
        }
    }

    async fn open(&self) -> Arc<Hosted> {
        self.open_telling(|_, _| {}).await
    }

    async fn open_telling(
        &self,
        progress: impl Fn(usize, usize) + Send + Sync + 'static,
    ) -> Arc<Hosted> {
        let store = config::Store::folder(self.folder.path().join("hosted"));
        let tenant = TenantPath::parse("acme/platform").expect("a path");
        let parts = Parts {
            state_dir: self.folder.path().join("state"),
            clients: &Clients::new(),
            clock: self.clock.clone(),
            places: &Places::default(),
        };
        Hosted::open(&store, &tenant, parts, progress)
            .await
            .expect("a store")
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("hosted/acme/platform").join(name)
    }

    /// Puts a file there as somebody else would, changed long ago.
    fn place(&self, name: &str, bytes: &[u8]) {
        fs::create_dir_all(self.path("")).expect("a folder");
        fs::write(self.path(name), bytes).expect("a file");
        self.age(name, 1000);
    }

    fn age(&self, name: &str, seconds: u64) {
        let then = SystemTime::from(self.clock.now()) - Duration::from_secs(seconds);
        fs::File::options()
            .write(true)
            .open(self.path(name))
            .and_then(|file| file.set_modified(then))
            .expect("a time");
    }

    fn scratch_files(&self) -> usize {
        fs::read_dir(self.path(".chartgate/tmp")).map_or(0, Iterator::count)
    }
}

async fn spooled(store: &Arc<Hosted>, bytes: &[u8]) -> Spooled {
    let mut spool = store.spool(1 << 20).await.expect("a spool");
    for chunk in bytes.chunks(100) {
        spool
            .write(Bytes::copy_from_slice(chunk))
            .await
            .expect("room");
    }
    spool.finish().await.expect("a file")
}

async fn put(
    store: &Arc<Hosted>,
    bytes: &[u8],
    overwrite: OverwritePermission,
) -> Result<Arc<Entry>> {
    let archive = spooled(store, bytes).await;
    let upload = Upload {
        archive,
        provenance: None,
    };
    store.put(upload, overwrite, Limits::default()).await
}

async fn put_both(
    store: &Arc<Hosted>,
    bytes: &[u8],
    provenance: &str,
    overwrite: OverwritePermission,
) -> Result<Arc<Entry>> {
    let archive = spooled(store, bytes).await;
    let provenance = Some(spooled(store, provenance.as_bytes()).await);
    store
        .put(
            Upload {
                archive,
                provenance,
            },
            overwrite,
            Limits::default(),
        )
        .await
}

fn provenance(name: &str, version: &str, archive: &[u8]) -> String {
    format!(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nname: {name}\nversion: {version}\n\n...\nfiles:\n  {name}-{version}.tgz: {}\n",
        Digest::of(archive)
    )
}

fn file(name: &str) -> FileName {
    FileName::parse(name).expect("a file name")
}

async fn bytes_of(store: &Arc<Hosted>, name: &str) -> Result<Vec<u8>> {
    let stored = store.open_file(&file(name)).await?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut opened(&stored), &mut bytes).expect("readable");
    assert_eq!(bytes.len() as u64, stored.len);
    if let Some(digest) = stored.digest {
        assert_eq!(Digest::of(&bytes), digest);
    }
    Ok(bytes)
}

fn opened(stored: &StoredFile) -> &fs::File {
    match &stored.content {
        StoredContent::File(file) => file,
        other => panic!("{other:?} is no file"),
    }
}

/// `name-version` of everything in the index, sorted.
fn listed(store: &Hosted) -> Vec<String> {
    let index = store.index();
    let mut all: Vec<String> = index
        .charts()
        .flat_map(|(_, chart)| chart.entries())
        .map(|entry| format!("{}-{}", entry.name, entry.version))
        .collect();
    all.sort();
    assert_eq!(all.len(), store.versions());
    all
}

fn digest(store: &Hosted, name: &str, version: &str) -> Option<Digest> {
    store.index().get(name)?.get(version)?.digest
}

fn reads(store: &Hosted) -> usize {
    store.sightings().reads
}

use OverwritePermission::{Denied, Granted};

#[tokio::test]
async fn an_upload_is_visible_and_on_disk_when_it_is_answered() {
    let world = World::new();
    let store = world.open().await;
    let mut generations = store.subscribe();
    assert!(listed(&store).is_empty());
    let bytes = package("app", "1.0.0+a");
    let entry = put(&store, &bytes, Denied).await.expect("stored");
    assert_eq!(entry.digest, Some(Digest::of(&bytes)));
    assert_eq!(
        entry.created.expect("a time").to_string(),
        "2026-11-21T10:00:00.123Z"
    );
    assert!(generations.has_changed().expect("open"));
    generations.mark_unchanged();
    assert_eq!(listed(&store), ["app-1.0.0+a"]);
    assert_eq!(
        fs::read(world.path("app-1.0.0+a.tgz")).expect("a file"),
        bytes
    );
    assert_eq!(
        bytes_of(&store, "app-1.0.0+a.tgz").await.expect("open"),
        bytes
    );
    assert_eq!(
        store.stored_name(&entry).as_deref(),
        Some("app-1.0.0+a.tgz")
    );
    assert_eq!(world.scratch_files(), 0);
    assert_eq!(reads(&store), 0, "an upload is not read again");
}

#[tokio::test]
async fn an_existing_version_is_a_conflict_unless_permitted() {
    let world = World::new();
    let store = world.open().await;
    let (old, new) = (
        package_with("app", "1.0.0", "old"),
        package_with("app", "1.0.0", "new one"),
    );
    put(&store, &old, Denied).await.expect("stored");
    for bytes in [&old, &new] {
        let error = put(&store, bytes, Denied).await.expect_err("there already");
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::Conflict, "file already exists")
        );
    }
    assert_eq!(bytes_of(&store, "app-1.0.0.tgz").await.expect("open"), old);
    world.clock.advance(Duration::from_secs(5));
    put(&store, &new, Granted).await.expect("replaced");
    assert_eq!(bytes_of(&store, "app-1.0.0.tgz").await.expect("open"), new);
    assert_eq!(digest(&store, "app", "1.0.0"), Some(Digest::of(&new)));
    assert_eq!(store.versions(), 1);
    put(&store, &package("app", "2.0.0"), Granted)
        .await
        .expect("a new one");
    assert_eq!(store.versions(), 2);
    assert_eq!(world.scratch_files(), 0);
}

#[tokio::test]
async fn of_many_uploads_of_one_version_exactly_one_wins() {
    let world = World::new();
    let store = world.open().await;
    let uploads = (0..16).map(|at| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let bytes = package_with("app", "1.0.0", &format!("number {at}"));
            let other = package("other", &format!("1.0.{at}"));
            put(&store, &other, Denied).await.expect("no conflict");
            put(&store, &bytes, Denied)
                .await
                .map(|entry| (entry, bytes))
        })
    });
    let mut winners = Vec::new();
    for upload in uploads.collect::<Vec<_>>() {
        match upload.await.expect("no panic") {
            Ok(winner) => winners.push(winner),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(
        bytes_of(&store, "app-1.0.0.tgz").await.expect("open"),
        winners[0].1
    );
    assert_eq!(digest(&store, "app", "1.0.0"), winners[0].0.digest);
    assert_eq!(store.versions(), 17);
    assert_eq!(world.scratch_files(), 0);
}

#[tokio::test]
async fn a_cancelled_upload_is_either_there_or_not() {
    let world = World::new();
    let store = world.open().await;
    for polls in 0..12 {
        let version = format!("1.0.{polls}");
        let bytes = package("app", &version);
        let archive = spooled(&store, &bytes).await;
        let mut upload = Box::pin(store.put(
            Upload {
                archive,
                provenance: None,
            },
            Denied,
            Limits::default(),
        ));
        for _ in 0..polls {
            if futures_util::poll!(&mut upload).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(upload);
    }
    // The writers that had begun come to their end before this one.
    put(&store, &package("last", "1.0.0"), Denied)
        .await
        .expect("stored");
    let shown = listed(&store);
    let reopened = world.open().await;
    assert!(
        shown
            .iter()
            .all(|version| listed(&reopened).contains(version))
    );
}

#[tokio::test]
async fn what_is_no_chart_leaves_nothing_behind() {
    let world = World::new();
    let store = world.open().await;
    let error = put(&store, b"junk", Denied).await.expect_err("no archive");
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Invalid, "gzip: invalid header")
    );
    let mut spool = store.spool(10).await.expect("a spool");
    let error = spool
        .write(Bytes::from_static(b"eleven bytes"))
        .await
        .expect_err("too many");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    drop(spool);
    assert_eq!(world.scratch_files(), 0);
    assert_eq!(fs::read_dir(world.path("")).expect("a folder").count(), 1);
}

#[tokio::test]
async fn a_provenance_file_never_stands_beside_other_bytes() {
    let world = World::new();
    let store = world.open().await;
    let (old, new) = (
        package_with("app", "1.0.0", "old"),
        package_with("app", "1.0.0", "new"),
    );
    let prov = "app-1.0.0.tgz.prov";

    let error = put_both(&store, &old, &provenance("app", "1.0.0", &new), Denied)
        .await
        .expect_err("of other bytes");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error = put_both(&store, &old, &provenance("app", "2.0.0", &old), Denied)
        .await
        .expect_err("of another version");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(listed(&store).is_empty());

    let of_old = provenance("app", "1.0.0", &old);
    put_both(&store, &old, &of_old, Denied).await.expect("both");
    assert_eq!(
        bytes_of(&store, prov).await.expect("open"),
        of_old.as_bytes()
    );
    // The archive alone again: the provenance file of the same bytes stays, one of other bytes goes.
    put(&store, &old, Granted).await.expect("the same");
    assert!(bytes_of(&store, prov).await.is_ok());
    put(&store, &new, Granted).await.expect("replaced");
    assert_eq!(
        bytes_of(&store, prov).await.expect_err("gone").kind(),
        ErrorKind::NotFound
    );
    let of_new = provenance("app", "1.0.0", &new);
    put_both(&store, &new, &of_new, Granted)
        .await
        .expect("both");
    assert_eq!(
        bytes_of(&store, prov).await.expect("open"),
        of_new.as_bytes()
    );
    // Both at once conflict if only the provenance file is there.
    store.delete("app", "1.0.0").await.expect("removed");
    let early = spooled(&store, of_old.as_bytes()).await;
    store
        .put_provenance(early, Denied, Limits::default())
        .await
        .expect("ahead of its archive");
    assert_eq!(
        put_both(&store, &old, &of_old, Denied)
            .await
            .expect_err("there")
            .kind(),
        ErrorKind::Conflict
    );
    put(&store, &old, Denied).await.expect("its archive");
    assert!(bytes_of(&store, prov).await.is_ok());
}

#[tokio::test]
async fn provenance_files_alone() {
    let world = World::new();
    let store = world.open().await;
    let text = provenance("app", "1.0.0", b"x");
    let name = store
        .put_provenance(
            spooled(&store, text.as_bytes()).await,
            Denied,
            Limits::default(),
        )
        .await
        .expect("stored");
    assert_eq!(name.as_str(), "app-1.0.0.tgz.prov");
    let again = spooled(&store, text.as_bytes()).await;
    assert_eq!(
        store
            .put_provenance(again, Denied, Limits::default())
            .await
            .expect_err("there")
            .kind(),
        ErrorKind::Conflict
    );
    let again = spooled(&store, text.as_bytes()).await;
    store
        .put_provenance(again, Granted, Limits::default())
        .await
        .expect("replaced");
    let junk = spooled(&store, b"junk").await;
    assert_eq!(
        store
            .put_provenance(junk, Denied, Limits::default())
            .await
            .expect_err("junk")
            .message(),
        "invalid provenance file"
    );
    assert!(listed(&store).is_empty());
}

#[tokio::test]
async fn a_deleted_version_is_gone_for_good() {
    let world = World::new();
    let store = world.open().await;
    let bytes = package("app", "1.0.0");
    put_both(&store, &bytes, &provenance("app", "1.0.0", &bytes), Denied)
        .await
        .expect("stored");
    store.flush().await.expect("saved");
    let open = store.open_file(&file("app-1.0.0.tgz")).await.expect("open");
    store.delete("app", "1.0.0").await.expect("removed");
    assert!(listed(&store).is_empty());
    assert_eq!(
        opened(&open).metadata().expect("still open").len(),
        bytes.len() as u64
    );
    for name in ["app-1.0.0.tgz", "app-1.0.0.tgz.prov"] {
        assert!(!world.path(name).exists());
        assert_eq!(
            bytes_of(&store, name).await.expect_err("gone").kind(),
            ErrorKind::NotFound
        );
    }
    for (name, version) in [
        ("app", "1.0.0"),
        ("app", "latest"),
        ("../x", "1"),
        ("a/b", "1"),
        ("", ""),
    ] {
        let error = store.delete(name, version).await.expect_err("not there");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{name} {version}");
    }
    assert!(listed(&*world.open().await).is_empty());
}

#[tokio::test]
async fn a_restart_shows_the_same_without_reading_packages() {
    let world = World::new();
    let store = world.open().await;
    let before = {
        for version in ["1.0.0", "1.1.0", "v2.0.0"] {
            put(&store, &package("app", version), Denied)
                .await
                .expect("stored");
            world.clock.advance(Duration::from_millis(1500));
        }
        world.place("broken-1.0.0.tgz", b"junk");
        world.place("copy of app.tgz", &package("stray", "1.0.0"));
        store.rescan(Depth::Names).await.expect("looked");
        store.index()
    };
    let text = |index: &SourceIndex| {
        let entries = index.charts().flat_map(|(_, chart)| chart.entries());
        entries
            .map(|entry| {
                format!(
                    "{} {} {:?} {:?} {}",
                    entry.name, entry.version, entry.created, entry.digest, entry.fragment
                )
            })
            .collect::<Vec<_>>()
    };
    // Not saved: everything is read. Saved: nothing is.
    let unsaved = world.open().await;
    assert_eq!(text(&unsaved.index()), text(&before));
    store.flush().await.expect("saved");
    let reported = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&reported);
    let saved = world
        .open_telling(move |done, total| sink.lock().expect("no panic").push((done, total)))
        .await;
    assert_eq!(*reported.lock().expect("no panic"), []);
    assert_eq!(text(&saved.index()), text(&before));
    assert_eq!(saved.problems().len(), 1);
    saved.rescan(Depth::Files).await.expect("looked");
    assert_eq!(reads(&saved), 0);
    assert_eq!(
        bytes_of(&saved, "stray-1.0.0.tgz").await.expect("open"),
        package("stray", "1.0.0")
    );
}

#[tokio::test]
async fn a_crash_loses_no_upload_and_brings_back_no_file() {
    let world = World::new();
    let store = world.open().await;
    let (old, new) = (
        package_with("app", "1.0.0", "old"),
        package_with("app", "1.0.0", "new"),
    );
    assert_eq!(old.len(), new.len(), "the same size");
    put(&store, &old, Denied).await.expect("stored");
    put(&store, &package("gone", "1.0.0"), Denied)
        .await
        .expect("stored");
    put(&store, &package("other", "1.0.0"), Denied)
        .await
        .expect("stored");
    store.flush().await.expect("saved");
    // The clock stands still, so the replaced file has the time of the one in the saved state.
    put(&store, &new, Granted).await.expect("replaced");
    put(&store, &package("late", "1.0.0"), Denied)
        .await
        .expect("stored");
    store.delete("gone", "1.0.0").await.expect("removed");
    fs::remove_file(world.path("other-1.0.0.tgz")).expect("removed by somebody");
    fs::write(world.path(".chartgate/tmp/dead"), b"half").expect("a file");

    let again = world.open().await;
    assert_eq!(listed(&again), ["app-1.0.0", "late-1.0.0"]);
    assert_eq!(digest(&again, "app", "1.0.0"), Some(Digest::of(&new)));
    assert_eq!(world.scratch_files(), 0);
}

#[tokio::test]
async fn a_damaged_state_is_ignored() {
    let world = World::new();
    let store = world.open().await;
    put(&store, &package("app", "1.0.0"), Denied)
        .await
        .expect("stored");
    store.flush().await.expect("saved");
    let state = fs::read_dir(world.folder.path().join("state"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|end| end == "files"))
        .expect("a state");
    let good = fs::read(&state).expect("a state");
    for cut in (0..good.len()).step_by(7) {
        assert!(cut == 0 || state::parse_state(&good[..cut]).is_err());
        let mut bad = good.clone();
        bad[cut] ^= 0x55;
        assert!(state::parse_state(&bad).is_err(), "{cut}");
        fs::write(&state, &bad).expect("written");
        assert_eq!(listed(&*world.open().await), ["app-1.0.0"]);
    }
}

#[tokio::test]
async fn uploads_of_living_processes_survive_a_second_opening() {
    let world = World::new();
    let store = world.open().await;
    let mut spool = store.spool(1 << 20).await.expect("a spool");
    let bytes = package("app", "1.0.0");
    spool.write(Bytes::from(bytes.clone())).await.expect("room");
    let _second = world.open().await;
    let archive = spool.finish().await.expect("a file");
    store
        .put(
            Upload {
                archive,
                provenance: None,
            },
            Denied,
            Limits::default(),
        )
        .await
        .expect("stored");
}

#[tokio::test]
async fn files_that_others_place_replace_and_remove_are_noticed() {
    let world = World::new();
    let store = world.open().await;
    put(&store, &package("app", "1.0.0"), Denied)
        .await
        .expect("stored");
    world.place("placed-1.0.0.tgz", &package("placed", "1.0.0"));
    world.place("index-cache.yaml", b"apiVersion: v1\n");
    fs::create_dir(world.path("charts.tgz")).expect("another tenant");
    store.rescan(Depth::Names).await.expect("looked");
    assert_eq!(listed(&store), ["app-1.0.0", "placed-1.0.0"]);
    let created = store
        .index()
        .get("placed")
        .and_then(|c| c.get("1.0.0").and_then(|e| e.created));
    assert_eq!(
        created,
        Some("2026-11-21T09:43:20.123Z".parse().expect("a time")),
        "the file's time"
    );
    assert_eq!(reads(&store), 1);
    store.rescan(Depth::Files).await.expect("looked");
    assert_eq!(reads(&store), 1, "nothing changed, nothing is read");

    // Replaced by renaming: the listing shows it, though size and time are the same.
    let new = package_with("placed", "1.0.0", "");
    fs::write(world.path("x"), &new).expect("a file");
    fs::rename(world.path("x"), world.path("placed-1.0.0.tgz")).expect("renamed");
    world.age("placed-1.0.0.tgz", 1000);
    store.rescan(Depth::Names).await.expect("looked");
    assert_eq!(reads(&store), 2);
    // Rewritten in place.
    let newer = package_with("placed", "1.0.0", "in place");
    fs::write(world.path("placed-1.0.0.tgz"), &newer).expect("a file");
    world.age("placed-1.0.0.tgz", 900);
    store.rescan(Depth::Names).await.expect("looked");
    store.rescan(Depth::Files).await.expect("looked");
    assert_eq!(digest(&store, "placed", "1.0.0"), Some(Digest::of(&newer)));
    // Removed.
    fs::remove_file(world.path("placed-1.0.0.tgz")).expect("removed");
    store.rescan(Depth::Names).await.expect("looked");
    assert_eq!(listed(&store), ["app-1.0.0"]);
}

#[tokio::test]
async fn a_look_up_never_shows_other_bytes_than_the_index_names() {
    let world = World::new();
    let store = world.open().await;
    let bytes = package("new", "1.0.0");
    world.place("new-1.0.0.tgz", &bytes);
    assert_eq!(
        bytes_of(&store, "new-1.0.0.tgz")
            .await
            .expect("found in the folder"),
        bytes
    );
    assert_eq!(listed(&store), ["new-1.0.0"]);
    let other = package_with("new", "1.0.0", "rewritten");
    world.place("new-1.0.0.tgz", &other);
    assert_eq!(
        bytes_of(&store, "new-1.0.0.tgz").await.expect("read again"),
        other
    );
    assert_eq!(digest(&store, "new", "1.0.0"), Some(Digest::of(&other)));
    world.place("new-1.0.0.tgz", b"junk");
    let error = bytes_of(&store, "new-1.0.0.tgz").await.expect_err("junk");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(listed(&store).is_empty());
    fs::remove_file(world.path("new-1.0.0.tgz")).expect("removed");
    assert!(bytes_of(&store, "new-1.0.0.tgz").await.is_err());
}

#[tokio::test]
async fn links_and_pipes_are_not_followed() {
    let world = World::new();
    fs::create_dir_all(world.path("")).expect("a folder");
    let store = world.open().await;
    let secret = world.folder.path().join("secret.tgz");
    fs::write(&secret, package("secret", "1.0.0")).expect("a file");
    std::os::unix::fs::symlink(&secret, world.path("secret-1.0.0.tgz")).expect("a link");
    std::os::unix::fs::symlink(&secret, world.path("app-1.0.0.tgz.prov")).expect("a link");
    store.rescan(Depth::Names).await.expect("looked");
    assert!(listed(&store).is_empty());
    assert_eq!(store.problems().len(), 1);
    assert!(store.problems()[0].reason.contains("link"));
    for name in ["secret-1.0.0.tgz", "app-1.0.0.tgz.prov"] {
        assert_eq!(
            bytes_of(&store, name).await.expect_err("a link").kind(),
            ErrorKind::NotFound
        );
    }
    // An upload of that name does not write through it.
    assert_eq!(
        put(&store, &package("secret", "1.0.0"), Denied)
            .await
            .expect_err("taken")
            .kind(),
        ErrorKind::Conflict
    );
    put(&store, &package_with("secret", "1.0.0", "mine"), Granted)
        .await
        .expect("replaced");
    assert_eq!(
        fs::read(&secret).expect("untouched"),
        package("secret", "1.0.0")
    );
    assert_eq!(listed(&store), ["secret-1.0.0"]);
}

#[tokio::test]
async fn of_two_files_with_one_version_the_canonical_name_wins() {
    let world = World::new();
    let (canonical, stray) = (
        package_with("app", "1.0.0", "canonical"),
        package_with("app", "1.0.0", "stray"),
    );
    world.place("app-0.tgz", &stray);
    world.place("app (copy).tgz", &stray);
    let store = world.open().await;
    let entry = Arc::clone(
        store
            .index()
            .get("app")
            .and_then(|chart| chart.get("1.0.0"))
            .expect("listed"),
    );
    assert_eq!(store.stored_name(&entry).as_deref(), Some("app (copy).tgz"));
    assert_eq!(
        bytes_of(&store, "app-1.0.0.tgz")
            .await
            .expect("by its canonical name"),
        stray
    );
    assert_eq!(
        bytes_of(&store, "app-0.tgz")
            .await
            .expect("by its own name"),
        stray
    );
    assert_eq!(
        put(&store, &canonical, Denied)
            .await
            .expect_err("there")
            .kind(),
        ErrorKind::Conflict
    );
    world.place("app-1.0.0.tgz", &canonical);
    store.rescan(Depth::Names).await.expect("looked");
    assert_eq!(digest(&store, "app", "1.0.0"), Some(Digest::of(&canonical)));
    assert_eq!(store.problems().len(), 2);
    assert_eq!(
        bytes_of(&store, "app-1.0.0.tgz").await.expect("open"),
        canonical
    );
    // Whichever was listed, all of them go.
    store.delete("app", "1.0.0").await.expect("removed");
    assert!(listed(&store).is_empty());
    assert!(listed(&*world.open().await).is_empty());
}

#[tokio::test]
async fn two_charts_with_one_canonical_name_are_never_mixed() {
    let world = World::new();
    let (first, second) = (package("a-1", "2.0.0"), package("a", "1-2.0.0"));
    world.place("a-1-2.0.0.tgz", &first);
    world.place("z.tgz", &second);
    let store = world.open().await;
    assert_eq!(listed(&store), ["a-1-2.0.0"]);
    assert_eq!(
        bytes_of(&store, "a-1-2.0.0.tgz").await.expect("open"),
        first
    );
    assert_eq!(store.problems().len(), 1);
    store.delete("a", "1-2.0.0").await.expect("removed");
    assert!(!world.path("z.tgz").exists());
    assert_eq!(
        bytes_of(&store, "a-1-2.0.0.tgz").await.expect("untouched"),
        first
    );
}

#[tokio::test]
async fn a_copy_in_progress_is_listed_once_it_is_complete() {
    let world = World::new();
    fs::create_dir_all(world.path("")).expect("a folder");
    let store = world.open().await;
    let bytes = package("slow", "1.0.0");
    fs::write(world.path("slow-1.0.0.tgz"), &bytes[..60]).expect("half");
    store.rescan(Depth::Names).await.expect("looked");
    assert_eq!(store.problems().len(), 1);
    let before = reads(&store);
    store.rescan(Depth::Names).await.expect("looked");
    assert_eq!(reads(&store), before, "not read again before it changes");
    // The rest arrives: neither the folder's names nor the inode change.
    fs::write(world.path("slow-1.0.0.tgz"), &bytes).expect("all");
    store.rescan(Depth::Names).await.expect("looked");
    assert_eq!(listed(&store), ["slow-1.0.0"]);
    assert!(store.problems().is_empty());
}

#[tokio::test]
async fn a_folder_that_is_gone_empties_nothing() {
    let world = World::new();
    let store = world.open().await;
    put(&store, &package("app", "1.0.0"), Denied)
        .await
        .expect("stored");
    fs::rename(world.path(""), world.folder.path().join("away")).expect("away");
    assert!(store.rescan(Depth::Files).await.is_err());
    assert_eq!(listed(&store), ["app-1.0.0"]);
    fs::rename(world.folder.path().join("away"), world.path("")).expect("back");
    store.rescan(Depth::Files).await.expect("looked");
    assert_eq!(listed(&store), ["app-1.0.0"]);
}

#[tokio::test]
async fn the_watch_finds_changes_and_saves_at_the_end() {
    let world = World {
        clock: Clock::system(),
        ..World::new()
    };
    let store = world.open().await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let watch = tokio::spawn(Arc::clone(&store).watch(Duration::from_millis(5), async {
        let _ = stopped.await;
    }));
    let mut generations = store.subscribe();
    for at in 0..3 {
        world.place(
            &format!("app-1.0.{at}.tgz"),
            &package("app", &format!("1.0.{at}")),
        );
        while store.versions() <= at {
            generations.changed().await.expect("open");
        }
    }
    fs::remove_file(world.path("app-1.0.1.tgz")).expect("removed");
    generations
        .wait_for(|_| store.versions() == 2)
        .await
        .expect("open");
    stop.send(()).expect("running");
    watch.await.expect("no panic");
    let again = world.open().await;
    again.rescan(Depth::Files).await.expect("looked");
    assert_eq!((listed(&again).len(), reads(&again)), (2, 0));
}

#[tokio::test]
async fn every_real_package_is_hosted_under_its_version() {
    let Some(corpus) = corpus() else { return };
    let world = World::new();
    let mut placed = 0;
    for folder in fs::read_dir(&corpus)
        .expect("the corpus")
        .map(|entry| entry.expect("an entry").path())
    {
        if !folder.is_dir() {
            continue;
        }
        for file in fs::read_dir(&folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
        {
            let name = file
                .file_name()
                .and_then(|name| name.to_str())
                .expect("a name");
            world.place(name, &fs::read(&file).expect("a file"));
            placed += 1;
        }
    }
    let store = world.open().await;
    assert!(
        store.versions() > 60,
        "{placed} files, {:?}",
        store.problems()
    );
    for entry in store
        .index()
        .charts()
        .flat_map(|(_, chart)| chart.entries())
    {
        let bytes = bytes_of(&store, &entry.file_name()).await.expect("open");
        assert_eq!(Some(Digest::of(&bytes)), entry.digest);
    }
    let prov = bytes_of(&store, "signtest-0.1.0.tgz.prov")
        .await
        .expect("open");
    assert_eq!(prov.len(), 695);
}

fn place_many(world: &World, count: usize) {
    fs::create_dir_all(world.path("")).expect("a folder");
    for at in 0..count {
        let (chart, version) = (at / 100, at % 100);
        let name = format!("chart-{chart}");
        let file = world.path(&format!("{name}-1.0.{version}.tgz"));
        fs::write(file, package(&name, &format!("1.0.{version}"))).expect("a file");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_packages_are_read_once() {
    let world = World::new();
    place_many(&world, 10_000);
    let store = world.open().await;
    assert_eq!(store.versions(), 10_000);
    store.flush().await.expect("saved");
    let again = world.open().await;
    assert_eq!(again.versions(), 10_000);
    again.rescan(Depth::Files).await.expect("looked");
    assert_eq!(reads(&again), 0);
    world.place("new-1.0.0.tgz", &package("new", "1.0.0"));
    fs::remove_file(world.path("chart-7-1.0.7.tgz")).expect("removed");
    again.rescan(Depth::Files).await.expect("looked");
    assert_eq!((again.versions(), reads(&again)), (10_000, 1));
}

/// `cargo test --release --lib store::hosted::tests::figures -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn figures() {
    let world = World::new();
    place_many(&world, 100_000);
    let timed = |what: &str, start: std::time::Instant| eprintln!("{what}: {:?}", start.elapsed());
    let start = std::time::Instant::now();
    let store = world.open().await;
    timed("first start with 100,000 packages", start);
    let start = std::time::Instant::now();
    store.flush().await.expect("saved");
    timed("saving the state", start);
    drop(store);
    let start = std::time::Instant::now();
    let store = world.open().await;
    timed("second start", start);
    let start = std::time::Instant::now();
    let Place::Folder(folder) = &store.place else {
        panic!("a folder");
    };
    folder.list().expect("listed");
    timed("  of it, in parallel: listing names", start);
    let start = std::time::Instant::now();
    let state = fs::read(store.keeper.path()).expect("a state");
    let (known, index) = state::parse_state(&state).expect("a state");
    timed("  and reading the state", start);
    drop(known);
    let one = package("sync", "1.0.0");
    let start = std::time::Instant::now();
    for _ in 0..20 {
        let scratch = folder.scratch_file().expect("a file");
        let file = &scratch.file;
        std::io::Write::write_all(&mut &*file, &one).expect("written");
        file.sync_all().expect("synced");
        folder.sync().expect("synced");
    }
    eprintln!(
        "syncing a file and the folder, bare: {:?}",
        start.elapsed() / 20
    );
    let entry = index.charts().next().expect("one").1.entries()[0].clone();
    let start = std::time::Instant::now();
    for _ in 0..1000 {
        std::hint::black_box(index.with_entry(Arc::clone(&entry)));
    }
    eprintln!(
        "one entry exchanged in the index: {:?}",
        start.elapsed() / 1000
    );
    assert_eq!(store.versions(), 100_000);
    let start = std::time::Instant::now();
    store.rescan(Depth::Files).await.expect("looked");
    timed("look at every file", start);
    let start = std::time::Instant::now();
    store.rescan(Depth::Names).await.expect("looked");
    timed("look at every name", start);
    let mut times = Vec::new();
    for at in 0..200 {
        let bytes = package("chart-5", &format!("2.0.{at}"));
        let archive = spooled(&store, &bytes).await;
        let start = std::time::Instant::now();
        store
            .put(
                Upload {
                    archive,
                    provenance: None,
                },
                Denied,
                Limits::default(),
            )
            .await
            .expect("stored");
        times.push(start.elapsed());
    }
    times.sort();
    eprintln!(
        "upload with 100,000 versions: median {:?}, p99 {:?}",
        times[100], times[197]
    );
    let start = std::time::Instant::now();
    for at in 0..1000 {
        let name = format!("chart-{at}-1.0.7.tgz");
        store.open_file(&file(&name)).await.expect("open");
    }
    eprintln!("open_file: {:?} each", start.elapsed() / 1000);
}
