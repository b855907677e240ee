use std::time::Duration;

use chartgate::error::ErrorKind;
use chartgate::repository::Origin;
use chartgate::repository::registry::{ProxyRegistry, RegistryRepository as _};

use super::{World, assert_error, blob, manifest, name, reference, upstream};
use crate::support::fake::{FakeRegistry, Fault, HeadStyle, Row, RunningRegistry, Spot};

fn stored() -> RunningRegistry {
    FakeRegistry::open().image("a/b", "1").run()
}

/// HEADs and GETs of manifests since last asked.
fn asked(fake: &RunningRegistry) -> (usize, usize) {
    let counts = (fake.count(Spot::Heads), fake.count(Spot::Manifests));
    fake.forget();
    counts
}

async fn held(fake: &RunningRegistry, hub: &ProxyRegistry) {
    manifest(hub, "a/b", "1").await.expect("there");
    fake.forget();
}

#[tokio::test]
async fn a_fresh_tag_costs_nothing_and_an_expired_one_a_head() {
    let (world, fake) = (World::new().await, stored());
    let hub = world.hub(&fake);
    let image = fake.image("a/b", "1");
    let first = manifest(&hub, "a/b", "1").await.expect("there");
    assert_eq!(first.bytes, image.manifest);
    assert_eq!(first.digest.to_string(), image.digest);
    assert_eq!(first.source.origin, Origin::Miss);
    assert_eq!(asked(&fake), (1, 1));

    world.advance(299);
    let again = manifest(&hub, "a/b", "1").await.expect("held");
    assert_eq!(again.source.origin, Origin::Hit);
    assert_eq!(again.source.age, Some(Duration::from_secs(299)));
    assert_eq!(again.source.stale, None);
    assert_eq!(asked(&fake), (0, 0));

    world.advance(1);
    let confirmed = manifest(&hub, "a/b", "1").await.expect("confirmed");
    assert_eq!(confirmed.bytes, image.manifest);
    assert_eq!(confirmed.source.age, Some(Duration::ZERO));
    assert_eq!(confirmed.source.origin, Origin::Hit);
    assert_eq!(asked(&fake), (1, 0));
    world.advance(299);
    held(&fake, &hub).await;
}

#[tokio::test]
async fn a_tag_that_moves_is_fetched_once_and_one_that_moves_back_is_not() {
    let (world, fake) = (World::new().await, stored());
    let hub = world.hub(&fake);
    let before = fake.image("a/b", "1");
    held(&fake, &hub).await;
    let after = fake.add("a/b", "1", 60_000);
    world.advance(300);
    let moved = manifest(&hub, "a/b", "1").await.expect("moved");
    assert_eq!(moved.bytes, after.manifest);
    assert_eq!(moved.source.origin, Origin::Miss);
    assert_eq!(asked(&fake), (1, 1));
    // By its digest, so that a tag that moves meanwhile cannot mix two images.
    let back = fake.add("a/b", "1", 50_000);
    assert_eq!(back.digest, before.digest);
    world.advance(300);
    let moved = manifest(&hub, "a/b", "1").await.expect("moved back");
    assert_eq!(moved.bytes, before.manifest);
    assert_eq!(asked(&fake), (1, 0), "held and linked: no GET");
}

#[tokio::test]
async fn always_and_never_asking() {
    let (world, fake) = (World::new().await, stored());
    let eager = world.open(upstream(&fake).with(|oci| oci.tag_ttl = Some(Duration::ZERO)));
    held(&fake, &eager).await;
    for _ in 0..3 {
        manifest(&eager, "a/b", "1").await.expect("there");
    }
    assert_eq!(asked(&fake), (3, 0));
    let never = world.open(upstream(&fake).with(|oci| oci.tag_ttl = None));
    world.advance(10 * 365 * 86_400);
    let old = manifest(&never, "a/b", "1").await.expect("held");
    assert_eq!(old.source.stale, None);
    assert_eq!(asked(&fake), (0, 0));
}

#[tokio::test]
async fn registries_whose_head_is_of_no_use() {
    for style in [
        HeadStyle::WithoutDigest,
        HeadStyle::Status(405),
        HeadStyle::Status(501),
        HeadStyle::Status(400),
    ] {
        let world = World::new().await;
        let fake = FakeRegistry::open().head(style).image("a/b", "1").run();
        let hub = world.hub(&fake);
        let first = manifest(&hub, "a/b", "1").await.expect("there");
        assert_eq!(first.bytes, fake.image("a/b", "1").manifest);
        assert_eq!(asked(&fake), (1, 1));
        world.advance(300);
        manifest(&hub, "a/b", "1").await.expect("the same");
        let conditions: Vec<_> = fake.asked(Spot::Manifests);
        let condition = conditions[0].head.header("if-none-match");
        assert_eq!(condition, Some(format!("\"{}\"", first.digest).as_str()));
        assert_eq!(asked(&fake), (1, 1));
        let after = fake.add("a/b", "1", 60_000);
        world.advance(300);
        let moved = manifest(&hub, "a/b", "1").await.expect("moved");
        assert_eq!(moved.bytes, after.manifest);
    }
}

#[tokio::test]
async fn a_tag_that_the_upstream_removed_is_gone_and_not_asked_for_again_at_once() {
    let (world, fake) = (World::new().await, stored());
    let hub = world.hub(&fake);
    held(&fake, &hub).await;
    world.advance(300);
    fake.fault(Spot::Heads, Fault::Status(404));
    for _ in 0..3 {
        assert_error(manifest(&hub, "a/b", "1").await, ErrorKind::NotFound, "hub");
    }
    assert_eq!(asked(&fake), (1, 0));
    fake.heal();
    world.advance(29);
    assert_error(manifest(&hub, "a/b", "1").await, ErrorKind::NotFound, "hub");
    assert_eq!(asked(&fake), (0, 0));
    world.advance(1);
    manifest(&hub, "a/b", "1").await.expect("back again");
    assert_eq!(asked(&fake).0, 1);

    // One that never was.
    for _ in 0..3 {
        assert_error(manifest(&hub, "a/b", "2").await, ErrorKind::NotFound, "hub");
    }
    assert_eq!(asked(&fake).0, 1);
}

#[tokio::test]
async fn a_removed_tag_stays_where_that_is_configured() {
    let (world, fake) = (World::new().await, stored());
    let hub = world.open(upstream(&fake).with(|oci| oci.keep_removed = true));
    held(&fake, &hub).await;
    world.advance(300);
    fake.fault(Spot::Heads, Fault::Status(404));
    for _ in 0..3 {
        let kept = manifest(&hub, "a/b", "1").await.expect("kept");
        let why = kept.source.stale.expect("a warning");
        assert!(why.contains("404") && why.contains("15:59:01"), "{why}");
    }
    assert_eq!(asked(&fake), (1, 0));
    world.advance(30);
    manifest(&hub, "a/b", "1").await.expect("kept");
    assert_eq!(asked(&fake), (1, 0));
    assert_error(manifest(&hub, "a/b", "2").await, ErrorKind::NotFound, "hub");
}

#[tokio::test]
async fn what_is_refused_is_not_there_and_what_was_held_is_shown_for_a_while() {
    let world = World::new().await;
    let fake = FakeRegistry::of(Row::DockerHub).image("a/b", "1").run();
    let hub = world.hub(&fake);
    // Docker Hub refuses what does not exist.
    for _ in 0..2 {
        assert_error(
            manifest(&hub, "a/none", "1").await,
            ErrorKind::NotFound,
            "`hub`",
        );
    }
    let heads = asked(&fake).0;
    world.advance(10);
    assert_error(
        manifest(&hub, "a/none", "1").await,
        ErrorKind::NotFound,
        "`hub`",
    );
    assert_eq!(asked(&fake), (0, 0), "after {heads} heads");

    held(&fake, &hub).await;
    fake.fault(Spot::Heads, Fault::Status(403));
    world.advance(3600);
    let stale = manifest(&hub, "a/b", "1").await.expect("still shown");
    assert!(stale.source.stale.expect("a warning").contains("403"));
    assert_eq!(asked(&fake), (1, 0));
    manifest(&hub, "a/b", "1").await.expect("still shown");
    assert_eq!(asked(&fake), (0, 0), "not asked again at once");
    world.advance(31);
    assert_error(
        manifest(&hub, "a/b", "1").await,
        ErrorKind::NotFound,
        "answered 403",
    );
    // The record stays: when the upstream opens again nothing is fetched.
    fake.heal();
    asked(&fake);
    world.advance(31);
    manifest(&hub, "a/b", "1").await.expect("allowed again");
    assert_eq!(asked(&fake), (1, 0));
}

#[tokio::test]
async fn what_is_suffered_serves_what_is_held_and_never_says_that_it_is_absent() {
    for (fault, kind) in [
        (Fault::Status(429), ErrorKind::RateLimited),
        (Fault::Status(500), ErrorKind::UpstreamUnavailable),
        (Fault::Status(503), ErrorKind::UpstreamUnavailable),
        (Fault::Status(401), ErrorKind::UpstreamUnauthorized),
        (Fault::Status(403), ErrorKind::UpstreamUnavailable),
        (Fault::Close, ErrorKind::UpstreamUnavailable),
    ] {
        let (world, fake) = (World::new().await, stored());
        let hub = world.hub(&fake);
        held(&fake, &hub).await;
        fake.fault(Spot::All, fault.clone());
        world.advance(86_400 * 365);
        for _ in 0..6 {
            let stale = manifest(&hub, "a/b", "1").await.expect("held");
            assert_eq!(stale.bytes, fake.image("a/b", "1").manifest);
            assert_eq!(stale.source.age, Some(Duration::from_secs(86_400 * 365)));
            let why = stale.source.stale.expect("a warning");
            assert!(why.contains("`hub`") && why.contains("2026-11-20"), "{why}");
        }
        assert!(asked(&fake).0 <= 3, "left alone after some failures");
        let error = manifest(&hub, "a/b", "2").await.expect_err("nothing held");
        let allowed = [kind, ErrorKind::UpstreamUnavailable];
        assert!(allowed.contains(&error.kind()), "{fault:?}: {error:?}");
        // Another upstream that nobody left alone yet.
        let cold = world.open(upstream(&fake).named("cold"));
        assert_error(manifest(&cold, "a/b", "1").await, kind, "cold");
    }
}

#[tokio::test]
async fn a_429_says_when_to_come_back_and_is_kept() {
    let (world, fake) = (World::new().await, stored());
    let hub = world.hub(&fake);
    let after = vec![("Retry-After".to_owned(), "120".to_owned())];
    fake.fault(Spot::Heads, Fault::StatusWith(429, after));
    let error = assert_error(
        manifest(&hub, "a/b", "1").await,
        ErrorKind::RateLimited,
        "hub",
    );
    assert_eq!(error.retry_after(), Some(Duration::from_secs(120)));
    fake.heal();
    assert_error(
        manifest(&hub, "a/b", "1").await,
        ErrorKind::RateLimited,
        "hub",
    );
    assert_eq!(asked(&fake), (1, 0));
    let state = hub.state();
    assert_eq!(state.state, "failing");
    assert_eq!(state.paused[0].requests, "heads");
    assert_eq!(state.paused[0].seconds, 120);
    world.advance(120);
    held(&fake, &hub).await;
    let state = hub.state();
    assert_eq!((state.state, state.tags, state.repositories), ("ok", 1, 1));
    assert!(state.paused.is_empty() && state.last_error.is_none());
}

#[tokio::test]
async fn staleness_can_be_bounded() {
    let (world, fake) = (World::new().await, stored());
    let hub = world.open(upstream(&fake).with(|oci| oci.max_stale = Some(Duration::from_hours(2))));
    held(&fake, &hub).await;
    fake.fault(Spot::All, Fault::Status(503));
    world.advance(7200);
    manifest(&hub, "a/b", "1")
        .await
        .expect("old enough to be shown");
    world.advance(1);
    assert_error(
        manifest(&hub, "a/b", "1").await,
        ErrorKind::UpstreamUnavailable,
        "hub",
    );
}

#[tokio::test]
async fn who_has_something_to_show_does_not_wait_for_an_upstream_that_hangs() {
    let (world, fake) = (World::new().await, stored());
    let hub = world.open(upstream(&fake).impatient());
    held(&fake, &hub).await;
    let after = fake.add("a/b", "1", 60_000);
    let hold = fake.hold(Spot::Heads);
    world.advance(300);
    let stale = manifest(&hub, "a/b", "1").await.expect("held");
    assert!(stale.source.stale.expect("a warning").contains("within"));
    assert_eq!(hold.arrived(), 1);
    // What it says in the end counts for the next one. The question goes on though nobody waits.
    hold.release();
    let mut found = manifest(&hub, "a/b", "1").await.expect("there");
    for _ in 0..1000 {
        if found.bytes == after.manifest {
            break;
        }
        found = manifest(&hub, "a/b", "1").await.expect("there");
    }
    assert_eq!(found.bytes, after.manifest);
}

#[tokio::test]
async fn many_who_ask_at_once_are_one_question() {
    let (world, fake) = (World::new().await, stored());
    let hub = world.hub(&fake);
    let hold = fake.hold(Spot::Heads);
    let askers: Vec<_> = (0..50)
        .map(|_| {
            let hub = hub.clone();
            tokio::spawn(async move { manifest(&hub, "a/b", "1").await })
        })
        .collect();
    hold.waiting(1).await;
    // One who leaves stops nothing.
    askers[0].abort();
    hold.release();
    for asker in askers.into_iter().skip(1) {
        let found = asker.await.expect("no panic").expect("there");
        assert_eq!(found.bytes, fake.image("a/b", "1").manifest);
    }
    assert_eq!(asked(&fake), (1, 1));
}

/// A digest that a HEAD names is a claim: it must not be what the tag is before its bytes are held.
#[tokio::test]
async fn a_head_that_lies_changes_nothing() {
    let (world, fake) = (World::new().await, stored());
    let hub = world.hub(&fake);
    held(&fake, &hub).await;
    let before = fake.image("a/b", "1");
    let lie = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    fake.fault(
        Spot::Heads,
        Fault::Header("Docker-Content-Digest".to_owned(), lie.to_owned()),
    );
    world.advance(300);
    let found = manifest(&hub, "a/b", "1")
        .await
        .expect("what it sends counts");
    assert_eq!(found.bytes, before.manifest);
    assert_eq!(found.digest.to_string(), before.digest);
    // Bytes of another digest than the one it names, under both names.
    let cold = world.open(upstream(&fake).named("cold"));
    fake.fault(
        Spot::Manifests,
        Fault::Body(b"{\"schemaVersion\":2}".to_vec()),
    );
    world.advance(300);
    let stale = manifest(&hub, "a/b", "1").await.expect("held");
    assert!(stale.source.stale.is_some());
    let error = manifest(&cold, "a/b", "1").await.expect_err("nothing");
    assert_ne!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn tags_in_use_are_asked_for_before_they_expire() {
    let world = World::new().await;
    let fake = FakeRegistry::open()
        .image("a/b", "1")
        .image("a/b", "2")
        .run();
    let hub = world.hub(&fake);
    held(&fake, &hub).await;
    manifest(&hub, "a/b", "2").await.expect("there");
    assert_eq!(hub.refresh_ahead().await, 0, "still young");
    world.advance(230);
    manifest(&hub, "a/b", "1").await.expect("held");
    world.advance(80);
    fake.forget();
    // Only one was asked for within the last period.
    assert_eq!(hub.refresh_ahead().await, 1);
    assert_eq!(asked(&fake), (1, 0));
    world.advance(200);
    let fresh = manifest(&hub, "a/b", "1").await.expect("fresh");
    assert_eq!(fresh.source.age, Some(Duration::from_secs(200)));
    assert_eq!(asked(&fake), (0, 0));
    world.advance(301);
    assert_eq!(hub.refresh_ahead().await, 0, "not in use any more");
}

#[tokio::test]
async fn an_upstream_that_allows_little_is_asked_less() {
    let world = World::new().await;
    let fake = FakeRegistry::open().image("a/b", "1").run();
    let hub = world.hub(&fake);
    held(&fake, &hub).await;
    let low =
        |left: &str| Fault::Header("RateLimit-Remaining".to_owned(), format!("{left};w=21600"));
    fake.fault(Spot::All, low("0"));
    world.advance(300);
    held(&fake, &hub).await;
    assert!(hub.is_low());
    world.advance(1199);
    manifest(&hub, "a/b", "1").await.expect("held");
    assert_eq!(hub.refresh_ahead().await, 0);
    assert_eq!(asked(&fake), (0, 0));
    world.advance(1);
    fake.heal();
    fake.fault(Spot::All, low("90"));
    held(&fake, &hub).await;
    assert!(!hub.is_low());
    world.advance(300);
    manifest(&hub, "a/b", "1").await.expect("there");
    assert_eq!(asked(&fake), (1, 0));
}

#[tokio::test]
async fn schema_1_is_not_there_and_the_reason_is_told() {
    let world = World::new().await;
    let old = "application/vnd.docker.distribution.manifest.v1+json";
    let fake = FakeRegistry::open()
        .manifest("a/b", "old", old, r#"{"schemaVersion":1,"fsLayers":[]}"#)
        .run();
    let hub = world.hub(&fake);
    for _ in 0..3 {
        assert_error(
            manifest(&hub, "a/b", "old").await,
            ErrorKind::NotFound,
            "schema 1",
        );
    }
    assert_eq!(asked(&fake), (1, 1));
}

#[tokio::test]
async fn a_tag_whose_bytes_were_evicted_is_fetched_by_digest() {
    let (world, fake) = (World::new().await, stored());
    let hub = world.hub(&fake);
    let image = fake.image("a/b", "1");
    held(&fake, &hub).await;
    world.evict(&image.digest).await;
    // The tag has moved since, but is believed for its time.
    fake.add("a/b", "1", 60_000);
    world.advance(100);
    let found = manifest(&hub, "a/b", "1").await.expect("fetched again");
    assert_eq!(found.bytes, image.manifest);
    assert_eq!(found.source.age, Some(Duration::from_secs(100)));
    assert_eq!(asked(&fake), (0, 1));
}

/// What a tag names can be pulled without another question but for the bytes.
#[tokio::test]
async fn a_pull_is_a_head_a_manifest_and_its_blobs() {
    let (world, fake) = (World::new().await, stored());
    let hub = world.hub(&fake);
    let image = fake.image("a/b", "1");
    manifest(&hub, "a/b", "1").await.expect("there");
    let layer = blob(&hub, "a/b", &image.layer).await.expect("promised");
    assert_eq!(layer.length(), Some(50_000));
    assert_eq!(fake.count(Spot::Blobs), 0, "nobody wanted the bytes yet");
    let by_digest = hub
        .manifest(&name("a/b"), &reference(&image.digest))
        .await
        .expect("held");
    assert_eq!(by_digest.source.origin, Origin::Hit);
    assert_eq!(asked(&fake), (1, 1));
}
