//! Any text as version and constraint: no panic; comparing is a total order.

#![no_main]

use std::cmp::Ordering;

use chartgate::chart::{Constraint, Version};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &str)| {
    let (left, right, constraint) = input;
    let left = Version::parse(left);
    if let (Ok(left), Ok(right)) = (&left, &Version::parse(right)) {
        assert_eq!(left.compare(right), right.compare(left).reverse());
        assert_eq!(left.compare(left), Ordering::Equal);
    }
    if let (Ok(version), Ok(constraint)) = (&left, Constraint::parse(constraint)) {
        let _ = constraint.matches(version);
    }
});
