//! How often single files are asked about: in volume `file/info` leads to a ban
//! ([API §1.1]), so that listings have to tell where many are in doubt.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Questions in [`WINDOW`] at the most.
const MOST: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);

/// Where one question of a folder was asked less than this ago, a listing is
/// worth more: it tells of all that is in it.
const ALONE: Duration = Duration::from_secs(30);

/// After so many paths in a row that listings did not agree with, none is trusted
/// any more.
const WRONG: u32 = 3;

#[derive(Debug, Default)]
struct Asked {
    all: VecDeque<Instant>,
    by_folder: HashMap<i64, Instant>,
    /// Paths in a row that listings did not agree with.
    wrong_paths: u32,
}

/// The questions of late of one account.
#[derive(Debug, Default)]
pub(super) struct Questions(Mutex<Asked>);

impl Questions {
    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a file may be asked about now; counts it.
    pub(super) fn may_ask(&self) -> bool {
        let asked = &mut self.lock().all;
        while asked.front().is_some_and(|at| at.elapsed() >= WINDOW) {
            asked.pop_front();
        }
        let may = asked.len() < MOST;
        if may {
            asked.push_back(Instant::now());
        }
        may
    }

    /// The same for a file that a listing of its folder would show, too.
    pub(super) fn may_ask_in(&self, folder: i64) -> bool {
        {
            let asked = &mut self.lock().by_folder;
            asked.retain(|_, at| at.elapsed() < ALONE);
            if asked.insert(folder, Instant::now()).is_some() {
                return false;
            }
        }
        self.may_ask()
    }

    /// Whether the path of a file, as `file/info` tells it, means what it seems
    /// to: its form is not known for sure ([API §7]).
    pub(super) fn may_trust_paths(&self) -> bool {
        self.lock().wrong_paths < WRONG
    }

    /// A path was told that memory did not know, and listings agreed or not.
    pub(super) fn told_path(&self, agreed: bool) {
        let wrong = &mut self.lock().wrong_paths;
        *wrong = if agreed { 0 } else { *wrong + 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn questions_are_few() {
        let questions = Questions::default();
        for _ in 0..MOST {
            assert!(questions.may_ask());
        }
        assert!(!questions.may_ask());
        tokio::time::advance(WINDOW).await;
        assert!(questions.may_ask());
    }
}
