//! One behaviour suite per trait, run for every implementer.

pub(crate) mod bucket;
mod redis_server;
mod tier;
