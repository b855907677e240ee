//! The form in which a source's index is kept on disk.
use super::SourceIndex;
use crate::error::Result;

/// A compact binary form with version tag and checksum.
pub fn to_bytes(_index: &SourceIndex) -> Vec<u8> {
    todo!()
}

/// Reads what [`to_bytes`] wrote. Any damage is an error.
pub fn from_bytes(_bytes: &[u8]) -> Result<SourceIndex> {
    todo!()
}
