//! The integration tests, one module per surface.

mod cache;
mod suites;
