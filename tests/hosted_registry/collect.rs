//! Collecting garbage where others push.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chartgate::oci::{Digest, Reference};
use chartgate::store::registry::{Collected, Rules};

use super::ground::{IMAGE, World, blob, by_tag, get, name, push, put, put_blob, sha256};
use crate::suites::hosted::Ground;

const LONG: Duration = Duration::from_hours(27);

async fn collect(ground: &Ground, delete: bool) -> Collected {
    let rules = Rules {
        delete,
        belief: Some(Duration::ZERO),
        ..Rules::default()
    };
    let store = ground.registries().await;
    store
        .collect(&rules, &|_, _, _| {})
        .await
        .expect("collected")
}

/// Removes what is in no repository any more, and nothing else; the second time there is nothing to do.
pub(super) async fn takes_what_nobody_needs(ground: &Ground) {
    let world = World::new(ground, "collected").await;
    let registry = &world.registry;
    let kept = push(registry, "app", "1", "kept").await;
    let gone = push(registry, "app", "2", "gone").await;
    ground.clock.advance(LONG);
    assert_eq!(collect(ground, true).await.garbage.count, 0);
    let reference = Reference::Digest(gone);
    registry
        .delete_manifest(&name("app"), &reference)
        .await
        .expect("deleted");
    let before = collect(ground, false).await;
    assert_eq!(before.garbage.count, 2, "{before:?}");
    let collected = collect(ground, true).await;
    assert_eq!(collected.garbage, before.garbage);
    assert_eq!(collected.broken, []);
    assert_eq!(collect(ground, true).await.garbage.count, 0);

    let registry = world.again().await;
    let (digest, _, bytes) = get(&registry, "app", by_tag("1")).await.expect("kept");
    assert_eq!(digest, kept);
    let layer = blob(&registry, "app", &sha256(b"layer of kept")).await;
    assert_eq!(layer.expect("kept"), "layer of kept");
    // What is gone may come back.
    push(&registry, "app", "2", "gone").await;
    let layer = sha256(b"layer of gone");
    assert!(blob(&registry, "app", &layer).await.is_ok());
    assert!(bytes.len() > 2);
}

/// Bytes whose age is old and that are used again, by pushes of every kind, while a collection runs over and over.
pub(super) async fn crosses_no_push(ground: &Ground) {
    let world = World::new(ground, "crossed").await;
    let registry = Arc::clone(&world.registry);
    for round in 0..ROUNDS {
        let layers: Vec<String> = (0..6).map(|at| format!("{round} {at}")).collect();
        for layer in &layers {
            put_blob(&registry, "source", layer.as_bytes()).await;
            let digest = sha256(layer.as_bytes());
            registry
                .delete_blob(&name("source"), &digest)
                .await
                .expect("deleted");
        }
        ground.clock.advance(LONG);
        let pushes = layers.iter().map(|layer| {
            let registry = Arc::clone(&registry);
            let layer = layer.clone();
            tokio::spawn(async move {
                put_blob(&registry, "app", b"{}").await;
                put_blob(&registry, "app", layer.as_bytes()).await;
                let manifest = super::ground::image(b"{}", layer.as_bytes(), "");
                let reference = by_tag(&format!("t{}", layer.replace(' ', "-")));
                put(&registry, "app", reference, IMAGE, &manifest)
                    .await
                    .expect("everything was pushed");
            })
        });
        let pushes: Vec<_> = pushes.collect();
        while !pushes.iter().all(|push| push.is_finished()) {
            let collected = collect(ground, true).await;
            assert_eq!(collected.broken, []);
        }
        for push in pushes {
            push.await.expect("pushed");
        }
        let fresh = world.again().await;
        for layer in &layers {
            let digest: Digest = sha256(layer.as_bytes());
            let bytes = blob(&fresh, "app", &digest).await.expect("pushed");
            assert_eq!(bytes, Bytes::from(layer.clone()));
        }
    }
}

const ROUNDS: usize = 3;
