//! What the server shows, and what 1Fichier holds.

use std::collections::BTreeMap;

use pluton_fichier::emulator::{Node, NodeKind};
use pluton_fichier::proto::*;

use super::CONTENTS;
use super::run::{Runner, codec, told};

impl Runner {
    /// What 1Fichier holds, by path; those of directories end with a slash.
    pub(super) fn held(&self) -> BTreeMap<String, Vec<Node>> {
        let mut held: BTreeMap<String, Vec<Node>> = BTreeMap::new();
        for node in self.world.control.tree() {
            let segments: Vec<_> = node
                .path
                .split('/')
                .map(|name| codec().to_segment(name))
                .collect();
            let mut path = segments.join("/");
            if node.kind == NodeKind::Folder {
                path.push('/');
            }
            held.entry(path).or_default().push(node);
        }
        held
    }

    /// The whole tree as the server shows it.
    pub(super) async fn compare_listing(&self) -> Result<(), String> {
        let shown = self.world.list("", true).await.map_err(told)?;
        let mut paths: Vec<String> = shown.iter().map(shown_path).collect();
        paths.sort();
        let mut expected: Vec<String> = self
            .tree
            .directories
            .iter()
            .map(|path| format!("{path}/"))
            .chain(self.tree.files.keys().cloned())
            .collect();
        expected.sort();
        if paths != expected {
            return Err(format!(
                "the server shows {paths:?} instead of {expected:?}"
            ));
        }
        for entry in shown {
            let Some(files) = self.tree.files.get(&entry.path) else {
                continue;
            };
            if entry.r#type() != EntryType::File {
                return Err(format!("{:?} is shown as a directory", entry.path));
            }
            let seen = self.entry(Some(entry.clone()));
            let known = files
                .iter()
                .find(|content| seen == format!("content {content}"))
                .ok_or_else(|| format!("{:?} shows {seen} and not {files:?}", entry.path))?;
            let count = entry
                .attributes
                .get("duplicates")
                .map_or("1", String::as_str);
            let size = CONTENTS[*known] as i64;
            if count != files.len().to_string() || entry.size != Some(size) {
                return Err(format!("{entry:?} for {files:?}"));
            }
        }
        Ok(())
    }

    /// What 1Fichier holds, file by file.
    pub(super) fn compare_upstream(&self) -> Result<(), String> {
        let fact = |node: Node| match node.kind {
            NodeKind::File => self.content(&node.whirlpool),
            NodeKind::Folder => "directory".to_owned(),
        };
        let mut held: BTreeMap<String, Vec<String>> = self
            .held()
            .into_iter()
            .map(|(path, nodes)| (path, nodes.into_iter().map(fact).collect()))
            .collect();
        let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for path in &self.tree.directories {
            expected.insert(format!("{path}/"), vec!["directory".to_owned()]);
        }
        for (path, files) in &self.tree.files {
            let contents = files.iter().map(|content| format!("content {content}"));
            expected.insert(path.clone(), contents.collect());
        }
        for contents in held.values_mut().chain(expected.values_mut()) {
            contents.sort();
        }
        if held == expected {
            Ok(())
        } else {
            Err(format!("1Fichier holds {held:#?} instead of {expected:#?}"))
        }
    }
}

pub(super) fn shown_path(entry: &Entry) -> String {
    match entry.r#type() {
        EntryType::Directory => format!("{}/", entry.path),
        _ => entry.path.clone(),
    }
}
