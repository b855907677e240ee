//! Chart.yaml as Helm reads it.

use serde::Deserialize;

/// The content of a Chart.yaml. Every scalar is kept as text, because `1.10` must not become `1.1`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Metadata;
