//! What an upstream is asked: within its budget, by its own word, so many at a time.

use std::sync::Arc;
use std::time::Duration;

use chartgate::config::Budget;
use chartgate::error::{Error, ErrorKind};
use chartgate::repository::registry::ProxyRegistry;
use url::Url;

use super::{Upstream, World, manifest, pull, upstream, upstream_at};
use crate::support::fake::{FakeProxy, FakeRegistry, Fault, Row, RunningRegistry, Spot};

const SIX_HOURS: Duration = Duration::from_hours(6);

fn requests(limit: u32) -> Budget {
    Budget {
        requests: Some((limit, SIX_HOURS)),
        connections: None,
    }
}

fn at_once(connections: u32) -> Budget {
    Budget {
        requests: None,
        connections: Some(connections),
    }
}

impl Upstream {
    fn within(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }
}

/// A registry with tags `0`, `1`, … of one repository.
fn tags(mut fake: FakeRegistry, repository: &str, count: usize) -> FakeRegistry {
    for number in 0..count {
        fake = fake.image_of(repository, &number.to_string(), 100);
    }
    fake
}

/// The fake under the name of Docker Hub.
struct Hub {
    fake: RunningRegistry,
    proxy: FakeProxy,
}

impl Hub {
    fn run(fake: FakeRegistry) -> Self {
        let fake = fake.run();
        fake.known_as("http://registry-1.docker.io", "http://blobs.cdn.test");
        let proxy = FakeProxy::run(&[
            ("registry-1.docker.io:80", fake.address()),
            ("blobs.cdn.test:80", fake.address()),
        ]);
        Self { fake, proxy }
    }

    fn upstream(&self) -> Upstream {
        let proxy = Url::parse(&self.proxy.url()).expect("a URL");
        upstream_at("http://registry-1.docker.io/").proxied(proxy)
    }
}

#[track_caller]
fn assert_over(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::RateLimited, "{error}");
    assert!(error.message().contains("`hub`"), "{error}");
    assert!(
        error.message().contains("the next request is possible in"),
        "{error}"
    );
    assert!(
        error.retry_after().is_some_and(|wait| !wait.is_zero()),
        "{error}"
    );
}

#[tokio::test]
async fn no_six_hours_of_a_day_see_more_than_a_hundred_pulls_at_docker_hub() {
    let world = World::new().await;
    let hub = Hub::run(tags(FakeRegistry::open(), "a/b", 720));
    let proxy = world.open(hub.upstream().within(requests(100)));
    let (mut pulls, mut refused, mut sent) = (Vec::new(), 0, 0);
    // A new tag every two minutes: 180 in six hours.
    for number in 0..720 {
        let now = number * 120;
        match manifest(&proxy, "a/b", &number.to_string()).await {
            Ok(_) => {}
            Err(error) => {
                assert_over(&error);
                refused += 1;
            }
        }
        let count = hub.fake.count(Spot::Manifests);
        pulls.extend((sent..count).map(|_| now));
        sent = count;
        world.advance(120);
    }
    for (place, from) in pulls.iter().enumerate() {
        let window = pulls[place..].iter().take_while(|at| **at - from < 21_600);
        assert!(window.count() <= 100);
    }
    assert!(pulls.len() >= 380, "little is lost: {}", pulls.len());
    assert_eq!(pulls.len() + refused, 720);
    assert_eq!(hub.fake.count(Spot::Heads), 720, "they cost nothing");
}

#[tokio::test]
async fn a_flood_of_tags_gets_what_is_left_and_no_more() {
    let world = World::new().await;
    let hub = Hub::run(tags(FakeRegistry::open(), "a/b", 200));
    let proxy = world.open(hub.upstream().within(requests(100)));
    let pulls = (0..200).map(|number| {
        let proxy = Arc::clone(&proxy);
        tokio::spawn(async move { manifest(&proxy, "a/b", &number.to_string()).await })
    });
    let pulls: Vec<_> = pulls.collect();
    let (mut served, mut refused) = (Vec::new(), 0);
    for (number, pull) in pulls.into_iter().enumerate() {
        match pull.await.expect("no panic") {
            Ok(found) => served.push((number, found)),
            Err(error) => {
                assert_over(&error);
                refused += 1;
            }
        }
    }
    assert_eq!((served.len(), refused), (100, 100));
    assert_eq!(hub.fake.count(Spot::Manifests), 100);
    // What is held can still be had, and confirmed.
    world.advance(301);
    for (number, before) in served {
        let now = manifest(&proxy, "a/b", &number.to_string()).await;
        let now = now.expect("held");
        assert_eq!((now.digest, now.source.stale), (before.digest, None));
    }
    assert_eq!(hub.fake.count(Spot::Manifests), 100);
}

#[tokio::test]
async fn over_the_budget_what_is_held_is_served_stale() {
    let world = World::new().await;
    let fake = tags(FakeRegistry::open(), "a/b", 3).run();
    // Not Docker Hub: what is counted is not known, so all of it is.
    let hub = world.open(upstream(&fake).within(requests(4)));
    for tag in ["0", "1"] {
        manifest(&hub, "a/b", tag).await.expect("within the budget");
    }
    assert_eq!(fake.count(Spot::All), 4);
    assert!(hub.is_low());
    let error = manifest(&hub, "a/b", "2").await.expect_err("not held");
    assert_over(&error);
    let status = hub.state();
    assert!(status.paused.is_empty(), "the upstream is well: {status:?}");
    // Four times as long: little is left.
    world.advance(1199);
    let fresh = manifest(&hub, "a/b", "0").await.expect("held");
    assert_eq!(fresh.source.stale, None);
    world.advance(1);
    let stale = manifest(&hub, "a/b", "0").await.expect("held");
    let why = stale.source.stale.expect("it is older than it should be");
    assert!(
        why.contains("`upstreams.hub.budget.requests`") && why.contains("serving what it said"),
        "{why}"
    );
    assert_eq!(stale.source.age, Some(Duration::from_mins(20)));
    assert_eq!(fake.count(Spot::All), 4);
    world.advance(21_600);
    let fresh = manifest(&hub, "a/b", "0").await.expect("asked again");
    assert_eq!(fresh.source.stale, None);
    assert_eq!(fake.count(Spot::All), 5);
}

#[tokio::test]
async fn refusals_and_tokens_of_docker_hub_cost_nothing() {
    let world = World::new().await;
    let hub = Hub::run(
        FakeRegistry::of(Row::DockerHub)
            .image("a/b", "1")
            .image("c/d", "1"),
    );
    let proxy = world.open(hub.upstream().within(requests(2)));
    for name in ["a/b", "c/d"] {
        manifest(&proxy, name, "1")
            .await
            .expect("within the budget");
        let layer = hub.fake.image(name, "1").layer;
        pull(&proxy, name, &layer).await.expect("blobs are free");
    }
    assert!(hub.fake.count(Spot::Token) >= 2);
    assert_over(
        &manifest(
            &proxy,
            "a/b",
            "sha256:0000000000000000000000000000000000000000000000000000000000000000",
        )
        .await
        .expect_err("over"),
    );
    let left = proxy.state().budget.requests.expect("configured");
    assert_eq!((left.limit, left.remaining, left.spare), (2, 0, false));
    assert_eq!(proxy.state().allowance.expect("said").limit, Some(100));
}

#[tokio::test]
async fn nothing_left_by_its_own_word_is_nothing_left() {
    let world = World::new().await;
    let hub = Hub::run(tags(FakeRegistry::of(Row::DockerHub), "a/b", 2));
    let proxy = world.open(hub.upstream());
    let none = Fault::Header("RateLimit-Remaining".to_owned(), "0;w=21600".to_owned());
    hub.fake.fault(Spot::Heads, none);
    let error = manifest(&proxy, "a/b", "0").await.expect_err("not held");
    assert_over(&error);
    assert!(
        error.message().contains("none of its 100 requests is left"),
        "{error}"
    );
    assert_eq!(error.retry_after(), Some(Duration::from_secs(216)));
    assert_eq!(hub.fake.count(Spot::Manifests), 0);
    hub.fake.heal();
    world.advance(216);
    manifest(&proxy, "a/b", "0")
        .await
        .expect("tried after the time that was told");
    manifest(&proxy, "a/b", "1").await.expect("99 are left");
}

#[tokio::test]
async fn refresh_ahead_leaves_the_last_quarter_to_clients() {
    let world = World::new().await;
    let fake = tags(FakeRegistry::open(), "a/b", 3).run();
    let hub = world.open(upstream(&fake).within(requests(8)));
    for tag in ["0", "1"] {
        manifest(&hub, "a/b", tag).await.expect("within the budget");
    }
    world.advance(299);
    // Four are left, then three, then two: one by one they are asked for while more than two are.
    assert_eq!(hub.refresh_ahead().await, 2);
    assert_eq!(fake.count(Spot::All), 6);
    world.advance(299);
    for tag in ["0", "1"] {
        manifest(&hub, "a/b", tag).await.expect("held");
    }
    assert_eq!(hub.refresh_ahead().await, 0, "two are left");
    manifest(&hub, "a/b", "2").await.expect("for clients");
    assert_eq!(fake.count(Spot::All), 8);
    assert_over(
        &manifest(&hub, "a/b", "3")
            .await
            .expect_err("nothing is left"),
    );
}

/// Returns once so many requests wait for their turn.
async fn waiting(hub: &ProxyRegistry, count: usize) {
    let waiting = || hub.state().budget.connections.expect("limited").waiting;
    while waiting() < count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn there_are_never_more_requests_at_a_time() {
    let world = World::new().await;
    let mut fake = FakeRegistry::open();
    for number in 0..30 {
        fake = fake.image_of("a/b", &number.to_string(), 300_000);
    }
    let fake = fake.run();
    let hub = world.open(upstream(&fake).within(at_once(3)));
    let hold = fake.hold(Spot::All);
    let pulls: Vec<_> = (0..30)
        .map(|number| {
            let (hub, layer) = (
                Arc::clone(&hub),
                fake.image("a/b", &number.to_string()).layer,
            );
            tokio::spawn(async move {
                manifest(&hub, "a/b", &number.to_string()).await?;
                pull(&hub, "a/b", &layer).await
            })
        })
        .collect();
    hold.waiting(3).await;
    waiting(&hub, 27).await;
    assert_eq!(hold.arrived(), 3);
    hold.release();
    for (number, pull) in pulls.into_iter().enumerate() {
        let bytes = pull.await.expect("no panic").expect("all are served");
        assert_eq!(bytes, fake.image("a/b", &number.to_string()).bytes);
    }
    assert_eq!(fake.most_at_once(), 3);
    let state = hub.state().budget.connections.expect("limited");
    assert_eq!((state.limit, state.in_use, state.waiting), (3, 0, 0));
}

#[tokio::test]
async fn work_in_the_background_leaves_half_of_the_places() {
    let world = World::new().await;
    let fake = tags(FakeRegistry::open(), "a/b", 11).run();
    let hub = world.open(upstream(&fake).within(at_once(2)));
    for tag in 0..10 {
        manifest(&hub, "a/b", &tag.to_string())
            .await
            .expect("there");
    }
    world.advance(299);
    let hold = fake.hold(Spot::Heads);
    let ahead = {
        let hub = Arc::clone(&hub);
        tokio::spawn(async move { hub.refresh_ahead().await })
    };
    hold.waiting(1).await;
    let digest = fake.image("a/b", "10").digest;
    manifest(&hub, "a/b", &digest)
        .await
        .expect("not kept waiting");
    assert_eq!(hold.arrived(), 1);
    hold.release();
    assert_eq!(ahead.await.expect("no panic"), 10);
}

#[tokio::test]
async fn the_wait_for_a_turn_ends_and_says_so() {
    let world = World::new().await;
    let fake = tags(FakeRegistry::open(), "a/b", 2).run();
    let hub = world.open(upstream(&fake).within(at_once(1)));
    let impatient = world.open(upstream(&fake).named("hub2").within(at_once(1)).impatient());
    let hold = fake.hold(Spot::Manifests);
    let first = {
        let impatient = Arc::clone(&impatient);
        tokio::spawn(async move { manifest(&impatient, "a/b", "0").await })
    };
    hold.waiting(1).await;
    let error = manifest(&impatient, "a/b", "1")
        .await
        .expect_err("it takes too long");
    assert_eq!(error.kind(), ErrorKind::RateLimited, "{error}");
    assert!(
        error
            .message()
            .contains("`upstreams.hub2.budget.connections`"),
        "{error}"
    );
    assert!(impatient.state().paused.is_empty());
    // Another upstream has its own places.
    let digest = fake.image("a/b", "1").digest;
    hold.release();
    let _ = first.await.expect("no panic");
    manifest(&hub, "a/b", &digest).await.expect("there");
}
