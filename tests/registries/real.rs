use chartgate::error::ErrorKind;
use chartgate::oci::{ManifestType, Tag, helm};
use chartgate::upstream::registry::{Part, Resolved};

use super::{PASSWORD, assert_error, hub_at, name, read, reference};
use crate::support::distribution::Distribution;

/// A file that `crane append` takes as a layer: an archive without entries, padded.
fn layer(registry: &Distribution, size: usize) -> String {
    let path = registry.folder().join(format!("layer-{size}.tar"));
    std::fs::write(&path, vec![0; 1024.max(size)]).expect("writable");
    path.display().to_string()
}

#[tokio::test]
async fn what_crane_helm_and_oras_push_is_read_the_same() {
    let Some(registry) = Distribution::start() else {
        return;
    };
    let layer = layer(&registry, 300_000);
    let image = "{}/acme/app:1.0";
    let crane = |arguments: &[&str]| registry.client("crane/crane", arguments);
    let Some(_) = crane(&["append", "-f", &layer, "-t", image]) else {
        return;
    };
    crane(&["tag", image, "2.0"]);
    crane(&["index", "append", "-m", image, "-t", "{}/acme/app:all"]);
    let chart = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/config/sample/podinfo-6.14.1.tgz"
    );
    let helm = ["push", "--plain-http", chart, "oci://{}/charts"];
    let Some(_) = registry.client("helm4", &helm) else {
        return;
    };
    std::fs::write(registry.folder().join("sbom.json"), "{}").expect("writable");
    let attach = [
        "attach",
        "--plain-http",
        "--artifact-type",
        "application/vnd.example.sbom",
        image,
        "sbom.json",
    ];
    let Some(_) = registry.client("oras/oras", &attach) else {
        return;
    };

    let hub = hub_at(&registry.url()).build();
    let app = name("acme/app");
    let resolved = hub
        .resolve(&app, &reference("1.0"), None)
        .await
        .expect("there");
    let Resolved::Moved(head) = resolved else {
        panic!("a HEAD tells: {resolved:?}")
    };
    let fetched = hub
        .get_manifest(&app, &reference("1.0"))
        .await
        .expect("there");
    assert_eq!(fetched.digest, head.digest);
    assert_eq!(
        fetched.bytes,
        crane(&["manifest", image]).expect("installed")
    );
    let again = hub
        .resolve(&app, &reference("2.0"), Some(&head.digest))
        .await;
    assert!(matches!(again, Ok(Resolved::Same)), "{again:?}");

    let blob = &fetched.manifest.layers[0];
    assert_eq!(
        hub.head_blob(&app, &blob.digest).await.expect("there").size,
        Some(blob.size)
    );
    let whole = hub
        .open_blob(&app, &blob.digest, &Part::Whole)
        .await
        .expect("there");
    let bytes = read(whole).await.expect("whole");
    assert!(blob.digest.names(&bytes) && bytes.len() as u64 == blob.size);
    let half = hub
        .open_blob(&app, &blob.digest, &Part::From(100))
        .await
        .expect("there");
    assert_eq!(read(half).await.expect("the rest"), bytes[100..]);

    let index = hub
        .get_manifest(&app, &reference("all"))
        .await
        .expect("there");
    assert!(index.manifest.media_type.is_index());
    assert_eq!(index.manifest.manifests[0].digest, head.digest);

    // distribution has no referrers API: oras keeps the list under the tag in its place.
    let referrers = hub.referrers(&app, &head.digest).await.expect("a list");
    assert_eq!(referrers.len(), 1);
    assert_eq!(
        referrers[0].artifact_type.as_deref(),
        Some("application/vnd.example.sbom")
    );
    let listed = hub.tags(&app).await.expect("a list");
    let listed: Vec<_> = listed
        .iter()
        .map(Tag::as_str)
        .filter(|tag| !tag.starts_with("sha256-"))
        .collect();
    assert_eq!(listed, ["1.0", "2.0", "all"]);

    let podinfo = name("charts/podinfo");
    let fetched = hub
        .get_manifest(&podinfo, &reference("6.14.1"))
        .await
        .expect("there");
    assert!(!String::from_utf8_lossy(&fetched.bytes).contains("image.manifest.v1+json"));
    assert_eq!(fetched.manifest.media_type, ManifestType::Image);
    let package = fetched
        .manifest
        .layers
        .iter()
        .find(|layer| &*layer.media_type == helm::CHART);
    let package = hub
        .open_blob(&podinfo, &package.expect("a package").digest, &Part::Whole)
        .await;
    let package = read(package.expect("there")).await.expect("whole");
    assert_eq!(package, std::fs::read(chart).expect("a sample"));
    assert_eq!(hub.catalog().await.expect("a list"), [app.clone(), podinfo]);

    for absent in ["9.9", &format!("sha256:{}", "0".repeat(64))] {
        let error = hub
            .get_manifest(&app, &reference(absent))
            .await
            .expect_err("absent");
        assert_error(&error, ErrorKind::NotFound, absent);
    }
}

#[tokio::test]
async fn a_registry_with_a_password() {
    let Some(registry) = Distribution::start_for("me", PASSWORD) else {
        return;
    };
    let layer = layer(&registry, 1024);
    let login = ["auth", "login", "{}", "-u", "me", "-p", PASSWORD];
    let Some(_) = registry.client("crane/crane", &login) else {
        return;
    };
    registry.client(
        "crane/crane",
        &["append", "-f", &layer, "-t", "{}/acme/app:1.0"],
    );
    let app = name("acme/app");
    let known = hub_at(&registry.url()).known().build();
    known
        .get_manifest(&app, &reference("1.0"))
        .await
        .expect("there");
    let error = known
        .get_manifest(&app, &reference("2.0"))
        .await
        .expect_err("absent");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = known
        .get_manifest(&name("no/such"), &reference("1.0"))
        .await
        .expect_err("absent");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let stranger = hub_at(&registry.url()).build();
    let error = stranger
        .get_manifest(&app, &reference("1.0"))
        .await
        .expect_err("closed");
    assert_error(&error, ErrorKind::UpstreamUnauthorized, "wants credentials");
}
