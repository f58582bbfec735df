//! `ls`, `stat` and `hash`.

use std::fmt::Write as _;

use serde::Serialize;

use super::connect::Session;
use super::exit::{Exit, Problem};
use super::io::Io;
use super::output::{self, EntryDocument};
use super::{HashArgs, HashKind, LsArgs, StatArgs, directory_path, file_path};
use crate::proto::{Entry, EntryType, HashAlgorithm, HashRequest, ListRequest, StatRequest};

impl From<HashKind> for HashAlgorithm {
    fn from(kind: HashKind) -> Self {
        match kind {
            HashKind::Whirlpool => Self::Whirlpool,
            HashKind::Sha256 => Self::Sha256,
            HashKind::Md5 => Self::Md5,
            HashKind::Sha1 => Self::Sha1,
            HashKind::Blake3 => Self::Blake3,
            HashKind::Crc32c => Self::Crc32c,
        }
    }
}

pub(super) async fn ls(args: &LsArgs, session: &Session, io: &Io) -> Result<Exit, Problem> {
    let path = directory_path(&args.path);
    let staleness = args.max_staleness.map(prost_types::Duration::try_from);
    let request = ListRequest {
        remote: session.remote(),
        path: path.clone(),
        recursive: args.recursive,
        max_depth: args.max_depth.unwrap_or_default(),
        max_staleness: staleness
            .transpose()
            .map_err(|_| Problem::usage("--max-staleness is too long"))?,
        ..ListRequest::default()
    };
    let mut client = session.client();
    let mut pages = client.list(session.request(request)).await?.into_inner();
    let mut exit = Exit::Ok;
    while let Some(page) = pages.message().await? {
        let mut lines = String::new();
        for entry in page.entries {
            if io.json {
                lines.push_str(&output::to_json(&EntryDocument::from(entry))?);
                lines.push('\n');
            } else {
                push_line(&mut lines, &entry, &path, args.long);
            }
        }
        io.write(&lines)?;
        for failed in page.failures {
            let problem = Problem::from(failed.failure.unwrap_or_default());
            io.report(&problem, Some(&failed.path));
            exit = Exit::Other;
        }
    }
    Ok(exit)
}

fn push_line(lines: &mut String, entry: &Entry, directory: &str, long: bool) {
    if long {
        let size = entry.size.map(|size| size.to_string());
        let time = entry.modify_time.as_ref().and_then(output::local_time);
        let size = size.unwrap_or_else(|| "-".into());
        let time = time.unwrap_or_else(|| "-".into());
        let _ = write!(lines, "{size:>15}  {time:<19}  ");
    }
    lines.push_str(&output::printable_name(relative(&entry.path, directory)));
    if entry.r#type() == EntryType::Directory {
        lines.push('/');
    }
    lines.push('\n');
}

/// A path as seen from a directory.
pub(super) fn relative<'a>(path: &'a str, directory: &str) -> &'a str {
    let inside = match directory {
        "" => Some(path),
        directory => path
            .strip_prefix(directory)
            .and_then(|rest| rest.strip_prefix('/')),
    };
    inside.unwrap_or(path)
}

#[derive(Serialize)]
struct StatDocument {
    #[serde(flatten)]
    entry: EntryDocument,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of_time: Option<String>,
}

pub(super) async fn stat(args: &StatArgs, session: &Session, io: &Io) -> Result<Exit, Problem> {
    let request = StatRequest {
        remote: session.remote(),
        path: directory_path(&args.path),
        max_staleness: None,
    };
    let mut client = session.client();
    let response = client.stat(session.request(request)).await?.into_inner();
    let entry = response
        .entry
        .ok_or_else(|| Problem::contract("it does not describe the entry"))?;
    if io.json {
        io.document(&StatDocument {
            entry: entry.into(),
            as_of_time: response.as_of_time.as_ref().and_then(output::rfc3339),
        })?;
        return Ok(Exit::Ok);
    }
    let time = entry.modify_time.as_ref().and_then(output::local_time);
    let size = entry.size;
    let entry = EntryDocument::from(entry);
    let size = size.map(|size| match size {
        ..1024 => output::size(size),
        _ => format!("{size} B ({})", output::size(size)),
    });
    let path = if entry.path.is_empty() {
        "/".into()
    } else {
        entry.path
    };
    let mut rows = vec![
        ("path".to_owned(), path),
        ("type".into(), entry.kind.into()),
    ];
    rows.extend(size.map(|size| ("size".into(), size)));
    rows.extend(time.map(|time| ("modified".into(), time)));
    rows.push(("content type".into(), entry.content_type));
    rows.extend(entry.checksums);
    rows.push(("etag".into(), entry.etag));
    rows.push(("id".into(), entry.id));
    rows.extend(entry.attributes);
    rows.retain(|(_, value)| !value.is_empty());
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(name, value)| vec![name, value])
        .collect();
    io.write(&output::table(&rows))?;
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct HashDocument {
    path: String,
    algorithm: String,
    hex: String,
    computed: bool,
}

pub(super) async fn hash(args: &HashArgs, session: &Session, io: &Io) -> Result<Exit, Problem> {
    let path = file_path(&args.path);
    let request = HashRequest {
        remote: session.remote(),
        path: path.clone(),
        algorithm: HashAlgorithm::from(args.algorithm).into(),
        allow_download: args.download,
    };
    let mut client = session.client();
    let response = client.hash(session.request(request)).await?.into_inner();
    let checksum = response
        .checksum
        .ok_or_else(|| Problem::contract("it has no checksum"))?;
    if io.json {
        io.document(&HashDocument {
            path,
            algorithm: output::algorithm_name(checksum.algorithm()),
            hex: checksum.hex,
            computed: response.computed,
        })?;
    } else {
        let path = output::printable_name(&path);
        io.line(&format!("{}  {path}", checksum.hex))?;
    }
    Ok(Exit::Ok)
}
