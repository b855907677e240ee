//! One behaviour suite per trait, run for every implementer.

mod redis_server;
mod tier;
