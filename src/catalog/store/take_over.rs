//! Databases that belong to this account under another name are taken over in
//! the background, in steps between other writes.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::import::{Import, Newer};
use super::queue::Side;
use super::real::Instant;
use super::shared::lock;
use super::shelf::Held;
use super::trouble::Trouble;
use super::writer::Writer;
use super::{Lesson, layout, user};

/// How long until what could not be read is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// A database that is being taken over.
#[derive(Debug)]
struct Current {
    import: Import,
    /// `None` for a file that was put away.
    held: Option<Held>,
}

/// What is to be taken over.
#[derive(Debug, Default)]
pub(super) struct TakingOver {
    /// The name, which is empty for a file that was put away, and where the
    /// user data are.
    waiting: VecDeque<(String, PathBuf)>,
    current: Option<Current>,
    after: Option<Instant>,
}

impl TakingOver {
    pub(super) fn add(&mut self, ours: Vec<(String, PathBuf)>) {
        for one in ours {
            if !self.waiting.contains(&one) {
                self.waiting.push_back(one);
            }
        }
    }

    /// Whether there is anything.
    pub(super) fn is_busy(&self) -> bool {
        self.current.is_some() || !self.waiting.is_empty()
    }

    /// When the next step is due; `None` when there is none.
    pub(super) fn due(&self) -> Option<Instant> {
        self.is_busy()
            .then(|| self.after.unwrap_or_else(Instant::now))
    }

    fn is_due(&self) -> bool {
        self.due().is_some_and(|due| due <= Instant::now())
    }
}

impl Writer {
    /// One step, if there is anything to take over.
    pub(super) fn take_over_step(&mut self) {
        if !self.taking.is_due() || self.user.connection.is_none() || !self.user.is_begun {
            return;
        }
        self.taking.after = None;
        if let Err(trouble) = self.try_take_over_step() {
            tracing::warn!(%trouble, "what was remembered under another key cannot be taken over now; trying again");
            self.taking.after = Some(Instant::now() + AGAIN);
        }
        self.publish();
    }

    fn try_take_over_step(&mut self) -> Result<(), Trouble> {
        if self.taking.current.is_none() {
            self.begin_next()?;
        }
        let (Some(current), Some(connection)) =
            (&mut self.taking.current, &mut self.user.connection)
        else {
            return Ok(());
        };
        let mark = current.import.mark();
        let mut step = || -> Result<bool, Trouble> {
            self.shared.check(Side::User, connection)?;
            let transaction = connection.transaction()?;
            let is_last = current
                .import
                .step(&transaction, &self.shared.next_intent)?;
            transaction.commit()?;
            Ok(is_last)
        };
        match step() {
            Ok(false) => Ok(()),
            Ok(true) => {
                if let Some(current) = self.taking.current.take() {
                    self.taken_over(current);
                }
                Ok(())
            }
            Err(trouble) => {
                current.import.go_back(mark);
                Err(trouble)
            }
        }
    }

    fn begin_next(&mut self) -> Result<(), Trouble> {
        while let Some((name, path)) = self.taking.waiting.front().cloned() {
            let held = match name.is_empty() {
                true => None,
                false => match self.shared.held.shelf().hold(&name) {
                    // Another account of this server uses it.
                    None => {
                        self.taking.waiting.pop_front();
                        continue;
                    }
                    held => held,
                },
            };
            if !path.exists() {
                self.taking.waiting.pop_front();
                continue;
            }
            let import = match Import::new(&path, Newer::Here) {
                Err(Trouble::Damage(_)) => Import::salvage(&path),
                import => import,
            }?;
            self.taking.waiting.pop_front();
            let current = Current { import, held };
            let connection = self.user.connection.as_ref();
            let is_merged = match (current.import.id(), connection) {
                (Some(id), Some(connection)) => user::is_merged(connection, id)?,
                _ => false,
            };
            if is_merged {
                // A crash came before its files had another name.
                self.put_away(current);
                continue;
            }
            self.taking.current = Some(current);
            break;
        }
        Ok(())
    }

    fn taken_over(&mut self, mut current: Current) {
        let import = &mut current.import;
        let rows = import.rows();
        tracing::info!(
            database = %import.path().display(),
            rows,
            "what was remembered of the account under another key was taken over"
        );
        if rows > 0 {
            self.shared.has_checksums.store(true, Ordering::Relaxed);
            self.shared.has_modified.store(true, Ordering::Relaxed);
        }
        let intents = import.take_begun();
        {
            let mut queue = lock(&self.shared.queue);
            for intent in &intents {
                queue.stored.insert(intent.id, intent.clone());
            }
        }
        if !intents.is_empty() {
            let own = false;
            self.shared.teach(Lesson::Left { intents, own });
        }
        self.put_away(current);
        let identities = self.user.connection.as_ref().map(user::identities);
        if let Some(Ok(identities)) = identities {
            let known = lock(&self.shared.identities).clone();
            self.learn_identities(identities.difference(&known).cloned().collect());
        }
    }

    /// Gives the files of what was taken over another name. Its listings can be
    /// made anew.
    fn put_away(&mut self, current: Current) {
        let Current { import, held } = current;
        let path = import.path().to_owned();
        let is_damaged = import.is_damaged();
        drop(import);
        let away = match is_damaged {
            true => layout::put_away(&path, "damaged"),
            false => layout::put_away(&path, "merged"),
        };
        match away {
            Ok(away) if is_damaged => {
                tracing::error!(file = %away.display(), "some of it was damaged and could not be read");
                lock(&self.shared.status).damaged.push(away);
            }
            Ok(_) => {}
            // The next start finds that it is taken over already.
            Err(error) => {
                tracing::warn!(%error, database = %path.display(), "a database that was taken over keeps its name for now");
            }
        }
        if let Some(held) = held
            && held.cache() != path
            && let Err(error) = layout::remove(&held.cache())
        {
            tracing::debug!(%error, "listings of an earlier key stay");
        }
    }

    /// Ends what a crash has left of this.
    pub(super) fn forget_merged(&mut self) {
        let Some(connection) = &self.user.connection else {
            return;
        };
        let merged = self
            .owner
            .merged(|id| user::is_merged(connection, id).unwrap_or(false));
        self.take_over(merged);
    }
}
