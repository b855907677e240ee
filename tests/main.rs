//! The built program and its parts seen from outside, one module for each surface.

mod support;

/// What comes from upstreams, and every way in which it can go wrong.
mod upstream;
