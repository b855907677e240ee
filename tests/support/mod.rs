//! What tests share: the built program on free ports, upstreams that fail on purpose, a plain HTTP client that has no code
//! in common with it, the real clients, and the corpus of real indexes and charts.

pub(crate) mod clients;
pub(crate) mod corpus;
pub(crate) mod daemons;
pub(crate) mod distribution;
pub(crate) mod fake;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod port;
pub(crate) mod registries;
pub(crate) mod stores;
pub(crate) mod tools;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Waits until `condition` gives a value, asking every few milliseconds: the only way to wait for another process.
/// Panics after `limit`, saying `what` was awaited.
#[track_caller]
pub(crate) fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            start.elapsed() < limit,
            "waited {limit:?} in vain for: {what}"
        );
        pause(Duration::from_millis(15));
    }
}

/// Lets another process run for a while.
#[expect(
    clippy::disallowed_methods,
    reason = "another process cannot be awaited, and its clock cannot be controlled"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Every file below `folder`.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.path())
        .flat_map(|path| {
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}
