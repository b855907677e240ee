//! Names of files and of what is in them.

use std::fs;

use super::*;

#[tokio::test]
async fn of_two_stray_names_the_first_is_shown() {
    let world = World::new();
    let stray = package("app", "1.0.0");
    world.place("app-0.tgz", &package_with("app", "1.0.0", "another"));
    world.place("app (copy).tgz", &stray);
    let store = world.open().await;
    let index = store.index();
    let entry = index.get("app").and_then(|chart| chart.get("1.0.0"));
    let entry = entry.expect("listed");
    assert_eq!(store.stored_name(entry).as_deref(), Some("app (copy).tgz"));
    for name in ["app-1.0.0.tgz", "app (copy).tgz"] {
        assert_eq!(bytes_of(&store, name).await.expect("there"), stray);
    }
    assert_eq!(store.problems().len(), 1);
    // Whichever was listed, all of them go.
    store.delete("app", "1.0.0").await.expect("removed");
    assert_eq!(world.below("hosted/acme/platform"), [""; 0]);
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
