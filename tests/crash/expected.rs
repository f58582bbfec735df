//! What an account may hold: exactly what was acknowledged, and of what was in
//! flight either nothing or all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::operation::Operation;

/// A file as it is told apart: by size and Whirlpool. Or a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    Directory,
    File { size: u64, whirlpool: String },
}

/// By path.
pub(crate) type Tree = BTreeMap<String, Node>;

/// The trees that an account may hold.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// One of these as a whole.
    pub(crate) trees: Vec<Tree>,
    /// What may be missing or there whichever it is: a deletion of many goes
    /// one by one, and parents are made first.
    pub(crate) optional: BTreeSet<String>,
}

/// What must never happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wrong {
    /// Something that must be there is not.
    Lost,
    /// Something is there twice: under one path, or at both ends of a move.
    Duplicated,
    /// A path has a content that was never acknowledged or sent whole.
    Corrupt,
    /// Something that was removed, moved away or replaced is there again.
    Resurrected,
    /// Something is there that nobody wrote there.
    Stray,
    /// What another program owns was changed.
    Foreign,
    /// The server tells something else than the account holds.
    Untrue,
    /// The server refused what it must not refuse.
    Refused,
}

#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) wrong: Wrong,
    pub(crate) what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:?}: {}", self.wrong, self.what)
    }
}

impl Wrong {
    pub(crate) fn at(self, what: impl Into<String>) -> Problem {
        Problem {
            wrong: self,
            what: what.into(),
        }
    }
}

/// What paths have held at any time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past(BTreeMap<String, BTreeSet<Node>>);

impl Past {
    pub(crate) fn add(&mut self, tree: &Tree) {
        for (path, node) in tree {
            let nodes = self.0.entry(path.clone()).or_default();
            if !nodes.contains(node) {
                nodes.insert(node.clone());
            }
        }
    }

    fn had(&self, path: &str, node: &Node) -> bool {
        self.0.get(path).is_some_and(|nodes| nodes.contains(node))
    }
}

impl Expected {
    pub(crate) fn certain(tree: Tree) -> Self {
        Self {
            trees: vec![tree],
            optional: BTreeSet::new(),
        }
    }

    /// The tree, if there can be no other one.
    pub(crate) fn only(&self) -> Option<&Tree> {
        match self.trees.as_slice() {
            [tree] if self.optional.is_empty() => Some(tree),
            _ => None,
        }
    }

    /// Whether a path holds the same in each of the trees.
    pub(crate) fn is_certain(&self, path: &str) -> bool {
        let first = self.trees.first().and_then(|tree| tree.get(path));
        !self.optional.contains(path) && self.trees.iter().all(|tree| tree.get(path) == first)
    }

    /// When an operation was done. What was in flight before it counts as done
    /// before it, or as never done.
    pub(crate) fn done(&self, operation: &Operation) -> Self {
        let mut done = Self {
            trees: Vec::new(),
            optional: self.optional.clone(),
        };
        let possible = self.trees.iter().filter(|tree| operation.applies(tree));
        for tree in possible.map(|tree| operation.after(tree)) {
            done.add(tree);
        }
        if done.trees.is_empty() {
            return self.clone();
        }
        for path in operation.assured() {
            done.optional.remove(&path);
        }
        // What no tree has needs no exception.
        let trees = &done.trees;
        done.optional
            .retain(|path| trees.iter().any(|tree| tree.contains_key(path)));
        done
    }

    /// While an operation is on its way.
    pub(crate) fn in_flight(&self, operation: &Operation) -> Self {
        let mut all = self.clone();
        for tree in &self.trees {
            let (after, optional) = operation.apply(tree);
            all.add(after);
            all.optional.extend(optional);
        }
        all
    }

    fn add(&mut self, tree: Tree) {
        if !self.trees.contains(&tree) {
            self.trees.push(tree);
        }
    }

    /// Which of the trees is held.
    pub(crate) fn compare(
        &self,
        held: Vec<(String, Node)>,
        past: &Past,
    ) -> Result<Tree, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut tree = Tree::new();
        for (path, node) in held {
            if tree.insert(path.clone(), node).is_some() {
                problems.push(Wrong::Duplicated.at(format!("{path:?} is there twice")));
            }
        }
        if problems.is_empty() && self.trees.iter().any(|one| self.fits(one, &tree)) {
            return Ok(tree);
        }
        let paths: BTreeSet<&String> = self
            .trees
            .iter()
            .flat_map(Tree::keys)
            .chain(tree.keys())
            .collect();
        for path in paths {
            let allowed: Vec<_> = self.trees.iter().map(|one| one.get(path)).collect();
            let got = tree.get(path);
            if allowed.contains(&got) || got.is_none() && self.optional.contains(path) {
                continue;
            }
            problems.push(match got {
                None => Wrong::Lost.at(format!("{path:?} is not there")),
                Some(node) if past.had(path, node) => {
                    Wrong::Resurrected.at(format!("{path:?} is {node:?} instead of {allowed:?}"))
                }
                Some(_) if allowed.iter().all(Option::is_none) => {
                    Wrong::Stray.at(format!("{path:?} is there"))
                }
                Some(node) => {
                    Wrong::Corrupt.at(format!("{path:?} is {node:?} instead of {allowed:?}"))
                }
            });
        }
        if problems.is_empty() {
            // Each path for itself is right, but not together: a move that is
            // half done.
            let times =
                |tree: &Tree, node: &Node| tree.values().filter(|other| *other == node).count();
            let contents = || {
                let all = self.trees.iter().chain([&tree]).flat_map(Tree::values);
                all.filter(|node| **node != Node::Directory)
            };
            let more = |node| {
                self.trees
                    .iter()
                    .all(|one| times(&tree, node) > times(one, node))
            };
            let less = |node| {
                self.trees
                    .iter()
                    .all(|one| times(&tree, node) < times(one, node))
            };
            let wrong = match () {
                () if contents().any(less) => Wrong::Lost,
                () if contents().any(more) => Wrong::Duplicated,
                () => Wrong::Stray,
            };
            let paths = || tree.keys().collect::<Vec<_>>();
            problems.push(wrong.at(format!("half done: {:?}", paths())));
        }
        Err(problems)
    }

    fn fits(&self, one: &Tree, tree: &Tree) -> bool {
        let missing = |path: &String| self.optional.contains(path);
        let allowed = |path, node| self.trees.iter().any(|other| other.get(path) == Some(node));
        one.iter().all(|(path, node)| match tree.get(path) {
            Some(got) => got == node,
            None => missing(path),
        }) && tree
            .iter()
            .all(|(path, node)| one.contains_key(path) || missing(path) && allowed(path, node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(nodes: &[(&str, u64)]) -> Tree {
        let node = |size: &u64| match size {
            0 => Node::Directory,
            size => Node::File {
                size: *size,
                whirlpool: size.to_string(),
            },
        };
        nodes
            .iter()
            .map(|(path, size)| ((*path).to_owned(), node(size)))
            .collect()
    }

    fn wrong(expected: &Expected, held: &[(&str, u64)]) -> Vec<Wrong> {
        let mut all = Vec::new();
        for (path, size) in held {
            all.extend(tree(&[(path, *size)]));
        }
        let mut past = Past::default();
        past.add(&tree(&[("old", 1), ("d/f", 9)]));
        match expected.compare(all, &past) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.iter().map(|problem| problem.wrong).collect(),
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        use Wrong::*;
        let certain = Expected::certain(tree(&[("d", 0), ("d/f", 1)]));
        for (held, expected) in [
            (&[("d", 0), ("d/f", 1)][..], vec![]),
            (&[("d", 0)], vec![Lost]),
            (&[("d", 0), ("d/f", 2)], vec![Corrupt]),
            (&[("d", 0), ("d/f", 1), ("d/f", 1)], vec![Duplicated]),
            (&[("d", 0), ("d/f", 1), ("g", 1)], vec![Stray]),
            (&[("d", 0), ("d/f", 1), ("old", 1)], vec![Resurrected]),
            (&[("d", 0), ("d/f", 9)], vec![Resurrected]),
        ] {
            assert_eq!(wrong(&certain, held), expected, "{held:?}");
        }
        let moved = Expected {
            trees: vec![tree(&[("a", 1), ("b", 2)]), tree(&[("b", 1)])],
            optional: BTreeSet::new(),
        };
        for held in [&[("a", 1), ("b", 2)][..], &[("b", 1)]] {
            assert_eq!(wrong(&moved, held), [], "{held:?}");
        }
        // At both ends, with what it replaces or without, at one with the other
        // lost, or nowhere.
        for (held, first) in [
            (&[("a", 1), ("b", 1)][..], Duplicated),
            (&[("a", 1), ("b", 1), ("b", 2)], Duplicated),
            (&[("b", 2)], Lost),
            (&[("a", 1)], Lost),
            (&[], Lost),
        ] {
            assert_eq!(wrong(&moved, held).first(), Some(&first), "{held:?}");
        }
        let deleting = Expected {
            trees: vec![tree(&[("a", 1), ("b", 1), ("c", 1)]), tree(&[("c", 1)])],
            optional: ["a", "b"].map(str::to_owned).into(),
        };
        for held in [
            &[("b", 1), ("c", 1)][..],
            &[("c", 1)],
            &[("a", 1), ("b", 1), ("c", 1)],
        ] {
            assert_eq!(wrong(&deleting, held), [], "{held:?}");
        }
        assert_eq!(wrong(&deleting, &[("a", 1), ("b", 1)]), [Lost]);
        assert_eq!(wrong(&deleting, &[("a", 2), ("c", 1)]), [Corrupt]);
    }
}
