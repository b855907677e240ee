//! Measurements.

use std::fs;

use super::*;
use OverwritePermission::Denied;

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
