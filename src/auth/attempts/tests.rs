//! Whoever guesses waits, and nobody else.

use jiff::Timestamp;

use super::*;

struct World {
    attempts: Attempts,
    clock: Clock,
}

impl World {
    fn new(allowed: u32) -> Self {
        let clock = Clock::manual(Timestamp::from_second(1_800_000_000).expect("a time"));
        Self {
            attempts: Attempts::new(allowed, clock.clone()),
            clock,
        }
    }

    /// A login with a wrong password; how long it waits where nobody looks at it.
    fn wrong(&self, address: &str, name: &str, password: &str) -> Option<Duration> {
        self.log_in(address, name, password, false)
    }

    /// The same with the right one.
    fn right(&self, address: &str, name: &str, password: &str) -> Option<Duration> {
        self.log_in(address, name, password, true)
    }

    fn log_in(&self, address: &str, name: &str, password: &str, right: bool) -> Option<Duration> {
        let address = address.parse().expect("an address");
        match self.attempts.begin(Some(address), name, password) {
            Ok(trial) => {
                match right {
                    true => self.attempts.right(trial),
                    false => self.attempts.wrong(trial),
                }
                None
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::RateLimited);
                Some(error.retry_after().expect("a time"))
            }
        }
    }

    /// As many different wrong passwords as are taken without a pause.
    fn use_up(&self, address: &str, name: &str, allowed: u32) {
        for number in 0..allowed {
            let wait = self.wrong(address, name, &format!("guess {number}"));
            assert_eq!(wait, None, "{number}");
        }
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

const HERE: &str = "10.0.0.1";

#[test]
fn each_guess_beyond_what_is_allowed_costs_a_longer_pause() {
    let world = World::new(3);
    world.use_up(HERE, "ci", 3);
    let mut pauses = Vec::new();
    for number in 0..14 {
        let wait = world.right(HERE, "ci", "right").expect("it waits");
        pauses.push(wait.as_secs());
        // What is sent while it waits changes nothing.
        assert_eq!(world.wrong(HERE, "ci", "other"), Some(wait));
        world.clock.advance(wait);
        assert_eq!(world.wrong(HERE, "ci", &format!("later {number}")), None);
    }
    // Twice as long each time, spread by a quarter, up to five minutes; in so long a time one or two are forgiven.
    for (number, pause) in pauses.iter().enumerate() {
        let least = (1 << number).min(256);
        let most = (least + least / 4 + 1).max(if number > 8 { 376 } else { 0 });
        assert!((least..=most).contains(pause), "{number}: {pauses:?}");
    }
    world.advance(376);
    assert_eq!(world.right(HERE, "ci", "right"), None, "waited as told");
    world.use_up(HERE, "ci", 3);
}

#[test]
fn failures_are_forgiven_one_by_one() {
    let world = World::new(3);
    world.use_up(HERE, "ci", 3);
    world.advance(2);
    assert_eq!(world.wrong(HERE, "ci", "a"), None);
    assert!(world.wrong(HERE, "ci", "b").is_some());
    // Two of four.
    world.advance(20 * 60);
    assert_eq!(world.wrong(HERE, "ci", "c"), None);
    assert!(world.wrong(HERE, "ci", "d").is_some(), "three again");
    world.advance(40 * 60);
    world.use_up(HERE, "ci", 3);
}

#[test]
fn nobody_else_waits() {
    let world = World::new(3);
    world.use_up(HERE, "ci", 3);
    assert!(world.right(HERE, "ci", "right").is_some());
    assert_eq!(world.right(HERE, "other", "right"), None, "a neighbour");
    assert_eq!(world.right("10.0.0.2", "ci", "right"), None, "elsewhere");
    world
        .attempts
        .check(Some(HERE.parse().expect("an address")))
        .expect("tokens of neighbours");
    // A Unix socket says nothing about who is behind it.
    for _ in 0..100 {
        let trial = world.attempts.begin(None, "ci", "guess").expect("no wait");
        world.attempts.wrong(trial);
    }
}

#[test]
fn a_robot_with_an_old_password_stops_nobody() {
    let world = World::new(3);
    let mut refused = 0;
    for _ in 0..300 {
        refused += usize::from(world.wrong(HERE, "ci", "old").is_some());
        world.advance(1);
    }
    assert!(refused > 250, "it waits by itself: {refused}");
    // With the same name, from the same address, never seen before.
    assert_eq!(world.right(HERE, "ci", "new"), None);
    // Four of them; a fifth would be a guess.
    for robot in ["old", "older", "oldest", "never right"] {
        world.wrong(HERE, "ci", robot);
    }
    for _ in 0..100 {
        for robot in ["old", "older", "oldest", "never right"] {
            world.wrong(HERE, "ci", robot);
        }
        assert_eq!(world.right(HERE, "ci", "new"), None);
        world.advance(1);
    }
}

#[test]
fn a_right_password_goes_on_unless_too_many_are_tried_beside_it() {
    let world = World::new(3);
    assert_eq!(world.right(HERE, "ci", "right"), None);
    world.use_up(HERE, "ci", 3);
    // Success of a known one does not end the pause of the others.
    assert!(world.right(HERE, "ci", "another right one").is_some());
    for guess in 1..right::PROBES - 1 {
        assert!(world.wrong(HERE, "ci", &format!("more {guess}")).is_some());
        assert_eq!(world.right(HERE, "ci", "right"), None, "{guess}");
    }
    assert!(world.wrong(HERE, "ci", "one too many").is_some());
    assert!(world.right(HERE, "ci", "right").is_some());
    // Only at this address.
    assert_eq!(world.right("10.0.0.2", "ci", "right"), None);
    world.advance(60);
    assert_eq!(world.right(HERE, "ci", "right"), None);
}

#[test]
fn success_forgives_the_pair_and_not_its_neighbours() {
    let world = World::new(3);
    world.use_up(HERE, "ci", 2);
    world.use_up(HERE, "other", 2);
    assert_eq!(world.right(HERE, "ci", "right"), None);
    world.use_up(HERE, "ci", 3);
    assert_eq!(world.wrong(HERE, "other", "x"), None);
    assert!(world.wrong(HERE, "other", "y").is_some());
}

#[test]
fn a_known_password_that_was_changed_is_known_no_more() {
    let world = World::new(3);
    assert_eq!(world.right(HERE, "ci", "old"), None);
    world.use_up(HERE, "ci", 3);
    assert_eq!(world.wrong(HERE, "ci", "old"), None, "looked at once more");
    assert_eq!(world.wrong(HERE, "ci", "old"), None, "one that was wrong");
    assert!(world.right(HERE, "ci", "new").is_some(), "it counted");
    let other = World::new(3);
    assert_eq!(other.right(HERE, "ci", "old"), None);
    other.advance(60 * 60);
    other.use_up(HERE, "ci", 3);
    assert!(other.right(HERE, "ci", "old").is_some(), "too long ago");
}

#[test]
fn guesses_that_are_sent_at_once_count_like_others() {
    let world = World::new(3);
    let address = Some(HERE.parse().expect("an address"));
    let begin = |password: &str| world.attempts.begin(address, "ci", password);
    let trials: Vec<_> = (0..50)
        .filter_map(|n| begin(&format!("guess {n}")).ok())
        .collect();
    assert_eq!(trials.len(), 3);
    // The same one is no other guess.
    let again = begin("guess 2").expect("being looked at");
    world.attempts.undecided(again);
    for trial in trials {
        world.attempts.undecided(trial);
    }
    assert_eq!(world.right(HERE, "ci", "right"), None, "nothing was wrong");
    // A client that goes away has tried all the same.
    let world = World::new(1);
    let address = Some(HERE.parse().expect("an address"));
    let _gone = world
        .attempts
        .begin(address, "ci", "guess")
        .expect("looked at");
    assert!(world.right(HERE, "ci", "right").is_some());
}

#[test]
fn addresses_wait_much_later_and_shortly() {
    let world = World::new(3);
    let mut taken = 0;
    // Somebody who tries every name.
    while world
        .wrong(HERE, &format!("user {taken}"), "spring")
        .is_none()
    {
        taken += 1;
        assert!(taken < 1_000, "no end");
    }
    assert_eq!(taken, 30);
    let address = Some(HERE.parse().expect("an address"));
    world.attempts.check(address).expect_err("tokens as well");
    assert!(world.right(HERE, "neighbour", "right").is_some());
    assert_eq!(world.right("10.0.0.2", "neighbour", "right"), None);
    for _ in 0..30 {
        world.advance(76);
        assert_eq!(world.wrong(HERE, &format!("user {taken}"), "x"), None);
        taken += 1;
    }
    world.advance(10 * 60);
    // Forged tokens count like passwords, for the address alone.
    for number in 0..30 {
        assert!(world.attempts.check(address).is_ok(), "{number}");
        world.attempts.forged(address);
    }
    let error = world.attempts.check(address).expect_err("too many");
    assert!(error.retry_after().expect("a time") <= Duration::from_secs(2));
    assert!(error.message().contains(HERE), "{error}");
}

#[test]
fn a_slash_64_is_one_address() {
    let world = World::new(1);
    assert_eq!(world.wrong("2001:db8:0:1::1", "ci", "x"), None);
    let same = "2001:db8:0:1:ffff::2";
    assert!(world.wrong(same, "ci", "y").is_some(), "the same /64");
    assert_eq!(world.wrong("2001:db8:0:2::1", "ci", "y"), None);
    assert_eq!(world.wrong("10.0.0.1", "ci", "x"), None);
    assert!(world.wrong("::ffff:10.0.0.1", "ci", "y").is_some());
}

#[test]
fn a_clock_that_is_set_back_locks_nobody_out() {
    let clock = Clock::manual(Timestamp::from_second(1_800_000_000).expect("a time"));
    let rule = Rule::new(1, PAIR);
    let (then, now) = (
        clock.now().as_millisecond() + 86_400_000,
        clock.now().as_millisecond(),
    );
    let mut count = Count::default();
    count.add(&rule, then, 0);
    let wait = count.wait(&rule, now).expect("it waits");
    assert!(wait <= 375_000, "{wait}");
    count.add(&rule, now, 0);
    assert!(count.clean_at() <= now + 17 * 600_000);
}

#[test]
fn floods_are_bounded_and_make_nobody_wait() {
    let world = World::new(1);
    world.use_up(HERE, "ci", 1);
    world.advance(2);
    assert_eq!(world.wrong(HERE, "ci", "again"), None);
    for number in 0..u32::try_from(MAX_NETWORKS).expect("few") + 20_000 {
        let address = IpAddr::from((0x0b00_0000 + number).to_be_bytes()).to_string();
        assert_eq!(world.wrong(&address, "ci", "x"), None);
    }
    assert!(lock(&world.attempts.pairs).len() <= MAX_PAIRS);
    assert!(lock(&world.attempts.networks).len() <= MAX_NETWORKS);
    assert_eq!(world.right("12.0.0.1", "ci", "right"), None);
    assert!(
        world.wrong(HERE, "ci", "more").is_some(),
        "who failed most is forgotten last"
    );
    world.advance(24 * 60 * 60);
    for table in 0..2 {
        // Room is made when it is needed.
        let mut pairs = lock(&world.attempts.pairs);
        let now = world.clock.now().as_millisecond();
        for key in 0..MAX_PAIRS as u64 {
            pairs.insert(key + table, Pair::default(), now);
        }
        assert!(pairs.len() <= MAX_PAIRS);
    }
}
