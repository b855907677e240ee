//! Many at a time, and many in one place.

use std::sync::Arc;
use std::time::Instant;

use chartgate::error::ErrorKind;
use chartgate::oci::Reference;
use chartgate::store::registry::Target;

use super::ground::*;
use crate::suites::hosted::Ground;

pub(super) async fn changes_at_a_time_end_in_one_order(world: &World<'_>) {
    let registry = &world.registry;
    let mut images = Vec::new();
    for text in ["one", "two", "three"] {
        images.push(with_blobs(registry, "app", text, "").await);
    }
    let mut changes = Vec::new();
    for at in 0..24 {
        let (registry, bytes) = (Arc::clone(registry), images[at % 3].clone());
        changes.push(tokio::spawn(async move {
            let digest = sha256(&bytes);
            match at % 4 {
                // It may or may not be there.
                3 => {
                    let reference = Reference::Digest(digest);
                    let removed = registry.delete_manifest(&name("app"), &reference).await;
                    if let Err(error) = removed {
                        assert_eq!(error.kind(), ErrorKind::NotFound);
                    }
                }
                _ => {
                    let pushed = put(&registry, "app", by_tag("latest"), IMAGE, &bytes).await;
                    assert_eq!(pushed.expect("stored").digest, digest);
                }
            }
        }));
    }
    for change in changes {
        change.await.expect("no panic");
    }
    // Whatever the order was, a tag means a manifest that is there, or is not there itself.
    let fresh = world.again().await;
    let (here, there) = (
        get(registry, "app", by_tag("latest")).await.ok(),
        get(&fresh, "app", by_tag("latest")).await.ok(),
    );
    assert_eq!(here, there);
    assert_eq!(tags(registry, "app").await, tags(&fresh, "app").await);
    assert_eq!(tags(&fresh, "app").await.len(), usize::from(here.is_some()));
    for bytes in &images {
        let digest = Reference::Digest(sha256(bytes));
        let here = get(registry, "app", digest.clone()).await.ok();
        assert_eq!(here, get(&fresh, "app", digest).await.ok());
    }
    // The last answer counts.
    for bytes in &images {
        put(registry, "app", by_tag("latest"), IMAGE, bytes)
            .await
            .expect("stored");
        let now = get(registry, "app", by_tag("latest")).await.expect("there");
        assert_eq!(now.2, *bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_nobody_waits_for_is_whole_or_not_begun() {
    let ground = Ground::folder();
    let world = World::new(&ground, "team").await;
    let manifest = with_blobs(&world.registry, "app", "left", "").await;
    let digest = sha256(&manifest);
    for at in 0..40 {
        let tags = vec![tag(&format!("a{at}")), tag(&format!("b{at}"))];
        let target = Target::Digest(digest, tags);
        let (repo, bytes) = (name("app"), manifest.clone());
        let push = world
            .registry
            .put_manifest(&repo, target, Some(IMAGE), bytes);
        let limit = std::time::Duration::from_micros(at * 50);
        // Gone in the middle.
        let _ = tokio::time::timeout(limit, push).await;
    }
    // Whoever comes next waits for those that run.
    put(&world.registry, "app", by_tag("end"), IMAGE, &manifest)
        .await
        .expect("stored");
    let tags = tags(&*world.again().await, "app").await;
    for at in 0..40 {
        let both = [format!("a{at}"), format!("b{at}")].map(|tag| tags.contains(&tag));
        assert_eq!(both[0], both[1], "{at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_tags() {
    let ground = Ground::folder();
    let world = World::new(&ground, "team").await;
    let registry = &world.registry;
    let mut digests = Vec::new();
    let mut sorted = Vec::new();
    let folder = ground.config.root().expect("a folder");
    let folder = folder.join("v2/repos/team/app/tags");
    for at in 0..40 {
        let text = format!(r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"at":"{at}"}}}}"#);
        let first = format!("v{at}.0");
        let pushed = put(registry, "app", by_tag(&first), INDEX, &text.into()).await;
        digests.push(pushed.expect("stored").digest);
        // The others are copied: ten thousand pushes wait for the disk for minutes.
        for other in 1..250 {
            let other = format!("v{at}.{other}");
            std::fs::copy(folder.join(&first), folder.join(&other)).expect("copied");
            sorted.push(other);
        }
        sorted.push(first);
    }
    sorted.sort();
    let fresh = world.again().await;
    assert_eq!(tags(&fresh, "app").await, sorted);
    // Asking again costs nothing that grows with the list: the same list is handed out.
    let first = fresh.tags(&name("app")).await.expect("a list");
    let second = fresh.tags(&name("app")).await.expect("a list");
    assert!(Arc::ptr_eq(&first, &second));
    let start = Instant::now();
    fresh
        .delete_manifest(&name("app"), &Reference::Digest(digests[7]))
        .await
        .expect("removed");
    println!(
        "a manifest with 250 of 10,000 tags was deleted in {:?}",
        start.elapsed()
    );
    assert_eq!(tags(&fresh, "app").await.len(), 9750);
}
