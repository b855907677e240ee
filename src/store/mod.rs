//! What users upload. Never evicted, and nothing here shares a folder or a rule with `cache/`.
//!
//! [`Hosted`] is one tenant's chart packages in ChartMuseum's layout. Knows nothing about HTTP, upstreams or who may write.

mod hosted;

pub use self::hosted::{
    Depth, Hosted, OverwritePermission, Problem, Spool, Spooled, StoredFile, Upload,
};
