//! `rm`, `mkdir`, `rmdir`, `about`, `test`, `refresh` and `info`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::connect::Session;
use super::exit::{Exit, Problem};
use super::io::Io;
use super::output::{self, EntryDocument, ErrorBody};
use super::progress::Progress;
use super::retry::{Retry, repeated};
use super::{
    AboutArgs, MkdirArgs, RefreshArgs, RmArgs, RmdirArgs, TestArgs, directory_path, file_path,
};
use crate::proto::{
    AboutRequest, Capability, CheckState, DeleteRequest, DeleteTarget, GetInfoRequest,
    HashAlgorithm, Limits, MkdirRequest, RefreshRequest, RmdirRequest, TestConnectionRequest,
    Traits,
};

/// Most targets of one request.
const MAX_TARGETS: usize = 1000;

#[derive(Serialize)]
struct RemovedDocument {
    path: String,
    removed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody>,
}

#[derive(Serialize)]
struct RmDocument {
    results: Vec<RemovedDocument>,
}

pub(super) async fn rm(args: &RmArgs, session: &Session, io: &Io) -> Result<Exit, Problem> {
    let mut document = RmDocument {
        results: Vec::new(),
    };
    let mut exits = Vec::new();
    let removed = rm_all(args, session, io, &mut document, &mut exits).await;
    if io.json {
        // Also when a later request failed: these files are gone.
        io.document(&document)?;
    }
    removed?;
    Ok(Exit::of_all(&exits))
}

async fn rm_all(
    args: &RmArgs,
    session: &Session,
    io: &Io,
    document: &mut RmDocument,
    exits: &mut Vec<Exit>,
) -> Result<(), Problem> {
    if args.if_match.is_some() && args.paths.len() > 1 {
        return Err(Problem::usage("--if-match is for one file"));
    }
    for paths in args.paths.chunks(MAX_TARGETS) {
        let target = |path: &String| DeleteTarget {
            path: file_path(path),
            if_match_etag: args.if_match.clone().unwrap_or_default(),
        };
        let mut request = DeleteRequest {
            remote: session.remote(),
            targets: paths.iter().map(target).collect(),
            allow_missing: args.ignore_missing,
        };
        let mut retry = Retry::new(session);
        let response = loop {
            let sent = session.request(request.clone());
            match session.client().delete(sent).await.map_err(Problem::from) {
                Ok(response) => break response.into_inner(),
                Err(problem) => {
                    // Its answer may be all that was lost.
                    request.allow_missing |= problem.reason.is_none();
                    retry.wait(problem, io, &Progress::none()).await?;
                }
            }
        };
        if response.results.len() != paths.len() {
            return Err(Problem::contract("it does not tell about every file"));
        }
        for (path, result) in paths.iter().zip(response.results) {
            let problem = result.failure.map(Problem::from);
            exits.extend(problem.as_ref().map(|problem| problem.exit));
            if io.json {
                document.results.push(RemovedDocument {
                    path: file_path(path),
                    removed: problem.is_none(),
                    error: problem.map(|problem| ErrorBody::new(&problem, None)),
                });
            } else if let Some(problem) = problem {
                io.report(&problem, Some(path));
            }
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct MkdirDocument {
    entry: EntryDocument,
    created: bool,
}

pub(super) async fn mkdir(args: &MkdirArgs, session: &Session, io: &Io) -> Result<Exit, Problem> {
    let request = MkdirRequest {
        remote: session.remote(),
        path: directory_path(&args.path),
        create_parents: Some(!args.no_parents),
    };
    let response = repeated(session, io, async || {
        let request = session.request(request.clone());
        Ok(session.client().mkdir(request).await?.into_inner())
    });
    let response = response.await?;
    if io.json {
        let entry = response.entry.unwrap_or_default().into();
        let created = response.created;
        io.document(&MkdirDocument { entry, created })?;
    }
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct RmdirDocument {
    path: String,
    removed: bool,
}

pub(super) async fn rmdir(args: &RmdirArgs, session: &Session, io: &Io) -> Result<Exit, Problem> {
    let path = directory_path(&args.path);
    let mut request = RmdirRequest {
        remote: session.remote(),
        path: path.clone(),
        allow_missing: args.ignore_missing,
    };
    let mut retry = Retry::new(session);
    loop {
        let sent = session.request(request.clone());
        let Err(problem) = session.client().rmdir(sent).await.map_err(Problem::from) else {
            break;
        };
        // Its answer may be all that was lost.
        request.allow_missing |= problem.reason.is_none();
        retry.wait(problem, io, &Progress::none()).await?;
    }
    if io.json {
        let removed = true;
        io.document(&RmdirDocument { path, removed })?;
    }
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct AboutDocument {
    total_bytes: Option<i64>,
    used_bytes: Option<i64>,
    free_bytes: Option<i64>,
    account: BTreeMap<String, String>,
    as_of_time: Option<String>,
}

pub(super) async fn about(_: &AboutArgs, session: &Session, io: &Io) -> Result<Exit, Problem> {
    let response = repeated(session, io, async || {
        let remote = session.remote();
        let request = session.request(AboutRequest { remote });
        Ok(session.client().about(request).await?.into_inner())
    });
    let response = response.await?;
    let as_of = response.as_of_time;
    let account: BTreeMap<_, _> = response.account.into_iter().collect();
    if io.json {
        io.document(&AboutDocument {
            total_bytes: response.total_bytes,
            used_bytes: response.used_bytes,
            free_bytes: response.free_bytes,
            account,
            as_of_time: as_of.as_ref().and_then(output::rfc3339),
        })?;
        return Ok(Exit::Ok);
    }
    let size = |bytes: Option<i64>| bytes.map_or("unknown".into(), output::size);
    let mut rows = vec![
        vec!["total".into(), size(response.total_bytes)],
        vec!["used".into(), size(response.used_bytes)],
        vec!["free".into(), size(response.free_bytes)],
    ];
    let facts = account.into_iter();
    rows.extend(facts.map(|(name, value)| vec![name.replace('_', " "), value]));
    let as_of = as_of.as_ref().and_then(output::local_time);
    rows.extend(as_of.map(|time| vec!["as of".into(), time]));
    io.write(&output::table(&rows))?;
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct CheckDocument {
    name: String,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    elapsed_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody>,
}

#[derive(Serialize)]
struct TestDocument {
    healthy: bool,
    checks: Vec<CheckDocument>,
}

pub(super) async fn test(args: &TestArgs, session: &Session, io: &Io) -> Result<Exit, Problem> {
    let request = TestConnectionRequest {
        remote: session.remote(),
        check_write: args.write,
    };
    let mut client = session.client();
    let response = client.test_connection(session.request(request)).await?;
    let response = response.into_inner();
    let healthy = response.healthy;
    let mut checks = Vec::new();
    let mut rows = Vec::new();
    for check in response.checks {
        let state = CheckState::try_from(check.state).unwrap_or_default();
        let state = output::enum_name(state.as_str_name(), "CHECK_STATE_");
        let elapsed = check.elapsed.map(std::time::Duration::try_from);
        let elapsed = elapsed.and_then(Result::ok).map(|time| time.as_secs_f64());
        let problem = check.failure.map(Problem::from);
        rows.push(vec![
            check.name.clone(),
            state.clone(),
            elapsed.map_or("-".into(), |time| format!("{time:.2} s")),
            problem.as_ref().map_or(String::new(), explanation),
        ]);
        checks.push(CheckDocument {
            name: check.name,
            state,
            elapsed_seconds: elapsed,
            error: problem.map(|problem| ErrorBody::new(&problem, None)),
        });
    }
    if io.json {
        io.document(&TestDocument { healthy, checks })?;
    } else {
        io.write(&output::table(&rows))?;
        io.line(if healthy { "healthy" } else { "not healthy" })?;
    }
    Ok(if healthy { Exit::Ok } else { Exit::Other })
}

fn explanation(problem: &Problem) -> String {
    match &problem.reason {
        Some(reason) => format!("{} [{reason}]", problem.message),
        None => problem.message.clone(),
    }
}

#[derive(Serialize)]
struct InfoDocument {
    server_name: String,
    server_version: String,
    api_packages: Vec<String>,
    api_revision: i32,
    instance_id: String,
    remotes: Vec<RemoteDocument>,
}

#[derive(Serialize)]
struct RemoteDocument {
    name: String,
    provider: String,
    capabilities: Vec<String>,
    stored_hashes: Vec<String>,
    recorded_hashes: Vec<String>,
    /// 0 means that no limit is known.
    limits: BTreeMap<&'static str, i64>,
    traits: BTreeMap<&'static str, bool>,
}

#[derive(Serialize)]
struct RefreshDocument {
    dropped_directories: i64,
    loaded_directories: i64,
}

pub(super) async fn refresh(
    args: &RefreshArgs,
    session: &Session,
    io: &Io,
) -> Result<Exit, Problem> {
    let request = RefreshRequest {
        remote: session.remote(),
        path: directory_path(&args.path),
        recursive: args.recursive,
        reload: args.reload,
    };
    let response = repeated(session, io, async || {
        let request = session.request(request.clone());
        Ok(session.client().refresh(request).await?.into_inner())
    });
    let response = response.await?;
    let (dropped, loaded) = (response.dropped_directories, response.loaded_directories);
    match io.json {
        true => io.document(&RefreshDocument {
            dropped_directories: dropped,
            loaded_directories: loaded,
        })?,
        false => io.line(&format!("{dropped} directories forgotten, {loaded} listed"))?,
    }
    Ok(Exit::Ok)
}

pub(super) async fn info(session: &Session, io: &Io) -> Result<Exit, Problem> {
    let request = session.request(GetInfoRequest {});
    let response = session.client().get_info(request).await?.into_inner();
    let remotes = response.remotes.into_iter().map(|remote| RemoteDocument {
        capabilities: remote.capabilities().map(capability).collect(),
        stored_hashes: remote.stored_hashes().map(hash_name).collect(),
        recorded_hashes: remote.recorded_hashes().map(hash_name).collect(),
        limits: limits(&remote.limits.unwrap_or_default()),
        traits: traits(&remote.traits.unwrap_or_default()),
        name: remote.name,
        provider: remote.provider,
    });
    let document = InfoDocument {
        server_name: response.server_name,
        server_version: response.server_version,
        api_packages: response.api_packages,
        api_revision: response.api_revision,
        instance_id: response.instance_id,
        remotes: remotes.collect(),
    };
    if io.json {
        io.document(&document)?;
        return Ok(Exit::Ok);
    }
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let server = format!("{} {}", document.server_name, document.server_version);
    let api = format!(
        "{} (revision {})",
        document.api_packages.join(", "),
        document.api_revision
    );
    let mut rows = vec![row("server", server), row("api", api)];
    for (index, remote) in document.remotes.into_iter().enumerate() {
        let default = if index == 0 { ", default" } else { "" };
        let title = format!("{} ({}{default})", remote.name, remote.provider);
        rows.push(row("remote", title));
        rows.push(row("  can", remote.capabilities.join(", ")));
        rows.push(row("  stored hashes", remote.stored_hashes.join(", ")));
        rows.push(row("  recorded hashes", remote.recorded_hashes.join(", ")));
        let traits = remote.traits.into_iter().filter(|(_, has)| *has);
        let traits: Vec<_> = traits.map(|(name, _)| name).collect();
        rows.push(row("  traits", traits.join(", ")));
        for (name, limit) in remote.limits.into_iter().filter(|(_, limit)| *limit > 0) {
            let value = match name {
                "max_file_bytes" | "max_chunk_bytes" => output::size(limit),
                _ => limit.to_string(),
            };
            rows.push(row(&format!("  {}", name.replace('_', " ")), value));
        }
    }
    io.write(&output::table(&rows))?;
    Ok(Exit::Ok)
}

fn capability(capability: Capability) -> String {
    output::enum_name(capability.as_str_name(), "CAPABILITY_")
}

fn hash_name(algorithm: HashAlgorithm) -> String {
    output::algorithm_name(algorithm)
}

fn limits(limits: &Limits) -> BTreeMap<&'static str, i64> {
    BTreeMap::from([
        ("max_file_bytes", limits.max_file_bytes),
        ("max_name_bytes", limits.max_name_bytes.into()),
        ("max_chunk_bytes", limits.max_chunk_bytes.into()),
        ("max_delete_targets", limits.max_delete_targets.into()),
        ("max_get_ranges", limits.max_get_ranges.into()),
        ("max_page_size", limits.max_page_size.into()),
        ("max_path_depth", limits.max_path_depth.into()),
    ])
}

fn traits(traits: &Traits) -> BTreeMap<&'static str, bool> {
    BTreeMap::from([
        ("duplicate_entries", traits.duplicate_entries),
        ("empty_directories", traits.empty_directories),
        ("empty_files", traits.empty_files),
        ("case_insensitive", traits.case_insensitive),
        ("modify_times", traits.modify_times),
        ("read_only", traits.read_only),
    ])
}
