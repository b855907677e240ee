//! The built program and its parts seen from outside, one module for each surface.

mod support;

/// What is fetched once and kept: coalescing, verification, eviction, restarts and crashes.
mod cache;
/// One behaviour suite per trait, run for every implementer.
mod suites;
/// What comes from upstreams, and every way in which it can go wrong.
mod upstream;
