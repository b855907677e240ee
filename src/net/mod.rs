//! Everything that leaves this machine over HTTP: one client, under our own rules.
//!
//! [`Clients`] is a pool of connections, [`Client`] the way to one upstream: it follows redirects itself, checks every address
//! before it is dialled, keeps credentials at home, retries what may be retried, keeps to the upstream's [`Budget`] and gives up on
//! transfers that stall;
//! [`Transport`] the way to one service whose requests are made elsewhere.
//! The only home of reqwest. Knows nothing about charts, caches or tenants.

mod budget;
mod client;
mod clients;
mod credentials;
mod exchange;
mod fault;
mod guard;
mod proxies;
#[cfg(test)]
mod rebinding_tests;
mod reply;
mod retry;
mod tls;
mod transport;

pub use self::budget::{
    Allowance, Allowed, Budget, BudgetState, Cost, PlacesState, RequestsState, is_held_back,
};
pub use self::client::{Client, GetOptions};
pub use self::clients::Clients;
pub use self::credentials::{basic, bearer};
pub use self::exchange::{Exchange, Response};
pub use self::fault::Failure;
pub use self::guard::is_public;
pub use self::proxies::EnvironmentProxies;
pub use self::reply::Reply;
pub use self::retry::Retries;
pub use self::tls::install_provider;
pub use self::transport::{Answer, Outgoing, Transport};
