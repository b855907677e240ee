//! A progress bar where a person waits: on a terminal, and only for work that takes long enough to wonder about.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use indicatif::{ProgressBar, ProgressStyle};

/// Fewer steps than this are done before anybody reads the bar.
const WORTH_A_BAR: usize = 500;

/// A bar that appears with the first report of long work; nothing where stderr is not a terminal.
#[derive(Debug)]
pub(super) struct Bar {
    label: &'static str,
    bar: OnceLock<ProgressBar>,
}

impl Bar {
    /// A bar that is not shown yet.
    pub(super) fn new(label: &'static str) -> Self {
        Self {
            label,
            bar: OnceLock::new(),
        }
    }

    /// Shows that `done` of `total` steps are done.
    pub(super) fn show(&self, done: usize, total: usize) {
        if total < WORTH_A_BAR || !std::io::stderr().is_terminal() {
            return;
        }
        let bar = self.bar.get_or_init(|| {
            let bar = ProgressBar::new(total as u64).with_message(self.label);
            if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:32}] {pos}/{len} {eta}") {
                bar.set_style(style);
            }
            bar
        });
        bar.set_position(done as u64);
    }

    /// Takes the bar off the terminal.
    pub(super) fn finish(&self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}
