//! How the databases are opened, at the start and whenever that was not
//! possible before, and what is done about damage.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;

use super::import::{Import, Newer, take_clocks};
use super::queue::Side;
use super::shared::lock;
use super::shelf::shown;
use super::trouble::Trouble;
use super::writer::Writer;
use super::{ASKED, Lesson, cache, layout, owner, user};

/// What was put away because it is damaged, or of a later version.
const DAMAGED: &str = "damaged";
const NEWER: &str = "newer";
/// The name in `meta` of the database that is being taken over.
const IMPORTING: &str = "importing";
/// 1Fichier's limits do not look back further.
const RECENT: Duration = Duration::from_secs(60);

/// A database in which user data and listings lie together.
enum Former {
    None,
    Whole(Connection),
    /// It cannot be told whether it is one.
    Damaged,
}

impl Writer {
    /// Opens the user data, and makes them if there are none. Where there is no
    /// room to write they can be read at least.
    pub(super) fn open_user(&mut self) -> Result<(), Trouble> {
        // They may have kept others out.
        self.shared.reader(Side::User).connection = None;
        self.shared.reader(Side::Cache).connection = None;
        let mut opened = self.try_open_user();
        if let Err(Trouble::Damage(why)) = &opened {
            opened = self
                .salvage_user(&why.clone())
                .and_then(|()| self.try_open_user());
        }
        if let Err(trouble) = &opened {
            self.user.connection = None;
            tracing::debug!(%trouble, "user data cannot be opened");
            self.read_user_alone();
            self.read_cache_alone();
        }
        opened.map_err(|trouble| Trouble::Passing(trouble.text().to_owned()))
    }

    fn try_open_user(&mut self) -> Result<(), Trouble> {
        if self.user.connection.is_some() {
            return Ok(());
        }
        let path = self.shared.held.user();
        let connection = layout::connect(&path)?;
        self.shared.check(Side::User, &connection)?;
        match layout::schema(&connection)? {
            None => self.make_user(&connection)?,
            Some(_) if user::migrate(&connection, &path)? => {}
            Some(_) => {
                drop(connection);
                let away = layout::put_away(&path, NEWER)?;
                tracing::error!(file = %away.display(), "the user data are of a later version of this program; they are kept for it, and new ones are begun");
                return self.try_open_user();
            }
        }
        layout::sync_directory(&path);
        let next = user::next_intent(&connection)?;
        self.shared.next_intent.fetch_max(next, Ordering::Relaxed);
        self.finish_importing(&connection)?;
        self.take_former_layout(&connection)?;
        let before = user::before(&connection)?;
        self.learn_user(before);
        let reader = layout::connect(&path)?;
        self.shared.reader(Side::User).connection = Some(reader);
        self.user.connection = Some(connection);
        self.look_around();
        Ok(())
    }

    /// Reads what is there while it cannot be used otherwise.
    fn read_user_alone(&mut self) {
        let path = self.shared.held.user();
        if !path.exists() {
            return;
        }
        let read = layout::connect_alone(&path).and_then(|connection| {
            let is_ours = layout::schema(&connection)? == Some(user::SCHEMA)
                && layout::meta(&connection, IMPORTING)?.is_none();
            match is_ours {
                true => Ok((user::before(&connection)?, connection)),
                false => Err(Trouble::Passing("it is not complete".to_owned())),
            }
        });
        if let Ok((before, connection)) = read {
            self.learn_user(before);
            self.shared.reader(Side::User).connection = Some(connection);
        }
    }

    /// Makes the tables of an empty database.
    fn make_user(&mut self, connection: &Connection) -> Result<(), Trouble> {
        let former = self.former_layout()?;
        // A cache knows whether there were any.
        if self.known_to_cache().is_some() {
            let file = self.shared.held.user();
            tracing::error!(file = %file.display(), "the user data are gone: modification times, checksums and unfinished changes are not known any more; put the file back from a backup while the server does not run");
            lock(&self.shared.status).gone = Some(file);
        }
        let transaction = connection.unchecked_transaction()?;
        user::create(&transaction, &layout::new_id(), self.kind)?;
        match &former {
            Former::Whole(source) => {
                if layout::meta(source, "closed")?.is_some() {
                    layout::set_meta(&transaction, "closed", "1")?;
                }
            }
            Former::Damaged => {
                let away = layout::put_away(&self.shared.held.cache(), DAMAGED)?;
                layout::set_meta(&transaction, IMPORTING, &shown(&away))?;
            }
            Former::None => {
                layout::set_meta(&transaction, "closed", "1")?;
                self.take_clocks_of_strays(&transaction)?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// The key may be another one of an account that was used a moment ago.
    fn take_clocks_of_strays(&self, into: &Connection) -> Result<(), Trouble> {
        let shelf = self.shared.held.shelf();
        let mut taken = Ok(());
        owner::each_other(shelf, &shelf.strays(), |stray| {
            if let Err(Trouble::Passing(why)) = take_clocks(into, stray, ASKED) {
                taken = Err(Trouble::Passing(why));
            }
        });
        taken?;
        let now = self.shared.day.now();
        for name in ["last_call", "last_page"] {
            if let Some((at, _)) = user::fact(into, name)?
                && at + RECENT > now
            {
                self.shared.teach(Lesson::UnknownListings);
            }
        }
        Ok(())
    }

    /// The id of the user data that a cache belongs to.
    fn known_to_cache(&self) -> Option<String> {
        let path = self.shared.held.cache();
        if !path.exists() {
            return None;
        }
        let cache = layout::connect(&path).ok()?;
        layout::meta(&cache, "user").ok()?
    }

    /// A database of this name in which user data and listings lie together.
    fn former_layout(&self) -> Result<Former, Trouble> {
        let path = self.shared.held.cache();
        if !path.exists() {
            return Ok(Former::None);
        }
        let look = || -> Result<Former, Trouble> {
            let connection = layout::connect(&path)?;
            let schema = layout::schema(&connection)?;
            if !schema.is_some_and(|schema| cache::WITH_USER_DATA.contains(&schema)) {
                return Ok(Former::None);
            }
            let account = layout::meta(&connection, "account")?;
            let is_ours = account.as_deref() == Some(self.shared.held.name());
            Ok(match is_ours {
                true => Former::Whole(connection),
                // It is put away when it is opened.
                false => Former::None,
            })
        };
        match look() {
            Err(Trouble::Damage(_)) => Ok(Former::Damaged),
            other => other,
        }
    }

    /// User data of an earlier layout, before its database becomes a cache.
    fn take_former_layout(&mut self, connection: &Connection) -> Result<(), Trouble> {
        match self.former_layout()? {
            Former::Whole(_) => {}
            // A cache that is damaged is put away when it is opened.
            Former::None | Former::Damaged => return Ok(()),
        }
        let path = self.shared.held.cache();
        let import = match Import::new(&path, Newer::There) {
            Err(Trouble::Damage(_)) => Import::salvage(&path),
            import => import,
        }?;
        if let Some(id) = import.id()
            && user::is_merged(connection, id)?
        {
            return Ok(());
        }
        let (rows, is_damaged) = self.import_all(connection, import, None)?;
        tracing::info!(database = %path.display(), rows, "user data have a database of their own now");
        if is_damaged {
            // The cache is put away when it is opened, or read further.
            tracing::error!(database = %path.display(), "some user data were damaged and could not be read");
        }
        Ok(())
    }

    /// Goes on with what was not ended.
    fn finish_importing(&mut self, connection: &Connection) -> Result<(), Trouble> {
        let Some(file) = layout::meta(connection, IMPORTING)? else {
            return Ok(());
        };
        let path = self.shared.held.user().with_file_name(file);
        let import = match path.exists() {
            true => Some(Import::salvage(&path)?),
            false => None,
        };
        match import {
            Some(import) => {
                let stored = lock(&self.shared.queue).stored.clone();
                let known = self.user.is_learnt.then_some(stored);
                let (rows, _) = self.import_all(connection, import, known)?;
                tracing::error!(file = %path.display(), rows, "user data were damaged: what could be read of them was kept");
            }
            None => {
                layout::clear_meta(connection, IMPORTING)?;
            }
        }
        Ok(())
    }

    /// Takes over a database to its end. `known` are the intents that are to be
    /// there afterwards, where that is known better than the database tells.
    fn import_all(
        &mut self,
        connection: &Connection,
        mut import: Import,
        known: Option<super::queue::Intents>,
    ) -> Result<(u64, bool), Trouble> {
        import.skips_intents(known.is_some());
        loop {
            let transaction = connection.unchecked_transaction()?;
            let is_last = import.step(&transaction, &self.shared.next_intent)?;
            if is_last {
                for intent in known.iter().flat_map(|known| known.values()) {
                    user::set_intent(&transaction, intent)?;
                }
                layout::clear_meta(&transaction, IMPORTING)?;
            }
            transaction.commit()?;
            if is_last {
                return Ok((import.rows(), import.is_damaged()));
            }
        }
    }

    /// Tells what an earlier run has left, once.
    fn learn_user(&mut self, before: user::Before) {
        let shared = Arc::clone(&self.shared);
        self.id = Some(before.id.clone());
        if before.has_checksums {
            shared.has_checksums.store(true, Ordering::Relaxed);
        }
        if before.has_modified {
            shared.has_modified.store(true, Ordering::Relaxed);
        }
        lock(&shared.identities).extend(before.identities.iter().cloned());
        if std::mem::replace(&mut self.user.is_learnt, true) {
            return;
        }
        self.wipes_cache |= before.cache_behind;
        let shelf = shared.held.shelf();
        let mut starts: Vec<u32> = before.starts.into_iter().collect();
        // Numbers of files stay apart when databases are merged.
        owner::each_other(shelf, &shelf.names(), |other| {
            starts.extend(user::starts(other).ok().flatten());
        });
        self.starts = user::next_start(starts.into_iter());
        let order = (u64::from(self.starts) << 32) + 1;
        shared.order.fetch_max(order, Ordering::Relaxed);
        if before.crashed {
            shared.teach(Lesson::RecentCalls);
        }
        let next = before.left.iter().map(|intent| intent.id + 1).max();
        shared
            .next_intent
            .fetch_max(next.unwrap_or(1), Ordering::Relaxed);
        let mut queue = lock(&shared.queue);
        for intent in &before.left {
            queue.stored.insert(intent.id, intent.clone());
        }
        queue.is_noted_behind = before.cache_behind;
        drop(queue);
        shared.teach(Lesson::Left {
            intents: before.left,
            own: true,
        });
    }

    /// Looks for what other keys and other versions have left.
    fn look_around(&mut self) {
        let shelf = Arc::clone(self.shared.held.shelf());
        let name = self.shared.held.name().to_owned();
        {
            let mut status = lock(&self.shared.status);
            for path in shelf.put_away(&name, DAMAGED) {
                if !status.damaged.contains(&path) {
                    status.damaged.push(path);
                }
            }
            status.newer = shelf.put_away(&name, NEWER);
        }
        for path in shelf.put_away(&name, NEWER) {
            let readable = Connection::open(&path).map_err(Trouble::from);
            let schema = readable.and_then(|connection| layout::schema(&connection));
            if schema.is_ok_and(|schema| schema == Some(user::SCHEMA)) {
                self.taking.add(vec![(String::new(), path)]);
            }
        }
        for name in self.former.clone() {
            if let Some(data) = owner::data_path(&shelf, &name) {
                self.taking.add(vec![(name, data)]);
            }
        }
        self.owner.look_around(&shelf);
        let identities = lock(&self.shared.identities).clone();
        let ours = self.owner.known_as(&identities);
        self.take_over(ours);
        self.forget_merged();
    }

    /// Puts damaged user data away and goes on with what can be read of them.
    pub(super) fn salvage_user(&mut self, why: &str) -> Result<(), Trouble> {
        let path = self.shared.held.user();
        self.user.may_mend()?;
        let is_running = self.user.is_learnt;
        self.user.connection = None;
        self.user.is_begun = false;
        {
            let mut reader = self.shared.reader(Side::User);
            reader.connection = None;
            reader.generation += 1;
        }
        // What is not in the file itself yet.
        if let Ok(connection) = Connection::open(&path) {
            let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        }
        let id = self.id.clone().or_else(|| self.known_to_cache());
        let away = layout::put_away(&path, DAMAGED)?;
        tracing::error!(damaged = %away.display(), why, "user data (modification times, checksums, unfinished changes) are damaged; what can be read of them is kept");
        let connection = layout::connect(&path)?;
        let transaction = connection.unchecked_transaction()?;
        let id = id.unwrap_or_else(layout::new_id);
        user::create(&transaction, &id, self.kind)?;
        layout::set_meta(&transaction, IMPORTING, &shown(&away))?;
        transaction.commit()?;
        layout::sync_directory(&path);
        // What was begun is known in memory, unless this is the start.
        self.wipes_cache |= !is_running;
        drop(connection);
        self.try_open_user()
    }

    /// Opens the cache, behind the user data.
    pub(super) fn open_cache(&mut self) -> Result<(), Trouble> {
        self.shared.reader(Side::Cache).connection = None;
        let opened = self.try_open_cache();
        if opened.is_err() {
            self.cache.connection = None;
            self.read_cache_alone();
        }
        opened
    }

    fn try_open_cache(&mut self) -> Result<(), Trouble> {
        let path = self.shared.held.cache();
        let Some(id) = self.id.clone() else {
            return Err(Trouble::Passing("user data are not open".to_owned()));
        };
        if self.wipes_cache && path.exists() {
            layout::remove(&path)?;
            self.saved.get_or_insert_default();
        }
        self.wipes_cache = false;
        let cache::Opened {
            mut connection,
            replaced,
        } = cache::open(&path, self.shared.held.name(), &id)?;
        self.shared.check(Side::Cache, &connection)?;
        let now = self.shared.day.now();
        if replaced {
            self.saved.get_or_insert_default();
        }
        if let Some(saved) = &self.saved {
            cache::put_back(&mut connection, saved, now)?;
            self.saved = None;
        }
        let transaction = connection.transaction()?;
        let is_unknown = cache::begin(&transaction, now)?;
        transaction.commit()?;
        let reader = layout::connect(&path)?;
        if !std::mem::replace(&mut self.cache.is_learnt, true) {
            let was_replaced = cache::was_replaced_since(&connection, now - RECENT);
            if is_unknown || was_replaced {
                self.shared.teach(Lesson::UnknownListings);
            }
            let listed = cache::listed_since(&connection, now - RECENT)?;
            self.shared.teach(Lesson::Listed(listed));
        }
        self.cache.is_begun = true;
        self.shared.reader(Side::Cache).connection = Some(reader);
        self.cache.connection = Some(connection);
        Ok(())
    }

    /// Reads what is there while it cannot be used otherwise.
    fn read_cache_alone(&mut self) {
        let path = self.shared.held.cache();
        if self.wipes_cache || self.id.is_none() || !path.exists() {
            return;
        }
        let now = self.shared.day.now();
        let read = layout::connect_alone(&path).and_then(|connection| {
            let is_ours = cache::is_ours(&connection, self.shared.held.name(), self.id.as_deref())?;
            let listed = cache::listed_since(&connection, now - RECENT)?;
            match is_ours {
                true => Ok((connection, listed)),
                false => Err(Trouble::Passing("it is not of this layout".to_owned())),
            }
        });
        if let Ok((connection, listed)) = read {
            if !std::mem::replace(&mut self.cache.is_learnt, true) {
                self.shared.teach(Lesson::Listed(listed));
            }
            self.shared.reader(Side::Cache).connection = Some(connection);
        }
    }

    /// Puts a damaged cache away and goes on with an empty one.
    pub(super) fn reset_cache(&mut self, why: &str) -> Result<(), Trouble> {
        let path = self.shared.held.cache();
        self.cache.may_mend()?;
        self.cache.connection = None;
        {
            let mut reader = self.shared.reader(Side::Cache);
            reader.connection = None;
            reader.generation += 1;
        }
        self.saved
            .get_or_insert_default()
            .extend(cache::salvage(&path));
        if path.exists() {
            let away = layout::put_away(&path, "set-aside")?;
            tracing::warn!(catalog = %path.display(), set_aside = %away.display(), why, "what is remembered of listings is damaged; folders are listed again when they are needed");
        }
        self.open_cache()
    }
}
