//! Starting on a bucket: what was parsed once is not fetched again, and what is known is shown at once.

use std::sync::Arc;
use std::time::Duration;

use chartgate::digest::Digest;
use chartgate::store::OverwritePermission::Denied;
use chartgate::store::{Depth, Freshness, Hosted};
use tokio::sync::oneshot;

use crate::suites::hosted::*;
use crate::support::fake::{FakeBucket, FakeS3, Fault, On};
use crate::support::stores::BUCKET;

fn stocked(charts: usize, versions: usize) -> FakeBucket {
    let mut s3 = FakeS3::new(BUCKET);
    for chart in 0..charts {
        for version in 0..versions {
            s3 = s3.chart(
                "some/prefix/team",
                &format!("app-{chart}"),
                &format!("1.0.{version}"),
            );
        }
    }
    s3.run()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_packages_are_fetched_once() {
    let s3 = stocked(100, 100);
    let ground = Ground::fake(&s3);
    let store = ground.look("team").await;
    assert_eq!(store.versions(), 10_000);
    assert_eq!(s3.count(&On::Archives), 10_000);
    store.flush().await.expect("saved");
    s3.forget();
    let again = ground.open("team").await;
    assert_eq!(again.versions(), 10_000, "shown at once");
    assert_eq!(s3.total(), 0, "without a request");
    again.rescan(Depth::Files).await.expect("looked");
    assert_eq!(
        (s3.count(&On::List), s3.total()),
        (10, 10),
        "pages of a listing, and nothing else"
    );
    assert_eq!(text(&again), text(&store));
    // What changed, and no more.
    s3.put("some/prefix/team/new-1.0.0.tgz", plain("new", "1.0.0"));
    s3.put(
        "some/prefix/team/app-7-1.0.7.tgz",
        package_with("app-7", "1.0.7", "again"),
    );
    s3.remove("some/prefix/team/app-8-1.0.8.tgz");
    s3.forget();
    again.rescan(Depth::Files).await.expect("looked");
    assert_eq!((again.versions(), s3.count(&On::Archives)), (10_000, 2));
    assert_eq!(s3.count(&On::Head), 0);
}

#[tokio::test]
async fn what_an_earlier_run_knew_is_shown_while_the_bucket_is_away() {
    let s3 = stocked(2, 3);
    let ground = Ground::fake(&s3);
    let store = ground.look("team").await;
    store.flush().await.expect("saved");
    s3.refuse();
    let again = ground.open("team").await;
    again.settled().await;
    assert_eq!(text(&again), text(&store));
    assert!(
        matches!(again.freshness(), Freshness::Stale { .. }),
        "{:?}",
        again.freshness()
    );
    again.rescan(Depth::Files).await.expect_err("nobody there");
    assert_eq!(text(&again), text(&store));
    assert!(again.failure().expect("a reason").contains(BUCKET));
    s3.heal();
    again.rescan(Depth::Files).await.expect("there");
    assert!(matches!(again.freshness(), Freshness::Fresh { .. }));
    // Another bucket is another state.
    let other = stocked(1, 1);
    let mut moved = ground.replica();
    moved.local = ground.local;
    moved.config = Ground::fake(&other).config;
    assert_eq!(moved.open("team").await.versions(), 0);
}

/// The background work of a store, until it is told to end.
struct Watch {
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Watch {
    fn start(store: &Arc<Hosted>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let watch = Arc::clone(store).watch(Duration::from_millis(5), async {
            let _ = stopped.await;
        });
        Self {
            stop,
            task: tokio::spawn(watch),
        }
    }

    async fn end(self) {
        let _ = self.stop.send(());
        self.task.await.expect("no panic");
    }
}

#[tokio::test]
async fn the_watch_catches_up_looks_again_and_saves_at_the_end() {
    let s3 = stocked(1, 3);
    let mut ground = Ground::fake(&s3);
    ground.config.refresh = Duration::from_millis(20);
    let store = ground.open("team").await;
    assert_eq!((store.freshness(), s3.total()), (Freshness::Unknown, 0));
    let mut generations = store.subscribe();
    // The first two looks fail.
    s3.fault_times(On::List, 6, Fault::Status(503));
    let watch = Watch::start(&store);
    store.settled().await;
    generations
        .wait_for(|_| store.versions() == 3)
        .await
        .expect("open");
    s3.put("some/prefix/team/new-1.0.0.tgz", plain("new", "1.0.0"));
    generations
        .wait_for(|_| store.versions() == 4)
        .await
        .expect("open");
    s3.remove("some/prefix/team/new-1.0.0.tgz");
    generations
        .wait_for(|_| store.versions() == 3)
        .await
        .expect("open");
    watch.end().await;
    s3.forget();
    let again = ground.look("team").await;
    assert_eq!((again.versions(), s3.count(&On::Archives)), (3, 0));
}

#[tokio::test]
async fn without_a_refresh_a_bucket_is_listed_once() {
    let s3 = stocked(1, 3);
    let mut ground = Ground::fake(&s3);
    ground.config.refresh = Duration::ZERO;
    let store = ground.open("team").await;
    let watch = Watch::start(&store);
    let mut generations = store.subscribe();
    generations
        .wait_for(|_| store.versions() == 3)
        .await
        .expect("open");
    store.settled().await;
    // Uploads are as visible as ever, and many ticks of the watch go by.
    for at in 0..20 {
        put(&store, &plain("new", &format!("1.0.{at}")), Denied)
            .await
            .expect("stored");
    }
    watch.end().await;
    assert_eq!(s3.count(&On::List), 1);
}

#[tokio::test]
async fn a_time_within_the_tolerance_is_no_change() {
    let s3 = stocked(1, 1);
    let key = "some/prefix/team/app-0-1.0.0.tgz";
    let mut ground = Ground::fake(&s3);
    ground.config.timestamp_tolerance = Duration::from_secs(2);
    let store = ground.look("team").await;
    let before = text(&store);
    let (bytes, stored) = (
        s3.bytes(key).expect("there"),
        s3.modified(key).expect("there"),
    );
    s3.forget();
    // A copy between buckets keeps the bytes and is a little later.
    s3.put_at(key, bytes.clone(), stored + Duration::from_secs(2));
    store.rescan(Depth::Files).await.expect("looked");
    assert_eq!((text(&store), s3.count(&On::Archives)), (before.clone(), 0));
    s3.put_at(key, bytes, stored + Duration::from_secs(3));
    store.rescan(Depth::Files).await.expect("looked");
    assert_eq!(s3.count(&On::Archives), 1);
    assert_ne!(text(&store), before, "`created` is the object's time");
    // Other bytes are other bytes at any time.
    let other = package_with("app-0", "1.0.0", "other");
    s3.put_at(key, other.clone(), stored + Duration::from_secs(4));
    store.rescan(Depth::Files).await.expect("looked");
    assert_eq!(digest(&store, "app-0", "1.0.0"), Some(Digest::of(&other)));
}

#[tokio::test]
async fn becoming_known_is_news_even_of_an_empty_repository() {
    let s3 = FakeS3::new(BUCKET).run();
    s3.refuse();
    let ground = Ground::fake(&s3);
    let store = ground.open("team").await;
    let mut generations = store.subscribe();
    store.rescan(Depth::Files).await.expect_err("nobody there");
    assert!(!generations.has_changed().expect("open"));
    s3.heal();
    store.rescan(Depth::Files).await.expect("there");
    assert!(generations.has_changed().expect("open"));
    assert!(matches!(store.freshness(), Freshness::Fresh { .. }));
    generations.mark_unchanged();
    store.rescan(Depth::Files).await.expect("there");
    assert!(!generations.has_changed().expect("open"));
}
