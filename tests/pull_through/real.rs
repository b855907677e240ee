use chartgate::error::ErrorKind;
use chartgate::oci::Manifest;
use chartgate::repository::registry::RegistryRepository as _;

use super::{World, assert_error, digest, manifest, name, pull, texts, upstream_at};
use crate::support::distribution::Distribution;

#[tokio::test]
async fn what_distribution_holds_is_served_after_it_has_gone() {
    let Some(registry) = Distribution::start() else {
        return;
    };
    let layer = registry.folder().join("layer.tar");
    std::fs::write(&layer, vec![0; 3_000_000]).expect("writable");
    let layer = layer.display().to_string();
    let crane = |arguments: &[&str]| registry.client("crane/crane", arguments);
    let Some(_) = crane(&["append", "-f", &layer, "-t", "{}/acme/app:1.0"]) else {
        return;
    };
    crane(&[
        "index",
        "append",
        "-m",
        "{}/acme/app:1.0",
        "-t",
        "{}/acme/app:all",
    ]);
    let raw = |tag: &str| crane(&["manifest", &format!("{{}}/acme/app:{tag}")]).expect("installed");
    let (image, index) = (raw("1.0"), raw("all"));

    let mut world = World::new().await;
    let url = registry.url();
    let hub = world.open(upstream_at(&url));
    let found = manifest(&hub, "acme/app", "1.0").await.expect("there");
    assert_eq!(found.bytes, image);
    assert_eq!(
        manifest(&hub, "acme/app", "all")
            .await
            .expect("there")
            .bytes,
        index
    );
    let read = Manifest::receive(Some(found.media_type.as_str()), &image, image.len());
    let blobs: Vec<_> = read.expect("an image").blobs().cloned().collect();
    for blob in &blobs {
        let bytes = pull(&hub, "acme/app", &blob.digest.to_string()).await;
        assert!(blob.digest.names(&bytes.expect("there")));
    }
    hub.tags(&name("acme/app")).await.expect("there");
    let none = manifest(&hub, "acme/app", "9.9").await;
    assert_error(none, ErrorKind::NotFound, "9.9");

    drop(registry);
    world.restart().await;
    world.advance(86_400);
    let hub = world.open(upstream_at(&url));
    for what in ["1.0", &found.digest.to_string()] {
        let held = manifest(&hub, "acme/app", what).await.expect("held");
        assert_eq!(held.bytes, image);
    }
    for blob in &blobs {
        assert!(hub.links(&name("acme/app"), &digest(&blob.digest.to_string())));
        let bytes = pull(&hub, "acme/app", &blob.digest.to_string()).await;
        assert!(blob.digest.names(&bytes.expect("held")));
    }
    let tags = hub.tags(&name("acme/app")).await.expect("held");
    assert_eq!(texts(&tags.items), ["1.0", "all"]);
    let away = manifest(&hub, "acme/app", "2.0").await;
    assert_error(away, ErrorKind::UpstreamUnavailable, "hub");
}
