//! Uploads and deletions.

use std::sync::Arc;

use chartgate::digest::Digest;
use chartgate::error::ErrorKind;

use super::ground::*;
use chartgate::store::OverwritePermission::{Denied, Granted};

pub(super) async fn are_visible_when_they_are_answered(ground: &Ground) {
    let store = ground.look("visible").await;
    let mut generations = store.subscribe();
    let bytes = plain("App.x", "1.0.0+a.B");
    let entry = put(&store, &bytes, Denied).await.expect("stored");
    assert!(generations.has_changed().expect("open"));
    generations.mark_unchanged();
    assert_eq!(entry.digest, Some(Digest::of(&bytes)));
    assert_eq!(listed(&store), ["App.x-1.0.0+a.B"]);
    let name = "App.x-1.0.0+a.B.tgz";
    assert_eq!(bytes_of(&store, name).await.expect("there"), bytes);
    assert!(ground.names("visible").await.contains(name));
    // Whoever looks from outside sees the same, and nothing is news to who stored it.
    let before = text(&store);
    store
        .rescan(chartgate::store::Depth::Files)
        .await
        .expect("looked");
    assert!(!generations.has_changed().expect("open"));
    assert_eq!(text(&*ground.replica().look("visible").await), before);
}

pub(super) async fn conflict_unless_permitted(ground: &Ground) {
    let store = ground.look("conflict").await;
    let (old, new) = (
        package_with("app", "1.0.0", "old"),
        package_with("app", "1.0.0", "new one"),
    );
    put(&store, &old, Denied).await.expect("stored");
    for bytes in [&old, &new] {
        let error = put(&store, bytes, Denied).await.expect_err("there already");
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::Conflict, "file already exists")
        );
    }
    let name = "app-1.0.0.tgz";
    assert_eq!(bytes_of(&store, name).await.expect("there"), old);
    put(&store, &new, Granted).await.expect("replaced");
    assert_eq!(bytes_of(&store, name).await.expect("there"), new);
    assert_eq!(digest(&store, "app", "1.0.0"), Some(Digest::of(&new)));
    // What somebody else has removed is no conflict, whether or not it was noticed.
    ground.take("conflict", name).await;
    put(&store, &old, Denied).await.expect("free again");
    assert_eq!(digest(&store, "app", "1.0.0"), Some(Digest::of(&old)));
    // And what somebody else has put there is one.
    ground
        .place("conflict", "app-2.0.0.tgz", plain("app", "2.0.0"))
        .await;
    let error = put(&store, &package_with("app", "2.0.0", "mine"), Denied).await;
    assert_eq!(error.expect_err("there").kind(), ErrorKind::Conflict);
}

pub(super) async fn have_one_winner(ground: &Ground) {
    let store = ground.look("race").await;
    let uploads = (0..8).map(|at| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let bytes = package_with("app", "1.0.0", &format!("number {at}"));
            let other = plain("other", &format!("1.0.{at}"));
            put(&store, &other, Denied).await.expect("no conflict");
            put(&store, &bytes, Denied).await.map(|_| bytes)
        })
    });
    let mut winners = Vec::new();
    for upload in uploads.collect::<Vec<_>>() {
        match upload.await.expect("no panic") {
            Ok(winner) => winners.push(winner),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(
        bytes_of(&store, "app-1.0.0.tgz").await.expect("there"),
        winners[0]
    );
    assert_eq!(store.versions(), 9);
}

pub(super) async fn keep_provenance_with_its_bytes(ground: &Ground) {
    let store = ground.look("signed").await;
    let (old, new) = (
        package_with("app", "1.0.0", "old"),
        package_with("app", "1.0.0", "new"),
    );
    let (of_old, of_new) = (
        provenance("app", "1.0.0", &old),
        provenance("app", "1.0.0", &new),
    );
    let prov = "app-1.0.0.tgz.prov";
    for wrong in [&of_new, &provenance("app", "2.0.0", &old)] {
        let error = put_both(&store, &old, wrong, Denied).await;
        assert_eq!(error.expect_err("of another").kind(), ErrorKind::Invalid);
    }
    assert!(ground.names("signed").await.is_empty());

    put_both(&store, &old, &of_old, Denied).await.expect("both");
    assert_eq!(bytes_of(&store, prov).await.expect("there"), of_old);
    // The archive alone again: the provenance file of the same bytes stays, one of other bytes goes.
    put(&store, &old, Granted).await.expect("the same");
    assert_eq!(bytes_of(&store, prov).await.expect("there"), of_old);
    put(&store, &new, Granted).await.expect("replaced");
    assert!(!ground.names("signed").await.contains(prov));
    put_both(&store, &new, &of_new, Granted)
        .await
        .expect("both");
    assert_eq!(bytes_of(&store, prov).await.expect("there"), of_new);
    // Both at once conflict if only the provenance file is there.
    store.delete("app", "1.0.0").await.expect("removed");
    let early = spooled(&store, of_old.as_bytes()).await;
    store
        .put_provenance(early, Denied, FREE)
        .await
        .expect("ahead of its archive");
    let error = put_both(&store, &old, &of_old, Denied).await;
    assert_eq!(error.expect_err("there").kind(), ErrorKind::Conflict);
    put(&store, &old, Denied).await.expect("its archive");
    assert!(ground.names("signed").await.contains(prov));
}

pub(super) async fn of_provenance_alone(ground: &Ground) {
    let store = ground.look("alone").await;
    let text = provenance("app", "1.0.0", b"x");
    let upload = async |permission| {
        let spooled = spooled(&store, text.as_bytes()).await;
        store.put_provenance(spooled, permission, FREE).await
    };
    let name = upload(Denied).await.expect("stored");
    assert_eq!(name.as_str(), "app-1.0.0.tgz.prov");
    let error = upload(Denied).await.expect_err("there");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    upload(Granted).await.expect("replaced");
    assert_eq!(bytes_of(&store, name.as_str()).await.expect("there"), text);
    assert!(listed(&store).is_empty() && store.is_empty());
    let junk = spooled(&store, b"junk").await;
    let error = store.put_provenance(junk, Denied, FREE).await;
    assert_eq!(
        error.expect_err("junk").message(),
        "invalid provenance file"
    );
}

pub(super) async fn that_are_no_charts_leave_nothing(ground: &Ground) {
    let store = ground.look("junk").await;
    let error = put(&store, b"junk", Denied).await.expect_err("no archive");
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Invalid, "gzip: invalid header")
    );
    let mut spool = store.spool(10).await.expect("a spool");
    let error = spool.write("eleven bytes".into()).await;
    assert_eq!(error.expect_err("too many").kind(), ErrorKind::TooLarge);
    drop(spool);
    assert!(ground.names("junk").await.is_empty());
}

pub(super) async fn are_gone_when_deleted(ground: &Ground) {
    let store = ground.look("deleted").await;
    let bytes = plain("app", "1.0.0");
    put_both(&store, &bytes, &provenance("app", "1.0.0", &bytes), Denied)
        .await
        .expect("stored");
    store.flush().await.expect("saved");
    store.delete("app", "1.0.0").await.expect("removed");
    assert!(listed(&store).is_empty());
    assert!(ground.names("deleted").await.is_empty());
    for name in ["app-1.0.0.tgz", "app-1.0.0.tgz.prov"] {
        let error = bytes_of(&store, name).await.expect_err("gone");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    for (name, version) in [
        ("app", "1.0.0"),
        ("app", "latest"),
        ("../x", "1"),
        ("a/b", "1"),
        ("", ""),
    ] {
        let error = store.delete(name, version).await.expect_err("not there");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{name} {version}");
    }
    assert!(listed(&*ground.look("deleted").await).is_empty());
    // One that was not noticed yet.
    ground
        .place("deleted", "new-1.0.0.tgz", plain("new", "1.0.0"))
        .await;
    store.delete("new", "1.0.0").await.expect("removed");
    assert!(ground.names("deleted").await.is_empty());
}
