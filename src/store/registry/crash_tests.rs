//! A crash at every step of every change leaves nothing half visible, and the change can be done again.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use tempfile::TempDir;

use super::place::Place;
use super::*;
use crate::clock::Clock;
use crate::net::Clients;
use crate::oci::{Algorithm, Digest, Manifest, Reference, RepoName, Tag};
use crate::store::Places;

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

/// A folder, opened anew as after a crash.
struct World(TempDir);

impl World {
    async fn open(&self) -> Arc<HostedRegistry> {
        let parts = Parts {
            state_dir: self.0.path().join("state"),
            clients: &Clients::new(),
            clock: Clock::system(),
            places: &Places::default(),
        };
        let config = config::Store::folder(self.0.path().join("hosted"));
        let store = RegistryStore::open(&config, parts).await.expect("a store");
        let tenant = TenantPath::parse("team").expect("a path");
        store.tenant(&tenant, config::HostedRegistry::default(), true)
    }
}

/// A change, and the repository that it changes.
#[derive(Clone, Copy, Debug)]
enum Change {
    FirstBlob,
    Mount,
    Retag,
    TwoTags,
    Signature,
    DeleteTag,
    DeleteManifest,
    DeleteSignature,
    DeleteLastBlob,
}

const CHANGES: [Change; 9] = [
    Change::FirstBlob,
    Change::Mount,
    Change::Retag,
    Change::TwoTags,
    Change::Signature,
    Change::DeleteTag,
    Change::DeleteManifest,
    Change::DeleteSignature,
    Change::DeleteLastBlob,
];

fn name(text: &str) -> RepoName {
    RepoName::parse(text).expect("a name")
}

fn tag(text: &str) -> Tag {
    Tag::parse(text).expect("a tag")
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

fn image(text: &str, subject: Option<&Digest>) -> Bytes {
    let config = sha256(b"{}");
    let subject = subject.map_or(String::new(), |digest| {
        format!(r#","subject":{{"mediaType":"{IMAGE}","digest":"{digest}","size":1}}"#)
    });
    format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"a/b","digest":"{config}","size":2}},"layers":[],"annotations":{{"t":"{text}"}}{subject}}}"#
    )
    .into()
}

async fn blob(registry: &Arc<HostedRegistry>, repo: &str, bytes: &'static [u8]) -> Result<()> {
    let bytes = Bytes::from_static(bytes);
    registry.put_blob(&name(repo), sha256(&bytes), bytes).await
}

async fn put(registry: &Arc<HostedRegistry>, bytes: Bytes, tags: &[&str]) -> Result<()> {
    let target = Target::Digest(sha256(&bytes), tags.iter().map(|text| tag(text)).collect());
    registry
        .put_manifest(&name("app"), target, Some(IMAGE), bytes)
        .await
        .map(drop)
}

/// What is there before each change.
async fn prepare(registry: &Arc<HostedRegistry>) -> Result<()> {
    blob(registry, "app", b"{}").await?;
    blob(registry, "source", b"only").await?;
    let old = image("old", None);
    let subject = sha256(&old);
    put(registry, old, &["a", "b"]).await?;
    put(registry, image("signature", Some(&subject)), &[]).await?;
    put(registry, image("kept", None), &["kept"]).await
}

/// Copies a folder, without waiting for the disk.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            std::fs::create_dir(&target).expect("a folder");
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("copied");
        }
    }
}

async fn change(registry: &Arc<HostedRegistry>, change: Change) -> Result<()> {
    let app = name("app");
    let old = sha256(&image("old", None));
    let signature = sha256(&image("signature", Some(&old)));
    match change {
        Change::FirstBlob => blob(registry, "fresh", b"new").await,
        Change::Mount => {
            let source = name("source");
            let from = Mounted::From(&source);
            assert!(
                registry
                    .mount(&name("target"), &sha256(b"only"), from)
                    .await?
            );
            Ok(())
        }
        Change::Retag => put(registry, image("new", None), &["a"]).await,
        Change::TwoTags => put(registry, image("new", None), &["a", "c"]).await,
        Change::Signature => put(registry, image("another", Some(&old)), &["sig"]).await,
        Change::DeleteTag => {
            registry
                .delete_manifest(&app, &Reference::Tag(tag("a")))
                .await
        }
        Change::DeleteManifest => {
            registry
                .delete_manifest(&app, &Reference::Digest(old))
                .await
        }
        Change::DeleteSignature => {
            let signature = Reference::Digest(signature);
            registry.delete_manifest(&app, &signature).await
        }
        Change::DeleteLastBlob => {
            registry
                .delete_blob(&name("source"), &sha256(b"only"))
                .await
        }
    }
}

/// Everything that a client can see, each thing whole.
async fn see(world: &World, what: &str) -> Vec<String> {
    let registry = world.open().await;
    let mut seen = Vec::new();
    let catalog = registry.catalog().await.expect("a list");
    for repo in ["app", "source", "target", "fresh"].map(name) {
        let keys = layout::Repo::new("team", &layout::repo_segment(&repo));
        let links = registry
            .store
            .place
            .list(&keys.links())
            .await
            .expect("a list");
        // A sweep goes by the catalog: nothing may be shown by a repository that is not in it.
        assert!(
            links.is_empty() || catalog.contains(&repo),
            "{what}: {repo}"
        );
        for link in &links {
            let digest = layout::read_digest(&link.name).expect("a digest");
            let blob = registry.blob(&repo, &digest).await.expect(what);
            seen.push(format!("{repo} {digest} {}", blob.size));
            let manifest = registry.manifest(&repo, &Reference::Digest(digest)).await;
            let Ok(manifest) = manifest else { continue };
            assert!(digest.names(&manifest.bytes), "{what}");
            let inspected = Manifest::inspect(Some(IMAGE), &manifest.bytes, 10_000);
            for blob in inspected.expect("a manifest").blobs() {
                registry.blob(&repo, &blob.digest).await.expect(what);
            }
            let referrers = registry.referrers(&repo, &digest).await.expect("a list");
            for referrer in referrers.iter() {
                let found = Reference::Digest(referrer.digest);
                registry.manifest(&repo, &found).await.expect(what);
                seen.push(format!("{repo} {} refers to {digest}", referrer.digest));
            }
        }
        if !catalog.contains(&repo) {
            continue;
        }
        for tag in registry.tags(&repo).await.expect("a list").iter() {
            let found = registry.manifest(&repo, &Reference::Tag(tag.clone())).await;
            seen.push(format!("{repo}:{tag} {}", found.expect(what).digest));
        }
    }
    seen.sort();
    seen
}

#[tokio::test]
async fn at_any_step_leaves_everything_whole() {
    let prepared = World(TempDir::new().expect("a folder"));
    prepare(&prepared.open().await).await.expect("prepared");
    for kind in CHANGES {
        let whole = World(TempDir::new().expect("a folder"));
        copy(prepared.0.path(), whole.0.path());
        let registry = whole.open().await;
        let before = see(&whole, "before").await;
        change(&registry, kind).await.expect("changed");
        let after = see(&whole, "after").await;
        assert_ne!(before, after, "{kind:?}");
        let mut steps = 0;
        loop {
            let world = World(TempDir::new().expect("a folder"));
            copy(prepared.0.path(), world.0.path());
            let registry = world.open().await;
            let Place::Folder(folder) = &registry.store.place else {
                panic!("a folder was opened");
            };
            folder.left.store(steps, Ordering::SeqCst);
            let changed = change(&registry, kind).await;
            // Nothing is answered that does not survive.
            let what = format!("{kind:?} after {steps} steps");
            let seen = see(&world, &what).await;
            if changed.is_ok() {
                assert_eq!(seen, after, "{what}");
                break;
            }
            // Again, by whoever comes next: what was done already is either done again or found to be done.
            let again = change(&world.open().await, kind).await;
            if let Err(error) = again {
                assert_eq!(error.kind(), crate::error::ErrorKind::NotFound, "{what}");
            }
            assert_eq!(see(&world, &what).await, after, "{what}");
            steps += 1;
        }
        assert!(steps >= 2, "{kind:?} has {steps} steps");
    }
}

#[tokio::test]
async fn leaves_no_files_that_nobody_needs() {
    let world = World(TempDir::new().expect("a folder"));
    let registry = world.open().await;
    prepare(&registry).await.expect("prepared");
    let tmp = world.0.path().join("hosted/v2/tmp");
    assert_eq!(std::fs::read_dir(&tmp).expect("a folder").count(), 0);
    std::fs::write(tmp.join("of-a-dead-writer"), "half").expect("written");
    world.open().await;
    assert_eq!(std::fs::read_dir(&tmp).expect("a folder").count(), 0);
}
