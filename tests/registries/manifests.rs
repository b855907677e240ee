use chartgate::error::ErrorKind;
use chartgate::oci::ManifestType;
use chartgate::upstream::registry::{Head, Resolved};

use super::{assert_error, digest, hub, name, reference};
use crate::support::fake::{FakeRegistry, Fault, HeadStyle, Spot};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[tokio::test]
async fn the_same_list_of_types_is_always_accepted() {
    let fake = FakeRegistry::open().image("a/b", "1").run();
    let registry = hub(&fake).build();
    registry
        .head_manifest(&name("a/b"), &reference("1"))
        .await
        .expect("there");
    registry
        .get_manifest(&name("a/b"), &reference("1"))
        .await
        .expect("there");
    for asked in fake.asked(Spot::All) {
        let accept = asked.head.header("accept").expect("a list");
        assert_eq!(accept.matches("application/vnd.").count(), 5, "{accept}");
        assert!(accept.ends_with("*/*;q=0.1"), "{accept}");
    }
}

#[tokio::test]
async fn a_tag_is_revalidated_with_one_head() {
    let fake = FakeRegistry::open().image("a/b", "1").run();
    let registry = hub(&fake).build();
    let held = digest(&fake.image("a/b", "1").digest);
    let (repository, tag) = (name("a/b"), reference("1"));
    let resolved = registry.resolve(&repository, &tag, Some(&held)).await;
    assert!(matches!(resolved, Ok(Resolved::Same)), "{resolved:?}");
    let moved = fake.add("a/b", "1", 10);
    let resolved = registry.resolve(&repository, &tag, Some(&held)).await;
    let Ok(Resolved::Moved(head)) = resolved else {
        panic!("{resolved:?}")
    };
    assert_eq!(head.digest, digest(&moved.digest));
    assert_eq!(head.media_type, Some(ManifestType::Image));
    assert_eq!(
        (fake.count(Spot::Heads), fake.count(Spot::Manifests)),
        (2, 0)
    );
}

#[tokio::test]
async fn where_head_tells_nothing_a_conditional_get_does() {
    for style in [
        HeadStyle::WithoutDigest,
        HeadStyle::Status(400),
        HeadStyle::Status(405),
        HeadStyle::Status(501),
    ] {
        let fake = FakeRegistry::open().image("a/b", "1").head(style).run();
        let registry = hub(&fake).build();
        let held = digest(&fake.image("a/b", "1").digest);
        let (repository, tag) = (name("a/b"), reference("1"));
        let head = registry.head_manifest(&repository, &tag).await;
        assert_eq!(head.expect("an answer"), Head::Silent);
        let resolved = registry.resolve(&repository, &tag, Some(&held)).await;
        assert!(matches!(resolved, Ok(Resolved::Same)), "{style:?}");
        let asked = &fake.asked(Spot::Manifests)[0].head;
        assert_eq!(
            asked.header("if-none-match"),
            Some(format!("\"{held}\"").as_str())
        );

        let moved = fake.add("a/b", "1", 10);
        let resolved = registry.resolve(&repository, &tag, Some(&held)).await;
        let Ok(Resolved::Fetched(fetched)) = resolved else {
            panic!("{style:?}: {resolved:?}")
        };
        assert_eq!(fetched.digest, digest(&moved.digest));
        let resolved = registry.resolve(&repository, &tag, None).await;
        assert!(matches!(resolved, Ok(Resolved::Fetched(_))), "{style:?}");
    }
}

#[tokio::test]
async fn bytes_that_are_not_those_promised_are_refused() {
    let fake = FakeRegistry::open()
        .image("a/b", "1")
        .image("a/b", "2")
        .run();
    let registry = hub(&fake).build();
    let (one, two) = (fake.image("a/b", "1"), fake.image("a/b", "2"));
    fake.fault(Spot::Manifests, Fault::Body(two.manifest.to_vec()));
    let error = registry
        .get_manifest(&name("a/b"), &reference(&one.digest))
        .await;
    assert_error(
        &error.expect_err("others"),
        ErrorKind::DigestMismatch,
        &two.digest,
    );

    // For a tag, the registry's own header is the promise.
    let lie = vec![("Docker-Content-Digest".to_owned(), one.digest.clone())];
    fake.heal();
    fake.fault(Spot::Heads, Fault::StatusWith(200, lie));
    let error = registry
        .head_manifest(&name("a/b"), &reference(&two.digest))
        .await;
    assert_error(
        &error.expect_err("another"),
        ErrorKind::DigestMismatch,
        &one.digest,
    );
}

#[tokio::test]
async fn what_is_no_manifest_tells_nothing() {
    let fake = FakeRegistry::open().image("a/b", "1").run();
    for fault in [
        Fault::Html,
        Fault::WrongBytes,
        Fault::Body(Vec::new()),
        Fault::Body(br#"{"errors":[]}"#.to_vec()),
        Fault::Body(br#"{"schemaVersion":2,"config":{},"manifests":[]}"#.to_vec()),
        Fault::CutAfter(20),
        Fault::LengthTooLong(10),
        Fault::EndlessText(20 << 20),
    ] {
        fake.heal();
        fake.fault(Spot::Manifests, fault);
        let registry = hub(&fake).build();
        let error = registry.get_manifest(&name("a/b"), &reference("1")).await;
        assert_error(
            &error.expect_err("garbage"),
            ErrorKind::UpstreamUnavailable,
            "",
        );
    }
}

#[tokio::test]
async fn the_type_is_read_from_the_document_where_the_header_is_of_no_use() {
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[]}}"#);
    for header in [
        "text/plain; charset=utf-8",
        "application/json",
        "application/octet-stream",
    ] {
        let fake = FakeRegistry::open()
            .manifest("a/b", "1", header, index.clone())
            .run();
        let fetched = hub(&fake)
            .build()
            .get_manifest(&name("a/b"), &reference("1"))
            .await;
        assert_eq!(
            fetched.expect("an index").manifest.media_type,
            ManifestType::Index,
            "{header}"
        );
    }
    let fake = FakeRegistry::open()
        .manifest(
            "a/b",
            "1",
            "application/vnd.oci.image.manifest.v1+json",
            index,
        )
        .run();
    let error = hub(&fake)
        .build()
        .get_manifest(&name("a/b"), &reference("1"))
        .await;
    assert_error(
        &error.expect_err("two stories"),
        ErrorKind::UpstreamUnavailable,
        "was sent as",
    );
}

#[tokio::test]
async fn schema_1_is_told_as_such() {
    let fake = FakeRegistry::open()
        .manifest(
            "a/b",
            "1",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            r#"{"schemaVersion":1,"fsLayers":[]}"#,
        )
        .run();
    let error = hub(&fake)
        .build()
        .get_manifest(&name("a/b"), &reference("1"))
        .await;
    assert_error(
        &error.expect_err("too old"),
        ErrorKind::Unsupported,
        "schema 1",
    );
}

#[tokio::test]
async fn a_manifest_of_more_bytes_than_allowed_is_not_read() {
    let fake = FakeRegistry::open().image("a/b", "1").run();
    let small = hub(&fake).with(|settings| settings.max_manifest = 100);
    let error = small
        .build()
        .get_manifest(&name("a/b"), &reference("1"))
        .await;
    assert_error(
        &error.expect_err("too large"),
        ErrorKind::UpstreamUnavailable,
        "more than 100 bytes",
    );
}

#[tokio::test]
async fn a_path_in_front_of_the_api_and_a_prefix_of_names() {
    let fake = FakeRegistry::open().image("proxy/hub/nginx", "1").run();
    let nested = hub(&fake).with(|settings| settings.prefix = Some(name("proxy/hub")));
    let registry = nested.build();
    let upstream = registry.repository(&name("nginx")).expect("short");
    registry
        .head_manifest(&upstream, &reference("1"))
        .await
        .expect("there");

    let below = hub(&fake).with(|settings| settings.url.set_path("/api/docker/hub"));
    let error = below
        .build()
        .head_manifest(&upstream, &reference("1"))
        .await;
    assert_eq!(error.expect_err("not there").kind(), ErrorKind::NotFound);
    let asked = fake.asked(Spot::All);
    let path = &asked.last().expect("one").head.path;
    assert_eq!(path, "/api/docker/hub/v2/proxy/hub/nginx/manifests/1");
}

/// registry.k8s.io is only a front: what is absent there is absent at the registry that it leads to.
#[tokio::test]
async fn a_front_that_leads_to_other_registries() {
    let behind = FakeRegistry::open().image("prod/a", "1").run();
    let front = FakeRegistry::open().run();
    let leads = |tag: &str| Fault::Redirect(format!("{}v2/prod/a/manifests/{tag}", behind.url()));
    let registry = hub(&front).build();
    front.fault(Spot::All, leads("1"));
    let fetched = registry.get_manifest(&name("a"), &reference("1")).await;
    assert_eq!(
        fetched.expect("there").bytes,
        behind.image("prod/a", "1").manifest
    );
    front.heal();
    front.fault(Spot::All, leads("2"));
    let error = registry.get_manifest(&name("a"), &reference("2")).await;
    assert_error(&error.expect_err("absent"), ErrorKind::NotFound, "404");
    behind.fault(Spot::All, Fault::Status(404));
    let error = registry.get_manifest(&name("a"), &reference("2")).await;
    assert_error(
        &error.expect_err("any page"),
        ErrorKind::UpstreamUnavailable,
        "404",
    );
}
