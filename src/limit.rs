//! How often somebody may ask: the rate of one tenant. The only home of the `governor` crate.

use std::net::IpAddr;

use crate::auth::Identity;
use crate::clock::Clock;
use crate::config::Limits;
use crate::error::Result;

/// Counts the requests of one tenant. Shared behind an `Arc`.
#[derive(Debug)]
pub struct Limiter;

/// Who asks, and where.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The client's address; absent on Unix sockets.
    pub address: Option<IpAddr>,
    /// The client's identity.
    pub identity: &'a Identity,
    /// The tenant's label, for the message.
    pub tenant: &'a str,
}

impl Limiter {
    /// A limiter with the machine's monotonic clock.
    pub fn new(_limits: &Limits) -> Self {
        todo!()
    }

    /// A limiter that counts time by `clock`, for tests.
    pub fn with_clock(_limits: &Limits, _clock: Clock) -> Self {
        todo!()
    }

    /// Takes one request off the allowance. Over it: [`crate::error::ErrorKind::RateLimited`] with the time to wait.
    pub fn check(&self, _key: Key<'_>) -> Result<()> {
        todo!()
    }

    /// Forgets clients whose allowance is full again. To be called about once a minute.
    pub fn sweep(&self) {
        todo!()
    }
}
