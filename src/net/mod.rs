//! Everything that leaves this machine over HTTP.

/// A pool of HTTP clients.
#[derive(Clone, Debug, Default)]
pub struct Clients;

impl Clients {
    /// An empty pool.
    pub fn new() -> Self {
        Self
    }
}
