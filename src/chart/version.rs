//! Versions and constraints in Helm's grammar (Masterminds/semver v3), not Cargo's.

/// A chart version.
#[derive(Clone, Debug)]
pub struct Version;
/// A version constraint.
#[derive(Clone, Debug)]
pub struct Constraint;
