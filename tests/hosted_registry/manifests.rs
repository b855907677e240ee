//! Manifests: what is taken, and that it comes back as it was.

use bytes::Bytes;
use chartgate::config::HostedRegistry as Settings;
use chartgate::error::ErrorKind;
use chartgate::oci::{Algorithm, Digest, ManifestType, Reference};
use chartgate::store::registry::Target;

use super::ground::*;

pub(super) async fn are_read_back_as_they_came(world: &World<'_>) {
    let registry = &world.registry;
    put_blob(registry, "deep/er/app", b"{}").await;
    put_blob(registry, "deep/er/app", b"layer").await;
    // Order, spaces, escapes and unknown fields are its own.
    let text = String::from_utf8(image(b"{}", b"layer", "").to_vec()).expect("text");
    let text = text.replacen('{', "{ \n \"unknown\": \"\\u0041<\",", 1);
    let manifest = Bytes::from(text);
    let pushed = put(
        registry,
        "deep/er/app",
        by_tag("v1"),
        &format!("{IMAGE}; charset=utf-8"),
        &manifest,
    )
    .await
    .expect("stored");
    assert_eq!(pushed.digest, sha256(&manifest));
    assert_eq!((pushed.subject, pushed.tags), (None, vec![tag("v1")]));
    let expected = (pushed.digest, ManifestType::Image, manifest.clone());
    for registry in [registry, &world.again().await] {
        for reference in [by_tag("v1"), Reference::Digest(pushed.digest)] {
            assert_eq!(
                get(registry, "deep/er/app", reference)
                    .await
                    .expect("there"),
                expected
            );
        }
        // containerd asks for manifests under `/blobs/` too.
        assert_eq!(
            blob(registry, "deep/er/app", &pushed.digest)
                .await
                .expect("there"),
            manifest
        );
        assert_eq!(
            blob(registry, "deep/er/app", &sha256(b"layer"))
                .await
                .expect("there"),
            "layer"
        );
        assert!(registry.has(&name("deep/er/app")).await.expect("known"));
        assert!(!registry.has(&name("deep/er")).await.expect("known"));
    }
    let both = index(&[&manifest], "");
    put(registry, "deep/er/app", by_tag("all"), INDEX, &both)
        .await
        .expect("stored");
    let nested = index(&[&both], r#","annotations":{"a":"b"}"#);
    let pushed = put(registry, "deep/er/app", by_tag("nested"), INDEX, &nested)
        .await
        .expect("stored");
    let (digest, media_type, bytes) = get(registry, "deep/er/app", by_tag("nested"))
        .await
        .expect("there");
    assert_eq!(
        (digest, media_type, bytes),
        (pushed.digest, ManifestType::Index, nested)
    );
    // A layer is no manifest.
    let layer = Reference::Digest(sha256(b"layer"));
    assert_eq!(
        kind(get(registry, "deep/er/app", layer).await),
        ErrorKind::NotFound
    );
    for absent in ["deep/er", "app", "deep/er/app/v1"] {
        assert_eq!(
            kind(get(registry, absent, by_tag("v1")).await),
            ErrorKind::NotFound
        );
    }
    assert_eq!(
        kind(get(registry, "deep/er/app", by_tag("v2")).await),
        ErrorKind::NotFound
    );
}

pub(super) async fn of_charts_keep_the_type_of_their_header(world: &World<'_>) {
    let registry = &world.registry;
    put_blob(registry, "app", b"{}").await;
    // helm writes no `mediaType`.
    let config = descriptor("application/vnd.cncf.helm.config.v1+json", b"{}");
    for (version, media_type) in [
        ("1.0.0", ManifestType::Image),
        ("2.0.0", ManifestType::DockerImage),
    ] {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{config},"layers":[],"annotations":{{"v":"{version}"}}}}"#
        );
        let bytes = Bytes::from(text);
        put(
            registry,
            "app",
            by_tag(version),
            media_type.as_str(),
            &bytes,
        )
        .await
        .expect("stored");
        for registry in [registry, &world.again().await] {
            let (_, kept, _) = get(registry, "app", by_tag(version)).await.expect("there");
            assert_eq!(kept, media_type);
        }
    }
}

pub(super) async fn may_be_named_by_sha512(world: &World<'_>) {
    let registry = &world.registry;
    let long = |bytes: &[u8]| Digest::of(Algorithm::Sha512, bytes);
    let layer = long(b"layer");
    registry
        .put_blob(&name("app"), layer, Bytes::from_static(b"layer"))
        .await
        .expect("stored");
    let manifest = Bytes::from(format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"a/b","digest":"{layer}","size":5}},"layers":[]}}"#
    ));
    let digest = long(&manifest);
    let target = Target::Digest(digest, vec![tag("v1")]);
    let pushed = registry
        .put_manifest(&name("app"), target, Some(IMAGE), manifest.clone())
        .await;
    assert_eq!(pushed.expect("stored").digest, digest);
    for registry in [registry, &world.again().await] {
        for reference in [by_tag("v1"), Reference::Digest(digest)] {
            let (named, _, bytes) = get(registry, "app", reference).await.expect("there");
            assert_eq!((named, bytes), (digest, manifest.clone()));
        }
        assert_eq!(blob(registry, "app", &layer).await.expect("there"), "layer");
        // Its other name was never given to it.
        assert_eq!(
            kind(blob(registry, "app", &sha256(b"layer")).await),
            ErrorKind::NotFound
        );
    }
    // Same bytes under the other name: a second link, and the same bytes.
    put_blob(registry, "app", b"layer").await;
    assert_eq!(
        blob(registry, "app", &sha256(b"layer"))
            .await
            .expect("there"),
        "layer"
    );
    registry
        .delete_blob(&name("app"), &sha256(b"layer"))
        .await
        .expect("removed");
    assert_eq!(blob(registry, "app", &layer).await.expect("there"), "layer");
}

pub(super) async fn may_be_as_empty_as_the_specification_lets_them(world: &World<'_>) {
    let registry = &world.registry;
    let missing = sha256(b"nobody pushed this");
    put_blob(registry, "app", b"{}").await;
    put_blob(registry, "app", b"").await;
    let config = descriptor("application/vnd.oci.empty.v1+json", b"{}");
    let foreign = format!(
        r#"{{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":"{missing}","size":7,"urls":["https://host/x"]}}"#
    );
    let subject = format!(r#"{{"mediaType":"{IMAGE}","digest":"{missing}","size":7}}"#);
    for (at, (media_type, text)) in [
        (
            IMAGE,
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#),
        ),
        (
            IMAGE,
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{foreign}]}}"#),
        ),
        (
            IMAGE,
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"subject":{subject}}}"#),
        ),
        (
            IMAGE,
            format!(
                r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#,
                descriptor("a/b", b"")
            ),
        ),
        (INDEX, r#"{"schemaVersion":2,"manifests":[]}"#.to_owned()),
        (
            INDEX,
            format!(r#"{{"schemaVersion":2,"manifests":[],"subject":{subject}}}"#),
        ),
        (
            ManifestType::Artifact.as_str(),
            format!(
                r#"{{"mediaType":"{}","blobs":[{config}]}}"#,
                ManifestType::Artifact
            ),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let bytes = Bytes::from(text);
        let tag = format!("t{at}");
        let pushed = put(registry, "app", by_tag(&tag), media_type, &bytes).await;
        let pushed = pushed.unwrap_or_else(|error| panic!("{tag}: {error}"));
        let text = std::str::from_utf8(&bytes).expect("text");
        assert_eq!(
            pushed.subject,
            text.contains("subject").then_some(missing),
            "{tag}"
        );
        assert_eq!(
            get(registry, "app", by_tag(&tag)).await.expect("there").2,
            bytes
        );
    }
    assert_eq!(
        blob(registry, "app", &sha256(b"")).await.expect("there"),
        ""
    );
}

pub(super) async fn that_are_none_leave_nothing(world: &World<'_>) {
    let registry = &world.registry;
    let good = index(&[], "");
    let schema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let ambiguous = Bytes::from_static(br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#);
    let other_type = index(&[], &format!(r#","mediaType":"{IMAGE}""#));
    let no_json = Bytes::from_static(b"<html>");
    for (media_type, bytes) in [
        (Some(schema1), &good),
        (Some("application/json"), &good),
        (Some(IMAGE), &good),
        (None, &good),
        (Some(INDEX), &ambiguous),
        (Some(INDEX), &other_type),
        (Some(INDEX), &no_json),
    ] {
        let pushed = registry
            .put_manifest(
                &name("app"),
                Target::Tag(tag("v1")),
                media_type,
                bytes.clone(),
            )
            .await;
        assert_eq!(kind(pushed), ErrorKind::Invalid, "{media_type:?} {bytes:?}");
    }
    let another = Target::Digest(sha256(b"another"), vec![tag("v1")]);
    let pushed = registry
        .put_manifest(&name("app"), another, Some(INDEX), good.clone())
        .await;
    assert_eq!(kind(pushed), ErrorKind::DigestMismatch);
    let wrong = registry
        .put_blob(&name("app"), sha256(b"another"), good.clone())
        .await;
    assert_eq!(kind(wrong), ErrorKind::DigestMismatch);
    let settings = Settings {
        max_manifest: good.len() as u64 - 1,
        max_blob: good.len() as u64 - 1,
        ..Settings::default()
    };
    let small = world.with(settings, true).await;
    assert_eq!(
        kind(put(&small, "app", by_tag("v1"), INDEX, &good).await),
        ErrorKind::TooLarge
    );
    assert_eq!(
        kind(
            small
                .put_blob(&name("app"), sha256(&good), good.clone())
                .await
        ),
        ErrorKind::TooLarge
    );
    assert!(registry.catalog().await.expect("a list").is_empty());
    assert!(!registry.has(&name("app")).await.expect("known"));
    assert_eq!(kind(registry.tags(&name("app")).await), ErrorKind::NotFound);
    assert_eq!(registry.usage().await.expect("counted").bytes, 0);
}

pub(super) async fn need_what_they_name(world: &World<'_>) {
    let registry = &world.registry;
    let manifest = image(b"{}", b"layer", "");
    for (step, there) in [None, Some(&b"{}"[..]), Some(&b"layer"[..])]
        .into_iter()
        .enumerate()
    {
        if let Some(there) = there {
            // Elsewhere it does not help.
            put_blob(registry, "other", there).await;
            let pushed = put(registry, "app", by_tag("v1"), IMAGE, &manifest).await;
            assert_eq!(kind(pushed), ErrorKind::NotFound, "{step}");
            put_blob(registry, "app", there).await;
        }
        let pushed = put(registry, "app", by_tag("v1"), IMAGE, &manifest).await;
        match step {
            2 => drop(pushed.expect("stored")),
            _ => assert_eq!(kind(pushed), ErrorKind::NotFound, "{step}"),
        }
    }
    let missing = index(&[&manifest, b"a manifest that nobody pushed"], "");
    let error = put(registry, "app", by_tag("v2"), INDEX, &missing)
        .await
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let absent = sha256(b"a manifest that nobody pushed").to_string();
    assert!(error.message().contains(&absent), "{error}");
    assert_eq!(tags(registry, "app").await, ["v1"]);
}
