use std::time::Duration;

use chartgate::error::ErrorKind;
use chartgate::oci::{Algorithm, Digest};
use chartgate::repository::Origin;
use chartgate::repository::registry::RegistryRepository as _;

use super::{World, assert_error, digest, name, texts, upstream};
use crate::support::fake::{FakeRegistry, Fault, Row, RunningRegistry, Spot};

fn stored() -> RunningRegistry {
    let fake = FakeRegistry::open().page(2);
    ["1", "2", "latest", "v3", "10"]
        .iter()
        .fold(fake, |fake, tag| fake.image("a/b", tag))
        .run()
}

#[tokio::test]
async fn tags_are_whole_sorted_and_believed_for_their_time() {
    let (mut world, fake) = (World::new().await, stored());
    let hub = world.hub(&fake);
    let all = ["1", "10", "2", "latest", "v3"];
    let first = hub.tags(&name("a/b")).await.expect("there");
    assert_eq!(texts(&first.items), all);
    assert_eq!(first.source.origin, Origin::Miss);
    let pages = fake.count(Spot::Tags);
    assert_eq!(pages, 3);
    world.advance(299);
    let held = hub.tags(&name("a/b")).await.expect("held");
    assert_eq!(texts(&held.items), all);
    assert_eq!(held.source.age, Some(Duration::from_secs(299)));
    assert_eq!(fake.count(Spot::Tags), pages);
    fake.add("a/b", "new", 10);
    world.advance(1);
    let again = hub.tags(&name("a/b")).await.expect("there");
    assert_eq!(again.items.len(), 6);
    // A restart forgets nothing.
    world.restart().await;
    let hub = world.hub(&fake);
    fake.forget();
    let held = hub.tags(&name("a/b")).await.expect("held");
    assert_eq!(held.items, again.items);
    assert_eq!(fake.count(Spot::All), 0);
}

#[tokio::test]
async fn lists_are_stale_rather_than_absent_while_nobody_can_say() {
    for fault in [Fault::Status(429), Fault::Status(503), Fault::Html] {
        let (world, fake) = (World::new().await, stored());
        let hub = world.open(upstream(&fake).with(|oci| {
            oci.max_stale = Some(Duration::from_hours(2));
        }));
        hub.tags(&name("a/b")).await.expect("there");
        fake.fault(Spot::All, fault);
        world.advance(7200);
        let stale = hub.tags(&name("a/b")).await.expect("held");
        assert_eq!(stale.items.len(), 5);
        let why = stale.source.stale.expect("a warning");
        assert!(why.contains("`hub`"), "{why}");
        world.advance(1);
        let error = hub.tags(&name("a/b")).await.expect_err("too old");
        assert!(error.is_transient(), "{error:?}");
        let error = hub.tags(&name("c/d")).await.expect_err("never held");
        assert!(error.is_transient(), "{error:?}");
    }
}

#[tokio::test]
async fn a_repository_that_is_not_there_has_no_tags() {
    for row in [Row::Plain, Row::DockerHub] {
        let fake = FakeRegistry::of(row).image("a/b", "1").run();
        let world = World::new().await;
        let hub = world.hub(&fake);
        for _ in 0..3 {
            let none = hub.tags(&name("c/d")).await;
            assert_error(none, ErrorKind::NotFound, "`hub`");
        }
        assert!(fake.count(Spot::Tags) <= 2, "{row:?}");
        hub.tags(&name("a/b")).await.expect("there");
        fake.fault(Spot::Tags, Fault::Status(404));
        world.advance(300);
        let gone = hub.tags(&name("a/b")).await;
        assert_error(gone, ErrorKind::NotFound, "`hub`");
    }
}

#[tokio::test]
async fn referrers_are_never_absent() {
    let subject = Digest::of(Algorithm::Sha256, b"subject").to_string();
    for fake in [FakeRegistry::open(), FakeRegistry::of(Row::Gar)] {
        let fake = fake
            .image("a/b", "1")
            .referrer("a/b", &subject, "x/one")
            .referrer("a/b", &subject, "x/two")
            .run();
        let world = World::new().await;
        let hub = world.hub(&fake);
        let found = hub.referrers(&name("a/b"), &digest(&subject)).await;
        let found = found.expect("there");
        assert_eq!(found.items.len(), 2);
        let asked = fake.count(Spot::All);
        let held = hub.referrers(&name("a/b"), &digest(&subject)).await;
        assert_eq!(held.expect("held").items, found.items);
        assert_eq!(fake.count(Spot::All), asked);
        for (repository, subject) in [("a/b", b"none"), ("c/d", b"none")] {
            let subject = Digest::of(Algorithm::Sha256, subject);
            let none = hub.referrers(&name(repository), &subject).await;
            assert!(none.expect("empty").items.is_empty());
        }
        fake.fault(Spot::All, Fault::Status(503));
        world.advance(300);
        let stale = hub.referrers(&name("a/b"), &digest(&subject)).await;
        let stale = stale.expect("held");
        assert_eq!(stale.items, found.items);
        assert!(stale.source.stale.is_some());
        let unknown = Digest::of(Algorithm::Sha256, b"other");
        let error = hub.referrers(&name("a/b"), &unknown).await;
        assert!(error.expect_err("nobody knows").is_transient());
    }
}
