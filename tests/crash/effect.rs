//! What an operation does to a tree, and when the server may refuse it.

use std::collections::BTreeSet;

use crate::expected::{Node, Tree};
use crate::operation::Operation;

fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

/// The directories above a path.
fn above(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(parent(path), |path| parent(path))
}

/// Adds a node with the directories above it.
pub(crate) fn place(tree: &mut Tree, path: &str, node: Node) {
    for directory in above(path) {
        tree.entry(directory.to_owned()).or_insert(Node::Directory);
    }
    tree.insert(path.to_owned(), node);
}

pub(crate) fn is_within(path: &str, directory: &str) -> bool {
    let rest = path.strip_prefix(directory);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Moves a directory with all that is in it.
pub(crate) fn carry(tree: &mut Tree, from: &str, to: &str) {
    let moved: Vec<String> = tree
        .keys()
        .filter(|path| is_within(path, from))
        .cloned()
        .collect();
    for path in moved {
        if let Some(node) = tree.remove(&path) {
            place(tree, &format!("{to}{}", &path[from.len()..]), node);
        }
    }
}

impl Operation {
    /// The tree afterwards, and what of it may already or still be there if it
    /// was cut off.
    pub(crate) fn apply(&self, before: &Tree) -> (Tree, BTreeSet<String>) {
        let mut tree = before.clone();
        let mut removed = BTreeSet::new();
        match self {
            Self::Put { path, content, .. } => place(&mut tree, path, content.node()),
            Self::Move { from, to, .. } => {
                if let Some(node) = tree.remove(from) {
                    place(&mut tree, to, node);
                }
            }
            Self::Copy { from, to, .. } => {
                if let Some(node) = tree.get(from).cloned() {
                    place(&mut tree, to, node);
                }
            }
            Self::MoveDir { from, to, .. } => carry(&mut tree, from, to),
            Self::Mkdir { path } => place(&mut tree, path, Node::Directory),
            Self::Delete { paths } => removed.extend(paths.iter().cloned()),
            Self::Rmdir { path } => removed.extend([path.clone()]),
            Self::Purge { path } => {
                removed.extend(tree.keys().filter(|other| is_within(other, path)).cloned())
            }
        }
        for path in &removed {
            tree.remove(path);
        }
        // Parents are made first, and stay if what was to come does not.
        let mut optional = removed;
        let made = tree.iter().filter(|(path, node)| {
            let of_the_move = matches!(self, Self::MoveDir { to, .. } if is_within(path, to));
            **node == Node::Directory && !before.contains_key(*path) && !of_the_move
        });
        optional.extend(made.map(|(path, _)| path.clone()));
        (tree, optional)
    }

    pub(crate) fn after(&self, before: &Tree) -> Tree {
        self.apply(before).0
    }

    /// Whether what it needs is there.
    pub(crate) fn applies(&self, tree: &Tree) -> bool {
        self.lacks(tree).is_none()
    }

    /// Why it must be refused, if that is so.
    fn lacks(&self, tree: &Tree) -> Option<&'static str> {
        let is_there = |path: &String| tree.contains_key(path);
        match self {
            Self::Move { from, .. } | Self::Copy { from, .. } | Self::MoveDir { from, .. }
                if !is_there(from) =>
            {
                Some("_NOT_FOUND")
            }
            Self::MoveDir { to, .. } if is_there(to) => Some("ENTRY_EXISTS"),
            Self::Rmdir { path }
                if tree
                    .keys()
                    .any(|other| other != path && is_within(other, path)) =>
            {
                Some("DIRECTORY_NOT_EMPTY")
            }
            _ => None,
        }
    }

    /// Whether the server may refuse it for this reason.
    pub(crate) fn may_be_refused(&self, tree: &Tree, reason: &str) -> bool {
        self.lacks(tree)
            .is_some_and(|expected| reason.ends_with(expected))
    }

    /// What is certain to be there when it was done.
    pub(crate) fn assured(&self) -> Vec<String> {
        let path = match self {
            Self::Put { path, .. } | Self::Mkdir { path } => path,
            Self::Move { to, .. } | Self::Copy { to, .. } | Self::MoveDir { to, .. } => to,
            Self::Delete { .. } | Self::Rmdir { .. } | Self::Purge { .. } => return Vec::new(),
        };
        let mut all: Vec<String> = above(path).map(str::to_owned).collect();
        all.push(path.clone());
        all
    }

    /// Whirlpool of what the answer must tell of.
    pub(crate) fn whirlpool(&self, after: &Tree) -> Option<String> {
        let path = match self {
            Self::Put { path, .. } => path,
            Self::Move { to, .. } | Self::Copy { to, .. } => to,
            _ => return None,
        };
        match after.get(path) {
            Some(Node::File { whirlpool, .. }) => Some(whirlpool.clone()),
            _ => None,
        }
    }
}
