//! The `chartgate` program: parse arguments, start logging, run one command, set the exit code.

use std::process::ExitCode;

use chartgate::cli;

// Parsing a large index allocates and frees a lot; jemalloc gives that memory back, glibc keeps it.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::run()
}
