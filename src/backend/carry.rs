//! Carrying a folder from one place to another, call by call.
//!
//! One call gives it a new name or a new parent, never both: 1Fichier may
//! ignore the parent then ([API §17]). An answer that is lost is resolved by
//! looking where the folder is. What stops half-way is undone.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Remote;
use super::directories::unstable;
use super::path::RemotePath;
use super::seen::SHOWN_LATE;
use crate::catalog::FolderRecord;
use crate::error::{Error, Reason, Result};
use crate::fichier::{self, Kind, Priority, ROOT, Scope, SubFolder, Turn};

/// Times that a call is made whose effect was not seen.
const ATTEMPTS: u32 = 3;
/// When listings are asked again that do not show the folder where 1Fichier
/// says that it is: they may lag ([API §I]).
const LAG: [u64; 3] = [0, 1, 3];
/// The same where 1Fichier refuses to do again what may have been done by a call
/// whose answer was lost.
const LAG_AFTER_LOSS: Duration = Duration::from_secs(31);
const LOOKS_AFTER_LOSS: u32 = 2;

/// How names begin that a folder has on its way only.
pub(super) const IN_BETWEEN: &str = ".pluton-fichier-move-";

/// A name that no other entry has.
pub(super) fn name_in_between() -> String {
    format!("{IN_BETWEEN}{}", uuid::Uuid::new_v4().simple())
}

/// Where a folder is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) parent: i64,
    /// Its stored name.
    pub(super) name: Box<str>,
}

impl Place {
    pub(super) fn new(parent: i64, name: &str) -> Self {
        Self {
            parent,
            name: name.into(),
        }
    }
}

/// The places that a folder passes, the last one included, so that it never
/// meets an entry of the same name: it is renamed first where the new name is
/// free, else moved first where the old one is, else it gets a third name on
/// its way.
pub(super) fn stages(
    from: &Place,
    to: &Place,
    is_free: impl Fn(&Place) -> bool,
    third: &str,
) -> Vec<Place> {
    if from.parent == to.parent || from.name == to.name {
        return vec![to.clone()];
    }
    let renamed = Place::new(from.parent, &to.name);
    if is_free(&renamed) {
        return vec![renamed, to.clone()];
    }
    let moved = Place::new(to.parent, &from.name);
    if is_free(&moved) {
        return vec![moved, to.clone()];
    }
    vec![
        Place::new(from.parent, third),
        Place::new(to.parent, third),
        to.clone(),
    ]
}

/// A folder that is to be carried.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) folder: FolderRecord,
    pub(super) from: Place,
    pub(super) to: Place,
    pub(super) stages: Vec<Place>,
    /// Paths, for errors.
    pub(super) source: RemotePath,
    pub(super) destination: RemotePath,
}

/// How it ended, where it did not fail.
#[derive(Debug)]
pub(super) enum Carried {
    /// The folder is where it should be: as 1Fichier says, and as listings show
    /// if the second is true. They may lag.
    Arrived(FolderRecord, bool),
    /// It is where it was: another program removed the folder that it was to
    /// go to.
    ParentGone,
    /// It is at one of two places, and listings will tell at which.
    Unknown(Error),
}

/// Why a folder did not get to a place.
#[derive(Debug)]
enum Trouble {
    /// 1Fichier refused.
    Refused(fichier::Error),
    /// Nobody knows whether it is there.
    Unknown(fichier::Error),
    /// It is at another place than it should be.
    Astray {
        place: Place,
        /// Because the folder that it was to go to is gone.
        parent_gone: bool,
    },
    /// Somebody made a folder of the same name there.
    Taken(SubFolder),
    /// It is nowhere.
    Lost,
}

/// Carries one folder.
#[derive(Debug)]
pub(super) struct Carrier<'a> {
    remote: &'a Remote,
    load: &'a Load,
    at: Place,
    /// The places that it came from, for the way back.
    passed: Vec<Place>,
    turn: Option<Turn>,
}

impl<'a> Carrier<'a> {
    /// Begins where the folder is. `turn` is for the first call.
    pub(super) fn new(remote: &'a Remote, load: &'a Load, turn: Option<Turn>) -> Self {
        Self {
            remote,
            load,
            at: load.from.clone(),
            passed: Vec::new(),
            turn,
        }
    }

    /// To the end, or back.
    ///
    /// # Errors
    /// ENTRY_EXISTS, DIRECTORY_NOT_FOUND, INVALID_PATH, or what 1Fichier says.
    /// Unless the text says otherwise, the folder is where it was.
    pub(super) async fn run(mut self) -> Result<Carried> {
        for stage in &self.load.stages {
            if let Err(trouble) = self.go(stage).await {
                return self.give_up(stage, trouble).await;
            }
        }
        let goal = self.at.clone();
        match self.verify().await {
            Ok(is_shown) => Ok(Carried::Arrived(self.record(), is_shown)),
            Err(trouble) => self.give_up(&goal, trouble).await,
        }
    }

    fn id(&self) -> i64 {
        self.load.folder.id
    }

    /// Work that goes on though the caller may have left.
    fn scope() -> Scope {
        Scope::new(Priority::Upload)
    }

    fn record(&self) -> FolderRecord {
        FolderRecord {
            name: self.at.name.clone(),
            ..self.load.folder.clone()
        }
    }

    fn arrive(&mut self, place: &Place) {
        self.passed.push(self.at.clone());
        self.be_at(place);
    }

    /// What is known of its content stays.
    fn be_at(&mut self, place: &Place) {
        let before = std::mem::replace(&mut self.at, place.clone());
        let catalog = &self.remote.account.catalog;
        catalog.folder_moved(before.parent, place.parent, self.record());
    }

    async fn go(&mut self, to: &Place) -> Result<(), Trouble> {
        let client = &self.remote.account.client;
        let rename = (self.at.name != to.name).then_some(&*to.name);
        let mut lost = 0;
        let mut unknown = None;
        loop {
            let turn = self.turn.take().unwrap_or_else(|| Self::scope().into());
            let error = match client.move_folder(turn, self.id(), to.parent, rename).await {
                Ok(()) => {
                    self.arrive(to);
                    return Ok(());
                }
                Err(error) => error,
            };
            if !error.outcome_unknown() && lost == 0 {
                return Err(Trouble::Refused(error));
            }
            // This call, or one before it, may have had its effect.
            match self.look([to.parent, self.at.parent]).await {
                Ok(Some(place)) if place == *to => {
                    self.arrive(to);
                    return Ok(());
                }
                Ok(Some(place)) if place != self.at => {
                    return Err(self.astray(to, place, false));
                }
                // Where it was, or nowhere between two listings: they may lag.
                Ok(_) => {}
                Err(_) => return Err(Trouble::Unknown(error)),
            }
            lost += 1;
            let is_refused = !error.outcome_unknown();
            let unknown = unknown.get_or_insert(error);
            if is_refused || lost >= ATTEMPTS {
                // Where listings lag, it may be there all the same, and what was
                // done is refused.
                return match self.shows_late(to).await {
                    Ok(Some(place)) if place == *to => {
                        self.arrive(to);
                        Ok(())
                    }
                    Ok(Some(place)) if place != self.at => Err(self.astray(to, place, false)),
                    // No call of several has had an effect.
                    Ok(Some(_)) if !is_refused => Err(Trouble::Refused(unknown.clone())),
                    // Listings may lag by more than that.
                    _ => Err(Trouble::Unknown(unknown.clone())),
                };
            }
            tokio::time::sleep(Duration::from_secs(lost.into())).await;
        }
    }

    /// Where listings of a while later show the folder: at the place that it
    /// was to go to, as soon as one shows it there.
    async fn shows_late(&self, to: &Place) -> Result<Option<Place>, fichier::Error> {
        let mut seen = None;
        for _ in 0..LOOKS_AFTER_LOSS {
            tokio::time::sleep(LAG_AFTER_LOSS).await;
            seen = self.look([to.parent, self.at.parent]).await?;
            if seen.as_ref() == Some(to) {
                break;
            }
        }
        Ok(seen)
    }

    /// Where the folder is, if it is in one of these or in the root.
    pub(super) async fn look(&self, parents: [i64; 2]) -> Result<Option<Place>, fichier::Error> {
        let client = &self.remote.account.client;
        let mut asked = Vec::new();
        for parent in parents.into_iter().chain([ROOT]) {
            if asked.contains(&parent) {
                continue;
            }
            asked.push(parent);
            match client.list_sub_folders(Self::scope(), parent).await {
                Ok(folders) => {
                    if let Some(found) = folders.iter().find(|folder| folder.id == self.id()) {
                        return Ok(Some(Place::new(parent, &found.name)));
                    }
                }
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// 1Fichier said OK each time. One listing shows whether it is so, and
    /// whether another program has put a folder of the same name there. False
    /// when it does not show yet: only what it shows elsewhere speaks against
    /// 1Fichier's word.
    async fn verify(&self) -> Result<bool, Trouble> {
        let account = &self.remote.account;
        let mut parent_gone = false;
        for pause in LAG {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            let listed = account
                .client
                .list_sub_folders(Self::scope(), self.at.parent)
                .await;
            let folders = match listed {
                Ok(folders) => folders,
                Err(error) if error.kind() == Kind::NotFound => {
                    parent_gone = true;
                    break;
                }
                Err(error) => {
                    tracing::warn!(path = %self.load.destination, %error, "1Fichier moved a directory and does not show now where it is");
                    account.catalog.doubt(self.load.from.parent);
                    account.catalog.doubt(self.at.parent);
                    return Ok(false);
                }
            };
            let Some(found) = folders.iter().find(|folder| folder.id == self.id()) else {
                continue;
            };
            if *found.name == *self.at.name {
                return match self.rival(folders) {
                    Some(rival) => Err(Trouble::Taken(rival)),
                    None => Ok(true),
                };
            }
            if self.passed.iter().all(|before| *before.name != *found.name) {
                let place = Place::new(self.at.parent, &found.name);
                return Err(self.astray(&self.at, place, false));
            }
        }
        match self.look([self.at.parent, self.load.from.parent]).await {
            Ok(Some(place)) if place == self.at => Ok(true),
            // Where it was before, or nowhere: listings lag.
            Ok(Some(place)) if !parent_gone && self.passed.contains(&place) => Ok(false),
            Ok(None) if !parent_gone => Ok(false),
            Ok(Some(place)) => Err(self.astray(&self.at, place, parent_gone)),
            Ok(None) => Err(Trouble::Lost),
            Err(_) if !parent_gone => Ok(false),
            Err(error) => Err(Trouble::Unknown(error)),
        }
    }

    /// What goes to a folder that is gone may end in the root ([API §J10]).
    fn astray(&self, wanted: &Place, place: Place, parent_gone: bool) -> Trouble {
        let from = &self.load.from;
        let parent_gone =
            parent_gone || (place.parent == ROOT && wanted.parent != ROOT && from.parent != ROOT);
        Trouble::Astray { place, parent_gone }
    }

    /// Another folder with the name that this one was to get.
    fn rival(&self, folders: Vec<SubFolder>) -> Option<SubFolder> {
        let codec = self.remote.codec;
        let (_, segment) = self.load.destination.split()?;
        folders
            .into_iter()
            .find(|folder| folder.id != self.id() && codec.matches(&folder.name, segment))
    }

    /// Back to where the folder was, as far as that is possible.
    async fn give_up(mut self, wanted: &Place, trouble: Trouble) -> Result<Carried> {
        let Load {
            source,
            destination,
            ..
        } = self.load;
        let account = &self.remote.account;
        let mut retry = false;
        let error = match trouble {
            Trouble::Unknown(error) => {
                for parent in [self.at.parent, wanted.parent] {
                    account.catalog.doubt(parent);
                }
                let (here, there) = (self.path_of(&self.at), self.path_of(wanted));
                let known = format!("the directory is at {here:?} or at {there:?}; look there");
                let error = Error::from(error).at(source.as_str()).also(known);
                return Ok(Carried::Unknown(error));
            }
            Trouble::Lost => return Err(self.lost()),
            Trouble::Taken(rival) => self.taken(wanted, rival),
            Trouble::Astray { place, parent_gone } => {
                retry = parent_gone;
                if self.at != *wanted {
                    self.passed.push(self.at.clone());
                }
                self.be_at(&place);
                self.not_as_asked(wanted, &place)
            }
            Trouble::Refused(error) => match self.explain(wanted, &error).await {
                Explained::ParentGone => {
                    retry = true;
                    Error::from(error).at(destination.as_str())
                }
                Explained::Lost => return Err(self.lost()),
                Explained::Taken(rival) => self.taken(wanted, rival),
                Explained::Not if error.kind() == Kind::Name => {
                    Error::from(error).at(destination.as_str())
                }
                Explained::Not => Error::from(error).at(source.as_str()),
            },
        };
        if let Err(trouble) = self.undo().await {
            tracing::error!(%source, ?trouble, "a directory could not be moved back");
            let here = self.path_of(&self.at);
            account.landings.moved(source, &here);
            account.catalog.doubt(self.at.parent);
            return Err(error
                .also(format_args!(
                    "it could not be moved back either: the directory is at {here:?} now"
                ))
                .with("current_path", here.as_str()));
        }
        if retry && wanted.parent != ROOT {
            account.catalog.folder_gone(wanted.parent);
            return Ok(Carried::ParentGone);
        }
        Err(error)
    }

    async fn undo(&mut self) -> Result<(), Trouble> {
        let mut back: VecDeque<_> = std::mem::take(&mut self.passed).into();
        while let Some(place) = back.pop_back() {
            if place == self.at {
                continue;
            }
            // Somewhere else, and under another name: in two calls.
            if place.parent != self.at.parent && place.name != self.at.name {
                self.go(&Place::new(place.parent, &self.at.name)).await?;
            }
            self.go(&place).await?;
        }
        Ok(())
    }

    /// Why 1Fichier refused, if a listing can tell.
    async fn explain(&self, wanted: &Place, error: &fichier::Error) -> Explained {
        let answered = matches!(
            error.kind(),
            Kind::NotFound | Kind::Refused | Kind::NoChange | Kind::Access
        );
        if !answered {
            return Explained::Not;
        }
        let client = &self.remote.account.client;
        // What others have made may show late.
        for pause in std::iter::once(0).chain(SHOWN_LATE) {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            match client.list_sub_folders(Self::scope(), wanted.parent).await {
                Ok(folders) => {
                    if let Some(rival) = self.rival(folders) {
                        return Explained::Taken(rival);
                    }
                }
                Err(error) if error.kind() == Kind::NotFound => return Explained::ParentGone,
                Err(_) => return Explained::Not,
            }
            if error.kind() == Kind::NotFound {
                break;
            }
        }
        if error.kind() != Kind::NotFound {
            return Explained::Not;
        }
        // Either the folder or the one that it was to go to, and the root is
        // always there.
        if wanted.parent == ROOT {
            return Explained::Lost;
        }
        match self.look([self.at.parent; 2]).await {
            Ok(Some(_)) => Explained::ParentGone,
            Ok(None) => Explained::Lost,
            Err(_) => Explained::Not,
        }
    }

    fn not_as_asked(&self, wanted: &Place, place: &Place) -> Error {
        let destination = self.load.destination.as_str();
        if place.parent == wanted.parent && self.load.from.name == wanted.name {
            // It was to keep its name: another program gave it this one.
            return unstable(&self.load.source);
        }
        if place.parent == wanted.parent {
            let (name, stored) = (&wanted.name, &place.name);
            let why = format!("1Fichier stores the name {name:?} as {stored:?}");
            return Error::invalid_path(destination, why).field("destination_path");
        }
        let here = self.path_of(place);
        Error::new(
            Reason::UpstreamProtocol,
            format!("1Fichier says that it has moved the directory, and shows it at {here:?}"),
        )
        .at(self.load.source.as_str())
    }

    fn taken(&self, wanted: &Place, rival: SubFolder) -> Error {
        let catalog = &self.remote.account.catalog;
        catalog.folder_shown(wanted.parent, FolderRecord::from(rival));
        entry_exists(&self.load.destination)
    }

    fn lost(&self) -> Error {
        let catalog = &self.remote.account.catalog;
        catalog.folder_gone(self.id());
        Error::directory_not_found(self.load.source.as_str())
    }

    fn path_of(&self, place: &Place) -> RemotePath {
        let parent = match place.parent {
            parent if parent == self.load.from.parent => self.load.source.split(),
            parent if parent == self.load.to.parent => self.load.destination.split(),
            _ => None,
        };
        let parent = parent.map_or_else(RemotePath::root, |(parent, _)| parent);
        parent.join(&self.remote.codec.to_segment(&place.name))
    }
}

/// What a listing tells of a refusal.
#[derive(Debug)]
enum Explained {
    ParentGone,
    Lost,
    Taken(SubFolder),
    Not,
}

pub(super) fn entry_exists(path: &RemotePath) -> Error {
    let shown = if path.is_root() {
        "the root"
    } else {
        path.as_str()
    };
    Error::new(
        Reason::EntryExists,
        format!("there is already something at {shown:?}; choose another destination"),
    )
    .at(path.as_str())
    .field("destination_path")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stages from `old` in 1 to a place, where these places are taken.
    fn way(to: (i64, &str), taken: &[(i64, &str)]) -> Vec<(i64, String)> {
        let from = Place::new(1, "old");
        let to = Place::new(to.0, to.1);
        let is_free = |place: &Place| !taken.contains(&(place.parent, &*place.name));
        stages(&from, &to, is_free, "third")
            .into_iter()
            .map(|place| (place.parent, place.name.into()))
            .collect()
    }

    #[test]
    fn each_call_does_one_thing_and_meets_no_other_entry() {
        let way = |to, taken: &[(i64, &str)]| -> Vec<String> {
            let way = super::tests::way(to, taken);
            let texts = way.iter().map(|(parent, name)| format!("{parent}/{name}"));
            texts.collect()
        };
        assert_eq!(way((1, "new"), &[]), ["1/new"]);
        assert_eq!(way((2, "old"), &[]), ["2/old"]);
        assert_eq!(way((2, "new"), &[]), ["1/new", "2/new"]);
        assert_eq!(way((2, "new"), &[(1, "new")]), ["2/old", "2/new"]);
        assert_eq!(
            way((2, "new"), &[(1, "new"), (2, "old")]),
            ["1/third", "2/third", "2/new"]
        );
    }
}
