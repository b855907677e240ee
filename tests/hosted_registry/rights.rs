//! Who may read which bytes, and how many there may be.

use chartgate::config::HostedRegistry as Settings;
use chartgate::error::ErrorKind;
use chartgate::store::registry::{Mounted, Received, Usage};

use super::ground::*;

pub(super) async fn to_bytes_come_from_links_alone(world: &World<'_>) {
    let registry = &world.registry;
    let digest = put_blob(registry, "app", b"private").await;
    for repo in ["other", "app/other", "ap"] {
        assert_eq!(
            kind(blob(registry, repo, &digest).await),
            ErrorKind::NotFound
        );
    }
    let stranger = open(world.ground, "strangers", Settings::default(), true).await;
    assert_eq!(
        kind(blob(&stranger, "app", &digest).await),
        ErrorKind::NotFound
    );
    // Whoever pushes the same bytes has a link of his own, and takes nobody else's away with it.
    put_blob(&stranger, "app", b"private").await;
    stranger
        .delete_blob(&name("app"), &digest)
        .await
        .expect("removed");
    assert_eq!(
        kind(blob(&stranger, "app", &digest).await),
        ErrorKind::NotFound
    );
    assert_eq!(
        blob(registry, "app", &digest).await.expect("there"),
        "private"
    );
    // A link is made to what is stored, and to nothing else.
    let absent = Received {
        digest: sha256(b"nowhere"),
        content: chartgate::digest::Digest::of(b"nowhere"),
        size: 7,
    };
    let failed = registry.link_blob(&name("app"), absent).await;
    assert_eq!(kind(failed), ErrorKind::Internal);
    assert_eq!(
        kind(blob(registry, "app", &absent.digest).await),
        ErrorKind::NotFound
    );
}

pub(super) async fn come_with_a_mount(world: &World<'_>) {
    let registry = &world.registry;
    let digest = put_blob(registry, "source", b"shared").await;
    let (source, target) = (name("source"), name("target"));
    let mount = async |from: Mounted<'_>| {
        registry
            .mount(&target, &digest, from)
            .await
            .expect("answered")
    };
    assert!(!mount(Mounted::From(&name("nowhere"))).await);
    assert!(!mount(Mounted::Any(&|_| false)).await);
    assert_eq!(
        kind(blob(registry, "target", &digest).await),
        ErrorKind::NotFound
    );
    assert!(mount(Mounted::From(&source)).await);
    assert_eq!(
        blob(registry, "target", &digest).await.expect("there"),
        "shared"
    );
    // The source may go.
    registry
        .delete_blob(&source, &digest)
        .await
        .expect("removed");
    let fresh = world.again().await;
    assert_eq!(
        blob(&fresh, "target", &digest).await.expect("there"),
        "shared"
    );
    // From anywhere that may be read, also if this process has never looked there.
    let third = name("third");
    let only_source = Mounted::Any(&|name| name.as_str() == "source");
    assert!(
        !fresh
            .mount(&third, &digest, only_source)
            .await
            .expect("answered")
    );
    let anywhere = Mounted::Any(&|name| name.as_str() == "target");
    assert!(
        fresh
            .mount(&third, &digest, anywhere)
            .await
            .expect("answered")
    );
    assert_eq!(
        blob(&fresh, "third", &digest).await.expect("there"),
        "shared"
    );
    let stranger = open(
        world.ground,
        "mounting-strangers",
        Settings::default(),
        true,
    )
    .await;
    let all = Mounted::Any(&|_| true);
    assert!(
        !stranger
            .mount(&third, &digest, all)
            .await
            .expect("answered")
    );
}

pub(super) async fn end_with_the_quota(world: &World<'_>) {
    put_blob(&world.registry, "old", &[1; 400]).await;
    let settings = Settings {
        quota: Some(1000),
        ..Settings::default()
    };
    let registry = &world.with(settings, true).await;
    let usage = async || registry.usage().await.expect("counted");
    let large = bytes::Bytes::from(vec![2; 601]);
    let refused = registry
        .put_blob(&name("app"), sha256(&large), large.clone())
        .await;
    assert_eq!(kind(refused), ErrorKind::QuotaExceeded);
    assert_eq!(
        kind(blob(registry, "app", &sha256(&large)).await),
        ErrorKind::NotFound
    );
    put_blob(registry, "app", &[3; 600]).await;
    let full = Usage {
        bytes: 1000,
        contents: 2,
    };
    assert_eq!(usage().await, full);
    assert_eq!(kind(registry.check_room(1).await), ErrorKind::QuotaExceeded);
    // What is held already costs nothing, in whatever repository.
    put_blob(registry, "app", &[3; 600]).await;
    put_blob(registry, "app", &[1; 400]).await;
    assert_eq!(usage().await, full);
    let small = index(&[], "");
    let refused = put(registry, "app", by_tag("v1"), INDEX, &small).await;
    assert_eq!(kind(refused), ErrorKind::QuotaExceeded);
    assert!(tags(registry, "app").await.is_empty());
    // One of two links does not free anything, the last one does.
    let shared = sha256(&[1; 400]);
    registry
        .delete_blob(&name("old"), &shared)
        .await
        .expect("removed");
    assert_eq!(usage().await, full);
    registry
        .delete_blob(&name("app"), &shared)
        .await
        .expect("removed");
    assert_eq!(usage().await.bytes, 600);
    registry.check_room(400).await.expect("room");
    put(registry, "app", by_tag("v1"), INDEX, &small)
        .await
        .expect("stored");
    let counted = usage().await;
    assert_eq!(
        (counted.bytes, counted.contents),
        (600 + small.len() as u64, 2)
    );
    // Another process counts the same.
    assert_eq!(world.again().await.usage().await.expect("counted"), counted);
}

pub(super) async fn of_tenants_are_their_own(world: &World<'_>) {
    let settings = Settings::default();
    let registry = &world.registry;
    push(registry, "app", "v1", "of a nested tenant").await;
    for other in ["", "one", "one/tenant/app", "one+tenant", "ONE/tenant"] {
        let other = open(world.ground, other, settings.clone(), true).await;
        assert_eq!(
            kind(get(&other, "app", by_tag("v1")).await),
            ErrorKind::NotFound
        );
        assert!(!other.has(&name("app")).await.expect("known"));
        push(&other, "app", "v1", "of another").await;
        assert_eq!(other.catalog().await.expect("a list").len(), 1);
    }
    let again = world.again().await;
    let (.., bytes) = get(&again, "app", by_tag("v1")).await.expect("there");
    assert_eq!(bytes, image(b"{}", b"layer of of a nested tenant", ""));
}
