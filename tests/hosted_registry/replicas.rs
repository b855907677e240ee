//! Several machines on one bucket.

use std::time::Duration;

use chartgate::config::HostedRegistry as Settings;
use chartgate::error::ErrorKind;
use chartgate::oci::Reference;
use chartgate::store::registry::Usage;

use super::ground::*;
use crate::suites::hosted::Ground;
use crate::support::fake::{FakeS3, Fault, On};
use crate::support::stores::BUCKET;

#[tokio::test]
async fn what_one_pushes_the_other_finds_at_once() {
    let s3 = FakeS3::new(BUCKET).run();
    let ground = Ground::fake(&s3);
    let here = World::new(&ground, "team").await.registry;
    let there = World::new(&ground, "team").await.registry;
    assert_eq!(
        kind(get(&there, "app", by_tag("v1")).await),
        ErrorKind::NotFound
    );
    assert!(!there.has(&name("app")).await.expect("known"));
    let digest = push(&here, "app", "v1", "one").await;
    assert_eq!(
        get(&there, "app", by_tag("v1")).await.expect("there").0,
        digest
    );
    get(&there, "app", Reference::Digest(digest))
        .await
        .expect("there");
    blob(&there, "app", &sha256(b"layer of one"))
        .await
        .expect("there");
    assert_eq!(tags(&there, "app").await, ["v1"]);
    // Only that a name is free is believed for a moment.
    ground.clock.advance(Duration::from_secs(2));
    assert!(there.has(&name("app")).await.expect("known"));
    // And a push that builds on the other's blobs.
    let manifest = image(
        b"{}",
        b"layer of one",
        r#","annotations":{"by":"the other"}"#,
    );
    put(&there, "app", by_tag("v2"), IMAGE, &manifest)
        .await
        .expect("stored");
    get(&here, "app", by_tag("v2")).await.expect("there");
}

#[tokio::test]
async fn what_one_changes_the_other_sees_after_its_refresh() {
    let s3 = FakeS3::new(BUCKET).run();
    let ground = Ground::fake(&s3);
    let here = World::new(&ground, "team").await.registry;
    let there = World::new(&ground, "team").await.registry;
    let first = push(&here, "app", "v1", "one").await;
    push(&here, "app", "v2", "two").await;
    assert_eq!(
        get(&there, "app", by_tag("v1")).await.expect("there").0,
        first
    );
    assert_eq!(tags(&there, "app").await, ["v1", "v2"]);
    let second = push(&here, "app", "v1", "other").await;
    here.delete_manifest(&name("app"), &by_tag("v2"))
        .await
        .expect("removed");
    here.delete_manifest(&name("app"), &Reference::Digest(first))
        .await
        .expect("removed");
    here.delete_blob(&name("app"), &sha256(b"layer of one"))
        .await
        .expect("removed");
    ground.clock.advance(Duration::from_secs(61));
    assert_eq!(
        get(&there, "app", by_tag("v1")).await.expect("there").0,
        second
    );
    assert_eq!(tags(&there, "app").await, ["v1"]);
    assert_eq!(
        kind(get(&there, "app", Reference::Digest(first)).await),
        ErrorKind::NotFound
    );
    let gone = blob(&there, "app", &sha256(b"layer of one")).await;
    assert_eq!(kind(gone), ErrorKind::NotFound);
    // What the other holds counts here after a while.
    let known: Usage = there.usage().await.expect("counted");
    put_blob(&here, "app", b"more").await;
    ground.clock.advance(Duration::from_mins(11));
    assert_eq!(there.usage().await.expect("counted").bytes, known.bytes + 4);
}

#[tokio::test]
async fn a_tag_that_may_not_change_has_one_winner() {
    let s3 = FakeS3::new(BUCKET).run();
    let ground = Ground::fake(&s3);
    let settings = Settings {
        immutable_tags: true,
        ..Settings::default()
    };
    let replicas = [
        open(&ground, "team", settings.clone(), true).await,
        open(&ground, "team", settings, true).await,
    ];
    for round in 0..6 {
        let version = format!("v{round}");
        let mut pushes = Vec::new();
        let hold = s3.hold(On::PutOf(format!(
            "some/prefix/v2/repos/team/app/tags/{version}"
        )));
        for (at, registry) in replicas.iter().enumerate() {
            let manifest = with_blobs(registry, "app", &format!("{round} of {at}"), "").await;
            let (registry, version) = (registry.clone(), version.clone());
            pushes.push(tokio::spawn(async move {
                put(&registry, "app", by_tag(&version), IMAGE, &manifest).await
            }));
        }
        // Both have looked and found nothing before either writes.
        hold.waiting(2).await;
        hold.release();
        let mut winner = None;
        for push in pushes {
            match push.await.expect("no panic") {
                Ok(pushed) => assert!(winner.replace(pushed.digest).is_none(), "two winners"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
            }
        }
        let winner = winner.expect("a winner");
        for registry in &replicas {
            assert_eq!(
                get(registry, "app", by_tag(&version))
                    .await
                    .expect("there")
                    .0,
                winner
            );
        }
    }
}

#[tokio::test]
async fn what_is_known_costs_no_request() {
    let s3 = FakeS3::new(BUCKET).run();
    let ground = Ground::fake(&s3);
    let writer = World::new(&ground, "team").await.registry;
    let digest = push(&writer, "app", "v1", "one").await;
    let reader = World::new(&ground, "team").await.registry;
    for registry in [&writer, &reader] {
        let ask = async || {
            get(registry, "app", by_tag("v1")).await.expect("there");
            get(registry, "app", Reference::Digest(digest))
                .await
                .expect("there");
            let layer = registry.blob(&name("app"), &sha256(b"layer of one")).await;
            assert_eq!(layer.expect("there").size, 12);
            assert_eq!(tags(registry, "app").await, ["v1"]);
            registry
                .referrers(&name("app"), &digest)
                .await
                .expect("a list");
            assert!(registry.has(&name("app")).await.expect("known"));
        };
        ask().await;
        let before = s3.total();
        for _ in 0..10 {
            ask().await;
        }
        // Nobody has a fallback tag: absence is looked at, and the list of referrers with it is remembered.
        assert_eq!(s3.total(), before);
    }
}

#[tokio::test]
async fn a_bucket_that_fails_is_no_absence() {
    let s3 = FakeS3::new(BUCKET).run();
    let ground = Ground::fake(&s3);
    let writer = World::new(&ground, "team").await.registry;
    let digest = push(&writer, "app", "v1", "one").await;
    for fault in [
        Fault::Status(500),
        Fault::Close,
        Fault::Status(403),
        Fault::Html,
    ] {
        let reader = World::new(&ground, "team").await.registry;
        s3.fault(On::All, fault.clone());
        for failed in [
            kind(get(&reader, "app", by_tag("v1")).await),
            kind(get(&reader, "app", Reference::Digest(digest)).await),
            kind(reader.tags(&name("app")).await),
            kind(reader.referrers(&name("app"), &digest).await),
            kind(reader.catalog().await),
            kind(reader.blob(&name("app"), &digest).await),
            kind(put(&reader, "app", by_tag("v2"), INDEX, &index(&[], "")).await),
        ] {
            assert_ne!(failed, ErrorKind::NotFound, "{fault:?}");
        }
        s3.heal();
        assert_eq!(tags(&reader, "app").await, ["v1"], "{fault:?}");
        get(&reader, "app", by_tag("v1")).await.expect("there");
    }
}

#[tokio::test]
async fn tags_of_a_push_that_fails_are_put_back() {
    let s3 = FakeS3::new(BUCKET).run();
    let ground = Ground::fake(&s3);
    let registry = World::new(&ground, "team").await.registry;
    let old = push(&registry, "app", "a", "old").await;
    let manifest = with_blobs(&registry, "app", "new", "").await;
    let tags_of = |names: [&str; 3]| names.map(tag).to_vec();
    let target =
        chartgate::store::registry::Target::Digest(sha256(&manifest), tags_of(["a", "b", "c"]));
    s3.fault(
        On::PutOf("some/prefix/v2/repos/team/app/tags/c".into()),
        Fault::Status(403),
    );
    let failed = registry
        .put_manifest(&name("app"), target.clone(), Some(IMAGE), manifest.clone())
        .await;
    assert!(failed.is_err());
    s3.heal();
    let fresh = World::new(&ground, "team").await.registry;
    for registry in [&registry, &fresh] {
        assert_eq!(tags(registry, "app").await, ["a"]);
        assert_eq!(
            get(registry, "app", by_tag("a")).await.expect("there").0,
            old
        );
    }
    let pushed = registry
        .put_manifest(&name("app"), target, Some(IMAGE), manifest)
        .await;
    pushed.expect("stored");
    assert_eq!(tags(&registry, "app").await, ["a", "b", "c"]);
}
