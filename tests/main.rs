//! The built program seen from outside, one module for each surface.

mod support;

/// Helm lists through the gateway what it lists from the raw index, with the same digests and bytes.
mod oracle;
