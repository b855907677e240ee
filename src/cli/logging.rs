//! Where log lines go: stderr, human on a terminal, JSON otherwise.

/// Starts logging for this process. To be called once, by `main`.
///
/// `CHARTGATE_LOG`, else `RUST_LOG`, filters (default `info`). Events of the `log` crate are included.
pub fn start() {
    todo!()
}
