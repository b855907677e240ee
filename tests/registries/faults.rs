use std::time::Duration;

use chartgate::error::ErrorKind;
use chartgate::net::Retries;
use chartgate::upstream::registry::{Lane, Part};

use super::{assert_error, digest, hub, hub_at, name, reference};
use crate::support::fake::{FakeRegistry, Fault, Row, Spot};

fn slow_down(seconds: &str) -> Fault {
    Fault::StatusWith(429, vec![("Retry-After".to_owned(), seconds.to_owned())])
}

#[tokio::test]
async fn a_limit_is_never_an_absence_and_holds_for_its_kind_only() {
    let fake = FakeRegistry::of(Row::DockerHub).image("a/b", "1").run();
    let image = fake.image("a/b", "1");
    let hub = hub(&fake);
    let registry = hub.build();
    let (repository, tag) = (name("a/b"), reference("1"));
    registry
        .head_manifest(&repository, &tag)
        .await
        .expect("there");
    fake.fault(Spot::Manifests, slow_down("90"));
    fake.forget();
    for _ in 0..10 {
        let error = registry
            .get_manifest(&repository, &tag)
            .await
            .expect_err("limited");
        assert_error(&error, ErrorKind::RateLimited, "");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(90)));
    }
    assert_eq!(fake.count(Spot::Manifests), 1);
    registry
        .head_manifest(&repository, &tag)
        .await
        .expect("does not count");
    registry
        .open_blob(&repository, &digest(&image.layer), &Part::Whole)
        .await
        .expect("neither");
    hub.advance(89);
    registry
        .get_manifest(&repository, &tag)
        .await
        .expect_err("still limited");
    fake.heal();
    hub.advance(1);
    registry
        .get_manifest(&repository, &tag)
        .await
        .expect("there");
    assert_eq!(registry.paused(Lane::Manifests), None);
}

#[tokio::test]
async fn an_upstream_that_keeps_failing_is_left_alone() {
    let fake = FakeRegistry::open().image("a/b", "1").run();
    let hub = hub(&fake);
    let registry = hub.build();
    let (repository, tag) = (name("a/b"), reference("1"));
    fake.fault(Spot::Manifests, Fault::Status(503));
    for _ in 0..20 {
        let error = registry
            .get_manifest(&repository, &tag)
            .await
            .expect_err("away");
        assert_error(&error, ErrorKind::UpstreamUnavailable, "");
    }
    assert_eq!(fake.count(Spot::Manifests), 3);
    fake.heal();
    let error = registry
        .get_manifest(&repository, &tag)
        .await
        .expect_err("left alone");
    assert!(error.retry_after().is_some(), "{error:?}");
    hub.advance(1);
    registry
        .get_manifest(&repository, &tag)
        .await
        .expect("back");
}

#[tokio::test]
async fn every_failure_counts_and_none_is_an_absence() {
    for fault in [
        Fault::Status(500),
        Fault::Status(502),
        Fault::Status(504),
        Fault::Close,
        Fault::Silence,
        Fault::StatusWith(302, vec![]),
    ] {
        let fake = FakeRegistry::open().image("a/b", "1").run();
        fake.fault(Spot::All, fault.clone());
        let registry = hub(&fake).impatient().build();
        for _ in 0..5 {
            let error = registry.get_manifest(&name("a/b"), &reference("1")).await;
            let error = error.expect_err("nothing");
            assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{fault:?}");
        }
        assert_eq!(fake.count(Spot::All), 3, "{fault:?}");
    }
}

#[tokio::test]
async fn a_machine_that_is_off_or_has_no_name_is_away() {
    for url in ["http://127.0.0.1:1/", "http://no-such-host.invalid/"] {
        let registry = hub_at(url).build();
        let error = registry.tags(&name("a/b")).await.expect_err("away");
        assert_error(&error, ErrorKind::UpstreamUnavailable, "cannot be reached");
        let error = registry
            .referrers(&name("a/b"), &digest(&format!("sha256:{}", "0".repeat(64))))
            .await;
        assert_eq!(
            error.expect_err("not empty").kind(),
            ErrorKind::UpstreamUnavailable
        );
    }
}

#[tokio::test]
async fn what_passes_within_a_moment_is_tried_again() {
    let fake = FakeRegistry::of(Row::Plain).image("a/b", "1").run();
    let mut hub = hub(&fake);
    hub.retries = Retries {
        first_pause: Duration::from_millis(1),
        seed: Some(1),
        ..Retries::default()
    };
    let registry = hub.build();
    fake.fault_times(Spot::Token, 1, Fault::Status(503));
    fake.fault_times(Spot::Manifests, 2, Fault::Close);
    registry
        .get_manifest(&name("a/b"), &reference("1"))
        .await
        .expect("at last");
    assert_eq!(fake.count(Spot::Token), 2);
}

#[tokio::test]
async fn a_refusal_without_a_challenge_tells_nothing() {
    let fake = FakeRegistry::open().image("a/b", "1").run();
    fake.fault(Spot::All, Fault::Status(403));
    let error = hub(&fake)
        .build()
        .get_manifest(&name("a/b"), &reference("1"))
        .await;
    assert_error(
        &error.expect_err("a wall"),
        ErrorKind::UpstreamUnavailable,
        "answered 403",
    );
    fake.heal();
    fake.fault(Spot::All, Fault::Status(401));
    let error = hub(&fake)
        .build()
        .get_manifest(&name("a/b"), &reference("1"))
        .await;
    assert_error(
        &error.expect_err("a door"),
        ErrorKind::UpstreamUnauthorized,
        "wants credentials",
    );
    let error = hub(&fake)
        .known()
        .build()
        .get_manifest(&name("a/b"), &reference("1"))
        .await;
    assert_error(
        &error.expect_err("a door"),
        ErrorKind::UpstreamUnauthorized,
        "of a kind that we do not have",
    );
}

/// A repository that hides from strangers without saying that it could know them: the door is asked once.
#[tokio::test]
async fn the_door_is_knocked_at_once() {
    let fake = FakeRegistry::of(Row::Artifactory)
        .user("me", super::PASSWORD)
        .image("a/b", "1")
        .private("a/b")
        .run();
    let registry = hub(&fake).known().build();
    registry
        .get_manifest(&name("a/b"), &reference("1"))
        .await
        .expect("there");
    for repository in ["no/such", "none/either"] {
        let error = registry
            .get_manifest(&name(repository), &reference("1"))
            .await;
        assert_eq!(error.expect_err("absent").kind(), ErrorKind::NotFound);
    }
    assert_eq!(fake.count(Spot::Door), 1);
    // Without credentials there is no reason to.
    let stranger = hub(&fake).build();
    let error = stranger.get_manifest(&name("a/b"), &reference("1")).await;
    assert_eq!(error.expect_err("hidden").kind(), ErrorKind::NotFound);
    assert_eq!(fake.count(Spot::Door), 1);
}
