//! What clients do, chosen at random.

use fastrand::Rng;

use super::CONTENTS;

/// What a write does with a file that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Replace,
    CreateOnly,
    KeepBoth,
}

/// One request, or something that happens between requests.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Put {
        path: String,
        content: usize,
        mode: Write,
        parents: bool,
        sized: bool,
        /// Sent once more with the same request id.
        twice: bool,
    },
    /// At the same time; different paths.
    PutMany {
        paths: Vec<String>,
        content: usize,
    },
    Get {
        path: String,
    },
    Stat {
        path: String,
    },
    Hash {
        path: String,
    },
    List {
        path: String,
        recursive: bool,
        page_size: i32,
    },
    Delete {
        paths: Vec<String>,
        allow_missing: bool,
    },
    Mkdir {
        path: String,
        parents: bool,
    },
    Rmdir {
        path: String,
        allow_missing: bool,
    },
    Copy {
        from: String,
        to: String,
        mode: Write,
    },
    Move {
        from: String,
        to: String,
        mode: Write,
    },
    MoveDir {
        from: String,
        to: String,
    },
    Purge {
        path: String,
        dry: bool,
    },
    Dedupe {
        path: String,
        identical: bool,
    },
    Refresh {
        path: String,
        recursive: bool,
        reload: bool,
    },
    Restart,
    /// The server is gone from one moment to the next.
    Crash,
    /// Another program stores a file, which is seen a while later.
    OthersPut {
        path: String,
        content: usize,
    },
    /// Another program removes a file or a whole directory.
    OthersRemove {
        path: String,
    },
    Wait {
        seconds: u64,
    },
    /// The next call of this kind fails once, without effect.
    Trouble {
        endpoint: &'static str,
    },
    /// What changes something has no answer, and nothing more can be found out
    /// until the request has failed. It took effect or not.
    Lost {
        step: Box<Step>,
        effect: bool,
        restart: bool,
    },
}

/// Names that meet often, some of which are stored in another form.
const SEGMENTS: [&str; 5] = ["a", "b", "c$ d", " é ", "＄"];

fn path(random: &mut Rng) -> String {
    let depth = [1, 1, 1, 2, 2, 3][random.usize(..6)];
    let segments: Vec<_> = (0..depth)
        .map(|_| SEGMENTS[random.usize(..SEGMENTS.len())])
        .collect();
    segments.join("/")
}

fn directory(random: &mut Rng) -> String {
    if random.u8(..6) == 0 {
        String::new()
    } else {
        path(random)
    }
}

fn mode(random: &mut Rng) -> Write {
    match random.u8(..8) {
        0 => Write::CreateOnly,
        1 | 2 => Write::KeepBoth,
        _ => Write::Replace,
    }
}

impl Step {
    /// The same request, without an answer.
    pub(super) fn lost(self, random: &mut Rng) -> Self {
        Self::Lost {
            step: Box::new(self),
            effect: random.u8(..4) > 0,
            restart: random.bool(),
        }
    }

    /// The call by which it changes the account, if that is one alone; moves of
    /// files have either of two.
    pub(super) fn changing_calls(&self) -> &'static [&'static str] {
        match self {
            Self::Put {
                mode: Write::Replace,
                twice: false,
                ..
            } => &["upload.cgi"],
            Self::Copy {
                mode: Write::Replace,
                ..
            } => &["file/cp"],
            Self::Move {
                mode: Write::Replace,
                ..
            } => &["file/mv", "file/rename"],
            Self::Delete { paths, .. } if paths.len() == 1 => &["file/rm"],
            Self::MoveDir { .. } => &["folder/mv"],
            _ => &[],
        }
    }

    pub(super) fn random(random: &mut Rng) -> Self {
        match random.u8(..100) {
            0..20 => Self::Put {
                path: path(random),
                content: random.usize(..CONTENTS.len()),
                mode: mode(random),
                parents: random.u8(..5) > 0,
                sized: random.bool(),
                twice: random.u8(..6) == 0,
            },
            20..24 => {
                let mut paths: Vec<_> = (0..random.usize(2..8)).map(|_| path(random)).collect();
                paths.sort();
                paths.dedup();
                // One must not stand in the way of another.
                let all = paths.clone();
                paths.retain(|path| {
                    !all.iter()
                        .any(|other| other.starts_with(&format!("{path}/")))
                });
                Self::PutMany {
                    paths,
                    content: random.usize(..CONTENTS.len()),
                }
            }
            24..30 => Self::Get { path: path(random) },
            30..34 => Self::Stat {
                path: directory(random),
            },
            34..36 => Self::Hash { path: path(random) },
            36..43 => Self::List {
                path: directory(random),
                recursive: random.bool(),
                page_size: random.i32(0..4),
            },
            43..52 => Self::Delete {
                paths: (0..random.usize(1..4)).map(|_| path(random)).collect(),
                allow_missing: random.bool(),
            },
            52..57 => Self::Mkdir {
                path: directory(random),
                parents: random.u8(..4) > 0,
            },
            57..62 => Self::Rmdir {
                path: directory(random),
                allow_missing: random.bool(),
            },
            62..69 => Self::Copy {
                from: path(random),
                to: path(random),
                mode: mode(random),
            },
            69..77 => Self::Move {
                from: path(random),
                to: path(random),
                mode: mode(random),
            },
            77..83 => Self::MoveDir {
                from: path(random),
                to: path(random),
            },
            83..87 => Self::Purge {
                path: directory(random),
                dry: random.u8(..4) == 0,
            },
            87..90 => Self::Dedupe {
                path: directory(random),
                identical: random.bool(),
            },
            90..93 => Self::Refresh {
                path: directory(random),
                recursive: random.bool(),
                reload: random.bool(),
            },
            93 => Self::Restart,
            94 => Self::Crash,
            95 => Self::OthersPut {
                path: path(random),
                content: random.usize(..CONTENTS.len()),
            },
            96 => Self::OthersRemove { path: path(random) },
            97 | 98 => Self::Wait {
                seconds: [1, 31, 301, 700][random.usize(..4)],
            },
            _ => Self::Trouble {
                endpoint: [
                    "folder/ls",
                    "download/get_token",
                    "upload/get_upload_server",
                ][random.usize(..3)],
            },
        }
    }
}
