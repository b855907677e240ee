//! The files of the quick start, embedded so that it runs from anywhere.

/// The sample charts, as (path below the data folder, content). `serve` writes those that are missing before it starts
/// on the embedded configuration.
pub fn quick_start_files() -> &'static [(&'static str, &'static [u8])] {
    &[]
}
