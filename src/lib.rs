//! chartgate: a caching gateway in front of Helm chart repositories and OCI registries.
//!
//! The map, lowest layer first; modules use lower layers only (`tests/tidy.rs` keeps it so):
//!
//! 0. vocabulary, no I/O: [`error`] [`clock`] [`names`] [`digest`] [`http`] [`chart`] [`index`] [`config`]
//! 1. mechanisms: [`metrics`] [`net`] [`upstream`] [`cache`]

pub mod cache;
pub mod chart;
pub mod clock;
pub mod config;
pub mod digest;
pub mod error;
pub mod http;
pub mod index;
pub mod metrics;
pub mod names;
pub mod net;
pub mod upstream;
