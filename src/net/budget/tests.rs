use super::*;
use crate::http::{HeaderName, HeaderValue};

const SECOND: Duration = Duration::from_secs(1);

struct World {
    budget: Arc<Budget>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

fn world(requests: Option<(u32, Duration)>, connections: Option<u32>) -> World {
    let clock = Clock::manual("2026-11-20T15:59:01Z".parse().expect("a time"));
    let metrics = Arc::new(Metrics::new());
    let rules = config::Budget {
        requests,
        connections,
    };
    let budget = Budget::new("hub".into(), rules, None, metrics.clone(), clock.clone());
    World {
        budget: Arc::new(budget),
        clock,
        metrics,
    }
}

fn rate(remaining: &str, limit: &str) -> HeaderMap {
    let pairs = [
        ("ratelimit-remaining", remaining),
        ("ratelimit-limit", limit),
    ];
    pairs
        .iter()
        .map(|(name, value)| {
            let value = HeaderValue::from_str(value).expect("a value");
            (HeaderName::from_static(name), value)
        })
        .collect()
}

impl World {
    fn charge(&self) -> Result<Charge> {
        let charge = self.budget.charge(Cost::Counted)?;
        Ok(charge.expect("counted requests are charged"))
    }

    /// One request that is answered with these headers.
    fn ask(&self, headers: &HeaderMap) -> Result<()> {
        self.charge()?.answered(StatusCode::OK, headers);
        Ok(())
    }

    fn refusal(&self) -> Error {
        let error = self.charge().err().expect("held back");
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert!(is_held_back(&error));
        assert!(error.message().contains("`hub`"), "{error}");
        error
    }

    fn metric(&self, line: &str) -> bool {
        self.budget.observe();
        String::from_utf8(self.metrics.render(&[]))
            .expect("text")
            .contains(line)
    }
}

#[test]
fn over_the_budget_the_time_of_the_next_request_is_told() {
    let world = world(Some((2, Duration::from_hours(6))), None);
    let nothing = HeaderMap::new();
    world.ask(&nothing).expect("the first");
    world.ask(&nothing).expect("the second");
    let error = world.refusal();
    let wait = error.retry_after().expect("a time");
    assert!(wait >= Duration::from_hours(6) && wait <= Duration::from_secs(21_816));
    for part in [
        "2 times in 21600s",
        "`upstreams.hub.budget.requests`",
        "at 2026-11-20T2",
    ] {
        assert!(error.message().contains(part), "{error}");
    }
    assert!(world.metric("chartgate_upstream_held_back_total{for=\"client\",upstream=\"hub\"} 1"));
    assert!(world.metric("chartgate_upstream_budget_remaining{upstream=\"hub\"} 0"));
    assert!(world.metric("chartgate_upstream_budget_limit{upstream=\"hub\"} 2"));
    world.clock.advance(wait);
    world.ask(&nothing).expect("as was told");
    for cost in [Cost::Free, Cost::Outside] {
        assert!(world.budget.charge(cost).expect("free").is_none());
    }
}

#[test]
fn what_nobody_waits_for_yields_first() {
    let world = world(Some((8, Duration::from_hours(6))), None);
    for left in (3..8).rev() {
        world.budget.spare().expect("enough is left");
        world.ask(&HeaderMap::new()).expect("within the budget");
        assert_eq!(
            world.budget.state().requests.expect("configured").remaining,
            left
        );
    }
    world.ask(&HeaderMap::new()).expect("within the budget");
    let error = world.budget.spare().expect_err("two are left");
    assert!(
        is_held_back(&error) && error.retry_after() >= Some(LOOK_AGAIN),
        "{error}"
    );
    assert!(
        error
            .message()
            .contains("a quarter or less is left of the 8 requests of upstream `hub`"),
        "{error}"
    );
    assert!(!world.budget.is_low());
    for _ in 0..2 {
        world
            .ask(&HeaderMap::new())
            .expect("clients have the last ones");
    }
    assert!(world.budget.is_low());
    world.refusal();
    let held = "chartgate_upstream_held_back_total{for=\"background\",upstream=\"hub\"} 1";
    assert!(world.metric(held));
}

#[test]
fn what_the_upstream_says_counts_with_what_is_under_way() {
    let world = world(None, None);
    world.ask(&rate("3;w=21600", "100;w=21600")).expect("asked");
    let flying: Vec<_> = (0..3).map(|_| world.charge().expect("left")).collect();
    let error = world.refusal();
    assert!(
        error.message().contains("none of its 100 requests is left"),
        "{error}"
    );
    assert_eq!(error.retry_after(), Some(216 * SECOND));
    let mut flying = flying.into_iter();
    let answered = flying.next().expect("three");
    answered.answered(StatusCode::OK, &rate("9;w=21600", "100;w=21600"));
    // Nine, less two that are under way.
    let more: Vec<_> = (0..7).map(|_| world.charge().expect("left")).collect();
    world.refusal();
    drop((more, flying));
    assert_eq!(
        world.budget.allowance().expect("said").remaining,
        0,
        "they may have counted"
    );
}

#[test]
fn with_nothing_left_one_is_tried_at_a_time() {
    let world = world(None, None);
    let none = rate("0;w=21600", "100;w=21600");
    world.ask(&none).expect("asked");
    assert!(world.budget.is_low() && world.budget.spare().is_err());
    world.refusal();
    world.clock.advance(216 * SECOND);
    let probe = world.charge().expect("one may be tried");
    world.refusal();
    probe.answered(StatusCode::TOO_MANY_REQUESTS, &none);
    world.clock.advance(215 * SECOND);
    world.refusal();
    world.clock.advance(SECOND);
    world
        .ask(&rate("50;w=21600", "100;w=21600"))
        .expect("one may be tried");
    for _ in 0..50 {
        world.charge().expect("fifty are left");
    }
    world.refusal();
    world.clock.advance(Duration::from_hours(6));
    world.charge().expect("that was long ago");
    assert!(!world.budget.is_low());
}

#[test]
fn who_asks_to_be_left_alone_is() {
    let world = world(None, None);
    world.budget.rest(30 * SECOND);
    world.budget.rest(10 * SECOND);
    let error = world.refusal();
    assert_eq!(error.retry_after(), Some(30 * SECOND));
    assert!(
        error.message().contains("asked to be left alone"),
        "{error}"
    );
    assert!(world.budget.spare().is_err());
    world.clock.advance(30 * SECOND);
    world.charge().expect("the time is over");
    world.budget.rest(Duration::MAX);
    assert_eq!(world.refusal().retry_after(), Some(LONGEST_REST));
}

#[test]
fn what_was_refused_or_never_got_there_is_given_back() {
    let world = world(Some((1, Duration::from_hours(6))), None);
    let charge = |cost| world.budget.charge(cost).expect("left").expect("counted");
    for status in [StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS] {
        charge(Cost::Served).answered(status, &HeaderMap::new());
    }
    charge(Cost::Counted).undone();
    charge(Cost::Counted).answered(StatusCode::UNAUTHORIZED, &HeaderMap::new());
    world.refusal();
}

#[test]
fn a_changed_budget_knows_what_was_sent() {
    let world = world(Some((10, Duration::from_hours(6))), None);
    for _ in 0..6 {
        world.ask(&HeaderMap::new()).expect("within the budget");
    }
    let _flying = world.charge().expect("within the budget");
    let rules = config::Budget {
        requests: Some((8, Duration::from_hours(6))),
        connections: None,
    };
    let (metrics, clock) = (world.metrics.clone(), world.clock.clone());
    let next = Budget::new("hub".into(), rules, Some(&world.budget), metrics, clock);
    assert_eq!(next.state().requests.expect("configured").remaining, 1);
    let (metrics, clock) = (world.metrics.clone(), world.clock);
    let none = Budget::new(
        "hub".into(),
        config::Budget::default(),
        Some(&next),
        metrics,
        clock,
    );
    assert_eq!(none.state(), BudgetState::default());
}

#[tokio::test(start_paused = true)]
async fn places_go_to_those_who_came_first() {
    let world = world(None, Some(2));
    let take = || world.budget.place(Cost::Free, 30 * SECOND);
    let first = take().await.expect("free").expect("limited");
    let second = take().await.expect("free");
    assert!(world.budget.is_busy());
    assert!(
        world
            .budget
            .place(Cost::Outside, SECOND)
            .await
            .expect("elsewhere")
            .is_none()
    );

    let (order, mut served) = tokio::sync::mpsc::unbounded_channel();
    for number in 0..20 {
        let (budget, order) = (Arc::clone(&world.budget), order.clone());
        tokio::spawn(async move {
            let place = budget.place(Cost::Counted, 30 * SECOND).await;
            order.send((number, place)).expect("somebody listens");
        });
        while world.budget.state().connections.expect("limited").waiting <= number {
            tokio::task::yield_now().await;
        }
    }
    let state = world.budget.state().connections.expect("limited");
    assert_eq!((state.limit, state.in_use, state.waiting), (2, 2, 20));
    assert!(world.metric("chartgate_upstream_connections{state=\"waiting\",upstream=\"hub\"} 20"));
    drop((first, second));
    for number in 0..20 {
        let (served, place) = served.recv().await.expect("all are served");
        assert_eq!(served, number);
        assert!(place.expect("in time").is_some());
    }
    assert!(world.metric("chartgate_upstream_waits_total{result=\"served\",upstream=\"hub\"} 20"));
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_place_ends_with_the_patience() {
    let world = world(None, Some(1));
    let _held = world
        .budget
        .place(Cost::Counted, SECOND)
        .await
        .expect("free");
    let error = world.budget.place(Cost::Counted, 3 * SECOND).await;
    let error = error.expect_err("it stays taken");
    assert!(is_held_back(&error) && error.kind() == ErrorKind::RateLimited);
    assert!(
        error.message().contains("none of its 1 requests"),
        "{error}"
    );
    assert_eq!(
        world.budget.state().connections.expect("limited").waiting,
        0
    );
    assert!(world.metric("chartgate_upstream_waits_total{result=\"given_up\",upstream=\"hub\"} 1"));
    assert_eq!(world.budget.background_places(), 1);
}
