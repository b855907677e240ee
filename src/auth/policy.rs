//! What an identity may do in one tenant.

use super::Identity;
use crate::config::{Access, Action};
use crate::error::Result;

/// The access rules of one tenant.
#[derive(Clone, Debug)]
pub struct Policy {
    _access: Access,
}

/// The answer to "may they?", with the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// What allowed it; `None` where nothing did.
    pub by: Option<Granted>,
}

/// What allowed an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// `access.anonymous`: everybody may.
    Anonymous,
    /// `access.rules[n]`, the first that matches.
    Rule(usize),
}

impl Policy {
    /// The policy that `access` describes.
    pub fn new(_access: &Access) -> Self {
        todo!()
    }

    /// Whether `identity` may do `action`.
    pub fn allows(&self, _identity: &Identity, _action: Action) -> bool {
        todo!()
    }

    /// Whether `identity` may do `action`, and why.
    pub fn decide(&self, _identity: &Identity, _action: Action) -> Decision {
        todo!()
    }

    /// Nothing, where `identity` may do `action`; else the error to answer with: anonymous clients are asked for
    /// credentials (401), known ones are refused (403).
    pub fn authorize(&self, _identity: &Identity, _action: Action) -> Result<()> {
        todo!()
    }
}
