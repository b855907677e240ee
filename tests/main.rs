//! The built program and its parts seen from outside, one module for each surface.

mod support;

/// The files in `config/`, and what a wrong file is told.
mod configs;
/// What comes from upstreams, and every way in which it can go wrong.
mod upstream;
