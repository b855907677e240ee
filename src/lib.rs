//! chartgate: a caching gateway in front of Helm chart repositories and OCI registries.
//!
//! The map, lowest layer first; modules use lower layers only (`tests/tidy.rs` keeps it so):
//!
//! 0. vocabulary, no I/O: [`error`] [`clock`] [`base64`] [`names`] [`digest`] [`http`] [`chart`] [`index`] [`oci`] [`config`]
//! 1. mechanisms: [`metrics`] [`net`] [`object`] [`upstream`] [`cache`] [`store`]
//! 2. domain: [`auth`] [`limit`] [`audit`] [`repository`] [`gateway`]
//! 3. protocols: [`api`]
//! 4. process: [`server`] [`cli`]

pub mod api;
pub mod audit;
pub mod auth;
pub mod base64;
pub mod cache;
pub mod chart;
pub mod cli;
pub mod clock;
pub mod config;
pub mod digest;
pub mod error;
pub mod gateway;
pub mod http;
pub mod index;
pub mod limit;
pub mod metrics;
pub mod names;
pub mod net;
pub mod object;
pub mod oci;
pub mod repository;
pub mod server;
pub mod store;
pub mod upstream;
