//! The ChartMuseum API of a tenant: what it has, what is in a chart, uploads and deletions (spec: chartmuseum.md §1.4).
//!
//! Reading shows what the merged index shows, hosted or not; writing needs a hosted store. Texts of errors are ChartMuseum's
//! where it has one, because scripts look for them.

mod body;
mod form;
mod package;
mod read;
mod upload;

pub(super) use self::package::{templates, values};
pub(super) use self::read::{chart, charts, version};
pub(super) use self::upload::{delete, upload, upload_provenance};
