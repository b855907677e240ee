use chartgate::error::ErrorKind;
use chartgate::oci::{Algorithm, Digest};
use chartgate::repository::registry::{ProxyRegistry, RegistryRepository as _};

use super::{World, assert_error, blob, digest, manifest, name, pull, texts, upstream};
use crate::support::fake::{FakeImage, FakeRegistry, Fault, RunningRegistry, Spot};
use crate::support::until;

async fn filled(fake: &RunningRegistry, hub: &ProxyRegistry) -> FakeImage {
    let image = fake.image("a/b", "1");
    manifest(hub, "a/b", "1").await.expect("there");
    pull(hub, "a/b", &image.layer).await.expect("there");
    image
}

async fn serves(hub: &ProxyRegistry, image: &FakeImage) {
    for what in ["1", &image.digest] {
        let found = manifest(hub, "a/b", what).await.expect("held");
        assert_eq!(found.bytes, image.manifest);
    }
    let bytes = pull(hub, "a/b", &image.layer).await.expect("held");
    assert!(bytes == image.bytes);
}

#[tokio::test]
async fn everything_held_is_served_after_a_restart_without_an_upstream() {
    let mut world = World::new().await;
    let fake = FakeRegistry::open().image("a/b", "1").run();
    let hub = world.hub(&fake);
    let image = filled(&fake, &hub).await;
    hub.tags(&name("a/b")).await.expect("there");
    let unheld = digest(&image.digest);
    hub.referrers(&name("a/b"), &unheld).await.expect("there");
    drop(hub);
    for _ in 0..2 {
        world.restart().await;
        world.advance(86_400);
        fake.fault(Spot::All, Fault::Close);
        let hub = world.hub(&fake);
        serves(&hub, &image).await;
        let stale = manifest(&hub, "a/b", "1").await.expect("held");
        assert!(stale.source.stale.is_some());
        let tags = hub.tags(&name("a/b")).await.expect("held");
        assert_eq!(texts(&tags.items), ["1"]);
        let none = hub.referrers(&name("a/b"), &unheld).await.expect("held");
        assert!(none.items.is_empty());
        assert_eq!(hub.catalog().await.expect("known"), [name("a/b")]);
    }
    // A file was damaged meanwhile: it is noticed and never shown.
    let hub = world.hub(&fake);
    world.evict(&image.layer).await;
    let error = pull(&hub, "a/b", &image.layer).await.expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
}

#[tokio::test]
async fn offline_nobody_is_asked_and_any_age_will_do() {
    let mut world = World::new().await;
    let fake = FakeRegistry::open()
        .image("a/b", "1")
        .image("a/b", "2")
        .run();
    let hub = world.hub(&fake);
    let image = filled(&fake, &hub).await;
    world.restart().await;
    world.advance(10 * 365 * 86_400);
    fake.forget();
    let hub = world.open(upstream(&fake).offline().with(|oci| {
        oci.max_stale = Some(std::time::Duration::from_secs(1));
    }));
    serves(&hub, &image).await;
    // Nobody ever asked for the list: what is known of it.
    let tags = hub.tags(&name("a/b")).await.expect("known");
    assert_eq!(texts(&tags.items), ["1"]);
    let unheld = Digest::of(Algorithm::Sha256, b"unheld").to_string();
    for error in [
        manifest(&hub, "a/b", "2").await.map(drop),
        manifest(&hub, "a/b", &unheld).await.map(drop),
        blob(&hub, "a/b", &unheld).await.map(drop),
        hub.tags(&name("c/d")).await.map(drop),
    ] {
        assert_error(error, ErrorKind::UpstreamUnavailable, "offline");
    }
    assert_eq!(hub.refresh_ahead().await, 0);
    assert_eq!(hub.state().state, "offline");
    assert_eq!(fake.count(Spot::All), 0);
}

#[tokio::test]
async fn offline_lists_are_completed_by_what_was_pulled() {
    let world = World::new().await;
    let fake = FakeRegistry::open().image("a/b", "1").run();
    let hub = world.hub(&fake);
    hub.tags(&name("a/b")).await.expect("there");
    fake.add("a/b", "2", 10);
    manifest(&hub, "a/b", "2").await.expect("there");
    let listed = hub.tags(&name("a/b")).await.expect("held");
    assert_eq!(texts(&listed.items), ["1"], "online the list is the list");
    let offline = world.open(upstream(&fake).offline());
    let tags = offline.tags(&name("a/b")).await.expect("known");
    assert_eq!(texts(&tags.items), ["1", "2"]);
}

/// The process that takes over during an upgrade learns what the old one knew when that one ends.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_process_learnt_is_taken_over() {
    let mut world = World::new().await;
    let fake = FakeRegistry::open().image("a/b", "1").run();
    let old = world.hub(&fake);
    let image = filled(&fake, &old).await;
    world.cache.idle().await;
    let successor = super::open(&world.dir, &world.sizes, &world.metrics, &world.clock).await;
    let first = std::mem::replace(&mut world.cache, successor);
    let new = world.open(upstream(&fake).offline());
    let layer = digest(&image.layer);
    assert!(
        !new.links(&name("a/b"), &layer),
        "the old one has the ledger"
    );
    first.close().await;
    drop(old);
    until("the ledger", std::time::Duration::from_secs(20), || {
        new.links(&name("a/b"), &layer).then_some(())
    });
    serves(&new, &image).await;
}

#[tokio::test]
async fn opening_asks_nobody() {
    let world = World::new().await;
    let fake = FakeRegistry::open().image("a/b", "1").run();
    let hub = world.hub(&fake);
    hub.start();
    assert_eq!(hub.state().state, "unknown");
    assert!(hub.catalog().await.expect("nothing").is_empty());
    drop(hub);
    assert_eq!(fake.count(Spot::All), 0);
}
