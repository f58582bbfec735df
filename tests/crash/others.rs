//! A second program on the account. It works in a folder of its own, which
//! nobody else may touch, and changes what clients have written where they
//! expect it.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use pluton_fichier::emulator::{Control, Node as Held, NodeKind};

use crate::effect::{carry, is_within, place};
use crate::expected::{Node, Problem, Tree, Wrong};
use crate::operation::Content;

/// Its folder, and where it puts what it takes from clients.
pub(crate) const FOLDER: &str = "others";
const OUT: &str = "others/out";
/// So many files of its own are enough.
const MOST: usize = 60;

/// The second program.
pub(crate) struct Others {
    control: Control,
    random: Rng,
    /// All that is in its folder, as it left it.
    left: BTreeSet<Held>,
    /// How many changes it made in its folder, and to what clients wrote.
    pub(crate) own: u64,
    pub(crate) disturbances: BTreeMap<&'static str, u64>,
    number: u64,
    problems: Vec<Problem>,
}

impl Others {
    pub(crate) fn new(control: Control, seed: u64) -> Self {
        let folder = control.add_folder(0, FOLDER);
        for name in ["out", "a", "b"] {
            control.add_folder(folder, name);
        }
        let mut others = Self {
            control,
            random: Rng::with_seed(seed ^ 0x6f74_6865_7273),
            left: BTreeSet::new(),
            own: 0,
            disturbances: BTreeMap::new(),
            number: 0,
            problems: Vec::new(),
        };
        others.left = others.held();
        others
    }

    fn held(&self) -> BTreeSet<Held> {
        let nodes = self.control.tree().into_iter();
        nodes.filter(|node| is_within(&node.path, FOLDER)).collect()
    }

    /// Whether all is as it was left; what is not is told once.
    pub(crate) fn check(&mut self) {
        let held = self.held();
        if held == self.left {
            return;
        }
        let same = |one: &Held, other: &Held| match one.kind {
            NodeKind::File => one.url == other.url,
            NodeKind::Folder => other.kind == NodeKind::Folder && one.id == other.id,
        };
        let all = self.control.tree();
        let mut told: Option<&Held> = None;
        for node in self.left.difference(&held) {
            // What is in a folder that was touched goes with it.
            if told.is_some_and(|told| is_within(&node.path, &told.path)) {
                continue;
            }
            told = Some(node);
            let what = match all.iter().find(|other| same(node, other)) {
                Some(now) => format!("{node:?} of another program is {now:?} now"),
                None => format!("{node:?} of another program is gone"),
            };
            self.problems.push(Wrong::Foreign.at(what));
        }
        for node in held.difference(&self.left) {
            if !self.left.iter().any(|other| same(node, other)) {
                let what = format!("{node:?} is where only another program writes");
                self.problems.push(Wrong::Foreign.at(what));
            }
        }
        self.left = held;
    }

    pub(crate) fn take_problems(&mut self) -> Vec<Problem> {
        self.check();
        std::mem::take(&mut self.problems)
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        (!all.is_empty()).then(|| all[self.random.usize(..all.len())].clone())
    }

    /// A handle whose changes are seen at once, or as late as others.
    fn hand(&mut self, late: bool) -> Control {
        if late {
            self.control.lagging()
        } else {
            self.control.clone()
        }
    }

    /// Something in its own folder. Names and contents are such as clients
    /// have, too.
    pub(crate) fn work(&mut self) {
        self.check();
        let late = self.random.bool();
        let control = self.hand(late);
        let mine: Vec<Held> = self
            .left
            .iter()
            .filter(|node| is_within(&node.path, FOLDER))
            .cloned()
            .collect();
        let files: Vec<Held> = mine
            .iter()
            .filter(|node| node.kind == NodeKind::File)
            .cloned()
            .collect();
        let folders: Vec<Held> = mine
            .iter()
            .filter(|node| node.kind == NodeKind::Folder)
            .cloned()
            .collect();
        // The folder itself and where things are put stay.
        let movable: Vec<Held> = folders
            .iter()
            .filter(|node| node.path != FOLDER && node.path != OUT)
            .cloned()
            .collect();
        let name = format!("f{}.bin", self.random.u8(..5));
        let (Some(file), Some(folder)) = (self.pick(&files), self.pick(&folders)) else {
            let folder = self.pick(&folders).map_or(0, |folder| folder.id);
            control.add_file(folder, &name, &Content::random(&mut self.random).bytes());
            self.left = self.held();
            return;
        };
        let full = files.len() > MOST;
        match self.random.u8(..12) {
            0..2 if !full => {
                control.add_file(folder.id, &name, &Content::random(&mut self.random).bytes());
            }
            // A copy of what a client wrote.
            2..4 if !full => {
                let all = self.control.tree();
                let theirs: Vec<Held> = all
                    .into_iter()
                    .filter(|node| node.kind == NodeKind::File && !is_within(&node.path, FOLDER))
                    .collect();
                if let Some(node) = self.pick(&theirs) {
                    control.copy_file(&node.url, folder.id, None);
                }
            }
            4 => drop(control.move_file(&file.url, folder.id)),
            5 => drop(control.rename_file(&file.url, &name)),
            6 => {
                let content = Content::random(&mut self.random).bytes();
                control.replace_file(&file.url, &content);
            }
            7 if folders.len() < 20 => {
                let name = ["x", "y", "z", "m1", "m2"][self.random.usize(..5)];
                control.add_folder(folder.id, name);
            }
            8 => {
                if let Some(moved) = self.pick(&movable) {
                    control.move_folder(moved.id, folder.id);
                }
            }
            9 => {
                if let (Some(one), Some(other)) = (self.pick(&movable), self.pick(&movable)) {
                    control.swap_folder_names(one.id, other.id);
                }
            }
            10 if full => {
                if let Some(gone) = self.pick(&movable) {
                    control.remove_folder(gone.id);
                }
            }
            _ => drop(control.remove_file(&file.url)),
        }
        self.own += 1;
        self.left = self.held();
    }

    /// Changes something of what a client wrote; the tree is what the account
    /// holds of it. Tells what it did; nothing if there is nothing to change.
    pub(crate) fn disturb(&mut self, root: &str, tree: &mut Tree, late: bool) -> Option<String> {
        self.check();
        let control = self.hand(late);
        // An older version that is still to go is not what the client knows.
        let held = control.tree().into_iter();
        let held = held.filter(|node| is_within(&node.path, root)).map(known);
        if held.collect::<Vec<_>>() != tree.clone().into_iter().collect::<Vec<_>>() {
            return None;
        }
        let files: Vec<String> = tree
            .iter()
            .filter(|(_, node)| **node != Node::Directory)
            .map(|(path, _)| path.clone())
            .collect();
        let directories: Vec<String> = tree
            .iter()
            .filter(|(path, node)| **node == Node::Directory && *path != root)
            .map(|(path, _)| path.clone())
            .collect();
        let (file, any) = (self.pick(&files)?, self.pick(&files)?);
        let url = |path: &str| control.file_at(path).map(|node| node.url);
        let id = |path: &str| control.folder_at(path).map(|node| node.id);
        self.number += 1;
        let number = self.number;
        let below = |path: &str| match path.rsplit_once('/') {
            Some((parent, _)) => parent.to_owned(),
            None => root.to_owned(),
        };
        let directory = self.pick(&directories);
        let into = self.pick(&directories).unwrap_or_else(|| root.to_owned());
        let (file_url, out) = (url(&file)?, id(OUT)?);
        let context = format!("{file:?} {directory:?} {into:?} {any:?} number {number}");
        let what = match (self.random.u8(..13), directory) {
            (0, _) => {
                control.remove_file(&file_url);
                tree.remove(&file);
                "remove"
            }
            (1 | 2, _) => {
                control.move_file(&file_url, out);
                tree.remove(&file);
                "move out"
            }
            (3, _) => {
                let content = Content::random(&mut self.random);
                control.replace_file(&file_url, &content.bytes());
                tree.insert(file, content.node());
                "replace"
            }
            (4, _) => {
                let name = format!("o{number}.bin");
                control.rename_file(&file_url, &name);
                rename(tree, &file, &format!("{}/{name}", below(&file)));
                "rename"
            }
            // The name of one that it renames before: both change places.
            (5, _) if any != file => {
                let (other_url, name) = (url(&any)?, format!("o{number}.bin"));
                let leaf = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
                control.rename_file(&other_url, &name);
                rename(tree, &any, &format!("{}/{name}", below(&any)));
                if let Some(folder) = id(&below(&any)) {
                    control.rename_file(&file_url, &leaf(&any));
                    control.move_file(&file_url, folder);
                    rename(tree, &file, &any);
                }
                "take the place of another"
            }
            (6, _) if !tree.contains_key(&format!("{into}/o{number}.bin")) => {
                let name = format!("o{number}.bin");
                if let Some(folder) = id(&into) {
                    control.rename_file(&file_url, &name);
                    control.move_file(&file_url, folder);
                    rename(tree, &file, &format!("{into}/{name}"));
                }
                "move inside"
            }
            (7, _) => {
                let content = Content::random(&mut self.random);
                let name = format!("o{number}.bin");
                if let Some(folder) = id(&into) {
                    control.add_file(folder, &name, &content.bytes());
                    place(tree, &format!("{into}/{name}"), content.node());
                }
                "add"
            }
            (8, Some(directory)) => {
                if let Some(folder) = id(&directory) {
                    control.remove_folder(folder);
                    tree.retain(|path, _| !is_within(path, &directory));
                }
                "remove folder"
            }
            (9 | 10, Some(directory)) => {
                if let Some(folder) = id(&directory) {
                    control.rename_folder(folder, &format!("out{number}"));
                    control.move_folder(folder, out);
                    tree.retain(|path, _| !is_within(path, &directory));
                }
                "move folder out"
            }
            (11, Some(directory)) => {
                let name = format!("o{number}");
                if let Some(folder) = id(&directory) {
                    control.rename_folder(folder, &name);
                    carry(tree, &directory, &format!("{}/{name}", below(&directory)));
                }
                "rename folder"
            }
            // Neighbours, as no other folder has either name then.
            (_, Some(directory))
                if directory != into && into != root && below(&directory) == below(&into) =>
            {
                if let (Some(one), Some(other)) = (id(&directory), id(&into)) {
                    control.swap_folder_names(one, other);
                    let aside = format!("{directory}-aside");
                    carry(tree, &directory, &aside);
                    carry(tree, &into, &directory);
                    carry(tree, &aside, &into);
                }
                "swap folders"
            }
            _ => return None,
        };
        *self.disturbances.entry(what).or_default() += 1;
        self.left = self.held();
        Some(format!("{what} {context}"))
    }
}

fn rename(tree: &mut Tree, from: &str, to: &str) {
    if let Some(node) = tree.remove(from) {
        place(tree, to, node);
    }
}

/// A file or folder as clients know it.
pub(crate) fn known(node: Held) -> (String, Node) {
    let what = match node.kind {
        NodeKind::Folder => Node::Directory,
        NodeKind::File => Node::File {
            size: node.size,
            whirlpool: node.whirlpool,
        },
    };
    (node.path, what)
}
