//! What every place for copies can do. One behaviour suite (`tests/suites/tier.rs`) runs for all of them.

use std::fmt;
use std::fs::File;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::digest::Digest;

/// A place that may hold copies of objects. Losing one costs time only, so nothing here returns an error:
/// whatever goes wrong is a miss, logged and counted by the tier.
#[async_trait]
pub trait Tier: Send + Sync + fmt::Debug {
    /// `memory`, `disk` or `redis`, as in metrics.
    fn name(&self) -> &'static str;

    /// The object, whose bytes were checked against the digest at least once; counts as a use.
    async fn get(&self, digest: &Digest) -> Option<Held>;

    /// Keeps bytes whose digest the caller has checked, where they fit; others leave for them, least used first.
    async fn put(&self, digest: &Digest, bytes: Bytes);

    /// Drops the object; readers that hold it are not disturbed.
    async fn remove(&self, digest: &Digest);

    /// What it holds now; zeros where only a remote server knows.
    fn stats(&self) -> TierStats;
}

/// An object that a tier holds.
#[derive(Clone, Debug)]
pub enum Held {
    /// In memory.
    Bytes(Bytes),
    /// An open file and its length. Unlinking it does not disturb those who hold it.
    File(Arc<File>, u64),
}

impl Held {
    /// Bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, length) => *length,
        }
    }
}

/// What one tier holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierStats {
    /// Objects held.
    pub objects: u64,
    /// Bytes held.
    pub bytes: u64,
    /// Bytes allowed.
    pub capacity: u64,
}

/// Objects up to this length (1 MiB) are handled in one piece: verified before their first byte is handed out, and kept in
/// memory. Longer ones are files that readers follow.
pub const SMALL: u64 = 1 << 20;
