//! The distribution specification, row by row: the official suite where it can be had, and rows of our own that always run.
//!
//! A row is a function from a registry to what is wrong with it, so the same rows can be held against any registry:
//! `CHARTGATE_CONFORMANCE=127.0.0.1:5000/some/where cargo test --test main conformance::rows::against_any_registry -- --ignored`.

/// Blobs: every way to push one, to read pieces of one, and to be refused.
mod blobs;
/// What registries hold: images, indexes, artifacts, and whatever refers to them.
mod data;
/// Lists of tags and of referrers.
mod lists;
/// What is refused, and what else this project promises about manifests.
mod manifests;
/// The official suite.
mod official;
/// All rows, and against whom they are held.
mod rows;
/// Documents and blobs that belong together.
mod set;
/// A registry as the rows see it.
mod subject;
/// Upload sessions.
mod uploads;
