//! Progress bars.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use super::io::Io;

const KNOWN: &str =
    "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left";
const COUNTING: &str = "{spinner} {msg} {elapsed}";
const UNKNOWN: &str = "{spinner} {msg} {binary_bytes} {binary_bytes_per_sec} {elapsed}";

/// A bar on standard error if somebody looks at it.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A bar for so many bytes; a spinner when nobody knows how many.
    pub(super) fn new(io: &Io, label: &str, total: Option<u64>) -> Self {
        if !io.interactive {
            return Self::none();
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr())
            .with_finish(ProgressFinish::AndClear)
            .with_message(label.to_owned());
        let progress = Self { bar: Some(bar) };
        progress.style(total.is_some());
        progress
    }

    /// A spinner for what is counted in words.
    pub(super) fn counting(io: &Io, label: &str) -> Self {
        let progress = Self::new(io, label, None);
        if let Some(bar) = &progress.bar
            && let Ok(style) = ProgressStyle::with_template(COUNTING)
        {
            bar.set_style(style);
        }
        progress
    }

    /// No bar.
    pub(super) fn none() -> Self {
        Self { bar: None }
    }

    fn style(&self, known: bool) {
        let Some(bar) = &self.bar else { return };
        let template = if known { KNOWN } else { UNKNOWN };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
    }

    /// Now it is known how many bytes there are.
    pub(super) fn total(&self, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            self.style(true);
        }
    }

    /// So many bytes are done.
    pub(super) fn position(&self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    /// So much is done, in words.
    pub(super) fn message(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
    }

    /// Runs something that prints.
    pub(super) fn suspend(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
