//! The integration tests: one binary, one module per surface.

mod server;
