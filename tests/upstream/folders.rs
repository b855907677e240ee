use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chartgate::clock::Clock;
use chartgate::digest::Digest;
use chartgate::error::ErrorKind;
use chartgate::index::SourceIndex;
use chartgate::upstream::{BrokenPackage, Dir, IndexReply, Upstream as _, Validators};

use super::read;
use crate::support::fake::package;

fn dir(folder: &Path) -> Dir {
    Dir::new(Arc::from("acme"), folder.to_owned(), Clock::system())
}

async fn look(dir: &Dir) -> (Arc<SourceIndex>, Vec<BrokenPackage>, Validators) {
    match dir.fetch_index(None).await.expect("an index") {
        IndexReply::Entries {
            index,
            broken,
            validators,
        } => (index, broken, validators),
        other @ (IndexReply::NotModified | IndexReply::Text { .. }) => {
            panic!("not entries: {other:?}")
        }
    }
}

/// `name-version` of everything, sorted.
fn names(index: &SourceIndex) -> Vec<String> {
    let mut names: Vec<_> = index
        .charts()
        .flat_map(|(_, chart)| chart.entries().iter().map(|entry| entry.file_name()))
        .collect();
    names.sort();
    names
}

fn put(folder: &Path, path: &str, bytes: impl AsRef<[u8]>) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("writable");
    std::fs::write(path, bytes).expect("writable");
}

#[tokio::test]
async fn packages_of_any_depth_are_listed_with_digest_and_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let a = package("a", "1.0.0+b.1", &[]);
    put(folder.path(), "whatever it is.tgz", &a);
    put(folder.path(), "x/y/b-2.0.0.tgz", package("b", "2.0.0", &[]));
    put(
        folder.path(),
        "1/2/3/4/5/deep-1.0.0.tgz",
        package("deep", "1.0.0", &[]),
    );
    put(
        folder.path(),
        ".hidden/c-1.0.0.tgz",
        package("c", "1.0.0", &[]),
    );
    put(folder.path(), ".part-1.0.0.tgz", "half");
    put(folder.path(), "readme.txt", "no package");
    let dir = dir(folder.path());
    let (index, broken, _) = look(&dir).await;
    assert_eq!(names(&index), ["a-1.0.0+b.1.tgz", "b-2.0.0.tgz"]);
    assert_eq!(broken, []);

    let chart = index.get("a").expect("is listed");
    let entry = &chart.entries()[0];
    assert_eq!(entry.digest, Some(Digest::of(&a)));
    assert!(entry.created.is_some());
    let download = dir.open(&entry.urls[0], 0).await.expect("opens");
    assert_eq!(read(download).await.expect("whole"), a);
}

#[tokio::test]
async fn broken_packages_are_named_and_hide_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let a = package("a", "1.0.0", &[]);
    put(folder.path(), "a-1.0.0.tgz", &a);
    put(folder.path(), "cut-1.0.0.tgz", &a[..a.len() / 2]);
    put(folder.path(), "empty-1.0.0.tgz", "");
    put(folder.path(), "page-1.0.0.tgz", "<html>");
    put(
        folder.path(),
        "text/nothing.tgz/inside",
        "a folder with the name of a package",
    );
    let (index, broken, _) = look(&dir(folder.path())).await;
    assert_eq!(names(&index), ["a-1.0.0.tgz"]);
    let files: Vec<_> = broken.iter().map(|broken| broken.file.as_str()).collect();
    assert_eq!(
        files,
        ["cut-1.0.0.tgz", "empty-1.0.0.tgz", "page-1.0.0.tgz"]
    );
    assert!(broken.iter().all(|broken| !broken.reason.is_empty()));
}

#[tokio::test]
async fn a_refresh_sees_what_came_changed_and_went() {
    let folder = tempfile::tempdir().expect("a folder");
    put(folder.path(), "a.tgz", package("a", "1.0.0", &[]));
    put(folder.path(), "b.tgz", package("b", "1.0.0", &[]));
    let dir = dir(folder.path());
    let (first, _, held) = look(&dir).await;
    let reply = dir.fetch_index(Some(&held)).await.expect("an answer");
    assert!(matches!(reply, IndexReply::NotModified));

    put(
        folder.path(),
        "a.tgz",
        package("a", "1.1.0", &[("more", b"content")]),
    );
    put(folder.path(), "c.tgz", package("c", "1.0.0", &[]));
    let reply = dir.fetch_index(Some(&held)).await.expect("an answer");
    let IndexReply::Entries { index, .. } = reply else {
        panic!("it changed")
    };
    assert_eq!(names(&index), ["a-1.1.0.tgz", "b-1.0.0.tgz", "c-1.0.0.tgz"]);
    // What did not change was not read again: it is the very same entry.
    let entry = |index: &SourceIndex| Arc::clone(&index.get("b").expect("listed").entries()[0]);
    assert!(Arc::ptr_eq(&entry(&first), &entry(&index)));

    std::fs::remove_file(folder.path().join("b.tgz")).expect("writable");
    let (index, ..) = look(&dir).await;
    assert_eq!(names(&index), ["a-1.1.0.tgz", "c-1.0.0.tgz"]);
}

#[tokio::test]
async fn of_two_files_with_one_version_the_newer_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (
        package("a", "1.0.0", &[("f", b"old")]),
        package("a", "1.0.0", &[]),
    );
    for (file, bytes, age) in [("1.tgz", &new, 10), ("2.tgz", &old, 1000)] {
        put(folder.path(), file, bytes);
        let modified = SystemTime::now() - Duration::from_secs(age);
        let file = std::fs::File::options()
            .write(true)
            .open(folder.path().join(file));
        file.and_then(|file| file.set_modified(modified))
            .expect("writable");
    }
    let (index, ..) = look(&dir(folder.path())).await;
    let chart = index.get("a").expect("listed");
    assert_eq!(chart.entries().len(), 1);
    assert_eq!(chart.entries()[0].digest, Some(Digest::of(&new)));
}

#[tokio::test]
async fn links_count_only_inside_the_folder() {
    let outside = tempfile::tempdir().expect("a folder");
    let folder = tempfile::tempdir().expect("a folder");
    put(outside.path(), "a.tgz", package("a", "1.0.0", &[]));
    put(folder.path(), "..data/b.tgz", package("b", "1.0.0", &[]));
    let link = |to: &Path, name: &str| {
        std::os::unix::fs::symlink(to, folder.path().join(name)).expect("writable");
    };
    link(&outside.path().join("a.tgz"), "a.tgz");
    link(Path::new("..data/b.tgz"), "b.tgz");
    link(outside.path(), "linked");
    link(Path::new("nowhere.tgz"), "dangling.tgz");
    let dir = dir(folder.path());
    let (index, broken, _) = look(&dir).await;
    assert_eq!(names(&index), ["b-1.0.0.tgz"]);
    assert_eq!(broken, []);
}

#[tokio::test]
async fn nothing_outside_the_folder_is_opened() {
    let outside = tempfile::tempdir().expect("a folder");
    put(outside.path(), "secret.tgz", "secret");
    put(outside.path(), "in/a.tgz", "bytes");
    let root = outside.path().join("in");
    std::os::unix::fs::symlink("../secret.tgz", root.join("link.tgz")).expect("writable");
    std::os::unix::fs::symlink("..", root.join("up")).expect("writable");
    let dir = dir(&root);
    let base = format!("file://{}", root.display());
    for path in [
        "/../secret.tgz",
        "/%2e%2e/secret.tgz",
        "/..%2fsecret.tgz",
        "/link.tgz",
        "/up/secret.tgz",
        "/a%00.tgz",
        "/a.tgz/x",
        "/",
    ] {
        let error = dir.open(&format!("{base}{path}"), 0).await.expect_err(path);
        assert_eq!(error.kind(), ErrorKind::NotFound, "{path}: {error:?}");
        assert!(
            !error.message().contains(&*root.to_string_lossy()),
            "{error}"
        );
    }
    for url in ["file://host/etc/passwd", "http://127.0.0.1/a.tgz", "a.tgz"] {
        let error = dir.open(url, 0).await.expect_err(url);
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{url}");
    }
    let whole = dir.open(&format!("{base}/a.tgz"), 0).await.expect("inside");
    assert_eq!(read(whole).await.expect("whole"), b"bytes");
}

#[tokio::test]
async fn a_file_that_shrinks_under_the_reader_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    put(folder.path(), "a.tgz", vec![1; 2_000_000]);
    let dir = dir(folder.path());
    let url = format!("file://{}/a.tgz", folder.path().display());
    let mut download = dir.open(&url, 0).await.expect("opens");
    download
        .body
        .next()
        .await
        .expect("a piece")
        .expect("readable");
    put(folder.path(), "a.tgz", "short");
    let error = read(download).await.expect_err("it shrank");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    assert!(error.message().contains("became shorter"), "{error}");
}

#[tokio::test]
async fn an_empty_folder_is_an_empty_index() {
    let folder = tempfile::tempdir().expect("a folder");
    let (index, broken, _) = look(&dir(folder.path())).await;
    assert_eq!(names(&index), Vec::<String>::new());
    assert_eq!(broken, []);
}
