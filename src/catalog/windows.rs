//! Listing by date what one listing does not hold ([API §G]).
//!
//! 1Fichier lists at most 5,000 files of a folder, in no known order, and has
//! no cursor; but it lists those between two dates. A [`Sweep`] covers all
//! dates with windows: the cut listing is a sample of the folder, and its
//! quantiles tell where windows that are not cut again may end. One that is cut
//! all the same is split. Nothing here does any input or output.
//!
//! Dates are seconds of French local time ([`time::local`]).

use std::fmt;

use crate::fichier::time;

/// Windows reach this far over the dates that they are for, because nobody
/// knows whether 1Fichier includes the very seconds it is given.
const MARGIN: i64 = 2;
/// How full a window may get, seen from its expected size: the rest and this
/// many standard deviations of the sample stay free.
const FULL: f64 = 0.95;
const DEVIATIONS: f64 = 1.5;
/// Split from the open end of a window: should 1Fichier list the newest (or
/// the oldest) first, then the other side holds this part of what it listed,
/// and nothing else.
const OPEN_END: f64 = 0.2;
/// Split so far from the end of a window that is full of what lies beyond it.
const FAR: i64 = 7_200;

/// The dates from `first` to `last`, both included; without one, it is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) first: Option<i64>,
    pub(super) last: Option<i64>,
    margin: i64,
    /// Bounds may lie in odd hours.
    exact: bool,
}

/// Why a folder cannot be listed completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// A file was listed with a date that was not asked for.
    Ignored { window: Window, date: i64 },
    /// More files than a listing shows have one date.
    OneSecond(i64),
    /// Files without a usable date cannot be told apart.
    NoDates,
}

fn shown(date: i64) -> String {
    time::format(date).unwrap_or_else(|| date.to_string())
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.last) {
            (Some(first), Some(last)) => {
                write!(f, "from {} to {}", shown(first), shown(last))
            }
            (Some(first), None) => write!(f, "from {} on", shown(first)),
            (None, Some(last)) => write!(f, "up to {}", shown(last)),
            (None, None) => f.write_str("of any date"),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ignored { window, date } => write!(
                f,
                "asked for the files {window}, it listed one of {}, so its date filters do not work",
                shown(*date)
            ),
            Self::OneSecond(date) => write!(
                f,
                "more files than one listing holds carry the same date, {}",
                shown(*date)
            ),
            Self::NoDates => f.write_str("it lists them without usable dates"),
        }
    }
}

impl Window {
    fn new(first: Option<i64>, last: Option<i64>) -> Self {
        let single = first.is_some() && first == last;
        Self {
            first,
            last,
            // Neighbours that are full must not fill it.
            margin: if single { 1 } else { MARGIN },
            exact: false,
        }
    }

    /// A window that cannot hold a file: French clocks never showed its dates.
    fn is_void(&self) -> bool {
        let hour = |date: Option<i64>| date.and_then(time::odd_hour);
        let skipped = hour(self.first).filter(|hour| !hour.twice);
        skipped.is_some() && skipped == hour(self.last)
    }

    /// Between which dates to ask. A bound in the hour that is shown twice may
    /// mean either pass of it, and one in the hour that is skipped may mean
    /// anything: it is moved out of that hour, unless the window is too full
    /// then. Whichever pass a bound means, it means the same for the next
    /// window, so that nothing falls between them.
    pub(super) fn bounds(&self) -> (Option<i64>, Option<i64>) {
        if self.exact {
            (
                self.first.map(|first| first - self.margin),
                self.last.map(|last| last + self.margin),
            )
        } else {
            self.outer()
        }
    }

    /// The same, out of odd hours in any case.
    fn outer(&self) -> (Option<i64>, Option<i64>) {
        let after = self.first.map(|first| {
            let bound = first - self.margin;
            time::odd_hour(bound).map_or(bound, |hour| hour.begin - 1)
        });
        let before = self.last.map(|last| {
            let bound = last + self.margin;
            time::odd_hour(bound).map_or(bound, |hour| hour.end)
        });
        (after, before)
    }

    fn holds(&self, date: i64) -> bool {
        self.first.is_none_or(|first| first <= date) && self.last.is_none_or(|last| date <= last)
    }
}

/// All dates, window by window, the oldest first: what is added meanwhile is
/// in the last one.
#[derive(Debug)]
pub(super) struct Sweep {
    /// The next one is at the end.
    pending: Vec<Window>,
    cap: usize,
}

impl Sweep {
    /// Plans windows. `dates` are those of a listing that was cut, in local
    /// time; the folder has about `total` files, and a listing holds `cap`.
    pub(super) fn plan(mut dates: Vec<i64>, total: u64, cap: usize) -> Result<Self, Obstacle> {
        dates.sort_unstable();
        let Some(newest) = dates.last() else {
            return Err(Obstacle::NoDates);
        };
        let sample = dates.len() as f64;
        let total = (total as f64).max(sample + 1.0);
        // So many of the sample stand for a window that is as full as it may
        // be; their number varies by its square root.
        let full = FULL * cap as f64 * sample / total;
        let root = (DEVIATIONS.mul_add(DEVIATIONS, 4.0 * full).sqrt() - DEVIATIONS) / 2.0;
        let windows = (sample / (root * root)).ceil().clamp(2.0, sample.max(2.0)) as usize;
        let mut ends: Vec<i64> = Vec::with_capacity(windows);
        for number in 1..windows {
            let end = dates[(number * dates.len() / windows).saturating_sub(1)];
            // A second with that many files gets a window of its own.
            if ends.last() == Some(&end) {
                ends.push(end - 1);
            }
            ends.push(end);
        }
        ends.sort_unstable();
        ends.dedup();
        ends.retain(|end| end < newest);
        if ends.is_empty() {
            ends.push(newest - 1);
        }
        let mut sweep = Self {
            pending: Vec::with_capacity(ends.len() + 1),
            cap,
        };
        let begins = ends.iter().map(|end| Some(end + 1)).rev().chain([None]);
        let lasts = [None]
            .into_iter()
            .chain(ends.iter().map(|end| Some(*end)).rev());
        for (first, last) in begins.zip(lasts) {
            sweep.push(first, last);
        }
        Ok(sweep)
    }

    /// Only the files from a date on.
    pub(super) fn from(first: i64, cap: usize) -> Self {
        Self {
            pending: vec![Window::new(Some(first), None)],
            cap,
        }
    }

    fn push(&mut self, first: Option<i64>, last: Option<i64>) {
        let window = Window::new(first, last);
        if !window.is_void() {
            self.pending.push(window);
        }
    }

    /// How many windows are still to be listed, as far as is known.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// The window to list next.
    pub(super) fn next(&mut self) -> Option<Window> {
        self.pending.pop()
    }

    /// Takes the dates of a window's files; whether these are all that it has.
    /// If not, the window comes again, in parts.
    pub(super) fn answer(
        &mut self,
        window: Window,
        dates: &[Option<i64>],
    ) -> Result<bool, Obstacle> {
        let (after, before) = window.outer();
        let strays = |date: &&i64| {
            after.is_some_and(|after| **date < after)
                || before.is_some_and(|before| before < **date)
        };
        if let Some(date) = dates.iter().flatten().find(strays) {
            return Err(Obstacle::Ignored {
                window,
                date: *date,
            });
        }
        if dates.len() < self.cap {
            return Ok(true);
        }
        self.split(window, dates.iter().flatten().copied().collect())?;
        Ok(false)
    }

    fn split(&mut self, mut window: Window, dates: Vec<i64>) -> Result<(), Obstacle> {
        let (mut inside, outside): (Vec<_>, Vec<_>) =
            dates.into_iter().partition(|date| window.holds(*date));
        let single = window.first.is_some() && window.first == window.last;
        // Perhaps it is full of what its neighbours are for.
        if !outside.is_empty() && (single || outside.len() > inside.len() / 4) {
            let (after, before) = window.bounds();
            // 1Fichier includes the seconds it is given, and no margin is
            // needed. In an odd hour it may be the other pass that is shown.
            let included = outside.iter().any(|date| {
                (Some(*date) == after || Some(*date) == before) && time::odd_hour(*date).is_none()
            });
            window.exact = true;
            if window.bounds() == (after, before)
                && (window.margin > 1 || (window.margin == 1 && included))
            {
                window.margin -= 1;
            }
            if window.bounds() != (after, before) {
                self.pending.push(window);
                return Ok(());
            }
        }
        if inside.is_empty() && outside.is_empty() {
            return Err(Obstacle::NoDates);
        }
        inside.sort_unstable();
        let at = |part: f64| {
            let position = (inside.len() as f64 * part) as usize;
            inside.get(position).copied()
        };
        let cut = match (window.first, window.last) {
            (Some(first), Some(last)) if first >= last => return Err(Obstacle::OneSecond(first)),
            (Some(first), Some(last)) => {
                let middle = first + (last - first) / 2;
                at(0.5).map_or(middle, |date| date.min(last - 1))
            }
            (None, Some(last)) => at(OPEN_END).unwrap_or(last - FAR).min(last - 1),
            (first, None) => at(1.0 - OPEN_END).unwrap_or(first.unwrap_or_default() + FAR),
        };
        self.push(Some(cut + 1), window.last);
        self.push(window.first, Some(cut));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
