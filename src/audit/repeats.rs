//! How often the same denial is written: once, and then how often it came again.
//!
//! A client with a wrong password asks ten times a second for years. Each kind of denial has one line at once and one a minute
//! with a count; nothing is forgotten, and a flood cannot push other lines out of the queue.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use jiff::Timestamp;

use super::event::{Event, Outcome, Who};
use crate::auth::network;

/// How long a denial that was written stands for those like it.
const WINDOW: Duration = Duration::from_secs(60);
/// How many kinds of denials are told apart at a time; about half a KiB each.
const MAX_KINDS: usize = 2_048;

/// The denials of the last minute.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    seen: HashMap<u64, Seen>,
    /// Keyed, so that nobody can choose what counts as the same.
    hasher: RandomState,
    /// What came while there was no room.
    others: u64,
}

#[derive(Debug)]
struct Seen {
    since: Timestamp,
    again: u64,
    last: Event,
}

impl Repeats {
    /// Whether to write the event now; else it is counted.
    pub(super) fn admit(&mut self, event: &Event) -> bool {
        // Not the object: whoever tries ten thousand names is one story.
        let key = self.hasher.hash_one((
            (event.who.kind, &event.who.name, &event.who.token),
            event.address.map(network),
            (event.action, &event.tenant, event.status, event.error),
        ));
        if let Some(seen) = self.seen.get_mut(&key) {
            seen.again += 1;
            seen.last = event.clone();
            return false;
        }
        if self.seen.len() >= MAX_KINDS {
            self.others += 1;
            return false;
        }
        self.seen.insert(
            key,
            Seen {
                since: event.time,
                again: 0,
                last: event.clone(),
            },
        );
        true
    }

    /// Takes out what stood long enough, as lines with counts. The last event of its kind stands for all of them.
    pub(super) fn expired(&mut self, now: Timestamp) -> Vec<Event> {
        self.take(now, WINDOW)
    }

    /// Takes out everything, at the end.
    pub(super) fn all(&mut self, now: Timestamp) -> Vec<Event> {
        self.take(now, Duration::ZERO)
    }

    fn take(&mut self, now: Timestamp, age: Duration) -> Vec<Event> {
        let mut lines = Vec::new();
        self.seen.retain(|_, seen| {
            // A clock that was set back must not keep anything for ever.
            let stood = Duration::try_from(now.duration_since(seen.since));
            if stood.is_ok_and(|stood| stood < age) {
                return true;
            }
            if seen.again > 0 {
                let mut event = seen.last.clone();
                event.repeated = seen.again;
                lines.push(event);
            }
            false
        });
        let others = std::mem::take(&mut self.others);
        if others > 0 {
            lines.push(Event {
                time: now,
                request_id: Box::default(),
                action: "others",
                route: "",
                tenant: None,
                who: Who::unknown(),
                object: None,
                digest: None,
                address: None,
                result: Outcome::Denied,
                status: 0,
                error: None,
                repeated: others,
            });
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
    }

    fn denial(address: &str, seconds: i64) -> Event {
        Event {
            time: at(seconds),
            request_id: format!("r-{seconds}").into(),
            action: "pull",
            route: "archive",
            tenant: Some("acme".into()),
            who: Who::unknown(),
            object: None,
            digest: None,
            address: Some(address.parse().expect("an address")),
            result: Outcome::Denied,
            status: 401,
            error: Some("unauthenticated"),
            repeated: 0,
        }
    }

    #[test]
    fn the_first_is_written_and_the_others_are_counted() {
        let mut repeats = Repeats::default();
        assert!(repeats.admit(&denial("192.0.2.1", 0)));
        for second in 1..=10 {
            assert!(!repeats.admit(&denial("192.0.2.1", second)));
        }
        assert!(repeats.expired(at(59)).is_empty());
        let lines = repeats.expired(at(60));
        assert_eq!(lines.len(), 1);
        assert_eq!((lines[0].repeated, &*lines[0].request_id), (10, "r-10"));
        // And it starts anew.
        assert!(repeats.admit(&denial("192.0.2.1", 61)));
        assert!(repeats.expired(at(200)).is_empty());
    }

    #[test]
    fn another_client_tenant_status_or_action_is_another_story() {
        let mut repeats = Repeats::default();
        assert!(repeats.admit(&denial("192.0.2.1", 0)));
        assert!(repeats.admit(&denial("192.0.2.2", 0)));
        let changes: [fn(&mut Event); 4] = [
            |event| event.tenant = Some("other".into()),
            |event| event.status = 429,
            |event| event.action = "push",
            |event| event.who.name = Some("ci".into()),
        ];
        for change in changes {
            let mut event = denial("192.0.2.1", 0);
            change(&mut event);
            assert!(repeats.admit(&event));
        }
        // A house has one network.
        assert!(repeats.admit(&denial("2001:db8::1", 0)));
        assert!(!repeats.admit(&denial("2001:db8::2", 0)));
    }

    #[test]
    fn a_flood_of_addresses_is_counted_in_one_line() {
        let mut repeats = Repeats::default();
        let mut written = 0_u64;
        for number in 0..10_000_u32 {
            let address = std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string();
            written += u64::from(repeats.admit(&denial(&address, 0)));
        }
        assert_eq!(written, MAX_KINDS as u64);
        let lines = repeats.all(at(1));
        assert_eq!(lines.len(), 1);
        assert_eq!(written + lines[0].repeated, 10_000);
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nothing_for_ever() {
        let mut repeats = Repeats::default();
        repeats.admit(&denial("192.0.2.1", 1_000));
        repeats.admit(&denial("192.0.2.1", 1_001));
        assert_eq!(repeats.expired(at(0)).len(), 1);
    }
}
