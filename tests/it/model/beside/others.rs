//! What another program does, chosen at random from what there is.

use std::time::Duration;

use fastrand::Rng;
use pluton_fichier::emulator::Control;

use super::account::Account;
use super::memory::Memory;
use crate::model::run::codec;
use crate::model::{CONTENTS, bytes_of};

/// What it does. Files and folders are picked by number of those there are.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) enum Deed {
    Upload,
    Replace,
    Rename,
    Move,
    Copy,
    Remove,
    MakeFolder,
    MoveFolder,
    RenameFolder,
    SwapFolders,
    RemoveFolder,
    /// A folder leaves all paths that clients know, with all that is in it.
    TakeFolder,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct Act {
    deed: Deed,
    what: usize,
    into: usize,
    name: &'static str,
    content: usize,
    /// Seen as late as other changes are.
    pub(super) late: bool,
}

/// Names that clients use, too.
const NAMES: [&str; 4] = ["a", "b", "c$ d", "x"];
/// What clients know nothing of.
const AWAY: &str = "away";
/// What lies in the root so soon after its upload is taken for lost there.
const LANDING: Duration = Duration::from_secs(75);

impl Act {
    pub(super) fn random(random: &mut Rng) -> Self {
        use Deed::*;
        const DEEDS: [Deed; 16] = [
            Upload,
            Upload,
            Replace,
            Replace,
            Rename,
            Move,
            Move,
            Copy,
            Remove,
            Remove,
            MakeFolder,
            MoveFolder,
            RenameFolder,
            SwapFolders,
            RemoveFolder,
            TakeFolder,
        ];
        Self {
            deed: DEEDS[random.usize(..DEEDS.len())],
            what: random.usize(..1_000),
            into: random.usize(..1_000),
            name: NAMES[random.usize(..NAMES.len())],
            content: random.usize(..CONTENTS.len()),
            late: random.bool(),
        }
    }

    /// Does it, if it is possible and puts nothing in the place of something
    /// else. Two folders of one name, or a file and a folder, are for other
    /// tests.
    pub(super) fn perform(&self, control: &Control, account: &Account, memory: &Memory) {
        let control = match self.late {
            true => control.lagging(),
            false => control.clone(),
        };
        let files: Vec<&String> = account.files.keys().collect();
        let mut folders: Vec<u64> = account.folders.keys().copied().collect();
        let away = control.folder_at(AWAY).map(|node| node.id);
        folders.retain(|id| Some(*id) != away);
        let pick = |of: &[u64], number: usize| of.get(number % of.len().max(1)).copied();
        let into = match self.into % 3 {
            0 => 0,
            _ => pick(&folders, self.into).unwrap_or(0),
        };
        let stored = codec().to_stored(self.name).expect("a name");
        let taken = |folder: u64, name: &str, also_files: bool| {
            account
                .folders
                .values()
                .any(|other| other.parent == folder && other.name == name)
                || also_files
                    && account
                        .files
                        .values()
                        .any(|other| other.folder == folder && other.name == name)
        };
        match self.deed {
            Deed::Upload => {
                // Onto a file that is there now and then.
                if !taken(into, self.name, !self.what.is_multiple_of(4)) {
                    control.add_file(into, &stored, &bytes_of(self.content));
                }
            }
            Deed::MakeFolder => {
                if !taken(into, self.name, true) {
                    control.add_folder(into, &stored);
                }
            }
            Deed::Replace | Deed::Rename | Deed::Move | Deed::Copy | Deed::Remove => {
                let Some(url) = files.get(self.what % files.len().max(1)) else {
                    return;
                };
                let file = &account.files[*url];
                let landing = memory
                    .added_at(url)
                    .is_some_and(|at| at.elapsed() < LANDING);
                match self.deed {
                    Deed::Replace => drop(control.replace_file(url, &bytes_of(self.content))),
                    Deed::Rename if !taken(file.folder, self.name, true) => {
                        control.rename_file(url, &stored);
                    }
                    Deed::Move if into == 0 && landing => {}
                    Deed::Move if !taken(into, &file.name, true) => {
                        control.move_file(url, into);
                    }
                    Deed::Copy if !taken(into, self.name, true) => {
                        control.copy_file(url, into, Some(&stored));
                    }
                    Deed::Remove => drop(control.remove_file(url)),
                    _ => {}
                }
            }
            Deed::MoveFolder
            | Deed::RenameFolder
            | Deed::SwapFolders
            | Deed::RemoveFolder
            | Deed::TakeFolder => {
                let Some(id) = pick(&folders, self.what) else {
                    return;
                };
                let folder = &account.folders[&id];
                match self.deed {
                    Deed::MoveFolder if !taken(into, &folder.name, true) => {
                        control.move_folder(id, into);
                    }
                    Deed::RenameFolder if !taken(folder.parent, self.name, true) => {
                        control.rename_folder(id, &stored);
                    }
                    Deed::SwapFolders => {
                        let other = account.folders.get(&into);
                        let neighbours = other.is_some_and(|other| other.parent == folder.parent);
                        if neighbours && into != id {
                            control.swap_folder_names(id, into);
                        }
                    }
                    Deed::RemoveFolder => drop(control.remove_folder(id)),
                    Deed::TakeFolder => {
                        let away = away.unwrap_or_else(|| control.add_folder(0, AWAY));
                        if !taken(away, &folder.name, true) {
                            control.move_folder(id, away);
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}
