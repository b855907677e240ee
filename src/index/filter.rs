//! A member's view of a source: include, exclude, version range.
use super::SourceIndex;
use crate::error::Result;

/// Which charts and versions a member lets through.
#[derive(Clone, Debug, Default)]
pub struct Selection;

impl Selection {
    /// Globs on chart names (no include: all), and a version constraint.
    pub fn new(_include: &[String], _exclude: &[String], _versions: Option<&str>) -> Result<Self> {
        todo!()
    }
    /// Whether it lets everything through.
    pub fn is_identity(&self) -> bool {
        todo!()
    }
    /// The selected part; unchanged charts keep the `Arc` that they have in `previous` (its input and output).
    pub fn apply(
        &self,
        _index: &SourceIndex,
        _previous: Option<(&SourceIndex, &SourceIndex)>,
    ) -> SourceIndex {
        todo!()
    }
}
