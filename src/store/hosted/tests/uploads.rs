//! Uploads to folders.

use std::fs;

use bytes::Bytes;

use super::*;
use OverwritePermission::Denied;

#[tokio::test]
async fn an_upload_keeps_its_time_and_is_not_read_again() {
    let world = World::new();
    let store = world.open().await;
    let bytes = package("app", "1.0.0+a");
    let entry = put(&store, &bytes, Denied).await.expect("stored");
    assert_eq!(
        entry.created.expect("a time").to_string(),
        "2026-11-21T10:00:00.123Z"
    );
    assert_eq!(
        store.stored_name(&entry).as_deref(),
        Some("app-1.0.0+a.tgz")
    );
    assert_eq!(
        fs::read(world.path("app-1.0.0+a.tgz")).expect("a file"),
        bytes
    );
    assert_eq!(
        world.below("hosted"),
        ["acme", "acme/platform", "acme/platform/app-1.0.0+a.tgz"]
    );
    assert_eq!(reads(&store), 0);
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
async fn an_open_file_stays_whole_when_it_is_deleted() {
    let world = World::new();
    let store = world.open().await;
    let bytes = package("app", "1.0.0");
    put(&store, &bytes, Denied).await.expect("stored");
    let open = store.open_file(&file("app-1.0.0.tgz")).await.expect("open");
    store.delete("app", "1.0.0").await.expect("removed");
    assert!(!world.path("app-1.0.0.tgz").exists());
    let mut read = Vec::new();
    std::io::Read::read_to_end(&mut opened(&open), &mut read).expect("readable");
    assert_eq!(read, bytes);
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
async fn what_is_refused_leaves_no_trace() {
    let world = World::new();
    let store = world.open().await;
    let refused = async || {
        let error = put(&store, b"junk", Denied).await.expect_err("no archive");
        assert_eq!(error.message(), "gzip: invalid header");
        let mut spool = store.spool(10).await.expect("a spool");
        let error = spool.write(Bytes::from_static(b"eleven bytes")).await;
        assert_eq!(error.expect_err("too many").kind(), ErrorKind::TooLarge);
        drop(spool);
        let junk = spooled(&store, b"junk").await;
        let error = store
            .put_provenance(junk, Denied, Limits::default())
            .await
            .expect_err("junk");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    };
    // Neither where nothing is,
    refused().await;
    assert_eq!(world.below("hosted"), [""; 0]);
    // nor below another repository,
    fs::create_dir_all(world.folder.path().join("hosted/acme")).expect("a folder");
    refused().await;
    assert_eq!(world.below("hosted"), ["acme"]);
    // nor in an empty folder,
    fs::create_dir(world.path("")).expect("a folder");
    refused().await;
    assert_eq!(world.below("hosted"), ["acme", "acme/platform"]);
    // nor among files.
    put(&store, &package("app", "1.0.0"), Denied)
        .await
        .expect("stored");
    refused().await;
    assert_eq!(world.below("hosted/acme/platform"), ["app-1.0.0.tgz"]);
    store.flush().await.expect("saved");
}

#[tokio::test]
async fn a_name_that_is_a_file_is_no_repository() {
    for taken in ["hosted/acme/platform", "hosted/acme"] {
        let world = World::new();
        let taken = world.folder.path().join(taken);
        fs::create_dir_all(taken.parent().expect("a folder")).expect("a folder");
        fs::write(&taken, b"a file").expect("a file");
        let store = world.open().await;
        assert!(store.is_empty());
        store.rescan(Depth::Files).await.expect("nothing there");
        for name in ["app-1.0.0.tgz", "app-1.0.0.tgz.prov"] {
            let error = bytes_of(&store, name).await.expect_err("nothing");
            assert_eq!(error.kind(), ErrorKind::NotFound);
        }
        let error = store.delete("app", "1.0.0").await.expect_err("nothing");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let error = store.spool(100).await.expect_err("nowhere to put it");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("push to another"), "{error}");
        assert_eq!(fs::read(&taken).expect("untouched"), b"a file");
    }
}
