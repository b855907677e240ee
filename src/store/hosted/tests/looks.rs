//! What others do in a folder, and what lies there that is no package.

use std::fs;
use std::time::Duration;

use super::*;
use OverwritePermission::{Denied, Granted};

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
async fn the_root_and_the_folder_may_be_links() {
    let world = World::new();
    let at = |name: &str| world.folder.path().join(name);
    for folder in ["volume/acme", "elsewhere"] {
        fs::create_dir_all(at(folder)).expect("a folder");
    }
    std::os::unix::fs::symlink(at("volume"), at("hosted")).expect("a link");
    std::os::unix::fs::symlink(at("elsewhere"), at("volume/acme/platform")).expect("a link");
    fs::write(at("elsewhere/placed-1.0.0.tgz"), package("placed", "1.0.0")).expect("a file");
    let store = world.open().await;
    put(&store, &package("app", "1.0.0"), Denied)
        .await
        .expect("stored");
    put(&store, b"junk", Denied).await.expect_err("refused");
    for store in [&store, &world.open().await] {
        store.rescan(Depth::Files).await.expect("looked");
        assert_eq!(listed(store), ["app-1.0.0", "placed-1.0.0"]);
    }
    let names = ["app-1.0.0.tgz", "placed-1.0.0.tgz"];
    assert_eq!(world.below("elsewhere"), names);
    for name in names {
        bytes_of(&store, name).await.expect("there");
    }
    store.delete("placed", "1.0.0").await.expect("removed");
    assert_eq!(world.below("elsewhere"), names[..1]);
    // One that leads nowhere is not made into a folder somewhere.
    let lost = world.open_as("lost").await;
    std::os::unix::fs::symlink(at("nowhere"), at("volume/lost")).expect("a link");
    let stored = put(&lost, &package("app", "1.0.0"), Denied).await;
    assert!(stored.is_err() && !at("nowhere").exists());
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_nobody_asks_for_is_looked_at_seldom_and_when_somebody_does() {
    let world = World::new();
    fs::create_dir_all(world.path("")).expect("a folder");
    let store = world.open().await;
    let second = Duration::from_secs(1);
    let watch = tokio::spawn(Arc::clone(&store).watch(second, std::future::pending()));
    let mut generations = store.subscribe();
    let mut found_after = async |file: &str, asks: bool| {
        world.place(&format!("{file}-1.0.0.tgz"), &package(file, "1.0.0"));
        let start = tokio::time::Instant::now();
        if asks {
            store.note_use();
        }
        generations.changed().await.expect("open");
        start.elapsed()
    };
    // It was just opened.
    assert!(found_after("early", false).await <= 2 * second);
    tokio::time::advance(60 * second).await;
    found_after("before-the-rest", false).await;
    let seldom = found_after("unasked", false).await;
    assert!((10 * second..20 * second).contains(&seldom), "{seldom:?}");
    let asked = found_after("asked", true).await;
    assert!(asked <= 2 * second, "{asked:?}");
    watch.abort();
}
