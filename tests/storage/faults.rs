//! What can go wrong with a bucket while it is looked at and written to.

use std::sync::Arc;
use std::time::Duration;

use chartgate::digest::Digest;
use chartgate::error::ErrorKind;
use chartgate::store::OverwritePermission::{Denied, Granted};
use chartgate::store::{Depth, Freshness, Hosted};

use crate::suites::hosted::*;
use crate::support::fake::{FakeBucket, FakeS3, Fault, On};
use crate::support::stores::BUCKET;

/// A repository `team` with so many versions of `app`, three to a page.
fn stocked(versions: usize) -> FakeBucket {
    let s3 = FakeS3::new(BUCKET).page_size(3);
    let at = |s3: FakeS3, at| s3.chart("some/prefix/team", "app", &format!("1.0.{at}"));
    (0..versions).fold(s3, at).run()
}

fn key(name: &str) -> String {
    format!("some/prefix/team/{name}")
}

async fn rescan(store: &Arc<Hosted>) -> chartgate::error::Result<()> {
    store.rescan(Depth::Files).await
}

#[tokio::test]
async fn a_listing_that_fails_removes_nothing_and_shows_what_it_saw() {
    let s3 = stocked(9);
    let ground = Ground::fake(&s3);
    let store = ground.look("team").await;
    assert_eq!(store.versions(), 9);
    let faults = [
        (On::Page(2), Fault::Close),
        (On::Page(2), Fault::Status(500)),
        (On::Page(3), Fault::Status(429)),
        (On::Page(2), Fault::Shortened(400)),
        (On::Page(1), Fault::CutAfter(400)),
        (On::List, Fault::Html),
        (On::List, Fault::Status(403)),
    ];
    for (at, (on, fault)) in faults.into_iter().enumerate() {
        let removed = format!("app-1.0.{at}.tgz");
        s3.remove(&key(&removed));
        // Sorts before everything else.
        let added = format!("aaa-1.0.{at}.tgz");
        s3.put(&key(&added), plain("aaa", &format!("1.0.{at}")));
        s3.fault(on.clone(), fault.clone());
        let Err(error) = rescan(&store).await else {
            panic!("{fault:?}: a listing that failed counts as whole");
        };
        assert!(error.message().contains(BUCKET), "{fault:?}: {error}");
        let shown = listed(&store);
        assert!(
            shown.contains(&format!("app-1.0.{at}")),
            "{fault:?}: {shown:?}"
        );
        assert!(matches!(store.freshness(), Freshness::Stale { .. }));
        assert!(store.failure().is_some());
        s3.heal();
        rescan(&store).await.expect("it works again");
        assert_eq!(store.versions(), 9, "{fault:?}");
        assert!(matches!(store.freshness(), Freshness::Fresh { .. }));
        assert_eq!(store.failure(), None);
    }
}

#[tokio::test]
async fn a_bucket_that_never_answered_is_unknown_and_not_empty() {
    let s3 = stocked(2);
    s3.refuse();
    let ground = Ground::fake(&s3);
    let store = ground.open("team").await;
    assert_eq!(store.freshness(), Freshness::Unknown);
    let error = rescan(&store).await.expect_err("nobody there");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    store.settled().await;
    assert_eq!(store.freshness(), Freshness::Unknown);
    // Whether a name is there is not known either.
    let error = bytes_of(&store, "app-1.0.0.tgz").await.expect_err("nobody");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    s3.heal();
    rescan(&store).await.expect("there");
    assert_eq!(store.versions(), 2);
}

#[tokio::test]
async fn an_object_that_vanishes_between_list_and_get_is_not_there() {
    let s3 = stocked(5);
    s3.vanish(&key("app-1.0.2.tgz"));
    let ground = Ground::fake(&s3);
    let store = ground.look("team").await;
    assert_eq!(store.versions(), 4);
    assert!(store.problems().is_empty());
    assert!(matches!(store.freshness(), Freshness::Fresh { .. }));
    let error = bytes_of(&store, "app-1.0.2.tgz").await.expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // One that is known, and then gone: the index is brought up to date when it is asked for.
    s3.remove(&key("app-1.0.3.tgz"));
    let error = bytes_of(&store, "app-1.0.3.tgz").await.expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    store
        .look_again(&file("app-1.0.3.tgz"))
        .await
        .expect("looked");
    assert_eq!(store.versions(), 3);
}

#[tokio::test]
async fn a_package_that_cannot_be_read_now_is_read_later() {
    let s3 = stocked(5);
    let ground = Ground::fake(&s3);
    let store = ground.open("team").await;
    for fault in [
        Fault::Status(503),
        Fault::CutAfter(50),
        Fault::Close,
        Fault::LengthTooLong(5),
    ] {
        s3.fault(On::Get(key("app-1.0.1.tgz")), fault.clone());
        let looked = rescan(&store).await;
        assert_eq!(
            looked.expect_err("one is missing").kind(),
            ErrorKind::UpstreamUnavailable
        );
        assert_eq!(store.versions(), 4, "{fault:?}: the others are shown");
        assert!(matches!(store.freshness(), Freshness::Stale { .. }));
        assert_eq!(&*store.problems()[0].file, "app-1.0.1.tgz");
    }
    s3.heal();
    s3.forget();
    rescan(&store).await.expect("all there");
    assert_eq!((store.versions(), store.problems().len()), (5, 0));
    assert_eq!(s3.count(&On::Archives), 1, "only the one that was missing");
    // One that may not be read at all does not make the others stale.
    s3.put(&key("secret-1.0.0.tgz"), plain("secret", "1.0.0"));
    s3.refusal(On::Get(key("secret-1.0.0.tgz")), 403, "AccessDenied");
    let looked = rescan(&store).await;
    assert_eq!(store.versions(), 5);
    assert_eq!(&*store.problems()[0].file, "secret-1.0.0.tgz");
    if let Err(error) = looked {
        assert!(error.is_transient(), "{error}");
    }
}

#[tokio::test]
async fn a_slow_bucket_is_waited_for() {
    let s3 = stocked(4);
    s3.fault(On::All, Fault::Late(Duration::from_millis(100)));
    let ground = Ground::fake(&s3);
    let store = ground.look("team").await;
    put(&store, &plain("new", "1.0.0"), Denied)
        .await
        .expect("stored");
    assert_eq!(store.versions(), 5);
}

#[tokio::test]
async fn an_upload_that_is_refused_leaves_nothing() {
    let s3 = stocked(1);
    let ground = Ground::fake(&s3);
    let store = ground.look("team").await;
    let bytes = plain("new", "1.0.0");
    let signed = provenance("new", "1.0.0", &bytes);
    let before = s3.keys();
    for fault in [
        Fault::Status(503),
        Fault::Status(500),
        Fault::Status(429),
        Fault::Close,
        Fault::CutUpload(20),
        Fault::Status(403),
        Fault::Status(507),
    ] {
        s3.fault(On::Put, fault.clone());
        let error = put(&store, &bytes, Denied).await.expect_err("refused");
        assert!(error.message().contains(BUCKET), "{fault:?}: {error}");
        assert_eq!(s3.keys(), before, "{fault:?}");
        s3.heal();
        // The archive comes, its provenance file does not.
        s3.fault(On::PutOf(key("new-1.0.0.tgz.prov")), fault.clone());
        put_both(&store, &bytes, &signed, Denied)
            .await
            .expect_err("refused");
        assert_eq!(s3.keys(), before, "{fault:?}");
        assert_eq!(listed(&store), ["app-1.0.0"]);
        s3.heal();
    }
    put_both(&store, &bytes, &signed, Denied)
        .await
        .expect("stored");
    assert_eq!(s3.uploads(), 0);
}

#[tokio::test]
async fn an_upload_whose_answer_is_lost_is_stored_once() {
    let s3 = stocked(1);
    let ground = Ground::fake(&s3);
    let store = ground.look("team").await;
    for (at, permission) in [Denied, Granted].into_iter().enumerate() {
        let version = format!("2.0.{at}");
        let bytes = plain("app", &version);
        s3.fault_times(On::Put, 1, Fault::CutAfter(0));
        let entry = put(&store, &bytes, permission).await.expect("it is there");
        let name = format!("app-{version}.tgz");
        assert_eq!(s3.bytes(&key(&name)), Some(bytes));
        assert_eq!(entry.created, s3.modified(&key(&name)));
    }
    assert_eq!(store.versions(), 3);
    let before = text(&store);
    rescan(&store).await.expect("looked");
    assert_eq!(text(&store), before);
}

#[tokio::test]
async fn a_replacement_that_fails_changes_nothing() {
    let s3 = stocked(0);
    let ground = Ground::fake(&s3);
    let store = ground.look("team").await;
    let (old, new) = (
        package_with("app", "1.0.0", "old"),
        package_with("app", "1.0.0", "new"),
    );
    let (of_old, of_new) = (
        provenance("app", "1.0.0", &old),
        provenance("app", "1.0.0", &new),
    );
    put_both(&store, &old, &of_old, Denied).await.expect("both");
    let shown = digest(&store, "app", "1.0.0");
    // Longer than all attempts of one write, and over before the next step.
    s3.fault(On::PutOf(key("app-1.0.0.tgz")), Fault::Status(503));
    put(&store, &new, Granted).await.expect_err("refused");
    put_both(&store, &new, &of_new, Granted)
        .await
        .expect_err("refused");
    assert_eq!(digest(&store, "app", "1.0.0"), shown);
    assert_eq!(s3.bytes(&key("app-1.0.0.tgz")), Some(old));
    let there = bytes_of(&store, "app-1.0.0.tgz.prov").await;
    assert_eq!(there.expect("put back"), of_old);
    s3.heal();
    // The archive comes and its provenance file does not: said, and shown as it is.
    s3.fault(On::PutOf(key("app-1.0.0.tgz.prov")), Fault::Status(503));
    let error = put_both(&store, &new, &of_new, Granted).await;
    let error = error.expect_err("half of it");
    assert!(
        error.message().contains("upload the provenance file again"),
        "{error}"
    );
    assert_eq!(digest(&store, "app", "1.0.0"), Some(Digest::of(&new)));
    assert_eq!(s3.keys(), [key("app-1.0.0.tgz")]);
    s3.heal();
    let again = spooled(&store, of_new.as_bytes()).await;
    store
        .put_provenance(again, Denied, FREE)
        .await
        .expect("stored");
}

#[tokio::test]
async fn at_every_step_a_provenance_file_is_of_its_archive() {
    let s3 = stocked(0);
    let ground = Ground::fake(&s3);
    let store = ground.look("team").await;
    let (old, new) = (
        package_with("app", "1.0.0", "old"),
        package_with("app", "1.0.0", "new"),
    );
    let of_old = provenance("app", "1.0.0", &old);
    put_both(&store, &old, &of_old, Denied).await.expect("both");
    for (on, is_new) in [
        (On::PutOf(key("app-1.0.0.tgz")), false),
        (On::PutOf(key("app-1.0.0.tgz.prov")), true),
    ] {
        let hold = s3.hold(on);
        let (writer, bytes) = (Arc::clone(&store), new.clone());
        let upload = tokio::spawn(async move {
            put_both(
                &writer,
                &bytes,
                &provenance("app", "1.0.0", &bytes),
                Granted,
            )
            .await
        });
        hold.waiting(1).await;
        // What is left if everything ends here, seen by another machine.
        assert_eq!(s3.keys(), [key("app-1.0.0.tgz")]);
        let other = ground.replica().look("team").await;
        let seen = bytes_of(&other, "app-1.0.0.tgz").await.expect("there");
        assert_eq!(seen, if is_new { &new } else { &old });
        let error = bytes_of(&other, "app-1.0.0.tgz.prov").await;
        assert_eq!(error.expect_err("not there").kind(), ErrorKind::NotFound);
        hold.release();
        upload.await.expect("no panic").expect("stored");
    }
    assert_eq!(s3.keys().len(), 2);
}

#[tokio::test]
async fn an_upload_whose_client_leaves_is_finished() {
    let s3 = stocked(0);
    let ground = Ground::fake(&s3);
    let store = ground.look("team").await;
    let hold = s3.hold(On::Put);
    let (writer, bytes) = (Arc::clone(&store), plain("app", "1.0.0"));
    let upload = tokio::spawn(async move { put(&writer, &bytes, Denied).await });
    hold.waiting(1).await;
    upload.abort();
    hold.release();
    // The next writer waits for it.
    put(&store, &plain("app", "2.0.0"), Denied)
        .await
        .expect("stored");
    assert_eq!(listed(&store), ["app-1.0.0", "app-2.0.0"]);
}

#[tokio::test]
async fn a_deletion_that_fails_is_an_error_and_no_deletion() {
    let s3 = stocked(2);
    let ground = Ground::fake(&s3);
    let store = ground.look("team").await;
    s3.fault(On::Remove, Fault::Status(503));
    let error = store.delete("app", "1.0.0").await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    assert_eq!(store.versions(), 2);
    s3.heal();
    store.delete("app", "1.0.0").await.expect("removed");
    assert_eq!(listed(&store), ["app-1.0.1"]);
}
