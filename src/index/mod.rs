//! Indexes: ingest, clean, select, merge, render. Never performs I/O.
//!
//! ```text
//! text --scan--> pieces --hash--> seen before? -> reuse
//!                                 no: plain | yaml | json -> Node -> clean -> Entry
//! entries by chart = SourceIndex --Selection--> SourceIndex
//! SourceIndex, SourceIndex, ... --merge--> Snapshot (text, entity tag, look-ups)
//! ```
//!
//! Everything is immutable and shared: an unchanged chart keeps its `Arc` from ingest to ingest, which is how merging knows
//! that it need not render it again.

mod clean;
mod entry;
mod fields;
pub mod filter;
mod ingest;
mod json;
pub mod kept;
mod listing;
mod map;
mod members;
mod merge;
mod plain;
mod render;
mod report;
mod scan;
mod snapshot;
mod source;
#[cfg(test)]
mod testing;
mod text;
mod time;
mod urls;
mod whole;

pub use self::entry::Entry;
pub use self::filter::Selection;
pub use self::merge::{ChartView, Conflict, Found, Member};
pub use self::render::{Fields, Format, ServerInfo, Style, charts_url};
pub use self::report::{Note, Reason, SourceReport, Tally};
pub use self::snapshot::Snapshot;
pub use self::source::{ChartEntries, SourceIndex};
