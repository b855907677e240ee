//! Indexes: ingest, clean, merge, render. Never performs I/O.

mod entry;
pub mod filter;
pub mod kept;
mod merge;
mod report;
mod source;

pub use self::entry::Entry;
pub use self::filter::Selection;
pub use self::merge::{ChartView, Conflict, Fields, Format, Found, Member, Snapshot, Style};
pub use self::report::{Note, Reason, SourceReport, Tally};
pub use self::source::{ChartEntries, SourceIndex};
