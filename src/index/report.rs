//! What cleaning dropped and repaired.
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

/// Why an entry was dropped or what was repaired. A closed list: the labels are stable names in metrics and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The same version came twice.
    Duplicate,
}

impl Reason {
    /// The stable snake_case label.
    pub fn label(self) -> &'static str {
        todo!()
    }
}

/// One dropped or repaired entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The key under `entries`.
    pub chart: Arc<str>,
    /// The version as written, where there is one.
    pub version: Arc<str>,
    /// Why.
    pub reason: Reason,
    /// A sentence for people.
    pub detail: Box<str>,
}

/// Totals and a bounded list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// All of them.
    pub total: usize,
    /// By reason.
    pub by_reason: BTreeMap<Reason, usize>,
    /// The first ones.
    pub items: Vec<Note>,
}

/// What was done to one source's entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SourceReport {
    /// Entries that are not published.
    pub dropped: Tally,
    /// Entries that are published otherwise than written.
    pub repaired: Tally,
}
