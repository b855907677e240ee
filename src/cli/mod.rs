//! The commands.

pub mod args;
pub mod logging;
pub mod passwd;
