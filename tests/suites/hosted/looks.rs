//! Noticing what others did.

use std::collections::BTreeSet;

use chartgate::digest::Digest;
use chartgate::error::ErrorKind;
use chartgate::store::Depth;
use chartgate::store::OverwritePermission::Denied;

use super::ground::*;

pub(super) async fn find_what_others_did(ground: &Ground) {
    let store = ground.look("others").await;
    put(&store, &plain("app", "1.0.0"), Denied)
        .await
        .expect("stored");
    ground
        .place("others", "placed-1.0.0.tgz", plain("placed", "1.0.0"))
        .await;
    ground.place("others", "README", "no package").await;
    store.rescan(Depth::Names).await.expect("looked");
    assert_eq!(listed(&store), ["app-1.0.0", "placed-1.0.0"]);
    let newer = package_with("placed", "1.0.0", "replaced");
    ground
        .place("others", "placed-1.0.0.tgz", newer.clone())
        .await;
    store.rescan(Depth::Files).await.expect("looked");
    assert_eq!(digest(&store, "placed", "1.0.0"), Some(Digest::of(&newer)));
    ground.take("others", "placed-1.0.0.tgz").await;
    ground.take("others", "app-1.0.0.tgz").await;
    store.rescan(Depth::Names).await.expect("looked");
    assert!(store.is_empty());
}

pub(super) async fn find_a_name_that_the_index_misses(ground: &Ground) {
    let store = ground.look("missed").await;
    let bytes = plain("new", "1.0.0");
    ground.place("missed", "new-1.0.0.tgz", bytes.clone()).await;
    let found = bytes_of(&store, "new-1.0.0.tgz").await.expect("found");
    assert_eq!(found, bytes);
    assert_eq!(listed(&store), ["new-1.0.0"]);
    let error = bytes_of(&store, "nonsense-1.0.0.tgz").await;
    assert_eq!(error.expect_err("nothing").kind(), ErrorKind::NotFound);
    // Nobody sees that it was not there before it came.
    put(&store, &plain("nonsense", "1.0.0"), Denied)
        .await
        .expect("stored");
    bytes_of(&store, "nonsense-1.0.0.tgz").await.expect("there");
}

pub(super) async fn are_not_stopped_by_broken_packages(ground: &Ground) {
    ground
        .place("broken", "a-1.0.0.tgz", plain("a", "1.0.0"))
        .await;
    let whole = package_with("b", "1.0.0", "long enough to be cut in the middle");
    ground
        .place("broken", "b-1.0.0.tgz", whole.slice(..whole.len() / 2))
        .await;
    ground.place("broken", "c-1.0.0.tgz", "junk").await;
    ground.place("broken", "d-1.0.0.tgz", "").await;
    ground
        .place("broken", "e-1.0.0.tgz", plain("e", "1.0.0"))
        .await;
    let store = ground.look("broken").await;
    assert_eq!(listed(&store), ["a-1.0.0", "e-1.0.0"]);
    let problems = store.problems();
    let files: Vec<&str> = problems.iter().map(|problem| &*problem.file).collect();
    assert_eq!(files, ["b-1.0.0.tgz", "c-1.0.0.tgz", "d-1.0.0.tgz"]);
    let error = bytes_of(&store, "c-1.0.0.tgz").await.expect_err("junk");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("gzip: invalid header"), "{error}");
    // Mended, it is there.
    ground.place("broken", "b-1.0.0.tgz", whole).await;
    store.rescan(Depth::Files).await.expect("looked");
    assert_eq!(listed(&store).len(), 3);
    assert_eq!(store.problems().len(), 2);
    // What cannot be read can be removed under its own name.
    store.delete("c", "1.0.0").await.expect("removed");
    assert!(!ground.names("broken").await.contains("c-1.0.0.tgz"));
}

pub(super) async fn prefer_the_canonical_name(ground: &Ground) {
    let (canonical, stray) = (
        package_with("app", "1.0.0", "canonical"),
        package_with("app", "1.0.0", "stray"),
    );
    ground.place("stray", "app (copy).tgz", stray.clone()).await;
    let store = ground.look("stray").await;
    for name in ["app-1.0.0.tgz", "app (copy).tgz"] {
        assert_eq!(bytes_of(&store, name).await.expect("there"), stray);
    }
    let error = put(&store, &canonical, Denied).await.expect_err("there");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    ground
        .place("stray", "app-1.0.0.tgz", canonical.clone())
        .await;
    store.rescan(Depth::Names).await.expect("looked");
    assert_eq!(digest(&store, "app", "1.0.0"), Some(Digest::of(&canonical)));
    assert_eq!(store.problems().len(), 1);
    store.delete("app", "1.0.0").await.expect("both of them");
    assert!(ground.names("stray").await.is_empty());
}

pub(super) async fn keep_to_their_own_repository(ground: &Ground) {
    ground
        .place("own/deeper", "deep-1.0.0.tgz", plain("deep", "1.0.0"))
        .await;
    ground
        .place("own", "app-1.0.0.tgz", plain("app", "1.0.0"))
        .await;
    // Without a delimiter, `own` would find these too.
    ground
        .place("own-other", "other-1.0.0.tgz", plain("other", "1.0.0"))
        .await;
    ground
        .place("ownother", "other-1.0.0.tgz", plain("other", "1.0.0"))
        .await;
    assert_eq!(listed(&*ground.look("own").await), ["app-1.0.0"]);
    assert_eq!(listed(&*ground.look("own/deeper").await), ["deep-1.0.0"]);
}

pub(super) async fn make_nothing(ground: &Ground) {
    let before = traces(ground);
    let store = ground.look("nobody/made/this").await;
    assert!(store.is_empty() && listed(&store).is_empty());
    for name in ["app-1.0.0.tgz", "app-1.0.0.tgz.prov"] {
        let error = bytes_of(&store, name).await.expect_err("nothing");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    store.rescan(Depth::Names).await.expect("looked");
    store.delete("app", "1.0.0").await.expect_err("nothing");
    store.flush().await.expect("nothing to save");
    assert_eq!(traces(ground), before);
    // The first upload makes it.
    put(&store, &plain("app", "1.0.0"), Denied)
        .await
        .expect("stored");
    store.flush().await.expect("saved");
    assert_ne!(traces(ground), before);
    assert_eq!(ground.names("nobody/made/this").await.len(), 1);
    // And what became empty again leaves no state.
    store.delete("app", "1.0.0").await.expect("removed");
    store.flush().await.expect("saved");
    let folders = |traces: BTreeSet<std::path::PathBuf>| -> Vec<_> {
        traces.into_iter().filter(|path| path.is_file()).collect()
    };
    assert_eq!(folders(traces(ground)), folders(before));
}

/// Every file and folder on the local disk.
fn traces(ground: &Ground) -> BTreeSet<std::path::PathBuf> {
    let mut traces = BTreeSet::new();
    let mut folders = vec![ground.local.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            traces.insert(path);
        }
    }
    traces
}
