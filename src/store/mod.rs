//! What users upload. Never evicted, and nothing here shares a folder or a rule with `cache/`.
//!
//! [`Hosted`] is one tenant's chart packages in ChartMuseum's layout. Knows nothing about HTTP, upstreams or who may write.

mod hosted;
pub mod registry;

pub use self::hosted::{
    Depth, Freshness, Hosted, Limits, OverwritePermission, Parts, Places, Problem, Spool, Spooled,
    StoredContent, StoredFile, StoredObject, Upload,
};
