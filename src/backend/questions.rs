//! How often single files are asked about: in volume `file/info` leads to a ban
//! ([API §1.1]), so that listings have to tell where many are in doubt.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Questions in [`WINDOW`] at the most.
const MOST: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);

/// The questions of late of one account.
#[derive(Debug, Default)]
pub(super) struct Questions(Mutex<VecDeque<Instant>>);

impl Questions {
    /// Whether a file may be asked about now; counts it.
    pub(super) fn may_ask(&self) -> bool {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while asked.front().is_some_and(|at| at.elapsed() >= WINDOW) {
            asked.pop_front();
        }
        let may = asked.len() < MOST;
        if may {
            asked.push_back(Instant::now());
        }
        may
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
