//! The script that replicas share, in a real redis, against a plain model of allowances.

use std::collections::HashMap;

use chartgate::limit::SCRIPT;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use redis::{Client, Connection, Script};

use crate::suites::redis_server::RedisServer;

/// One request costs an hour, and time passes by minutes: what redis lets expire by its own clock lives longer than a test.
const UNIT: i64 = 60 * MINUTE;
const MINUTE: i64 = 60_000_000;
const KEYS: usize = 4;

/// What one key may have at once, in units; the last one's debts have no end, as those of bytes.
const BURSTS: [i64; KEYS] = [1, 3, 10, 5];

#[derive(Clone, Debug)]
struct Step {
    /// Since the last one, in minutes; clocks are set back, too.
    passed: i64,
    /// By key: how much passed already, and how much is asked for, in units. A key with neither is only looked at.
    asked: Vec<(usize, i64, i64)>,
    /// Nothing can be refused: it is only told what passed.
    tells: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let passed = prop_oneof![8 => 0..200_i64, 1 => 0..4_000_i64, 1 => -300..0_i64];
    let asked = proptest::sample::subsequence((0..KEYS).collect::<Vec<_>>(), 1..=KEYS);
    let asked = asked.prop_flat_map(|keys| {
        keys.into_iter()
            .map(|key| {
                (
                    Just(key),
                    prop_oneof![4 => Just(0), 1 => 1..4_i64],
                    0..2_i64,
                )
            })
            .collect::<Vec<_>>()
    });
    (passed, asked, prop::bool::weighted(0.1)).prop_map(|(passed, asked, tells)| Step {
        passed,
        asked,
        tells,
    })
}

/// What is left of an allowance, which fills up by itself.
#[derive(Clone, Copy, Debug)]
struct Left {
    amount: i64,
    at: i64,
}

/// Allowances as one would explain them: they fill with time up to the burst, and what is asked for must be there.
#[derive(Default)]
struct Model(HashMap<usize, Left>);

impl Model {
    fn left(&self, key: usize, now: i64) -> i64 {
        let full = BURSTS[key] * UNIT;
        let Some(left) = self.0.get(&key) else {
            return full;
        };
        // A clock that was set back takes away what came since; never more than one whole burst is owed for it.
        let amount = (left.amount + now - left.at).min(full);
        if most(key) < 0 {
            amount
        } else {
            amount.max(-full)
        }
    }

    fn take(&mut self, step: &Step, now: i64) -> (bool, Vec<i64>) {
        let after_debts: Vec<i64> = step
            .asked
            .iter()
            .map(|(key, owed, _)| self.left(*key, now) - owed * UNIT)
            .collect();
        let fits = |(left, (_, _, asked)): (&i64, &(usize, i64, i64))| *left >= asked * UNIT;
        let allowed = step.tells || after_debts.iter().zip(&step.asked).all(fits);
        let mut ahead = Vec::new();
        for ((key, owed, asked), left) in step.asked.iter().zip(after_debts) {
            let taken = if allowed { asked * UNIT } else { 0 };
            let amount = left - taken;
            if *owed > 0 || taken > 0 {
                self.0.insert(*key, Left { amount, at: now });
            }
            ahead.push(BURSTS[*key] * UNIT - amount);
        }
        (allowed, ahead)
    }
}

fn most(key: usize) -> i64 {
    match key {
        3 => -1,
        _ => 2 * BURSTS[key] * UNIT,
    }
}

fn run(
    script: &Script,
    connection: &mut Connection,
    names: &[String],
    step: &Step,
    now: i64,
) -> Vec<i64> {
    let mut call = script.prepare_invoke();
    call.arg(now);
    for (key, owed, asked) in &step.asked {
        let room = if step.tells { -1 } else { BURSTS[*key] * UNIT };
        call.key(&names[*key]);
        call.arg(owed * UNIT)
            .arg(asked * UNIT)
            .arg(room)
            .arg(most(*key));
    }
    call.invoke(connection).expect("an answer")
}

#[test]
fn the_script_does_what_a_plain_model_does() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let client = Client::open(server.url()).expect("a URL");
    let mut connection = client.get_connection().expect("connected");
    let script = Script::new(SCRIPT);
    let mut case = 0;
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let connection = std::cell::RefCell::new(&mut connection);
    let case = std::cell::RefCell::new(&mut case);
    let outcome = runner.run(&prop::collection::vec(step(), 1..40), |steps| {
        let number = {
            let mut case = case.borrow_mut();
            **case += 1;
            **case
        };
        let names: Vec<_> = (0..KEYS).map(|key| format!("{{{number}}}:{key}")).collect();
        let mut model = Model::default();
        let mut now = 1_800_000_000_000_000_i64;
        for (place, step) in steps.iter().enumerate() {
            now += step.passed * MINUTE;
            let told = run(&script, &mut connection.borrow_mut(), &names, step, now);
            let (allowed, ahead) = model.take(step, now);
            prop_assert_eq!(told[0] == 1, allowed, "step {} of {:?}", place, steps);
            prop_assert_eq!(&told[1..], &ahead[..], "step {} of {:?}", place, steps);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn keys_go_when_allowances_are_full_again() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let client = Client::open(server.url()).expect("a URL");
    let mut connection = client.get_connection().expect("connected");
    let script = Script::new(SCRIPT);
    let mut call = script.prepare_invoke();
    // By the server's own time: two minutes of allowance are used.
    call.arg(0)
        .key("a")
        .arg(MINUTE)
        .arg(MINUTE)
        .arg(5 * MINUTE)
        .arg(-1);
    let told: Vec<i64> = call.invoke(&mut connection).expect("an answer");
    assert_eq!(told, [1, 2 * MINUTE]);
    let ttl: i64 = redis::cmd("PTTL")
        .arg("a")
        .query(&mut connection)
        .expect("a time");
    assert!((110_000..=120_000).contains(&ttl), "{ttl}");
    // Looking leaves nothing behind, and nonsense under a key is no allowance.
    let mut look = script.prepare_invoke();
    look.arg(0).key("b").arg(0).arg(0).arg(5 * UNIT).arg(-1);
    let told: Vec<i64> = look.invoke(&mut connection).expect("an answer");
    assert_eq!(told, [1, 0]);
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query(&mut connection)
        .expect("keys");
    assert_eq!(keys, ["a"]);
    let _: () = redis::cmd("SET")
        .arg("c")
        .arg("nonsense")
        .query(&mut connection)
        .expect("set");
    let mut call = script.prepare_invoke();
    call.arg(0)
        .key("c")
        .arg(0)
        .arg(UNIT)
        .arg(UNIT)
        .arg(2 * UNIT);
    let told: Vec<i64> = call.invoke(&mut connection).expect("an answer");
    assert_eq!(told, [1, UNIT]);
}
