//! One binary of tests, one module for each surface.

/// The files in `config/`, and what a wrong file is told.
mod configs;
