//! How much a repository may hold, and what a way back to ChartMuseum needs.

use chartgate::error::ErrorKind;
use chartgate::store::Limits;
use chartgate::store::OverwritePermission::{Denied, Granted};

use super::ground::*;

pub(super) async fn count_every_file(ground: &Ground) {
    ground
        .place("full", "app-1.0.0.tgz", plain("app", "1.0.0"))
        .await;
    ground
        .place("full", "app-1.0.0.tgz.prov", "of somebody")
        .await;
    ground.place("full", "README", "counts, too").await;
    // Not looked at before: the limit wants to know first.
    let store = ground.open("full").await;
    let limits = |max_objects| Limits {
        max_objects,
        ..FREE
    };
    let full = |error: chartgate::error::Error| {
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::QuotaExceeded, "repo has reached storage limit")
        );
    };
    let second = plain("app", "2.0.0");
    full(
        put_within(&store, &second, Granted, limits(3))
            .await
            .expect_err("full"),
    );
    put_within(&store, &second, Granted, limits(4))
        .await
        .expect("room for one");
    // Nothing more comes in by overwriting.
    put_within(
        &store,
        &package_with("app", "2.0.0", "other"),
        Granted,
        limits(4),
    )
    .await
    .expect("in its own place");
    let text = provenance("app", "2.0.0", b"x");
    let early = spooled(&store, text.as_bytes()).await;
    full(
        store
            .put_provenance(early, Granted, limits(4))
            .await
            .expect_err("full"),
    );
    let third = plain("app", "3.0.0");
    full(
        put_within(&store, &third, Denied, limits(4))
            .await
            .expect_err("full"),
    );
    // An archive with its provenance file needs two places.
    let both = async |max| {
        let upload = chartgate::store::Upload {
            archive: spooled(&store, &third).await,
            provenance: Some(spooled(&store, provenance("app", "3.0.0", &third).as_bytes()).await),
        };
        store.put(upload, Denied, limits(max)).await
    };
    full(both(5).await.expect_err("one too many"));
    assert_eq!(ground.names("full").await.len(), 4);
    both(6).await.expect("room for both");
    store.delete("app", "3.0.0").await.expect("removed");
    put_within(&store, &third, Denied, limits(5))
        .await
        .expect("room again");
    assert_eq!(ground.names("full").await.len(), 5);
}

fn versions(max_versions: usize) -> Limits {
    Limits {
        max_versions,
        ..FREE
    }
}

/// Uploads, each at a time of its own.
async fn push(
    ground: &Ground,
    store: &std::sync::Arc<chartgate::store::Hosted>,
    version: &str,
    limits: Limits,
) {
    let bytes = plain("app", version);
    put_within(store, &bytes, Denied, limits)
        .await
        .expect("stored");
    ground.tick();
}

pub(super) async fn keep_the_newest_versions(ground: &Ground) {
    let store = ground.look("evict").await;
    // By time of upload, not by version.
    for version in ["3.0.0", "1.0.0", "2.0.0"] {
        push(ground, &store, version, FREE).await;
    }
    let text = provenance("app", "3.0.0", b"x");
    let early = spooled(&store, text.as_bytes()).await;
    store
        .put_provenance(early, Denied, FREE)
        .await
        .expect("stored");
    put(&store, &plain("other", "1.0.0"), Denied)
        .await
        .expect("stored");
    push(ground, &store, "0.1.0", versions(3)).await;
    assert_eq!(
        listed(&store),
        ["app-0.1.0", "app-1.0.0", "app-2.0.0", "other-1.0.0"]
    );
    let names = ground.names("evict").await;
    assert_eq!(names.len(), 4, "with its provenance file: {names:?}");
    // A lower limit than before, and one that leaves nothing but the newcomer.
    push(ground, &store, "0.0.1", versions(2)).await;
    assert_eq!(listed(&store), ["app-0.0.1", "app-0.1.0", "other-1.0.0"]);
    push(ground, &store, "0.0.0", versions(1)).await;
    assert_eq!(listed(&store), ["app-0.0.0", "other-1.0.0"]);
    assert_eq!(
        listed(&*ground.replica().look("evict").await),
        ["app-0.0.0", "other-1.0.0"]
    );
}

pub(super) async fn spare_what_is_overwritten(ground: &Ground) {
    let store = ground.look("spare").await;
    for version in ["1.0.0", "2.0.0"] {
        push(ground, &store, version, versions(2)).await;
    }
    // Also the oldest, which is the newest afterwards.
    for version in ["2.0.0", "1.0.0"] {
        let again = package_with("app", version, "again");
        put_within(&store, &again, Granted, versions(2))
            .await
            .expect("replaced");
        ground.tick();
        assert_eq!(listed(&store), ["app-1.0.0", "app-2.0.0"]);
    }
    push(ground, &store, "3.0.0", versions(2)).await;
    assert_eq!(listed(&store), ["app-1.0.0", "app-3.0.0"]);
}

pub(super) async fn remove_nothing_when_the_upload_fails(ground: &Ground) {
    let store = ground.look("failed").await;
    for version in ["1.0.0", "2.0.0"] {
        push(ground, &store, version, FREE).await;
    }
    for bytes in [plain("app", "2.0.0"), "junk".into()] {
        put_within(&store, &bytes, Denied, versions(1))
            .await
            .expect_err("refused");
    }
    let full = Limits {
        max_objects: 2,
        max_versions: 1,
    };
    put_within(&store, &plain("app", "3.0.0"), Denied, full)
        .await
        .expect_err("full");
    assert_eq!(listed(&store), ["app-1.0.0", "app-2.0.0"]);
    assert_eq!(ground.names("failed").await.len(), 2);
}

pub(super) async fn remove_the_index_of_chartmuseum(ground: &Ground) {
    const STATEFILE: &str = "index-cache.yaml";
    let is_there = async || ground.names("way-back").await.contains(STATEFILE);
    let leave = async || {
        let text = "apiVersion: v1\nentries: {}\n";
        ground.place("way-back", STATEFILE, text).await;
    };
    leave().await;
    ground
        .place("way-back", "app-1.0.0.tgz", plain("app", "1.0.0"))
        .await;
    // Not looked at yet.
    let store = ground.open("way-back").await;
    put(&store, &plain("app", "1.0.0"), Denied)
        .await
        .expect_err("there");
    assert!(is_there().await, "nothing was changed");
    put(&store, &plain("app", "2.0.0"), Denied)
        .await
        .expect("stored");
    assert!(!is_there().await);
    // Somebody ran ChartMuseum in between.
    for change in 0..2 {
        leave().await;
        store
            .rescan(chartgate::store::Depth::Files)
            .await
            .expect("looked");
        assert!(is_there().await, "looking changes nothing");
        match change {
            0 => store.delete("app", "2.0.0").await.expect("removed"),
            _ => {
                let text = provenance("app", "1.0.0", b"x");
                let early = spooled(&store, text.as_bytes()).await;
                store
                    .put_provenance(early, Denied, FREE)
                    .await
                    .map(drop)
                    .expect("stored");
            }
        }
        assert!(!is_there().await);
    }
}
