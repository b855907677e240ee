use chartgate::error::ErrorKind;
use chartgate::oci::{Algorithm, Digest};
use chartgate::repository::Origin;
use chartgate::repository::registry::RegistryRepository as _;

use super::{World, assert_error, blob, digest, is_held, manifest, name, pull, upstream};
use crate::support::fake::{FakeImage, FakeRegistry, Fault, RunningRegistry, Spot};

/// Two registries; the first holds an image, and the second the same layer.
fn twins() -> (RunningRegistry, RunningRegistry, FakeImage) {
    let first = FakeRegistry::open().image("a/b", "1").run();
    let image = first.image("a/b", "1");
    let second = FakeRegistry::open().image("a/b", "1").run();
    (first, second, image)
}

#[tokio::test]
async fn bytes_that_another_brought_prove_nothing() {
    let world = World::new().await;
    let (fake, _, image) = twins();
    let empty = FakeRegistry::open().image("c/d", "1").run();
    let (hub, other) = (
        world.hub(&fake),
        world.open(upstream(&empty).named("other")),
    );
    manifest(&hub, "a/b", "1").await.expect("there");
    pull(&hub, "a/b", &image.layer).await.expect("there");
    for repository in ["a/b", "c/d"] {
        let blob = blob(&other, repository, &image.layer).await;
        assert_error(blob, ErrorKind::NotFound, "other");
        let found = manifest(&other, repository, &image.digest).await;
        assert_error(found, ErrorKind::NotFound, "other");
        assert!(!other.links(&name(repository), &digest(&image.layer)));
    }
    // Nor does another repository of the same upstream have them.
    let elsewhere = blob(&hub, "c/d", &image.layer).await;
    assert_error(elsewhere, ErrorKind::NotFound, "hub");
    assert!(hub.links(&name("a/b"), &digest(&image.layer)));
    assert!(hub.links(&name("a/b"), &digest(&image.digest)));
}

#[tokio::test]
async fn who_proves_a_digest_gets_the_bytes_that_are_there() {
    let world = World::new().await;
    let (fake, second, image) = twins();
    let (hub, other) = (
        world.hub(&fake),
        world.open(upstream(&second).named("other")),
    );
    manifest(&hub, "a/b", "1").await.expect("there");
    pull(&hub, "a/b", &image.layer).await.expect("there");
    // By a question,
    let found = blob(&other, "a/b", &image.layer).await.expect("proved");
    assert!(is_held(&found));
    assert_eq!(found.origin, Origin::Hit);
    let methods: Vec<_> = second.asked(Spot::Blobs);
    assert_eq!(methods.len(), 1);
    assert_eq!(methods[0].head.method, "HEAD");
    // or by a manifest.
    let third = world.open(upstream(&second).named("third"));
    second.forget();
    manifest(&third, "a/b", "1").await.expect("there");
    let found = blob(&third, "a/b", &image.layer).await.expect("named");
    assert!(is_held(&found));
    assert_eq!(second.count(Spot::Blobs), 0);
    let bytes = pull(&third, "a/b", &image.layer).await.expect("bytes");
    assert!(bytes == image.bytes);
}

#[tokio::test]
async fn who_does_not_share_proves_by_sending_the_bytes() {
    let world = World::new().await;
    let (fake, second, image) = twins();
    let hub = world.hub(&fake);
    let own = world.open(upstream(&second).named("own").with(|oci| oci.share = false));
    manifest(&hub, "a/b", "1").await.expect("there");
    pull(&hub, "a/b", &image.layer).await.expect("there");
    manifest(&own, "a/b", "1").await.expect("there");
    let cold = blob(&own, "a/b", &image.layer).await.expect("promised");
    assert!(!is_held(&cold));
    let bytes = pull(&own, "a/b", &image.layer).await.expect("bytes");
    assert!(bytes == image.bytes);
    assert_eq!(second.count(Spot::Blobs), 1);
    world.cache.idle().await;
    // Once it has sent them they are its own.
    let warm = blob(&own, "a/b", &image.layer).await.expect("held");
    assert!(is_held(&warm));
    pull(&own, "a/b", &image.layer).await.expect("bytes");
    assert_eq!(second.count(Spot::Blobs), 1);
    // A HEAD that says yes is not enough: the bytes were never sent from there.
    second.fault(Spot::Blobs, Fault::Status(503));
    let liar = world.open(upstream(&fake).named("liar").with(|oci| oci.share = false));
    fake.forget();
    let asked = blob(&liar, "a/b", &image.layer).await.expect("says yes");
    assert!(!is_held(&asked));
}

#[tokio::test]
async fn what_somebody_does_not_share_is_for_nobody_else() {
    let world = World::new().await;
    // A secret of one registry; the other only knows its digest and names it in a manifest.
    let secret = FakeRegistry::open().image("a/b", "1").run();
    let image = secret.image("a/b", "1");
    let naming = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"x/y","digest":"{}","size":50000}},"layers":[]}}"#,
        image.layer
    );
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let evil = FakeRegistry::open()
        .manifest("e/f", "1", kind, naming)
        .run();
    let own = world.open(upstream(&secret).named("own").with(|oci| oci.share = false));
    let other = world.open(upstream(&evil).named("evil"));
    manifest(&own, "a/b", "1").await.expect("there");
    pull(&own, "a/b", &image.layer).await.expect("there");
    world.cache.idle().await;
    manifest(&other, "e/f", "1").await.expect("there");
    let outcome = pull(&other, "e/f", &image.layer).await;
    assert_error(outcome, ErrorKind::NotFound, "");
    // Not while it arrives either.
    world.evict(&image.layer).await;
    world.advance(30);
    let hold = secret.hold(Spot::Blobs);
    let reader = {
        let (own, layer) = (own.clone(), image.layer.clone());
        tokio::spawn(async move { pull(&own, "a/b", &layer).await })
    };
    hold.waiting(1).await;
    let outcome = pull(&other, "e/f", &image.layer).await;
    assert_error(outcome, ErrorKind::NotFound, "");
    hold.release();
    let bytes = reader.await.expect("no panic").expect("bytes");
    assert!(bytes == image.bytes);
}

#[tokio::test]
async fn sharers_share_a_transfer_and_others_do_not() {
    let world = World::new().await;
    let (fake, second, image) = twins();
    let hub = world.hub(&fake);
    let other = world.open(upstream(&second).named("other"));
    let own = world.open(upstream(&second).named("own").with(|oci| oci.share = false));
    for proxy in [&hub, &other, &own] {
        manifest(proxy, "a/b", "1").await.expect("there");
    }
    let hold = fake.hold(Spot::Blobs);
    let start = |proxy: &std::sync::Arc<_>| {
        let (proxy, layer) = (std::sync::Arc::clone(proxy), image.layer.clone());
        tokio::spawn(async move { pull(&proxy, "a/b", &layer).await })
    };
    let first = start(&hub);
    hold.waiting(1).await;
    let follower = start(&other);
    let alone = start(&own);
    let bytes = alone.await.expect("no panic").expect("bytes");
    assert!(bytes == image.bytes);
    assert_eq!(second.count(Spot::Blobs), 1);
    hold.release();
    for reader in [first, follower] {
        let bytes = reader.await.expect("no panic").expect("bytes");
        assert!(bytes == image.bytes);
    }
    assert_eq!(second.count(Spot::Blobs), 1, "the follower asked nobody");
}

#[tokio::test]
async fn a_failure_of_one_is_not_one_of_the_other() {
    let world = World::new().await;
    let (fake, second, image) = twins();
    let hub = world.hub(&fake);
    let other = world.open(upstream(&second).named("other"));
    for proxy in [&hub, &other] {
        manifest(proxy, "a/b", "1").await.expect("there");
    }
    fake.fault(Spot::Blobs, Fault::WrongBytes);
    let wrong = pull(&hub, "a/b", &image.layer).await;
    assert_error(wrong, ErrorKind::DigestMismatch, "hub");
    let bytes = pull(&other, "a/b", &image.layer).await.expect("bytes");
    assert!(bytes == image.bytes);
    let unknown = Digest::of(Algorithm::Sha256, b"unknown").to_string();
    assert_error(
        blob(&hub, "a/b", &unknown).await,
        ErrorKind::NotFound,
        "hub",
    );
}
