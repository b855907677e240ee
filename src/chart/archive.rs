//! Bounded reading of chart archives.
