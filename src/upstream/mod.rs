//! Remote sources.

use crate::http::ByteStream;

/// A body that an upstream is sending.
#[derive(Debug)]
pub struct Download {
    /// The length of the whole object, where the upstream says it; not what is left after an offset.
    pub length: Option<u64>,
    /// The bytes from the asked offset on.
    pub body: ByteStream,
}
