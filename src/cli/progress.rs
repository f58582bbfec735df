//! Progress bars.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use super::io::Io;
use super::output;

const KNOWN: &str =
    "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left";
const COUNTING: &str = "{spinner} {msg} {elapsed}";
const UNKNOWN: &str = "{spinner} {msg} {binary_bytes} {binary_bytes_per_sec} {elapsed}";
/// Characters of a name beside a bar.
const NAME: usize = 40;

/// A bar on standard error if somebody looks at it.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    /// What it is a part of.
    whole: Option<Arc<Whole>>,
    done: AtomicU64,
}

impl Progress {
    /// A bar for so many bytes; a spinner when nobody knows how many.
    pub(super) fn new(io: &Io, label: &str, total: Option<u64>) -> Self {
        if !io.interactive {
            return Self::none();
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        Self::styled(bar, label, total.is_some(), None)
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
        Self {
            bar: None,
            whole: None,
            done: AtomicU64::new(0),
        }
    }

    fn styled(bar: ProgressBar, label: &str, known: bool, whole: Option<Arc<Whole>>) -> Self {
        let bar = bar
            .with_finish(ProgressFinish::AndClear)
            .with_message(short(label));
        let progress = Self {
            bar: Some(bar),
            whole,
            done: AtomicU64::new(0),
        };
        progress.style(known);
        progress
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
        let before = self.done.swap(done, Relaxed);
        if let Some(whole) = &self.whole {
            // What is sent again is taken back.
            whole.done.fetch_add(done.wrapping_sub(before), Relaxed);
            whole.show();
        }
    }

    /// So many bytes were done before; they tell nothing of the rate.
    pub(super) fn resume(&self, done: u64) {
        self.position(done);
        if let Some(bar) = &self.bar {
            bar.reset_eta();
        }
    }

    /// So much is done, in words.
    pub(super) fn message(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(output::printable_name(text).into_owned());
        }
    }

    /// Runs something that prints.
    pub(super) fn suspend(&self, print: impl FnOnce()) {
        match (&self.whole, &self.bar) {
            (Some(whole), _) => whole.bars.suspend(print),
            (None, Some(bar)) => bar.suspend(print),
            (None, None) => print(),
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The end of a name, without what could steer a terminal.
fn short(label: &str) -> String {
    let label = output::printable_name(label);
    let length = label.chars().count();
    match length.checked_sub(NAME) {
        None | Some(0) => label.into_owned(),
        Some(more) => std::iter::once('…')
            .chain(label.chars().skip(more + 1))
            .collect(),
    }
}

/// The bars of several files, and one for all of them.
pub(super) struct Board {
    whole: Option<Arc<Whole>>,
}

struct Whole {
    bars: MultiProgress,
    bar: ProgressBar,
    files: AtomicU64,
    ended: AtomicU64,
    bytes: AtomicU64,
    done: AtomicU64,
}

impl Whole {
    fn show(&self) {
        self.bar.set_length(self.bytes.load(Relaxed));
        self.bar.set_position(self.done.load(Relaxed));
        let (ended, files) = (self.ended.load(Relaxed), self.files.load(Relaxed));
        self.bar.set_message(format!("{ended} of {files} files"));
    }
}

impl Board {
    pub(super) fn new(io: &Io) -> Self {
        if !io.interactive {
            return Self { whole: None };
        }
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let bar = bars.add(ProgressBar::new(0).with_finish(ProgressFinish::AndClear));
        if let Ok(style) = ProgressStyle::with_template(KNOWN) {
            bar.set_style(style.progress_chars("=> "));
        }
        let whole = Whole {
            bars,
            bar,
            files: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            done: AtomicU64::new(0),
        };
        let whole = Some(Arc::new(whole));
        Self { whole }
    }

    /// One more file is to be transferred.
    pub(super) fn found(&self, bytes: u64) {
        if let Some(whole) = &self.whole {
            whole.files.fetch_add(1, Relaxed);
            whole.bytes.fetch_add(bytes, Relaxed);
            whole.show();
        }
    }

    /// The bar of one of the files, above that of all.
    pub(super) fn file(&self, label: &str, total: u64) -> Progress {
        let Some(whole) = &self.whole else {
            return Progress::none();
        };
        let bar = whole
            .bars
            .insert_before(&whole.bar, ProgressBar::new(total));
        Progress::styled(bar, label, true, Some(Arc::clone(whole)))
    }

    /// A file has come to its end; if not by a transfer, nothing counts of it,
    /// so that the time that is left is that of the others.
    pub(super) fn ended(&self, progress: &Progress, bytes: u64, transferred: bool) {
        if let Some(whole) = &self.whole {
            whole.ended.fetch_add(1, Relaxed);
            if !transferred {
                progress.position(0);
                whole.bytes.fetch_sub(bytes, Relaxed);
            }
            whole.show();
        }
        progress.finish();
    }

    /// Runs something that prints.
    pub(super) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.whole {
            Some(whole) => whole.bars.suspend(print),
            None => print(),
        }
    }

    /// Takes the bars away.
    pub(super) fn finish(&self) {
        if let Some(whole) = &self.whole {
            whole.bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beside_bars_are_short_and_harmless() {
        assert_eq!(short("a\u{1b}[2J\nb"), "a\\u{1b}[2J\\nb");
        assert_eq!(short(&"x".repeat(NAME)), "x".repeat(NAME));
        let long = short(&format!("{}.txt", "é".repeat(NAME)));
        assert_eq!(long.chars().count(), NAME);
        assert!(long.starts_with('…') && long.ends_with("é.txt"));
    }

    /// Bars that nobody sees count all the same.
    fn hidden() -> Board {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        let whole = Whole {
            bar: bars.add(ProgressBar::new(0)),
            bars,
            files: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            done: AtomicU64::new(0),
        };
        let whole = Some(Arc::new(whole));
        Board { whole }
    }

    #[test]
    fn the_whole_counts_what_its_parts_do() {
        let board = hidden();
        let counts = || {
            let whole = board.whole.as_ref().unwrap();
            (
                whole.bar.position(),
                whole.bar.length(),
                whole.bar.message(),
            )
        };
        for size in [100, 50, 7] {
            board.found(size);
        }
        let (first, second) = (board.file("a", 100), board.file("b", 50));
        first.position(80);
        second.position(20);
        first.position(10);
        assert_eq!(counts(), (30, Some(157), "0 of 3 files".to_owned()));
        first.position(100);
        board.ended(&first, 100, true);
        board.ended(&second, 50, false);
        assert_eq!(counts(), (100, Some(107), "2 of 3 files".to_owned()));
        board.ended(&Progress::none(), 7, false);
        assert_eq!(counts(), (100, Some(100), "3 of 3 files".to_owned()));
    }
}
