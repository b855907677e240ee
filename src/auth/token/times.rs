//! When a token counts: its `exp`, `nbf` and `iat` claims (RFC 7519 §4.1).

use jiff::Timestamp;
use serde_json::{Map, Value};

/// How much the clock of who signs may run ahead of ours, in seconds. Nothing is added to the end of a token's time.
const SKEW: f64 = 10.0;

/// The time in which a token counts, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Validity {
    from: f64,
    until: f64,
}

impl Validity {
    /// What the claims say. Claims that are absent set no limit; one that is no number is an error.
    pub(super) fn of(claims: &Map<String, Value>) -> Result<Self, &'static str> {
        let time = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(value) => value
                .as_f64()
                .map(Some)
                .ok_or("one of `exp`, `nbf` and `iat` is not a number"),
        };
        let from = time("nbf")?
            .unwrap_or(f64::MIN)
            .max(time("iat")?.unwrap_or(f64::MIN));
        Ok(Self {
            from: from - SKEW,
            until: time("exp")?.unwrap_or(f64::MAX),
        })
    }

    /// How many whole seconds are left of it; `None` where it has no end.
    pub(super) fn remaining(self, now: Timestamp) -> Option<u64> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "seconds of the next 280 million years fit 53 bits"
        )]
        let left = self.until - now.as_second() as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast from a float saturates"
        )]
        (self.until < f64::MAX).then_some(left.max(0.0) as u64)
    }

    /// Nothing, where `now` is within it; else what is wrong.
    pub(super) fn check(self, now: Timestamp) -> Result<(), &'static str> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds of the next 280,000 years fit 53 bits"
        )]
        let now = now.as_millisecond() as f64 / 1e3;
        if now >= self.until {
            Err("it has expired")
        } else if now < self.from {
            Err("its time has not come yet")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(claims: Value, now: i64) -> Result<(), &'static str> {
        let Value::Object(claims) = claims else {
            panic!("an object")
        };
        Validity::of(&claims)?.check(Timestamp::from_second(now).expect("a time"))
    }

    #[test]
    fn present_claims_count_and_absent_ones_do_not() {
        for (claims, now, counts) in [
            (json!({}), 1_000, true),
            (json!({"exp": 1_000}), 999, true),
            (json!({"exp": 1_000}), 1_000, false),
            (json!({"exp": 1_000.5}), 1_000, true),
            (json!({"nbf": 1_000}), 1_000, true),
            (json!({"nbf": 1_000}), 990, true),
            (json!({"nbf": 1_000}), 989, false),
            (json!({"iat": 1_000}), 989, false),
            (json!({"iat": 1_000, "nbf": 500, "exp": 2_000}), 1_500, true),
            (json!({"exp": 0}), 1_000, false),
            (json!({"exp": -1}), 1_000, false),
        ] {
            assert_eq!(check(claims.clone(), now).is_ok(), counts, "{claims} {now}");
        }
    }

    #[test]
    fn a_time_that_is_no_number_is_refused() {
        for claims in [
            json!({"exp": "9999999999"}),
            json!({"exp": null}),
            json!({"nbf": true}),
            json!({"iat": []}),
        ] {
            assert!(check(claims.clone(), 0).is_err(), "{claims}");
        }
    }
}
