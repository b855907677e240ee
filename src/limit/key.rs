//! Who shares an allowance.

use std::net::IpAddr;

use crate::auth::{Identity, network};
use crate::config::LimitBy;

/// Who asks, and where.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The client's address; absent on Unix sockets.
    pub address: Option<IpAddr>,
    /// The client's identity.
    pub identity: &'a Identity,
    /// The tenant's label.
    pub tenant: &'a str,
}

/// Whose allowance a request counts against.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) enum Client<'a> {
    /// Nobody knows where it comes from.
    Unknown,
    /// Everybody in one tenant; several share their limits where they share a pattern.
    Tenant(&'a str),
    At(IpAddr),
    Named(&'static str, &'a str),
}

impl<'a> Key<'a> {
    pub(super) fn client(&self, by: LimitBy) -> Client<'a> {
        match (by, self.identity.name()) {
            (LimitBy::Tenant, _) => Client::Tenant(self.tenant),
            (LimitBy::Identity, Some(name)) => Client::Named(self.identity.kind(), name),
            (LimitBy::Identity, None) | (LimitBy::Address, _) => match self.address {
                Some(address) => Client::At(network(address)),
                None => Client::Unknown,
            },
        }
    }

    /// Whom a refusal is about, in its words.
    pub(super) fn whom(&self, by: LimitBy) -> String {
        match (by, self.identity.name(), self.address) {
            (LimitBy::Tenant, ..) => "everybody in this tenant together".to_owned(),
            (LimitBy::Identity, Some(name), _) => format!("`{name}`"),
            (_, _, Some(address)) => format!("`{address}`"),
            (_, _, None) => "this client".to_owned(),
        }
    }
}

impl Client<'_> {
    /// The same text on every replica, another one for every other client.
    pub(super) fn spelling(&self) -> String {
        match self {
            Self::Unknown => "unknown".to_owned(),
            Self::Tenant(label) => format!("tenant\n{label}"),
            Self::At(address) => format!("address\n{address}"),
            Self::Named(kind, name) => format!("{kind}\n{name}"),
        }
    }
}
