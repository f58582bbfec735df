//! Clients that do not ask what became of a request without an answer, but go
//! on: they write to the same path again, remove what may be there, or move it
//! away. What is acknowledged then counts, whatever shows late of the first.

use std::time::Duration;

use fastrand::Rng;

use crate::expected::{Expected, Node};
use crate::operation::{Content, Operation};

/// The path that a request was to change.
fn destination(operation: &Operation) -> Option<&String> {
    match operation {
        Operation::Put { path, .. } => Some(path),
        Operation::Move { to, .. } | Operation::Copy { to, .. } => Some(to),
        Operation::Delete { paths } => paths.first(),
        _ => None,
    }
}

/// Something that builds on what nobody knows.
pub(crate) fn bold(
    random: &mut Rng,
    open: &Operation,
    expected: &Expected,
    root: &str,
) -> Option<Operation> {
    let path = destination(open)?.clone();
    let id = format!("{:016x}", random.u64(..));
    // A file that has nothing to do with it.
    let others: Vec<String> = expected
        .trees
        .first()?
        .iter()
        .filter(|(other, node)| {
            **node != Node::Directory && **other != path && expected.is_certain(other)
        })
        .map(|(other, _)| other.clone())
        .collect();
    let other = |random: &mut Rng| {
        (!others.is_empty()).then(|| others[random.usize(..others.len())].clone())
    };
    let may_be_there = expected.trees.iter().any(|tree| tree.contains_key(&path));
    Some(match random.u8(..10) {
        0..2 => Operation::Move {
            from: other(random)?,
            to: path,
            id,
        },
        2..4 => Operation::Copy {
            from: other(random)?,
            to: path,
            id,
        },
        4..6 if may_be_there => Operation::Move {
            from: path,
            to: format!("{root}/bold{}.bin", random.u8(..3)),
            id,
        },
        6..8 => Operation::Delete { paths: vec![path] },
        _ => Operation::Put {
            path,
            content: Content::random(random),
            sized: random.bool(),
            pause: Duration::ZERO,
            id,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expected::{Past, Tree};

    fn node(size: u64) -> Node {
        Node::File {
            size,
            whirlpool: size.to_string(),
        }
    }

    fn tree(files: &[(&str, u64)]) -> Tree {
        let mut tree = Tree::new();
        for (path, size) in files {
            crate::effect::place(&mut tree, path, node(*size));
        }
        tree
    }

    fn copy(from: &str, to: &str) -> Operation {
        Operation::Copy {
            from: from.to_owned(),
            to: to.to_owned(),
            id: String::new(),
        }
    }

    fn moved(from: &str, to: &str) -> Operation {
        Operation::Move {
            from: from.to_owned(),
            to: to.to_owned(),
            id: String::new(),
        }
    }

    /// What may be held, without directories.
    fn held(expected: &Expected) -> Vec<String> {
        let mut all: Vec<String> = expected
            .trees
            .iter()
            .map(|tree| {
                let files = tree.iter().filter_map(|(path, node)| match node {
                    Node::File { size, .. } => Some(format!("{path}={size}")),
                    Node::Directory => None,
                });
                files.collect::<Vec<_>>().join(" ")
            })
            .collect();
        all.sort();
        all
    }

    #[test]
    fn what_is_acknowledged_later_counts() {
        let start = Expected::certain(tree(&[("c/s", 1), ("c/p", 2), ("c/o", 3)]));
        let open = start.in_flight(&copy("c/s", "c/p"));
        assert_eq!(held(&open), ["c/o=3 c/p=1 c/s=1", "c/o=3 c/p=2 c/s=1"]);
        let delete = Operation::Delete {
            paths: vec!["c/p".to_owned()],
        };
        let done = open.done(&delete);
        assert_eq!(done.only(), Some(&tree(&[("c/s", 1), ("c/o", 3)])));
        let done = open.done(&moved("c/o", "c/p"));
        assert_eq!(done.only(), Some(&tree(&[("c/s", 1), ("c/p", 3)])));
        // Which of the two is moved away is open, but one is, once.
        let done = open.done(&moved("c/p", "c/q"));
        assert_eq!(held(&done), ["c/o=3 c/q=1 c/s=1", "c/o=3 c/q=2 c/s=1"]);
        let both = [("c", Node::Directory), ("c/p", node(1)), ("c/q", node(2))];
        let both = both.into_iter().chain([("c/s", node(1)), ("c/o", node(3))]);
        let both = both.map(|(path, node)| (path.to_owned(), node)).collect();
        assert!(done.compare(both, &Past::default()).is_err());
        // What may not be there can be moved only if it is.
        let open = start.in_flight(&copy("c/s", "c/new"));
        let done = open.done(&moved("c/new", "c/q"));
        assert_eq!(held(&done), ["c/o=3 c/p=2 c/q=1 c/s=1"]);
        // Two without an answer.
        let open = open.in_flight(&moved("c/o", "c/new"));
        assert_eq!(held(&open).len(), 3);
    }
}
