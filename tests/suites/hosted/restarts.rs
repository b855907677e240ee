//! What a second start shows.

use std::fs;

use chartgate::digest::Digest;
use chartgate::store::OverwritePermission::{Denied, Granted};

use super::ground::*;

pub(super) async fn show_the_same(ground: &Ground) {
    let store = ground.look("same").await;
    for version in ["1.0.0", "1.1.0", "v2.0.0"] {
        put(&store, &plain("app", version), Denied)
            .await
            .expect("stored");
    }
    ground.place("same", "broken-1.0.0.tgz", "junk").await;
    ground
        .place("same", "copy of app.tgz", plain("stray", "1.0.0"))
        .await;
    store
        .rescan(chartgate::store::Depth::Files)
        .await
        .expect("looked");
    let before = text(&store);
    assert_eq!(before.len(), 4);
    // With nothing kept, and with everything.
    assert_eq!(text(&*ground.look("same").await), before);
    store.flush().await.expect("saved");
    let again = ground.open("same").await;
    assert_eq!(text(&again), before, "before it was looked at");
    assert_eq!(again.problems().len(), 1);
    again
        .rescan(chartgate::store::Depth::Files)
        .await
        .expect("looked");
    assert_eq!(text(&again), before);
    let stray = bytes_of(&again, "stray-1.0.0.tgz").await.expect("there");
    assert_eq!(stray, plain("stray", "1.0.0"));
}

pub(super) async fn lose_and_bring_back_nothing(ground: &Ground) {
    let store = ground.look("crash").await;
    let new = package_with("app", "1.0.0", "new");
    for bytes in [
        package_with("app", "1.0.0", "old"),
        plain("gone", "1.0.0"),
        plain("other", "1.0.0"),
    ] {
        put(&store, &bytes, Denied).await.expect("stored");
    }
    store.flush().await.expect("saved");
    // Not saved any more.
    put(&store, &new, Granted).await.expect("replaced");
    put(&store, &plain("late", "1.0.0"), Denied)
        .await
        .expect("stored");
    store.delete("gone", "1.0.0").await.expect("removed");
    ground.take("crash", "other-1.0.0.tgz").await;
    let again = ground.open("crash").await;
    assert!(digest(&again, "gone", "1.0.0").is_none(), "we removed it");
    assert_eq!(bytes_of(&again, "app-1.0.0.tgz").await.expect("there"), new);
    again
        .rescan(chartgate::store::Depth::Files)
        .await
        .expect("looked");
    assert_eq!(listed(&again), ["app-1.0.0", "late-1.0.0"]);
    assert_eq!(digest(&again, "app", "1.0.0"), Some(Digest::of(&new)));
}

pub(super) async fn survive_a_damaged_state(ground: &Ground) {
    let store = ground.look("damaged").await;
    put(&store, &plain("app", "1.0.0"), Denied)
        .await
        .expect("stored");
    let states = || -> std::collections::BTreeSet<_> {
        fs::read_dir(ground.state_dir())
            .into_iter()
            .flatten()
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|end| end == "files"))
            .collect()
    };
    let before = states();
    store.flush().await.expect("saved");
    let added: Vec<_> = states().difference(&before).cloned().collect();
    let [state] = &added[..] else {
        panic!("{added:?}");
    };
    let good = fs::read(state).expect("a state");
    for at in [0, 15, 25, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        for damaged in [&bad[..], &good[..at]] {
            fs::write(state, damaged).expect("written");
            assert_eq!(listed(&*ground.look("damaged").await), ["app-1.0.0"]);
        }
    }
}
