//! Random histories against a model, and the two sides of every race.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::clock::Clock;
use crate::config;
use crate::digest::Digest as Content;
use crate::names::TenantPath;
use crate::net::Clients;
use crate::oci::{Algorithm, Digest, Reference, RepoName, Tag};
use crate::store::registry::{HostedRegistry, Mounted, Target, layout};
use crate::store::{Parts, Places};

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const NOW: Rules = Rules {
    grace: MIN_GRACE,
    delete: true,
    untagged: false,
    belief: Some(Duration::ZERO),
};

struct World {
    folder: TempDir,
    clock: Clock,
    store: Arc<RegistryStore>,
}

impl World {
    async fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let clock = Clock::manual(jiff::Timestamp::now());
        let store = open(&folder, &clock).await;
        Self {
            folder,
            clock,
            store,
        }
    }

    /// Another process on the same folder.
    async fn other(&self) -> Arc<RegistryStore> {
        open(&self.folder, &self.clock).await
    }

    fn tenant(&self, path: &str) -> Arc<HostedRegistry> {
        let path = TenantPath::parse(path).expect("a path");
        self.store
            .tenant(&path, config::HostedRegistry::default(), true)
    }

    /// As the command does it: a process of its own.
    async fn collect(&self, rules: Rules) -> Collected {
        let store = self.other().await;
        store
            .collect(&rules, &|_, _, _| {})
            .await
            .expect("collected")
    }

    async fn holds(&self, content: &Content) -> bool {
        let stamp = self.store.place.stat(&layout::blob(content)).await;
        stamp.expect("a look").is_some()
    }

    fn wait(&self, time: Duration) {
        self.clock.advance(time);
    }
}

async fn open(folder: &TempDir, clock: &Clock) -> Arc<RegistryStore> {
    let config = config::Store::folder(folder.path().join("hosted"));
    let parts = Parts {
        state_dir: folder.path().join("cache").join("hosted"),
        clients: &Clients::new(),
        clock: clock.clone(),
        places: &Places::default(),
    };
    RegistryStore::open(&config, parts).await.expect("a store")
}

fn name(text: &str) -> RepoName {
    RepoName::parse(text).expect("a name")
}

fn tag(text: &str) -> Tag {
    Tag::parse(text).expect("a tag")
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

fn descriptor(media_type: &str, bytes: &[u8]) -> String {
    let (digest, size) = (sha256(bytes), bytes.len());
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
}

fn image(layers: &[&[u8]], subject: Option<&[u8]>) -> Bytes {
    let config = descriptor("application/vnd.example.config", b"{}");
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| descriptor("application/vnd.example.layer", layer))
        .collect();
    let layers = layers.join(",");
    let subject = subject.map_or_else(String::new, |subject| {
        format!(r#","subject":{}"#, descriptor(IMAGE, subject))
    });
    format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]{subject}}}"#).into()
}

fn index(children: &[&[u8]]) -> Bytes {
    let children: Vec<_> = children
        .iter()
        .map(|child| descriptor(IMAGE, child))
        .collect();
    let children = children.join(",");
    format!(r#"{{"schemaVersion":2,"manifests":[{children}]}}"#).into()
}

async fn blob(registry: &Arc<HostedRegistry>, repo: &str, bytes: &[u8]) -> Content {
    let data = Bytes::copy_from_slice(bytes);
    registry
        .put_blob(&name(repo), sha256(bytes), data)
        .await
        .expect("stored");
    Content::of(bytes)
}

async fn manifest(
    registry: &Arc<HostedRegistry>,
    repo: &str,
    tags: &[&str],
    kind: &str,
    bytes: &Bytes,
) -> Result<()> {
    let tags = tags.iter().map(|text| tag(text)).collect();
    let target = Target::Digest(sha256(bytes), tags);
    registry
        .put_manifest(&name(repo), target, Some(kind), bytes.clone())
        .await
        .map(drop)
}

/// An image with one layer.
async fn push(registry: &Arc<HostedRegistry>, repo: &str, tags: &[&str], layer: &[u8]) -> Bytes {
    blob(registry, repo, b"{}").await;
    blob(registry, repo, layer).await;
    let bytes = image(&[layer], None);
    manifest(registry, repo, tags, IMAGE, &bytes)
        .await
        .expect("stored");
    bytes
}

const LONG: Duration = Duration::from_hours(27);

#[tokio::test]
async fn what_was_deleted_goes_when_it_is_old_and_everything_else_stays() {
    let world = World::new().await;
    let (acme, other) = (world.tenant("acme"), world.tenant("a/b"));
    let kept = push(&acme, "app", &["1"], b"shared").await;
    let gone = push(&acme, "app", &["2"], b"own").await;
    push(&other, "app", &["1"], b"theirs").await;
    world.wait(LONG);
    let same = world.collect(NOW).await;
    assert_eq!(same.garbage, Tally::default());
    assert_eq!(same.contents.count, 7);

    acme.delete_manifest(&name("app"), &Reference::Digest(sha256(&gone)))
        .await
        .expect("deleted");
    let dry = world
        .collect(Rules {
            delete: false,
            ..NOW
        })
        .await;
    assert_eq!(dry.garbage.count, 2, "{dry:?}");
    assert!(world.holds(&Content::of(b"own")).await);
    let collected = world.collect(NOW).await;
    assert_eq!(collected.garbage, dry.garbage);
    assert_eq!(collected.broken, []);
    let acme_share = &collected.tenants[1];
    assert_eq!(acme_share.tenant, "acme");
    assert_eq!(acme_share.loose_blobs.count, 1);
    assert!(!world.holds(&Content::of(b"own")).await);
    assert!(!world.holds(&Content::of(&gone)).await);
    for bytes in [&kept[..], b"shared", b"theirs", b"{}"] {
        assert!(world.holds(&Content::of(bytes)).await);
    }
    let again = world.collect(NOW).await;
    assert_eq!(again.garbage, Tally::default());
    assert_eq!(again.strays, 0);
}

#[tokio::test]
async fn the_young_stay() {
    let world = World::new().await;
    let acme = world.tenant("acme");
    let layer = blob(&acme, "app", b"a layer whose manifest comes later").await;
    // Bytes whose link never came: a process died between.
    let orphan = Bytes::from_static(b"orphan");
    let place = &world.store.place;
    let key = layout::blob(&Content::of(&orphan));
    place
        .write(&key, orphan.clone(), crate::object::Existing::Refuse)
        .await
        .expect("written");
    for hours in [0, 1] {
        world.wait(Duration::from_hours(hours));
        assert_eq!(world.collect(NOW).await.spared.count, 1);
    }
    world.wait(Duration::from_hours(2));
    assert_eq!(world.collect(NOW).await.garbage.count, 1);
    assert!(!world.holds(&Content::of(&orphan)).await);
    // A push may go on for a day, blob by blob.
    world.wait(Duration::from_hours(22));
    assert_eq!(world.collect(NOW).await.garbage.count, 0);
    assert!(world.holds(&layer).await);
    world.wait(Duration::from_hours(2));
    assert_eq!(world.collect(NOW).await.garbage.count, 1);
    assert!(!world.holds(&layer).await);
    // The repository held nothing else.
    world.wait(Duration::from_secs(5));
    assert!(acme.catalog().await.expect("a list").is_empty());
    let short = Rules {
        grace: Duration::from_mins(119),
        ..NOW
    };
    assert!(world.store.collect(&short, &|_, _, _| {}).await.is_err());
}

#[tokio::test]
async fn untagged_manifests_go_only_if_asked_and_with_all_that_hangs_on_them() {
    let world = World::new().await;
    let acme = world.tenant("acme");
    let child = push(&acme, "app", &[], b"child").await;
    let parent = index(&[&child]);
    manifest(&acme, "app", &["latest"], INDEX, &parent)
        .await
        .expect("stored");
    let loose = push(&acme, "app", &[], b"loose").await;
    for subject in [&child, &loose] {
        let signature = image(&[], Some(subject));
        manifest(&acme, "app", &[], IMAGE, &signature)
            .await
            .expect("stored");
    }
    world.wait(LONG);
    assert_eq!(world.collect(NOW).await.garbage.count, 0);
    let young = push(&acme, "app", &[], b"young").await;
    let untagged = Rules {
        untagged: true,
        ..NOW
    };
    let collected = world.collect(untagged).await;
    assert_eq!(
        collected.tenants[0].loose_manifests.count, 2,
        "{collected:?}"
    );
    assert!(!world.holds(&Content::of(&loose)).await);
    assert!(!world.holds(&Content::of(b"loose")).await);
    for bytes in [&child[..], &parent, b"child", &young, b"young"] {
        assert!(world.holds(&Content::of(bytes)).await);
    }
    world.wait(Duration::from_secs(5));
    let listed = acme.referrers(&name("app"), &sha256(&loose)).await;
    assert!(listed.expect("a list").is_empty());
    let listed = acme.referrers(&name("app"), &sha256(&child)).await;
    assert_eq!(listed.expect("a list").len(), 1);
}

#[tokio::test]
async fn damage_is_told_and_touches_nothing() {
    let world = World::new().await;
    let acme = world.tenant("acme");
    let bytes = push(&acme, "app", &["1"], b"layer").await;
    let other = push(&acme, "other", &["1"], b"another").await;
    let place = &world.store.place;
    place
        .remove(&layout::blob(&Content::of(b"layer")))
        .await
        .expect("removed");
    let keys = layout::Repo::new("acme", "other");
    place
        .remove(&keys.link(&sha256(&other)))
        .await
        .expect("removed");
    world.wait(LONG);
    let broken = world.collect(NOW).await.broken;
    let told: Vec<_> = broken
        .iter()
        .map(|broken| (broken.repository.as_str(), broken.message.as_str()))
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].0 == "app" && told[0].1.contains(&sha256(b"layer").to_string()));
    assert!(told[1].0 == "other" && told[1].1.contains("tag `1`"));
    assert!(world.holds(&Content::of(&bytes)).await);
    // A record that nobody can read stops everything: what it needs is not known.
    let link = layout::Repo::new("acme", "app").link(&sha256(b"layer"));
    place
        .write(&link, "{".into(), crate::object::Existing::Replace)
        .await
        .expect("written");
    let result = world.store.collect(&NOW, &|_, _, _| {}).await;
    assert!(result.is_err());
}

/// A process died between the last link and the mark: the repository is in the catalog, and holds nothing.
#[tokio::test]
async fn repositories_that_hold_nothing_leave_the_catalog() {
    let world = World::new().await;
    let acme = world.tenant("acme");
    push(&acme, "app", &["1"], b"layer").await;
    let ghost = layout::Repo::new("acme", "gone").mark;
    let place = &world.store.place;
    place
        .write(&ghost, Bytes::new(), crate::object::Existing::Replace)
        .await
        .expect("written");
    let names = async || acme.catalog().await.expect("a catalog");
    assert_eq!(names().await, [name("app"), name("gone")]);
    let dry = world.collect(Rules::default()).await;
    assert_eq!((dry.strays, names().await.len()), (1, 2));
    let done = world.collect(NOW).await;
    assert_eq!((done.strays, names().await), (1, vec![name("app")]));
    assert_eq!(world.collect(NOW).await.strays, 0);
}

/// Side one: the bytes are used again before the announcement is there. The collection sees it.
#[tokio::test]
async fn bytes_that_are_used_again_just_before_their_end_stay() {
    let world = World::new().await;
    let acme = world.tenant("acme");
    let content = blob(&acme, "app", b"old").await;
    acme.delete_blob(&name("app"), &sha256(b"old"))
        .await
        .expect("deleted");
    world.wait(LONG);
    let other = world.other().await;
    let announcement = other.announce(&[content]).await.expect("announced");
    other.withdraw(&announcement).await.expect("withdrawn");
    // Marked as garbage, and now somebody pushes it to another repository.
    blob(&acme, "app2", b"old").await;
    assert!(!other.is_old(&content, MIN_GRACE).await.expect("a look"));
    assert_eq!(world.collect(NOW).await.garbage.count, 0);
    let found = acme.blob(&name("app2"), &sha256(b"old")).await;
    assert!(found.is_ok());
}

/// Side two: the announcement comes first. The push waits, finds the bytes gone, and stores its own.
#[tokio::test]
async fn a_push_of_bytes_that_are_being_removed_stores_them_again() {
    let world = World::new().await;
    let acme = world.tenant("acme");
    let content = blob(&acme, "app", b"old").await;
    blob(&acme, "source", b"old").await;
    acme.delete_blob(&name("app"), &sha256(b"old"))
        .await
        .expect("deleted");
    world.wait(LONG);
    let other = world.other().await;
    let announcement = other.announce(&[content]).await.expect("announced");
    assert!(other.is_old(&content, MIN_GRACE).await.expect("a look"));

    let pushing = Arc::clone(&acme);
    let push = tokio::spawn(async move { blob(&pushing, "app", b"old").await });
    let mounting = Arc::clone(&acme);
    let mount = tokio::spawn(async move {
        let (to, from) = (name("app3"), name("source"));
        mounting
            .mount(&to, &sha256(b"old"), Mounted::From(&from))
            .await
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!push.is_finished() && !mount.is_finished());
    other
        .place
        .remove(&layout::blob(&content))
        .await
        .expect("removed");
    other.withdraw(&announcement).await.expect("withdrawn");
    push.await.expect("stored");
    assert!(world.holds(&content).await);
    assert!(acme.blob(&name("app"), &sha256(b"old")).await.is_ok());
    // Without bytes of its own a mount says no, or came after the push.
    if mount.await.expect("an end").expect("an answer") {
        assert!(acme.blob(&name("app3"), &sha256(b"old")).await.is_ok());
    }
}

/// An image whose layer nobody has needed for long: what its manifest finds, it keeps.
#[tokio::test]
async fn a_manifest_over_old_layers_keeps_them_or_is_refused() {
    let world = World::new().await;
    let acme = world.tenant("acme");
    blob(&acme, "app", b"{}").await;
    let layer = blob(&acme, "app", b"layer").await;
    world.wait(LONG);
    let bytes = image(&[b"layer"], None);
    manifest(&acme, "app", &["1"], IMAGE, &bytes)
        .await
        .expect("its layer is there");
    // Its age is new, so even a collection that marked before spares it.
    let other = world.other().await;
    assert!(!other.is_old(&layer, MIN_GRACE).await.expect("a look"));

    blob(&acme, "app", b"late").await;
    world.wait(LONG);
    acme.tags(&name("app")).await.expect("tags");
    world.collect(NOW).await;
    let bytes = image(&[b"late"], None);
    let refused = manifest(&acme, "app", &["2"], IMAGE, &bytes).await;
    assert_eq!(
        refused.expect_err("gone").kind(),
        crate::error::ErrorKind::NotFound
    );
}

#[tokio::test]
async fn announcements_of_dead_processes_stop_nobody_for_long() {
    let world = World::new().await;
    let acme = world.tenant("acme");
    let content = blob(&acme, "app", b"old").await;
    world.wait(LONG);
    let other = world.other().await;
    let dead = other.announce(&[content]).await.expect("announced");
    assert!(dead.holds(world.clock.now()));
    world.wait(Duration::from_mins(10));
    assert!(!dead.holds(world.clock.now()));
    blob(&acme, "app", b"old").await;
    world.wait(Duration::from_mins(10));
    assert_eq!(world.collect(NOW).await.strays, 1);
}

/// One step of a history.
#[derive(Clone, Debug)]
enum Event {
    PushBlob(u8, u8),
    PushImage(u8, u8, Option<u8>),
    PushIndex(u8, u8, Option<u8>),
    Tag(u8, u8, u8),
    DeleteTag(u8, u8),
    DeleteImage(u8, u8),
    DeleteBlob(u8, u8),
    Mount(u8, u8, u8),
    /// Bytes that a process stored before it died.
    Orphan(u8),
    /// A collection that dies between its links and its bytes is one that runs twice: it runs here at random anyway.
    Collect(bool),
    Wait(u8),
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    let (repo, thing, tag) = (0..3_u8, 0..5_u8, 0..3_u8);
    prop_oneof![
        1 => (repo.clone(), thing.clone()).prop_map(|(r, t)| Event::PushBlob(r, t)),
        4 => (repo.clone(), thing.clone(), proptest::option::of(tag.clone()))
            .prop_map(|(r, t, g)| Event::PushImage(r, t, g)),
        2 => (repo.clone(), thing.clone(), proptest::option::of(tag.clone()))
            .prop_map(|(r, t, g)| Event::PushIndex(r, t, g)),
        1 => (repo.clone(), thing.clone(), tag.clone()).prop_map(|(r, t, g)| Event::Tag(r, t, g)),
        1 => (repo.clone(), tag).prop_map(|(r, g)| Event::DeleteTag(r, g)),
        2 => (repo.clone(), thing.clone()).prop_map(|(r, t)| Event::DeleteImage(r, t)),
        1 => (repo.clone(), thing.clone()).prop_map(|(r, t)| Event::DeleteBlob(r, t)),
        1 => (repo.clone(), repo, thing.clone()).prop_map(|(a, b, t)| Event::Mount(a, b, t)),
        1 => thing.prop_map(Event::Orphan),
        3 => any::<bool>().prop_map(Event::Collect),
        4 => prop_oneof![Just(1_u8), Just(3), Just(14), Just(30)].prop_map(Event::Wait),
        1 => Just(Event::Restart),
    ]
}

const REPOS: [(&str, &str); 3] = [("acme", "app"), ("acme", "deep/er"), ("other", "app")];

fn layer(thing: u8) -> Vec<u8> {
    format!("layer {thing}").into_bytes()
}

/// Neighbours share a layer.
fn image_of(thing: u8) -> Bytes {
    image(&[&layer(thing), &layer((thing + 1) % 5)], None)
}

fn index_of(thing: u8) -> Bytes {
    index(&[&image_of(thing), &image_of((thing + 2) % 5)])
}

/// What clients were promised: what is in each repository.
#[derive(Default)]
struct Model {
    tags: BTreeMap<(u8, u8), Digest>,
    manifests: BTreeSet<(u8, Digest)>,
}

struct History {
    world: World,
    model: Model,
    /// Every document by its digest.
    documents: BTreeMap<Digest, Bytes>,
}

impl History {
    fn registry(&self, repo: u8) -> (Arc<HostedRegistry>, &'static str) {
        let (tenant, repo) = REPOS[usize::from(repo)];
        (self.world.tenant(tenant), repo)
    }

    async fn put(&mut self, repo: u8, bytes: &Bytes, kind: &str, tag: Option<u8>) -> Result<()> {
        let (registry, own) = self.registry(repo);
        let text = tag.map(|tag| format!("t{tag}"));
        let tags: Vec<&str> = text.as_deref().into_iter().collect();
        manifest(&registry, own, &tags, kind, bytes).await?;
        self.documents.insert(sha256(bytes), bytes.clone());
        self.model.manifests.insert((repo, sha256(bytes)));
        if let Some(tag) = tag {
            self.model.tags.insert((repo, tag), sha256(bytes));
        }
        Ok(())
    }

    async fn put_image(&mut self, repo: u8, thing: u8, tag: Option<u8>) {
        let (registry, own) = self.registry(repo);
        for bytes in [b"{}".to_vec(), layer(thing), layer((thing + 1) % 5)] {
            blob(&registry, own, &bytes).await;
        }
        self.put(repo, &image_of(thing), IMAGE, tag)
            .await
            .expect("its layers were pushed just now");
    }

    async fn step(&mut self, event: &Event) {
        match *event {
            Event::PushBlob(repo, thing) => {
                let (registry, own) = self.registry(repo);
                blob(&registry, own, &layer(thing)).await;
            }
            Event::PushImage(repo, thing, tag) => self.put_image(repo, thing, tag).await,
            Event::PushIndex(repo, thing, tag) => {
                self.put_image(repo, thing, None).await;
                self.put_image(repo, (thing + 2) % 5, None).await;
                self.put(repo, &index_of(thing), INDEX, tag)
                    .await
                    .expect("its manifests were pushed just now");
            }
            // As `crane tag` does it: the manifest is pushed again, without its layers.
            Event::Tag(repo, thing, tag) => {
                let _ = self.put(repo, &image_of(thing), IMAGE, Some(tag)).await;
            }
            Event::DeleteTag(repo, number) => {
                let (registry, own) = self.registry(repo);
                let reference = Reference::Tag(tag(&format!("t{number}")));
                let _ = registry.delete_manifest(&name(own), &reference).await;
                self.model.tags.remove(&(repo, number));
            }
            Event::DeleteImage(repo, thing) => {
                let (registry, own) = self.registry(repo);
                let digest = sha256(&image_of(thing));
                let reference = Reference::Digest(digest);
                let _ = registry.delete_manifest(&name(own), &reference).await;
                self.model.manifests.remove(&(repo, digest));
                self.model
                    .tags
                    .retain(|(at, _), meant| *at != repo || *meant != digest);
            }
            Event::DeleteBlob(repo, thing) => {
                let (registry, own) = self.registry(repo);
                let _ = registry
                    .delete_blob(&name(own), &sha256(&layer(thing)))
                    .await;
            }
            Event::Mount(to, from, thing) => {
                let (registry, own) = self.registry(to);
                let from = name(REPOS[usize::from(from)].1);
                let digest = sha256(&layer(thing));
                let mounted = registry
                    .mount(&name(own), &digest, Mounted::From(&from))
                    .await;
                if mounted.expect("an answer") {
                    assert!(registry.blob(&name(own), &digest).await.is_ok());
                }
            }
            Event::Orphan(thing) => {
                let bytes = Bytes::from(layer(thing));
                let content = Content::of(&bytes);
                let stored = self.world.store.put_bytes(&content, bytes).await;
                stored.expect("stored");
            }
            Event::Collect(untagged) => {
                let collected = self.world.collect(Rules { untagged, ..NOW }).await;
                assert_eq!(collected.broken, []);
                if untagged {
                    self.forget_untagged().await;
                }
            }
            Event::Wait(hours) => self.world.wait(Duration::from_hours(u64::from(hours))),
            Event::Restart => self.world.store = self.world.other().await,
        }
        // What others removed is believed for a second.
        self.world.wait(Duration::from_secs(2));
    }

    /// What the policy may have taken: nothing that a tag reaches.
    async fn forget_untagged(&mut self) {
        self.world.wait(Duration::from_secs(2));
        let mut reached: BTreeSet<(u8, Digest)> = BTreeSet::new();
        let mut open: Vec<(u8, Digest)> = self
            .model
            .tags
            .iter()
            .map(|((repo, _), digest)| (*repo, *digest))
            .collect();
        while let Some((repo, digest)) = open.pop() {
            reached.insert((repo, digest));
            let indexes = (0..5).filter(|thing| sha256(&index_of(*thing)) == digest);
            open.extend(indexes.flat_map(|thing| {
                [thing, (thing + 2) % 5].map(|child| (repo, sha256(&image_of(child))))
            }));
        }
        for (repo, digest) in self.model.manifests.clone() {
            let (registry, own) = self.registry(repo);
            let found = registry
                .manifest(&name(own), &Reference::Digest(digest))
                .await;
            if found.is_err() {
                assert!(!reached.contains(&(repo, digest)), "{digest} has a tag");
                self.model.manifests.remove(&(repo, digest));
            }
        }
    }

    /// Nothing that was promised is missing.
    async fn check(&self) {
        for ((repo, number), digest) in &self.model.tags {
            let (registry, own) = self.registry(*repo);
            let reference = Reference::Tag(tag(&format!("t{number}")));
            let found = registry.manifest(&name(own), &reference).await;
            assert_eq!(found.expect("tagged").digest, *digest);
        }
        for (repo, digest) in &self.model.manifests {
            let (registry, own) = self.registry(*repo);
            let reference = Reference::Digest(*digest);
            let found = registry.manifest(&name(own), &reference).await;
            assert_eq!(found.expect("pushed").bytes, self.documents[digest]);
            for thing in 0..5 {
                if sha256(&image_of(thing)) != *digest {
                    continue;
                }
                for bytes in [b"{}".to_vec(), layer(thing), layer((thing + 1) % 5)] {
                    assert!(self.world.holds(&Content::of(&bytes)).await, "{thing}");
                }
            }
        }
    }

    /// When everything is deleted and old, nothing is left.
    async fn end(&mut self) {
        for (repo, digest) in self.model.manifests.clone() {
            let (registry, own) = self.registry(repo);
            let reference = Reference::Digest(digest);
            let _ = registry.delete_manifest(&name(own), &reference).await;
        }
        self.world.wait(LONG);
        self.world.collect(NOW).await;
        let left = self.world.collect(NOW).await;
        assert_eq!(left.contents, Tally::default(), "{left:?}");
        for share in &left.tenants {
            assert_eq!(share.repositories, 0, "{share:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn nothing_that_is_needed_ever_goes_and_nothing_else_stays(
        events in proptest::collection::vec(event(), 1..30)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut history = History {
                world: World::new().await,
                model: Model::default(),
                documents: BTreeMap::new(),
            };
            for event in &events {
                history.step(event).await;
                history.check().await;
            }
            // Whatever happened before: all that is left is old now.
            for event in [Event::Wait(30), Event::Collect(false), Event::Wait(3), Event::Collect(true)] {
                history.step(&event).await;
                history.check().await;
            }
            history.end().await;
        });
    }
}
