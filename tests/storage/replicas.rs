//! Several machines on one bucket.

use std::sync::Arc;

use chartgate::digest::Digest;
use chartgate::error::ErrorKind;
use chartgate::store::Depth;
use chartgate::store::OverwritePermission::{Denied, Granted};

use crate::suites::hosted::*;
use crate::support::fake::{FakeS3, On};
use crate::support::stores::BUCKET;

#[tokio::test]
async fn of_uploads_to_two_replicas_one_wins() {
    let s3 = FakeS3::new(BUCKET).run();
    let ground = Ground::fake(&s3);
    let replica = ground.replica();
    let stores = [ground.look("team").await, replica.look("team").await];
    for round in 0..8 {
        let version = format!("1.0.{round}");
        // Both have looked and found nothing before either writes.
        let hold = s3.hold(On::Put);
        let uploads = [0, 1].map(|at| {
            let (store, version) = (Arc::clone(&stores[at]), version.clone());
            let bytes = package_with("app", &version, &format!("of replica {at}"));
            tokio::spawn(async move { put(&store, &bytes, Denied).await.map(|_| bytes) })
        });
        hold.waiting(2).await;
        hold.release();
        let mut winner = None;
        for upload in uploads {
            match upload.await.expect("no panic") {
                Ok(bytes) => assert!(winner.replace(bytes).is_none(), "two winners"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
            }
        }
        let winner = winner.expect("a winner");
        let key = format!("some/prefix/team/app-{version}.tgz");
        assert_eq!(s3.bytes(&key), Some(winner.clone()));
        // Who lost knows what won.
        for store in &stores {
            assert_eq!(digest(store, "app", &version), Some(Digest::of(&winner)));
        }
    }
    assert_eq!(text(&stores[0]), text(&stores[1]));
}

#[tokio::test]
async fn a_replica_sees_the_other_at_its_next_look_or_when_asked() {
    let s3 = FakeS3::new(BUCKET).run();
    let ground = Ground::fake(&s3);
    let replica = ground.replica();
    let (here, there) = (ground.look("team").await, replica.look("team").await);
    let bytes = plain("app", "1.0.0");
    put(&here, &bytes, Denied).await.expect("stored");
    assert!(listed(&there).is_empty());
    let asked = bytes_of(&there, "app-1.0.0.tgz").await.expect("asked for");
    assert_eq!(asked, bytes);
    assert_eq!(text(&there), text(&here));
    put(&here, &plain("app", "2.0.0"), Denied)
        .await
        .expect("stored");
    here.delete("app", "1.0.0").await.expect("removed");
    let newer = package_with("app", "3.0.0", "first");
    put(&there, &newer, Denied).await.expect("stored");
    let newest = package_with("app", "3.0.0", "second");
    put(&here, &newest, Granted).await.expect("replaced");
    there.rescan(Depth::Files).await.expect("looked");
    assert_eq!(listed(&there), ["app-2.0.0", "app-3.0.0"]);
    assert_eq!(text(&there), text(&here));
    // And the reverse: what was deleted there is unknown here when it is asked for again.
    there.delete("app", "2.0.0").await.expect("removed");
    let error = bytes_of(&here, "app-2.0.0.tgz").await.expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = here.delete("app", "2.0.0").await.expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn what_is_uploaded_during_a_listing_stays() {
    let s3 = (0..9).fold(FakeS3::new(BUCKET).page_size(3), |s3, at| {
        s3.chart("some/prefix/team", "app", &format!("1.0.{at}"))
    });
    let s3 = s3.run();
    let ground = Ground::fake(&s3);
    let store = ground.look("team").await;
    let hold = s3.hold(On::Page(3));
    let looking = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.rescan(Depth::Files).await }
    });
    hold.waiting(1).await;
    // Their pages have gone by.
    put(&store, &plain("aaa", "1.0.0"), Denied)
        .await
        .expect("stored");
    let newer = package_with("app", "1.0.0", "newer");
    put(&store, &newer, Granted).await.expect("replaced");
    store.delete("app", "1.0.1").await.expect("removed");
    let seen = text(&store);
    hold.release();
    looking.await.expect("no panic").expect("looked");
    assert_eq!(text(&store), seen);
    store.rescan(Depth::Files).await.expect("looked");
    assert_eq!(text(&store), seen);
    assert_eq!(store.versions(), 9);
}
