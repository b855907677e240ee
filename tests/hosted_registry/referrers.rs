//! Who refers to whom.

use bytes::Bytes;
use chartgate::oci::{Algorithm, Descriptor, Digest, Reference, referrers};
use chartgate::store::registry::HostedRegistry;

use super::ground::*;

async fn of(registry: &HostedRegistry, subject: &Digest) -> Vec<Descriptor> {
    let found = registry.referrers(&name("app"), subject).await;
    found.expect("a list").to_vec()
}

fn subject(digest: &Digest) -> String {
    format!(r#","subject":{{"mediaType":"{IMAGE}","digest":"{digest}","size":7}}"#)
}

pub(super) async fn are_listed_and_go(world: &World<'_>) {
    let registry = &world.registry;
    let long = Digest::of(Algorithm::Sha512, b"a subject");
    let target = push(registry, "app", "v1", "subject").await;
    assert!(of(registry, &target).await.is_empty());
    let rest = subject(&target) + r#","artifactType":"a/signature","annotations":{"k":"v"}"#;
    let signature = with_blobs(registry, "app", "signature", &rest).await;
    let pushed = put(
        registry,
        "app",
        Reference::Digest(sha256(&signature)),
        IMAGE,
        &signature,
    )
    .await;
    assert_eq!(pushed.expect("stored").subject, Some(target));
    // Seen at once, though the list was known to be empty.
    let first = of(registry, &target).await;
    assert_eq!(first.len(), 1);
    assert_eq!(
        (first[0].digest, first[0].size),
        (sha256(&signature), signature.len() as u64)
    );
    assert_eq!(first[0].artifact_type.as_deref(), Some("a/signature"));
    assert_eq!(first[0].annotations.to_map()["k"], "v");
    assert_eq!(&*first[0].media_type, IMAGE);
    // Without a type of its own it is that of its config.
    let report = with_blobs(registry, "app", "report", &subject(&target)).await;
    put(registry, "app", by_tag("report"), IMAGE, &report)
        .await
        .expect("stored");
    let list = index(&[], &subject(&target));
    put(registry, "app", by_tag("list"), INDEX, &list)
        .await
        .expect("stored");
    let other = with_blobs(registry, "app", "other", &subject(&long)).await;
    put(registry, "app", by_tag("other"), IMAGE, &other)
        .await
        .expect("stored");
    for registry in [registry, &world.again().await] {
        let all = of(registry, &target).await;
        let mut digests = [&signature, &report, &list].map(|bytes| sha256(bytes));
        digests.sort();
        assert_eq!(
            all.iter().map(|one| one.digest).collect::<Vec<_>>(),
            digests
        );
        let kind = |bytes: &Bytes| {
            let one = all.iter().find(|one| one.digest == sha256(bytes));
            one.expect("listed").artifact_type.as_deref()
        };
        assert_eq!(kind(&report), Some("application/vnd.example.config"));
        assert_eq!(kind(&list), None);
        assert_eq!(of(registry, &long).await.len(), 1);
    }
    // What refers to it stays when it goes, and goes when it is deleted itself.
    let delete = async |digest| {
        let reference = Reference::Digest(digest);
        registry
            .delete_manifest(&name("app"), &reference)
            .await
            .expect("removed");
    };
    delete(target).await;
    assert_eq!(of(registry, &target).await.len(), 3);
    delete(sha256(&signature)).await;
    delete(sha256(&list)).await;
    for registry in [registry, &world.again().await] {
        let left = of(registry, &target).await;
        assert_eq!(
            left.iter().map(|one| one.digest).collect::<Vec<_>>(),
            [sha256(&report)]
        );
    }
}

pub(super) async fn of_old_clients_are_listed_too(world: &World<'_>) {
    let registry = &world.registry;
    let target = push(registry, "app", "v1", "subject").await;
    let own = with_blobs(registry, "app", "own", &subject(&target)).await;
    put(registry, "app", by_tag("own"), IMAGE, &own)
        .await
        .expect("stored");
    let fallback = referrers::fallback_tag(&target);
    // As an old client keeps it: manifests without a subject, in an index under a tag. One of them is both.
    let old = with_blobs(registry, "app", "old", "").await;
    put(
        registry,
        "app",
        Reference::Digest(sha256(&old)),
        IMAGE,
        &old,
    )
    .await
    .expect("stored");
    let mut digests = [sha256(&own), sha256(&old)];
    digests.sort();
    assert_eq!(of(registry, &target).await.len(), 1);
    let list = index(&[&old, &own], "");
    put(registry, "app", by_tag(fallback.as_str()), INDEX, &list)
        .await
        .expect("stored");
    for registry in [registry, &world.again().await] {
        let all = of(registry, &target).await;
        assert_eq!(
            all.iter().map(|one| one.digest).collect::<Vec<_>>(),
            digests
        );
        // Our own entry says more than the index.
        let ours = all
            .iter()
            .find(|one| one.digest == sha256(&own))
            .expect("listed");
        assert!(ours.artifact_type.is_some());
    }
    // What is deleted is not listed, though the index still names it.
    registry
        .delete_manifest(&name("app"), &Reference::Digest(sha256(&old)))
        .await
        .expect("removed");
    assert_eq!(of(registry, &target).await.len(), 1);
    // A tag of this form may mean anything.
    put(registry, "app", by_tag(fallback.as_str()), IMAGE, &own)
        .await
        .expect("stored");
    assert_eq!(of(registry, &target).await.len(), 1);
}
