//! `get` and `cat`.

use std::fs::OpenOptions;
use std::future::Future;

use serde::Serialize;

use super::connect::Session;
use super::download::{Download, Failed, Wanted};
use super::exit::{Exit, Problem};
use super::fetch::{Fetched, Rules, fetch, look_at_file};
use super::io::{Io, Writer};
use super::output::{self, EntryDocument};
use super::part::{Target, There};
use super::progress::Progress;
use super::{CatArgs, GetArgs, base_name, file_path, get_tree};
use crate::proto::Entry;

#[derive(Serialize)]
struct GetDocument {
    entry: EntryDocument,
    local: String,
    #[serde(flatten)]
    fetched: Fetched,
}

pub(super) async fn get(
    args: &GetArgs,
    open: impl Future<Output = Result<Session, Problem>>,
    io: &Io,
) -> Result<Exit, Problem> {
    let rules = Rules::of(args)?;
    if args.transfer.recursive {
        return get_tree::get_tree(args, &rules, open, io).await;
    }
    let path = file_path(&args.remote_path);
    let target = match args.local.as_deref() {
        Some(local) if local.as_os_str() == "-" => {
            return to_stdout(rules.wanted(&path), &open.await?, io).await;
        }
        local => Target::find(&path, local)?,
    };
    let session = open.await?;
    let progress = Progress::new(io, base_name(&path), None);
    let (entry, fetched) = if target.there == There::Special {
        to_special(rules.wanted(&path), &target, &session, io, &progress).await?
    } else {
        let mut entry = look_at_file(&session, io, &path, &rules).await?;
        let fetched = fetch(&session, io, &mut entry, &target, &rules, &progress).await?;
        (entry, fetched)
    };
    progress.finish();
    let local = target.path.display().to_string();
    let size = entry.size;
    if io.json {
        io.document(&GetDocument {
            entry: entry.into(),
            local,
            fetched,
        })?;
    } else {
        let local = output::printable_name(&local);
        io.result(&match fetched {
            Fetched::Unchanged => format!("{local} is up to date"),
            Fetched::Saved { bytes, .. } => {
                let whole = size.filter(|_| args.range.is_none());
                let size = whole.unwrap_or(bytes as i64);
                format!("saved {local} ({})", output::size(size))
            }
        })?;
    }
    Ok(Exit::Ok)
}

pub(super) async fn cat(args: &CatArgs, session: &Session, io: &Io) -> Result<Exit, Problem> {
    let wanted = Wanted {
        path: file_path(&args.remote_path),
        range: args.range,
        etag: String::new(),
        verify: true,
    };
    to_stdout(wanted, session, io).await
}

async fn to_stdout(wanted: Wanted, session: &Session, io: &Io) -> Result<Exit, Problem> {
    let failed = |error| Problem::output(&error);
    let writer = Writer::new(io.out.clone()).map_err(failed)?;
    let progress = match io.out_is_terminal {
        true => Progress::none(),
        false => Progress::new(io, base_name(&wanted.path), None),
    };
    match Download::new(wanted, writer, &progress)
        .run(session, io)
        .await
    {
        Ok(_) => Ok(Exit::Ok),
        Err(Failed::Told(problem)) => Err(problem),
        Err(Failed::Write(error)) => Err(failed(error)),
    }
}

/// Writes into a device or a pipe.
async fn to_special(
    wanted: Wanted,
    target: &Target,
    session: &Session,
    io: &Io,
    progress: &Progress,
) -> Result<(Entry, Fetched), Problem> {
    let failed = |error| target.failed(&error);
    let file = OpenOptions::new().write(true).open(&target.path);
    let writer = Writer::new(file.map_err(failed)?).map_err(failed)?;
    let mut download = Download::new(wanted, writer, progress);
    let verified = match download.run(session, io).await {
        Ok(verified) => verified,
        Err(Failed::Told(problem)) => return Err(problem),
        Err(Failed::Write(error)) => return Err(failed(error)),
    };
    let bytes = download.received;
    let entry = download.entry.unwrap_or_default();
    Ok((entry, Fetched::Saved { bytes, verified }))
}
