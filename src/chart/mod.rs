//! Charts: versions and constraints as Helm reads them, Chart.yaml, and bounded reading of archives.

pub mod archive;
pub mod constraint;
pub mod metadata;
pub(crate) mod node;
pub mod provenance;
pub mod values;
pub mod version;
pub(crate) mod yaml;

pub use self::constraint::Constraint;
pub use self::metadata::Metadata;
pub use self::version::Version;
