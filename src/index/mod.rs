//! Indexes: ingest, clean, merge, render.
