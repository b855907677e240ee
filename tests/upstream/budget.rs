//! What a helm upstream is asked: within its budget, and not while it wants to be left alone.

use std::time::Duration;

use chartgate::config::Budget;
use chartgate::error::{Error, ErrorKind};
use chartgate::upstream::Upstream as _;

use super::{acme, read, text_of};
use crate::support::fake::{FakeHelm, FakeUpstream, Fault, Target};

fn upstream() -> FakeUpstream {
    let charts = FakeHelm::new().chart("nginx", "15.1.0");
    charts.chart("redis", "1.0.0").chart("mysql", "2.0.0").run()
}

const ARCHIVES: [&str; 3] = [
    "/charts/nginx-15.1.0.tgz",
    "/charts/redis-1.0.0.tgz",
    "/charts/mysql-2.0.0.tgz",
];

#[track_caller]
fn assert_limited(error: &Error, says: &str) {
    assert_eq!(error.kind(), ErrorKind::RateLimited, "{error}");
    assert!(error.message().contains("upstream `acme`"), "{error}");
    assert!(error.message().contains(says), "{error}");
}

#[tokio::test]
async fn over_the_budget_nothing_is_sent() {
    let fake = upstream();
    let acme = acme(&fake).with(|client| {
        client.budget.requests = Some((3, Duration::from_hours(1)));
    });
    let built = acme.build();
    text_of(&built).await;
    for path in &ARCHIVES[..2] {
        let download = built
            .open(&fake.at(path), 0)
            .await
            .expect("within the budget");
        read(download).await.expect("whole");
    }
    let refused = built.open(&fake.at(ARCHIVES[2]), 0).await;
    let error = refused.expect_err("over the budget");
    assert_limited(
        &error,
        "3 times in 3600s (`upstreams.acme.budget.requests`)",
    );
    assert_eq!(fake.total(), 3);
    // A change of the section does not forget what was sent; the same pool knows it.
    acme.clock.advance(error.retry_after().expect("when"));
    built
        .open(&fake.at(ARCHIVES[2]), 0)
        .await
        .expect("as was told");
    assert_eq!(fake.total(), 4);
}

#[tokio::test]
async fn charts_elsewhere_are_not_the_upstreams_requests() {
    let fake = upstream();
    let built = acme(&fake)
        .with(|client| client.budget.requests = Some((1, Duration::from_hours(1))))
        .build();
    for path in ARCHIVES {
        let elsewhere = fake.at_host("localhost", path);
        let download = built.open(&elsewhere, 0).await.expect("another origin");
        read(download).await.expect("whole");
    }
    text_of(&built).await;
    assert_limited(&built.fetch_index(None).await.expect_err("over"), "1 times");
}

#[tokio::test]
async fn who_asks_to_be_left_alone_is_for_all_files() {
    for (value, seconds) in [("120", 120), ("Fri, 20 Nov 2026 16:00:01 GMT", 60)] {
        let fake = upstream();
        let acme = acme(&fake);
        let built = acme.build();
        let headers = vec![("Retry-After".to_owned(), value.to_owned())];
        fake.fail_archives(Fault::StatusWith(429, headers));
        let error = built.open(&fake.at(ARCHIVES[0]), 0).await.expect_err("429");
        assert_limited(&error, "answered 429");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(seconds)));
        fake.heal();
        acme.clock.advance(Duration::from_secs(seconds - 1));
        for path in ARCHIVES {
            let error = built.open(&fake.at(path), 0).await.expect_err("left alone");
            assert_limited(&error, "asked to be left alone");
            assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
        }
        assert_eq!(fake.total(), 1);
        acme.clock.advance(Duration::from_secs(1));
        text_of(&built).await;
    }
}

#[tokio::test]
async fn its_own_word_about_what_is_left_counts() {
    let fake = upstream();
    let acme = acme(&fake);
    let built = acme.build();
    let left = |value: &str| Fault::Header("X-RateLimit-Remaining".to_owned(), value.to_owned());
    fake.fail_index(left("1"));
    text_of(&built).await;
    fake.fail_archives(left("0"));
    let last = built
        .open(&fake.at(ARCHIVES[0]), 0)
        .await
        .expect("one is left");
    drop(last);
    let error = built
        .open(&fake.at(ARCHIVES[1]), 0)
        .await
        .expect_err("none is left");
    assert_limited(&error, "none of its requests is left");
    assert_eq!(fake.total(), 2);
    fake.heal();
    acme.clock.advance(error.retry_after().expect("when"));
    built
        .open(&fake.at(ARCHIVES[1]), 0)
        .await
        .expect("tried again");
}

#[tokio::test]
async fn a_transfer_keeps_its_place_to_its_end() {
    let fake = upstream();
    let acme = acme(&fake).with(|client| {
        client.budget.connections = Some(1);
        client.timeout = Duration::from_millis(300);
    });
    let built = acme.build();
    let first = built.open(&fake.at(ARCHIVES[0]), 0).await.expect("free");
    let error = built
        .open(&fake.at(ARCHIVES[1]), 0)
        .await
        .expect_err("busy");
    assert_limited(&error, "is busy");
    assert_eq!(fake.total(), 1);
    read(first).await.expect("whole");
    let second = built
        .open(&fake.at(ARCHIVES[1]), 0)
        .await
        .expect("free again");
    // Whoever leaves gives the place back as well.
    drop(second);
    text_of(&built).await;
    fake.fault_times(Target::All, 1, Fault::Status(404));
    built
        .open(&fake.at(ARCHIVES[2]), 0)
        .await
        .expect_err("not there");
    built
        .open(&fake.at(ARCHIVES[2]), 0)
        .await
        .expect("refusals keep no place");
    assert_eq!(fake.most_at_once(), 1);
}
