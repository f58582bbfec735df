//! The `file` operations that are not listings [API §7 to §13].

use serde_json::Value;

use super::behaviour::{
    Batch, InfoContentType, InfoPath, MvSameFolder, MvWithRename, RenameSameName, RmMissing,
};
use super::file::{Acl, File, FileId, content_type};
use super::json::Json;
use super::refusal::Refusal;
use super::v1::Call;

/// The largest file that is scanned on demand, in bytes [API §8].
const SCAN_LIMIT: u64 = 5_000_000_000;

pub(super) fn info(call: &mut Call<'_>) -> Result<Json, Refusal> {
    let id = call.readable_file()?;
    let store = &call.state.store;
    let file = store.file(&id).ok_or_else(Refusal::not_found)?;
    let kind = match call.state.behaviour.info_content_type {
        InfoContentType::Underscore => "content_type",
        InfoContentType::Hyphen => "content-type",
    };
    let acl = if file.acl == Acl::default() {
        Json::Null
    } else {
        let texts = |texts: &[String]| -> Json {
            let texts: Vec<Json> = texts.iter().map(|text| text.as_str().into()).collect();
            texts.into()
        };
        Json::object([
            ("ip", texts(&file.acl.ip)),
            ("country", texts(&file.acl.country)),
            ("email", texts(&file.acl.email)),
            ("premium", file.acl.premium.into()),
        ])
    };
    let answer = Json::object([
        ("url", file.url(&id).into()),
        ("filename", file.name.as_str().into()),
        ("size", file.size.into()),
        ("date", call.clock.local(file.date).into()),
        ("folder_id", file.folder.into()),
        ("checksum", (*file.whirlpool).into()),
        (kind, file.content_type.into()),
        ("description", file.description.as_str().into()),
        ("pass", file.pass.is_some().into()),
        ("no_ssl", file.no_ssl.into()),
        ("inline", file.inline.into()),
        ("cdn", file.cdn.into()),
        ("acl", acl),
    ]);
    let answer = match path(call, file) {
        Some(path) => answer.with("path", path),
        None => answer,
    };
    if call.state.behaviour.info_status {
        return Ok(answer.with("status", "OK"));
    }
    Ok(answer)
}

/// Where a file is, as `file/info` tells it [API §7].
fn path(call: &Call<'_>, file: &File) -> Option<String> {
    let folders = file.account.map_or_else(String::new, |account| {
        call.state.store.path(account, file.folder)
    });
    match call.state.behaviour.info_path {
        InfoPath::Folders => Some(folders),
        InfoPath::Slash => Some(format!("/{folders}")),
        InfoPath::WithName if folders.is_empty() => Some(file.name.clone()),
        InfoPath::WithName => Some(format!("{folders}/{}", file.name)),
        InfoPath::Absent => None,
    }
}

pub(super) fn scan(call: &mut Call<'_>) -> Result<Json, Refusal> {
    let id = call.readable_file()?;
    let file = call.state.store.file(&id).ok_or_else(Refusal::not_found)?;
    if file.size >= SCAN_LIMIT {
        return Err(Refusal::ko("File too large to be scanned"));
    }
    Ok(Json::object([
        ("status", "OK".into()),
        ("message", "No virus found".into()),
        ("date", call.clock.local(call.clock.date()).into()),
    ]))
}

pub(super) fn rm(call: &mut Call<'_>) -> Result<Json, Refusal> {
    let mut wanted = Vec::new();
    for item in call.list("files")? {
        let url = item.get("url").and_then(Value::as_str);
        let url = url.ok_or_else(|| Refusal::bad_member("files"))?;
        let code = item.get("code").and_then(Value::as_str).unwrap_or("");
        wanted.push((url.to_owned(), code.to_owned()));
    }
    if wanted.is_empty() {
        return Err(Refusal::bad_member("files"));
    }
    let found: Vec<(FileId, String)> = wanted
        .iter()
        .filter_map(|(url, code)| Some((removable(call, url, code)?, url.clone())))
        .collect();
    let missing = call.state.behaviour.rm_missing;
    let text = match missing {
        RmMissing::KoNothingRemoved => "No file has been removed #312",
        RmMissing::KoOtherText => "Nothing to delete",
        _ => "Resource not found #469",
    };
    if found.is_empty() {
        return match missing {
            RmMissing::RemovedZero => Ok(removed(Vec::new())),
            RmMissing::NotFound => Err(Refusal::not_found()),
            _ => Err(Refusal::ko(text)),
        };
    }
    if found.len() < wanted.len() && call.state.behaviour.batch == Batch::AllOrNothing {
        return Err(Refusal::ko(text));
    }
    let when = call.when();
    let mut urls = Vec::new();
    for (id, url) in found.into_iter().take(call.items) {
        // A link may be named twice; it is removed once.
        if call.state.remove_file(&id, when).is_some() {
            urls.push(url.into());
        }
    }
    Ok(removed(urls))
}

fn removed(urls: Vec<Json>) -> Json {
    Json::object([
        ("status", "OK".into()),
        ("removed", urls.len().into()),
        ("urls", urls.into()),
    ])
}

/// Own files, and guests' files with their code.
fn removable(call: &Call<'_>, url: &str, code: &str) -> Option<FileId> {
    call.own_file(url).or_else(|| {
        let id = call.find(url)?;
        let file = call.state.store.file(&id)?;
        (file.account.is_none() && !code.is_empty() && file.code == code).then_some(id)
    })
}

/// Whether a batch with unusable items may go on [API J11].
fn check_batch(call: &Call<'_>, wanted: usize, usable: usize) -> Result<(), Refusal> {
    if usable == 0 || (usable < wanted && call.state.behaviour.batch == Batch::AllOrNothing) {
        return Err(Refusal::ko("Resource not found #469"));
    }
    Ok(())
}

pub(super) fn mv(call: &mut Call<'_>) -> Result<Json, Refusal> {
    call.only_own("destination_user")?;
    let urls = call.texts("urls")?;
    if call.member("destination_folder_id").is_none() {
        return Err(Refusal::bad_member("destination_folder_id"));
    }
    let folder = call.target(call.folder_id("destination_folder_id")?)?;
    let mut rename = one_name(call, "rename", urls.len())?;
    let files: Vec<FileId> = urls.iter().filter_map(|url| call.own_file(url)).collect();
    let elsewhere: Vec<FileId> = files
        .iter()
        .filter(|id| {
            call.state
                .store
                .file(id)
                .is_some_and(|file| file.folder != folder)
        })
        .cloned()
        .collect();
    let ignore = call.state.behaviour.mv_same_folder == MvSameFolder::Ignore;
    if !files.is_empty() && elsewhere.is_empty() {
        return if ignore {
            Ok(moved(call, &files, None))
        } else {
            Err(Refusal::ko("Nothing to move #287"))
        };
    }
    let usable = if ignore { files.len() } else { elsewhere.len() };
    check_batch(call, urls.len(), usable)?;
    if let (Some(name), [id]) = (&rename, elsewhere.as_slice()) {
        let same = call
            .state
            .store
            .file(id)
            .is_some_and(|file| file.name == *name);
        if same && call.state.behaviour.rename_same_name == RenameSameName::Refuse {
            return Err(Refusal::ko("Same filename #291"));
        }
    }
    match call.state.behaviour.mv_with_rename {
        MvWithRename::Refuse if rename.is_some() => {
            return Err(Refusal::ko(
                "Files cannot be renamed while they are moved #295",
            ));
        }
        MvWithRename::KeepsName => rename = None,
        _ => {}
    }
    let when = call.when();
    let mut done = Vec::new();
    for id in elsewhere.into_iter().take(call.items) {
        let carried = call
            .state
            .carry_file(id, Some(folder), rename.as_deref(), when);
        done.extend(carried);
    }
    Ok(moved(call, &done, rename))
}

fn moved(call: &Call<'_>, files: &[FileId], rename: Option<String>) -> Json {
    let urls: Vec<Json> = files.iter().map(|id| url(call, id).into()).collect();
    let answer = Json::object([
        ("status", "OK".into()),
        ("moved", urls.len().into()),
        ("urls", told(call, urls)),
    ]);
    match rename {
        Some(name) => answer.with("filename", name),
        None => answer,
    }
}

/// The links that an answer tells.
fn told(call: &Call<'_>, urls: Vec<Json>) -> Json {
    if call.state.behaviour.told_urls {
        urls.into()
    } else {
        Vec::<Json>::new().into()
    }
}

fn url(call: &Call<'_>, id: &FileId) -> String {
    let file = call.state.store.file(id);
    file.map_or_else(String::new, |file| file.url(id))
}

/// A new name, which may be given only with a single link.
fn one_name(call: &Call<'_>, member: &str, links: usize) -> Result<Option<String>, Refusal> {
    match call.text(member)? {
        None | Some("") => Ok(None),
        Some(_) if links != 1 => Err(Refusal::bad_member(member)),
        Some(name) => call.name(name).map(Some),
    }
}

pub(super) fn rename(call: &mut Call<'_>) -> Result<Json, Refusal> {
    let mut wanted = Vec::new();
    for item in call.list("urls")? {
        let member = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
        match (member("url"), member("filename")) {
            (Some(url), Some(name)) => wanted.push((url, call.name(&name)?)),
            _ => return Err(Refusal::bad_member("urls")),
        }
    }
    let usable: Vec<(FileId, String)> = wanted
        .iter()
        .filter_map(|(url, name)| {
            let id = call.own_file(url)?;
            let differs = call.state.store.file(&id)?.name != *name;
            differs.then(|| (id, name.clone()))
        })
        .collect();
    if usable.is_empty() {
        return Err(Refusal::ko("No file has been renamed #312"));
    }
    check_batch(call, wanted.len(), usable.len())?;
    let when = call.when();
    let mut renamed: Vec<Json> = Vec::new();
    for (id, name) in usable.into_iter().take(call.items) {
        let Some(old) = call.state.store.file(&id).map(|file| file.name.clone()) else {
            continue;
        };
        let Some(id) = call.state.carry_file(id, None, Some(&name), when) else {
            continue;
        };
        renamed.push(Json::object([
            ("url", url(call, &id).into()),
            ("old_filename", old.into()),
            ("new_filename", name.into()),
        ]));
    }
    Ok(Json::object([
        ("status", "OK".into()),
        ("renamed", renamed.len().into()),
        ("urls", told(call, renamed)),
    ]))
}

pub(super) fn cp(call: &mut Call<'_>) -> Result<Json, Refusal> {
    call.only_own("sharing_user")?;
    let account = call.account()?;
    let urls = call.texts("urls")?;
    let folder = call.target(call.folder_id("folder_id")?)?;
    // Unlike in a move, the name may be the one the file has [API §12].
    let rename = one_name(call, "rename", urls.len())?;
    let mut usable: Vec<(FileId, String)> = Vec::new();
    let mut last = None;
    for url in urls.iter() {
        let found = call.find(url).and_then(|id| {
            let file = call.state.store.file(&id)?;
            Some((call.check_readable(file), id))
        });
        match found {
            Some((Ok(()), id)) => usable.push((id, url.clone())),
            Some((Err(refusal), _)) => last = Some(refusal),
            None => {}
        }
    }
    if let (true, Some(refusal)) = (usable.is_empty(), last) {
        return Err(refusal);
    }
    check_batch(call, urls.len(), usable.len())?;
    let when = call.when();
    let mut copied: Vec<Json> = Vec::new();
    for (id, from) in usable.into_iter().take(call.items) {
        let Some(size) = call.state.store.file(&id).map(|file| file.size) else {
            continue;
        };
        let room = call
            .state
            .store
            .accounts
            .get(account)
            .is_some_and(|account| {
                account.used.saturating_add(size) <= account.options.quota_bytes
            });
        if !room {
            return Err(Refusal::ko("Quota exceeded"));
        }
        let copy = call
            .state
            .copy_file(&id, account, folder, rename.as_deref(), when);
        let Some(id) = copy else {
            continue;
        };
        copied.push(Json::object([
            ("from_url", from.into()),
            ("to_url", url(call, &id).into()),
        ]));
    }
    let answer = Json::object([
        ("status", "OK".into()),
        ("copied", copied.len().into()),
        ("urls", told(call, copied)),
    ]);
    Ok(match rename {
        Some(name) => answer.with("filename", name),
        None => answer,
    })
}

pub(super) fn chattr(call: &mut Call<'_>) -> Result<Json, Refusal> {
    let urls = call.texts("urls")?;
    let name = one_name(call, "filename", urls.len())?;
    let pass = call.text("pass")?.map(str::to_owned);
    if pass
        .as_ref()
        .is_some_and(|pass| !pass.is_empty() && pass.chars().count() < 6)
    {
        return Err(Refusal::ko("Password too short"));
    }
    let description = call.text("description")?.map(str::to_owned);
    let flag = |name: &str| call.member(name).is_some().then(|| call.flag(name));
    let (no_ssl, inline, cdn) = (flag("no_ssl"), flag("inline"), flag("cdn"));
    let acl = call.member("acl").map(read_acl);
    let files: Vec<FileId> = urls.iter().filter_map(|url| call.own_file(url)).collect();
    check_batch(call, urls.len(), files.len())?;
    let when = call.when();
    let mut updated: Vec<Json> = Vec::new();
    for id in files.into_iter().take(call.items) {
        let Some(mut file) = call.state.store.file(&id).cloned() else {
            continue;
        };
        let mut changed = false;
        if let Some(name) = &name {
            changed |= set(&mut file.name, name.clone());
        }
        if let Some(pass) = &pass {
            changed |= set(&mut file.pass, (!pass.is_empty()).then(|| pass.clone()));
        }
        if let Some(description) = &description {
            changed |= set(&mut file.description, description.clone());
        }
        if let Some(acl) = &acl {
            changed |= set(&mut file.acl, acl.clone());
        }
        changed |= no_ssl.is_some_and(|value| set(&mut file.no_ssl, value));
        changed |= inline.is_some_and(|value| set(&mut file.inline, value));
        changed |= cdn.is_some_and(|value| set(&mut file.cdn, value));
        if changed {
            file.content_type = content_type(&file.name);
            call.state.change_file(&id, when, |place| {
                *place = File {
                    visible: place.visible,
                    ..file
                }
            });
            updated.push(url(call, &id).into());
        }
    }
    if updated.is_empty() {
        return Err(Refusal::ko("No changes requested"));
    }
    Ok(Json::object([
        ("status", "OK".into()),
        ("updated", updated.len().into()),
        ("urls", updated.into()),
    ]))
}

/// Sets a value and tells whether it was another.
fn set<T: PartialEq>(place: &mut T, value: T) -> bool {
    let changed = *place != value;
    *place = value;
    changed
}

fn read_acl(value: &Value) -> Acl {
    let texts = |name: &str| -> Vec<String> {
        let list = value.get(name).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect()
    };
    Acl {
        ip: texts("ip"),
        country: texts("country"),
        email: texts("email"),
        premium: value.get("premium").and_then(Value::as_i64) == Some(1),
    }
}
