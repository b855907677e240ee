//! One behaviour suite per trait, run for every implementer.

pub(crate) mod bucket;
pub(crate) mod hosted;
pub(crate) mod redis_server;
mod tier;
