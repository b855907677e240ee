//! What users upload. Never evicted, and nothing here shares a folder or a rule with `cache/`.
//!
//! [`Hosted`] is one tenant's chart packages in ChartMuseum's layout, [`registry::HostedRegistry`] its images and artifacts.
//! Knows nothing about HTTP, upstreams or who may write.

mod files;
mod hosted;
pub mod registry;
mod scratch;

pub use self::hosted::{
    Depth, Freshness, Hosted, Limits, NameCheck, OverwritePermission, Parts, Places, Problem,
    Spool, Spooled, StoredContent, StoredFile, StoredObject, Upload,
};
