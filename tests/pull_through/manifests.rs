use chartgate::error::ErrorKind;
use chartgate::oci::{Algorithm, Digest, ManifestType};
use chartgate::repository::Origin;

use super::{World, assert_error, blob, manifest, pull, read, upstream};
use crate::support::fake::{FakeRegistry, Fault, Spot};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[tokio::test]
async fn fetched_once_and_held_for_ever() {
    let world = World::new().await;
    let fake = FakeRegistry::open().image("a/b", "1").run();
    let (hub, image) = (world.hub(&fake), fake.image("a/b", "1"));
    let first = manifest(&hub, "a/b", &image.digest).await.expect("there");
    assert_eq!(first.bytes, image.manifest);
    assert_eq!(first.source.origin, Origin::Miss);
    world.advance(10 * 365 * 86_400);
    let again = manifest(&hub, "a/b", &image.digest).await.expect("held");
    assert_eq!(again.bytes, image.manifest);
    assert_eq!(again.media_type, ManifestType::Image);
    assert_eq!(again.source.origin, Origin::Hit);
    assert_eq!(fake.count(Spot::All), 1);
    // containerd asks for what it does not find among the blobs.
    let as_blob = blob(&hub, "a/b", &image.digest).await.expect("held");
    let bytes = read(&as_blob, 0..u64::MAX).await.expect("bytes");
    assert_eq!(bytes, image.manifest);
    assert_eq!(fake.count(Spot::All), 1);
}

#[tokio::test]
async fn other_bytes_are_never_shown_and_not_asked_for_at_once() {
    let world = World::new().await;
    let fake = FakeRegistry::open().image("a/b", "1").run();
    let (hub, image) = (world.hub(&fake), fake.image("a/b", "1"));
    let other = fake.add("a/b", "2", 60_000);
    fake.fault(Spot::Manifests, Fault::Body(other.manifest.to_vec()));
    for _ in 0..3 {
        let error = manifest(&hub, "a/b", &image.digest).await;
        let error = error.expect_err("other bytes");
        assert_ne!(error.kind(), ErrorKind::NotFound, "{error:?}");
    }
    fake.heal();
    world.advance(60);
    let found = manifest(&hub, "a/b", &image.digest).await.expect("right");
    assert_eq!(found.bytes, image.manifest);
}

#[tokio::test]
async fn absence_is_believed_for_a_moment() {
    let world = World::new().await;
    let fake = FakeRegistry::open().image("a/b", "1").run();
    let hub = world.hub(&fake);
    let none = Digest::of(Algorithm::Sha256, b"none").to_string();
    for _ in 0..3 {
        assert_error(
            manifest(&hub, "a/b", &none).await,
            ErrorKind::NotFound,
            "`hub`",
        );
    }
    assert_eq!(fake.count(Spot::All), 1);
    world.advance(30);
    assert_error(
        manifest(&hub, "a/b", &none).await,
        ErrorKind::NotFound,
        "`hub`",
    );
    assert_eq!(fake.count(Spot::All), 2);
}

#[tokio::test]
async fn an_index_is_whole_and_its_children_come_when_asked_for() {
    let world = World::new().await;
    let fake = FakeRegistry::open()
        .image("a/b", "1")
        .image("a/b", "2")
        .run();
    let (one, two) = (fake.image("a/b", "1"), fake.image("a/b", "2"));
    let gone = Digest::of(Algorithm::Sha256, b"gone");
    let entry = |digest: &str, size: usize| {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{size}}}"#
        )
    };
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{},{},{}],"x":[ 1 ]}}"#,
        entry(&one.digest, one.manifest.len()),
        entry(&two.digest, two.manifest.len()),
        entry(&gone.to_string(), 7),
    );
    let fake = FakeRegistry::open()
        .image("a/b", "1")
        .image("a/b", "2")
        .manifest("a/b", "multi", INDEX, text.clone())
        .run();
    let hub = world.hub(&fake);
    let index = manifest(&hub, "a/b", "multi").await.expect("there");
    assert_eq!(index.bytes, text.as_bytes(), "to the byte");
    assert_eq!(index.media_type, ManifestType::Index);
    assert_eq!(fake.count(Spot::Manifests), 1);
    let child = manifest(&hub, "a/b", &two.digest).await.expect("there");
    assert_eq!(child.bytes, two.manifest);
    assert_eq!(fake.count(Spot::Manifests), 2);
    let missing = manifest(&hub, "a/b", &gone.to_string()).await;
    assert_error(missing, ErrorKind::NotFound, "`hub`");
    let layer = pull(&hub, "a/b", &two.layer).await.expect("promised");
    assert_eq!(layer, two.bytes);
}

#[tokio::test]
async fn sha512_is_a_name_like_any_other() {
    let world = World::new().await;
    let layer = bytes::Bytes::from(vec![7; 100_000]);
    let blob_digest = Digest::of(Algorithm::Sha512, &layer).to_string();
    let image = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{}","size":2}},"layers":[{{"mediaType":"x/y","digest":"{blob_digest}","size":100000}}]}}"#,
        Digest::of(Algorithm::Sha256, b"{}"),
    );
    let digest = Digest::of(Algorithm::Sha512, image.as_bytes()).to_string();
    let fake = FakeRegistry::open()
        .blob_named("a/b", &blob_digest, layer.clone())
        .manifest_named("a/b", "1", &digest, image.clone())
        .run();
    let hub = world.hub(&fake);
    let by_tag = manifest(&hub, "a/b", "1").await.expect("there");
    assert_eq!(by_tag.digest.to_string(), digest);
    assert_eq!(by_tag.bytes, image.as_bytes());
    let asked = fake.count(Spot::All);
    for what in [&digest, "1"] {
        let held = manifest(&hub, "a/b", what).await.expect("held");
        assert_eq!(held.digest.to_string(), digest, "{what}");
        assert_eq!(held.source.origin, Origin::Hit);
    }
    assert_eq!(fake.count(Spot::All), asked);
    world.advance(300);
    let same = manifest(&hub, "a/b", "1").await.expect("the same");
    assert_eq!(same.digest.to_string(), digest);
    assert_eq!(fake.count(Spot::Manifests), 1, "a HEAD was enough");

    for _ in 0..2 {
        assert_eq!(pull(&hub, "a/b", &blob_digest).await.expect("bytes"), layer);
    }
    assert_eq!(fake.count(Spot::Blobs), 1);
    // The same bytes by a digest that this repository never proved.
    let inner = Digest::of(Algorithm::Sha256, &layer).to_string();
    assert_error(blob(&hub, "a/b", &inner).await, ErrorKind::NotFound, "hub");

    // Wrong ones never arrive complete.
    let cold = world.open(upstream(&fake).named("cold"));
    fake.fault(Spot::Blobs, Fault::WrongBytes);
    assert_error(
        pull(&cold, "a/b", &blob_digest).await,
        ErrorKind::DigestMismatch,
        "sha512",
    );
    fake.heal();
    assert_error(
        pull(&cold, "a/b", &blob_digest).await,
        ErrorKind::DigestMismatch,
        "sha512",
    );
    world.advance(60);
    assert_eq!(
        pull(&cold, "a/b", &blob_digest).await.expect("right"),
        layer
    );
}

#[tokio::test]
async fn larger_than_memory_takes() {
    let world = World::new().await;
    let notes = "n".repeat(3 << 20);
    let image = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{}","size":2}},"layers":[],"annotations":{{"n":"{notes}"}}}}"#,
        Digest::of(Algorithm::Sha256, b"{}"),
    );
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let fake = FakeRegistry::open()
        .manifest("a/b", "1", kind, image.clone())
        .run();
    let hub = world.hub(&fake);
    for origin in [Origin::Miss, Origin::Hit] {
        let found = manifest(&hub, "a/b", "1").await.expect("there");
        assert_eq!(found.source.origin, origin);
        assert!(found.bytes == image.as_bytes());
    }
    let small = world.open(
        upstream(&fake)
            .named("small")
            .with(|oci| oci.max_manifest = 1 << 20),
    );
    let error = manifest(&small, "a/b", "1").await.expect_err("too large");
    assert_ne!(error.kind(), ErrorKind::NotFound);
}
