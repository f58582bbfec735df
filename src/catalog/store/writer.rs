//! The thread that has both databases.
//!
//! What can be listed again is written before what cannot: an intent that is
//! ended must not leave the disk before what came of it is there. Where the
//! cache cannot be written, that is noted among the user data first, and the
//! next start does not trust it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;

use super::owner::Owner;
use super::queue::{Group, Job, Side};
use super::real::Instant;
use super::shared::{Shared, Sleep, lock};
use super::take_over::TakingOver;
use super::trouble::Trouble;
use super::unsaved::Unsaved;
use super::user::Kind;
use super::{Write, cache, layout, rows, user};

/// Listings and changes written in one transaction at the most.
const GROUP: usize = 1_000;
/// Damage that is mended at the most in a time.
const MENDS: usize = 3;
const MENDED: Duration = Duration::from_secs(3_600);
/// After so many attempts in a row nobody waits for the disk any more.
const ATTEMPTS: u32 = 3;
/// How long until the next attempt; the last one is repeated.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// Whether a database can be written.
#[derive(Debug, Default)]
pub(super) struct Health(Option<Failing>);

#[derive(Debug)]
struct Failing {
    attempts: u32,
    next: Instant,
    why: String,
}

impl Health {
    fn is_due(&self) -> bool {
        self.next().is_none_or(|next| next <= Instant::now())
    }

    fn next(&self) -> Option<Instant> {
        self.0.as_ref().map(|failing| failing.next)
    }

    fn why(&self) -> Option<&str> {
        self.0.as_ref().map(|failing| &*failing.why)
    }

    /// Why nobody waits for it any more.
    fn given_up(&self) -> Option<&str> {
        let failing = self.0.as_ref()?;
        (failing.attempts >= ATTEMPTS).then_some(&*failing.why)
    }

    fn failed(&mut self, side: Side, trouble: &Trouble) {
        let attempts = self.0.as_ref().map_or(0, |failing| failing.attempts) + 1;
        let at = (attempts as usize - 1).min(PAUSES.len() - 1);
        if attempts == ATTEMPTS {
            match side {
                Side::User => {
                    tracing::error!(%trouble, "user data cannot be written to disk; trying again");
                }
                Side::Cache => {
                    tracing::warn!(%trouble, "what is known of the account cannot be written to disk; trying again");
                }
            }
        }
        self.0 = Some(Failing {
            attempts,
            next: Instant::now() + PAUSES[at],
            why: trouble.text().to_owned(),
        });
    }

    fn worked(&mut self, side: Side) {
        if let Some(failing) = self.0.take()
            && failing.attempts >= ATTEMPTS
        {
            tracing::info!(?side, "the disk takes writes again");
        }
    }
}

/// What the thread has of one of the databases.
#[derive(Debug, Default)]
pub(super) struct Half {
    pub(super) connection: Option<Connection>,
    pub(super) health: Health,
    /// It is in use: no time in it lies ahead.
    pub(super) is_begun: bool,
    /// What it holds of earlier runs was told.
    pub(super) is_learnt: bool,
    /// When damage was met.
    mended: Vec<Instant>,
}

impl Half {
    /// Whether damage is mended once more: what is damaged again and again
    /// would fill the disk with what is put away.
    pub(super) fn may_mend(&mut self) -> Result<(), Trouble> {
        self.mended.retain(|at| at.elapsed() < MENDED);
        if self.mended.len() >= MENDS {
            let text =
                "it is damaged again and again; check the disk and the memory of this machine";
            return Err(Trouble::Passing(text.to_owned()));
        }
        self.mended.push(Instant::now());
        Ok(())
    }
}

/// The thread that has both databases.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) user: Half,
    pub(super) cache: Half,
    pub(super) kind: Kind,
    /// By which the cache knows its user data.
    pub(super) id: Option<String>,
    /// The number of this start.
    pub(super) starts: u32,
    /// The cache of the last run must not be trusted.
    pub(super) wipes_cache: bool,
    /// The next cache takes the place of one of which these changes were saved.
    pub(super) saved: Option<Vec<cache::ChangeRow>>,
    pub(super) owner: Owner,
    pub(super) taking: TakingOver,
    /// Names by which earlier versions knew the same.
    pub(super) former: Vec<String>,
}

/// Whoever waits is told, also when the thread ends by a defect.
struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.set_taking(false);
        let mut queue = lock(&self.0.queue);
        queue.is_stuck = true;
        queue.refusing = Some("the server does not write any more".to_owned());
        for waiting in queue.waiting.drain(..) {
            let _ = waiting
                .answer
                .send(Err("the server is stopping".to_owned()));
        }
        drop(queue);
        self.0.make_room();
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, kind: Kind, former: Vec<String>) -> Self {
        Self {
            shared,
            user: Half::default(),
            cache: Half::default(),
            kind,
            id: None,
            starts: 0,
            wipes_cache: false,
            saved: None,
            owner: Owner::new(kind),
            taking: TakingOver::default(),
            former,
        }
    }

    /// Works until the store is dropped and all that was queued is written, or
    /// cannot be.
    pub(super) fn run(mut self) {
        let alive = Alive(Arc::clone(&self.shared));
        loop {
            let shared = Arc::clone(&self.shared);
            shared.sleep(|queue| self.sleeps(queue));
            let is_closing = lock(&self.shared.queue).is_closing;
            if is_closing {
                self.close();
                break;
            }
            self.turn(false);
        }
        drop(self);
        drop(alive);
    }

    fn sleeps(&self, queue: &super::queue::Queue) -> Sleep {
        if queue.is_closing || !queue.jobs.is_empty() {
            return Sleep::No;
        }
        let has_user = queue.has_unsaved()
            || self.user.connection.is_none()
            || !self.user.is_begun
            || queue.is_noted_behind != self.is_behind(queue, queue.queued.cache);
        let has_cache = queue.is_cache_behind() || self.cache.connection.is_none();
        // It is opened behind the user data.
        let has_cache = has_cache && self.user.connection.is_some();
        let is_well = self.user.connection.is_some() && self.user.health.next().is_none();
        let mut due = self.taking.due().filter(|_| is_well);
        for (has_work, half) in [(has_user, &self.user), (has_cache, &self.cache)] {
            if has_work {
                let next = half.health.next().unwrap_or_else(Instant::now);
                due = Some(due.map_or(next, |due| due.min(next)));
            }
        }
        match due {
            Some(due) if due <= Instant::now() => Sleep::No,
            Some(due) => Sleep::Until(due),
            None => Sleep::Long,
        }
    }

    /// Writes what was queued until now. Once more, whenever that is due, if
    /// it is the last time.
    pub(super) fn turn(&mut self, is_last: bool) {
        let (goal, unsaved, position) = {
            let mut queue = lock(&self.shared.queue);
            (queue.queued.cache, queue.take_unsaved(), queue.queued.user)
        };
        if self.user.connection.is_none() && (is_last || self.user.health.is_due()) {
            match self.open_user() {
                Ok(()) => self.user.health.worked(Side::User),
                Err(trouble) => self.user.health.failed(Side::User, &trouble),
            }
        }
        if self.user.connection.is_some() {
            if is_last || self.cache.health.is_due() {
                self.write_cache(goal);
            }
            if is_last || self.user.health.is_due() {
                self.write_user(&unsaved, position, goal);
            }
        }
        drop(unsaved);
        self.publish();
        if !is_last {
            self.work();
        }
    }

    /// Whether the cache lacks something that came before a moment.
    fn is_behind(&self, queue: &super::queue::Queue, goal: u64) -> bool {
        queue.written.cache < goal || !queue.lost.is_empty() || self.cache.connection.is_none()
    }

    fn write_cache(&mut self, goal: u64) {
        match self.try_write_cache(goal) {
            Ok(()) => self.cache.health.worked(Side::Cache),
            Err(trouble) => self.cache.health.failed(Side::Cache, &trouble),
        }
    }

    fn try_write_cache(&mut self, goal: u64) -> Result<(), Trouble> {
        let mut damages = 0;
        loop {
            let (lost, group) = {
                let queue = lock(&self.shared.queue);
                let is_done = queue.written.cache >= goal && queue.lost.is_empty();
                if is_done && self.cache.connection.is_some() {
                    return Ok(());
                }
                (queue.lost.clone(), queue.group(GROUP))
            };
            let written = match self.cache.connection.is_some() {
                true => self.write_group(&lost, &group),
                false => self.open_cache(),
            };
            match written {
                Ok(()) => {}
                Err(Trouble::Damage(why)) if damages < 2 => {
                    damages += 1;
                    self.reset_cache(&why)?;
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    fn write_group(&mut self, lost: &BTreeSet<i64>, group: &Group) -> Result<(), Trouble> {
        let Some(connection) = &mut self.cache.connection else {
            return Ok(());
        };
        self.shared.check(Side::Cache, connection)?;
        if !lost.is_empty() {
            cache::forget(connection, lost)?;
        }
        match rows::write_group(connection, &group.writes).map_err(Trouble::from) {
            Err(Trouble::Faulty(_)) => {
                for write in &group.writes {
                    let one = std::slice::from_ref(write);
                    match rows::write_group(connection, one).map_err(Trouble::from) {
                        Err(Trouble::Faulty(why)) => {
                            tracing::error!(
                                why,
                                "something that is known of the account cannot be written to disk; this is a defect of pluton-fichier, please report it"
                            );
                            if let Some(folder) = write.folder() {
                                cache::forget(connection, &BTreeSet::from([folder]))?;
                            }
                        }
                        other => other?,
                    }
                }
            }
            other => other?,
        }
        {
            let mut queue = lock(&self.shared.queue);
            queue.lost.retain(|folder| !lost.contains(folder));
            queue.group_written(group);
        }
        self.shared.make_room();
        if self.owner.has_strays() {
            for write in &group.writes {
                if let Write::Listing {
                    folder, content, ..
                } = &**write
                {
                    let identities = lock(&self.shared.identities).clone();
                    let ours = self.owner.shown_by(*folder, content, &identities);
                    self.take_over(ours);
                }
            }
        }
        Ok(())
    }

    fn write_user(&mut self, unsaved: &Unsaved, position: u64, goal: u64) {
        let behind = {
            let mut queue = lock(&self.shared.queue);
            let behind = self.is_behind(&queue, goal);
            if unsaved.is_empty() && self.user.is_begun && behind == queue.is_noted_behind {
                queue.written.user = position;
                return;
            }
            behind
        };
        let mut written = self.try_write_user(unsaved, behind);
        if let Err(Trouble::Damage(why)) = &written {
            written = self
                .salvage_user(&why.clone())
                .and_then(|()| self.try_write_user(unsaved, behind));
        }
        match written {
            Ok(()) => {
                self.user.health.worked(Side::User);
                {
                    let mut queue = lock(&self.shared.queue);
                    queue.is_noted_behind = behind;
                    queue.unsaved_written(unsaved, position);
                }
                self.learn_identities(unsaved.identities().cloned().collect());
            }
            Err(trouble) => self.user.health.failed(Side::User, &trouble),
        }
    }

    fn try_write_user(&mut self, unsaved: &Unsaved, behind: bool) -> Result<(), Trouble> {
        match self.write_unsaved(unsaved, behind, false) {
            Err(Trouble::Faulty(_)) => self.write_unsaved(unsaved, behind, true),
            written => written,
        }
    }

    /// Writes user data; one by one, leaving out what can never be written, if
    /// that is asked for.
    fn write_unsaved(
        &mut self,
        unsaved: &Unsaved,
        behind: bool,
        one_by_one: bool,
    ) -> Result<(), Trouble> {
        let Some(connection) = &mut self.user.connection else {
            return Err(Trouble::Passing("it is not open".to_owned()));
        };
        self.shared.check(Side::User, connection)?;
        let was_behind = lock(&self.shared.queue).is_noted_behind;
        let transaction = connection.transaction()?;
        if !self.user.is_begun {
            user::begin(&transaction, self.starts, self.shared.day.now())?;
        }
        match behind {
            true if !was_behind => layout::set_meta(&transaction, "cache_behind", "1")?,
            false if was_behind => {
                layout::clear_meta(&transaction, "cache_behind")?;
            }
            _ => {}
        }
        unsaved.apply(&transaction, |what, write| {
            if !one_by_one {
                return Ok(write()?);
            }
            transaction.execute_batch("SAVEPOINT one")?;
            match write().map_err(Trouble::from) {
                Err(Trouble::Faulty(why)) => {
                    transaction.execute_batch("ROLLBACK TO one")?;
                    tracing::error!(what, why, "user data cannot be written; this is a defect of pluton-fichier, please report it");
                }
                other => other?,
            }
            Ok(transaction.execute_batch("RELEASE one")?)
        })?;
        transaction.commit()?;
        self.user.is_begun = true;
        Ok(())
    }

    /// Tells what is so, and answers those who wait for it.
    pub(super) fn publish(&mut self) {
        {
            let mut status = lock(&self.shared.status);
            status.user = self.user.health.given_up().map(ToOwned::to_owned);
            // While nothing can be written the other is the lesser trouble.
            status.cache = match status.user {
                Some(_) => None,
                None => self.cache.health.given_up().map(ToOwned::to_owned),
            };
        }
        let mut queue = lock(&self.shared.queue);
        queue.is_stuck = self.cache.health.why().is_some() || self.cache.connection.is_none();
        queue.refusing = self.user.health.given_up().map(ToOwned::to_owned);
        let (written, stuck) = (queue.written, queue.is_stuck);
        let (is_whole, noted) = (queue.lost.is_empty(), queue.is_noted_behind);
        let refusing = queue.refusing.clone();
        queue.waiting.retain(|waiting| {
            let has_cache = written.cache >= waiting.until.cache;
            let has_user = written.user >= waiting.until.user;
            let (is_written, refusal) = match waiting.is_reader {
                true => (has_cache, stuck.then(String::new)),
                false => (
                    has_user && (has_cache && is_whole || noted),
                    refusing.clone(),
                ),
            };
            let answer = match (is_written, refusal) {
                (true, _) => Ok(()),
                (false, Some(why)) => Err(why),
                (false, None) => return true,
            };
            let _ = waiting.answer.send(answer);
            false
        });
        drop(queue);
        if stuck {
            self.shared.make_room();
        }
        self.shared.set_taking(self.taking.is_busy());
        if self.shared.has_lessons() {
            self.shared.news.send_replace(());
        }
    }

    /// What else there is to do.
    fn work(&mut self) {
        let job = lock(&self.shared.queue).jobs.pop_front();
        match job {
            Some(Job::Damaged {
                side,
                generation,
                why,
            }) => {
                let is_over = self.shared.reader(side).generation != generation;
                if is_over || self.user.connection.is_none() {
                    return;
                }
                let mended = match side {
                    Side::Cache => self.reset_cache(&why),
                    Side::User => self.salvage_user(&why),
                };
                if let Err(trouble) = mended {
                    match side {
                        Side::Cache => self.cache.health.failed(side, &trouble),
                        Side::User => self.user.health.failed(side, &trouble),
                    }
                }
                self.publish();
            }
            None => self.take_over_step(),
        }
    }

    /// What 1Fichier told the account is known by.
    pub(super) fn learn_identities(&mut self, new: Vec<String>) {
        if new.is_empty() {
            return;
        }
        let identities = {
            let mut known = lock(&self.shared.identities);
            known.extend(new);
            known.clone()
        };
        let ours = self.owner.known_as(&identities);
        self.take_over(ours);
    }

    /// Notes databases that are this one's.
    pub(super) fn take_over(&mut self, ours: Vec<(String, PathBuf)>) {
        self.taking.add(ours);
        self.shared.set_taking(self.taking.is_busy());
        self.shared
            .has_strays
            .store(self.owner.has_strays(), Ordering::Relaxed);
    }

    /// The last words.
    fn close(&mut self) {
        self.turn(true);
        let is_whole = {
            let queue = lock(&self.shared.queue);
            !queue.has_unsaved() && !queue.is_cache_behind()
        };
        let Some(connection) = self.user.connection.as_ref().filter(|_| is_whole) else {
            tracing::error!("the server ends before all that it knows is on disk");
            return;
        };
        // Without it the next start is only more careful.
        let _ = layout::set_meta(connection, "closed", "1");
    }
}

impl Shared {
    /// Where tests make trouble.
    #[cfg_attr(
        not(test),
        expect(
            clippy::unused_self,
            clippy::unnecessary_wraps,
            reason = "only tests use it"
        )
    )]
    pub(super) fn check(&self, side: Side, connection: &Connection) -> Result<(), Trouble> {
        #[cfg(test)]
        if let Some(hook) = &*lock(&self.hook) {
            hook(side, connection)?;
        }
        let _ = (side, connection);
        Ok(())
    }
}
