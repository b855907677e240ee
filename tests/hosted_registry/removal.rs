//! Deleting: the very next look does not find it.

use chartgate::config::HostedRegistry as Settings;
use chartgate::error::ErrorKind;
use chartgate::oci::Reference;

use super::ground::*;

pub(super) async fn takes_effect_at_once(world: &World<'_>) {
    let registry = &world.registry;
    let app = name("app");
    for round in 0..3 {
        let digest = push(registry, "app", "v1", "one").await;
        push(registry, "app", "v2", "one").await;
        get(registry, "app", by_tag("v1")).await.expect("there");
        registry
            .delete_manifest(&app, &by_tag("v1"))
            .await
            .expect("removed");
        assert_eq!(
            kind(get(registry, "app", by_tag("v1")).await),
            ErrorKind::NotFound
        );
        assert_eq!(tags(registry, "app").await, ["v2"]);
        // Only the tag is gone.
        get(registry, "app", by_tag("v2")).await.expect("there");
        get(registry, "app", Reference::Digest(digest))
            .await
            .expect("there");
        let twice = registry.delete_manifest(&app, &by_tag("v1")).await;
        assert_eq!(kind(twice), ErrorKind::NotFound);
        let layer = sha256(b"layer of one");
        blob(registry, "app", &layer).await.expect("there");
        registry.delete_blob(&app, &layer).await.expect("removed");
        assert_eq!(
            kind(blob(registry, "app", &layer).await),
            ErrorKind::NotFound,
            "{round}"
        );
        assert_eq!(
            kind(registry.delete_blob(&app, &layer).await),
            ErrorKind::NotFound
        );
        // Each kind is deleted as what it is.
        assert_eq!(
            kind(registry.delete_blob(&app, &digest).await),
            ErrorKind::NotFound
        );
        let config = Reference::Digest(sha256(b"{}"));
        assert_eq!(
            kind(registry.delete_manifest(&app, &config).await),
            ErrorKind::NotFound
        );
        registry
            .delete_manifest(&app, &Reference::Digest(digest))
            .await
            .expect("removed");
        for registry in [registry, &world.again().await] {
            let gone = get(registry, "app", Reference::Digest(digest)).await;
            assert_eq!(kind(gone), ErrorKind::NotFound);
            assert_eq!(
                kind(blob(registry, "app", &layer).await),
                ErrorKind::NotFound
            );
            assert_eq!(
                kind(blob(registry, "app", &digest).await),
                ErrorKind::NotFound
            );
            assert!(tags(registry, "app").await.is_empty());
        }
    }
}

pub(super) async fn of_a_manifest_takes_all_its_tags(world: &World<'_>) {
    let registry = &world.registry;
    let doomed = push(registry, "app", "a", "doomed").await;
    for tag in ["b", "c", "d"] {
        push(registry, "app", tag, "doomed").await;
    }
    push(registry, "app", "stays", "stays").await;
    // A tag that was moved away is not its own any more.
    push(registry, "app", "c", "other").await;
    // Also tags that this process has not seen yet.
    let fresh = world.again().await;
    fresh
        .delete_manifest(&name("app"), &Reference::Digest(doomed))
        .await
        .expect("removed");
    for registry in [&fresh, &world.again().await] {
        assert_eq!(tags(registry, "app").await, ["c", "stays"]);
        for gone in ["a", "b", "d"] {
            assert_eq!(
                kind(get(registry, "app", by_tag(gone)).await),
                ErrorKind::NotFound
            );
        }
        get(registry, "app", by_tag("c")).await.expect("there");
    }
}

pub(super) async fn may_be_switched_off(world: &World<'_>) {
    let registry = &world.with(Settings::default(), false).await;
    let digest = push(registry, "app", "v1", "one").await;
    for reference in [by_tag("v1"), Reference::Digest(digest), by_tag("absent")] {
        let refused = registry.delete_manifest(&name("app"), &reference).await;
        assert_eq!(kind(refused), ErrorKind::Unsupported);
    }
    let refused = registry.delete_blob(&name("app"), &sha256(b"{}")).await;
    assert_eq!(kind(refused), ErrorKind::Unsupported);
    get(registry, "app", by_tag("v1")).await.expect("there");
}

pub(super) async fn of_everything_ends_the_repository(world: &World<'_>) {
    let registry = &world.registry;
    for repo in ["b/c", "a", "b", "b-c"] {
        push(registry, repo, "v1", repo).await;
    }
    let listed = async |registry: &std::sync::Arc<_>| -> Vec<String> {
        let registry: &chartgate::store::registry::HostedRegistry = registry;
        let names = registry.catalog().await.expect("a list");
        names.iter().map(ToString::to_string).collect()
    };
    assert_eq!(listed(registry).await, ["a", "b", "b-c", "b/c"]);
    let found = get(registry, "b", by_tag("v1")).await.expect("there");
    registry
        .delete_manifest(&name("b"), &Reference::Digest(found.0))
        .await
        .expect("removed");
    assert_eq!(listed(registry).await.len(), 4);
    for bytes in [&b"{}"[..], b"layer of b"] {
        registry
            .delete_blob(&name("b"), &sha256(bytes))
            .await
            .expect("removed");
    }
    for registry in [registry, &world.again().await] {
        assert_eq!(listed(registry).await, ["a", "b-c", "b/c"]);
        assert!(!registry.has(&name("b")).await.expect("known"));
        assert_eq!(kind(registry.tags(&name("b")).await), ErrorKind::NotFound);
        get(registry, "b/c", by_tag("v1")).await.expect("there");
    }
    push(registry, "b", "v2", "again").await;
    assert_eq!(listed(registry).await, ["a", "b", "b-c", "b/c"]);
    assert!(registry.has(&name("b")).await.expect("known"));
}
