//! Tags: names that move, or do not.

use chartgate::config::HostedRegistry as Settings;
use chartgate::error::ErrorKind;
use chartgate::oci::Reference;
use chartgate::store::registry::Target;

use super::ground::*;

pub(super) async fn move_and_are_sorted(world: &World<'_>) {
    let registry = &world.registry;
    put_blob(registry, "app", b"x").await;
    // A repository with nothing but a blob has no tags yet.
    assert!(tags(registry, "app").await.is_empty());
    let first = push(registry, "app", "latest", "first").await;
    for tag in ["v10", "v9", "V9", "_x", "1.0.0_build.5", "a..b"] {
        push(registry, "app", tag, tag).await;
    }
    let second = push(registry, "app", "latest", "second").await;
    assert_ne!(first, second);
    let sorted = ["1.0.0_build.5", "V9", "_x", "a..b", "latest", "v10", "v9"];
    for registry in [registry, &world.again().await] {
        assert_eq!(tags(registry, "app").await, sorted);
        assert_eq!(
            get(registry, "app", by_tag("latest"))
                .await
                .expect("there")
                .0,
            second
        );
        // What it was is still there under its digest.
        let old = get(registry, "app", Reference::Digest(first)).await;
        assert_eq!(old.expect("there").0, first);
    }
    let longest = "x".repeat(128);
    let pushed = push(registry, "app", &longest, "longest").await;
    assert_eq!(
        get(registry, "app", by_tag(&longest))
            .await
            .expect("there")
            .0,
        pushed
    );
}

pub(super) async fn of_one_push_are_set_together(world: &World<'_>) {
    let registry = &world.registry;
    let names: Vec<_> = (0..12).map(|at| tag(&format!("t{at:02}"))).collect();
    for round in 0..4 {
        let manifest = with_blobs(registry, "app", &format!("round {round}"), "").await;
        let mut asked = names.clone();
        // Twice the same is once.
        asked.push(tag("t00"));
        let target = Target::Digest(sha256(&manifest), asked);
        let pushing = tokio::spawn({
            let (registry, manifest) = (registry.clone(), manifest.clone());
            async move {
                registry
                    .put_manifest(&name("app"), target, Some(IMAGE), manifest)
                    .await
            }
        });
        // All of the old or all of the new, at every moment.
        loop {
            let is_over = pushing.is_finished();
            let mut seen = Vec::new();
            // Newest last: a tag that is set later in the push must not be older than one that was looked at before.
            for tag in names.iter().rev() {
                let found = registry
                    .manifest(&name("app"), &Reference::Tag(tag.clone()))
                    .await;
                seen.push(found.ok().map(|found| found.digest));
            }
            let new = Some(sha256(&manifest));
            let changes = seen.windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert!(changes <= 1, "round {round}: {seen:?}");
            let begins_new = seen[0] == new;
            assert!(!begins_new || changes == 0, "round {round}: {seen:?}");
            if is_over {
                assert!(seen.iter().all(|digest| *digest == new), "{seen:?}");
                break;
            }
        }
        let pushed = pushing.await.expect("no panic").expect("stored");
        assert_eq!(pushed.tags, names);
    }
    assert_eq!(tags(&*world.again().await, "app").await.len(), 12);
    let many = (0..300).map(|at| tag(&format!("m{at}"))).collect();
    let manifest = with_blobs(registry, "app", "many", "").await;
    let target = Target::Digest(sha256(&manifest), many);
    let refused = registry
        .put_manifest(&name("app"), target, Some(IMAGE), manifest)
        .await;
    assert_eq!(kind(refused), ErrorKind::Invalid);
}

pub(super) async fn stay_where_they_may_not_change(world: &World<'_>) {
    let settings = Settings {
        immutable_tags: true,
        ..Settings::default()
    };
    let registry = &world.with(settings, true).await;
    let first = push(registry, "app", "v1", "first").await;
    // The same again is fine.
    assert_eq!(push(registry, "app", "v1", "first").await, first);
    let other = with_blobs(registry, "app", "second", "").await;
    let error = put(registry, "app", by_tag("v1"), IMAGE, &other)
        .await
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("`v1`"), "{error}");
    // Of several none is set, and what was refused is not there.
    let several = Target::Digest(sha256(&other), vec![tag("v2"), tag("v1"), tag("v3")]);
    let refused = registry
        .put_manifest(&name("app"), several, Some(IMAGE), other.clone())
        .await;
    assert_eq!(kind(refused), ErrorKind::Conflict);
    for registry in [registry, &world.again().await] {
        assert_eq!(tags(registry, "app").await, ["v1"]);
        assert_eq!(
            get(registry, "app", by_tag("v1")).await.expect("there").0,
            first
        );
        let absent = get(registry, "app", Reference::Digest(sha256(&other))).await;
        assert_eq!(kind(absent), ErrorKind::NotFound);
    }
    // Once it is deleted its name is free.
    registry
        .delete_manifest(&name("app"), &by_tag("v1"))
        .await
        .expect("removed");
    put(registry, "app", by_tag("v1"), IMAGE, &other)
        .await
        .expect("stored");
}
