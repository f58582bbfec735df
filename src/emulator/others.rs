//! What another program does with the first account, and where things are by their paths.

use super::changes::When;
use super::control::{Control, Node, NodeKind};
use super::state::State;

impl Control {
    /// The file of this path; any of them if there are several.
    pub fn file_at(&self, path: &str) -> Option<Node> {
        self.files_at(path).into_iter().next()
    }

    /// The files of this path, in the order of [`Control::tree`].
    pub fn files_at(&self, path: &str) -> Vec<Node> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let state = self.shared.state();
        let mut nodes: Vec<Node> = folders_at(&state, folder)
            .into_iter()
            .flat_map(|id| self.files_in(&state, id))
            .filter(|node| node.path.rsplit('/').next() == Some(name))
            .collect();
        nodes.sort();
        nodes
    }

    /// The folder of this path, the one with the smallest id if there are several. The root, whose
    /// path is empty, has the id 0.
    pub fn folder_at(&self, path: &str) -> Option<Node> {
        let state = self.shared.state();
        let id = folders_at(&state, path).into_iter().min()?;
        self.folder_node(&state, id)
    }

    /// The folder that a folder is in; the root is in itself.
    pub fn parent_of(&self, folder_id: u64) -> Option<u64> {
        let state = self.shared.state();
        let folder = state.store.folder(0, folder_id)?;
        Some(folder.parent)
    }

    /// Moves a file to another folder; returns its link, which may be a new one
    /// ([`Behaviour::url_stability`](super::Behaviour::url_stability)). `None` if there is no such
    /// file or folder.
    pub fn move_file(&self, url: &str, folder_id: u64) -> Option<String> {
        self.carry(url, Some(folder_id), None)
    }

    /// Renames a file, whatever the name; returns its link, which may be a new one. `None` if
    /// there is no such file.
    pub fn rename_file(&self, url: &str, name: &str) -> Option<String> {
        self.carry(url, None, Some(name))
    }

    fn carry(&self, url: &str, folder: Option<u64>, name: Option<&str>) -> Option<String> {
        let mut state = self.shared.state();
        if let Some(folder) = folder {
            state.store.folder(0, folder)?;
        }
        let id = state.store.find(url)?;
        let id = state.carry_file(id, folder, name, self.when())?;
        let file = state.store.file(&id)?;
        Some(file.url(&id))
    }

    /// Copies a file into a folder, under its name or another one; returns the link of the copy.
    /// `None` if there is no such file or folder.
    pub fn copy_file(&self, url: &str, folder_id: u64, name: Option<&str>) -> Option<String> {
        let mut state = self.shared.state();
        state.store.folder(0, folder_id)?;
        let id = state.store.find(url)?;
        let copy = state.copy_file(&id, 0, folder_id, name, self.when())?;
        let file = state.store.file(&copy)?;
        Some(file.url(&copy))
    }

    /// Puts another file in the place of one: it has the same folder and name, and another link,
    /// which is returned. `None` if there is no such file.
    pub fn replace_file(&self, url: &str, content: &[u8]) -> Option<String> {
        let (folder, name) = {
            let state = self.shared.state();
            let file = state.store.file(&state.store.find(url)?)?;
            (file.folder, file.name.clone())
        };
        self.remove_file(url)
            .then(|| self.add_file(folder, &name, content))
    }

    /// Moves a folder with all that is in it; false if there is no such folder, or if that would
    /// put a folder into itself. The root stays. Other folders of its name are no hindrance.
    pub fn move_folder(&self, id: u64, parent_id: u64) -> bool {
        let mut state = self.shared.state();
        let possible = id != 0
            && state.store.folder(0, id).is_some()
            && state.store.folder(0, parent_id).is_some()
            && !state.store.is_within(0, parent_id, id);
        if possible {
            state.change_folder(0, id, self.when(), |folder| folder.parent = parent_id);
        }
        possible
    }

    /// Renames a folder, whatever the name; false if there is none. The root stays.
    pub fn rename_folder(&self, id: u64, name: &str) -> bool {
        let mut state = self.shared.state();
        let possible = id != 0 && state.store.folder(0, id).is_some();
        if possible {
            rename(&mut state, id, name.to_owned(), self.when());
        }
        possible
    }

    /// Gives each of two folders the name of the other at the same moment; false if one of them is
    /// missing, or the root.
    pub fn swap_folder_names(&self, one: u64, other: u64) -> bool {
        let mut state = self.shared.state();
        let name = |id: u64| {
            let folder = state.store.folder(0, id).filter(|_| id != 0)?;
            Some(folder.name.clone())
        };
        let (Some(name_of_one), Some(name_of_other)) = (name(one), name(other)) else {
            return false;
        };
        let when = self.when();
        rename(&mut state, one, name_of_other, when);
        rename(&mut state, other, name_of_one, when);
        true
    }

    /// Makes the listings of a folder show a folder that is not in it, at once and until it is
    /// taken back or gone: itself, say, or one that it is in. The folder stays where it is.
    pub fn add_false_entry(&self, shown_in: u64, folder: u64) {
        let mut state = self.shared.state();
        state.store.add_false_entry(0, shown_in, folder);
    }

    /// Takes all false entries back.
    pub fn clear_false_entries(&self) {
        self.shared.state().store.clear_false_entries();
    }

    /// The files in a folder, in no meaningful order.
    pub(super) fn files_in(&self, state: &State, id: u64) -> Vec<Node> {
        let Some(folder) = state.store.folder(0, id) else {
            return Vec::new();
        };
        let path = state.store.path(0, id);
        let files = folder
            .files
            .iter()
            .filter_map(|file_id| Some((file_id, state.store.file(file_id)?)));
        let nodes = files.map(|(file_id, file)| Node {
            path: join(&path, &file.name),
            kind: NodeKind::File,
            size: file.size,
            whirlpool: file.whirlpool.to_string(),
            url: file.url(file_id),
            id,
            date: self.shared.clock.local(file.date),
        });
        nodes.collect()
    }

    pub(super) fn folder_node(&self, state: &State, id: u64) -> Option<Node> {
        let folder = state.store.folder(0, id)?;
        Some(Node {
            path: state.store.path(0, id),
            kind: NodeKind::Folder,
            size: 0,
            whirlpool: String::new(),
            url: String::new(),
            id,
            date: self.shared.clock.local(folder.created),
        })
    }
}

fn rename(state: &mut State, id: u64, name: String, when: When) {
    state.change_folder(0, id, when, |folder| folder.name = name);
}

/// All folders of a path.
fn folders_at(state: &State, path: &str) -> Vec<u64> {
    let mut here = vec![0];
    for name in path.split('/').filter(|name| !name.is_empty()) {
        here = here
            .iter()
            .filter_map(|id| state.store.folder(0, *id))
            .flat_map(|folder| folder.folders.iter().copied())
            .filter(|id| {
                let folder = state.store.folder(0, *id);
                folder.is_some_and(|folder| folder.name == name)
            })
            .collect();
    }
    here
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}/{name}")
    }
}
