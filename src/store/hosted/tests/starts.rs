//! What a start costs and cleans up.

use std::fs;

use super::*;
use OverwritePermission::Denied;

#[tokio::test]
async fn a_restart_reads_no_package() {
    let world = World::new();
    let store = world.open().await;
    put(&store, &package("app", "1.0.0"), Denied)
        .await
        .expect("stored");
    world.place("broken-1.0.0.tgz", b"junk");
    world.place("copy of app.tgz", &package("stray", "1.0.0"));
    store.rescan(Depth::Names).await.expect("looked");
    store.flush().await.expect("saved");
    let reported = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&reported);
    let saved = world
        .open_telling("acme/platform", move |done, total| {
            sink.lock().expect("no panic").push((done, total));
        })
        .await;
    assert_eq!(*reported.lock().expect("no panic"), []);
    assert_eq!(listed(&saved), ["app-1.0.0", "stray-1.0.0"]);
    saved.rescan(Depth::Files).await.expect("looked");
    assert_eq!(reads(&saved), 0);
}

#[tokio::test]
async fn what_a_dead_process_left_is_removed() {
    let world = World::new();
    world.place("app-1.0.0.tgz", &package("app", "1.0.0"));
    // In the folder, and where uploads to it began before there was one.
    for place in ["hosted/acme/platform", "hosted"] {
        let place = world.folder.path().join(place).join(".chartgate/tmp");
        fs::create_dir_all(&place).expect("a folder");
        fs::write(place.join("dead"), b"half").expect("a file");
    }
    world.open().await;
    world.open_as("nobody/made/this").await;
    assert_eq!(
        world.below("hosted"),
        ["acme", "acme/platform", "acme/platform/app-1.0.0.tgz"]
    );
}

#[tokio::test]
async fn a_damaged_state_is_told_from_a_whole_one() {
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
    assert!(state::parse_state(&good).is_ok());
    for cut in 0..good.len() {
        assert!(state::parse_state(&good[..cut]).is_err());
        let mut bad = good.clone();
        bad[cut] ^= 0x55;
        assert!(state::parse_state(&bad).is_err(), "{cut}");
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
